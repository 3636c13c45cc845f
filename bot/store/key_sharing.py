"""Retries a unit of work that meets a secret sealed with a key that this replica lacks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from bot.core.errors import CannotOpenSecret
from bot.store.key_rotation import learn_of_others
from bot.store.transaction import Database, T, Work

D = TypeVar("D", bound=Database)


Run = Callable[[D, Work[T]], Coroutine[Any, Any, T]]


def with_known_keys(run: Run[D, T]) -> Run[D, T]:
    """Decorate a driver's method: if a secret's key is missing, update the keys of other replicas and retry once."""

    @functools.wraps(run)
    async def run_with_keys(database: D, work: Work[T]) -> T:
        try:
            return await run(database, work)
        except CannotOpenSecret:
            await database.read(lambda c: learn_of_others(c, datetime.now(UTC)))
        return await run(database, work)

    return run_with_keys
