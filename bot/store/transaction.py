"""The database as the rest of the bot sees it.

A unit of work is a function that takes a connection, executes statements and returns a result. The database runs it in a
transaction, perhaps more than once. If it makes a call runnable, listeners are woken after the commit.
"""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import Connection, text

from bot.store import api_calls, audit
from bot.store.batching import Batcher
from bot.store.keyring import Keyring
from bot.store.outages import Outages

__all__ = [
    "ANNOUNCED",
    "KEYRING",
    "Connection",
    "Database",
    "Dialect",
    "Done",
    "T",
    "Work",
    "announce",
    "keyring_of",
    "run_in_transaction",
    "watched",
]

log = logging.getLogger(__name__)

T = TypeVar("T")


Item = TypeVar("Item")


Work = Callable[[Connection], T]


KEYRING = "bot_seal"
"""The execution option that contains the keyring."""


ANNOUNCED = "bot_announced"
"""The key of `Connection.info` that says whether the unit of work has made a call runnable."""


Dialect = Literal["sqlite", "postgresql"]


class Database(ABC):
    """Runs units of work. A caller that is cancelled during a write cannot know whether it was committed."""

    dialect: Dialect

    def __init__(self, url: str, keyring: Keyring, apps: Sequence[str] = ()) -> None:
        self.url = url
        self.keyring = keyring
        self.apps = tuple(apps)
        """The apps whose rows may be claimed, expired and deleted, each as platform and app id joined by a colon."""
        self.key_ids = keyring.key_ids
        """Fingerprints of the encryption keys, beginning with the one that seals."""
        self._wakes: list[Callable[[], None]] = []
        self._auditors: list[Callable[[audit.Entry], None]] = []
        self.outages = Outages()
        self._batchers: dict[Callable[..., Any], Batcher[Any, Any]] = {}

    @abstractmethod
    async def write(self, work: Work[T]) -> T:
        """Run a unit of work in a transaction, which is rolled back if it raises. May run it more than once."""

    async def write_one(self, work: Work[T]) -> T:
        """Run a unit of work that executes at most one statement, without the cost of BEGIN and COMMIT.

        Raises RuntimeError at a second statement on PostgreSQL.
        """
        return await self.write(work)

    async def write_together(
        self, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item
    ) -> T:
        """Run a unit of work that takes many items and returns a result for each; return the result for this item.

        Items that arrive during a write share the next one. An item that the database rejects fails alone.
        """
        batcher = self._batchers.get(work)
        if batcher is None:
            batcher = Batcher(lambda items: self.write_one(lambda c: work(c, items)))
            self._batchers[work] = batcher
        result: T = await batcher.add(item)
        return result

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Run a unit of work that changes nothing and reads a few rows."""

    async def view(self, work: Work[T]) -> T:
        """Run a unit of work that changes nothing and may take a long time."""
        return await self.read(work)

    async def probe(self) -> None:
        """Raise if the database cannot be read, or is no longer where it was opened."""
        await self.read(lambda c: c.execute(text("SELECT 1")))

    async def enter(self, replica: str, take_over: Work[bool] | None) -> bool:
        """Announce that this process serves the database, under this name, until it closes the database or ends.

        If no other process serves it, `take_over` runs before another one can enter, and its result is returned. Returns
        False if there are others: then only their leases show whether they are alive. Operators' commands pass None.
        """
        return True

    @property
    def presence_lock(self) -> int | None:
        """The advisory lock that shows other replicas that this one is alive; None if it is not held."""
        return None

    @abstractmethod
    def is_unavailable(self, error: Exception) -> bool:
        """Return whether an error is about the database as a whole: it cannot be reached, or accepts no writes."""

    def is_lost_race(self, error: Exception) -> bool:
        """Return whether an error is a collision with another transaction, after which a retry can succeed."""
        return False

    def on_work(self, wake: Callable[[], None]) -> None:
        """Call `wake` in the event loop whenever a transaction has made a call runnable.

        On PostgreSQL this covers all replicas, on SQLite only this process. Nothing is called when a row becomes due with
        time, so callers also have to poll.
        """
        self._wakes.append(wake)

    def on_entry(self, observe: Callable[[audit.Entry], None]) -> None:
        """Call `observe` in the event loop with each entry of the audit log that a transaction has committed.

        It is called in the context of the writer. Only transactions of this process are reported.
        """
        self._auditors.append(observe)

    @abstractmethod
    async def close(self) -> None:
        """Finish pending writes, then close the database."""

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()

    def _report(self, entries: Sequence[audit.Entry]) -> None:
        for entry in entries:
            for observe in self._auditors:
                try:
                    observe(entry)
                except Exception:
                    # The transaction is committed, and its caller has to learn that.
                    log.exception(
                        "an entry of the audit log could not be reported", extra={"action": entry.action}
                    )


D = TypeVar("D", bound=Database)


def watched(
    run: Callable[[D, Work[T]], Coroutine[Any, Any, T]],
) -> Callable[[D, Work[T]], Coroutine[Any, Any, T]]:
    """Decorate a driver's method: record whether the database was available."""
    write = run.__name__.startswith("write")

    @functools.wraps(run)
    async def run_watched(database: D, work: Work[T]) -> T:
        try:
            result = await run(database, work)
        except Exception as error:
            if database.is_unavailable(error):
                database.outages.failed(error, write=write)
            raise
        database.outages.succeeded(write=write)
        return result

    return run_watched


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A unit of work that has run, and what to do after its commit."""

    result: T
    announced: bool
    """Whether it has made a call runnable."""
    entries: Sequence[audit.Entry]
    """What it has added to the audit log."""


def run_in_transaction(connection: Connection, work: Work[T]) -> Done[T]:
    """Run a unit of work for a driver."""
    connection.info[ANNOUNCED] = False
    audit.begin(connection)
    api_calls.begin(connection)
    result = work(connection)
    entries = api_calls.end(connection)
    return Done(result, connection.info[ANNOUNCED], entries)


def announce(connection: Connection) -> None:
    """Wake the listeners of `Database.on_work` once this transaction is committed."""
    connection.info[ANNOUNCED] = True


def keyring_of(connection: Connection) -> Keyring:
    """Return the keyring that seals and opens this connection's secrets."""
    keyring: Keyring = connection.get_execution_options()[KEYRING]
    return keyring
