"""PostgreSQL: a small pool of connections, and one more connection that notifies other replicas.

All connections are in autocommit mode. Under READ COMMITTED each statement has its own snapshot, inside a transaction or
not, so a read omits BEGIN and ROLLBACK, and saves two round trips. `write` sends BEGIN and COMMIT explicitly.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import greenlet_spawn

from bot.core.errors import ConfigurationError
from bot.store.connection import PreparedStatements, StoreConnection
from bot.store.database_url import read_url
from bot.store.key_sharing import with_known_keys
from bot.store.keyring import Keyring
from bot.store.statements import APPS
from bot.store.transaction import KEYRING, Database, Done, T, Work, run_in_transaction, watched

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 10
MAX_ATTEMPTS = 4
"""How often a unit of work is tried if it loses a race or its connection turns out to be closed."""
RACES_BY_STATE = {"40001", "40P01"}
"""SQLSTATE of a serialization failure and of a deadlock."""
RACES_BY_CONSTRAINT = {"ix_deferred_calls_one_running"}
"""Two replicas claimed two calls of one user."""

UNAVAILABLE = ("08", "25006", "3D", "28", "53", "57P", "58")
"""SQLSTATE, or the class of it, of a server that is away, starting, stopping, read-only, or out of connections, memory or
disk space, or that refuses the bot's database or role."""

CONNECT_TIMEOUT = 5.0
MAX_PREPARED_STATEMENTS = 500
"""For each connection: more than the bot has statements."""

CHANNEL = "bot_work_"
"""Prefix of a channel's name, before a part derived from an encryption key. The name is secret because every role that
may connect to the database may send notifications, and a listener has to read all those of its channel."""
NOTIFY_INTERVAL = 0.02
"""Seconds between notifications. Each wakes every replica, so a busy replica combines them."""
WAKE_INTERVAL = 0.02
"""Seconds between two wakes, regardless of how many notifications arrive."""
PROBE_INTERVAL = 10.0
RECONNECT_INTERVAL = 1.0


PLANNER = """
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET plan_cache_mode = force_generic_plan;
SET jit = off;
"""
"""Every statement is written for one index, of which it reads a few rows in order, whatever its parameters. The planner
cannot know that from the statistics of a new table: it would read and sort the whole queue for each claim. Generic plans
avoid planning, which takes longer than executing the statement.

Set after connecting, because pgbouncer rejects startup parameters that it does not know."""


def make_engine(url: str, **options: Any) -> AsyncEngine:
    found = read_url(url)
    parsed = make_url(found.url).update_query_dict(
        {"prepared_statement_cache_size": str(MAX_PREPARED_STATEMENTS)}
    )
    # Parameters contain text that users wrote, which must not reach the logs.
    engine = create_async_engine(
        parsed, hide_parameters=True, connect_args=connect_arguments(found.options), **options
    )
    event.listen(engine.sync_engine, "connect", _set_planner)
    return engine


def connect_arguments(options: Mapping[str, str]) -> dict[str, Any]:
    """Translate options of libpq into arguments of asyncpg."""
    arguments: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "statement_cache_size": MAX_PREPARED_STATEMENTS,
        "max_cached_statement_lifetime": 0,
    }
    if "host" in options:
        arguments["host"] = options["host"]
    if "port" in options:
        arguments["port"] = int(options["port"])
    if int(options.get("connect_timeout", 0)):
        arguments["timeout"] = float(options["connect_timeout"])
    if "application_name" in options:
        arguments["server_settings"] = {"application_name": options["application_name"]}
    if "target_session_attrs" in options:
        arguments["target_session_attrs"] = options["target_session_attrs"]
    ssl_argument = _ssl_argument(options)
    if ssl_argument is not None:
        arguments["ssl"] = ssl_argument
    return arguments


def _ssl_argument(options: Mapping[str, str]) -> str | ssl.SSLContext | None:
    """Return the `ssl` argument of asyncpg, following the rules of libpq.

    https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION

    Raises `ConfigurationError` for a certificate file that cannot be read.
    """
    root = options.get("sslrootcert")
    mode = options.get("sslmode") or options.get("ssl") or ("verify-full" if root == "system" else None)
    if mode in {"disable", "allow", "prefer"} or (mode is None and root is None and "sslcert" not in options):
        return mode
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    # With a root certificate, `require` checks the chain as `verify-ca` does.
    checks_chain = mode in {"verify-ca", "verify-full"} or root is not None
    context.verify_mode = ssl.CERT_REQUIRED if checks_chain else ssl.CERT_NONE
    name, file = "sslrootcert", root
    try:
        if root and root != "system":
            context.load_verify_locations(root)
        elif checks_chain:
            context.load_default_certs()
        if "sslcert" in options:
            name, file = "sslcert", options["sslcert"]
            context.load_cert_chain(options["sslcert"], options.get("sslkey"))
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "it contains no certificate"
        raise ConfigurationError(f"BOT_DATABASE_URL: {name}={file} cannot be used: {reason}.") from None
    return context


