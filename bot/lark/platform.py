"""`LarkPlatform` implements the port of `core.platform` for Lark and Feishu, using the other modules of this folder."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from bot.core.api import ApiCall, Json, Observe, Outcome, Refused, Unreachable, ignore
from bot.core.cards import Card
from bot.core.events import Outage, Received
from bot.core.language import Language, Words
from bot.core.messages import Content, Destination, NotSent, Reply, Sent
from bot.core.network import DIRECT, Network, ServerTime
from bot.core.oauth import (
    Approved,
    Denied,
    DeviceAnswer,
    DeviceCode,
    Malformed,
    TokenProblem,
    TokenRefused,
    TokenSet,
    parse_callback,
)
from bot.core.people import Identity, UserKey
from bot.core.platform import PlatformLimits, ScopeApplication
from bot.core.retry import SECOND, backoff
from bot.core.scopes import OFFLINE_ACCESS, Scope, ScopeSet
from bot.core.secrets import Secret
from bot.lark import cards, doctor_checks, messages, reactions
from bot.lark.api import call, call_as_user
from bot.lark.app import LarkApp
from bot.lark.app_info import AppInfo
from bot.lark.app_token import AppToken
from bot.lark.events import Recipient
from bot.lark.in_client import ClientPage
from bot.lark.oauth import OAuthClient
from bot.lark.platform_links import trusted_links
from bot.lark.posts import render_reply
from bot.lark.scope_syntax import SCOPE_SYNTAX
from bot.lark.token_endpoints import TokenEndpointVersion
from bot.lark.user_info import USER_INFO_PATH, identity_of
from bot.lark.webhook import WebhookKeys, receive, receive_over_connection
from bot.transport.app_token import with_token
from bot.transport.http_client import HttpClient, OnRequest

log = logging.getLogger(__name__)

MAX_OPEN_ID_PAUSE = 30 * SECOND
"""The longest pause between attempts to read the bot's own open_id."""

STARTUP_WAIT = 2.0
"""Seconds for which startup waits for the bot's open_id. A platform that is down must not delay startup further."""

REACTIONS_RETRY_INTERVAL = 600.0
"""Seconds until reactions are tried again after the app lacked the scope, which is optional."""

LIMITS = PlatformLimits(
    # An hour according to the documentation, minus a margin for clock differences and slow requests.
    idempotency_window=timedelta(minutes=55),
    card_edit_window=timedelta(days=14),
    # A chat accepts five messages a second.
    message_interval=timedelta(seconds=0.25),
    code_lifetime=timedelta(minutes=5),
    scopes_per_link=SCOPE_SYNTAX.most_per_link,
)


Brand = Literal["lark", "feishu"]

NAMES = {"lark": Words("Lark", "Lark"), "feishu": Words("Feishu", "飞书")}


