"""Things of one kind that many want written at once: while some are being written, the next gather."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

Item = TypeVar("Item")
T = TypeVar("T")

MAX_BATCH = 100
"""That are written together at most: whoever comes next is not to wait for long."""


class Batcher(Generic[Item, T]):
    """Hands what has gathered to `write`, which returns a result for each."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[T]]]) -> None:
        self._write = write
        self._gathered: list[tuple[Item, asyncio.Future[T]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> T:
        """Returns when the item is written. One that cannot be written raises alone, and not those beside it."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._gathered.append((item, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_gathered())
        return await done

    async def _write_gathered(self) -> None:
        while self._gathered:
            batch, self._gathered = self._gathered[:MAX_BATCH], self._gathered[MAX_BATCH:]
            await self._write_batch(batch)

    async def _write_batch(self, batch: Sequence[tuple[Item, asyncio.Future[T]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Exception as error:
            # Alone it would be no better when it is the database itself.
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
"""Class of the SQLSTATE, which SQLAlchemy does not translate for asyncpg."""


def _is_about_an_item(error: Exception) -> bool:
    # A ValueError is the driver's, of what cannot even be handed over: a lone surrogate, for one.
    refused = isinstance(error, (DataError, IntegrityError, ValueError))
    sqlstate = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return refused or str(sqlstate).startswith(DATA_EXCEPTION)


def _fail(batch: Sequence[tuple[Item, asyncio.Future[T]]], error: Exception) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)
