"""SQLite: statements run on the event loop's thread; only COMMIT, which waits for the disk, runs in another thread.

Every call into sqlite3 releases the GIL. A writer thread would lose it to a busy event loop after each statement, and
getting it back costs more than the statement. Statements here take microseconds; a longer read is a `view`, which runs
in a thread.

Writes share transactions: those that arrive during a COMMIT run in the next transaction, each in its own savepoint, and
return when that is committed. Connections that each commit alone would compete for SQLite's single write lock.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from bot.store.connection import PreparedStatements, StoreConnection
from bot.store.database_url import parse_url
from bot.store.key_sharing import with_known_keys
from bot.store.keyring import Keyring
from bot.store.presence_lock import SUFFIX, PresenceFile
from bot.store.statements import APPS
from bot.store.transaction import KEYRING, Database, T, Work, run_in_transaction, watched

VIEW_THREADS = 2
MAX_BATCH = 100
"""Units of work that may share a transaction."""
MAX_HOLD_SECONDS = 0.005
"""Processor time after which a batch lets the event loop run other tasks."""
ENTER_TIMEOUT = 30.0
"""Seconds to wait while a starting process holds the presence lock exclusively, for a single write."""
UNAVAILABLE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}
"""Primary codes of errors that are about the file or the disk, not about the statement."""
BUSY_MILLISECONDS = 10_000
"""Milliseconds to wait for a lock on the file that another process holds."""


def make_engine(url: str, *, keyring: Keyring | None = None, apps: Sequence[str] = ()) -> Engine:
    """Return an engine whose connections leave BEGIN and COMMIT to the caller."""
    parsed = parse_url(url).set(drivername="sqlite")
    engine = create_engine(
        parsed,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False},
        execution_options={KEYRING: keyring, APPS: tuple(apps)},
        pool_size=VIEW_THREADS + 2,
        query_cache_size=1000,
        hide_parameters=True,  # they contain text that users wrote, which must not reach the logs
    )
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL can lose the last commits, and thus an acknowledged event, in a power failure. FULL costs one fsync a
    # commit, and writes share commits.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # What is erased is overwritten, and not only unlinked.
    connection.execute("PRAGMA secure_delete = ON")


class _Connection(StoreConnection):
    def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        return self._drive(sql, lambda: self.driver.execute(sql, arguments).fetchall())

    def run(self, sql: str, arguments: Sequence[Any]) -> int:
        rowcount: int = self._drive(sql, lambda: self.driver.execute(sql, arguments).rowcount)
        return rowcount

    def run_many(self, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
        self._drive(sql, lambda: self.driver.executemany(sql, arguments))

    def _drive(self, sql: str, execute: Callable[[], T]) -> T:
        """Use the driver. Raises its errors as SQLAlchemy does."""
        try:
            return execute()
        except sqlite3.Error as error:
            raise DBAPIError.instance(
                sql, None, error, sqlite3.Error, hide_parameters=True, dialect=self.dialect
            ) from error


@dataclass(frozen=True, slots=True)
class _Write:
    work: Work[Any]
    done: asyncio.Future[Any]
    context: contextvars.Context
    """The caller's."""


_Completions = list[Callable[[], None]]
"""Functions that complete the futures of a batch."""


