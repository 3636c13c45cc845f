"""`DingTalkPlatform`: implements the port of `core.platform` for DingTalk, with the other modules of this package."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from bot.core.api import ApiCall, Json, Observe, Outcome, Refused, Unreachable, ignore
from bot.core.cards import Card
from bot.core.events import Event, Outage, Received, Unauthentic
from bot.core.language import Language, Words
from bot.core.messages import Content, Destination, NotSent, Reply, Sent
from bot.core.network import DIRECT, Network, ServerTime
from bot.core.oauth import Approved, Denied, Malformed, TokenRefused, TokenSet, parse_callback
from bot.core.people import Identity, UserKey
from bot.core.platform import PlatformLimits, Webhook
from bot.core.scopes import Scope, ScopeSet
from bot.core.secrets import Secret
from bot.core.times import Zone, zone_or
from bot.core.trusted_links import TrustedLinks
from bot.dingtalk import cards, doctor_checks
from bot.dingtalk.api import TOKEN_HEADER, USERS_ME, call, call_legacy
from bot.dingtalk.app import DingTalkApp
from bot.dingtalk.app_token import AppToken
from bot.dingtalk.events import ReceivedMessage, Recipient, ReplySession
from bot.dingtalk.frames import Frame
from bot.dingtalk.identities import Identities
from bot.dingtalk.in_client import ClientPage
from bot.dingtalk.messages import CardTemplate, Sender
from bot.dingtalk.oauth import OAuthClient
from bot.dingtalk.outcomes import as_app, legacy_outcome_of
from bot.dingtalk.posts import render_reply
from bot.dingtalk.rendered_messages import CARD
from bot.dingtalk.scope_descriptions import WELL_KNOWN, describe_scope
from bot.dingtalk.scope_kinds import IDENTITY_SCOPE, SCOPE_SYNTAX
from bot.dingtalk.sender_names import SenderNames
from bot.dingtalk.sessions import ReplySessions
from bot.dingtalk.webhook import Parsed, WebhookKeys, receive_click, receive_frame, receive_message
from bot.transport.app_token import with_token
from bot.transport.http_client import HttpClient, OnRequest

log = logging.getLogger(__name__)

DOMAINS = ("dingtalk.com", "dingtalk.io")
"""Domains of the platform, to which the bot may link."""

CONSOLE = "https://open-dev.dingtalk.com"

CARD_WEBHOOK = "/dingtalk/cards"

CODE_PARAMETERS = ("authCode", "code")
"""The platform documents the first; its own clients accept the second as well."""

CALLBACK_ROUTE = "bot-that-asks"
"""The key under which the webhook for card callbacks is registered."""

UNNAMED_INTERVAL = 600.0
"""Seconds between two log lines saying that the platform does not name senders."""

CARD_EDIT_WINDOW = timedelta(days=14)
"""No limit is documented for interactive cards. A card that can no longer be updated is sent again."""

MESSAGE_INTERVAL = timedelta(seconds=0.25)


def limits_with(template: CardTemplate | None) -> PlatformLimits:
    return PlatformLimits(
        # Messages have no idempotency key: see `messages`.
        idempotency_window=timedelta(0),
        # A plain card cannot be updated at all.
        card_edit_window=CARD_EDIT_WINDOW if template else timedelta(0),
        message_interval=MESSAGE_INTERVAL,
        # Documented as "very short" only. Codes of the older API are valid for this long.
        code_lifetime=timedelta(minutes=5),
        scopes_per_link=SCOPE_SYNTAX.most_per_link,
    )


class DingTalkPlatform:
    """One app in one organization. An async context manager: it registers the webhook of cards, and closes its
    connections."""

    name = "dingtalk"
    display_name = Words("DingTalk", "钉钉")
    callback_path = "/oauth/dingtalk/callback"
    code_parameters = frozenset(CODE_PARAMETERS)
    token_endpoint = "v1"  # noqa: S105 - a version
    uses_pkce = signs_in_with_pkce = False
    always_asked = frozenset({IDENTITY_SCOPE})
    monolingual = True
    quotes_messages = False
    chat_link = None
    device = narrowing = revocation = ephemeral = reactions = scope_applications = None

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: Secret,
        corp_id: str,
        robot_code: str | None = None,
        card_template_id: str | None = None,
        events: Literal["stream", "webhook"] = "stream",
        api_url: str = "https://api.dingtalk.com",
        oapi_url: str = "https://oapi.dingtalk.com",
        login_url: str = "https://login.dingtalk.com",
        public_url: str | None = None,
        client_script: str = "",
        time_zone: str = "UTC",
        network: Network = DIRECT,
        on_request: OnRequest | None = None,
    ) -> None:
        self.app_id, self.corp_id = client_id, corp_id
        self.in_client = ClientPage(client_id, corp_id, client_script)
        self.webhooks: Mapping[str, Webhook] = {
            "/dingtalk/events": self.receive_message,
            CARD_WEBHOOK: self.receive_click,
        }
        self._app = DingTalkApp(
            client_id, client_secret, corp_id, robot_code or client_id, api_url, oapi_url, login_url
        )
        self._recipient = Recipient(client_id, corp_id)
        self._keys = WebhookKeys(client_secret)
        self._public_url = public_url
        by_webhook = events == "webhook"
        self._template = card_template_id and CardTemplate(
            card_template_id, CALLBACK_ROUTE if by_webhook else None
        )
        self.limits = limits_with(self._template or None)
        self._zone: Zone = zone_or(None, time_zone)
        self._links = TrustedLinks(DOMAINS, (api_url, oapi_url, login_url, public_url))
        self._http = HttpClient(network, log_outages=True, token_header=TOKEN_HEADER, on_request=on_request)
        self._plain_http = HttpClient(network, log_outages=True, on_request=on_request)
        """For the older APIs and for replies, which must not be sent the token's header."""
        self._token = AppToken(self._http, self._app)
        self._oauth = OAuthClient(self._http, self._app)
        self._identities = Identities(corp_id, self.call_legacy)
        self._sessions = ReplySessions(oapi_url)
        self.directory = SenderNames()
        self._sender = Sender(
            self._app.robot_code, self._template or None, self.call_as_app, self._post_to_session
        )
        self._warned_at = -UNNAMED_INTERVAL

    async def __aenter__(self) -> Self:
        if self._template and self._template.callback_route and self._public_url:
            await self._register_card_callbacks()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._token.close()
        await self._http.close()
        await self._plain_http.close()

    # --- for `bot doctor`

    async def check_credentials(self) -> Outcome | None:
        return await doctor_checks.check_credentials(self._token)

    async def check_stream(self) -> str | None:
        return await doctor_checks.check_stream(
            self._plain_http, self._app.api_url, self.app_id, self._app.secret
        )

    async def check_lookups(self) -> Outcome | None:
        return await doctor_checks.check_lookups(self.call_legacy)

    async def check_corp(self) -> Outcome | None:
        return await doctor_checks.check_corp(self._plain_http, self._app)

    async def check_member(self, user_id: str) -> Outcome | None:
        return await doctor_checks.check_member(self.call_legacy, user_id)

    async def check_sending(self) -> Outcome | None:
        return await doctor_checks.check_sending(self.call_as_app, self._app.robot_code)

    async def open_login_page(self, redirect_uri: str) -> int | Unreachable:
        return await doctor_checks.open_login_page(self._plain_http, self._oauth, redirect_uri)

    async def check_template(self) -> Outcome | None:
        return await doctor_checks.check_template(
            self.call_as_app, self._template.id if self._template else ""
        )

    async def _register_card_callbacks(self) -> None:
        body = {
            "callbackRouteKey": CALLBACK_ROUTE,
            "callbackUrl": f"{self._public_url}{CARD_WEBHOOK}",
            "apiSecret": self._keys.card_secret.reveal(),
            "forceUpdate": True,
        }
        outcome = await self.call_as_app(ApiCall("POST", "/v1.0/card/callbacks/register", {}, body))
        if not isinstance(outcome, Refused | Unreachable):
            return
        why = outcome.message if isinstance(outcome, Refused) else outcome.reason
        log.warning("clicks on cards will not arrive: their webhook is not registered", extra={"reason": why})

    @property
    def app(self) -> str:
        return f"{self.name}:{self.app_id}"

    @property
    def refreshing(self) -> Self:
        return self

    # --- incoming messages and clicks

    def receive_message(self, headers: Mapping[str, str], body: bytes, now: float) -> Received:
        return self._remember(receive_message(self._keys, self._recipient, headers, body, now))

    def receive_click(self, headers: Mapping[str, str], body: bytes, now: float) -> Received:
        return self._remember(receive_click(self._keys, self._recipient, headers, body, now))

    def parse_frame(self, frame: Frame) -> Received:
        return self._remember(receive_frame(self._recipient, frame))

    def _remember(self, parsed: Parsed) -> Event | Unauthentic:
        """Return the event, and remember where to reply to a message, and its sender's name and union id."""
        if not isinstance(parsed, ReceivedMessage):
            return parsed
        event = parsed.event
        self._sessions.keep(parsed)
        if event.union_id is not None and not event.foreign:
            self._identities.learn(event.union_id, event.user.open_id)
        if parsed.sender_name is not None and not event.foreign:
            self.directory.learn(event.user, parsed.sender_name)
        if parsed.unnamed_member and time.monotonic() > self._warned_at + UNNAMED_INTERVAL:
            self._warned_at = time.monotonic()
            log.error(
                "the platform does not name the senders of messages, so nobody can be served: publish a version of "
                "the app in the developer console"
            )
        return event

    def click_answer(
        self, toast: Words, language: Language, kind: str = "info", card: Content | None = None
    ) -> Json:
        return cards.click_answer(toast.to(language), card)

    def user_key(self, open_id: str, tenant_key: str) -> UserKey:
        return UserKey(self.name, self.app_id, tenant_key or self.corp_id, open_id)

    # --- calls

    async def call(self, api_call: ApiCall, access_token: Secret, observe: Observe = ignore) -> Outcome:
        return await call(self._http, self._app.api_url, api_call, access_token, observe)

    async def call_as_app(self, api_call: ApiCall) -> Outcome:
        """Make an API call as the app, and a second time with a new token if the first was rejected."""
        return as_app(
            await with_token(self._token, lambda token: call(self._http, self._app.api_url, api_call, token))
        )

    async def call_legacy(self, api_call: ApiCall) -> Outcome:
        """Like `call_as_app`, for the older APIs."""
        return await with_token(
            self._token, lambda token: call_legacy(self._plain_http, self._app.oapi_url, api_call, token)
        )

    async def _post_to_session(self, session: ReplySession, body: Json) -> Outcome:
        response = await self._plain_http.fetch("POST", session.url.reveal(), body=body)
        return response if isinstance(response, Unreachable) else legacy_outcome_of(response)

    @property
    def outage(self) -> Outage | None:
        outages = {**self._http.outages, **self._plain_http.outages}
        return next(iter(outages.values()), self._token.outage)

    @property
    def server_time(self) -> ServerTime | None:
        return self._http.server_time

    # --- messages of the bot

    def render_reply(self, reply: Reply, language: Language = "en") -> Content:
        return render_reply(reply, self._links, language, has_buttons=bool(self._template))

    def render_card(self, card: Card, language: Language = "en") -> Content:
        return cards.render_card(card, language, self._zone)

    async def send(self, destination: Destination, content: Content, key: str) -> Sent | NotSent:
        if content.kind == CARD:
            # Answers that follow a card have waited for its user, so they are too late for a session.
            self._sessions.forget_user(destination.user)
        session = self._sessions.find(destination.reply_to)
        return await self._sender.send(destination, content, key, session)

    async def update_card(self, message_id: str, content: Content) -> NotSent | None:
        return await self._sender.update_card(message_id, content)

    # --- authorization

    def parse_callback(self, parameters: Mapping[str, str]) -> Approved | Denied | Malformed:
        """Parse the parameters. A code that comes by both names is one code."""
        if parameters.get("authCode") and parameters.get("authCode") == parameters.get("code"):
            parameters = {name: value for name, value in parameters.items() if name != "code"}
        return parse_callback(parameters, CODE_PARAMETERS)

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt: bool
    ) -> str:
        return self._oauth.authorize_url(redirect_uri=redirect_uri, scopes=scopes, state=state)

    async def exchange_code(
        self,
        code: Secret,
        *,
        redirect_uri: str | None,
        verifier: Secret | None,
        scopes: ScopeSet | None,
        strict: bool = False,
    ) -> TokenSet | TokenRefused:
        return await self._oauth.exchange_code(code)

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        return await self._oauth.exchange_code(code)

    async def refresh(
        self, refresh_token: Secret, *, scopes: ScopeSet | None = None
    ) -> TokenSet | TokenRefused:
        return replace_scopes(await self._oauth.refresh(refresh_token), scopes)

    async def identify(self, access_token: Secret) -> Identity | Refused | Unreachable:
        return await self._identities.identity_of(await self.call(USERS_ME, access_token))

    # --- links

    def card_link(self, url: str) -> str:
        """Return the URL itself: the client opens it inside, or beside the chat."""
        return url

    @property
    def account_link(self) -> str:
        return f"{self._app.login_url}/"

    def console_link(self, scopes: ScopeSet) -> str:
        """Return the link to add a scope, as refusals contain it. It accepts only one; the card lists them all."""
        scope = min(scopes, default="")
        return f"{CONSOLE}/appscope/apply?content={quote(f'{self.app_id}#{scope}', safe='')}"

    # --- the app and the organization: none of this can be read

    async def enabled_scopes(self, *, fresh: bool = False) -> ScopeSet | None:
        return None

    async def enabled_scopes_for_visitors(self) -> ScopeSet | None:
        return None

    async def redirect_urls(self) -> frozenset[str] | None:
        return None

    def knows_scope(self, scope: Scope) -> bool:
        return scope in WELL_KNOWN

    async def describe_scopes(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        return {scope: describe_scope(scope) for scope in sorted(scopes)}

    async def time_zone_of(self, user: UserKey) -> str | None:
        return None

    async def administrators(self) -> tuple[str, ...]:
        return ()


def replace_scopes(tokens: TokenSet | TokenRefused, scopes: ScopeSet | None) -> TokenSet | TokenRefused:
    """Return refreshed tokens with the scopes to use them for: the response does not say which they have."""
    return replace(tokens, scopes=scopes) if isinstance(tokens, TokenSet) and scopes else tokens
