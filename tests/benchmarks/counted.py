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

from sqlalchemy import Connection, Engine, event

from bot import app, settings
from bot.flows.chores import repeat
from bot.flows.worker import Worker

METHODS = {"read", "view", "write", "write_one", "write_together"}
COUNTS = "benchmark_counts"
"""The key of `Connection.info` that tells whether what is executed counts."""


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

        def noticed(connection: Connection, *given: object) -> Any:
            connection.info[COUNTS] = not is_chore
            self._counts["works"] += not is_chore
            return work(connection, *given)

        result = await method(noticed, *items)
        if result is None and caller == Worker.work.__qualname__:
            self._counts.subtract(works=1, statements=1)
        return result


def main() -> int:
    counts: Counter[str] = Counter()

    def execute(connection: Connection, *details: object) -> None:
        counts["statements"] += connection.info.get(COUNTS, False)

    def tell(*_: object) -> None:
        print(json.dumps(counts), flush=True)
        counts.clear()

    event.listen(Engine, "before_cursor_execute", execute)
    signal.signal(signal.SIGUSR1, tell)
    loaded = settings.load(settings.environment())
    return app.run(loaded, lambda bot: replace(bot, database=Counted(bot.database, counts)))


if __name__ == "__main__":
    raise SystemExit(main())
