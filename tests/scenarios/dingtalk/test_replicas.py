"""Several replicas on one PostgreSQL serve DingTalk: one does each thing, and what one leaves another takes up."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.card_content import text_of
from tests.scenarios.dingtalk.conftest import DingTalkWorld, link_in
from tests.scenarios.replicas import Replica, Replicas

TODOS = {"path": "/v1.0/todo"}
TOKENS = {"path": "/v1.0/oauth2/userAccessToken"}
SOON = 3.0
"""A lease that ends sooner."""
TAKES_OVER_WITHIN = 5.0


@pytest.fixture
async def replicas(world: DingTalkWorld, postgresql_url: str) -> AsyncIterator[Replicas]:
    world.tenant.behaviour.rate_limits = False
    world.tenant.work.todos.clear()
    world.tenant.behaviour.redelivery_seconds = (0.2, 0.5, 1.0, 2.0, 5.0)
    async with Replicas(world, postgresql_url) as replicas:
        yield replicas


def titles(world: DingTalkWorld) -> list[str]:
    return [todo["subject"] for todo in world.tenant.work.todos.values()]


def refreshes(world: DingTalkWorld) -> int:
    return [each["grant_type"] for each in world.requests("userAccessToken")].count("refresh_token")


def said(world: DingTalkWorld, words: str) -> int:
    """How many messages of the bot contain this text."""
    messages = world.tenant.messages.values()
    return sum(m.sender_type == "bot" and words in text_of(m.content) for m in messages)


async def heard(world: DingTalkWorld, words: str, patience: float = 30) -> None:
    await world.until(lambda: said(world, words), f"a message with {words!r}", patience)


async def authorized(world: DingTalkWorld, person: object, title: str) -> None:
    """The person has consented to new tasks, and has one."""
    await world.say(person, f"/task {title}")
    await world.authorize_in_client(person, await world.card_for(person))
    await heard(world, title)


async def unsent_are_sent(replicas: Replicas) -> None:
    async with asyncio.timeout(20):
        while await replicas.one(
            "SELECT count(*) FROM outgoing_messages WHERE status IN ('queued', 'sending')"
        ):
            await asyncio.sleep(0.05)


async def test_a_link_opened_at_one_replica_may_come_back_to_the_other(
    world: DingTalkWorld, replicas: Replicas
):
    one, other = await replicas.start(2)
    cases = ((world.sam, one, other), (world.wei, other, one))
    for person, opened_at, back_at in cases:
        await world.say(person, f"/task for {person.user_id}")
        card = await world.card_for(person)
        replicas.proxy.routes = {
            "/authorize/": opened_at.port,
            "/oauth/": back_at.port,
            "/authorization/": back_at.port,
        }
        status, page = await world.consent(person, card)
        assert status == 200, page
        await heard(world, f"for {person.user_id}")
    assert Counter(titles(world)) == {f"for {person.user_id}": 1 for person, _, _ in cases}


async def test_exactly_one_resumes_each_call_and_one_refreshes_however_many_ask_at_once(
    world: DingTalkWorld, replicas: Replicas
):
    await replicas.start(3)
    people = [world.sam, world.ada, world.wei]
    # Nine calls wait for one consent each, and all are released at once.
    for person in people:
        for n in range(3):
            await world.say(person, f"/task {person.user_id}-waiting-{n}")
    for person in people:
        await world.authorize_in_client(person, await world.card_for(person))
    for person in people:
        for n in range(3):
            await heard(world, f"{person.user_id}-waiting-{n}")
    for person in people:
        await world.control("tokens/expire", person=person.user_id, which="access")
    for person in people:
        for n in range(6):
            await world.say(person, f"/task {person.user_id}-again-{n}")
    for person in people:
        for n in range(6):
            await heard(world, f"{person.user_id}-again-{n}")
    await unsent_are_sent(replicas)
    assert len(titles(world)) == 27
    assert set(Counter(titles(world)).values()) == {1}
    assert refreshes(world) == 3
    assert {said(world, title) for title in titles(world)} == {1}


@pytest.mark.parametrize("repeat", ["the same frame", "another frame"])
async def test_an_event_that_comes_to_all_replicas_has_one_effect(
    world: DingTalkWorld, replicas: Replicas, repeat: str
):
    # Only one of several deliveries of a frame at once hears of its acknowledgement.
    world.tenant.behaviour.answer_seconds = 1
    await replicas.start(3)
    await authorized(world, world.sam, "hello")
    for number in range(4):
        sent = await world.control("messages", person=world.sam.user_id, text=f"/task once {number}")
        again = {"event_id": sent["event_id"], "new_frame": repeat == "another frame"}
        await asyncio.gather(*(world.control("events/replay", **again) for _ in range(6)))
        await heard(world, f"once {number}")
    await world.say(world.sam, "/task the last")
    await heard(world, "the last")
    await unsent_are_sent(replicas)
    assert sorted(titles(world)) == ["hello", *(f"once {n}" for n in range(4)), "the last"]
    assert {said(world, f"once {n}") for n in range(4)} == {1}


async def test_one_person_is_asked_by_one_card_whichever_replicas_want_it(
    world: DingTalkWorld, replicas: Replicas
):
    await replicas.start(3)
    commands = ("/tasks", "/agenda", "/task together")
    await asyncio.gather(*(world.say(world.sam, each) for each in commands))
    async with asyncio.timeout(20):
        while await replicas.one("SELECT count(*) FROM deferred_calls WHERE status = 'suspended'") < 3:
            await asyncio.sleep(0.05)
    cards = [m for m in world.from_bot(world.direct(world.sam)) if link_in(m)]
    assert len({link_in(m) for m in cards}) == 1
    assert await replicas.one("SELECT count(*) FROM authorization_requests") == 1
    await world.authorize_in_client(world.sam, cards[0])
    await heard(world, "together")
    async with asyncio.timeout(20):
        while await replicas.one("SELECT count(*) FROM deferred_calls WHERE status = 'succeeded'") < 3:
            await asyncio.sleep(0.05)


async def test_a_killed_replicas_long_connection_is_no_loss(world: DingTalkWorld, replicas: Replicas):
    one, _ = await replicas.start(2)
    await authorized(world, world.sam, "hello")
    await one.kill()
    for number in range(4):
        await world.say(world.sam, f"/task after {number}")
    for number in range(4):
        await heard(world, f"after {number}")
    assert Counter(titles(world)) == {"hello": 1} | {f"after {n}": 1 for n in range(4)}


# --- takeover -----------------------------------------------------------------------------------------------


async def locks_are_held(replicas: Replicas, count: int) -> None:
    held = "SELECT count(*) FROM replicas WHERE presence_lock IS NOT NULL"
    async with asyncio.timeout(15):
        while await replicas.one(held) != count:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "expected"), [("/tasks", "open tasks"), ("/task Water", "Water"), ("/me", "2125550003")]
)
async def test_the_call_of_a_replica_that_ends_is_taken_over_within_five_seconds(
    world: DingTalkWorld, replicas: Replicas, words: str, expected: str
):
    await replicas.start(2)
    await world.say(world.sam, words)
    card = await world.card_for(world.sam)
    await locks_are_held(replicas, 2)
    slow = await world.trouble(
        {"path": "/v1.0/todo" if "task" in words else "/v1.0/contact"}, "delay", seconds=60
    )
    if words == "/me":
        # The identity check asks for the same: the trouble begins with the command.
        await world.lift(slow)
    await world.authorize_in_client(world.sam, card)
    if words == "/me":
        await heard(world, expected)
        slow = await world.trouble({"path": "/v1.0/contact"}, "delay", seconds=60)
        await world.say(world.sam, words)
    await world.struck(slow)
    holder = await replicas.holder()
    await holder.kill()
    died = time.monotonic()
    before = said(world, expected)
    # Not before: the holder could answer.
    await world.lift()
    await world.until(lambda: said(world, expected) > before, "the answer", 20)
    assert time.monotonic() - died < TAKES_OVER_WITHIN
    await unsent_are_sent(replicas)
    assert said(world, expected) == before + 1
    assert max(Counter(titles(world)).values(), default=1) == 1


async def test_the_refresh_of_a_replica_that_ends_is_taken_over_too(world: DingTalkWorld, replicas: Replicas):
    await replicas.start(2)
    await authorized(world, world.sam, "hello")
    await locks_are_held(replicas, 2)
    await world.control("tokens/expire", person=world.sam.user_id, which="access")
    slow = await world.trouble(TOKENS, "timeout")
    await world.say(world.sam, "/task refreshed")
    await world.struck(slow)
    holder = await replicas.holder()
    await holder.kill()
    died = time.monotonic()
    await world.lift()
    await heard(world, "refreshed")
    assert time.monotonic() - died < TAKES_OVER_WITHIN
    assert Counter(titles(world)) == {"hello": 1, "refreshed": 1}


async def frozen(replicas: Replicas, who: str) -> Replica:
    """Freezes the replica that a query names."""
    worker = await replicas.one(who)
    replica = next(each for each in replicas.all if f"-{each.process.pid}-" in worker)
    replica.freeze()
    replicas.proxy.resting.add(replica.port)
    return replica


RUNNING = "SELECT worker FROM deferred_calls WHERE status = 'running'"


async def test_who_sleeps_through_a_write_neither_repeats_nor_answers_it(
    world: DingTalkWorld, replicas: Replicas
):
    await replicas.start(2, lease=SOON)
    await authorized(world, world.sam, "hello")
    fault = await world.trouble(TODOS | {"method": "POST"}, "delay_after", times=1, seconds=9)
    await world.say(world.sam, "/task once")
    await world.struck(fault)
    sleeper = await frozen(replicas, RUNNING)
    await world.lift()
    await heard(world, "once")
    await unsent_are_sent(replicas)
    sleeper.thaw()
    await asyncio.sleep(3)
    assert await replicas.is_ready(sleeper)
    assert Counter(titles(world)) == {"hello": 1, "once": 1}
    messages = [text_of(m.content) for m in world.from_bot(world.direct(world.sam))]
    assert len([each for each in messages if "once" in each and "Task created" in each]) == 1, messages


async def test_a_spent_refresh_token_is_asked_for_again_and_a_late_answer_changes_nothing(
    world: DingTalkWorld, replicas: Replicas
):
    """A refresh token works once: who sleeps with the new tokens in hand has lost them for everybody."""
    await replicas.start(2, lease=SOON)
    await authorized(world, world.sam, "hello")
    await world.control("tokens/expire", person=world.sam.user_id, which="access")
    fault = await world.trouble(TOKENS | {"grant_type": "refresh_token"}, "delay_after", times=1, seconds=9)
    asked = await world.say(world.sam, "/task anew")
    await world.struck(fault)
    sleeper = await frozen(replicas, RUNNING)
    await world.lift()
    await world.authorize_in_client(world.sam, await world.fresh_card(world.sam, asked))
    await heard(world, "anew")
    sleeper.thaw()
    await asyncio.sleep(3)
    assert await replicas.is_ready(sleeper)
    await world.say(world.sam, "/task and again")
    await heard(world, "and again")
    assert refreshes(world) <= 2
    assert Counter(titles(world)) == {"hello": 1, "anew": 1, "and again": 1}
