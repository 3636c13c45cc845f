"""API calls made as the user, and their outcomes.

The platform's adapter classifies every response to an API call as exactly one `Outcome`. If no token is available, no
call is made, and the reason is a `NoToken`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, assert_never

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


class ApiOutcome(StrEnum):
    """An outcome in one word, for records and figures."""

    SUCCEEDED = "succeeded"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    """The user has not granted what it needs. The bot asks for it."""
    APP_SCOPE_MISSING = "app_scope_missing"
    """The app has not enabled what it needs. An administrator is asked."""
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - an outcome, not a token
    """The access token had expired or was revoked."""
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    """Refused for another reason, which the user is told."""
    NO_ANSWER = "no_answer"
    """No usable response: whether a write was carried out is unknown."""


def in_one_word(outcome: Outcome | None) -> ApiOutcome:
    match outcome:
        case Succeeded():
            return ApiOutcome.SUCCEEDED
        case InsufficientScope():
            return ApiOutcome.INSUFFICIENT_SCOPE
        case AppScopeMissing():
            return ApiOutcome.APP_SCOPE_MISSING
        case TokenRejected():
            return ApiOutcome.TOKEN_REJECTED
        case RateLimited():
            return ApiOutcome.RATE_LIMITED
        case Refused():
            return ApiOutcome.REFUSED
        case Unreachable() | None:
            return ApiOutcome.NO_ANSWER
        case _:
            assert_never(outcome)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request of an API call, and its response. There may be several: a probe before a write, for example."""

    method: str
    path: str
    status: int | None
    """The HTTP status. None if no response arrived."""
    code: str | None
    """The platform's code for the result, as text."""
    log_id: str | None
    """The id by which the platform finds the request in its logs."""
    outcome: Outcome | None
    """None if the request was interrupted before a response arrived."""
    seconds: float


Observe = Callable[[Exchange], None]
"""Is told of each request, also of one that is interrupted."""


def ignore(exchange: Exchange) -> None:
    """Observe nothing."""


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
