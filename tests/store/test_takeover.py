"""What was claimed by a process that is gone is due at once, and by whom it can be told."""

from __future__ import annotations

import asyncio
import multiprocessing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bot.core.calls import CallStatus, Step, Wait, WaitsFor
from bot.core.grants import GrantStatus
from bot.store import (
    attempts,
    call_steps,
    calls,
    claims,
    device_authorizations,
    grants,
    inbox,
    outbox,
    replicas,
    requests,
    revocations,
    scope_waits,
    takeover,
)
from bot.store import cards as deliveries
from bot.store.inbox import Arrival
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.postgresql import PostgresqlDatabase, presence_key
from bot.store.presence_lock import PresenceFile
from bot.store.transaction import Database
from tests.store.examples import ANNA, APP, BEN, LATER, NOW, SOON, a_call, ask, claim_by
from tests.store.test_keys import fill

LEASE = timedelta(seconds=20)
MOMENT = NOW + timedelta(seconds=1)
NEXT = MOMENT + LEASE


async def fill_as(database: Database, worker: str) -> None:
    """Everything that can be claimed is, by this worker, until `SOON`."""
    await fill(database)
    await ask(database, BEN)

    def claim(c: Connection) -> None:
        scope_waits.open(c, (ANNA.platform, ANNA.app_id), frozenset({"a:b"}), NOW)
        for table in ("deferred_calls", "authorization_attempts"):
            c.execute(text(f"UPDATE {table} SET worker = '{worker}' WHERE worker IS NOT NULL"))
        assert claims.claim_next(c, claim_by(c, worker, NOW, SOON)) is not None
        assert outbox.claim_due(c, claim_by(c, worker, NOW, SOON), 5)
        assert revocations.claim_due(c, claim_by(c, worker, NOW, SOON), 5)
        assert scope_waits.claim_due_cards(c, claim_by(c, worker, NOW, SOON), 5)
        assert grants.lease_refresh(c, ANNA, 1, claim_by(c, worker, NOW, SOON)) is not None
        request = requests.live_of(c, ANNA)
        assert request is not None
        deliveries.show(c, request.id, NOW)
        assert requests.claim_card(c, request.id, claim_by(c, worker, NOW, SOON)) is not None
        assert (
            device_authorizations.claim_due(c, claim_by(c, worker, LATER - timedelta(minutes=4), SOON), 5)
            or True
        )

    await database.write(claim)


def due(c: Connection, moment: datetime = MOMENT) -> dict[str, int]:
    """How much of each kind another worker can claim now."""
    later = moment + LEASE
    grant = grants.find(c, ANNA)
    assert grant is not None
    assert grant.status is GrantStatus.ACTIVE
    claimed = []
    while (call := claims.claim_next(c, claim_by(c, "w2", moment, later))) is not None:
        claimed.append(call)
    return {
        "calls": len(claimed),
        "messages": len(outbox.claim_due(c, claim_by(c, "w2", moment, later), 5)),
        "cards": len(requests.claim_due_cards(c, claim_by(c, "w2", moment, later), 5))
        + len(scope_waits.claim_due_cards(c, claim_by(c, "w2", moment, later), 5)),
        "attempts": len(attempts.stranded(c, claim_by(c, "w2", moment, later), 5)),
        "refreshes": int(
            grants.lease_refresh(c, ANNA, grant.generation, claim_by(c, "w2", moment, later)) is not None
        ),
        "revocations": len(revocations.claim_due(c, claim_by(c, "w2", moment, later), 5)),
    }


ALL_DUE = {
    "calls": 2,
    "messages": 1,
    "cards": 2,
    "attempts": 1,
    "refreshes": 1,
    "revocations": 1,
}


async def test_whatever_was_claimed_is_due_at_once(database: Database) -> None:
    await fill_as(database, "w1")

    class Undo(Exception):
        pass

    def before(c: Connection) -> None:
        assert set(due(c).values()) == {0}
        raise Undo

    with pytest.raises(Undo):
        await database.write(before)
    taken = await database.write(lambda c: takeover.from_everyone(c, MOMENT, LEASE))
    assert taken is not None
    assert {name: count for name, count in taken.items() if name != "device authorizations"} == ALL_DUE
    assert await database.write(due) == ALL_DUE


async def test_what_another_replica_has_claimed_stays_its_own(postgresql_url: str) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]), APP)
    await fill_as(database, "w1")
    for name in ("w1", "w9"):
        await database.write(lambda c, n=name: replicas.heartbeat(c, n, "host", ["k"], NOW, presence_key(n)))
    seen = await database.read(lambda c: takeover.without_lock(c, "w2"))
    assert set(seen) == {"w1", "w9"}
    taken = await database.write(lambda c: takeover.from_replica(c, "w9", seen["w9"], MOMENT, LEASE))
    assert taken == {}
    assert set((await database.write(due)).values()) == {0}
    # One sign of life since it was seen, and nothing is taken.
    await database.write(lambda c: takeover.touch(c, "w1", presence_key("w1"), SOON))
    assert await database.write(lambda c: takeover.from_replica(c, "w1", seen["w1"], MOMENT, LEASE)) is None
    seen = await database.read(lambda c: takeover.without_lock(c, "w2"))
    assert await database.write(lambda c: takeover.from_replica(c, "w1", seen["w1"], MOMENT, LEASE))
    assert await database.write(due) == ALL_DUE
    assert await database.write(lambda c: takeover.from_replica(c, "w1", seen["w1"], MOMENT, LEASE)) is None
    await database.close()


