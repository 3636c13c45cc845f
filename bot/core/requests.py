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
    """A consent was received, and its code is being exchanged."""
    GRANTED = "granted"
    DECLINED = "declined"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """Its card can no longer be changed, so another request has replaced it. Consents to it still count."""
    FAILED = "failed"


class AttemptKind(StrEnum):
    AUTHORIZATION = "authorization"
    SIGN_IN = "sign_in"


class AttemptStatus(StrEnum):
    LIVE = "live"
    """The link was opened, and its browser has not returned."""
    REDEEMING = "redeeming"
    """The browser has returned with a code, which a worker exchanges."""
    COMPLETED = "completed"
    DENIED = "denied"
    FAILED = "failed"
    EXPIRED = "expired"


class DeviceStatus(StrEnum):
    REQUESTING = "requesting"
    """The bot is requesting a device code from the platform."""
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
    """One ask to one user. It determines what its card shows."""

    id: str
    user: UserKey
    status: RequestStatus
    scopes: ScopeSet
    """The scopes that its link asks for."""
    granted: ScopeSet
    """Those of them that the user granted."""
    refused: ScopeSet
    """Those of them that the user did not grant."""
    ticket: Secret | None
    """None if it cannot be opened: its key is lost, or the bot did not write this row. Its links then fail."""
    reasons: tuple[str, ...]
    """The commands that need the scopes, in the order of their asks, without duplicates."""
    card: CardDelivery
    created_at: datetime
    expires_at: datetime
    failure: str | None
    """The reason for the failure, as one word."""
    avoided: ScopeSet
    """Scopes that the platform's page has rejected. Other alternatives are asked for instead."""
    declined_on_page_at: datetime | None = None
    """When a visitor declined on the platform's page, since the request last asked. The visitor is not identified."""
    opened_at: datetime | None = None
    """When its link was first opened in a browser or inside the client."""

    @property
    def waits_for_administrator(self) -> bool:
        """Whether nothing can be asked for until an administrator enables a scope."""
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
    """None if PKCE is not used, or if the encryption key is lost: the platform then rejects the code."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """One authorization on the platform's own page. It has codes while the bot polls."""

    id: str
    request_id: str
    user: UserKey
    status: DeviceStatus
    scopes: ScopeSet
    """The scopes that it asks for. Its request may ask for more by now."""
    device_code: Secret | None
    """None before the platform has issued it, or if the encryption key is lost."""
    user_code: Secret | None
    link: Secret | None
    interval: int
    """Seconds between two polls, as the platform last asked for."""
    failures: int
    """Consecutive failed requests to the platform."""
    created_at: datetime
    expires_at: datetime | None
    """When the device code expires. None before there is one."""
    claim: int
    """Counts the claims. A worker with an older number has lost the row (fencing)."""
    outcome: str | None
    """How it ended, as one word."""
