"""Works, transactions and being told of work, on each kind of database."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from bot.core.errors import CannotOpenSecret, ConfigurationError
from bot.core.secrets import Secret
from bot.store import call_steps, inbox, sealed, users
from bot.store.database_url import parse_url
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.postgresql import make_engine
from bot.store.sqlite import SqliteDatabase
from bot.store.transaction import Database, announce, keyring_of
from tests.reused_databases import administer
from tests.store.examples import ANNA, BEN, NOW, a_call, ask, meet


async def count(database: Database, table: str = "users") -> int:
    return await database.read(lambda c: c.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


async def test_connecting_to_postgresql_says_nothing_that_a_pooler_would_refuse() -> None:
    """pgbouncer takes user, database and client_encoding at start-up; the rest is said by the session."""
    said: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not said.done():
            length = int.from_bytes(await reader.readexactly(4))
            message = await reader.readexactly(length - 4)
            if message[:4] == (80877103).to_bytes(4):  # may it be TLS?
                writer.write(b"N")
                continue
            said.set_result(message[4:].decode().strip("\0").split("\0")[::2])
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    engine = make_engine(f"postgresql+asyncpg://bot:secret@127.0.0.1:{port}/bot")
    with pytest.raises((OSError, DBAPIError)):
        async with engine.connect():
            pass
    assert set(await said) <= {"user", "database", "client_encoding"}
    await engine.dispose()
    server.close()
    await server.wait_closed()


async def test_every_session_of_postgresql_plans_for_an_index(postgresql_url: str, key: str) -> None:
    database = await open_database(postgresql_url, Keyring([key]))
    for run in (database.read, database.write, database.write_one):
        assert await run(lambda c: c.execute(text("SHOW enable_seqscan")).scalar()) == "off"
    await database.close()


# --- works -------------------------------------------------------------------------------------


async def test_only_the_failing_work_of_a_batch_is_rolled_back(database: Database) -> None:
    def work(number: int):
        def meet_somebody(c: Connection) -> int:
            person = type(ANNA)("lark", "cli_1", "tenant_1", f"ou_{number}")
            users.seen(c, person, language="en", union_id=None, now=NOW)
            if number % 3 == 0:
                raise LookupError(number)
            return number

        return database.write(meet_somebody)

    results = await asyncio.gather(*(work(n) for n in range(30)), return_exceptions=True)
    failed = [each for each in results if isinstance(each, LookupError)]
    assert len(failed) == 10
    assert [each for each in results if isinstance(each, int)] == [n for n in range(30) if n % 3]
    assert await count(database) == 20


async def test_a_statement_that_fails_undoes_its_own_work_and_no_other(database: Database) -> None:
    broken = database.write(lambda c: c.execute(text("UPDATE users SET language = 'tlh'")) and None)
    await meet(database)
    results = await asyncio.gather(broken, meet(database, BEN), return_exceptions=True)
    assert isinstance(results[0], IntegrityError)
    assert await count(database) == 2


async def test_a_work_sees_what_was_written_before(database: Database) -> None:
    for number in range(20):
        await meet(database, type(ANNA)("lark", "cli_1", "tenant_1", f"ou_{number}"))
        assert await count(database) == number + 1


async def test_a_work_given_to_write_one_can_execute_only_one_statement_on_postgresql(
    postgresql_url: str,
) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]))
    with pytest.raises(RuntimeError, match="one statement"):
        await database.write_one(lambda c: (c.execute(text("SELECT 1")), c.execute(text("SELECT 2"))))
    # The guard is gone with the work: the connection serves others again.
    for _ in range(20):
        await database.write(lambda c: [c.execute(text(f"SELECT {n}")).scalar() for n in (1, 2)])
    await database.close()


async def test_what_reads_cannot_write_on_sqlite(sqlite_url: str) -> None:
    database = await open_database(sqlite_url, Keyring([new_key()]))
    await database.read(lambda c: users.seen(c, ANNA, language=None, union_id=None, now=NOW))
    assert await count(database) == 0
    await database.close()


async def test_a_lost_race_is_run_again(postgresql_url: str) -> None:
    """Two transactions that lock two people in opposite order: PostgreSQL ends one, and it succeeds the second time."""
    database = await open_database(postgresql_url, Keyring([new_key()]))
    await meet(database)
    await meet(database, BEN)
    runs = 0
    locked = set()

    def cross(first, second):
        def work(c: Connection) -> None:
            nonlocal runs
            runs += 1
            users.set_quiet(c, first, NOW)
            locked.add(first)
            while len(locked) < 2:
                c.execute(text("SELECT pg_sleep(0.01)"))
            users.set_quiet(c, second, NOW)

        return database.write(work)

    await asyncio.gather(cross(ANNA, BEN), cross(BEN, ANNA))
    assert runs > 2  # a busy PostgreSQL may end both
    await database.close()


async def test_closing_finishes_what_was_begun(database: Database) -> None:
    waiting = [
        asyncio.create_task(meet(database, type(ANNA)("lark", "c", "t", f"ou_{n}"))) for n in range(50)
    ]
    await asyncio.sleep(0)
    if isinstance(database, SqliteDatabase):
        await database.close()
        await asyncio.gather(*waiting)
        with pytest.raises(RuntimeError, match="closed"):
            await meet(database)
        path = database.url.removeprefix("sqlite+aiosqlite:///")
        other = sqlite3.connect(path)
        assert other.execute("SELECT count(*) FROM users").fetchone() == (50,)
        other.close()
    else:
        await asyncio.gather(*waiting)
        assert await count(database) == 50


async def test_a_waiter_that_went_away_does_not_disturb_the_others(database: Database) -> None:
    tasks = [asyncio.create_task(meet(database, type(ANNA)("lark", "c", "t", f"ou_{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::4]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(each is None for each in results) == 15
    assert await count(database) >= 15
    await meet(database)


async def test_a_file_that_somebody_else_has_locked_fails_the_write_and_not_the_writer(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.sqlite.BUSY_MILLISECONDS", 50)
    database = await open_database(sqlite_url, Keyring([new_key()]))
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite+aiosqlite:///"))
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(meet(database), meet(database, BEN), return_exceptions=True)
    assert all("locked" in str(each) for each in results)
    other.rollback()
    other.close()
    await meet(database)
    assert await count(database) == 1
    await database.close()


async def test_an_acknowledged_write_survives_a_loss_of_power(sqlite_url: str) -> None:
    """SQLite promises that for a journal that is synchronized at each commit."""
    database = await open_database(sqlite_url, Keyring([new_key()]))

    def pragma(name: str):
        return lambda c: c.exec_driver_sql(f"PRAGMA {name}").scalar()

    assert await database.write(pragma("synchronous")) == 2
    assert await database.write(pragma("journal_mode")) == "wal"
    assert await database.write(pragma("foreign_keys")) == 1
    await database.close()


# --- being told --------------------------------------------------------------------------------

PATIENCE = 20.0
"""Seconds. No worker wakes by chance, so a long wait cannot hide a missing notification."""


async def listening(*databases: Database) -> asyncio.Event:
    """What is set when the first of them hears of work, once all these do."""
    woken = asyncio.Event()
    databases[0].on_work(woken.set)
    listeners = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' "
        "AND query LIKE 'LISTEN%'"
    )
    async with asyncio.timeout(PATIENCE):
        while databases[0].dialect == "postgresql" and len(databases) > await databases[0].read(
            lambda c: c.execute(listeners).scalar_one()
        ):
            await asyncio.sleep(0.01)
    woken.clear()
    return woken


async def test_a_waiting_worker_is_woken_after_the_commit(database: Database) -> None:
    woken = await listening(database)
    await meet(database)
    assert not woken.is_set()
    await ask(database)
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    assert await count(database, "deferred_calls") == 1


async def test_work_that_was_rolled_back_wakes_nobody(database: Database) -> None:
    woken = await listening(database)

    def fail(c: Connection) -> None:
        announce(c)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fail)
    await meet(database)
    await asyncio.sleep(0.1)
    assert not woken.is_set()


async def test_another_replica_is_woken_also_after_its_connection_was_cut(
    postgresql_url: str, key: str
) -> None:
    here = await open_database(postgresql_url, Keyring([key]))
    there = await open_database(postgresql_url, Keyring([key]))
    woken = await listening(there, here)
    await ask(here)
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    woken.clear()
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%LISTEN%'"
    )
    await here.read(lambda c: c.execute(cut).all())
    async with asyncio.timeout(PATIENCE):
        await woken.wait()  # it listens again, and looks for what it has missed
    woken.clear()
    await ask(here, BEN)
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    await here.close()
    await there.close()


@pytest.fixture
def stranger(postgresql_url: str) -> Iterator[str]:
    """A role that may connect, and nothing else."""
    name = f"stranger_{uuid4().hex}"
    administer(postgresql_url, f"CREATE ROLE {name}")
    yield name
    administer(postgresql_url, f"DROP ROLE {name}")


FLOOD = "SELECT pg_notify(channel, i::text) FROM generate_series(1, 2000) i, unnest(CAST(:channels AS text[])) channel"


async def flood(url: str, role: str, channels: list[str]) -> None:
    """Twenty thousand notifications, each with words of its own."""
    engine = make_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"SET ROLE {role}"))
        for _ in range(10):
            await connection.execute(text(FLOOD), {"channels": channels})
    await engine.dispose()


async def test_what_other_roles_notify_is_not_even_heard(
    postgresql_url: str, stranger: str, key: str
) -> None:
    seal = Keyring([key])
    here = await open_database(postgresql_url, seal)
    there = await open_database(postgresql_url, Keyring([key]))
    woken = await listening(here, there)
    await flood(
        postgresql_url, stranger, ["bot_work", "bot_work_", *(f"bot_work_{each}" for each in seal.key_ids)]
    )
    # Notifications come in their order: had any of those been heard, it would have been before this one.
    before = woken.is_set()
    await ask(there)
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    assert not before
    await here.close()
    await there.close()


async def test_a_flood_of_notifications_wakes_the_worker_at_a_bounded_rate(
    postgresql_url: str, stranger: str, key: str
) -> None:
    seal = Keyring([key])
    database = await open_database(postgresql_url, seal)
    await listening(database)
    wakes = []
    database.on_work(lambda: wakes.append(time.monotonic()))
    await flood(postgresql_url, stranger, [f"bot_work_{each}" for each in seal.secret_names])
    async with asyncio.timeout(PATIENCE):
        while not wakes:
            await asyncio.sleep(0.01)
    count = len(wakes)
    await database.close()
    assert count <= 2 + (wakes[-1] - wakes[0]) / 0.02


async def test_replicas_in_the_middle_of_a_rotation_hear_each_other(postgresql_url: str) -> None:
    old, new = new_key(), new_key()
    here = await open_database(postgresql_url, Keyring([old]))
    there = await open_database(postgresql_url, Keyring([new, old]))
    woken = await listening(there, here)
    await ask(here)
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    back = asyncio.Event()
    here.on_work(back.set)
    await ask(there, BEN)
    async with asyncio.timeout(PATIENCE):
        await back.wait()
    await here.close()
    await there.close()


async def test_the_pool_recovers_when_its_connections_were_cut(postgresql_url: str) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]))
    await asyncio.gather(*(count(database) for _ in range(8)))
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await database.read(lambda c: c.execute(cut).all())
    for _ in range(12):
        try:
            await count(database)
        except DBAPIError:
            continue
    assert await count(database) == 0
    await database.close()


@pytest.mark.parametrize("way", ["read", "write", "write_one"])
async def test_a_work_that_is_cancelled_stays_cancelled_and_the_next_ones_run(
    postgresql_url: str, way: str
) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]))
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(c: Connection) -> None:
        loop.call_soon(begun.set)
        c.execute(text("SELECT pg_sleep(30)"))

    for _ in range(12):  # more than there are connections
        begun.clear()
        task = asyncio.create_task(getattr(database, way)(work))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await ask(database)
    assert await count(database) == 1
    await database.close()


async def test_a_work_that_fails_leaves_nothing_and_its_connection_usable(database: Database) -> None:
    def fails(c: Connection) -> None:
        c.execute(text("CREATE TABLE left_over (number INTEGER)"))
        c.execute(text("SELECT * FROM no_such_table"))

    for _ in range(12):  # more than there are connections
        with pytest.raises(DBAPIError):
            await database.write(fails)
    await ask(database)
    assert await count(database) == 1
    with pytest.raises(DBAPIError):
        await database.view(lambda c: c.execute(text("SELECT * FROM left_over")).all())


async def test_a_busy_file_holds_up_its_writes_and_not_the_event_loop(sqlite_url: str) -> None:
    database = await open_database(sqlite_url, Keyring([new_key()]))
    other = sqlite3.connect(parse_url(sqlite_url).database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asked = asyncio.create_task(ask(database))
    for _ in range(20):
        assert await count(database) == 0
        await asyncio.sleep(0.005)
    assert not asked.done()
    other.execute("COMMIT")
    await asked
    assert await count(database) == 1
    other.close()
    await database.close()


# --- opening -----------------------------------------------------------------------------------


async def test_other_keys_do_not_open_a_database(database_url: str, key: str) -> None:
    for _ in range(2):
        await (await open_database(database_url, Keyring([key]))).close()
    with pytest.raises(ConfigurationError, match="BOT_ENCRYPTION_KEYS"):
        await open_database(database_url, Keyring([new_key()]))
    database = await open_database(database_url, Keyring([new_key(), key]))
    assert len(database.key_ids) == 2
    await database.close()


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "nonsense", "sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:"]
)
async def test_a_url_that_cannot_be_used_says_so_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="BOT_DATABASE_URL"):
        await open_database(url, Keyring([new_key()]))


async def test_a_secret_is_opened_only_where_it_was_stored(database: Database) -> None:
    """Somebody who can write to the database cannot give one call's result to another."""
    first, second = a_call(), a_call(BEN)
    for call in (first, second):
        await database.write(
            lambda c, n=call: inbox.record(c, n.id, n, language=None, union_id=None, now=NOW)
        )
    move = text(
        "INSERT INTO call_steps (call_id, number, digest, is_write, result) VALUES (:id, 0, 'd', false, :r)"
    )

    def steal(c: Connection) -> None:
        step = {"call_id": first.id, "number": 0, "digest": "d", "is_write": False}
        result = sealed.STEP_RESULT.seal(keyring_of(c), step, Secret("{}"))
        c.execute(move, {"id": second.id, "r": result})

    await database.write(steal)
    with pytest.raises(CannotOpenSecret):
        await database.read(lambda c: call_steps.steps_of(c, second.id))