def _set_planner(connection: Any, record: object) -> None:
    connection.run_async(lambda driver: driver.execute(PLANNER))


async def refuse_pooler(url: str) -> None:
    """Raise `ConfigurationError` if a pooler gives each transaction another session.

    Prepared statements, LISTEN, the planner options and the presence lock all belong to a session. Two open connections
    that have had the same server process show such a pooler, and so does one that has had two.
    """
    found = read_url(url)
    arguments = {
        **make_url(found.url).translate_connect_args(username="user"),
        **connect_arguments(found.options),
        "statement_cache_size": 0,
    }
    pooled = False
    # If the database cannot be reached, the first unit of work reports that.
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        async with asyncio.timeout(CONNECT_TIMEOUT), contextlib.AsyncExitStack() as stack:
            connections = []
            for _ in range(2):
                connections.append(await asyncpg.connect(**arguments))
                stack.callback(connections[-1].terminate)
            try:
                seen = [[await _server_process(each) for each in connections] for _ in range(POOLER_LOOKS)]
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                # pgbouncer in the mode `statement` refuses transactions.
                seen = []
                pooled = "pooling mode" in str(error)
            processes = {process for looks in seen for process in looks}
            pooled = (
                pooled or any(looks != seen[0] for looks in seen) or 0 < len(processes) < len(connections)
            )
    if pooled:
        raise ConfigurationError(
            "BOT_DATABASE_URL leads to a connection pooler that changes sessions between transactions, which the bot "
            "cannot use. Set pool_mode = session for this database, or connect to PostgreSQL directly."
        )


POOLER_LOOKS = 3


async def _server_process(connection: Any) -> int:
    async with connection.transaction():
        process: int = await connection.fetchval("SELECT pg_backend_pid()")
        return process


class PostgresqlDatabase(Database):
    dialect = "postgresql"

    def __init__(self, url: str, keyring: Keyring, apps: Sequence[str] = ()) -> None:
        super().__init__(url, keyring, apps)
        engine = make_engine(
            url,
            isolation_level="AUTOCOMMIT",
            execution_options={KEYRING: keyring, APPS: self.apps},
            poolclass=NullPool,
            query_cache_size=1000,
        )
        self._connections = _ConnectionPool(engine, MAX_CONNECTIONS)
        self._messenger = _Messenger(url, keyring, self._wake)

    @watched
    @with_known_keys
    async def write(self, work: Work[T]) -> T:
        return await self._write(work, _in_transaction)

    @watched
    @with_known_keys
    async def write_one(self, work: Work[T]) -> T:
        return await self._write(work, _as_one_statement)

    @watched
    @with_known_keys
    async def read(self, work: Work[T]) -> T:
        return await self._connections.run(work)

    async def _write(self, work: Work[T], run: Callable[[Connection, Work[T]], Done[T]]) -> T:
        done = await self._connections.run(lambda connection: run(connection, work))
        self._report(done.entries)
        if done.announced:
            self._wake()
            self._messenger.send()
        return done.result

    async def enter(self, replica: str, take_over: Work[bool] | None) -> bool:
        """Hold the presence lock, which shows other replicas that this one is alive: see `takeover`."""
        if take_over is not None:
            self._messenger.show_presence(presence_key(replica))
        return True

    @property
    def presence_lock(self) -> int | None:
        return self._messenger.presence_lock

    def is_unavailable(self, error: Exception) -> bool:
        cause = _cause(error) or error
        state = getattr(cause, "sqlstate", None) or ""
        was_closed = isinstance(error, DBAPIError) and error.connection_invalidated
        return (
            was_closed or isinstance(cause, OSError | asyncpg.InterfaceError) or state.startswith(UNAVAILABLE)
        )

    def is_lost_race(self, error: Exception) -> bool:
        return _is_lost_race(error)

    async def close(self) -> None:
        await self._messenger.close()
        await self._connections.close()


def presence_key(replica: str) -> int:
    """Return the number of a replica's advisory lock. Each replica has a unique name."""
    return int.from_bytes(hashlib.sha256(replica.encode()).digest()[:8], signed=True)


