"""The schema: made by the migrations, the same as the metadata, and holding its own rules."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    CheckConstraint,
    Connection,
    TextClause,
    bindparam,
    delete,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from bot.core.errors import DatabaseNotReady
from bot.core.people import UserKey
from bot.store import audit, calls, claims, inbox, revision
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import check_schema, open_database, upgrade
from bot.store.schema import audit_log, deferred_calls, metadata, scope_waits
from bot.store.transaction import Database
from tests.old_audit_rows import past_allowed
from tests.store.examples import ANNA, APP, NOW, SOON, a_call, ask, meet

# --- migrations --------------------------------------------------------------------------------


def test_a_database_without_tables_is_not_ready_until_it_is_upgraded(empty_database_url: str) -> None:
    with pytest.raises(DatabaseNotReady, match="bot db upgrade"):
        check_schema(empty_database_url)
    upgrade(empty_database_url)
    check_schema(empty_database_url)


def test_an_upgrade_again_changes_nothing(database_url: str) -> None:
    upgrade(database_url)
    check_schema(database_url)


def test_a_check_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotReady, match="bot db upgrade"):
        check_schema(f"sqlite+aiosqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_database_of_another_revision_is_not_opened(database_url: str) -> None:
    database = await open_database(database_url, Keyring([new_key()]))
    for found, word in (("0000", "bot db upgrade"), ("9999", "older revision")):
        statement = text(f"UPDATE alembic_version SET version_num = '{found}'")
        await database.write(lambda c, s=statement: c.execute(s) and None)
        with pytest.raises(DatabaseNotReady, match=word):
            await open_database(database_url, Keyring([new_key()]))
    await database.close()


def test_a_failed_upgrade_leaves_nothing_behind(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        whole(*arguments)
        raise KeyboardInterrupt

    whole = command.upgrade
    monkeypatch.setattr(command, "upgrade", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upgrade(empty_database_url)
    monkeypatch.undo()
    with pytest.raises(DatabaseNotReady, match="no tables"):
        check_schema(empty_database_url)
    upgrade(empty_database_url)


def test_the_program_needs_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(revision.migrations_folder()))
    assert ScriptDirectory.from_config(config).get_current_head() == revision.REVISION


async def test_the_metadata_says_what_the_migrations_do(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        # SQLite has no identity columns, so it has nothing to compare the metadata's with.
        options = {"compare_server_default": connection.dialect.name == "postgresql"}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    assert await database.read(differences) == []


async def test_constraints_of_the_metadata_are_those_of_the_migrations(database: Database) -> None:
    """Alembic does not compare CHECK constraints: so do it by name and by text."""

    def there(connection: Connection) -> dict[str, set[str]]:
        inspector = inspect(connection)
        return {
            table: {str(each["name"]) for each in inspector.get_check_constraints(table)}
            for table in metadata.tables
        }

    expected = {
        name: {str(each.name) for each in table.constraints if isinstance(each, CheckConstraint)}
        for name, table in metadata.tables.items()
    }
    named = {
        name: {each if each.startswith("ck_") else f"ck_{name}_{each}" for each in constraints}
        for name, constraints in expected.items()
    }
    assert await database.read(there) == named


def test_every_table_and_column_has_a_comment() -> None:
    for table in metadata.tables.values():
        assert table.comment, table.name
        for column in table.columns:
            assert column.comment, column


async def test_comments_can_be_read_in_the_database(postgresql_url: str) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]))
    without = text(
        "SELECT table_name || '.' || column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name IN (SELECT tablename FROM pg_tables) "
        "AND table_name <> 'alembic_version' "
        "AND col_description((table_schema || '.' || table_name)::regclass, ordinal_position) IS NULL"
    )
    assert await database.read(lambda c: c.execute(without).scalars().all()) == []
    await database.close()


def test_comments_can_be_read_in_the_schema_of_a_sqlite_file(tmp_path: Path) -> None:
    upgrade(f"sqlite+aiosqlite:///{tmp_path}/bot.db")
    with closing(sqlite3.connect(tmp_path / "bot.db")) as connection:
        written = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    without = [
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if f"/* {column.comment} */" not in written[table.name]
    ]
    assert without == []


# --- rules -------------------------------------------------------------------------------------

BROKEN = {
    "a call of no known status": "UPDATE deferred_calls SET status = 'parked'",
    "a suspended call that waits for nothing": "UPDATE deferred_calls SET status = 'suspended'",
    "a call that waits though it is not suspended": "UPDATE deferred_calls SET waits_for = 'administrator'",
    "a running call without worker": "UPDATE deferred_calls SET status = 'running'",
    "a settled call without a time": "UPDATE deferred_calls SET status = 'failed'",
    "a call of nobody": "UPDATE deferred_calls SET user_key = 'lark:x:y:z'",
    "two running calls of one person": "UPDATE deferred_calls SET status = 'running', worker = 'w'",
    "a person without open_id": "UPDATE users SET open_id = NULL",
    "a language nobody speaks": "UPDATE users SET language = 'tlh'",
    "a person who is deleted while their calls stay": "DELETE FROM users",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN)
async def test_the_database_refuses(database: Database, statement: str) -> None:
    await ask(database)
    await ask(database)
    with pytest.raises(IntegrityError):
        await database.write(lambda c: c.execute(text(statement)) and None)


async def test_there_is_one_live_request_a_person_and_one_waiting_scope_set(database: Database) -> None:
    await meet(database)
    request = text(
        "INSERT INTO authorization_requests (id, user_key, status, scopes, granted, refused, avoided, reasons, "
        "ticket_digest, ticket, created_at, "
        "expires_at) VALUES (:id, :user, :status, '[]', '[]', '[]', '[]', '[]', :id, 'v1.', "
        "CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
    )
    wait = text(
        "INSERT INTO scope_waits (id, platform, app_id, scopes, status, created_at, settled_at) "
        "VALUES (:id, 'lark', 'cli_1', '[]', :status, CURRENT_TIMESTAMP, :settled_at)"
    ).bindparams(bindparam("settled_at", type_=scope_waits.c.settled_at.type))

    async def insert(statement: TextClause, **values: object) -> None:
        await database.write(lambda c: c.execute(statement, values) and None)

    await insert(request, id="r1", user=str(ANNA), status="open")
    with pytest.raises(IntegrityError):
        await insert(request, id="r2", user=str(ANNA), status="redeeming")
    await insert(wait, id="w1", status="waiting", settled_at=None)
    await insert(wait, id="w2", status="enabled", settled_at=NOW)
    with pytest.raises(IntegrityError):
        await insert(wait, id="w3", status="waiting", settled_at=None)


async def test_a_time_without_a_time_zone_is_not_stored(database: Database) -> None:
    call = a_call(asked_at=datetime(2026, 3, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(Exception, match="without a time zone"):
        await database.write(lambda c: inbox.record(c, "ev", call, language=None, union_id=None, now=NOW))


async def test_times_are_utc_and_readable(database: Database) -> None:
    await ask(database)
    found = await database.read(
        lambda c: str(c.execute(text("SELECT asked_at FROM deferred_calls")).scalar())
    )
    assert found.startswith("2026-03-01 09:30:00.123456")


# --- the audit log -----------------------------------------------------------------------------


async def test_the_audit_log_cannot_be_changed_nor_recent_rows_deleted(database: Database) -> None:
    now = datetime.now(UTC)

    def write(c: Connection) -> None:
        audit.write(c, "grant_stored", user=ANNA, subject=("request", "r1"), now=now, scopes=["a"], code=7)

    def write_history(c: Connection) -> None:
        with past_allowed(c):
            for age in (364, 366):
                columns = (audit_log.c.action, audit_log.c.detail, audit_log.c.app)
                old = select(now_but(days=age), *columns).limit(1)
                c.execute(insert(audit_log).from_select(["at", "action", "detail", "app"], old))

    def now_but(days: int) -> Any:
        return bindparam(f"at_{days}", now - timedelta(days=days), type_=audit_log.c.at.type)

    await database.write(write)
    await database.write(write_history)
    for statement in ("UPDATE audit_log SET action = 'nothing'", "DELETE FROM audit_log"):
        with pytest.raises(DBAPIError, match="audit_log is"):
            await database.write(lambda c, s=statement: c.execute(text(s)) and None)
    assert await database.write(lambda c: audit.prune(c, now, timedelta(days=1), limit=5)) == 1
    younger = delete(audit_log).where(audit_log.c.at < now - timedelta(days=363))
    with pytest.raises(DBAPIError, match="audit_log is kept"):
        await database.write(lambda c: c.execute(younger) and None)
    rows = await database.read(lambda c: c.execute(text("SELECT action, detail FROM audit_log")).all())
    assert [tuple(row) for row in rows] == [("grant_stored", '{"scopes": ["a"], "code": 7}')] * 2


FORGED_ROWS = {
    "a row in place of another": "INSERT OR REPLACE INTO audit_log (id, {columns}) VALUES (1, {now})",
    "REPLACE": "REPLACE INTO audit_log (id, {columns}) VALUES (1, {now})",
    "by the row's other name": "REPLACE INTO audit_log (rowid, {columns}) VALUES (2, {now})",
    "by a number that is text": "REPLACE INTO audit_log (id, {columns}) VALUES ('1', {now})",
    "by a number with a fraction": "REPLACE INTO audit_log (id, {columns}) VALUES (1.0, {now})",
    "all of them": "REPLACE INTO audit_log SELECT * FROM audit_log",
    "an upsert": "INSERT INTO audit_log (id, {columns}) VALUES (1, {now}) "
    "ON CONFLICT (id) DO UPDATE SET action = excluded.action",
    "a change that replaces": "UPDATE OR REPLACE audit_log SET id = 1 WHERE id = 2",
    "the largest number": "INSERT INTO audit_log (id, {columns}) VALUES (9223372036854775807, {now})",
    "a number ahead": "INSERT INTO audit_log (id, {columns}) VALUES (4, {now})",
    "a negative number": "INSERT INTO audit_log (id, {columns}) VALUES (-1, {now})",
    "zero": "INSERT INTO audit_log (id, {columns}) VALUES (0, {now})",
}


@pytest.mark.parametrize("statement", FORGED_ROWS.values(), ids=FORGED_ROWS)
@pytest.mark.parametrize("recursive", ["OFF", "ON"])
async def test_no_row_of_the_audit_log_on_sqlite_is_replaced_or_numbered_by_hand(
    sqlite_url: str, statement: str, recursive: str
) -> None:
    """REPLACE deletes what it replaces, and fires no delete trigger for it."""
    database = await open_database(sqlite_url, Keyring([new_key()]))
    moment = datetime.now(UTC)
    for action in ("one", "two"):
        await database.write(lambda c, a=action: audit.write(c, a, user=ANNA, now=moment))
    now = "strftime('%Y-%m-%d %H:%M:%f000', 'now'), 'forged', '{}'"
    statement = statement.replace("{columns}", "at, action, detail").replace("{now}", now)
    file = sqlite_url.removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute(f"PRAGMA recursive_triggers = {recursive}")
        with pytest.raises(sqlite3.IntegrityError, match="audit_log "):
            other.execute(statement)
        assert other.execute("SELECT id, action FROM audit_log").fetchall() == [(1, "one"), (2, "two")]
    await database.write(lambda c: audit.write(c, "three", user=ANNA, now=moment))
    ids = text("SELECT id FROM audit_log ORDER BY id")
    assert await database.read(lambda c: c.execute(ids).scalars().all()) == [1, 2, 3]
    await database.close()


@pytest.mark.parametrize("number", ["1", "0", "-1", "4", "9223372036854775807"])
async def test_no_row_of_the_audit_log_on_postgresql_is_numbered_by_hand(
    postgresql_url: str, number: str
) -> None:
    """One ahead of the sequence would have a later row fail, and what is written with it."""
    database = await open_database(postgresql_url, Keyring([new_key()]))
    moment = datetime.now(UTC)
    await database.write(lambda c: audit.write(c, "one", user=ANNA, now=moment))
    by_hand = text(
        f"INSERT INTO audit_log (id, at, action, detail) OVERRIDING SYSTEM VALUE VALUES ({number}, now(), 'x', '{{}}')"
    )
    with pytest.raises(DBAPIError, match=r"audit_log numbers|duplicate key|currval"):
        await database.write(lambda c: c.execute(by_hand) and None)
    await database.write(lambda c: audit.write(c, "two", user=ANNA, now=moment))
    rows = await database.read(
        lambda c: c.execute(text("SELECT action FROM audit_log ORDER BY id")).scalars().all()
    )
    assert rows == ["one", "two"]
    await database.close()


@pytest.mark.parametrize("minutes", [-60 * 24 * 91, -60 * 24, -11, 11, 60 * 24 * 365 * 100])
async def test_a_row_of_the_audit_log_is_of_its_moment(database: Database, minutes: int) -> None:
    """One of the past could be deleted at once, one of the future never."""
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    row = insert(audit_log).values(at=at, action="forged", detail="{}")
    with pytest.raises(DBAPIError, match="only rows of the moment"):
        await database.write(lambda c: c.execute(row) and None)


@pytest.mark.parametrize("at", ["''", "0", "'now'", "x'32303236'", "'9999'", "9e999", "NULL"])
async def test_what_is_no_time_is_no_time_of_an_audit_row(sqlite_url: str, at: str) -> None:
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite+aiosqlite:///"))
    with pytest.raises(sqlite3.IntegrityError):
        other.execute(f"INSERT INTO audit_log (at, action, detail) VALUES ({at}, 'forged', '{{}}')")
    other.close()


ALMOST_NOW = "strftime('%Y-%m-%d %H:%M:', 'now', '{} minutes')"
UNREADABLE = {
    "second 60": f"{ALMOST_NOW.format('+1')} || '60.000000'",
    "second 99": f"{ALMOST_NOW.format('-1')} || '99.999999'",
    "NUL and more": f"{ALMOST_NOW.format('+0')} || '00.000000' || char(0) || '2020-01-01'",
    "NUL in place of a digit": f"{ALMOST_NOW.format('+0')} || '00.00000' || char(0)",
    "bytes": f"CAST({ALMOST_NOW.format('+0')} || '00.000000' AS BLOB)",
    "other digits": f"{ALMOST_NOW.format('+0')} || '00.00000\u0660'",
}


@pytest.mark.parametrize("at", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_only_sorts_like_a_time_is_no_time_of_an_audit_row(sqlite_url: str, at: str) -> None:
    """It would be shown as a time of long ago, or not at all."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite+aiosqlite:///"))) as other:
        other.execute(
            f"INSERT INTO audit_log (at, action, detail) VALUES ({ALMOST_NOW.format('+0')} || '59.999999', 'x', '{{}}')"
        )
        with pytest.raises(sqlite3.IntegrityError, match="only rows of the moment"):
            other.execute(f"INSERT INTO audit_log (at, action, detail) VALUES ({at}, 'forged', '{{}}')")