async def test_a_device_code_is_polled_at_its_interval_by_any_worker(database: Database) -> None:
    await fill(database)
    claimed = await database.write(
        lambda c: device_authorizations.claim_due(c, claim_by(c, "w1", SOON, SOON + LEASE), 5)
    )
    assert len(claimed) == 1
    moment = SOON + timedelta(seconds=1)
    taken = await database.write(lambda c: takeover.from_everyone(c, moment, LEASE))
    assert taken is not None
    assert taken["device authorizations"] == 1
    interval = timedelta(seconds=claimed[0].interval)

    def polls(at: datetime) -> Any:
        return lambda c: device_authorizations.claim_due(c, claim_by(c, "w2", at, at + LEASE), 5)

    assert await database.write(polls(moment + interval - timedelta(seconds=1))) == []
    assert len(await database.write(polls(moment + interval))) == 1


async def test_takeovers_are_counted_until_a_step_is_made(database: Database) -> None:
    await ask(database)
    moment, counted = NOW, []
    for _ in range(3):
        call = await database.write_one(
            lambda c, m=moment: claims.claim_next(c, claim_by(c, "w", m, m + LEASE))
        )
        assert call is not None
        counted.append(call.takeovers)
        moment += LEASE
    assert counted == [0, 1, 2]
    # Back to the queue without a step: it counts on.
    await database.write(lambda c: calls.requeue(c, call, moment, None))
    call = await database.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", moment, moment + LEASE)))
    assert call is not None
    assert call.takeovers == 2
    steps = [Step(0, "d", True, moment, {"value": 1})]

    def made(c: Connection) -> None:
        assert call_steps.record_results(c, call.id, call.claim, steps)
        assert calls.made_step(c, call.id, call.claim)

    await database.write(made)
    found = await database.read(lambda c: calls.get(c, call.id))
    assert found is not None
    assert found.takeovers == 0
    assert await database.read(lambda c: call_steps.has_written(c, call.id))


@pytest.mark.parametrize("how", ["suspended", "failed at the platform"])
async def test_an_answer_of_the_platform_resets_the_count_of_takeovers(database: Database, how: str) -> None:
    await ask(database)
    await database.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON)))
    call = await database.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", SOON, SOON + LEASE)))
    assert call is not None
    assert call.takeovers == 1

    def leave(c: Connection) -> bool:
        if how == "suspended":
            reason = WaitsFor.ADMINISTRATOR
            return calls.suspend(c, call, Wait(reason, (("a:b",),)), SOON)
        return calls.requeue(c, call, LATER, SOON, made_step=True)

    assert await database.write(leave)
    found = await database.read(lambda c: calls.get(c, call.id))
    assert found is not None
    assert found.takeovers == 0


# --- urgent calls ----------------------------------------------------------------------------------


def urgent(number: int) -> Arrival:
    return Arrival(f"ev_urgent_{number}", a_call(ANNA), None, None, NOW, urgent=True)


async def test_urgent_calls_run_beside_what_runs_and_before_what_waits(database: Database) -> None:
    first = await ask(database)
    second = await ask(database, asked_at=NOW + timedelta(milliseconds=1))

    def claim(**more: bool) -> Any:
        return database.write_one(
            lambda c: claims.claim_next(c, claim_by(c, "w", LATER, LATER + LEASE), **more)
        )

    running = await claim()
    assert running is not None
    assert running.id == first
    await database.write_one(lambda c: inbox.record_all(c, [urgent(1), urgent(2), urgent(3)]))
    taken = {(await claim()).id, (await claim(urgent_only=True)).id, (await claim(urgent_only=True)).id}
    assert len(taken) == 3
    assert second not in taken
    assert await claim(urgent_only=True) is None
    assert await claim() is None
    assert await database.write(lambda c: calls.settle(c, running, CallStatus.SUCCEEDED, "answered", LATER))
    following = await claim()
    assert following is not None
    assert following.id == second


