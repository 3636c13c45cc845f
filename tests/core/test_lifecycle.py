"""The table of statuses."""

from bot.core.calls import CallStatus
from bot.core.lifecycle import (
    CALL_MOVES,
    REQUEST_MOVES,
    SETTLED_CALLS,
    calls_that_may_become,
    requests_that_may_become,
)
from bot.core.requests import RequestStatus


def test_every_status_has_its_moves():
    assert set(CALL_MOVES) == set(CallStatus)
    assert set(REQUEST_MOVES) == set(RequestStatus)


def test_what_is_settled_stays():
    assert {
        CallStatus.SUCCEEDED,
        CallStatus.FAILED,
        CallStatus.OUTCOME_UNKNOWN,
        CallStatus.CANCELLED,
        CallStatus.EXPIRED,
    } == SETTLED_CALLS


def test_only_a_queued_call_starts_and_only_an_open_request_expires():
    assert calls_that_may_become(CallStatus.RUNNING) == (CallStatus.QUEUED,)
    assert requests_that_may_become(RequestStatus.EXPIRED) == (RequestStatus.OPEN, RequestStatus.FAILED)
