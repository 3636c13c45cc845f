"""API calls made as the user, and their outcomes.

Every answer to an API call is exactly one `Outcome`, classified once, in the platform's adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

Json = Any
"""A parsed JSON value. Only adapters look inside one that came from outside."""


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