@pytest.mark.parametrize(
    "off", [timedelta(0), timedelta(minutes=4), timedelta(days=-200), timedelta(days=200)]
)
async def test_a_process_whose_clock_is_off_writes_the_time_of_the_database(
    database: Database, off: timedelta
) -> None:
    """It may also have slept, or waited long for a database that was away."""
    before = datetime.now(UTC)
    await database.write(lambda c: audit.write(c, "grant_stored", user=ANNA, now=before + off))
    at = await database.read(lambda c: c.execute(select(audit_log.c.at)).scalar_one())
    told = before + off if abs(off) < timedelta(minutes=5) else before
    assert abs(at - told) < timedelta(seconds=60)


async def test_the_audit_log_cannot_be_emptied_at_once(postgresql_url: str) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]))
    with pytest.raises(DBAPIError, match="never emptied"):
        await database.write(lambda c: c.execute(text("TRUNCATE audit_log")) and None)
    await database.close()


# --- plans -------------------------------------------------------------------------------------

SETTLED_ROWS = 20_000


@pytest.fixture
async def crowded(database: Database) -> Database:
    """A database in which nearly all calls are settled, as in one that has run for a year."""
    await meet(database)
    numbers = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) SELECT",
        "postgresql": "SELECT",
    }[database.dialect]
    source = "n" if database.dialect == "sqlite" else "generate_series(1, :rows) AS n(i)"
    row = (
        f"{numbers} 'old' || i, '{ANNA}', 'oc', 'direct', 'agenda', '', '2026-01-01 00:00:00+00:00', "
        "'2026-01-01 00:00:00+00:00', 'en', 'succeeded', '[]', 0, 1, '2026-01-01 00:00:00+00:00', "
        f"'2026-01-01 00:00:00+00:00', false, 1, '2026-01-01 00:00:00+00:00', 'answered' FROM {source}"
    )
    columns = (
        "id, user_key, chat_id, chat_kind, command, arguments, asked_at, received_at, language, status, needs, "
        "consents, attempts, runs_after, expires_at, confirmed, claim, settled_at, outcome"
    )
    if database.dialect == "postgresql":
        row = row.replace("'2026-01-01 00:00:00+00:00'", "timestamptz '2026-01-01 00:00:00+00:00'")
    insert = text(f"INSERT INTO deferred_calls ({columns}) {row}")
    await database.write(lambda c: c.execute(insert, {"rows": SETTLED_ROWS}) and None)
    await database.write(make_some_live)
    await database.write(lambda c: c.execute(text("ANALYZE")) and None)
    return database