class LarkPlatform:
    """One app of one brand. As an async context manager it reads the bot's open_id and finally closes its connections."""

    name = "lark"
    limits = LIMITS
    monolingual = False
    quotes_messages = True
    callback_path = "/oauth/lark/callback"
    always_asked = frozenset({OFFLINE_ACCESS})
    code_parameters = frozenset({"code"})

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: Secret,
        open_url: str,
        accounts_url: str,
        applink_url: str | None = None,
        oauth: TokenEndpointVersion = "v2",
        encrypt_key: Secret | None = None,
        verification_token: Secret | None = None,
        public_url: str | None = None,
        client_script: str = "",
        brand: Brand = "lark",
        network: Network = DIRECT,
        on_request: OnRequest | None = None,
    ) -> None:
        self.app_id = app_id
        self.display_name = NAMES[brand]
        self.in_client = ClientPage(app_id, client_script)
        self.webhooks = {"/lark/events": self.receive}
        self._open_url, self._applink_url = open_url, applink_url
        self._accounts_url = accounts_url
        self._links = trusted_links(open_url, (accounts_url, applink_url, public_url))
        self._keys = WebhookKeys(encrypt_key, verification_token)
        self._recipient = Recipient(app_id, None)
        self._http = HttpClient(network, log_outages=True, on_request=on_request)
        credentials = LarkApp(app_id, app_secret, open_url, accounts_url)
        self._token = AppToken(self._http, credentials, "tenant_access_token")
        self._oauth = OAuthClient(self._http, credentials, oauth)
        self.token_endpoint: str = oauth
        self._info = AppInfo(app_id, self.call_as_app)
        self._open_id_task: asyncio.Task[None] | None = None
        self._no_reactions_before = 0.0

    async def __aenter__(self) -> Self:
        self._open_id_task = asyncio.create_task(self._learn_own_open_id())
        # As soon as the bot is reported ready, users may mention it in a group.
        await asyncio.wait({self._open_id_task}, timeout=STARTUP_WAIT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._open_id_task is not None:
            self._open_id_task.cancel()
            await asyncio.gather(self._open_id_task, return_exceptions=True)
        await self._info.close()
        await self._token.close()
        await self._oauth.close()
        await self._http.close()

    async def _learn_own_open_id(self) -> None:
        """Read the bot's open_id, and retry until it is known. Until then group messages are refused and redelivered."""
        failures = 0
        while self._recipient.bot_open_id is None:
            open_id = await self._info.bot_open_id()
            if open_id is not None:
                self._recipient = Recipient(self.app_id, open_id)
                if failures:
                    log.info("the bot's own open_id was read", extra={"failures": failures})
                return
            level = logging.DEBUG if failures else logging.WARNING
            log.log(level, "the bot's own open_id could not be read; group messages wait")
            failures += 1
            jitter = random.random()  # noqa: S311 - spreads retries; not for security
            pause = backoff(failures, jitter, first=SECOND / 2, longest=MAX_OPEN_ID_PAUSE)
            await asyncio.sleep(pause.total_seconds())

    @property
    def app(self) -> str:
        return f"{self.name}:{self.app_id}"

    # --- optional capabilities

    @property
    def device(self) -> Self:
        return self

    @property
    def refreshing(self) -> Self:
        return self

    @property
    def narrowing(self) -> Self:
        return self

    @property
    def revocation(self) -> Self:
        return self

    @property
    def ephemeral(self) -> Self:
        return self

    @property
    def reactions(self) -> Self:
        return self

    @property
    def scope_applications(self) -> Self:
        return self

    @property
    def directory(self) -> Self:
        return self

    # --- incoming events

    def receive(self, headers: Mapping[str, str], body: bytes, now: float) -> Received:
        return receive(self._keys, self._recipient, headers, body, now)

    def parse(self, payload: bytes) -> Received:
        return receive_over_connection(self._keys, self._recipient, payload)

    # --- calls

    async def call(self, api_call: ApiCall, access_token: Secret, observe: Observe = ignore) -> Outcome:
        return await call_as_user(self._http, self._open_url, api_call, access_token, observe)

    async def call_as_app(self, api_call: ApiCall) -> Outcome:
        """Make an API call as the app. Repeat it once with a new token if the platform rejects the token."""
        return await with_token(self._token, lambda token: call(self._http, self._open_url, api_call, token))

    @property
    def outage(self) -> Outage | None:
        return next(iter(self._http.outages.values()), self._token.outage)

    @property
    def server_time(self) -> ServerTime | None:
        return self._http.server_time

    # --- outgoing messages

    def render_reply(self, reply: Reply, language: Language = "en") -> Content:
        return render_reply(reply, self._links)

    def render_card(self, card: Card, language: Language = "en") -> Content:
        return cards.render_card(card)

    async def send(self, destination: Destination, content: Content, key: str) -> Sent | NotSent:
        return await messages.send(self.call_as_app, destination, content, key)

    async def update_card(self, message_id: str, content: Content) -> NotSent | None:
        return await messages.update_card(self.call_as_app, message_id, content)

    async def withdraw(self, message_id: str) -> NotSent | None:
        return await messages.delete_ephemeral(self.call_as_app, message_id)

    @property
    def can_react(self) -> bool:
        return time.monotonic() >= self._no_reactions_before

    async def react(self, message_id: str) -> str | NotSent:
        reaction = await reactions.react(self.call_as_app, message_id)
        if isinstance(reaction, reactions.CannotReact):
            self._no_reactions_before = time.monotonic() + REACTIONS_RETRY_INTERVAL
            log.info("reactions are not available", extra={"reason": reaction.reason})
            return NotSent(reaction.reason, retry=False)
        return reaction

    async def unreact(self, message_id: str, reaction_id: str) -> NotSent | None:
        return await reactions.remove_reaction(self.call_as_app, message_id, reaction_id)

    # --- authorization

    def parse_callback(self, parameters: Mapping[str, str]) -> Approved | Denied | Malformed:
        return parse_callback(parameters)

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt: bool
    ) -> str:
        return self._oauth.authorize_url(
            redirect_uri=redirect_uri,
            scopes=scopes,
            state=state,
            challenge=challenge,
            prompt=prompt,
        )

    def card_link(self, url: str) -> str:
        """Return an AppLink, which opens beside the chat instead of replacing it."""
        if not self._applink_url:
            return url
        return f"{self._applink_url}/client/web_url/open?mode=sidebar-semi&url={quote(url, safe='')}"

    @property
    def chat_link(self) -> str | None:
        """https://open.feishu.cn/document/applink-protocol/supported-protocol/open-a-bot"""
        return self._applink_url and f"{self._applink_url}/client/bot/open?appId={self.app_id}"

    @property
    def account_link(self) -> str:
        return f"{self._accounts_url}/"

    @property
    def uses_pkce(self) -> bool:
        return self._oauth.uses_pkce

    async def exchange_code(
        self,
        code: Secret,
        *,
        redirect_uri: str | None,
        verifier: Secret | None,
        scopes: ScopeSet | None,
        strict: bool = False,
    ) -> TokenSet | TokenRefused:
        return await self._oauth.exchange_code(
            code, redirect_uri=redirect_uri, verifier=verifier, scopes=scopes, strict=strict
        )

    @property
    def signs_in_with_pkce(self) -> bool:
        return self._oauth.signs_in_with_pkce

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        return await self._oauth.exchange_sign_in(code, redirect_uri=redirect_uri, verifier=verifier)

    async def request_device_authorization(self, scopes: ScopeSet) -> DeviceCode | TokenRefused:
        code = await self._oauth.request_device_authorization(scopes)
        if isinstance(code, DeviceCode) and not self._links.resolve(code.verification_uri_complete.reveal()):
            return TokenRefused(TokenProblem.IN_DOUBT, 0, "the verification URI is not the platform's")
        return code

    async def poll_device(self, device_code: Secret) -> TokenSet | DeviceAnswer | TokenRefused:
        return await self._oauth.poll_device(device_code)

    async def narrow(
        self, tokens: TokenSet, scopes: ScopeSet, *, strict: bool = False
    ) -> TokenSet | TokenRefused:
        return await self._oauth.narrow(tokens, scopes, strict=strict)

    async def refresh(
        self, refresh_token: Secret, *, scopes: ScopeSet | None = None
    ) -> TokenSet | TokenRefused:
        return await self._oauth.refresh(refresh_token, scopes)

    async def identify(self, access_token: Secret) -> Identity | Refused | Unreachable:
        return identity_of(await self.call(ApiCall("GET", USER_INFO_PATH), access_token))

    async def revoke(self, token: Secret) -> TokenRefused | None:
        return await self._oauth.revoke(token)

    # --- about the app

    async def enabled_scopes(self, *, fresh: bool = False) -> ScopeSet | None:
        return await self._info.enabled_scopes(fresh=fresh)

    async def enabled_scopes_for_visitors(self) -> ScopeSet | None:
        return await self._info.enabled_scopes_for_visitors()

    async def redirect_urls(self) -> frozenset[str] | None:
        found = await doctor_checks.read_redirect_urls(self.call_as_app, self.app_id)
        return found if isinstance(found, frozenset) else None

    def knows_scope(self, scope: Scope) -> bool:
        return self._info.knows(scope)

    async def time_zone_of(self, user: UserKey) -> str | None:
        return await self._info.time_zone_of(user.open_id)

    @property
    def is_readable(self) -> bool:
        return self._info.may_read_profiles

    async def name_of(self, user: UserKey) -> str | None:
        return await self._info.name_of(user.open_id)

    @property
    def pending_scopes(self) -> ScopeSet:
        return self._info.pending_scopes

    async def apply_for_scopes(self) -> ScopeApplication:
        return await self._info.apply_for_scopes()

    async def describe_scopes(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        return await self._info.describe(scopes)

    async def administrators(self) -> tuple[str, ...]:
        return await self._info.administrators()

    def console_link(self, scopes: ScopeSet, identity: Literal["user", "tenant"] = "user") -> str:
        named = quote(",".join(sorted(scopes)), safe=":,")
        return f"{self._open_url}/app/{self.app_id}/auth?q={named}&op_from=openapi&token_type={identity}"

    # --- responses to webhooks

    def click_answer(
        self, toast: Words, language: Language, kind: str = "info", card: Content | None = None
    ) -> Json:
        return cards.click_answer(toast, kind, card)

    def user_key(self, open_id: str, tenant_key: str) -> UserKey:
        return UserKey(self.name, self.app_id, tenant_key, open_id)
