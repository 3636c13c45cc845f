"""How statuses may change: the only table of it. The store's `UPDATE … WHERE status IN …` is made from here.

The CHECK constraints and partial unique indexes of the database say the same.
"""

from bot.core.calls import CallStatus as Call
from bot.core.requests import RequestStatus as Request

CALL_MOVES: dict[Call, frozenset[Call]] = {
    Call.QUEUED: frozenset({Call.RUNNING, Call.CANCELLED, Call.EXPIRED}),
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
}

REQUEST_MOVES: dict[Request, frozenset[Request]] = {
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
    Request.REDEEMING: frozenset({Request.GRANTED, Request.DECLINED, Request.FAILED, Request.OPEN}),
    # The platform still refuses a call that this consent was for: another alternative, on the same card.
    Request.GRANTED: frozenset({Request.OPEN}),
    Request.DECLINED: frozenset(),
    Request.EXPIRED: frozenset(),
    Request.SUPERSEDED: frozenset(),
    # It failed for want of the administrator: who has done their part, or nobody waits for it any more.
    Request.FAILED: frozenset({Request.OPEN, Request.DECLINED, Request.EXPIRED}),
}

SETTLED_CALLS = frozenset(status for status, moves in CALL_MOVES.items() if not moves)
LIVE_REQUESTS = frozenset({Request.OPEN, Request.REDEEMING})


def calls_that_may_become(status: Call) -> tuple[Call, ...]:
    """The statuses that a call may come from, for the WHERE of a compare-and-set."""
    return tuple(source for source, moves in CALL_MOVES.items() if status in moves)


def requests_that_may_become(status: Request) -> tuple[Request, ...]:
    return tuple(source for source, moves in REQUEST_MOVES.items() if status in moves)