class _Connection(StoreConnection):
    statements_left: int | None = None
    """The number of statements that may still be executed. If None, there is no limit."""

    def __init__(self, engine: Engine, statements: PreparedStatements) -> None:
        super().__init__(engine, statements)
        self._run_async: Any = self.connection.dbapi_connection.run_async  # type: ignore[union-attr]

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        if self.statements_left is not None:
            if self.statements_left == 0:
                raise RuntimeError("`write_one` runs a unit of work of at most one statement.")
            self.statements_left -= 1
        return super().execute(statement, parameters, execution_options=execution_options)

    def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = self._drive(sql, lambda driver: driver.fetch(sql, *arguments))
        return rows

    def run(self, sql: str, arguments: Sequence[Any]) -> int:
        # The tag of the command, like "UPDATE 3" or "INSERT 0 3".
        tag: str = self._drive(sql, lambda driver: driver.execute(sql, *arguments))
        return int(tag.rpartition(" ")[2])

    def run_many(self, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
        self._drive(sql, lambda driver: driver.executemany(sql, arguments))

    def _drive(self, sql: str, execute: Callable[[Any], Any]) -> Any:
        """Use the driver. Raises its errors as SQLAlchemy does."""
        try:
            return self._run_async(execute)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            kind = (
                IntegrityError if isinstance(error, asyncpg.IntegrityConstraintViolationError) else DBAPIError
            )
            closed = self.driver.is_closed()
            raise kind(sql, None, error, hide_parameters=True, connection_invalidated=closed) from error


class _ConnectionPool:
    """A connection pool.

    Checking a connection out of SQLAlchemy's pool costs more than most statements, because that sets and resets the
    isolation level.
    """

    def __init__(self, engine: AsyncEngine, size: int) -> None:
        self._engine = engine
        self._statements = PreparedStatements(engine.dialect)
        self._permits = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection] = []
        self._is_closed = False

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work. Retry it if it lost a race, or if its connection turns out to be closed."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with self._permits:
                    return await self._run(work)
            except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if attempt == MAX_ATTEMPTS or not (_is_lost_race(error) or _was_closed_before(error)):
                    raise
        raise AssertionError("unreachable")

    async def _run(self, work: Work[T]) -> T:
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            result = await connection.run_sync(work)
        except BaseException as error:
            # After a rejected statement the connection is usable. After a cancellation it may be in the middle of one.
            if isinstance(error, Exception) and not await _is_closed(connection):
                await self._put_back(connection)
            else:
                await _terminate(connection)
                if isinstance(error, Exception):
                    # The server has restarted, so the other connections are closed too.
                    await self._close_idle()
            raise
        await self._put_back(connection)
        return result

    async def _connect(self) -> AsyncConnection:
        engine = self._engine
        return AsyncConnection(
            engine, await greenlet_spawn(_Connection, engine.sync_engine, self._statements)
        )

    async def _put_back(self, connection: AsyncConnection) -> None:
        if self._is_closed:
            await _terminate(connection)
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close the connections: the idle ones now, the others when their work is done."""
        self._is_closed = True
        await self._close_idle()

    async def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await _terminate(connection)


async def _is_closed(connection: AsyncConnection) -> bool:
    if connection.invalidated:
        return True
    driver: Any = (await connection.get_raw_connection()).driver_connection
    return bool(driver.is_closed())


async def _terminate(connection: AsyncConnection) -> None:
    """Close a connection without waiting for the server."""
    with contextlib.suppress(Exception):
        await connection.invalidate()
    await connection.close()


def _in_transaction(connection: Connection, work: Work[T]) -> Done[T]:
    _send(connection, "BEGIN")
    try:
        done = run_in_transaction(connection, work)
        _send(connection, "COMMIT")
    except Exception:
        # If the connection is closed, the server rolls back. The first error is the one to raise.
        if not connection.invalidated:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                _send(connection, "ROLLBACK")
        raise
    return done


def _send(connection: Connection, command: str) -> None:
    """Send a command to the server without SQLAlchemy, which takes as long for it as for a query."""
    adapter: Any = connection.connection.dbapi_connection
    adapter.run_async(lambda driver: driver.execute(command))


def _as_one_statement(connection: Connection, work: Work[T]) -> Done[T]:
    """Run a unit of work. Raises RuntimeError at a second statement, because the first is already committed."""
    assert isinstance(connection, _Connection)
    connection.statements_left = 1
    try:
        return run_in_transaction(connection, work)
    finally:
        connection.statements_left = None


def _cause(error: Exception) -> BaseException | None:
    """Return the driver's own exception."""
    if not isinstance(error, DBAPIError):
        return error
    if error.orig is None or isinstance(error.orig, asyncpg.PostgresError | asyncpg.InterfaceError):
        return error.orig
    return error.orig.__cause__  # SQLAlchemy's own error is raised from the driver's


