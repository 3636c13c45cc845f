"""Runs the bot with its clock ahead: `python -m bot.sandbox.shifted_clock SECONDS run` is `python -m bot run`, later.

The bot has no setting for its clock. This module replaces `time.time`, `datetime.now` and SQLite's `strftime` before
the bot is imported. Monotonic clocks are not shifted.
"""

import datetime
import runpy
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

REAL_DATETIME = datetime.datetime


def shift_clocks(ahead: Callable[[], float]) -> None:
    """Shift the wall clocks of this process ahead by so many seconds, for all modules that are imported afterwards."""
    real_time, real_connect = time.time, sqlite3.connect

    class SameInstances(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, REAL_DATETIME)

    class ShiftedDatetime(REAL_DATETIME, metaclass=SameInstances):
        """Constructs plain datetimes, because some drivers check the exact type."""

        __slots__ = ()

        def __new__(cls, *values: Any, **named: Any) -> Any:
            return REAL_DATETIME(*values, **named)

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return REAL_DATETIME.now(tz) + datetime.timedelta(seconds=ahead())

    # The replacement asks a separate connection, where `strftime` is still the original.
    original, lock = sqlite3.connect(":memory:", check_same_thread=False), threading.Lock()

    def strftime(form: str, moment: str, *modifiers: str) -> Any:
        if moment == "now":
            modifiers = (*modifiers, f"{ahead():+.3f} seconds")
        places = ", ".join("?" * (2 + len(modifiers)))
        with lock:
            return original.execute(f"SELECT strftime({places})", (form, moment, *modifiers)).fetchone()[0]

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real_connect(*arguments, **named)
        connection.create_function("strftime", -1, strftime)
        return connection

    time.time = lambda: real_time() + ahead()
    datetime.datetime = ShiftedDatetime  # type: ignore[misc]
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]


if __name__ == "__main__":
    seconds = float(sys.argv[1])
    shift_clocks(lambda: seconds)
    sys.argv[:2] = ["bot"]
    runpy.run_module("bot", run_name="__main__", alter_sys=True)
