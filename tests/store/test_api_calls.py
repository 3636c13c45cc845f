"""Calls to the platform in a user's name: what is recorded stays as it is, as long as the audit log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from bot.core.api import ApiOutcome
from bot.store import api_calls, audit, retention
from bot.store.api_calls import MadeCall
from bot.store.connection import StoreConnection
from bot.store.retention import Retention
from bot.store.schema import api_calls as table
from bot.store.schema import audit_log, audit_retention
from bot.store.transaction import Database
from tests.store.examples import ANNA, APP, BEN, NOW, a_made_call


async def recorded(database: Database) -> list[dict[str, Any]]:
    rows = await database.read(lambda c: c.execute(select(table).order_by(table.c.id)).mappings().all())
    return [dict(row) for row in rows]


HARMLESS = a_made_call()
WITHOUT_ANSWER = a_made_call(
    BEN, status=None, code=None, log_id=None, method="POST", outcome=ApiOutcome.NO_ANSWER, attempt=23
)
STRANGE = a_made_call(
    path="/open-apis/\u4f60\u597d'\"; DROP TABLE api_calls; --%s:name{}",
    code="Forbidden.\u201c1\u201d",
    step=7,
)


@pytest.mark.parametrize("made", [HARMLESS, WITHOUT_ANSWER, STRANGE], ids=["usual", "no answer", "strange"])
@pytest.mark.parametrize("entries", [0, 1, 3])
async def test_what_was_made_is_recorded_with_the_audit_entries_of_its_transaction(
    database: Database, made: MadeCall, entries: int
) -> None:
    now = datetime.now(UTC)

    def work(c: Connection) -> None:
        api_calls.record(c, [made])
        for number in range(entries):
            audit.write(c, f"action_{number}", user=ANNA, now=now)

    await database.write(work)
    assert await recorded(database) == [made.values() | {"app": APP}]
    actions = select(audit_log.c.action).order_by(audit_log.c.id)
    found = await database.read(lambda c: c.execute(actions).scalars().all())
    assert found == [f"action_{number}" for number in range(entries)]


async def test_what_is_recorded_twice_is_recorded_once_and_as_it_was_first(database: Database) -> None:
    """After a commit whose success a worker cannot know."""
    made = [a_made_call(), a_made_call(BEN)]
    for each in (made, made[:1], made):
        await database.write(lambda c, each=each: api_calls.record(c, each))
    assert [row["user_key"] for row in await recorded(database)] == [
        each.user for each in sorted(made, key=lambda m: m.id)
    ]


async def test_nothing_of_a_transaction_that_fails_is_recorded(database: Database) -> None:
    def work(c: Connection) -> None:
        api_calls.record(c, [a_made_call()])
        raise KeyError("undone")

    with pytest.raises(KeyError):
        await database.write(work)
    await database.write(lambda c: None)
    assert await recorded(database) == []


async def test_on_postgresql_the_record_costs_no_statement_of_its_own(database: Database) -> None:
    """It travels with the audit entries."""
    now, executed = datetime.now(UTC), list[str]()

    def work(c: StoreConnection, *, made: int) -> None:
        c.observe = executed.append
        audit.write(c, "grant_stored", user=ANNA, now=now)
        api_calls.record(c, [a_made_call() for _ in range(made)])

    await database.write(lambda c: work(c, made=3))
    assert len(executed) == (1 if database.dialect == "postgresql" else 2)
    assert len(await recorded(database)) == 3


CHANGES = {
    "another path": "UPDATE api_calls SET path = '/x'",
    "another user": "UPDATE api_calls SET user_key = 'lark:cli_1:tenant_1:ou_ben'",
    "a success": "UPDATE api_calls SET status = 200, outcome = 'succeeded' WHERE outcome = 'no_answer'",
    "the time": "UPDATE api_calls SET at = '2020-01-01 00:00:00'",
    "by an upsert": "INSERT INTO api_calls "
    "(id, at, user_key, call_id, step, attempt, method, path, milliseconds, outcome) SELECT "
    "id, at, user_key, call_id, step, attempt, method, '/x', milliseconds, outcome FROM api_calls WHERE true "
    "ON CONFLICT (id) DO UPDATE SET path = excluded.path",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
async def test_no_row_is_changed(database: Database, statement: str) -> None:
    await database.write(lambda c: api_calls.record(c, [WITHOUT_ANSWER]))
    before = await recorded(database)
    if "upsert" in statement or (database.dialect == "sqlite" and "ON CONFLICT" in statement):
        await database.write(lambda c: c.execute(text(statement)) and None)
    else:
        with pytest.raises(DBAPIError, match="never changed"):
            await database.write(lambda c: c.execute(text(statement)) and None)
    assert await recorded(database) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "REPLACE INTO api_calls (id, {columns}) SELECT id, {values} FROM api_calls",
        "REPLACE INTO api_calls (rowid, id, {columns}) SELECT rowid, 'other', {values} FROM api_calls",
        "INSERT OR REPLACE INTO api_calls (id, {columns}) SELECT id, {values} FROM api_calls",
    ],
)
async def test_no_row_is_replaced_on_sqlite(database: Database, statement: str) -> None:
    await database.write(lambda c: api_calls.record(c, [HARMLESS]))
    before = await recorded(database)
    columns = "at, user_key, call_id, step, attempt, method, path, milliseconds, outcome"
    values = columns.replace("path", "'/x'")
    file = database.url.removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute(statement.format(columns=columns, values=values))
    assert await recorded(database) == before


@pytest.mark.parametrize("days", [1, 400, 800])
async def test_it_is_kept_as_long_as_the_audit_log(database: Database, days: int) -> None:
    now = datetime.now(UTC)
    ages = (0, 364, 366, 399, 401, 799, 801)
    made = [a_made_call(at=now - timedelta(days=age, hours=2), call_id=str(age)) for age in ages]
    await database.write(lambda c: api_calls.record(c, made))
    await database.write(lambda c: audit.record_retention(c, timedelta(days=days), now))
    await database.write(lambda c: retention.prune(c, now, Retention(audit=timedelta(days=days))))
    assert {int(row["call_id"]) for row in await recorded(database)} == {age for age in ages if age < days}


async def test_the_longer_time_in_the_database_applies(database: Database) -> None:
    """As for the audit log: a process that was given a shorter time and may not change the row."""
    now = datetime.now(UTC)
    await database.write(lambda c: api_calls.record(c, [a_made_call(at=now - timedelta(days=500))]))
    await database.write(lambda c: c.execute(audit_retention.insert().values(app=APP, days=730)) and None)
    await database.write(lambda c: retention.prune(c, now, Retention(audit=timedelta(days=90))))
    assert len(await recorded(database)) == 1


async def test_a_user_is_forgotten_in_batches_and_others_are_not(database: Database) -> None:
    made = [a_made_call(), a_made_call(), a_made_call(), a_made_call(BEN)]
    await database.write(lambda c: api_calls.record(c, made))
    deleted = [await database.write(lambda c: api_calls.forget(c, ANNA, 2)) for _ in range(3)]
    assert deleted == [2, 1, 0]
    assert [row["user_key"] for row in await recorded(database)] == [BEN]


async def test_times_are_those_of_the_request(database: Database) -> None:
    await database.write(lambda c: api_calls.record(c, [HARMLESS]))
    (at,) = await database.read(lambda c: c.execute(select(table.c.at)).scalars().all())
    assert at == NOW
