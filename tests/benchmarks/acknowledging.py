"""Acknowledging signed, encrypted events with the durable insert, against handlers that record nothing."""

from __future__ import annotations

import json
import statistics
from contextlib import ExitStack

from tests.benchmarks.environment import bot_settings, postgresql, sqlite_url
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import directory, result_of, running, started

CONNECTIONS = 100
CALM_RATE = 300
"""Events a second for the question whether outgoing calls delay their acknowledgement."""
OUTGOING = 40

Rounds = dict[str, list[dict[str, float]]]


def measure(*, short: bool = False) -> list[Figure]:
    seconds, rounds = (0.2, 1) if short else (2.0, 3)
    with directory() as folder, ExitStack() as stack:
        stub = stack.enter_context(started("stub")).port
        databases = {"SQLite": sqlite_url(folder), "PostgreSQL": stack.enter_context(postgresql(folder))}
        ports = {name: stack.enter_context(started("handlers", name)).port for name in ("minimal", "sdk")}
        for name, url in databases.items():
            ports[name] = stack.enter_context(started("doors", "0", env=bot_settings(stub, url))).port
            busy = started("doors", str(OUTGOING), env=bot_settings(stub, url))
            ports[f"{name} calling"] = stack.enter_context(busy).port
        calling = [f"{name} calling" for name in databases]
        fast = take_turns(ports, [each for each in ports if each not in calling], rounds, seconds, 0)
        calm = take_turns(ports, [*databases, *calling], rounds, seconds, CALM_RATE)
        streamed = statistics.median(streaming_rate(databases["SQLite"], seconds) for _ in range(rounds))
    by_webhook = statistics.median(each["rate"] for each in fast["SQLite"])
    return [
        *(figure for name in databases for figure in figures_of(name, fast, calm)),
        Figure(
            f"the same by the long connection, SQLite, {CONNECTIONS} at once",
            streamed,
            "/s",
            by_webhook,
            "webhook",
        ),
    ]


def streaming_rate(database_url: str, seconds: float) -> float:
    """Events acknowledged in a second by a bot whose long connection leads to `streaming`."""
    with running("tests.benchmarks.streaming", str(CONNECTIONS), str(seconds)) as platform:
        # This platform knows nothing but the connection, which the bot would note.
        settings = bot_settings(int(platform.line()), database_url)
        settings |= {"LARK_EVENTS": "websocket", "BOT_LOG_LEVEL": "critical"}
        with started("doors", "0", env=settings):
            return float(json.loads(platform.line())["rate"])


def take_turns(ports: dict[str, int], names: list[str], rounds: int, seconds: float, rate: float) -> Rounds:
    seen: Rounds = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            seen[name].append(result_of("load", *map(str, (ports[name], CONNECTIONS, seconds, rate))))
    return seen


def figures_of(database: str, fast: Rounds, calm: Rounds) -> list[Figure]:
    def median(rounds: Rounds, name: str, key: str) -> float:
        return statistics.median(each[key] for each in rounds[name])

    rate = median(fast, database, "rate")
    name = f"events acknowledged, {database}, {CONNECTIONS} connections"
    delayed = median(calm, f"{database} calling", "p99")
    return [
        Figure(name, rate, "/s", median(fast, "minimal", "rate"), "minimal, nothing kept", at_least=0.4),
        Figure(name, rate, "/s", median(fast, "sdk", "rate"), "SDK, nothing kept", at_least=1.0),
        Figure("  the slowest 1 % of them", median(fast, database, "p99"), "ms", at_most=30),
        Figure(
            f"  at {CALM_RATE} a second, with {OUTGOING} calls a second going out",
            delayed,
            "ms",
            median(calm, database, "p99"),
            "without calls",
            at_most=2.0,
        ),
    ]
