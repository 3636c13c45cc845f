"""API calls made as the user, and their outcomes.

The platform's adapter classifies every response to an API call as exactly one `Outcome`. If no token is available, no
call is made, and the reason is a `NoToken`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bot.core.scopes import Requirement

Json = Any
"""A parsed JSON value. Only adapters read the contents of one that came from outside."""


@dataclass(frozen=True, slots=True)
class Write:
    """Marks an API call that changes something."""

    keyed_for: timedelta | None = None
    """How long after it was first sent the call may be sent again with the same idempotency key. None if the API
    supports no key, so that the call must never be sent twice."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One OpenAPI call as a user. `path` is below the platform's origin; `body` is sent as JSON.

    A call that a command yields counts as a write without an idempotency key unless its method is GET or HEAD, `read`
    says that it changes nothing, or `write` is set.
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
    """The user has not granted what the call needs (RFC 6750 `insufficient_scope`)."""

    requirement: Requirement
    """As the platform names it."""
    log_id: str | None = None
    user_must_grant: bool = True
    """Whether the platform says that the user lacks the scope. False if its refusal is the same when the app itself lacks
    it, so that an administrator may have to act."""


@dataclass(frozen=True, slots=True)
class AppScopeMissing:
    """The app has not enabled what the call needs for user identity: an administrator must act."""

    requirement: Requirement
    """As the platform names it."""
    log_id: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """The access token is expired or invalid. The caller refreshes it once."""

    code: int
    log_id: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimited:
    retry_after: float | None
    """Seconds to wait, if the platform states them."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The platform returned no usable response."""

    reason: str
    may_have_arrived: bool
    """False only if the request was certainly not sent, or not processed."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The platform refuses the call for a reason that neither another scope nor a new token would change."""

    code: int
    message: str
    log_id: str | None = None
    data: Json = None
    """The whole response body, parsed."""
    unnamed_scope: bool = False
    """Whether the reason is a missing scope that the platform does not name."""


Outcome = (
    Succeeded | InsufficientScope | AppScopeMissing | TokenRejected | RateLimited | Unreachable | Refused
)
"""The result of an API call."""


@dataclass(frozen=True, slots=True)
class NotAuthorized:
    """The user has not authorized the bot, or the grant has ended."""


@dataclass(frozen=True, slots=True)
class AppRejected:
    """The platform rejects the app's credentials or settings: an operator must act. The grant is kept."""


@dataclass(frozen=True, slots=True)
class BlockedByPolicy:
    """A security policy of the organization blocks the app. The grant is kept."""

    hint: str
    """The platform's explanation, or its error code if there is none."""


NoToken = NotAuthorized | AppRejected | BlockedByPolicy | RateLimited | Unreachable
"""Why no token is available for an API call. The call has not been sent."""
