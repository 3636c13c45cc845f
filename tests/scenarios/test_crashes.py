"""The process is killed, at every point of the loop and at moments that a seed decides: nothing is lost or done twice.

By default a sample, and a few kills. Everything, with 300 kills of one process on SQLite and 300 of three replicas on
PostgreSQL: `pytest tests/scenarios/test_crashes.py --long -n 2`. Other moments: `--kills N --seed S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from pydoc import locate

import pytest

from bot.sandbox.lark.tenant import Person
from tests.bot_process import Forker

from .crash_points import IDLE, POLLING
from .crash_world import CANCELLED, PERHAPS, SUCCEEDED, Figures, MortalWorld, copied, mortal_world
from .stories import SETTINGS, STORIES, task

AT_ONCE = 8
"""Worlds at a time: most of a story is waiting for a lease to run out."""

ONE_IN = 16
"""The sample that is walked by default."""

SUBSTITUTES = 10
"""Points that are tried in a row until the bot dies at one."""

DANGEROUS = {
    "first_contact": (
        "intake.accept_message:write_together:after",
        "outbox.send_by_any_route:send:after",  # the welcome
        "outbox.send_by_any_route:send:after#2",  # the card
        "authorize.callback.complete:write:after",
        "authorize.callback.with_retries:exchange_code:after",
        "authorize.grant.store_grant:write:after",
        "calls.finish.finish:write:after",
    ),
    "any_api": (
        "calls.perform.send:write:after",
        "calls.perform.send:call:after",
        "calls.perform.record:write:before",
    ),
    "revoked": ("calls.botcalls.cancel_or_end:write:after", "authorize.token_revocation.revoke:revoke:after"),
    "refreshed": ("tokens.refresh:refresh:after",),
    "waiting_for_the_administrator": ("administrators.show_with_key:update_card:after",),
}
"""Points that are walked always, the first time that a story passes them: something has happened, and who did it is
gone before it could say so."""


Databases = Callable[[Path], contextlib.AbstractContextManager[str]]
"""Makes a migrated database of a world's own, and gives its URL."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The points are the flows', whatever the database: the short walk is over one of them."""
    walks = "name" in metafunc.fixturenames and not metafunc.config.getoption("--long")
    metafunc.parametrize("databases", ["sqlite"] if walks else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Databases:
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        return lambda directory: contextlib.nullcontext(copied(template, directory))
    copies: Callable[[], contextlib.AbstractContextManager[str]] = request.getfixturevalue(
        "postgresql_copies"
    )
    return lambda _: copies()


# --- every point ------------------------------------------------------------------------------------------------


async def tell(
    name: str, directory: Path, forker: Forker, databases: Databases, die_at: str = ""
) -> tuple[Figures, list[str]]:
    """Tells a story to a bot that dies at a point. Returns what came of it, and the points it passed."""
    directory.mkdir()
    with databases(directory) as url:
        async with mortal_world(directory, forker, url) as world:
            world.settings |= SETTINGS.get(name, {})
            await world.begin(die_at)
            await STORIES[name](world)
            return await world.account(), world.record.read_text().splitlines()


def crash_points(name: str, passed: list[str]) -> list[str]:
    """The points of a story to crash at. Idle ones are alike: the first of each will do, in one story."""
    idle = [each for each in passed if f"{IDLE}#" in each]
    busy = [each for each in passed if each not in idle]
    return busy + ([each for each in idle if each.endswith("#1")] if name == "first_contact" else [])


def sample(name: str, points: list[str], seed: int) -> list[str]:
    """Those that are dangerous, and some that the seed picks."""
    always = {f"flows.{each}" if "#" in each else f"flows.{each}#1" for each in DANGEROUS.get(name, ())}
    assert always <= set(points), always - set(points)
    return [
        each
        for each in points
        if each in always or zlib.crc32(f"{seed} {name} {each}".encode()) % ONE_IN == 0
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
async def test_a_story_survives_a_crash_at_each_of_its_points(
    name: str,
    forker: Forker,
    databases: Databases,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
):
    figures, passed = await tell(name, tmp_path / "alive", forker, databases)
    assert not figures.faults, figures
    points = every = crash_points(name, passed)
    assert len({each.partition("#")[0] for each in points}) >= FEWEST_POINTS, points
    if name == "first_contact":
        assert not [each for each in THE_LOOP if f"flows.{each}:after#1" not in points]
        assert not [where for where, _ in POLLING if locate(f"bot.{where}") is None], "renamed"
    if not pytestconfig.getoption("--long"):
        points = sample(name, points, pytestconfig.getoption("--seed"))
    turn = asyncio.Semaphore(AT_ONCE)
    faults: list[str] = []
    deaths = 0

    async def dies(directory: Path, point: str) -> bool:
        nonlocal deaths
        try:
            figures, _ = await tell(name, directory, forker, databases, point)
        except AssertionError as error:
            faults.append(f"{point}: {error}")
            return True
        faults.extend(f"{point}: {each}" for each in figures.faults)
        deaths += figures.deaths
        return figures.deaths > 0

    async def crash_at(number: int, point: str) -> None:
        """What a story passes depends a little on who is quicker: a point that is not come by gives way to the next."""
        async with turn:
            place = every.index(point)
            for n, candidate in enumerate([*every[place:], *every[:place]][:SUBSTITUTES]):
                if await dies(tmp_path / f"{number}-{n}", candidate):
                    return
            faults.append(f"{point}: the story came by neither this point nor those after it")

    await asyncio.gather(*(crash_at(number, point) for number, point in enumerate(points)))
    record_property("crashes", f"{name}: {deaths} deaths at {len(points)} points, {len(faults)} faults")
    assert not faults, "\n\n".join(faults)
    assert deaths >= len(points)


FEWEST_POINTS = 25
"""The shortest way through the loop has more."""

THE_LOOP = (
    "intake.accept_message:write_together",
    "worker.Worker.claim:write_one",
    "authorize.ask.suspend_for_consent:write",
    "cards.record_shown:write_one",
    "authorize.open.find_open_request:read",
    "authorize.open.start_attempt:write",
    "authorize.callback.complete:write",
    "authorize.callback.with_retries:exchange_code",
    "authorize.callback.with_retries:identify",
    "authorize.grant.store_grant:write",
    "cards.send_or_update:update_card",
    "calls.perform.send:write",
    "calls.perform.send:call",
    "calls.perform.record:write",
    "calls.finish.finish:write",
    "outbox.send_by_any_route:send",
    "outbox.record_sent:write_one",
)
"""What the longest of the stories passes, from the message to its answer: a walk that misses one of these is empty."""


# --- random kills -----------------------------------------------------------------------------------------------


class Life:
    """One person who goes on asking for things, each in a way that the seed picks."""

    def __init__(self, world: MortalWorld, person: Person, chance: random.Random) -> None:
        self.world, self.person, self.chance = world, person, chance
        self.count = 0

    async def live(self, over: asyncio.Event) -> None:
        acts: list[Callable[[], Awaitable[None]]] = [
            self.look, self.write, self.write, self.write_in_the_group, self.write_without_a_key, self.refuse,
            self.revoke, self.cancel, self.expire, self.consent_in_client, self.hurry,
        ]  # fmt: skip
        while not over.is_set():
            await self.chance.choice(acts)()

    @property
    def title(self) -> str:
        self.count += 1
        return f"{self.person.open_id[-6:]} {self.count}"

    async def look(self) -> None:
        await self.world.ask(self.person, self.chance.choice(["/help", "/me", "/tasks", "/permissions"]))

    async def write(self) -> None:
        await self.world.ask(self.person, f"/task {self.title}")

    async def write_in_the_group(self) -> None:
        await self.world.ask(self.person, f"/task {self.title}", self.world.world.group)

    async def write_without_a_key(self) -> None:
        await self.world.ask(self.person, task(self.title), ends=PERHAPS)

    async def refuse(self) -> None:
        message = await self.world.say(self.person, f"/task {self.title}", ends=SUCCEEDED | CANCELLED)
        await self.world.refuse(message, self.person)

    async def revoke(self) -> None:
        await self.world.ask(self.person, "/revoke")
        await self.write()

    async def cancel(self) -> None:
        message = await self.world.say(self.person, f"/task {self.title}", ends=SUCCEEDED | CANCELLED)
        await self.world.ask(self.person, "/cancel")
        await self.world.see_to(message, self.person)

    async def expire(self) -> None:
        await self.world.world.control("tokens/expire", person=self.person.open_id, which="access")
        await self.write()

    async def consent_in_client(self) -> None:
        await self.world.ask(self.person, "/revoke")
        message = await self.world.say(self.person, f"/task {self.title}")
        await self.world.see_to(message, self.person, by="client")

    async def hurry(self) -> None:
        """Several things at once, and only then a look at what came of them."""
        messages = [await self.world.say(self.person, f"/task {self.title}") for _ in range(3)]
        for message in messages:
            await self.world.see_to(message, self.person)


async def kill_at_random(world: MortalWorld, kills: int, chance: random.Random, over: asyncio.Event) -> None:
    """Kills a replica that is ready, again and again; three of them live through more at once than one."""
    longest = 0.8 / len(world.replicas)
    try:
        for _ in range(kills):
            replica = chance.choice(world.replicas)
            await world.ready(replica)
            await asyncio.sleep(chance.random() * longest)
            process = replica.process
            assert process is not None
            process.kill()
            await process.wait()
    finally:
        over.set()


async def test_random_kills_lose_nothing_and_repeat_nothing(
    forker: Forker,
    databases: Databases,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
):
    kills = 300 if pytestconfig.getoption("--long") else pytestconfig.getoption("--kills")
    seed = pytestconfig.getoption("--seed")
    with databases(tmp_path) as url:
        replicas = 1 if url.startswith("sqlite") else 3
        async with mortal_world(tmp_path, forker, url, replicas=replicas) as world:
            await world.begin()
            over = asyncio.Event()
            people = [world.world.sam, world.world.ada, world.world.wei]
            lives = [Life(world, each, random.Random(f"{seed} {n}")) for n, each in enumerate(people)]
            async with asyncio.TaskGroup() as group:
                group.create_task(kill_at_random(world, kills, random.Random(seed), over))
                for life in lives:
                    group.create_task(life.live(over))
            figures = await world.account()
    record_property(
        "crashes", f"{replicas} × {url.partition(':')[0].partition('+')[0]}, seed {seed}: {figures}"
    )
    assert figures.faults == []
    assert figures.deaths >= kills
