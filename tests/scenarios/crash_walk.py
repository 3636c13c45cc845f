"""How stories are told to bots that die: at each point that they pass, and at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import random
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pydoc import locate
from typing import Any

from tests.bot_process import Forker

from .crash_points import GO_BETWEENS, IDLE, POLLING
from .crash_world import CANCELLED, LARK, PERHAPS, SUCCEEDED, CrashWorld, Figures, Kind, crash_world
from .stories import task

AT_ONCE = 8
"""Worlds at a time: most of a story is waiting for a lease to run out."""

ONE_IN = 16
"""The sample that is walked by default."""

SUBSTITUTES = 10
"""Points that are tried in a row until the bot dies at one."""

Databases = Callable[[Path], contextlib.AbstractContextManager[str]]
"""Makes a migrated database of a world's own, and gives its URL."""


@dataclass(frozen=True)
class Told:
    """The stories of one platform."""

    stories: Mapping[str, Callable[[Any], Awaitable[None]]]
    settings: Mapping[str, dict[str, str]]
    """What a story needs of the bot."""
    dangerous: Mapping[str, tuple[str, ...]]
    """Points that are walked always, the first time that a story passes them: something has happened, and who did it is
    gone before it could say so."""
    longest: str
    """The story that passes `loop`: what leads from a message to its answer. A walk that misses one of these is empty."""
    loop: tuple[str, ...]
    kind: Kind = field(default=LARK)


# --- every point ------------------------------------------------------------------------------------------------


async def tell(
    told: Told, name: str, directory: Path, forker: Forker, databases: Databases, die_at: str = ""
) -> tuple[Figures, list[str]]:
    """Tells a story to a bot that dies at a point. Returns what came of it, and the points it passed."""
    directory.mkdir()
    with databases(directory) as url:
        async with crash_world(directory, forker, url, kind=told.kind) as world:
            world.settings |= told.settings.get(name, {})
            await world.begin(die_at)
            await told.stories[name](world)
            return await world.account(), world.record.read_text().splitlines()


def crash_points(passed: list[str], *, with_idle: bool) -> list[str]:
    """The points of a story to crash at. Idle ones are alike: the first of each will do, in one story."""
    idle = [each for each in passed if f"{IDLE}#" in each]
    busy = [each for each in passed if each not in idle]
    return busy + ([each for each in idle if each.endswith("#1")] if with_idle else [])


def sample(told: Told, name: str, points: list[str], seed: int) -> list[str]:
    """Those that are dangerous, and some that the seed picks."""
    always = {f"flows.{each}" if "#" in each else f"flows.{each}#1" for each in told.dangerous.get(name, ())}
    assert always <= set(points), always - set(points)
    return [
        each
        for each in points
        if each in always or zlib.crc32(f"{seed} {name} {each}".encode()) % ONE_IN == 0
    ]


async def walk(
    told: Told, name: str, tmp_path: Path, forker: Forker, databases: Databases, seed: int | None
) -> str:
    """Tell a story once for each of its points, or for those that the seed picks. Returns what was counted."""
    figures, passed = await tell(told, name, tmp_path / "alive", forker, databases)
    assert not figures.faults, (str(figures), figures.faults)
    points = every = crash_points(passed, with_idle=name == told.longest)
    assert len({each.partition("#")[0] for each in points}) >= FEWEST_POINTS, points
    if name == told.longest:
        # What is recorded in one statement needs a transaction if it is late, because a reaction has to go then.
        unpassed = [
            each
            for each in told.loop
            if not {f"flows.{each}:after#1", f"flows.{each.replace(':write_one', ':write')}:after#1"}
            & {*points}
        ]
        assert not unpassed, unpassed
        renamed = [
            where for where in GO_BETWEENS | {where for where, _ in POLLING} if locate(f"bot.{where}") is None
        ]
        assert not renamed, renamed
    if seed is not None:
        points = sample(told, name, points, seed)
    turn = asyncio.Semaphore(AT_ONCE)
    faults: list[str] = []
    deaths = doubled = 0

    async def dies(directory: Path, point: str) -> bool:
        nonlocal deaths, doubled
        try:
            figures, _ = await tell(told, name, directory, forker, databases, point)
        except AssertionError as error:
            faults.append(f"{point}: {error}")
            return True
        faults.extend(f"{point}: {each}" for each in figures.faults)
        deaths += figures.deaths
        doubled += figures.doubled
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
    assert not faults, "\n\n".join(faults)
    assert deaths >= len(points)
    twice = f", {doubled} messages twice" if doubled else ""
    return f"{name}: {deaths} deaths at {len(points)} points, {len(faults)} faults{twice}"


FEWEST_POINTS = 25
"""The shortest way through the loop has more."""


# --- random kills -----------------------------------------------------------------------------------------------


class Life:
    """One person who goes on asking for things, each in a way that the seed picks."""

    def __init__(self, world: CrashWorld, person: Any, chance: random.Random) -> None:
        self.world, self.person, self.chance = world, person, chance
        self.count = 0

    def write_of(self, title: str) -> str:
        """A write without an idempotency key."""
        return task(title)

    async def live(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.chance.choice(self.acts())()

    def acts(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.look, self.write, self.write, self.write_in_the_group, self.write_without_a_key, self.refuse,
            self.revoke, self.cancel, self.expire, self.consent_in_client, self.hurry,
        ]  # fmt: skip

    @property
    def title(self) -> str:
        self.count += 1
        return f"{self.world.world.id_of(self.person)[-6:]} {self.count}"

    async def look(self) -> None:
        await self.world.ask(self.person, self.chance.choice(["/help", "/me", "/tasks", "/permissions"]))

    async def write(self) -> None:
        await self.world.ask(self.person, f"/task {self.title}")

    async def write_in_the_group(self) -> None:
        await self.world.ask(self.person, f"/task {self.title}", self.world.world.group)

    async def write_without_a_key(self) -> None:
        await self.world.ask(self.person, self.write_of(self.title), ends=PERHAPS)

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
        await self.world.world.control(
            "tokens/expire", person=self.world.world.id_of(self.person), which="access"
        )
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


async def kill_at_random(world: CrashWorld, kills: int, chance: random.Random, over: asyncio.Event) -> None:
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


async def live_and_die(
    told: Told,
    life: type[Life],
    directory: Path,
    forker: Forker,
    url: str,
    *,
    kills: int,
    seed: int,
    **settings: str,
) -> str:
    """Three people live while the bot is killed so often. Returns what was counted."""
    replicas = 1 if url.startswith("sqlite") else 3
    async with crash_world(directory, forker, url, replicas=replicas, kind=told.kind) as world:
        world.settings |= settings
        await world.begin()
        over = asyncio.Event()
        people = [world.world.sam, world.world.ada, world.world.wei]
        lives = [life(world, each, random.Random(f"{seed} {n}")) for n, each in enumerate(people)]
        async with asyncio.TaskGroup() as group:
            group.create_task(kill_at_random(world, kills, random.Random(seed), over))
            for each in lives:
                group.create_task(each.live(over))
        figures = await world.account()
    assert figures.faults == [], figures.faults
    assert figures.deaths >= kills
    return f"{replicas} × {url.partition(':')[0].partition('+')[0]}, seed {seed}: {figures}"
