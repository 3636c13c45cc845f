"""Transactions as the rest of the bot sees them: works run in them, and listeners are told when there is work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, text

from bot.store import audit
from bot.store.batching import Batcher
from bot.store.keyring import Keyring

__all__ = [
    "ANNOUNCED",
    "KEYRING",
    "Connection",
    "Database",
    "Dialect",
    "T",
    "Work",
    "announce",
    "keyring_of",
    "run_in_transaction",
]

T = TypeVar("T")


Item = TypeVar("Item")


Work = Callable[[Connection], T]


KEYRING = "bot_seal"
"""The execution option that holds the key ring."""


ANNOUNCED = "bot_announced"
"""The key of `Connection.info` that is set while a work has made other work runnable."""


Dialect = Literal["sqlite", "postgresql"]


class Database(ABC):
    """Runs works. Whoever is cancelled while waiting for a write cannot know whether it was committed."""

    dialect: Dialect

    def __init__(self, url: str, keyring: Keyring, app: str = "") -> None:
        self.url = url
        self.keyring = keyring
        self.app = app
        """Platform and app, joined by a colon: no other app's rows are touched. Empty: none are."""
        self.key_ids = keyring.key_ids
        """Fingerprints of the encryption keys, the one that seals first."""
        self._wakes: list[Callable[[], None]] = []
        self._gatherings: dict[Callable[..., Any], Batcher[Any, Any]] = {}

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
            gathering = Batcher(lambda items: self.write_one(lambda c: work(c, items)))
            self._gatherings[work] = gathering
        result: T = await gathering.add(item)
        return result

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Run a work that changes nothing and reads a few rows."""

    async def view(self, work: Work[T]) -> T:
        """Run a work that changes nothing and may take long."""
        return await self.read(work)

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


def keyring_of(connection: Connection) -> Keyring:
    """The key ring with which this connection's secrets are sealed and opened."""
    seal: Keyring = connection.get_execution_options()[KEYRING]
    return seal
