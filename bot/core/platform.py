"""The port: what the flows need from a chat platform."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from bot.core.api import ApiCall, Json, Outcome, Refused, Unreachable
from bot.core.cards import Card
from bot.core.events import Outage, Received
from bot.core.language import Words
from bot.core.messages import Content, Destination, NotSent, Reply, Sent
from bot.core.oauth import DeviceAnswer, DeviceCode, TokenRefused, TokenSet
from bot.core.people import Identity, UserKey
from bot.core.scopes import Scope, ScopeSet
from bot.core.secrets import Secret


class ScopeApplication(StrEnum):
    """What came of having the platform ask the organization's administrator for scopes."""

    SENT = "sent"
    SENT_BEFORE = "sent_before"
    NOTHING_PENDING = "nothing_pending"
    """The app has not applied for any scope that is not enabled: that is done in the developer console."""
    REFUSED = "refused"
    FAILED = "failed"


class Platform(Protocol):
    """One app on one platform. Every method may be called concurrently; none raises for what the network does."""

    name: str
    app_id: str

    # what comes in

    def receive(self, headers: Mapping[str, str], body: bytes) -> Received:
        """Verifies, decrypts and parses one webhook request."""

    def parse(self, payload: bytes) -> Received:
        """Parses one payload of the long connection, which vouches for its sender."""

    # calls

    async def call(self, api_call: ApiCall, access_token: Secret) -> Outcome:
        """Makes one API call as the user, once; waits 10 seconds at most."""

    @property
    def outage(self) -> Outage | None:
        """None while the last request to each of its hosts got through."""

    # messages of the bot

    def render_reply(self, reply: Reply) -> Content: ...

    def render_card(self, card: Card) -> Content: ...

    async def send(self, destination: Destination, content: Content, key: str) -> Sent | NotSent:
        """Sends a message at most once for a key within the platform's window (an hour), trying each way to its
        destination in turn, until one is refused for what the message says."""

    async def update_card(self, message_id: str, content: Content) -> NotSent | None: ...

    async def withdraw(self, message_id: str) -> NotSent | None:
        """Deletes an ephemeral card, which cannot be changed."""

    @property
    def can_react(self) -> bool:
        """False while it is known that the app may not add reactions."""

    async def react(self, message_id: str) -> str | NotSent:
        """Adds the reaction that says that a message is being worked on; returns its id."""

    async def unreact(self, message_id: str, reaction_id: str) -> NotSent | None: ...

    # authorization

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt_consent: bool
    ) -> str:
        """Return the URL of the consent page. `prompt_consent` shows it even if nothing new is asked for."""

    def card_link(self, url: str) -> str:
        """The URL as a card carries it: wrapped so that the client opens it beside the chat, where it can."""

    @property
    def chat_link(self) -> str | None:
        """Opens the chat with the bot in the client; None when no such link is to be used."""

    @property
    def account_link(self) -> str:
        """Where a browser signs in to the platform, and changes the account that it is signed in with."""

    @property
    def uses_pkce(self) -> bool: ...

    async def exchange_code(
        self,
        code: Secret,
        *,
        redirect_uri: str | None,
        verifier: Secret | None,
        scopes: ScopeSet | None,
        strict: bool = False,
    ) -> TokenSet | TokenRefused:
        """`scopes` narrows the token to these; None takes all that was ever granted.

        When not all of these are granted, the token has those that are. `TokenProblem.SCOPE` when the platform would
        not have that: another code is to be exchanged without naming any. `strict` as for `narrow`.
        """

    @property
    def signs_in_with_pkce(self) -> bool:
        """Whether a sign-in in a browser makes a PKCE pair."""

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        """Exchange the code of a sign-in, at the endpoint that rejects codes of foreign links if there is one."""

    async def request_device_authorization(self, scopes: ScopeSet) -> DeviceCode | TokenRefused:
        """Has a device code minted, for a person who goes to the platform's own page (RFC 8628)."""

    async def poll_device(self, device_code: Secret) -> TokenSet | DeviceAnswer | TokenRefused:
        """Asks whether the person has decided. Tokens are given out once, with all that was ever granted."""

    async def narrow(
        self, tokens: TokenSet, scopes: ScopeSet, *, strict: bool = False
    ) -> TokenSet | TokenRefused:
        """Exchanges tokens for ones that have these scopes at most, and what the platform adds by itself.

        Tokens that cannot be narrowed are returned with the scopes that they are to be used for. `strict`: when the
        platform refuses to narrow them, its refusal is returned instead.
        """

    async def refresh(
        self, refresh_token: Secret, *, scopes: ScopeSet | None = None
    ) -> TokenSet | TokenRefused:
        """`scopes` narrows the new tokens to these, as far as they are granted still; None leaves them as they were."""

    async def identify(self, access_token: Secret) -> Identity | Refused | Unreachable:
        """Whom the token belongs to."""

    async def revoke(self, token: Secret) -> TokenRefused | None:
        """Ends a grant at the platform; None when it is done, or was unknown there already."""

    # about the app

    async def enabled_scopes(self, *, fresh: bool = False) -> ScopeSet | None:
        """Scopes that the app has for user identity; None when that cannot be read. `fresh` skips the cache."""

    async def enabled_scopes_for_visitors(self) -> ScopeSet | None:
        """As `fresh`, or as some seconds ago: whatever visitors ask for costs the platform no more than that."""

    async def redirect_urls(self) -> frozenset[str] | None:
        """The redirect URLs that the app has registered; None when they cannot be read."""

    def knows_scope(self, scope: Scope) -> bool:
        """Whether it exists for all we know: it is in a list of the platform's, as last read, or well known."""

    async def time_zone_of(self, user: UserKey) -> str | None:
        """The time zone in a person's profile; None when the app may not read it, or there is none."""

    @property
    def pending_scopes(self) -> ScopeSet:
        """Scopes that the app has applied for, and the organization's administrator has not granted, as last read."""

    async def apply_for_scopes(self) -> ScopeApplication:
        """Asks the organization's administrator for all of them, in the platform's own way."""

    async def describe_scopes(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        """What each scope allows, in words: the platform's own, else ours, else its name."""

    async def administrators(self) -> tuple[str, ...]:
        """The open_ids of the app's owner or administrators, as far as they can be read."""

    def console_link(self, scopes: ScopeSet) -> str:
        """The developer console's page that lists these scopes, for user identity."""

    # answers to webhooks

    def click_answer(self, toast: Words | None, kind: str = "info", card: Content | None = None) -> Json:
        """The body that answers a card click: a toast (info, success, warning, error), and a card to put in its place."""

    def user_key(self, open_id: str, tenant_key: str) -> UserKey: ...