def make_some_live(c: Connection) -> None:
    for number in range(300):
        call = a_call(UserKey("lark", "cli_1", "tenant_1", f"ou_{number}"))
        inbox.record(c, call.id, call, language=None, union_id=None, now=NOW)
    c.execute(
        text(
            "UPDATE deferred_calls SET status = 'suspended', waits_for = 'administrator', suspended_at = asked_at "
            "WHERE status = 'queued' AND user_key LIKE '%1'"
        )
    )


def plan(connection: Connection, statement: Any, values: dict[str, Any]) -> str:
    """The plan of a statement of the store's, bound as the store binds it."""
    dialect = connection.dialect
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    explain = "EXPLAIN QUERY PLAN " if dialect.name == "sqlite" else "EXPLAIN "
    processors = compiled._bind_processors
    parameters = {
        name: processors[name](value) if name in processors else value
        for name, value in compiled.construct_params(values).items()
    }
    order = compiled.positiontup
    arguments = tuple(parameters[name] for name in order) if order else parameters
    rows = connection.exec_driver_sql(explain + str(compiled), arguments).all()
    return "\n".join(str(row[-1]) for row in rows)


async def test_a_claim_among_many_settled_calls_reads_only_the_index_of_those_that_can_be_claimed(
    crowded: Database,
) -> None:
    values = {"own_app": APP, "new_worker": "w", "now": NOW, "lease_until": SOON}
    found = await crowded.read(lambda c: plan(c, claims.CLAIM_NEXT[crowded.dialect], values))
    assert "ix_deferred_calls_next" in found, found
    assert "ix_deferred_calls_behind" in found, found
    assert "ix_deferred_calls_queued_of_user" in found, found
    assert not reads_a_whole_table(found), found


