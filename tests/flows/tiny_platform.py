"""A second platform, as small as the port allows: other ids, no refresh, and no scopes in its token responses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from bot.core.api import ApiCall, Json, Observe, Succeeded, TokenRejected, ignore
from bot.core.api import InsufficientScope as Insufficient
from bot.core.cards import AuthorizationCard, Card
from bot.core.language import Language, Words
from bot.core.messages import Content, Destination, NotSent, Reply, Sent
from bot.core.oauth import (
    Approved,
    Denied,
    Malformed,
    TokenProblem,
    TokenRefused,
    TokenSet,
    parse_callback,
)
from bot.core.people import Identity, UserKey
from bot.core.platform import PlatformLimits, Webhook
from bot.core.scopes import Scope, ScopeSet, any_of, join_scopes
from bot.core.secrets import Secret

NEEDED_BY_PATH = {"/v1/me": "Contact.Read", "/v1/day": "Calendar.Read"}
MINUTE = timedelta(minutes=1)


class TinyPlatform:
    """Keeps what was sent, and the scopes of each code and token. `shown` is the card of each message, as sent last."""

    name, app_id, app = "tiny", "app/7", "tiny:app/7"
    callback_path, webhooks = "/tiny/done", dict[str, Webhook]()
    display_name = Words("Tiny", "小平台")
    code_parameters = frozenset({"ticket"})
    monolingual = False
    quotes_messages = True
    limits = PlatformLimits(MINUTE, MINUTE, MINUTE, MINUTE, scopes_per_link=5)
    device = in_client = refreshing = narrowing = revocation = ephemeral = reactions = None
    scope_applications = directory = outage = chat_link = server_time = None
    uses_pkce = signs_in_with_pkce = False
    always_asked: ScopeSet = frozenset()
    account_link = "https://tiny.example/account"
    token_endpoint = "v2"

    def __init__(self) -> None:
        self.sent: dict[str, tuple[UserKey, str]] = {}
        self.shown: dict[str, AuthorizationCard] = {}
        self.drawn: dict[str, Card] = {}
        self.granted: dict[str, tuple[str, ScopeSet]] = {}
        self.numbers = itertools.count(1)

    def consent(self, staff_id: str, scopes: ScopeSet) -> str:
        """The code that the platform's page sends back."""
        code = f"code {next(self.numbers)}"
        self.granted[code] = (staff_id, scopes)
        return code

    def click_answer(
        self, toast: Words, language: Language, kind: str = "info", card: Content | None = None
    ) -> Json:
        return {"toast": toast.en}

    def user_key(self, open_id: str, tenant_key: str) -> UserKey:
        return UserKey(self.name, self.app_id, tenant_key, open_id)

    async def call(self, api_call: ApiCall, access_token: Secret, observe: Observe = ignore) -> Any:
        staff_id, scopes = self.granted.get(access_token.reveal(), ("", frozenset()))
        if not staff_id:
            return TokenRejected(401)
        needed = NEEDED_BY_PATH[api_call.path]
        return Succeeded({"staff": staff_id}) if needed in scopes else Insufficient(any_of(needed))

    def render_reply(self, reply: Reply, language: Language = "en") -> Content:
        return Content("text", repr(reply))

    def render_card(self, card: Card, language: Language = "en") -> Content:
        number = f"card {next(self.numbers)}"
        self.drawn[number] = card
        return Content("card", number)

    async def send(self, destination: Destination, content: Content, key: str) -> Sent | NotSent:
        self.sent[key] = (destination.user, content.body)
        await self.update_card(key, content)
        return Sent(key)

    async def update_card(self, message_id: str, content: Content) -> NotSent | None:
        if isinstance(card := self.drawn.get(content.body), AuthorizationCard):
            self.shown[message_id] = card
        return None

    def parse_callback(self, parameters: Mapping[str, str]) -> Approved | Denied | Malformed:
        return parse_callback(parameters, self.code_parameters)

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt: bool
    ) -> str:
        query = {"back": redirect_uri, "scope": join_scopes(scopes), "state": state}
        return f"https://tiny.example/consent?{urlencode(query)}"

    async def exchange_code(self, code: Secret, **_: object) -> TokenSet | TokenRefused:
        if code.reveal() not in self.granted:
            return TokenRefused(TokenProblem.CODE, 1, "no such code")
        token = f"token {next(self.numbers)}"
        self.granted[token] = self.granted.pop(code.reveal())
        return TokenSet(Secret(token), 7200, None, None, None)

    exchange_sign_in = exchange_code

    async def identify(self, access_token: Secret) -> Identity:
        return Identity(self.granted[access_token.reveal()][0], "corp 1")

    def card_link(self, url: str) -> str:
        return url

    def console_link(self, scopes: ScopeSet) -> str:
        return "https://tiny.example/console"

    async def enabled_scopes(self, *, fresh: bool = False) -> ScopeSet:
        return frozenset(NEEDED_BY_PATH.values())

    async def enabled_scopes_for_visitors(self) -> ScopeSet:
        return await self.enabled_scopes()

    async def redirect_urls(self) -> None:
        return None

    def knows_scope(self, scope: Scope) -> bool:
        return scope in NEEDED_BY_PATH.values()

    async def describe_scopes(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        return {scope: Words(scope, scope) for scope in scopes}

    async def time_zone_of(self, user: UserKey) -> None:
        return None

    async def administrators(self) -> tuple[str, ...]:
        return ()
