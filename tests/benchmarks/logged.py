"""What a loop spends on telling operators what it did: the log at info as JSON, and the record of its API calls."""

from __future__ import annotations

import logging
import statistics
import time
from pathlib import Path

from bot import logs
from bot.flows import correlation, observations
from tests.benchmarks.environment import sqlite_url
from tests.benchmarks.figures import Figure
from tests.benchmarks.metrics import spent_in_a_loop
from tests.benchmarks.processes import directory

SETTINGS = {"BOT_LOG_LEVEL": "info", "BOT_LOG_FORMAT": "json"}


def measure(*, short: bool = False) -> list[Figure]:
    people, rounds = (40, 1) if short else (300, 5)
    with directory() as folder:
        pairs = [
            spent_in_a_loop("records", sqlite_url(folder), people, SETTINGS, folder / "bot.log")
            for _ in range(rounds)
        ]
        line = statistics.median(seconds_of_a_line(folder) for _ in range(rounds))
    return [
        Figure(
            "log at info as JSON and record of API calls in a loop, SQLite",
            statistics.median(records for records, _ in pairs),
            "µs",
            statistics.median(whole for _, whole in pairs),
            "processor time of the whole loop",
            at_most=0.05,
        ),
        Figure("  one line of the log", line * 1e6, "µs"),
    ]


def seconds_of_a_line(folder: Path, count: int = 5000) -> float:
    """Return the processor time of one line with the ids of its story."""
    root = logging.root
    before = root.handlers[:], root.level
    with (folder / "lines.log").open("w") as stream:
        try:
            logs.configure("json", "info", stream)
            started = time.process_time()
            for number in range(count):
                ids = {"call": f"{number:032x}", "message_id": f"om_{number:032x}", "user": "lark:a:b:ou_1"}
                with correlation.bind(**ids):
                    observations.tell("card shown", face="waiting", request=f"{number:032x}")
            return (time.process_time() - started) / count
        finally:
            logging.captureWarnings(False)
            root.handlers[:], level = before
            root.setLevel(level)
