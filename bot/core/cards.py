"""Cards as data. The platform's adapter renders them; their words are in `core.words.cards`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bot.core.language import Words
from bot.core.scopes import Scope, ScopeSet
from bot.core.secrets import Secret


class Face(StrEnum):
    """What an authorization card shows. It depends only on the card's request."""

    WAITING = "waiting"
    REDEEMING = "redeeming"
    AUTHORIZED = "authorized"
    PARTLY = "partly"
    DECLINED = "declined"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    ADMINISTRATOR = "administrator"
    """An administrator has to enable a scope first."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CardDelivery:
    """Which version a card should show, which one it shows, and which worker updates it."""

    wanted: int
    """Counts the changes that the card should show. `shown` is the number of the one that it shows."""
    shown: int
    attempts: int
    """Failed attempts to show the latest change."""
    moves: int
    """How often the card was sent again as a new message."""
    message_id: str | None
    """The message that shows the card. None before it is sent, and for the cards of administrators."""
    ephemeral: bool
    """Whether that message is visible to its reader alone, and cannot be changed."""
    due_at: datetime
    """About when the card last changed."""
    claim: int
    """Counts the claims. A worker with an older number has lost the card (fencing)."""
    worker: str | None
    lease_until: datetime | None
    """When the claim expires. None if no worker has the card."""

    @property
    def is_outdated(self) -> bool:
        return self.shown < self.wanted


@dataclass(frozen=True, slots=True)
class DeviceLink:
    """The platform's own page, where a user authorizes a bot that no browser can reach (RFC 8628)."""

    url: Secret
    user_code: Secret
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AuthorizationCard:
    """The card of one authorization request. Its only secret is the link, which is present only while it waits."""

    request_id: str
    face: Face
    scopes: Mapping[Scope, Words]
    """The scopes that it asks for, with their descriptions."""
    granted: ScopeSet
    refused: ScopeSet
    commands: tuple[str, ...]
    """The commands that need the scopes, as typed: `/agenda`."""
    link: str | None
    expires_at: datetime
    failure: Words | None = None
    device_link: DeviceLink | None = None
    """The platform's link, if the bot has no link. If both are missing, a button requests it."""
    notice: Words | None = None
    """How the last attempt ended."""
    declined_on_page: bool = False
    """Whether a visitor declined on the platform's page. A waiting card then says so, with a less prominent button."""
    stays_signed_in: bool = False
    """Whether it asks for `offline_access` and the user has not granted that yet."""
    why_again: Words | None = None
    """Why the user is asked for scopes that they granted before."""
    opened: bool = False
    """Whether its link was opened for the current scopes, so that the page may have shown an error."""
    asks_which_error: bool = False
    """Whether the card asks which error the page shows, because the user has reported one."""


@dataclass(frozen=True, slots=True)
class AdministratorCard:
    """Shows an administrator which scopes users wait for."""

    subject: str
    """The id that its controls send back."""
    scopes: Mapping[Scope, Words]
    waiting: tuple[str, ...]
    """The `open_id`s of the users who wait. Empty when all of them have cancelled."""
    commands: tuple[str, ...]
    """The commands that they want to use, as typed, with the arguments that an administrator may see."""
    console_link: str
    names: Mapping[str, str] = field(default_factory=dict)
    """The names of those who wait, by `open_id`, as far as they are known."""
    can_apply: bool = False
    """Whether the app has applied for some of them, so that the platform can remind the organization's administrator."""
    done: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmationCard:
    """Asks whether an old write is still wanted."""

    call_id: str
    command: str
    asked_at: datetime
    confirmed: bool | None = None
    """What the user decided, if they have."""


@dataclass(frozen=True, slots=True)
class UnusedCard:
    """Offers to drop scopes that are granted but not used."""

    scopes: Mapping[Scope, Words]
    answer: Words | None = None
    """The result, once the user has decided."""
    subject: str = ""
    """The time of the offer, which its controls send back."""


Card = AuthorizationCard | AdministratorCard | ConfirmationCard | UnusedCard


class PageError(StrEnum):
    """The error that a user reports having seen on the platform's page in place of the consent screen."""

    SCOPE = "scope"
    REDIRECT = "redirect"
    APP = "app"
    OTHER = "other"


class Action(StrEnum):
    """What a card's callback control sends back, with the id of its subject."""

    AUTHORIZE = "authorize"
    """Requests the platform's own link, for a bot that no browser can reach."""
    NOT_NOW = "not_now"
    PAGE_ERROR = "page_error"
    """Reports that the platform's page shows an error. The card then asks which one."""
    PAGE_ERROR_SCOPE = "page_error_scope"
    PAGE_ERROR_REDIRECT = "page_error_redirect"
    PAGE_ERROR_APP = "page_error_app"
    PAGE_ERROR_OTHER = "page_error_other"
    """Reports which error the page shows."""
    SEND_AGAIN = "send_again"
    """Sends the card of a request again, at the end of the chat."""
    GIVE_BACK = "give_back"
    KEEP = "keep"
    """Keeps the unused scopes."""
    RETRY = "retry"
    """Runs a failed or expired call again."""
    RETRY_EXPIRED = "retry_expired"
    """Runs the calls of an expired request again."""
    CANCEL = "cancel"
    """Cancels the calls that wait for an administrator."""
    CHECK_AGAIN = "check_again"
    APPLY = "apply"
    """Has the platform ask the organization's administrator for the scopes that the app has applied for."""
    CONFIRM = "confirm"
    DISCARD = "discard"
