"""`bot run` as it is, with the processor time of a part of it measured: what counting or recording costs a loop.

`python -m tests.benchmarks.timed metrics` and `… records` print on each SIGUSR1 the microseconds since the last.
"""

from __future__ import annotations

import functools
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from bot import app, settings
from bot.flows import entry_metrics, observations
from bot.flows.calls import api_calls
from bot.flows.metrics import Metrics
from bot.store import api_calls as stored_api_calls
from bot.store.connection import StoreConnection
from bot.transport import http_client

CALIBRATION = 100_000


class Stopwatch:
    """The processor time of the functions that it has wrapped, without its own. Those that they call count once."""

    def __init__(self) -> None:
        self._spent = self._calls = self._depth = 0
        nothing = self.wrap(lambda: None)
        for _ in range(CALIBRATION):
            nothing()
        self._own = self._spent / CALIBRATION
        self._spent = self._calls = 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            if self._depth:
                return function(*given, **named)
            self._depth = 1
            started = time.thread_time_ns()
            try:
                return function(*given, **named)
            finally:
                self._spent += time.thread_time_ns() - started
                self._calls += 1
                self._depth = 0

        return timed

    def read(self) -> float:
        """Return the microseconds since the last reading."""
        spent = self._spent - self._calls * self._own
        self._spent = self._calls = 0
        return spent / 1e3


def time_metrics(stopwatch: Stopwatch) -> None:
    for name, function in list(vars(Metrics).items()):
        if callable(function) and not name.startswith("_"):
            setattr(Metrics, name, stopwatch.wrap(function))
    for module, name in (
        (entry_metrics, "count"),
        (observations, "event_acknowledged"),
        (http_client, "result_of"),
    ):
        setattr(module, name, stopwatch.wrap(getattr(module, name)))


def time_records(stopwatch: Stopwatch) -> None:
    """Time the log and the record of API calls. Statements are timed on SQLite, where nothing else runs meanwhile."""
    observations.tell = stopwatch.wrap(observations.tell)
    api_calls.note = stopwatch.wrap(api_calls.note)
    execute = StoreConnection.execute
    execute_timed = stopwatch.wrap(execute)

    def execute_any(connection: StoreConnection, statement: Any, *given: Any, **named: Any) -> Any:
        timed = statement is stored_api_calls.ADD
        return (execute_timed if timed else execute)(connection, statement, *given, **named)

    StoreConnection.execute = execute_any  # type: ignore[method-assign]


PARTS = {"metrics": time_metrics, "records": time_records}


def main(part: str) -> int:
    stopwatch = Stopwatch()
    PARTS[part](stopwatch)
    signal.signal(signal.SIGUSR1, lambda *_: print(stopwatch.read(), flush=True))
    return app.run(settings.load(settings.environment()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