async def test_a_running_call_is_stopped_unless_it_may_have_written(database: Database) -> None:
    read, wrote = await ask(database), await ask(database, BEN)
    await database.write_one(lambda c: inbox.record_all(c, [urgent(1)]))
    mine = await database.write_one(
        lambda c: claims.claim_next(c, claim_by(c, "w", LATER, LATER + LEASE), urgent_only=True)
    )
    assert mine is not None
    claimed = [
        await database.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", LATER, LATER + LEASE)))
        for _ in range(2)
    ]
    assert {call.id for call in claimed if call} == {read, wrote}
    writing = next(call for call in claimed if call and call.id == wrote)
    await database.write_one(lambda c: call_steps.record_sending(c, wrote, writing.claim, 0, "d", LATER))
    stop = replace(mine, asked_at=LATER)
    stopped = await database.write(lambda c: calls.stop_running(c, stop, "cancelled_by_user", LATER))
    assert [call.id for call in stopped] == [read]
    of_ben = replace(stop, user=BEN)
    assert await database.write(lambda c: calls.stop_running(c, of_ben, "cancelled_by_user", LATER)) == []
    reading = next(call for call in claimed if call and call.id == read)
    # Its worker finds out before it sends anything.
    assert (
        await database.write_one(lambda c: call_steps.record_sending(c, read, reading.claim, 0, "d", LATER))
        is None
    )


# --- who is there ----------------------------------------------------------------------------------


def stay(path: str, alone: Any, answer: Any, leave: Any) -> None:
    """Another process that has the file open."""
    presence = PresenceFile(path)
    answer.put((presence.acquire_exclusive() if alone else False) or presence.acquire_shared())
    if alone:
        answer.put(presence.acquire_shared())
    leave.wait()


@pytest.mark.parametrize("end", ["leaves", "is killed"])
async def test_a_file_tells_whether_another_process_serves_it(sqlite_url: str, end: str) -> None:
    path = sqlite_url.removeprefix("sqlite+aiosqlite:///")
    context = multiprocessing.get_context("spawn")
    answer, leave = context.Queue(), context.Event()
    other = context.Process(target=stay, args=(path, True, answer, leave))
    other.start()
    assert await asyncio.to_thread(answer.get, timeout=30)
    assert await asyncio.to_thread(answer.get, timeout=30)
    database = await open_database(sqlite_url, Keyring([new_key()]), APP)
    asked: list[bool] = []
    assert not await database.enter("w", lambda c: asked.append(True) or True)
    assert asked == []
    await database.close()
    if end == "leaves":
        leave.set()
    else:
        other.kill()
    await asyncio.to_thread(other.join)
    other.close()
    again = await open_database(sqlite_url, database.keyring, APP)
    assert await again.enter("w", lambda c: asked.append(True) or True)
    assert asked == [True]
    await again.close()
    assert Path(path + ".lock").stat().st_mode & 0o077 == 0


async def test_an_earlier_release_that_takes_no_lock_counts_as_another_process(database: Database) -> None:
    await fill_as(database, "w1")
    await database.write(lambda c: replicas.heartbeat(c, "earlier", "host", ["k"], NOW))
    await database.write(lambda c: c.execute(text("UPDATE replicas SET app = ''")) and None)
    assert await database.write(lambda c: takeover.from_everyone(c, MOMENT, LEASE)) is None
    later = NOW + timedelta(minutes=2)
    assert await database.write(lambda c: takeover.from_everyone(c, later, LEASE)) is not None


async def until_held(database: Database) -> int:
    async with asyncio.timeout(10):
        while (lock := database.presence_lock) is None:
            await asyncio.sleep(0.02)
    return lock


async def test_a_replica_is_seen_by_its_lock_and_missed_when_it_ends(postgresql_url: str) -> None:
    key = new_key()
    here = await open_database(postgresql_url, Keyring([key]), APP)
    there = await open_database(postgresql_url, Keyring([key]), APP)
    await there.enter("there", lambda c: True)
    lock = await until_held(there)
    await here.write(lambda c: replicas.heartbeat(c, "there", "host", ["k"], NOW, lock))
    assert await here.read(lambda c: takeover.without_lock(c, "here")) == {}
    await there.close()
    async with asyncio.timeout(5):
        while await here.read(lambda c: takeover.without_lock(c, "here")) != {"there": NOW}:
            await asyncio.sleep(0.02)
    # Nor is one missed that says that it has no lock.
    await here.write(lambda c: takeover.touch(c, "there", None, SOON))
    assert await here.read(lambda c: takeover.without_lock(c, "here")) == {}
    await here.close()


async def test_behind_a_pooler_that_changes_sessions_no_lock_is_claimed(postgresql_url: str) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]), APP)
    assert isinstance(database, PostgresqlDatabase)
    await database.enter("w", lambda c: True)
    await until_held(database)

    class Pooled:
        """The same connection, with another session of the server behind it."""

        async def fetchval(self, query: str, **_: Any) -> int:
            assert "pg_backend_pid" in query
            return -1

        async def fetchrow(self, *_: Any, **__: Any) -> None:
            raise AssertionError("It is not tried again.")

    await database._messenger._probe(Pooled())
    assert database.presence_lock is None
    await database._messenger._hold_presence(Pooled())
    assert database.presence_lock is None
    await database.close()