async def test_what_is_looked_for_regularly_is_found_by_a_partial_index(crowded: Database) -> None:
    for statement, values in (
        (calls.SUSPENDED_OF, {"user": ANNA}),
        (calls.QUEUED_OF, {"user": ANNA}),
        (calls.OVERDUE, {"own_app": APP, "now": NOW, "limit": 5}),
        (calls.DUE_FOR_INTERIM, {"own_app": APP, "before": NOW, "limit": 5}),
    ):
        found = await crowded.read(lambda c, s=statement, v=values: plan(c, s, v))
        partial = [
            str(index.name)
            for index in deferred_calls.indexes
            if index.dialect_options["sqlite"]["where"] is not None
        ]
        assert any(name in found for name in partial), found
        assert not reads_a_whole_table(found), found


def reads_a_whole_table(plan: str) -> bool:
    lines = plan.splitlines()
    return any("Seq Scan" in line or (line.startswith("SCAN") and "INDEX" not in line) for line in lines)


async def test_two_programs_share_one_file(sqlite_url: str) -> None:
    database = await open_database(sqlite_url, Keyring([new_key()]))
    await ask(database)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite+aiosqlite:///"))
    assert other.execute("SELECT status FROM deferred_calls").fetchall() == [("queued",)]
    assert other.execute("SELECT count(*) FROM who_is_waiting").fetchone() == (1,)
    other.close()
    await database.close()
