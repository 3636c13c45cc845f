"""What users wrote is erased when their call ends. While the call lives, its proofs bind it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from bot.core.calls import CallStatus, DeferredCall
from bot.store import call_steps, calls, claims, inbox, retention
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database, upgrade
from bot.store.schema import call_steps as steps
from bot.store.schema import deferred_calls
from bot.store.transaction import Database
from tests.store.examples import ANNA, APP, NOW, TOMORROW, a_call, claim_by
from tests.store.test_migrations import FIRST_REVISION, everything, fill, own, to_revision

WRITTEN = "Give notice in May \u4f60\u597d"


def record(c: Connection, written: str = WRITTEN) -> str:
    call = replace(a_call(), arguments=written)
    assert inbox.record(c, f"ev_{call.id}", call, language=None, union_id=None, now=NOW)
    return call.id


def claimed(c: Connection) -> DeferredCall:
    call = claims.claim_next(c, claim_by(c))
    assert call is not None
    assert call.arguments == WRITTEN
    call_steps.record_sending(c, call.id, call.claim, 0, "fingerprint of what was written", NOW)
    return call


def settle(status: CallStatus, **options: Any) -> Callable[[Connection, str], Any]:
    return lambda c, _: calls.settle(c, claimed(c), status, "over", NOW, **options)


def recalled(c: Connection, call_id: str) -> bool:
    call = claimed(c)
    calls.mark_recalled(c, call_id, NOW)
    return calls.settle_recalled(c, call, CallStatus.SUCCEEDED, "answered", NOW)


def stopped(c: Connection, call_id: str) -> bool:
    assert claims.claim_next(c, claim_by(c)) is not None
    other = a_call(asked_at=NOW + timedelta(minutes=1))
    inbox.record(c, f"ev_{other.id}", other, language=None, union_id=None, now=NOW)
    later = calls.get(c, other.id)
    assert later is not None
    return bool(calls.stop_running(c, later, "cancelled_by_user", NOW))


ENDS: dict[str, Callable[[Connection, str], Any]] = {
    "answered": settle(CallStatus.SUCCEEDED),
    "failed": settle(CallStatus.FAILED),
    "unknown": settle(CallStatus.OUTCOME_UNKNOWN),
    "cancelled": lambda c, call_id: calls.cancel(c, call_id, "cancelled_by_user", NOW),
    "recalled": recalled,
    "stopped": stopped,
}
OFFERED_AGAIN: dict[str, Callable[[Connection, str], Any]] = {
    "failed": settle(CallStatus.FAILED, repeatable=True),
    "expired": lambda c, call_id: calls.expire(c, call_id, NOW),
}


def stored(c: Connection, call_id: str) -> dict[str, Any]:
    query = select(deferred_calls).where(deferred_calls.c.id == call_id)
    return dict(c.execute(query).mappings().one())


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_each_end_erases_what_was_written_and_keeps_the_call_genuine(
    database: Database, end: Callable[[Connection, str], Any]
) -> None:
    call_id = await database.write(record)
    assert await database.write(lambda c: end(c, call_id))
    row = await database.read(lambda c: stored(c, call_id))
    assert (row["arguments"], row["repeat_arguments"]) == ("", None)
    digests = select(steps.c.digest).where(steps.c.call_id == call_id)
    assert set(await database.read(lambda c: c.execute(digests).scalars().all())) <= {""}
    assert await database.read(lambda c: calls.get(c, call_id)) is not None
    assert await database.write(lambda c: calls.take_arguments(c, call_id)) is None


@pytest.mark.parametrize(
    ("how", "written"), [("failed", WRITTEN), ("expired", WRITTEN), ("expired", ""), ("expired", "x" * 5000)]
)
async def test_what_can_be_tried_again_is_encrypted_and_taken_once(
    database: Database, how: str, written: str
) -> None:
    end = OFFERED_AGAIN[how]
    call_id = await database.write(lambda c: record(c, written))
    assert await database.write(lambda c: end(c, call_id))
    row = await database.read(lambda c: stored(c, call_id))
    assert row["arguments"] == ""
    assert row["repeat_arguments"].startswith("v1.")
    assert await database.write(lambda c: calls.take_arguments(c, call_id)) == written
    assert await database.write(lambda c: calls.take_arguments(c, call_id)) is None


async def test_what_nobody_tries_again_is_erased_after_three_days(database: Database) -> None:
    call_id = await database.write(record)
    assert await database.write(lambda c: calls.expire(c, call_id, NOW))
    almost, over = NOW + timedelta(days=2, hours=23), NOW + timedelta(days=3, minutes=1)
    await database.write(lambda c: retention.prune(c, almost))
    assert (await database.read(lambda c: stored(c, call_id)))["repeat_arguments"] is not None
    await database.write(lambda c: retention.prune(c, over))
    assert (await database.read(lambda c: stored(c, call_id)))["repeat_arguments"] is None


@pytest.mark.parametrize("status", ["succeeded", "failed", "expired"])
async def test_what_the_previous_release_leaves_behind_is_erased(database: Database, status: str) -> None:
    """It ends calls as it knows them, while replicas are replaced one after another."""
    call_id = await database.write(record)
    change = text(
        "UPDATE deferred_calls SET status = :status, outcome = 'over', settled_at = received_at, run_seal = NULL "
        "WHERE id = :call"
    )
    await database.write(lambda c: c.execute(change, {"status": status, "call": call_id}) and None)
    assert await database.write(lambda c: calls.erase_written(c, NOW + timedelta(minutes=10), 10)) == 1
    assert (await database.read(lambda c: stored(c, call_id)))["arguments"] == ""
    assert await database.read(lambda c: calls.get(c, call_id)) is not None
    kept = await database.write(lambda c: calls.take_arguments(c, call_id))
    assert kept == (None if status == "succeeded" else WRITTEN)
    assert await database.write(lambda c: calls.erase_written(c, NOW + timedelta(minutes=10), 10)) == 0


@pytest.mark.parametrize(
    "change", ["arguments = 'transfer everything'", "chat_id = 'oc_other'", "command = 'other'"]
)
async def test_a_call_that_was_changed_while_it_ran_gets_no_new_proof(
    database: Database, change: str
) -> None:
    call_id = await database.write(record)

    def work(c: Connection) -> None:
        call = claimed(c)
        c.execute(text(f"UPDATE deferred_calls SET {change}"))
        assert calls.settle(c, call, CallStatus.FAILED, "over", NOW, repeatable=True)

    await database.write(work)
    row = await database.read(lambda c: stored(c, call_id))
    assert (row["arguments"], row["seal"], row["repeat_arguments"]) == ("", None, None)
    assert await database.read(lambda c: calls.get(c, call_id)) is None


@pytest.mark.parametrize("written", ["transfer everything", "", WRITTEN + " "])
async def test_what_was_written_is_bound_while_the_call_lives(database: Database, written: str) -> None:
    call_id = await database.write(record)
    change = text("UPDATE deferred_calls SET arguments = :written")
    await database.write(lambda c: c.execute(change, {"written": written}) and None)
    assert await database.read(lambda c: calls.get(c, call_id)) is None
    call = await database.write(lambda c: claims.claim_next(c, claim_by(c)))
    assert call is not None
    assert call.genuine is False


async def test_a_forged_call_keeps_nothing(database: Database) -> None:
    call_id = await database.write(record)
    await database.write(lambda c: c.execute(text("UPDATE deferred_calls SET chat_id = 'oc_other'")) and None)
    await database.write(lambda c: calls.overdue(c, TOMORROW + timedelta(days=1), 10) and None)
    row = await database.read(lambda c: stored(c, call_id))
    assert (row["outcome"], row["arguments"], row["seal"]) == ("forged", "", None)


async def test_an_upgrade_erases_what_earlier_releases_kept(empty_database_url: str) -> None:
    ring = Keyring([new_key()])
    await asyncio.to_thread(to_revision, empty_database_url, "0001")
    await asyncio.to_thread(fill, empty_database_url)
    await asyncio.to_thread(own, empty_database_url, ring)
    await asyncio.to_thread(to_revision, empty_database_url, "0017", ring)
    await asyncio.to_thread(upgrade, empty_database_url, ring)
    rows = (await asyncio.to_thread(everything, empty_database_url))["deferred_calls"]
    left = {row["id"] for row in rows if row["arguments"]}
    live = {row["id"] for row in FIRST_REVISION["deferred_calls"] if "settled_at" not in row}
    assert left == live
    # The calls that live are still bound to it.
    database = await open_database(empty_database_url, ring, APP)
    waiting = await database.read(lambda c: calls.waiting_of(c, ANNA))
    assert {call.arguments for call in waiting} == {"tomorrow \u4f60\u597d"}
    await database.close()


async def test_on_sqlite_the_file_has_no_trace_of_it(sqlite_url: str) -> None:
    file = Path(sqlite_url.removeprefix("sqlite+aiosqlite:///"))
    database = await open_database(sqlite_url, Keyring([new_key()]), APP)
    call_id = await database.write(lambda c: record(c, "Surprise party for Wei"))
    await database.write(lambda c: c.execute(text("PRAGMA user_version")) and None)
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"Surprise party" in file.read_bytes()
    assert await database.write(lambda c: calls.cancel(c, call_id, "cancelled_by_user", NOW))
    await database.close()
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"Surprise party" not in file.read_bytes()