def _is_lost_race(error: Exception) -> bool:
    """Whether an error is a collision with a concurrent transaction, after which a retry can succeed."""
    cause = _cause(error)
    if isinstance(cause, asyncpg.InvalidCachedStatementError):
        return True  # a migration changed the type of a column
    if not isinstance(cause, asyncpg.PostgresError):
        return False
    return cause.sqlstate in RACES_BY_STATE or getattr(cause, "constraint_name", "") in RACES_BY_CONSTRAINT


def _was_closed_before(error: Exception) -> bool:
    """Whether a pooled connection was already closed (the server has restarted), so that nothing was sent.

    For BEGIN and COMMIT the driver raises InterfaceError only in this case.
    """
    was_closed = error.connection_invalidated if isinstance(error, DBAPIError) else True
    return isinstance(_cause(error), asyncpg.InterfaceError) and was_closed


class _Messenger:
    """Notifies other replicas that a call is runnable, and receives their notifications.

    NOTIFY is sent after the commit, because inside a transaction it takes a lock that all commits share. A notification
    may get lost (a replica dies in between, a connection breaks), because replicas also poll.

    There is a channel for each encryption key, so that replicas with a key in common reach each other: during a rotation
    some have more keys than others.
    """

    def __init__(self, url: str, keyring: Keyring, wake: Any) -> None:
        self._engine = make_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._wake = wake
        self._channels = [CHANNEL + name for name in keyring.secret_names]
        self._name = secrets.token_hex(8)
        self._notify = "; ".join(f"NOTIFY {channel}, '{self._name}'" for channel in self._channels)
        self._unsent = asyncio.Event()
        self._cooldown: asyncio.TimerHandle | None = None
        self._notified_during_cooldown = False
        self._presence: int | None = None
        self._server_process: int | None = None
        """The server process of the session that holds the presence lock; None while no session does."""
        self._pooled = False
        self._task = asyncio.create_task(self._run())

    def send(self) -> None:
        self._unsent.set()

    def show_presence(self, key: int) -> None:
        """Hold this advisory lock from now on, whenever there is a connection."""
        self._presence = key
        self._unsent.set()

    @property
    def presence_lock(self) -> int | None:
        return self._presence if self._server_process is not None else None

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._cooldown is not None:
            self._cooldown.cancel()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with self._engine.connect() as connection:
                    await self._notify_and_listen((await connection.get_raw_connection()).driver_connection)
            self._server_process = None
            await asyncio.sleep(RECONNECT_INTERVAL)

    async def _notify_and_listen(self, connection: Any) -> None:
        """Send and receive notifications until the connection breaks."""
        connection.add_termination_listener(self._on_disconnect)
        for channel in self._channels:
            await connection.add_listener(channel, self._on_notification)
        self._wake()  # for notifications sent while this replica was not listening
        while True:
            await self._hold_presence(connection)
            try:
                # Not `wait_for`, which in 3.11 may swallow a cancellation.
                async with asyncio.timeout(PROBE_INTERVAL):
                    await self._unsent.wait()
            except TimeoutError:
                await self._probe(connection)
                continue
            self._unsent.clear()
            await connection.execute(self._notify, timeout=PROBE_INTERVAL)
            await asyncio.sleep(NOTIFY_INTERVAL)

    def _on_disconnect(self, connection: object) -> None:
        self._server_process = None
        self._unsent.set()  # the next statement raises the reason

    async def _hold_presence(self, connection: Any) -> None:
        """Acquire the presence lock. If an earlier session still holds it, the next probe retries."""
        if self._presence is None or self._server_process is not None or self._pooled:
            return
        row = await connection.fetchrow(
            "SELECT pg_try_advisory_lock($1) AS held, pg_backend_pid() AS process",
            self._presence,
            timeout=PROBE_INTERVAL,
        )
        self._server_process = row["process"] if row["held"] else None

    async def _probe(self, connection: Any) -> None:
        """Detect a pooler that changes sessions between transactions, which makes a session lock meaningless."""
        process = await connection.fetchval("SELECT pg_backend_pid()", timeout=PROBE_INTERVAL)
        if self._server_process is not None and process != self._server_process:
            log.warning(
                "a connection pooler changes sessions: replicas do not notice at once when another one ends"
            )
            self._server_process, self._pooled = None, True

    def _on_notification(self, connection: object, process: int, channel: str, sender: object) -> None:
        """Wake at once, and once more for all notifications that arrive within `WAKE_INTERVAL`."""
        if sender == self._name:
            return
        if self._cooldown is None:
            self._wake()
            self._start_cooldown()
        else:
            self._notified_during_cooldown = True

    def _start_cooldown(self) -> None:
        self._cooldown = asyncio.get_running_loop().call_later(WAKE_INTERVAL, self._end_cooldown)

    def _end_cooldown(self) -> None:
        self._cooldown = None
        if self._notified_during_cooldown:
            self._notified_during_cooldown = False
            self._wake()
            self._start_cooldown()
