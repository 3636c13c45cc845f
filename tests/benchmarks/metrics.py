"""What the counters and histograms cost in a loop, against the processor time of the whole loop."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from tests.benchmarks.environment import bot_settings, postgresql
from tests.benchmarks.figures import Figure
from tests.benchmarks.loops import AT_ONCE, database_url
from tests.benchmarks.processes import directory, running, started
from tests.ports import free_port

EMPTY: Mapping[str, str] = MappingProxyType({})


def measure(*, short: bool = False) -> list[Figure]:
    people, rounds = (40, 1) if short else (300, 3)
    seen: dict[str, list[tuple[float, float]]] = {}
    with directory() as folder, ExitStack() as stack:
        server = stack.enter_context(postgresql(folder))
        for round_ in range(rounds):
            for database in ("SQLite", "PostgreSQL"):
                url = database_url(database, folder, server, f"metrics_{round_}")
                seen.setdefault(database, []).append(spent_in_a_loop("metrics", url, people))
    return [
        Figure(
            f"metrics in a loop, {database}",
            statistics.median(metrics for metrics, _ in pairs),
            "µs",
            statistics.median(whole for _, whole in pairs),
            "processor time of the whole loop",
            at_most=0.02,
        )
        for database, pairs in seen.items()
    ]


def spent_in_a_loop(
    part: str, url: str, people: int, settings: Mapping[str, str] = EMPTY, log: Path | None = None
) -> tuple[float, float]:
    """Return the microseconds that a loop spends in a part of the bot, and as a whole, in the same run."""
    port = free_port()
    with started("canned_platform", str(port), str(people), str(AT_ONCE)) as platform:
        environment = bot_settings(platform.port, url, port) | settings
        with running("tests.benchmarks.timed", part, env=environment, log=log) as bot:
            platform.line()
            before = bot.cpu_seconds
            bot.process.send_signal(signal.SIGUSR1)
            bot.line()
            platform.line()
            whole = (bot.cpu_seconds - before) / people * 1e6
            bot.process.send_signal(signal.SIGUSR1)
            return float(bot.line()) / people, whole
