"""`LarkPlatform`: the port, implemented for Lark and Feishu. Puts the other modules of this folder together."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import quote

from bot.core.api import ApiCall, Json, Outcome, Refused, Unreachable
from bot.core.cards import Card
from bot.core.events import Outage, Received
from bot.core.language import Words
from bot.core.messages import Content, Destination, NotSent, Reply, Sent
from bot.core.network import STRAIGHT, Network
from bot.core.oauth import DeviceAnswer, DeviceCode, TokenProblem, TokenRefused, TokenSet
from bot.core.people import Identity, UserKey
from bot.core.platform import PlatformLimits, ScopeApplication
from bot.core.scopes import MAX_SCOPES_PER_LINK, Scope, ScopeSet
from bot.core.secrets import Secret
from bot.lark import api, cards, doctor_checks, events, messages
from bot.lark.app_info import AppInfo
from bot.lark.app_token import AppToken, with_token
from bot.lark.oauth import USER_INFO_PATH, GenerationName, OAuth, identity_of
from bot.lark.shown_links import Links

log = logging.getLogger(__name__)

LONGEST_PAUSE = 30.0
"""Seconds between attempts to learn the bot's own open_id."""


PATIENCE = 2.0
"""Seconds that the start waits for it; a platform that is away does not hold up the rest."""


CLIENT = re.compile(r"\b(Lark|Feishu)/")
CLIENT_LOCALE = re.compile(r"LarkLocale/([A-Za-z]{2})")
"""What the client's user agent holds."""


REACTIONS_AGAIN_AFTER = 600.0
"""Seconds for which an app that may not add reactions is not tried again: the scope is optional."""


LIMITS = PlatformLimits(
    # An hour by the documentation, less what clocks and slow requests may add.
    idempotency_window=timedelta(minutes=55),
    card_edit_window=timedelta(days=14),
    # One chat takes five messages a second.
    message_interval=timedelta(seconds=0.25),
    code_lifetime=timedelta(minutes=5),
    scopes_per_link=MAX_SCOPES_PER_LINK,
)


