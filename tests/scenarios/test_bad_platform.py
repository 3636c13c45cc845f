"""The platform misbehaves where a person would notice: what they read, and that nothing they asked is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from bot.sandbox.tenant import Message, Person

from .conftest import World, text_of

SHORT, LONG = 25, 600
"""Seconds of an outage. The long one outlives authorization codes, and the window in which a write may be repeated."""

BACK = 90.0
"""Seconds after the platform is back within which all are answered: the longest pause, and time to work it off."""


async def authorized(world: World, person: Person, command: str) -> None:
    """The person has consented to a command, and it was answered."""
    asked = await world.say(person, command)
    await world.consent(person, await world.fresh_card(person, asked))
    await world.answer_to(asked)


def answers(world: World, asked: str) -> list[Message]:
    """The replies to a message, without the word that it is being retried."""
    replies = [m for m in world.tenant.messages.values() if m.reply_to == asked and m.sender_type == "bot"]
    return [m for m in replies if not is_interim(m)]


def is_interim(message: Message) -> bool:
    return "keep trying" in text_of(message.content)


async def everybody_answered(world: World, asked: list[str], patience: float = BACK) -> None:
    """Each message has exactly one answer."""
    await world.until(lambda: all(answers(world, each) for each in asked), "every answer", patience)
    await asyncio.sleep(2)
    assert {each: len(answers(world, each)) for each in asked if len(answers(world, each)) != 1} == {}


async def mend(world: World) -> None:
    async with world.http.delete(f"{world.origin}/sandbox/api/faults") as response:
        assert response.status == 200


def tasks_created(world: World) -> Counter[str]:
    return Counter(text_of(world.tenant.work.as_json()).splitlines())


@pytest.mark.parametrize("seconds", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
async def test_a_platform_that_is_down_costs_nobody_their_request(world: World, seconds: int):
    world.tenant.behaviour.rate_limits = False
    await world.start()
    await authorized(world, world.sam, "/tasks")
    await authorized(world, world.wei, "/task warm up")
    for open_id in ("ou_kim", "ou_lee"):
        await world.control("people", open_id=open_id, name=open_id, en_name=open_id)
    kim, lee = world.tenant.people["ou_kim"], world.tenant.people["ou_lee"]
    await authorized(world, lee, "/task warm up")
    await world.control("tokens/expire", person=lee.open_id, which="access")

    # Kim has consented, and is on the way back from the consent page when the platform goes away.
    kim_asked = await world.say(kim, "/tasks")
    card = await world.fresh_card(kim, kim_asked)
    back = await world.decide(await world.open(world.link_of(card)), kim)
    await world.control("faults", match={}, kind="down")
    status, _, page = await world.get(back)
    assert (status, "slow to answer" in page) == (202, True)

    asked = [await world.say(world.sam, "/tasks")]
    titles: list[str] = []
    await world.until(
        lambda: world.rows("SELECT 1 FROM deferred_calls WHERE first_failed_at > 0"), "a failure"
    )
    for number in range(6):
        asked.append(await world.say(world.sam, "/me"))
        for person in (world.wei, lee):
            titles.append(f"{person.open_id} {number}")
            asked.append(await world.say(person, f"/task {titles[-1]}"))
        asked.append(await world.say(world.sam, "/help"))
        await asyncio.sleep(seconds / 6)
    await mend(world)

    await everybody_answered(world, asked)
    created = tasks_created(world)
    assert {title: created[title] for title in titles if created[title] != 1} == {}
    statuses = world.rows(
        "SELECT status, count(*) AS n FROM deferred_calls WHERE command <> 'tasks' GROUP BY status"
    )
    assert [row["status"] for row in statuses] == ["succeeded"]
    for person in (world.wei, lee):
        replies = [m for m in world.from_bot(world.direct(person)) if m.reply_to in asked]
        order = [m.reply_to for m in replies if not is_interim(m)]
        assert order == [each for each in asked if each in order]
        # Nobody reads "I keep trying" of something that they have been answered.
        shown = [m.reply_to for m in replies]
        assert not [m for n, m in enumerate(replies) if is_interim(m) and m.reply_to in shown[:n]]

    if seconds < 300:
        await everybody_answered(world, [kim_asked])
    else:
        # The code did not outlive the outage: the card asks again, and its link is still good.
        await world.until(
            lambda: world.rows("SELECT 1 FROM authorization_requests WHERE status = 'open'"),
            "the open request",
        )
        status, page = await world.consent(kim, world.tenant.messages[card.message_id])
        assert status == 200, page
        await everybody_answered(world, [kim_asked])
