"""The only table of how statuses change, for every kind of row that has a status.

The store builds the conditions of its UPDATE statements from this table, and a test compares the table with the
CHECK constraints of the database. A move is a change of the status: claiming a row again after another worker's lease
has expired is not one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from bot.core.calls import CallStatus as Call
from bot.core.grants import GrantStatus as Grant
from bot.core.grants import RevocationStatus as Revocation
from bot.core.messages import MessageStatus as Message
from bot.core.requests import AttemptStatus as Attempt
from bot.core.requests import DeviceStatus as Device
from bot.core.requests import RequestStatus as Request
from bot.core.scopes import ScopeWaitStatus as ScopeWait

Status = TypeVar("Status", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Lifecycle(Generic[Status]):
    """The statuses of one kind of row."""

    new: frozenset[Status]
    """The statuses that a new row may have."""
    live: frozenset[Status]
    """The statuses of a row that is not settled. With every other status, a row has the time at which it was settled."""
    moves: Mapping[Status, frozenset[Status]]
    """The statuses that each status may change to."""


CALLS = Lifecycle(
    new=frozenset({Call.QUEUED}),
    live=frozenset({Call.QUEUED, Call.RUNNING, Call.SUSPENDED}),
    moves={
        # To FAILED without having run: the row was not written by the bot.
        Call.QUEUED: frozenset({Call.RUNNING, Call.CANCELLED, Call.EXPIRED, Call.FAILED}),
        Call.RUNNING: frozenset(
            {
                Call.SUCCEEDED,
                Call.FAILED,
                Call.OUTCOME_UNKNOWN,
                Call.SUSPENDED,
                Call.QUEUED,
                Call.CANCELLED,
                Call.EXPIRED,
            }
        ),
        Call.SUSPENDED: frozenset({Call.QUEUED, Call.CANCELLED, Call.EXPIRED, Call.FAILED}),
        Call.SUCCEEDED: frozenset(),
        Call.FAILED: frozenset(),
        Call.OUTCOME_UNKNOWN: frozenset(),
        Call.CANCELLED: frozenset(),
        Call.EXPIRED: frozenset(),
    },
)

REQUESTS = Lifecycle(
    new=frozenset({Request.OPEN}),
    live=frozenset({Request.OPEN, Request.REDEEMING}),
    moves={
        Request.OPEN: frozenset(
            {
                Request.REDEEMING,
                Request.GRANTED,
                Request.DECLINED,
                Request.EXPIRED,
                Request.SUPERSEDED,
                Request.FAILED,
            }
        ),
        Request.REDEEMING: frozenset({Request.OPEN, Request.GRANTED, Request.DECLINED, Request.FAILED}),
        # Reopened when the platform still refuses a call after this consent: the same card asks for another alternative.
        Request.GRANTED: frozenset({Request.OPEN}),
        Request.DECLINED: frozenset(),
        Request.EXPIRED: frozenset(),
        Request.SUPERSEDED: frozenset(),
        # Only for a request that waits for an administrator: it ends when the scope is enabled, or when no call waits any
        # longer.
        Request.FAILED: frozenset({Request.OPEN, Request.DECLINED, Request.EXPIRED}),
    },
)

ATTEMPTS = Lifecycle(
    # A sign-in is recorded only when its browser returns, with a code.
    new=frozenset({Attempt.LIVE, Attempt.REDEEMING}),
    live=frozenset({Attempt.LIVE, Attempt.REDEEMING}),
    moves={
        Attempt.LIVE: frozenset({Attempt.REDEEMING, Attempt.EXPIRED}),
        Attempt.REDEEMING: frozenset({Attempt.COMPLETED, Attempt.DENIED, Attempt.FAILED}),
        Attempt.COMPLETED: frozenset(),
        Attempt.DENIED: frozenset(),
        Attempt.FAILED: frozenset(),
        Attempt.EXPIRED: frozenset(),
    },
)

DEVICES = Lifecycle(
    new=frozenset({Device.REQUESTING}),
    live=frozenset({Device.REQUESTING, Device.POLLING}),
    moves={
        Device.REQUESTING: frozenset({Device.POLLING, Device.FAILED}),
        Device.POLLING: frozenset({Device.COMPLETED, Device.DENIED, Device.FAILED, Device.EXPIRED}),
        Device.COMPLETED: frozenset(),
        Device.DENIED: frozenset(),
        Device.FAILED: frozenset(),
        Device.EXPIRED: frozenset(),
    },
)

MESSAGES = Lifecycle(
    # A message that its writer sends immediately is inserted already claimed.
    new=frozenset({Message.QUEUED, Message.SENDING}),
    live=frozenset({Message.QUEUED, Message.SENDING}),
    moves={
        Message.QUEUED: frozenset({Message.SENDING}),
        Message.SENDING: frozenset(
            {Message.QUEUED, Message.SENT, Message.UNDELIVERABLE, Message.OUTCOME_UNKNOWN}
        ),
        Message.SENT: frozenset(),
        Message.UNDELIVERABLE: frozenset(),
        Message.OUTCOME_UNKNOWN: frozenset(),
    },
)

GRANTS = Lifecycle(
    new=frozenset({Grant.ACTIVE}),
    live=frozenset({Grant.ACTIVE}),
    # There is one row for each user: a new consent makes an ended grant active again.
    moves={Grant.ACTIVE: frozenset({Grant.ENDED}), Grant.ENDED: frozenset({Grant.ACTIVE})},
)

REVOCATIONS = Lifecycle(
    new=frozenset({Revocation.QUEUED}),
    live=frozenset({Revocation.QUEUED}),
    moves={
        Revocation.QUEUED: frozenset({Revocation.DONE, Revocation.FAILED}),
        Revocation.DONE: frozenset(),
        Revocation.FAILED: frozenset(),
    },
)

SCOPE_WAITS = Lifecycle(
    new=frozenset({ScopeWait.WAITING}),
    live=frozenset({ScopeWait.WAITING}),
    moves={ScopeWait.WAITING: frozenset({ScopeWait.ENABLED}), ScopeWait.ENABLED: frozenset()},
)

LIFECYCLES: Mapping[type[StrEnum], Lifecycle[Any]] = {
    Call: CALLS,
    Request: REQUESTS,
    Attempt: ATTEMPTS,
    Device: DEVICES,
    Message: MESSAGES,
    Grant: GRANTS,
    Revocation: REVOCATIONS,
    ScopeWait: SCOPE_WAITS,
}
"""Keyed by the type of the status, because `CallStatus.QUEUED` and `MessageStatus.QUEUED` are equal strings."""


def may_become(status: Status) -> tuple[Status, ...]:
    """Return the statuses that a row may change to `status` from: the condition of a compare-and-set."""
    moves = LIFECYCLES[type(status)].moves
    return tuple(source for source in type(status) if status in moves[source])


def live(kind: type[Status]) -> tuple[Status, ...]:
    """Return the statuses of rows that are not settled, in the order of the enumeration."""
    return tuple(status for status in kind if is_live(status))


def settled(kind: type[Status]) -> tuple[Status, ...]:
    """Return the statuses of settled rows, in the order of the enumeration."""
    return tuple(status for status in kind if not is_live(status))


def is_live(status: StrEnum) -> bool:
    return status in LIFECYCLES[type(status)].live
