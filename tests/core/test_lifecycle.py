"""The table of statuses."""

from enum import StrEnum

import pytest

from bot.core.calls import CallStatus
from bot.core.grants import GrantStatus
from bot.core.lifecycle import LIFECYCLES, is_live, live, may_become, settled
from bot.core.messages import MessageStatus
from bot.core.requests import AttemptStatus, DeviceStatus, RequestStatus

KINDS = pytest.mark.parametrize("kind", LIFECYCLES, ids=lambda kind: kind.__name__)


@KINDS
def test_every_status_has_its_moves(kind: type[StrEnum]) -> None:
    assert list(LIFECYCLES[kind].moves) == list(kind)


@KINDS
def test_no_move_keeps_the_status(kind: type[StrEnum]) -> None:
    for status, moves in LIFECYCLES[kind].moves.items():
        assert status not in moves


@KINDS
def test_a_table_names_only_statuses_of_its_kind(kind: type[StrEnum]) -> None:
    """Statuses of two kinds may be equal strings, so the type has to be compared."""
    lifecycle = LIFECYCLES[kind]
    for status in lifecycle.new | lifecycle.live | set().union(*lifecycle.moves.values()):
        assert type(status) is kind


@KINDS
def test_every_status_can_be_reached(kind: type[StrEnum]) -> None:
    lifecycle = LIFECYCLES[kind]
    reached, found = set(lifecycle.new), set(lifecycle.new)
    while found:
        found = set().union(*(lifecycle.moves[status] for status in found)) - reached
        reached |= found
    assert reached == set(kind)


@KINDS
def test_what_is_live_can_settle_and_what_is_new_is_live(kind: type[StrEnum]) -> None:
    lifecycle = LIFECYCLES[kind]
    assert lifecycle.new <= lifecycle.live
    for status in live(kind):
        assert lifecycle.moves[status]
    assert set(live(kind)) | set(settled(kind)) == set(kind)
    assert not set(live(kind)) & set(settled(kind))


def test_what_is_settled_stays() -> None:
    final = {
        kind: {status for status, moves in LIFECYCLES[kind].moves.items() if not moves} for kind in LIFECYCLES
    }
    for kind, statuses in final.items():
        assert statuses <= set(settled(kind))
    assert final[CallStatus] == {
        CallStatus.SUCCEEDED,
        CallStatus.FAILED,
        CallStatus.OUTCOME_UNKNOWN,
        CallStatus.CANCELLED,
        CallStatus.EXPIRED,
    }
    again = {status for kind in LIFECYCLES for status in settled(kind) if status not in final[kind]}
    assert again == {RequestStatus.GRANTED, RequestStatus.FAILED, GrantStatus.ENDED}


@pytest.mark.parametrize(
    ("status", "sources"),
    [
        (CallStatus.RUNNING, (CallStatus.QUEUED,)),
        (CallStatus.SUSPENDED, (CallStatus.RUNNING,)),
        (CallStatus.CANCELLED, (CallStatus.QUEUED, CallStatus.RUNNING, CallStatus.SUSPENDED)),
        (RequestStatus.EXPIRED, (RequestStatus.OPEN, RequestStatus.FAILED)),
        (RequestStatus.REDEEMING, (RequestStatus.OPEN,)),
        (AttemptStatus.EXPIRED, (AttemptStatus.LIVE,)),
        (AttemptStatus.COMPLETED, (AttemptStatus.REDEEMING,)),
        (DeviceStatus.COMPLETED, (DeviceStatus.POLLING,)),
        (MessageStatus.SENT, (MessageStatus.SENDING,)),
    ],
)
def test_only_some_statuses_may_become_another(status: StrEnum, sources: tuple[StrEnum, ...]) -> None:
    assert may_become(status) == sources
    assert all(type(source) is type(status) for source in may_become(status))


def test_a_status_of_one_kind_is_not_taken_for_an_equal_one_of_another() -> None:
    assert live(CallStatus) == (CallStatus.QUEUED, CallStatus.RUNNING, CallStatus.SUSPENDED)
    assert is_live(CallStatus.QUEUED)
    assert not is_live(RequestStatus.EXPIRED)