class LarkPlatform:
    """One app on one brand. `async with` it: it learns the bot's own open_id, and closes its connections."""

    name = "lark"
    limits = LIMITS
    webhook_path = "/lark/events"
    callback_path = "/oauth/lark/callback"
    page_path = "/oauth/lark/client"

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: Secret,
        open_url: str,
        accounts_url: str,
        applink_url: str | None = None,
        oauth: GenerationName = "v2",
        encrypt_key: Secret | None = None,
        verification_token: Secret | None = None,
        public_url: str | None = None,
        network: Network = STRAIGHT,
    ) -> None:
        self.app_id = app_id
        self._open_url, self._applink_url = open_url, applink_url
        self._accounts_url = accounts_url
        self._links = Links(open_url, (accounts_url, applink_url, public_url))
        self._keys = events.WebhookKeys(encrypt_key, verification_token)
        self._recipient = events.Recipient(app_id, None)
        self._http = api.Http(network, watched=True)
        self._token = AppToken(self._http, open_url, app_id, app_secret, "tenant_access_token")
        self._oauth = OAuth(
            self._http,
            open_url=open_url,
            accounts_url=accounts_url,
            app_id=app_id,
            app_secret=app_secret,
            generation=oauth,
        )
        self._info = AppInfo(app_id, self.call_as_app)
        self._learning: asyncio.Task[None] | None = None
        self._no_reactions_before = 0.0

    async def __aenter__(self) -> Self:
        self._learning = asyncio.create_task(self._learn_own_open_id())
        # Whoever is told that the bot is ready may mention it in a group at once.
        await asyncio.wait({self._learning}, timeout=PATIENCE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        await self._info.close()
        await self._token.close()
        await self._oauth.close()
        await self._http.close()

    async def _learn_own_open_id(self) -> None:
        """Until it is known, group messages are refused, so that the platform delivers them again."""
        pause = 0.5
        while self._recipient.bot_open_id is None:
            open_id = await self._info.bot_open_id()
            if open_id is not None:
                self._recipient = events.Recipient(self.app_id, open_id)
                return
            log.warning("the bot's own open_id could not be read; group messages wait")
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE)

    @property
    def app(self) -> str:
        return f"{self.name}:{self.app_id}"

    # --- what not every platform can do

    @property
    def device(self) -> Self:
        return self

    @property
    def in_client(self) -> Self:
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

    def is_in_client(self, user_agent: str) -> bool:
        return bool(CLIENT.search(user_agent))

    def client_locale(self, user_agent: str) -> str | None:
        locales: list[str] = CLIENT_LOCALE.findall(user_agent)
        return locales[-1] if locales else None

    # --- what comes in

    def receive(self, headers: Mapping[str, str], body: bytes) -> Received:
        return events.receive(self._keys, self._recipient, headers, body, time.time())

    def parse(self, payload: bytes) -> Received:
        """One payload of the long connection, which vouches for its sender."""
        return events.parse(self._keys, self._recipient, payload)

    # --- calls

    async def call(self, api_call: ApiCall, access_token: Secret) -> Outcome:
        return await api.call_as_user(self._http, self._open_url, api_call, access_token)

    async def call_as_app(self, api_call: ApiCall) -> Outcome:
        """Makes one API call as the bot; twice when its token turns out to be no longer good."""
        return await with_token(
            self._token, lambda token: api.call(self._http, self._open_url, api_call, token)
        )

    @property
    def outage(self) -> Outage | None:
        return next(iter(self._http.outages.values()), None)

    # --- messages of the bot

    def render_reply(self, reply: Reply) -> Content:
        return cards.render_reply(reply, self._links)

    def render_card(self, card: Card) -> Content:
        return cards.render_card(card)

    async def send(self, destination: Destination, content: Content, key: str) -> Sent | NotSent:
        return await messages.send(self.call_as_app, destination, content, key)

    async def update_card(self, message_id: str, content: Content) -> NotSent | None:
        return await messages.update_card(self.call_as_app, message_id, content)

    async def withdraw(self, message_id: str) -> NotSent | None:
        return await messages.withdraw(self.call_as_app, message_id)

    @property
    def can_react(self) -> bool:
        return time.monotonic() >= self._no_reactions_before

    async def react(self, message_id: str) -> str | NotSent:
        reaction = await messages.react(self.call_as_app, message_id)
        if isinstance(reaction, messages.CannotReact):
            self._no_reactions_before = time.monotonic() + REACTIONS_AGAIN_AFTER
            log.info("no reactions", extra={"reason": reaction.reason})
            return NotSent(reaction.reason, retry=False)
        return reaction

    async def unreact(self, message_id: str, reaction_id: str) -> NotSent | None:
        return await messages.unreact(self.call_as_app, message_id, reaction_id)

    # --- authorization

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt: bool
    ) -> str:
        return self._oauth.authorize_url(
            redirect_uri=redirect_uri, scopes=scopes, state=state, challenge=challenge, prompt=prompt
        )

    def card_link(self, url: str) -> str:
        """An AppLink: it opens beside the chat instead of taking its place."""
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
        if isinstance(code, DeviceCode) and not self._links.shown(code.verification_uri_complete.reveal()):
            return TokenRefused(TokenProblem.IN_DOUBT, 0, "a page for the code that is not the platform's")
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
        found = await doctor_checks.redirect_urls(self.call_as_app, self.app_id)
        return found if isinstance(found, frozenset) else None

    def knows_scope(self, scope: Scope) -> bool:
        return self._info.knows(scope)

    async def time_zone_of(self, user: UserKey) -> str | None:
        return await self._info.time_zone_of(user.open_id)

    @property
    def pending_scopes(self) -> ScopeSet:
        return self._info.pending_scopes

    async def apply_for_scopes(self) -> ScopeApplication:
        return await self._info.apply_for_scopes()

    async def describe_scopes(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        return await self._info.describe(scopes)

    async def administrators(self) -> tuple[str, ...]:
        return await self._info.administrators()

    def console_link(self, scopes: ScopeSet) -> str:
        named = quote(",".join(sorted(scopes)), safe=":,")
        return f"{self._open_url}/app/{self.app_id}/auth?q={named}&op_from=openapi&token_type=user"

    # --- answers to webhooks

    def click_answer(self, toast: Words | None, kind: str = "info", card: Content | None = None) -> Json:
        return cards.click_answer(toast, kind, card)

    def user_key(self, open_id: str, tenant_key: str) -> UserKey:
        return UserKey(self.name, self.app_id, tenant_key, open_id)
