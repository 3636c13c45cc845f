"""The nouns: who asks, what is called, what came back, what is kept. Frozen data and nothing else.

How a status may change is in `lifecycle`, what to do next is in `decisions`, scopes are in `scopes`.
All times are aware UTC datetimes.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from bot.core.scopes import Requirement, ScopeSet

Json = Any
"""A parsed JSON value. Only adapters look inside one that came from outside."""

Language = Literal["en", "zh"]


class Secret:
    """A string that shows itself only to whoever calls `reveal`: printing, logging or formatting gives `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> Any:
        raise TypeError("A Secret is not pickled.")


# --- who -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserKey:
    """One person, as one app on one platform knows them. Everything stored about a person carries it."""

    platform: str
    """`lark` or `dingtalk`."""
    app_id: str
    tenant_key: str
    open_id: str

    def __str__(self) -> str:
        return f"{self.app}:{self.tenant_key}:{self.open_id}"

    @property
    def app(self) -> str:
        """Which app it is that knows them."""
        return f"{self.platform}:{self.app_id}"

    @classmethod
    def parse(cls, text: str) -> UserKey:
        """The inverse of `str(key)`; `ValueError` when it is none."""
        platform, app_id, tenant_key, open_id = text.split(":", 3)
        return cls(platform, app_id, tenant_key, open_id)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token belongs to, as the platform says."""

    open_id: str
    tenant_key: str
    union_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    chat_id: str
    kind: Literal["direct", "group"]
    thread_id: str | None = None
    """The topic of the chat, if it is in one."""


# --- what is called, and what came back ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """Marks an API call that changes something.

    `keyed_for` is how long after the first sending a blind resend with the same idempotency key is known to be
    harmless; None when the API has no key, so that it must never be sent twice.
    """

    keyed_for: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One OpenAPI call as a user. `path` is below the platform's origin; `body` is sent as JSON.

    What a command yields counts as a write without an idempotency key unless its method is GET or HEAD, `read` says
    that it changes nothing, or `write` says more.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    write: Write | None = None
    read: bool = False


@dataclass(frozen=True, slots=True)
class Succeeded:
    data: Json
    """The whole response body, parsed."""
    log_id: str | None = None


@dataclass(frozen=True, slots=True)
class InsufficientScope:
    """The user has not granted any of these alternatives (RFC 6750 `insufficient_scope`)."""

    alternatives: tuple[str, ...]
    log_id: str | None = None


@dataclass(frozen=True, slots=True)
class AppScopeMissing:
    """The app itself has none of these alternatives enabled for user identity: an administrator's matter."""

    alternatives: tuple[str, ...]
    log_id: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """The access token is expired or invalid: worth one refresh."""

    code: int
    log_id: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimited:
    retry_after: float | None
    """Seconds that the platform asked us to wait, if it said."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No usable answer. `may_have_arrived` is False only if the request certainly never left or was not acted on."""

    reason: str
    may_have_arrived: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The platform answered no, for a reason that neither a scope nor a fresh token would change."""

    code: int
    message: str
    log_id: str | None = None
    data: Json = None
    """The whole response body, parsed."""
    unnamed_scope: bool = False
    """It is for want of a scope after all, and does not say of which."""


Outcome = (
    Succeeded | InsufficientScope | AppScopeMissing | TokenRejected | RateLimited | Unreachable | Refused
)
"""Every answer to an API call is exactly one of these, decided once, in the platform's adapter."""


# --- tokens ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What the token endpoint returned."""

    access_token: Secret
    expires_in: int
    """Seconds."""
    refresh_token: Secret | None
    refresh_expires_in: int | None
    scopes: ScopeSet | None
    """What this token really has; None when the platform did not say."""


class TokenProblem(StrEnum):
    """Why the token endpoint gave no token: who can fix it."""

    CODE = "code"
    """The authorization code is unknown, used, late or not ours: the person opens the link again."""
    OVER = "over"
    """The refresh token is spent, expired or revoked, or the person is gone: ask for authorization again."""
    USER = "user"
    """The person may not use this app (not installed for them, no permission, frozen)."""
    APP = "app"
    """The app's own configuration is wrong: an operator must act; what is stored stays."""
    SCOPE = "scope"
    """The app has not enabled a scope that was asked for: another one, or the administrator."""
    BLOCKED = "blocked"
    """A security policy wants a challenge or denies: what is stored stays, the hint is shown."""
    TRANSIENT = "transient"
    """The platform could not answer now, and did nothing."""
    IN_DOUBT = "in_doubt"
    """No answer came, and the request may have been carried out."""


@dataclass(frozen=True, slots=True)
class TokenRefused:
    problem: TokenProblem
    code: int
    """The platform's error code; 0 when there was no answer to read one from."""
    message: str
    """For logs and operators; never holds a secret."""
    error: str = ""
    """The `error` of RFC 6749 or RFC 8628, when there was one."""
    retry_after: float | None = None
    """Seconds that the platform asked us to wait, if it did."""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the platform mints for a person who goes to its page by themselves (RFC 8628, 3.2)."""

    device_code: Secret
    user_code: Secret
    """What the platform's page asks for, or shows for comparison."""
    link: Secret
    """The platform's page, with the user code in it where the platform can do that."""
    expires_in: int
    """Seconds."""
    interval: int
    """Seconds between two polls, at least."""


class DeviceAnswer(StrEnum):
    """What a poll with a device code says instead of tokens (RFC 8628, 3.5)."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"


class ScopeApplication(StrEnum):
    """What came of having the platform ask the organization's administrator for scopes."""

    SENT = "sent"
    SENT_BEFORE = "sent_before"
    NOTHING_PENDING = "nothing_pending"
    """The app has not applied for any scope that is not enabled: that is done in the developer console."""
    REFUSED = "refused"
    FAILED = "failed"


# --- what is said ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Words:
    """One text in every language the bot speaks."""

    en: str
    zh: str

    def to(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en

    def format(self, **values: object) -> Words:
        """Fills `{name}` in every language; a value that is itself Words goes in by language."""
        return Words(
            self.en.format(**{k: v.en if isinstance(v, Words) else v for k, v in values.items()}),
            self.zh.format(**{k: v.zh if isinstance(v, Words) else v for k, v in values.items()}),
        )

    def __add__(self, more: Words) -> Words:
        return Words(self.en + more.en, self.zh + more.zh)

    def strip(self) -> Words:
        return Words(self.en.strip(), self.zh.strip())


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line, shown literally: it is never read as markup. `url` makes it a link, if it is an
    address of the platform's or of the bot's: a whole one, or a path (`/docx/TOKEN`) at the platform."""

    text: Words | str
    bold: bool = False
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A block of fixed-width text, on lines of its own."""

    text: str
    language: str = "JSON"
    """Empty: none in particular."""


Line = tuple[Span, ...] | Code


@dataclass(frozen=True, slots=True)
class Control:
    """A button under a reply: its action is one of `core.cards`, its subject the id of what that is about."""

    words: Words
    action: str
    subject: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in the chat, in every language, without a word of how a platform draws it."""

    title: Words | None
    lines: tuple[Line, ...] = ()
    confidential: bool = False
    """In a group it is shown to the asker alone, whatever its command says."""
    control: Control | None = None
    time_zone: str | None = None
    """IANA name: what the answer has found out of the asker's time zone."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message's body, rendered by a platform's adapter; everybody else passes it on unread."""

    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes. The first that works: a reply, else the chat, else the person alone."""

    user: UserKey
    chat_id: str | None = None
    reply_to: str | None = None
    """The message that it answers."""
    private: bool = False
    """Only the person may see it: never the chat, if that is a group."""
    group_first: bool = False
    """A private message is first tried in the group, shown to the person alone, and only then sent to them directly."""
    unless_recalled: bool = False
    """Nothing is sent when the message that it answers was recalled."""
    direct: DirectChat | None = None
    """The person's chat with the bot: a way to them when a message to the person is refused."""


@dataclass(frozen=True, slots=True)
class DirectChat:
    chat_id: str
    message_id: str | None
    """The person's latest message there, which can be replied to."""


@dataclass(frozen=True, slots=True)
class Sent:
    message_id: str
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """`retry` tells a platform that could not answer from one that will never deliver this message there."""

    reason: str
    retry: bool
    gone: bool = False
    """The message to answer or to patch no longer exists or can no longer be changed."""
    recalled: bool = False
    """The message to answer was recalled."""
    no_way: bool = False
    """Every known way to the person is closed, for no reason that is in the message."""
    may_have_arrived: bool = False
    retry_after: float | None = None
    one_too_many: bool = False
    """More than the platform takes at once."""


# --- what comes in -----------------------------------------------------------------------------------

Mentions = Mapping[str, str]
"""Names of the people whom a message mentions, by the placeholder (`@_user_2`) that stands for each in its text."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    event_id: str
    user: UserKey
    chat: Chat
    message_id: str
    text: str | None
    """Without the mention of the bot; None when the message is no text. A placeholder stands for each other mention:
    what people call themselves is not yet in it when the command is looked for."""
    sent_at: datetime
    language: Language | None
    """From the client's locale, when the platform gives one."""
    foreign: bool = False
    """The sender belongs to another tenant."""
    union_id: str | None = None
    mentions: Mentions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatEntered:
    """A person opened the direct chat with the bot. `first` when nothing was ever said there."""

    event_id: str
    user: UserKey
    chat: Chat
    first: bool


@dataclass(frozen=True, slots=True)
class MessageRecalled:
    event_id: str
    platform: str
    app_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class CardClicked:
    """A callback control of a card was used. Answered within 3 s, and never delivered again."""

    event_id: str
    user: UserKey
    message_id: str | None
    chat_id: str | None
    action: str
    """Which control; empty for one that carries no value of ours, as a control of somebody else's card may."""
    subject: str | None
    """The id of what the card is about."""
    time_zone: str | None


@dataclass(frozen=True, slots=True)
class GrantRevoked:
    """The platform says that a person's tokens were revoked at `at`, by them or by somebody with the power to."""

    event_id: str
    user: UserKey
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class PersonLeft:
    """A person is no longer a member of the organization."""

    event_id: str
    user: UserKey


@dataclass(frozen=True, slots=True)
class AppStopped:
    """The app was uninstalled from an organization, or disabled there."""

    event_id: str
    platform: str
    app_id: str
    tenant_key: str
    at: datetime | None = None
    """When; None if the platform did not say."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Authentic, and of no interest (a group message that does not mention the bot, an unknown event)."""

    event_id: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """The platform checks the address; the answer repeats the value."""

    value: str


@dataclass(frozen=True, slots=True)
class Unauthentic:
    """Not from the platform, or not for us, or malformed. Changes nothing. `status` is the HTTP status to answer."""

    reason: str
    status: int
    advice: str = ""
    """What an operator should change, if it looks as if the platform sent it as it is configured there."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Events cannot come in, or calls cannot go out: since when, and why, in words for operators."""

    since: datetime
    reason: str


Event = (
    MessageReceived
    | ChatEntered
    | MessageRecalled
    | CardClicked
    | GrantRevoked
    | PersonLeft
    | AppStopped
    | Ignored
)
Received = Event | Challenge | Unauthentic


# --- what is kept ------------------------------------------------------------------------------------


class CallStatus(StrEnum):
    QUEUED = "queued"
    """Waits for a worker, perhaps until `runs_after`."""
    RUNNING = "running"
    """A worker holds its lease."""
    SUSPENDED = "suspended"
    """Waits for what `waits_for` names."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUTCOME_UNKNOWN = "outcome_unknown"
    """A write may or may not have been carried out; its user was told what to check."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class WaitsFor(StrEnum):
    """What a suspended call waits for."""

    AUTHORIZATION = "authorization"
    ADMINISTRATOR = "administrator"
    CONFIRMATION = "confirmation"


class RequestStatus(StrEnum):
    OPEN = "open"
    REDEEMING = "redeeming"
    """A consent came back and is being exchanged."""
    GRANTED = "granted"
    DECLINED = "declined"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """Its card can no longer be changed; another request took its place. Its consents still count."""
    FAILED = "failed"


class AttemptKind(StrEnum):
    AUTHORIZATION = "authorization"
    SIGN_IN = "sign_in"


class DeviceStatus(StrEnum):
    MINTING = "minting"
    """The platform is being asked for a code."""
    POLLING = "polling"
    """The card shows the platform's link; the platform is asked whether the person has consented."""
    COMPLETED = "completed"
    DENIED = "denied"
    FAILED = "failed"
    EXPIRED = "expired"


class GrantStatus(StrEnum):
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class DeferredCall:
    """A command as it was asked: a row, so that it survives whoever works on it."""

    id: str
    user: UserKey
    chat: Chat
    message_id: str | None
    command: str
    arguments: str
    asked_at: datetime
    language: Language
    time_zone: str | None
    status: CallStatus
    waits_for: WaitsFor | None
    needs: Requirement
    """What a suspended call waits to see granted."""
    request_id: str | None
    consents: int
    """How many consents it has taken so far."""
    attempts: int
    first_failed_at: datetime | None
    expires_at: datetime
    claim: int
    """Counts the claims; a worker whose number is no longer the row's has lost it (fencing)."""
    runs_after: datetime
    """When it is due; of a running one, when its lease ends; of a suspended one, until when it is left alone."""
    suspended_at: datetime | None
    confirmed: bool
    takeovers: int = 0
    """How often a worker lost it since it last made a step."""
    recalled_at: datetime | None = None
    """When its question was recalled, if that was while it was under way."""
    genuine: bool | None = True
    """Whether the bot wrote it as it is. None: only another replica has the key that can tell."""


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded move of a command. `result` is None for a write whose answer is not known (yet)."""

    number: int
    digest: str
    """Of the API call, so that a replay after a deploy notices that the command has changed."""
    write: bool
    first_sent_at: datetime | None
    result: Json | None


FOR_ADMINISTRATOR = "administrator"
"""The `failure` of a request that waits for the administrator."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One ask to one user; what its card says follows from it."""

    id: str
    user: UserKey
    status: RequestStatus
    scopes: ScopeSet
    """What its link asks for now."""
    granted: ScopeSet
    """What of that was given, once something was."""
    refused: ScopeSet
    ticket: Secret | None
    """None: it cannot be opened. It is lost, or the bot did not write this request: its links lead nowhere."""
    reasons: tuple[str, ...]
    """The commands that ask, in the order asked, without repetition."""
    card_message_id: str | None
    card_ephemeral: bool
    card_wanted: int
    """Counts the changes that the card should show; `card_shown` is the one it does."""
    card_shown: int
    card_attempts: int
    """How often showing the latest change has failed."""
    card_lease_until: datetime | None
    """Until when its claimer has the card; also what tells this claim from every other (fencing)."""
    card_moves: int
    """How often the card was sent anew, because it was not found in the chat."""
    created_at: datetime
    expires_at: datetime
    failure: str | None
    """Why it failed, in one word."""
    avoided: ScopeSet
    """Scopes that the platform's page refused, so that another alternative is asked for."""
    declined_on_page_at: datetime | None = None
    """When a visitor declined it on the platform's page, since it last asked. Nobody knows who that was."""

    @property
    def waits_for_administrator(self) -> bool:
        """Nothing that the app has can be asked for; it is asked again when the administrator has enabled more."""
        return self.failure == FOR_ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class Attempt:
    """One opening of a link."""

    id: str
    kind: AttemptKind
    request_id: str | None
    user: UserKey | None
    scopes: ScopeSet
    redirect_uri: str | None
    verifier: Secret | None
    """None when it needs none, or it is lost: then the platform refuses the code."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """One press of the button on a card without a link of ours. Its codes are there while it is polled for."""

    id: str
    request_id: str
    user: UserKey
    status: DeviceStatus
    scopes: ScopeSet
    """What it asks for; its request may ask for more by now."""
    device_code: Secret | None
    """None while there is none, or when it is lost."""
    user_code: Secret | None
    link: Secret | None
    interval: int
    """Seconds between two polls, as the platform wants it by now."""
    failures: int
    """Of the platform to answer, one after another."""
    created_at: datetime
    expires_at: datetime | None
    """When the platform forgets the code; None until it has one."""
    claim: int
    """Counts the claims; a worker whose number is no longer the row's has lost it (fencing)."""
    outcome: str | None
    """How it ended, in one word."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user gave. `generation` counts every change of the tokens: a late refresh compares it and loses.

    A token that nobody can open any more is as good as none.
    """

    user: UserKey
    status: GrantStatus
    generation: int
    access_token: Secret | None
    access_expires_at: datetime | None
    refresh_token: Secret | None
    refresh_expires_at: datetime | None
    scopes: ScopeSet
    scopes_ever: ScopeSet
    """Every scope ever granted, since the grant was last ended."""
    authorized_at: datetime
    """The last code exchange."""
    issued_at: datetime
    """When this token set came, by an exchange or a refresh."""
    last_used_at: datetime | None
    refresh_failures: int
    """Failed refreshes since the last that succeeded."""
    refresh_after: datetime | None
    """No refresh before, after a failure."""
    refresh_lease_until: datetime | None
    """Until when a worker has the refresh token to itself."""
    end_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that a person is signed in with. `digest` is of its id, which only that browser has."""

    digest: str
    user: UserKey
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    genuine: bool | None = True
    """Whether the bot wrote it. None: only another replica has the key that can tell."""
