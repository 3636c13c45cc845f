"""The port: what the flows need from a chat platform.

`Platform` holds what every platform must do. What only some platforms can do is a small separate protocol, an
attribute of the platform that is None where the platform lacks the capability::

    if platform.revocation is not None:
        await platform.revocation.revoke(token)

Every method may be called concurrently. No method raises for what the network does: failures are return values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from bot.core.api import ApiCall, Json, Outcome, Refused, Unreachable
from bot.core.cards import Card
from bot.core.events import Outage, Received
from bot.core.language import Words
from bot.core.messages import Content, Destination, NotSent, Reply, Sent
from bot.core.oauth import Approved, Denied, DeviceAnswer, DeviceCode, Malformed, TokenRefused, TokenSet
from bot.core.people import Identity, UserKey
from bot.core.scopes import Scope, ScopeSet
from bot.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class PlatformLimits:
    """The times and numbers of one platform that the flows depend on."""

    idempotency_window: timedelta
    """How long after the first attempt a message may be sent again with the same key without a second one appearing."""
    card_edit_window: timedelta
    """How long after it was sent a card can be changed."""
    message_interval: timedelta
    """Between two messages to one user, once the platform has refused one as too many."""
    code_lifetime: timedelta
    """Of an authorization code."""
    scopes_per_link: int
    """How many scopes one authorization link may ask for."""


Webhook = Callable[[Mapping[str, str], bytes], Received]
"""Verifies, decrypts and parses one request, by its headers and its body."""


class Platform(Protocol):
    """One app on one platform."""

    name: str
    app_id: str

    @property
    def display_name(self) -> Words:
        """What users call the platform."""

    @property
    def app(self) -> str:
        """The name and the app, in the form of `UserKey.app`."""

    @property
    def limits(self) -> PlatformLimits: ...

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

    # events

    @property
    def webhooks(self) -> Mapping[str, Webhook]:
        """Where the platform posts its events and clicks, from the root of the bot's public address."""

    def click_answer(self, toast: Words | None, kind: str = "info", card: Content | None = None) -> Json:
        """Return the body that answers a card click: a toast (info, success, warning, error) and a card to replace
        the clicked one."""

    def user_key(self, open_id: str, tenant_key: str) -> UserKey: ...

    # API calls

    async def call(self, api_call: ApiCall, access_token: Secret) -> Outcome:
        """Make one API call as the user, once; waits 10 seconds at most."""

    @property
    def outage(self) -> Outage | None:
        """None while the last request to each of the platform's hosts got through."""

    # messages

    def render_reply(self, reply: Reply) -> Content: ...

    def render_card(self, card: Card) -> Content: ...

    async def send(self, destination: Destination, content: Content, key: str) -> Sent | NotSent:
        """Send a message at most once for a key within `limits.idempotency_window`.

        Tries each way to the destination in turn, until one is refused for the content of the message.
        """

    async def update_card(self, message_id: str, content: Content) -> NotSent | None: ...

    # authorization

    @property
    def callback_path(self) -> str:
        """Where the authorization page sends the browser back, from the root of the bot's public address."""

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
        """Whether an authorization link makes a PKCE pair."""

    @property
    def signs_in_with_pkce(self) -> bool:
        """Whether a sign-in in a browser makes a PKCE pair."""

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

        `scopes` are the most that the token may have; None takes all that the user ever granted. When not all of them
        are granted, the token has those that are. Returns `TokenProblem.SCOPE` when the platform rejects the scopes:
        another code must then be exchanged without naming any. `strict` as for `ScopeNarrowing.narrow`.
        """

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        """Exchange the code of a sign-in, at the endpoint that rejects codes of foreign links if there is one."""

    async def identify(self, access_token: Secret) -> Identity | Refused | Unreachable:
        """Return the user whom the token belongs to."""

    # links

    def card_link(self, url: str) -> str:
        """Return the URL as a card carries it: wrapped so that the client opens it beside the chat, where it can."""

    @property
    def chat_link(self) -> str | None:
        """The URL that opens the chat with the bot in the client; None when there is no such link."""

    @property
    def account_link(self) -> str:
        """The URL where a browser signs in to the platform, and switches the account that it is signed in with."""

    def console_link(self, scopes: ScopeSet) -> str:
        """Return the URL of the developer console's page that lists these scopes, for user identity."""

    # the app and the organization

    async def enabled_scopes(self, *, fresh: bool = False) -> ScopeSet | None:
        """Return the scopes that the app has for user identity, or None if they cannot be read.

        `fresh` skips the cache.
        """

    async def enabled_scopes_for_visitors(self) -> ScopeSet | None:
        """Return the same, at most a few seconds old, at a bounded cost: any visitor can cause this call."""

    async def redirect_urls(self) -> frozenset[str] | None:
        """Return the redirect URLs that the app has registered, or None if they cannot be read."""

    def knows_scope(self, scope: Scope) -> bool:
        """Return whether the scope is in a list that the platform returned, or is well known."""

    async def describe_scopes(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        """Return what each scope allows: the platform's description, else the bot's own, else the scope's name."""

    async def time_zone_of(self, user: UserKey) -> str | None:
        """Return the time zone in the user's profile, or None if the app may not read it or there is none."""

    async def administrators(self) -> tuple[str, ...]:
        """Return the open_ids of the app's owner or administrators, as far as they can be read."""


# --- capabilities -------------------------------------------------------------------------------------------------


class DeviceAuthorization(Protocol):
    """Authorization on the platform's own page, which needs no callback (RFC 8628)."""

    async def request_device_authorization(self, scopes: ScopeSet) -> DeviceCode | TokenRefused:
        """Request a device code and the page where the user enters it."""

    async def poll_device(self, device_code: Secret) -> TokenSet | DeviceAnswer | TokenRefused:
        """Ask whether the user has decided. Tokens are returned once, with all that the user ever granted."""


class InClientPage(Protocol):
    """Authorization inside the client, by a page of the bot that calls the client's JavaScript API."""

    @property
    def page_path(self) -> str:
        """Where the page is, from the root of the bot's public address."""

    @property
    def folder(self) -> Path:
        """Holds the page's template `in_client.html`, and `static/` with its script, served at `/static/<platform>/`."""

    @property
    def client_script(self) -> str:
        """The URL of the client's JavaScript SDK, with `#` and its integrity behind it if that is checked."""

    def script_settings(self, scopes: ScopeSet, state: Secret) -> Json:
        """Return what the page's script gets for an attempt. `scopes` is empty for a sign-in.

        The script posts the code, with the state, in the parameters that `Platform.parse_callback` reads.
        """

    def is_in_client(self, user_agent: str) -> bool:
        """Return whether the page is opened inside the platform's client."""

    def client_locale(self, user_agent: str) -> str | None:
        """Return the locale that the client puts into its user agent, or None."""


class Refreshing(Protocol):
    """Refresh tokens (RFC 6749, section 6)."""

    async def refresh(
        self, refresh_token: Secret, *, scopes: ScopeSet | None = None
    ) -> TokenSet | TokenRefused:
        """Refresh a token set. `scopes` narrows it, as far as the scopes are still granted; None leaves it as it was."""


class ScopeNarrowing(Protocol):
    """Token sets that can be exchanged for ones with fewer scopes."""

    async def narrow(
        self, tokens: TokenSet, scopes: ScopeSet, *, strict: bool = False
    ) -> TokenSet | TokenRefused:
        """Exchange tokens for ones that have these scopes at most, and those that the platform adds by itself.

        Tokens that cannot be narrowed are returned with the scopes that they are to be used for. With `strict` the
        platform's refusal to narrow them is returned instead.
        """


class Revocation(Protocol):
    """Token revocation (RFC 7009)."""

    async def revoke(self, token: Secret) -> TokenRefused | None:
        """End a grant at the platform. Returns None when it is ended, or was unknown there."""


class EphemeralMessages(Protocol):
    """Messages in a group that one member alone sees. They can be deleted, but not changed."""

    async def withdraw(self, message_id: str) -> NotSent | None: ...


class Reactions(Protocol):
    """Reactions that the bot adds to users' messages."""

    @property
    def can_react(self) -> bool:
        """False while it is known that the app may not add reactions."""

    async def react(self, message_id: str) -> str | NotSent:
        """Add the reaction that says that a message is being worked on; returns the reaction's id."""

    async def unreact(self, message_id: str, reaction_id: str) -> NotSent | None: ...


class ScopeApplication(StrEnum):
    """The result of asking the organization's administrator for scopes through the platform."""

    SENT = "sent"
    SENT_BEFORE = "sent_before"
    NOTHING_PENDING = "nothing_pending"
    """The app has not applied for any scope that is not enabled: that is done in the developer console."""
    REFUSED = "refused"
    FAILED = "failed"


class ScopeApplications(Protocol):
    """Requests for scopes that the platform forwards to the organization's administrator."""

    @property
    def pending_scopes(self) -> ScopeSet:
        """Scopes that the app has applied for and the administrator has not granted, as last read."""

    async def apply_for_scopes(self) -> ScopeApplication:
        """Ask the organization's administrator for all of them, in the platform's own way."""
