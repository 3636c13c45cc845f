"""The port: what the flows need from a chat platform.

`Platform` defines what every platform must do. What only some platforms can do is a small separate protocol: an
attribute of the platform, which is None where the platform lacks the capability::

    if platform.revocation is not None:
        await platform.revocation.revoke(token)

Every method may be called concurrently. No method raises an exception for a network failure: failures are return values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from bot.core.api import ApiCall, Json, Observe, Outcome, Refused, Unreachable, ignore
from bot.core.cards import Card
from bot.core.events import Outage, Received
from bot.core.language import Language, Words
from bot.core.messages import Content, Destination, NotSent, Reply, Sent
from bot.core.network import ServerTime
from bot.core.oauth import Approved, Denied, DeviceAnswer, DeviceCode, Malformed, TokenRefused, TokenSet
from bot.core.people import Identity, UserKey
from bot.core.scopes import Scope, ScopeSet
from bot.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class PlatformLimits:
    """The limits of one platform that the flows depend on."""

    idempotency_window: timedelta
    """How long after the first attempt a message may be sent again with the same key without being duplicated.

    Zero if messages have no key. A message that may have arrived is then still sent again a few times, because a lost
    message costs its user more than a duplicate."""
    card_edit_window: timedelta
    """How long a card can be changed after it was sent. Zero if never: changes are then announced by messages."""
    message_interval: timedelta
    """The pause between two messages to one user, once the platform has rate-limited one."""
    code_lifetime: timedelta
    """How long an authorization code is valid."""
    scopes_per_link: int
    """How many scopes one authorization link may ask for."""


Webhook = Callable[[Mapping[str, str], bytes, float], Received]
"""Verifies, decrypts and parses one request, by its headers and its body, at this Unix time."""


class Platform(Protocol):
    """One app on one platform."""

    name: str
    app_id: str

    @property
    def display_name(self) -> Words:
        """What users call the platform."""

    @property
    def app(self) -> str:
        """The platform's name and the app id, in the form of `UserKey.app`."""

    @property
    def limits(self) -> PlatformLimits: ...

    @property
    def always_asked(self) -> ScopeSet:
        """The scopes that every authorization link asks for, besides what a command needs."""

    # capabilities

    @property
    def device(self) -> DeviceAuthorization | None: ...

    @property
    def in_client(self) -> InClientPage | None: ...

    @property
    def refreshing(self) -> Refreshing | None: ...

    @property
    def narrowing(self) -> ScopeNarrowing | None: ...

    @property
    def revocation(self) -> Revocation | None: ...

    @property
    def ephemeral(self) -> EphemeralMessages | None: ...

    @property
    def reactions(self) -> Reactions | None: ...

    @property
    def scope_applications(self) -> ScopeApplications | None: ...

    @property
    def directory(self) -> Directory | None: ...

    # events

    @property
    def webhooks(self) -> Mapping[str, Webhook]:
        """The paths, below the bot's public URL, to which the platform posts its events and clicks."""

    def click_answer(
        self, toast: Words, language: Language, kind: str = "info", card: Content | None = None
    ) -> Json:
        """Return the body that answers a card click: a toast (info, success, warning, error) and a card to replace
        the clicked one."""

    def user_key(self, open_id: str, tenant_key: str) -> UserKey: ...

    # API calls

    async def call(self, api_call: ApiCall, access_token: Secret, observe: Observe = ignore) -> Outcome:
        """Make one API call as the user, once, and return its outcome after at most 10 seconds.

        `observe` is told of each request that is made with the user's token.
        """

    @property
    def outage(self) -> Outage | None:
        """The current outage. None if the last request to each of the platform's hosts succeeded."""

    @property
    def server_time(self) -> ServerTime | None:
        """The time by the platform's clock when it last responded, or None if it has not."""

    # messages

    @property
    def monolingual(self) -> bool:
        """Whether a message is in one language. Otherwise it carries all of them, and the client chooses."""

    @property
    def quotes_messages(self) -> bool:
        """Whether a reply shows the message that it answers. Otherwise one reply names all that `/cancel` cancelled."""

    def render_reply(self, reply: Reply, language: Language) -> Content:
        """Render a reply. `language` matters only if messages are monolingual."""

    def render_card(self, card: Card, language: Language) -> Content: ...

    async def send(self, destination: Destination, content: Content, key: str) -> Sent | NotSent:
        """Send a message at most once for a key within `limits.idempotency_window`.

        Tries each route to the destination in turn, but stops if the platform refuses the content of the message.
        """

    async def update_card(self, message_id: str, content: Content) -> NotSent | None: ...

    # authorization

    @property
    def callback_path(self) -> str:
        """The path, below the bot's public URL, to which the authorization page redirects the browser."""

    @property
    def code_parameters(self) -> frozenset[str]:
        """The query parameters by which an authorization code may arrive. No other page keeps them in its address."""

    def parse_callback(self, parameters: Mapping[str, str]) -> Approved | Denied | Malformed:
        """Parse the query of the callback, or what the in-client page posts."""

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt: bool
    ) -> str:
        """Return the URL of the platform's authorization page.

        `challenge` is the S256 challenge of RFC 7636. `prompt` makes the page show its consent screen even if
        nothing new is asked for.
        """

    @property
    def token_endpoint(self) -> str:
        """The version of the token endpoint, recorded with each grant for operators."""

    @property
    def uses_pkce(self) -> bool:
        """Whether authorization links use PKCE."""

    @property
    def signs_in_with_pkce(self) -> bool:
        """Whether sign-ins in a browser use PKCE."""

    async def exchange_code(
        self,
        code: Secret,
        *,
        redirect_uri: str | None,
        verifier: Secret | None,
        scopes: ScopeSet | None,
        strict: bool = False,
    ) -> TokenSet | TokenRefused:
        """Exchange an authorization code.

        The token gets those of `scopes` that are granted; with None, all that the user ever granted. Returns
        `TokenProblem.SCOPE` when the platform rejects the scopes: another code must then be exchanged without naming
        any. `strict` has the meaning that it has in `ScopeNarrowing.narrow`.
        """

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        """Exchange the code of a sign-in, if possible at an endpoint that rejects the codes of other links."""

    async def identify(self, access_token: Secret) -> Identity | Refused | Unreachable:
        """Return the owner of the token."""

    # links

    def card_link(self, url: str) -> str:
        """Return the URL to put on a card, wrapped so that the client opens it next to the chat if it can."""

    @property
    def chat_link(self) -> str | None:
        """The URL that opens the chat with the bot in the client. None if the platform has no such links."""

    @property
    def account_link(self) -> str:
        """The URL where a user signs in to the platform or switches accounts."""

    def console_link(self, scopes: ScopeSet) -> str:
        """Return the URL of the developer console's page that lists these scopes, for user identity."""

    # the app and the organization

    async def enabled_scopes(self, *, fresh: bool = False) -> ScopeSet | None:
        """Return the scopes that the app has enabled for user identity, or None if they cannot be read.

        `fresh` skips the cache.
        """

    async def enabled_scopes_for_visitors(self) -> ScopeSet | None:
        """Return `enabled_scopes`, at most a few seconds old. Limited, because any visitor can cause requests."""

    async def redirect_urls(self) -> frozenset[str] | None:
        """Return the redirect URLs that the app has registered, or None if they cannot be read."""

    def knows_scope(self, scope: Scope) -> bool:
        """Return whether the scope certainly exists: the platform has listed it, or the bot knows it."""

    async def describe_scopes(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        """Return what each scope allows: the platform's description, else the bot's own, else the scope's name."""

    async def time_zone_of(self, user: UserKey) -> str | None:
        """Return the time zone in the user's profile, or None if the app may not read it or there is none."""

    async def administrators(self) -> tuple[str, ...]:
        """Return the open_ids of the app's owner or administrators. Empty if they cannot be read."""


# --- capabilities -------------------------------------------------------------------------------------------------


class DeviceAuthorization(Protocol):
    """Authorization on the platform's own page, which needs no callback (RFC 8628)."""

    async def request_device_authorization(self, scopes: ScopeSet) -> DeviceCode | TokenRefused:
        """Request a device code and the page where the user enters it."""

    async def poll_device(self, device_code: Secret) -> TokenSet | DeviceAnswer | TokenRefused:
        """Ask whether the user has decided. Tokens are returned only once, with all scopes that the user ever granted."""


class InClientPage(Protocol):
    """Authorization inside the client, by a page of the bot that calls the client's JavaScript API."""

    @property
    def page_path(self) -> str:
        """The path of the page below the bot's public URL."""

    @property
    def folder(self) -> Path:
        """The folder with the template `in_client.html`, and `static/` with its script, served at `/static/<name>/`."""

    @property
    def words(self) -> Mapping[str, object]:
        """What the page's template reads of the platform's own words, as `own.NAME`."""

    @property
    def client_script(self) -> str:
        """The URL of the client's JavaScript SDK, followed by `#` and its integrity hash if that is checked."""

    def script_settings(self, scopes: ScopeSet, state: Secret) -> Json:
        """Return the settings of the page's script for an attempt. `scopes` is empty for a sign-in.

        The script posts the code, with the state, in the parameters that `Platform.parse_callback` reads.
        """

    def is_in_client(self, user_agent: str) -> bool:
        """Return whether a browser is the one inside the platform's client."""

    def client_locale(self, user_agent: str) -> str | None:
        """Return the locale that the client states in its user agent, or None."""


class Refreshing(Protocol):
    """Refresh tokens (RFC 6749, section 6)."""

    async def refresh(
        self, refresh_token: Secret, *, scopes: ScopeSet | None = None
    ) -> TokenSet | TokenRefused:
        """Refresh a token set. `scopes` limits it to those of them that are still granted; None keeps its scopes."""


class ScopeNarrowing(Protocol):
    """Token sets that can be exchanged for ones with fewer scopes."""

    async def narrow(
        self, tokens: TokenSet, scopes: ScopeSet, *, strict: bool = False
    ) -> TokenSet | TokenRefused:
        """Exchange tokens for ones that have at most these scopes, and those that the platform always adds.

        Tokens that cannot be narrowed are returned with the scopes that they are to be used for. With `strict` the
        platform's refusal to narrow them is returned instead.
        """


class Revocation(Protocol):
    """Token revocation (RFC 7009)."""

    async def revoke(self, token: Secret) -> TokenRefused | None:
        """Revoke a token at the platform. Returns None if it is revoked, or the platform does not know it."""


class EphemeralMessages(Protocol):
    """Messages in a group that only one member sees. They can be deleted, but not changed."""

    async def withdraw(self, message_id: str) -> NotSent | None: ...


class Reactions(Protocol):
    """Reactions that the bot adds to users' messages."""

    @property
    def can_react(self) -> bool:
        """False while it is known that the app may not add reactions."""

    async def react(self, message_id: str) -> str | NotSent:
        """Add the reaction that shows that a message is being processed, and return the reaction's id."""

    async def unreact(self, message_id: str, reaction_id: str) -> NotSent | None: ...


class Directory(Protocol):
    """The names of users: from the organization's address book, as far as the app may read it, or from their messages."""

    @property
    def is_readable(self) -> bool:
        """False while it is not known that names can be read."""

    async def name_of(self, user: UserKey) -> str | None:
        """Return the name of a user, or None if it cannot be read."""


class ScopeApplication(StrEnum):
    """The result of asking the organization's administrator for scopes through the platform."""

    SENT = "sent"
    SENT_BEFORE = "sent_before"
    NOTHING_PENDING = "nothing_pending"
    """The app has no pending application. Applications are made in the developer console."""
    REFUSED = "refused"
    FAILED = "failed"


class ScopeApplications(Protocol):
    """Requests for scopes that the platform forwards to the organization's administrator."""

    @property
    def pending_scopes(self) -> ScopeSet:
        """Scopes that the app has applied for and the administrator has not approved, as last read."""

    async def apply_for_scopes(self) -> ScopeApplication:
        """Ask the organization's administrator through the platform to approve all of them."""
