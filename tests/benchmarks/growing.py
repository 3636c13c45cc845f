"""Claims, and what is looked for every second, beside a thousand stored rows and beside a million."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.calls import Wait, WaitsFor
from bot.core.messages import Chat
from bot.core.people import UserKey
from bot.store import attempts, calls, claims, grants, inbox, outbox, requests, revocations
from bot.store.ids import new_id
from bot.store.inbox import NewCall
from bot.store.keyring import Keyring
from bot.store.open_database import open_database, upgrade
from bot.store.queue import Claim
from bot.store.transaction import Connection, Database
from tests.benchmarks.environment import KEY, fresh_database, postgresql, sqlite_url
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import directory
from tests.many_rows import fill

NOW = datetime.now(UTC)
APP = "lark:cli_1"
CLAIM = Claim(APP, "w", NOW, NOW + timedelta(seconds=20))
NEEDS = (("task:task:read",),)
SMALL, LARGE = 1_000, 1_000_000


def measure(*, short: bool = False) -> list[Figure]:
    large = 5_000 if short else LARGE
    with directory() as folder, ExitStack() as stack:
        server = stack.enter_context(postgresql(folder))
        figures = []
        for kind in ("SQLite", "PostgreSQL"):
            urls = {
                rows: sqlite_url(folder) if kind == "SQLite" else fresh_database(server, f"rows_{rows}")
                for rows in (SMALL, large)
            }
            for url in urls.values():
                upgrade(url)
            seen = asyncio.run(compare(urls, rounds=3 if short else 30))
            figures += [
                Figure(
                    f"{name}, {kind}, {large} calls and grants",
                    statistics.median(times[large]) * 1e3,
                    "ms",
                    statistics.median(times[SMALL]) * 1e3,
                    f"{SMALL} of them",
                    at_most=1.2,
                )
                for name, times in seen.items()
            ]
    return figures


async def compare(urls: dict[int, str], rounds: int) -> dict[str, dict[int, list[float]]]:
    """For each work and number of rows its times; small and large take turns."""
    databases = {rows: await open_database(url, Keyring([KEY]), APP) for rows, url in urls.items()}
    for rows, database in databases.items():
        print(f"filling {rows} …", file=sys.stderr, flush=True)
        await database.write(lambda c, n=rows: fill(c, n, NOW))
    seen: dict[str, dict[int, list[float]]] = {}
    for round_ in range(rounds + 2):
        for rows, database in databases.items():
            for name, seconds in (await one_round(database)).items():
                if round_ >= 2:  # what comes first warms caches
                    seen.setdefault(name, {}).setdefault(rows, []).append(seconds)
    for database in databases.values():
        await database.close()
    return seen


PEOPLE = 20
"""Loops of one round, whose average counts: a single statement is too short for a clock."""


async def one_round(database: Database) -> dict[str, float]:
    people = [UserKey("lark", "cli_1", "t", f"ou_{new_id(NOW)}") for _ in range(PEOPLE)]
    asked = [a_call(person) for person in people]
    for call in asked:
        await database.write_one(
            lambda c, new=call: inbox.record(c, new.id, new, language="en", union_id=None, now=NOW)
        )
    times = {}
    held = []

    async def claim() -> None:
        for _ in people:
            held.append(await database.write_one(lambda c: claims.claim_next(c, CLAIM)))

    async def suspend() -> None:
        for call in held:
            await database.write(
                lambda c, h=call: calls.suspend(c, h, Wait(WaitsFor.ADMINISTRATOR, NEEDS), NOW)
            )

    async def resume() -> None:
        for person in people:
            await database.write(
                lambda c, p=person: calls.release(c, [s.id for s in calls.suspended_of(c, p)], NOW)
            )

    times["claim"] = await timed(claim, PEOPLE)
    times["suspend"] = await timed(suspend, PEOPLE)
    times["resume"] = await timed(resume, PEOPLE)
    for name, look in LOOKS.items():
        times[name] = await timed(lambda work=look: repeat(database, work), PEOPLE)
    for person in people:
        await database.write(
            lambda c, p=person: [calls.cancel(c, w.id, "over", NOW) for w in calls.waiting_of(c, p)]
        )
    return times


async def repeat(database: Database, work: Callable[[Connection], Any]) -> None:
    for _ in range(PEOPLE):
        await database.write(work)


async def timed(work: Callable[[], Awaitable[None]], times: int) -> float:
    begun = time.perf_counter()
    await work()
    return (time.perf_counter() - begun) / times


LOOKS: dict[str, Callable[[Connection], Any]] = {
    "cards due": lambda c: requests.claim_due_cards(c, CLAIM, 10),
    "messages due": lambda c: outbox.claim_due(c, CLAIM, 10),
    "expiry": lambda c: (calls.overdue(c, NOW, 50), requests.expired(c, NOW, 50)),
    "interim words": lambda c: calls.due_for_interim(c, NOW, 50),
    "renewal": lambda c: grants.lease_due(c, CLAIM, 5),
    "stranded consents": lambda c: attempts.stranded(c, CLAIM, 10),
    "revocations due": lambda c: revocations.claim_due(c, CLAIM, 10),
    "lines": lambda c: claims.promote_missed(c, NOW),
}


def a_call(person: UserKey) -> NewCall:
    call_id = new_id(NOW)
    return NewCall(
        call_id, person, Chat("oc", "direct"), f"om_{call_id}", "tasks", "", NOW, "en", None,
        NOW + timedelta(days=1),
    )  # fmt: skip
