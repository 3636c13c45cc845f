"""`bot run` as it is, with its works and statements counted: what a loop costs, however busy the machine is.

`python -m tests.benchmarks.counted` prints on each SIGUSR1 what there were since the last. What is looked for regularly
is left out, and so are claims that find nothing: how many of those there are depends on who is quicker.
"""

from __future__ import annotations

import asyncio
import functools
import json
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bot import app, settings
from bot.flows.chores import repeat
from bot.flows.worker import Worker
from bot.store.connection import StoreConnection

METHODS = {"read", "view", "write", "write_one", "write_together"}


class Counted:
    """Stands for the database, and does what it does."""

    def __init__(self, database: Any, counts: Counter[str]) -> None:
        self._database, self._counts = database, counts

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        return functools.partial(self._run, found) if name in METHODS else found

    async def _run(self, method: Callable[..., Any], work: Callable[..., Any], *items: object) -> Any:
        task = asyncio.current_task()
        caller = getattr(task.get_coro(), "__qualname__", "") if task is not None else ""
        is_chore = caller == repeat.__qualname__

        def noticed(connection: StoreConnection, *given: object) -> Any:
            connection.observe = None if is_chore else self._executed
            self._counts["works"] += not is_chore
            return work(connection, *given)

        result = await method(noticed, *items)
        if result is None and caller == Worker.work.__qualname__:
            self._counts.subtract(works=1, statements=1)
        return result

    def _executed(self, statement: str) -> None:
        self._counts["statements"] += 1


def main() -> int:
    counts: Counter[str] = Counter()

    def tell(*_: object) -> None:
        print(json.dumps(counts), flush=True)
        counts.clear()

    signal.signal(signal.SIGUSR1, tell)
    loaded = settings.load(settings.environment())
    return app.run(loaded, lambda bot: replace(bot, database=Counted(bot.database, counts)))


if __name__ == "__main__":
    raise SystemExit(main())
