"""The log's share of whole loops: the same bot, which writes the story at info as JSON, or nothing."""

from __future__ import annotations

import logging
import statistics
import time
from pathlib import Path

from bot import logs
from bot.flows import correlation, observations
from tests.benchmarks.environment import sqlite_url
from tests.benchmarks.figures import Figure
from tests.benchmarks.loops import loops
from tests.benchmarks.processes import directory

LEVELS = {"silent": "warning", "telling": "info"}


def measure(*, short: bool = False) -> list[Figure]:
    people, rounds = (40, 1) if short else (300, 7)
    seen: dict[str, list[float]] = {kind: [] for kind in LEVELS}
    lines: list[float] = []
    with directory() as folder:
        for round_ in range(rounds):
            # Each goes first in turn.
            for kind in sorted(LEVELS, reverse=bool(round_ % 2)):
                log = folder / f"{kind}.log"
                settings = {"BOT_LOG_LEVEL": LEVELS[kind], "BOT_LOG_FORMAT": "json"}
                measured = loops(
                    ("bot", "run"), sqlite_url(folder), people, at_once=10, settings=settings, log=log
                )
                seen[kind].append(measured["cpu"])
            lines.append(seconds_of_a_line(folder))
    shares = [told / silent for told, silent in zip(seen["telling"], seen["silent"], strict=True)]
    silent = statistics.median(seen["silent"])
    return [
        Figure(
            "processor time of a loop that is logged at info as JSON, SQLite",
            silent * statistics.median(shares),
            "ms",
            silent,
            "at warning",
            at_most=1.05,
        ),
        Figure("  one line of the log", statistics.median(lines) * 1e6, "µs"),
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
