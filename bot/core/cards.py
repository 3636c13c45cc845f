"""What cards say, as data. How a platform draws them is its adapter's business; the words are in `core.words.cards`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.core.language import Words
from bot.core.scopes import Scope, ScopeSet
from bot.core.secrets import Secret


class Face(StrEnum):
    """What an authorization card shows. Follows from its request, and from nothing else."""

    WAITING = "waiting"
    REDEEMING = "redeeming"
    AUTHORIZED = "authorized"
    PARTLY = "partly"
    DECLINED = "declined"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    ADMINISTRATOR = "administrator"
    """Waits for the administrator to enable a scope."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DeviceLink:
    """The platform's own page, where a person authorizes when no page of ours can be reached."""

    url: Secret
    user_code: Secret
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AuthorizationCard:
    """The card of one authorization request. Carries no secret but its link, and that only while it waits."""

    request_id: str
    face: Face
    scopes: Mapping[Scope, Words]
    """Each scope it asks for, in words."""
    granted: ScopeSet
    refused: ScopeSet
    commands: tuple[str, ...]
    """The commands that ask, as typed: `/agenda`."""
    link: str | None
    expires_at: datetime
    failure: Words | None = None
    device_link: DeviceLink | None = None
    """While it waits without a link of ours: the platform's. Without that, too, a button fetches it."""
    notice: Words | None = None
    """How the last try ended."""
    declined_on_page: bool = False
    """A visitor declined on the platform's page: while it waits, it says so and asks quietly."""
    stays_signed_in: bool = False
    """It asks for `offline_access`, which is not held yet."""
    why_again: Words | None = None
    """Why the person is asked for what they had granted before."""
    opened: bool = False
    """Whether its link was opened for what it asks for now: the page that it leads to may have shown an error."""
    asks_which_error: bool = False
    """The person has said that the page shows an error: which one?"""


@dataclass(frozen=True, slots=True)
class AdministratorCard:
    """Tells an administrator which scopes somebody waits for."""

    subject: str
    """The id that its control sends back."""
    scopes: Mapping[Scope, Words]
    waiting: tuple[str, ...]
    """Who waits, by `open_id`; nobody, when all of them have given up."""
    commands: tuple[str, ...]
    """What they want to use, as typed: with as much of its arguments as an administrator is told."""
    console_link: str
    can_apply: bool = False
    """The app has asked for some of them: the platform can remind the organization's administrator."""
    done: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmationCard:
    """Asks whether an old write should still be carried out."""

    call_id: str
    command: str
    asked_at: datetime
    confirmed: bool | None = None
    """What its person has decided, once they have."""


@dataclass(frozen=True, slots=True)
class UnusedCard:
    """Offers to give back what was granted and is not used."""

    scopes: Mapping[Scope, Words]
    answer: Words | None = None
    """What came of it, once the person has decided."""
    subject: str = ""
    """When it was offered: that is what its controls are about."""


Card = AuthorizationCard | AdministratorCard | ConfirmationCard | UnusedCard


class PageError(StrEnum):
    """What the platform's page shows instead of asking for consent, by the word of the person who saw it."""

    SCOPE = "scope"
    REDIRECT = "redirect"
    APP = "app"
    OTHER = "other"


class Action(StrEnum):
    """What a card's callback control sends back, with the id of its subject."""

    AUTHORIZE = "authorize"
    """Fetches the platform's own link, where no page of ours can be reached."""
    NOT_NOW = "not_now"
    PAGE_ERROR = "page_error"
    """The platform's page shows an error instead of asking for consent: the card asks which one."""
    PAGE_ERROR_SCOPE = "page_error_scope"
    PAGE_ERROR_REDIRECT = "page_error_redirect"
    PAGE_ERROR_APP = "page_error_app"
    PAGE_ERROR_OTHER = "page_error_other"
    """It says this, by the person's word."""
    SEND_AGAIN = "send_again"
    """The card of a request is to be sent once more, where it is seen."""
    GIVE_BACK = "give_back"
    KEEP = "keep"
    """Of scopes that are not used."""
    RETRY = "retry"
    """A call that came to nothing is to be made again."""
    RETRY_EXPIRED = "retry_expired"
    """So are the calls of a request that expired."""
    CANCEL = "cancel"
    """What waits for the administrator is to wait no longer."""
    CHECK_AGAIN = "check_again"
    APPLY = "apply"
    """The platform is to ask the organization's administrator for what the app has applied for."""
    CONFIRM = "confirm"
    DISCARD = "discard"
