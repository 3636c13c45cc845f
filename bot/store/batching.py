"""Batches concurrent writes of one kind: items that arrive during a write share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

Item = TypeVar("Item")
T = TypeVar("T")

MAX_BATCH = 100
"""The largest batch: a longer one would make the items after it wait too long."""


class Batcher(Generic[Item, T]):
    """Passes batches of items to `write`, which returns a result for each item."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[T]]]) -> None:
        self._write = write
        self._pending: list[tuple[Item, asyncio.Future[T]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> T:
        """Write an item and return its result. Raises only for this item, not for others of the same batch."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append((item, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_pending())
        return await done

    async def _write_pending(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
            await self._write_batch(batch)

    async def _write_batch(self, batch: Sequence[tuple[Item, asyncio.Future[T]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Exception as error:
            # Retrying each item alone helps only if the error is about one of them, not about the database.
            if len(batch) == 1 or not _is_about_an_item(error):
                _fail(batch, error)
                return
            for each in batch:
                await self._write_batch([each])
        else:
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)


DATA_EXCEPTION = "22"
"""The class of SQLSTATE for data exceptions, which SQLAlchemy does not translate for asyncpg."""


def _is_about_an_item(error: Exception) -> bool:
    # The driver raises ValueError for a value that it cannot encode, such as a lone surrogate.
    refused = isinstance(error, (DataError, IntegrityError, ValueError))
    sqlstate = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return refused or str(sqlstate).startswith(DATA_EXCEPTION)


def _fail(batch: Sequence[tuple[Item, asyncio.Future[T]]], error: Exception) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)
