"""Authorization requests, the attempts to answer them, and device authorizations (RFC 8628)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.core.cards import CardDelivery
from bot.core.people import UserKey
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret


class RequestStatus(StrEnum):
    OPEN = "open"
    REDEEMING = "redeeming"
    """A consent came back, and its code is being exchanged."""
    GRANTED = "granted"
    DECLINED = "declined"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """Its card can no longer be changed, so another request took its place. Its consents still count."""
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
    REQUESTING = "requesting"
    """The bot requests a device code from the platform."""
    POLLING = "polling"
    """The card shows the platform's link, and the bot polls the token endpoint until the user has decided."""
    COMPLETED = "completed"
    DENIED = "denied"
    FAILED = "failed"
    EXPIRED = "expired"


FOR_ADMINISTRATOR = "administrator"
"""The `failure` of a request that waits for the administrator."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One ask to one user. What its card shows follows from it."""

    id: str
    user: UserKey
    status: RequestStatus
    scopes: ScopeSet
    """What its link asks for."""
    granted: ScopeSet
    """What the user granted of that."""
    refused: ScopeSet
    """What the user did not grant of that."""
    ticket: Secret | None
    """None if it cannot be opened, because its key is lost or the bot did not write this row. Its links then fail."""
    reasons: tuple[str, ...]
    """The commands that need the scopes, in the order asked, without repetition."""
    card: CardDelivery
    created_at: datetime
    expires_at: datetime
    failure: str | None
    """Why it failed, as one word."""
    avoided: ScopeSet
    """Scopes that the platform's page rejected, so that another alternative is asked for."""
    declined_on_page_at: datetime | None = None
    """When a visitor declined it on the platform's page, since it last asked. The visitor is not identified."""

    @property
    def waits_for_administrator(self) -> bool:
        """Whether the app has no scope that could be asked for, until an administrator enables one."""
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
    """None if the platform needs none, or if its key is lost: the platform then rejects the code."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """One authorization on the platform's own page. It has codes while it is polled for."""

    id: str
    request_id: str
    user: UserKey
    status: DeviceStatus
    scopes: ScopeSet
    """What it asks for. Its request may ask for more since."""
    device_code: Secret | None
    """None before the platform has issued it, or if its key is lost."""
    user_code: Secret | None
    link: Secret | None
    interval: int
    """Seconds between two polls, as the platform last asked for."""
    failures: int
    """Consecutive failures of the platform."""
    created_at: datetime
    expires_at: datetime | None
    """When the device code expires. None before there is one."""
    claim: int
    """Counts the claims. A worker with an older number has lost the row (fencing)."""
    outcome: str | None
    """How it ended, as one word."""
