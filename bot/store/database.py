"""The database as the rest of the bot sees it: works run in transactions, and somebody is told when there is work.

A work is a plain synchronous function of a SQLAlchemy `Connection`. It cannot await, so no transaction can be open
during an HTTP call. Which database it is, and how it is driven, is in `sqlite` and `postgresql`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import URL, Connection, make_url, text

from bot.core.database_url import DatabaseUrl, read_database_url
from bot.core.errors import CannotOpenSecret, ConfigurationError
from bot.store import audit
from bot.store.crypto import Seal
from bot.store.together import Gathering

__all__ = ["Connection", "Database", "Dialect", "announce", "check", "open_database", "seal_of", "upgrade"]

T = TypeVar("T")
Item = TypeVar("Item")
Work = Callable[[Connection], T]
Dialect = Literal["sqlite", "postgresql"]

SEAL = "bot_seal"
"""The execution option that holds the key ring."""
ANNOUNCED = "bot_announced"
"""The key of `Connection.info` that is set while a work has made other work runnable."""


class Database(ABC):
    """Runs works. Whoever is cancelled while waiting for a write cannot know whether it was committed."""

    dialect: Dialect

    def __init__(self, url: str, seal: Seal, app: str = "") -> None:
        self.url = url
        self.seal = seal
        self.app = app
        """Platform and app, joined by a colon: no other app's rows are touched. Empty: none are."""
        self.key_ids = seal.key_ids
        """Fingerprints of the encryption keys, the one that seals first."""
        self._wakes: list[Callable[[], None]] = []
        self._gatherings: dict[Callable[..., Any], Gathering[Any, Any]] = {}

    @abstractmethod
    async def write(self, work: Work[T]) -> T:
        """Runs a work in a transaction of its own; nothing of it stays when it raises. May run it more than once."""

    async def write_one(self, work: Work[T]) -> T:
        """`write` for a work that executes at most one statement, without the cost of BEGIN and COMMIT.

        A second statement raises on PostgreSQL.
        """
        return await self.write(work)

    async def write_together(
        self, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item
    ) -> T:
        """`write_one` for a work that takes many items, and returns a result for each: those who bring one while a
        write is under way share the next. An item that the database refuses fails alone.
        """
        gathering = self._gatherings.get(work)
        if gathering is None:
            gathering = Gathering(lambda items: self.write_one(lambda c: work(c, items)))
            self._gatherings[work] = gathering
        result: T = await gathering.add(item)
        return result

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Runs a work that changes nothing."""

    async def probe(self) -> None:
        """Raises when the database cannot be read, or is no longer where it was opened."""
        await self.read(lambda c: c.execute(text("SELECT 1")))

    async def enter(self, replica: str, take_over: Work[bool] | None) -> bool:
        """Shows that this process serves the database, under this name, until it closes it or ends.

        Where it can be told that no other process does, `take_over` runs before any other can enter; it may find that
        there is one all the same. False: there are others, and only leases tell whether these live. Without
        `take_over` the process is only passing.
        """
        return True

    @property
    def presence_lock(self) -> int | None:
        """The advisory lock by which other replicas see that this one lives; None where there is none, or not now."""
        return None

    def on_work(self, wake: Callable[[], None]) -> None:
        """Has `wake` called in the event loop whenever something became runnable.

        With PostgreSQL on any replica; other processes on the same SQLite file are not heard, nor is what becomes
        due by time: whoever waits must look by itself now and then.
        """
        self._wakes.append(wake)

    @abstractmethod
    async def close(self) -> None:
        """Finishes what was begun, then lets go of the database."""

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()


D = TypeVar("D", bound=Database)
Run = Callable[[D, Work[T]], Coroutine[Any, Any, T]]


def knowing_keys(run: Run[D, T]) -> Run[D, T]:
    """For the drivers: a work that finds a secret whose key is not here runs again, in view of who else has keys now."""

    @functools.wraps(run)
    async def run_knowing(database: D, work: Work[T]) -> T:
        try:
            return await run(database, work)
        except CannotOpenSecret:
            from bot.store.keys import learn_of_others  # noqa: PLC0415 - it needs `Database`

            await database.read(lambda c: learn_of_others(c, datetime.now(UTC)))
        return await run(database, work)

    return run_knowing


def run_in_transaction(connection: Connection, work: Work[T]) -> tuple[T, bool]:
    """For the drivers: the result of a work, and whether it made other work runnable."""
    connection.info[ANNOUNCED] = False
    audit.begin(connection)
    result = work(connection)
    audit.end(connection)
    return result, connection.info[ANNOUNCED]


def announce(connection: Connection) -> None:
    """Notes that this transaction makes work runnable: whoever waits for work is woken once it is committed."""
    connection.info[ANNOUNCED] = True


def seal_of(connection: Connection) -> Seal:
    """The key ring with which this connection's secrets are sealed and opened."""
    seal: Seal = connection.get_execution_options()[SEAL]
    return seal


async def open_database(url: str, seal: Seal, app: str = "") -> Database:
    """Opens a database that is there, at this program's revision, and whose secrets open with these keys.

    `app` is needed to claim, expire or delete rows: see `sql.app_of`.

    Raises `DatabaseNotReady` or `ConfigurationError` otherwise.
    """
    from bot.store import keys, revision  # noqa: PLC0415 - they need `Database`

    database = _driver(url, seal, app)
    try:
        with revision.reaching(url):
            await database.read(revision.require)
        await keys.check_keys(database)
    except BaseException:
        await database.close()
        raise
    return database


def _driver(url: str, seal: Seal, app: str) -> Database:
    from bot.store.postgresql import PostgresqlDatabase  # noqa: PLC0415
    from bot.store.sqlite import SqliteDatabase  # noqa: PLC0415

    driver = SqliteDatabase if dialect_of(url) == "sqlite" else PostgresqlDatabase
    return driver(url, seal, app)


def parse_url(url: str) -> URL:
    """The URL of a database that the bot can use, as SQLAlchemy has it; `ConfigurationError` otherwise."""
    return make_url(read_url(url).url)


def read_url(url: str) -> DatabaseUrl:
    """The parts of such a URL; `ConfigurationError` if the bot cannot use it."""
    try:
        return read_database_url(url)
    except ValueError as error:
        raise ConfigurationError(f"BOT_DATABASE_URL {error}") from None


def dialect_of(url: str) -> Dialect:
    return read_url(url).dialect


def upgrade(url: str, seal: Seal | None = None) -> None:
    """Brings a database to the newest migration, making it where there is none. Not for use inside an event loop.

    Raises `ConfigurationError` when the keys are needed and missing, which they are not for a new database.
    """
    from bot.store import revision  # noqa: PLC0415

    revision.upgrade(url, seal)


def check(url: str) -> None:
    """Raises `DatabaseNotReady` unless the database is there and at this program's revision."""
    from bot.store import revision  # noqa: PLC0415

    revision.check(url)


def look(url: str, work: Work[T]) -> T:
    """What a work finds that changes nothing and opens no secret: this needs no keys. Raises like `check`.

    For operators' commands; not for use inside an event loop.
    """
    from bot.store import revision  # noqa: PLC0415

    return revision.look(url, work)
