"""The process is killed again and again, at moments that a seed decides: nothing is lost, nothing happens twice.

`pytest tests/scenarios/test_crashes.py --kills 40 --seed 7` makes it longer, or other.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from .conftest import World, text_of

PATIENCE = 75.0
"""Seconds after the last kill: a lease of 20, the platform's redelivery, a few retries."""


async def test_random_kills_lose_nothing_and_repeat_nothing(
    world: World, database_url: str, pytestconfig: pytest.Config
):
    world.settings["BOT_DATABASE_URL"] = database_url
    chance = random.Random(pytestconfig.getoption("--seed"))
    world.tenant.behaviour.rate_limits = False
    world.tenant.behaviour.redelivery_seconds = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    people = [world.sam, world.ada, world.wei]
    await world.start()
    for person in people:
        first = await world.say(person, "/task warm up")
        await world.consent(person, await world.fresh_card(person, first))
        await world.answer_to(first)

    asked: list[str] = []
    titles: list[str] = []
    for kill in range(pytestconfig.getoption("--kills")):
        for number in range(3):
            person = chance.choice(people)
            title = f"task {kill}-{number}"
            command = chance.choice(["/help", "/tasks", "/me", f"/task {title}", f"/task {title}"])
            asked.append(await world.say(person, command))
            if title in command:
                titles.append(title)
        await asyncio.sleep(chance.random() * 0.25)
        await world.kill()
        await world.start()

    def answers() -> Counter[str | None]:
        return Counter(m.reply_to for m in world.tenant.messages.values() if m.sender_type == "bot")

    await world.until(lambda: all(answers()[each] for each in asked), "every answer", PATIENCE)
    await asyncio.sleep(2)
    assert {each: answers()[each] for each in asked if answers()[each] != 1} == {}
    created = Counter(text_of(world.tenant.work.as_json()).splitlines())
    assert {title: created[title] for title in titles if created[title] != 1} == {}
