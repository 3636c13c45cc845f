"""Runs the bot in the future: `python -m bot.sandbox.later SECONDS run` is `python -m bot run` with every clock ahead.

The bot has no switch for its clock, and needs none: here `time.time`, `datetime.now` and SQLite's own clock are moved
before it is imported. Monotonic clocks go on as they are.
"""

import datetime
import runpy
import sqlite3
import sys
import threading
import time
from typing import Any

REAL = datetime.datetime


def move_clocks(seconds: float) -> None:
    """Moves every wall clock of this process ahead, for all modules that are imported afterwards."""
    ahead = datetime.timedelta(seconds=seconds)
    real_time, real_connect = time.time, sqlite3.connect

    class SameInstances(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, REAL)

    class Later(REAL, metaclass=SameInstances):
        """Makes plain datetimes, so that drivers which look at the exact type see nothing new."""

        __slots__ = ()

        def __new__(cls, *values: Any, **named: Any) -> Any:
            return REAL(*values, **named)

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return REAL.now(tz) + ahead

    # `strftime('now')` in a statement or trigger is answered by another connection, which has the original function.
    answering, one_at_a_time = sqlite3.connect(":memory:", check_same_thread=False), threading.Lock()

    def strftime(form: str, moment: str, *modifiers: str) -> Any:
        if moment == "now":
            modifiers = (*modifiers, f"{seconds:+.3f} seconds")
        places = ", ".join("?" * (2 + len(modifiers)))
        with one_at_a_time:
            return answering.execute(f"SELECT strftime({places})", (form, moment, *modifiers)).fetchone()[0]

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real_connect(*arguments, **named)
        connection.create_function("strftime", -1, strftime)
        return connection

    time.time = lambda: real_time() + seconds
    datetime.datetime = Later  # type: ignore[misc]
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]


if __name__ == "__main__":
    move_clocks(float(sys.argv[1]))
    sys.argv[:2] = ["bot"]
    runpy.run_module("bot", run_name="__main__", alter_sys=True)
