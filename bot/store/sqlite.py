"""SQLite: one writer thread that commits for many, and a few threads that read.

A pool of connections that each commit alone fights over SQLite's single write lock. Here the writer takes whatever
works are waiting, runs each in its own savepoint, commits once, and answers each waiter after that commit.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from bot.store.database_url import parse_url
from bot.store.key_sharing import with_known_keys
from bot.store.keyring import Keyring
from bot.store.presence_lock import SUFFIX, PresenceFile
from bot.store.statements import APP
from bot.store.transaction import KEYRING, Database, T, Work, run_in_transaction

READERS = 4
LARGEST_BATCH = 100
ENTER_PATIENCE = 30.0
"""Seconds to wait for a process that is starting and has the file to itself: it writes once."""
BUSY_MILLISECONDS = 10_000
"""How long another process may hold the file before a write gives up."""


def make_engine(url: str, *, seal: Keyring | None = None, app: str = "") -> Engine:
    """An engine whose connections leave BEGIN and COMMIT to whoever uses them."""
    parsed = parse_url(url).set(drivername="sqlite")
    engine = create_engine(
        parsed,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False},
        execution_options={KEYRING: seal, APP: app},
        pool_size=READERS + 1,
        query_cache_size=1000,
        hide_parameters=True,  # what people wrote does not belong into an exception
    )
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL would lose the last commits with the power, and an acknowledged event among them. The price of FULL is
    # one fsync a commit, and a commit is shared.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


@dataclass(frozen=True, slots=True)
class _Write:
    work: Work[Any]
    done: asyncio.Future[Any]


class SqliteDatabase(Database):
    dialect = "sqlite"

    def __init__(self, url: str, seal: Keyring, app: str = "") -> None:
        super().__init__(url, seal, app)
        self._loop = asyncio.get_running_loop()
        self._engine = make_engine(url, seal=seal, app=app)
        self._path = parse_url(url).database or ""
        self._opened: tuple[int, int] | None = None
        self._presence: PresenceFile | None = None
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._closed = False
        self._writer = threading.Thread(target=self._write_batches, name="sqlite-writer", daemon=True)
        self._writer.start()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._reading = threading.local()
        self._reading_all: list[Connection] = []

    @with_known_keys
    async def write(self, work: Work[T]) -> T:
        if self._closed:
            raise RuntimeError("The database is closed.")
        done: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Write(work, done))
        return await done

    @with_known_keys
    async def read(self, work: Work[T]) -> T:
        return await self._loop.run_in_executor(self._readers, self._read, work)

    def _read(self, work: Work[T]) -> T:
        connection = self._reader_connection()
        driver: Any = connection.connection.dbapi_connection
        driver.execute("BEGIN")  # one snapshot for all of it
        try:
            return work(connection)
        finally:
            driver.execute("ROLLBACK")

    def _reader_connection(self) -> Connection:
        """Each reader thread keeps a connection of its own: fetching one from a pool costs more than most reads."""
        found: Connection | None = getattr(self._reading, "connection", None)
        if found is None:
            found = self._reading.connection = self._engine.connect()
            self._opened = self._opened or _identity(self._path)
            self._reading_all.append(found)
        return found

    async def probe(self) -> None:
        await super().probe()
        # What was opened stays readable and writable without its name; whoever opens the file next would miss it.
        if _identity(self._path) != self._opened:
            raise FileNotFoundError("The database file was moved, replaced or deleted.")

    async def enter(self, replica: str, take_over: Work[bool] | None) -> bool:
        if self._presence is None:
            self._presence = PresenceFile(self._path)
        give_up_at = self._loop.time() + ENTER_PATIENCE
        while True:
            if take_over is not None and self._presence.take_alone():
                alone = await self.write(take_over)
                self._presence.take_shared()
                return alone
            if self._presence.take_shared():
                return False
            if self._loop.time() > give_up_at:
                raise TimeoutError(f"Another process does not let go of {self._path}{SUFFIX}.")
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._reading_all:
            connection.close()
        self._engine.dispose()
        if self._presence is not None:
            self._presence.close()

    # --- in the writer's thread -----------------------------------------------------------------------

    def _write_batches(self) -> None:
        with self._engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            while batch := self._next_batch():
                answers, announced = _commit_together(connection, driver.execute, batch)
                self._loop.call_soon_threadsafe(self._answer, answers, announced)

    def _next_batch(self) -> list[_Write]:
        """Waits for a work and takes those behind it; nothing when the database is being closed."""
        batch: list[_Write] = []
        try:
            while len(batch) < LARGEST_BATCH:
                write = self._queue.get(block=not batch)
                if write is None:
                    self._queue.put(None)  # what was taken with it comes first; the next look finds it again
                    break
                batch.append(write)
        except Empty:
            pass
        return batch

    def _answer(self, answers: list[Callable[[], None]], announced: bool) -> None:
        for answer in answers:
            answer()
        if announced:
            self._wake()


def _identity(path: str) -> tuple[int, int]:
    """Which file has this name."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _commit_together(
    connection: Connection, run: Callable[[str], object], batch: list[_Write]
) -> tuple[list[Callable[[], None]], bool]:
    """Runs the works in one transaction.

    Returns the answers to give, now that it is committed or rolled back, and whether it made other work runnable.
    """
    answers: list[Callable[[], None]] = []
    announced = False
    try:
        run("BEGIN IMMEDIATE")
        for write in batch:
            run("SAVEPOINT work")
            try:
                result, announces = run_in_transaction(connection, write.work)
                answers.append(_result(write.done, result))
                announced |= announces
            except Exception as error:
                run("ROLLBACK TO work")
                answers.append(_failure(write.done, error))
            run("RELEASE work")
        run("COMMIT")
    except Exception as error:
        # The transaction as a whole: the file is locked, the disk is full.
        if connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
            run("ROLLBACK")
        return [_failure(write.done, error) for write in batch], False
    return answers, announced


def _result(done: asyncio.Future[T], value: T) -> Callable[[], None]:
    return lambda: None if done.done() else done.set_result(value)


def _failure(done: asyncio.Future[Any], error: Exception) -> Callable[[], None]:
    return lambda: None if done.done() else done.set_exception(error)
