"""Authorization requests, the attempts to answer them, and device authorizations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.core.people import UserKey
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret


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


class AttemptStatus(StrEnum):
    LIVE = "live"
    """The link was opened, and its browser has not come back."""
    REDEEMING = "redeeming"
    """The browser came back with a code, which a worker exchanges."""
    COMPLETED = "completed"
    DENIED = "denied"
    FAILED = "failed"
    EXPIRED = "expired"


class DeviceStatus(StrEnum):
    MINTING = "minting"
    """The platform is being asked for a code."""
    POLLING = "polling"
    """The card shows the platform's link; the platform is asked whether the person has consented."""
    COMPLETED = "completed"
    DENIED = "denied"
    FAILED = "failed"
    EXPIRED = "expired"


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
