"""Requests and calls make exactly the moves that `core.lifecycle` lists: each of them, and no other."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from sqlalchemy import select

from bot.core.calls import CallStatus, Wait, WaitsFor
from bot.core.lifecycle import CALLS, REQUESTS
from bot.core.people import UserKey
from bot.core.requests import FOR_ADMINISTRATOR, RequestStatus
from bot.core.secrets import Secret
from bot.store import calls, claims, requests, users
from bot.store.schema import deferred_calls
from bot.store.transaction import Connection, Database
from tests.store.examples import ANNA, NOW, TOMORROW, ask, claim_by, open_request

A = frozenset({"a"})


def a_user(name: str) -> UserKey:
    return replace(ANNA, open_id=f"ou_{name}")


# --- requests --------------------------------------------------------------------------------------


def opened(c: Connection, user: UserKey) -> str:
    users.seen(c, user, language=None, union_id=None, now=NOW)
    return open_request(
        c,
        user,
        scopes=A,
        command="agenda",
        ticket=Secret(str(user)),
        expires_at=TOMORROW,
        now=NOW,
    ).id


def request_status(c: Connection, request: str) -> RequestStatus:
    found = requests.get(c, request)
    assert found is not None
    return found.status


def move_request(c: Connection, request: str, target: RequestStatus) -> None:
    """Try to change a request's status, in the way that leads there."""
    before = requests.get(c, request)
    assert before is not None
    match target:
        case RequestStatus.REDEEMING:
            requests.redeem(c, request, NOW)
        case RequestStatus.OPEN if before.status is RequestStatus.REDEEMING:
            requests.give_up_redeeming(c, request, NOW)
        case RequestStatus.OPEN:
            requests.ask_again(c, before, requests.Ask(A, "agenda", TOMORROW), NOW)
        case RequestStatus.SUPERSEDED:
            requests.supersede(c, request, NOW)
        case RequestStatus.FAILED:
            requests.settle(c, request, requests.End(target, failure=FOR_ADMINISTRATOR), NOW)
        case _:
            requests.settle(c, request, requests.End(target), NOW)


async def test_a_request_makes_the_moves_of_the_table_and_no_other(database: Database) -> None:
    made: set[tuple[RequestStatus, RequestStatus]] = set()

    def work(c: Connection) -> None:
        for number, (source, target) in enumerate(permutations(RequestStatus, 2)):
            request = opened(c, a_user(f"request{number}"))
            if source is not RequestStatus.OPEN:
                move_request(c, request, source)
            assert request_status(c, request) is source
            move_request(c, request, target)
            if request_status(c, request) is target:
                made.add((source, target))

    await database.write(work)
    assert made == {(source, target) for source, moves in REQUESTS.moves.items() for target in moves}


# --- calls -----------------------------------------------------------------------------------------


def call_status(c: Connection, call_id: str) -> CallStatus:
    return CallStatus(
        c.execute(select(deferred_calls.c.status).where(deferred_calls.c.id == call_id)).scalar_one()
    )


def move_call(c: Connection, call_id: str, target: CallStatus) -> None:
    """Try to change a call's status, in the way that leads there."""
    call = calls.get(c, call_id)
    assert call is not None
    is_running = call.status is CallStatus.RUNNING
    match target:
        case CallStatus.RUNNING:
            claims.claim_next(c, claim_by(c))
        case CallStatus.SUSPENDED:
            calls.suspend(c, call, Wait(WaitsFor.CONFIRMATION), NOW)
        case CallStatus.QUEUED if is_running:
            calls.requeue(c, call, NOW, None)
        case CallStatus.QUEUED:
            calls.release(c, [call_id], NOW)
        case CallStatus.CANCELLED if not is_running:
            calls.cancel(c, call_id, "cancelled", NOW)
        case CallStatus.EXPIRED if not is_running:
            calls.expire(c, call_id, NOW)
        case CallStatus.FAILED if not is_running:
            calls.reject(c, call, NOW)
        case _:
            calls.settle(c, call, target, "outcome", NOW)


PATHS = {
    CallStatus.QUEUED: (),
    CallStatus.RUNNING: (CallStatus.RUNNING,),
    CallStatus.SUSPENDED: (CallStatus.RUNNING, CallStatus.SUSPENDED),
    **{
        end: (CallStatus.RUNNING, end)
        for end in (
            CallStatus.SUCCEEDED,
            CallStatus.FAILED,
            CallStatus.OUTCOME_UNKNOWN,
            CallStatus.CANCELLED,
            CallStatus.EXPIRED,
        )
    },
}
"""How a new call comes to each status."""


async def test_a_call_makes_the_moves_of_the_table_and_no_other(database: Database) -> None:
    made: set[tuple[CallStatus, CallStatus]] = set()
    for number, (source, target) in enumerate(permutations(CallStatus, 2)):
        call_id = await ask(database, a_user(f"call{number}"))

        def work(
            c: Connection, call_id: str = call_id, source: CallStatus = source, target: CallStatus = target
        ) -> None:
            for status in PATHS[source]:
                move_call(c, call_id, status)
            assert call_status(c, call_id) is source
            move_call(c, call_id, target)
            if call_status(c, call_id) is target:
                made.add((source, target))
            # Only the next call may be there to claim.
            if (rest := calls.get(c, call_id)) is not None:
                calls.reject(c, rest, NOW)

        await database.write(work)
    assert made == {(source, target) for source, moves in CALLS.moves.items() for target in moves}
