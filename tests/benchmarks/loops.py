"""Whole loops: event, refusal, suspend, card, link, callback, exchange, identity, resume, retry, reply."""

from __future__ import annotations

import json
import signal
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from tests.benchmarks.environment import bot_settings, fresh_database, postgresql, sqlite_url
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import directory, running, started
from tests.ports import free_port

AT_ONCE = 50

Measured = dict[str, float]

BOTS = {
    "ours": ("bot", "run"),
    "unrecorded": ("tests.benchmarks.unrecorded",),
    "ideal": ("tests.benchmarks.ideal",),
}


def measure(*, short: bool = False) -> list[Figure]:
    people, rounds = (40, 1) if short else (500, 3)
    seen: dict[str, list[Measured]] = {}
    with directory() as folder, ExitStack() as stack:
        server = stack.enter_context(postgresql(folder))
        for round_ in range(rounds):
            for database in ("SQLite", "PostgreSQL"):
                for bot, module in BOTS.items():
                    url = database_url(database, folder, server, f"{bot}_{round_}")
                    seen.setdefault(f"{bot} {database}", []).append(loops(module, url, people))
                url = database_url(database, folder, server, f"calm_{round_}")
                calm = loops(("bot", "run"), url, people // 10, at_once=1)
                url = database_url(database, folder, server, f"counted_{round_}")
                seen.setdefault(f"calm {database}", []).append(calm | counted(url, people // 10))
    return [figure for database in ("SQLite", "PostgreSQL") for figure in figures_of(database, seen)]


def database_url(database: str, folder: Path, server: str, name: str) -> str:
    return sqlite_url(folder) if database == "SQLite" else fresh_database(server, name)


def loops(
    module: tuple[str, ...],
    url: str,
    people: int,
    at_once: int = AT_ONCE,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    log: Path | None = None,
) -> Measured:
    """Runs a bot on a fresh database, and as many people's loops. Its log goes to a file, if one is given."""
    port = free_port()
    with (
        started("canned_platform", str(port), str(people), str(at_once)) as platform,
        running(*module, env={**bot_settings(platform.port, url, port), **settings}, log=log) as bot,
    ):
        platform.line()
        before = bot.cpu_seconds
        measured: Measured = json.loads(platform.line())
        return measured | {"cpu": (bot.cpu_seconds - before) / people * 1e3}


def counted(url: str, people: int) -> Measured:
    """Works in the database and statements of one loop, when people come one at a time."""
    port = free_port()
    with (
        started("canned_platform", str(port), str(people), "1") as platform,
        running("tests.benchmarks.counted", env=bot_settings(platform.port, url, port)) as bot,
    ):
        platform.line()
        bot.process.send_signal(signal.SIGUSR1)
        bot.line()
        platform.line()
        bot.process.send_signal(signal.SIGUSR1)
        counts: Measured = json.loads(bot.line())
        return {name: count / people for name, count in counts.items()}


def figures_of(database: str, seen: dict[str, list[Measured]]) -> list[Figure]:
    def median(bot: str, key: str) -> float:
        return statistics.median(each[key] for each in seen[f"{bot} {database}"])

    return [
        Figure(
            f"whole loops, {database}, {AT_ONCE} at once",
            median("ours", "rate"),
            "/s",
            median("ideal", "rate"),
            "hand-tuned, same round trips",
            at_least=0.6,
        ),
        Figure(
            "  processor time of the bot for one",
            median("ours", "cpu"),
            "ms",
            median("ideal", "cpu"),
            "hand-tuned",
        ),
        Figure(
            "  the same, with and without the record of API calls",
            median("ours", "cpu"),
            "ms",
            median("unrecorded", "cpu"),
            "without",
            at_most=1.05,
        ),
        Figure("  works in the database for one", median("calm", "works"), ""),
        Figure("  statements for one", median("calm", "statements"), ""),
        Figure("  callback to retried call, one at a time", median("calm", "resumed_p50"), "ms", at_most=10),
        Figure(
            f"  callback to retried call, {AT_ONCE} at once, slowest 1 %",
            median("ours", "resumed_p99"),
            "ms",
            at_most=30,
        ),
    ]