class SqliteDatabase(Database):
    dialect = "sqlite"

    def __init__(self, url: str, keyring: Keyring, apps: Sequence[str] = ()) -> None:
        super().__init__(url, keyring, apps)
        self._engine = make_engine(url, keyring=keyring, apps=self.apps)
        self._statements = PreparedStatements(self._engine.dialect)
        self._path = parse_url(url).database or ""
        self._opened: tuple[int, int] | None = None
        self._presence: PresenceFile | None = None
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        self._waiting: deque[_Write] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self._lock_thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-lock")
        """Runs what may wait for the disk or for a lock: connecting, COMMIT, and BEGIN while the file is busy."""
        self._view_threads = ThreadPoolExecutor(VIEW_THREADS, thread_name_prefix="sqlite-view")
        self._of_view_thread = threading.local()
        self._connections: list[Connection] = []

    @watched
    @with_known_keys
    async def write(self, work: Work[T]) -> T:
        if self._closed:
            raise RuntimeError("The database is closed.")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Write(work, done, contextvars.copy_context()))
        if self._writing is None:
            self._writing = loop.create_task(self._write_waiting())
        return await done

    @watched
    @with_known_keys
    async def read(self, work: Work[T]) -> T:
        if self._reader is None:
            self._reader = await self._in_thread(self._lock_thread, self._connect_without_waiting)
        try:
            return _in_snapshot(self._reader, work)
        except DBAPIError as error:
            if not _is_busy(error.orig):
                raise
        # A process that recovers the file after a crash locks out even readers for a moment.
        return await self._view(work)

    @watched
    @with_known_keys
    async def view(self, work: Work[T]) -> T:
        return await self._view(work)

    async def _view(self, work: Work[T]) -> T:
        return await self._in_thread(self._view_threads, lambda: _in_snapshot(self._view_connection(), work))

    def is_unavailable(self, error: Exception) -> bool:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, sqlite3.Error):
            return getattr(cause, "sqlite_errorcode", 0) & 0xFF in UNAVAILABLE
        return isinstance(cause, OSError)

    async def probe(self) -> None:
        await super().probe()
        # An open file stays readable and writable after it is moved or deleted, but the next process would not find it.
        if _identity(self._path) != self._opened:
            raise FileNotFoundError("The database file was moved, replaced or deleted.")

    async def enter(self, replica: str, take_over: Work[bool] | None) -> bool:
        if self._presence is None:
            self._presence = PresenceFile(self._path)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + ENTER_TIMEOUT
        while True:
            if take_over is not None and self._presence.acquire_exclusive():
                alone = await self.write(take_over)
                self._presence.acquire_shared()
                return alone
            if self._presence.acquire_shared():
                return False
            if loop.time() > give_up_at:
                raise TimeoutError(f"Another process does not release {self._path}{SUFFIX}.")
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writing is not None:
            await self._writing
        await asyncio.to_thread(self._lock_thread.shutdown)
        await asyncio.to_thread(self._view_threads.shutdown)
        for connection in self._connections:
            connection.close()
        self._engine.dispose()
        if self._presence is not None:
            self._presence.close()

    # --- connections ----------------------------------------------------------------------------------

    async def _in_thread(self, executor: ThreadPoolExecutor, run: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, run)

    def _connect(self) -> Connection:
        """Open a connection and keep it: checking one out of a pool costs more than most units of work."""
        connection = _Connection(self._engine, self._statements)
        self._opened = self._opened or _identity(self._path)
        self._connections.append(connection)
        return connection

    def _connect_without_waiting(self) -> Connection:
        """Open a connection for the event loop's thread: if the file is locked, it raises SQLITE_BUSY at once."""
        connection = self._connect()
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        return connection

    def _view_connection(self) -> Connection:
        found: Connection | None = getattr(self._of_view_thread, "connection", None)
        if found is None:
            found = self._of_view_thread.connection = self._connect()
        return found

    # --- writing --------------------------------------------------------------------------------------

    async def _write_waiting(self) -> None:
        """Write batches until no unit of work is waiting."""
        try:
            while self._waiting:
                completions, announced = await self._write_batch()
                for complete in completions:
                    complete()
                if announced:
                    self._wake()
                # Let the callers run first, so that what they write next shares the next transaction.
                await asyncio.sleep(0)
        finally:
            self._writing = None

    async def _write_batch(self) -> tuple[_Completions, bool]:
        """Run waiting units of work in one transaction, and commit it.

        Returns the functions that pass the results to the callers, and whether a call has become runnable.
        """
        batch: list[_Write] = []
        driver: Any = None
        try:
            if self._writer is None:
                self._writer = await self._in_thread(self._lock_thread, self._connect_without_waiting)
            driver = self._writer.connection.dbapi_connection
            await self._begin(driver)
            completions, announced = await self._run_waiting(self._writer, driver, batch)
            await self._in_thread(self._lock_thread, lambda: driver.execute("COMMIT"))
        except Exception as error:
            # The transaction as a whole failed: the file is locked, the disk is full.
            if driver is not None and driver.in_transaction:
                driver.execute("ROLLBACK")
            if not batch:
                batch, self._waiting = list(self._waiting), deque()
            return [_failure(write.done, error) for write in batch], False
        return completions, announced

    async def _begin(self, driver: Any) -> None:
        """Acquire the write lock. While another process holds it, wait in a thread."""
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            driver.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            try:
                await self._in_thread(self._lock_thread, lambda: driver.execute("BEGIN IMMEDIATE"))
            finally:
                driver.execute("PRAGMA busy_timeout = 0")

    async def _run_waiting(
        self, connection: Connection, driver: Any, batch: list[_Write]
    ) -> tuple[_Completions, bool]:
        """Move waiting units of work to `batch` and run each in its own savepoint."""
        completions: _Completions = []
        announced = False
        pause_at = time.thread_time() + MAX_HOLD_SECONDS
        while self._waiting and len(batch) < MAX_BATCH:
            if time.thread_time() > pause_at:
                await asyncio.sleep(0)
                pause_at = time.thread_time() + MAX_HOLD_SECONDS
            write = self._waiting.popleft()
            batch.append(write)
            driver.execute("SAVEPOINT work")
            try:
                done = run_in_transaction(connection, write.work)
                completions.append(_result(write.done, done.result))
                if done.entries:
                    completions.append(partial(write.context.run, self._report, done.entries))
                announced |= done.announced
            except Exception as error:
                driver.execute("ROLLBACK TO work")
                completions.append(_failure(write.done, error))
            driver.execute("RELEASE work")
        return completions, announced


def _in_snapshot(connection: Connection, work: Work[T]) -> T:
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN")  # all statements of the unit of work see one snapshot
    try:
        return work(connection)
    finally:
        driver.execute("ROLLBACK")


def _is_busy(error: BaseException | None) -> bool:
    # The low byte is the primary code; recovery and snapshots have extended ones.
    return (
        isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


def _identity(path: str) -> tuple[int, int]:
    """Return the device and inode of the file that currently has this name."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _result(done: asyncio.Future[T], value: T) -> Callable[[], None]:
    return lambda: None if done.done() else done.set_result(value)


def _failure(done: asyncio.Future[Any], error: Exception) -> Callable[[], None]:
    return lambda: None if done.done() else done.set_exception(error)
