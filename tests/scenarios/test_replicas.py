"""Several replicas on one PostgreSQL: one of them does each thing, and what one leaves lying another takes up."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest

from bot.core.people import UserKey
from bot.sandbox.lark.tenant import Message
from bot.store import inbox
from bot.store.keyring import Keyring
from bot.store.open_database import open_database
from bot.store.transaction import ANNOUNCED, Connection, Database
from tests.store.examples import a_call

from .card_content import has_link, is_acknowledgement, text_of
from .replicas import Replica, Replicas
from .world import World

TASKS = {"path": "/open-apis/task/v2/tasks"}
TOKENS = {"path": "/open-apis/authen/v2/oauth/token"}
SOON = 3.0
"""A lease that ends sooner."""
HOUR = timedelta(hours=1)


@pytest.fixture
async def replicas(world: World, postgresql_url: str) -> AsyncIterator[Replicas]:
    world.tenant.behaviour.rate_limits = False
    world.tenant.work.tasks.clear()
    # A load balancer that has not noticed yet answers 502: the platform comes again.
    world.tenant.behaviour.redelivery_seconds = (0.2, 0.5, 1.0, 2.0, 5.0)
    async with Replicas(world, postgresql_url) as replicas:
        yield replicas


HELLO = "/task hello"
"""What brings the scope that the commands here need."""


def answers(world: World) -> Counter[str | None]:
    replies = (m for m in world.tenant.messages.values() if m.sender_type == "bot")
    return Counter(m.reply_to for m in replies if not is_acknowledgement(m))


def refreshes(world: World) -> int:
    return [r["grant_type"] for r in world.requests("oauth/token")].count("refresh_token")


def titles(world: World) -> list[str]:
    return [task["summary"] for task in world.tenant.work.tasks]


# --- sharing ----------------------------------------------------------------------------------------------


async def test_two_replicas_share_the_work_and_a_callback_may_come_to_the_other(
    world: World, replicas: Replicas
):
    one, other = await replicas.start(2)
    for person, (opened_at, back_at) in zip(
        (world.sam, world.wei), ((one, other), (other, one)), strict=True
    ):
        asked = await world.say(person, "/tasks")
        card = await world.fresh_card(person, asked)
        replicas.proxy.routes = {
            "/authorize/": opened_at.port,
            "/oauth/": back_at.port,
            "/authorization/": back_at.port,
        }
        status, page = await world.consent(person, card)
        assert status == 200, page
        await world.answer_to(asked)
        await world.until(lambda c=card: not has_link(world.tenant.messages[c.message_id]), "the card's end")
    assert replicas.proxy.who_served("/lark/events") == {one.port, other.port}
    assert {count for message, count in answers(world).items() if message} == {1}


async def test_three_replicas_run_each_call_once_and_refresh_once_however_many_ask_at_once(
    world: World, replicas: Replicas
):
    await replicas.start(3)
    people = [world.sam, world.ada, world.wei]
    await asyncio.gather(*(world.authorized(person, HELLO) for person in people))
    for person in people:
        await world.control("tokens/expire", person=person.open_id, which="access")
    asked = await asyncio.gather(
        *(world.say(person, f"/task {person.open_id[-4:]}-{n}") for person in people for n in range(6))
    )
    for message in asked:
        await world.answer_to(message, patience=30)
    assert Counter(titles(world))["hello"] == 3
    assert max(Counter(title for title in titles(world) if title != "hello").values()) == 1
    assert refreshes(world) == 3
    assert max(answers(world)[message] for message in asked) == 1
    assert len(replicas.proxy.who_served("/lark/events")) == 3


async def test_an_event_delivered_to_all_replicas_at_once_has_one_effect(world: World, replicas: Replicas):
    await replicas.start(3)
    await world.authorized(world.sam, HELLO)
    for number in range(5):
        said = await world.control("messages", person=world.sam.open_id, text=f"/task once {number}")
        await asyncio.gather(*(world.control("events/replay", event_id=said["event_id"]) for _ in range(6)))
        await world.answer_to(said["message_id"])
    await asyncio.sleep(1)
    assert sorted(titles(world)) == ["hello", *(f"once {n}" for n in range(5))]
    assert {count for reply, count in answers(world).items() if reply} == {1}


async def test_one_person_is_asked_by_one_card_whichever_replicas_want_it(world: World, replicas: Replicas):
    await replicas.start(3)
    asked = await asyncio.gather(
        *(world.say(world.sam, each) for each in ("/tasks", "/agenda", "/doc welcome", "/search plan"))
    )
    await world.until(
        lambda: [
            card for card in world.from_bot(world.direct(world.sam))
            if all(word in text_of(card.content) for word in ("/tasks", "/agenda", "/doc", "/search"))
        ],
        "one card for all",
    )  # fmt: skip
    cards = [m for m in world.from_bot(world.direct(world.sam)) if has_link(m)]
    assert len(cards) == 1
    assert await replicas.one("SELECT count(*) FROM authorization_requests") == 1
    await world.consent(world.sam, cards[0])
    for message in asked:
        await world.answer_to(message)


async def test_what_waited_for_a_slow_call_runs_in_the_order_asked(world: World, replicas: Replicas):
    await replicas.start(3)
    await world.authorized(world.sam, HELLO)
    slow = await world.trouble(TASKS, "delay", times=1, seconds=3)
    asked = [await world.say(world.sam, "/task 0")]
    # A replica records its first event more slowly than its next: the others could arrive before this one.
    await world.struck(slow)
    for number in range(1, 8):
        asked.append(await world.say(world.sam, f"/task {number}"))
    for message in asked:
        await world.answer_to(message)
    assert titles(world) == ["hello", *(str(n) for n in range(8))]


# --- word of new work -------------------------------------------------------------------------------------


@pytest.fixture
async def elsewhere(world: World, postgresql_url: str) -> AsyncIterator[Database]:
    """The database as yet another replica has it open, which runs nothing."""
    database = await open_database(postgresql_url, Keyring([world.key]))
    yield database
    await database.close()


async def test_idle_replicas_are_told_of_work_and_look_for_it_where_nobody_tells(
    world: World, replicas: Replicas, elsewhere: Database
):
    await replicas.start(2, look_again=30)
    user = UserKey("lark", world.tenant.app.app_id, world.tenant.app.tenant_key, world.sam.open_id)

    async def ask(*, silently: bool = False) -> str:
        call = replace(a_call(user), command="help", arguments="", expires_at=datetime.now(UTC) + HOUR)

        def work(c: Connection) -> None:
            inbox.record(c, f"ev_{call.id}", call, language="en", union_id=None, now=datetime.now(UTC))
            c.info[ANNOUNCED] = not silently

        await elsewhere.write(work)
        return call.id

    async def status(call_id: str) -> str:
        return str(await replicas.one("SELECT status FROM deferred_calls WHERE id = :id", id=call_id))

    async def answered(call_id: str) -> None:
        """Long before anybody would look by itself."""
        async with asyncio.timeout(10):
            while await status(call_id) != "succeeded":
                await asyncio.sleep(0.02)

    for _ in range(5):
        await answered(await ask())
    # The connections that listen are cut: they come back, and look for what they missed.
    await replicas.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.5)
    for _ in range(4):
        await answered(await ask())
    await asyncio.sleep(3)  # until all that there is to tell has been told
    untold = await ask(silently=True)
    await asyncio.sleep(2)
    assert await status(untold) == "queued"
    await replicas.start(1)
    await answered(untold)


# --- what one leaves lying --------------------------------------------------------------------------------


async def test_the_work_of_a_killed_replica_is_taken_over_within_30_seconds(world: World, replicas: Replicas):
    await replicas.start(2)
    await world.authorized(world.sam, HELLO)
    fault = await world.trouble(TASKS | {"method": "GET"}, "timeout", times=1)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    await (await replicas.holder()).kill()
    await world.answer_to(asked, patience=30)
    assert answers(world)[asked] == 1


async def frozen(replicas: Replicas, who: str) -> Replica:
    """Freezes the replica that a query names, which gets no more requests."""
    worker = await replicas.one(who)
    replica = next(each for each in replicas.all if f"-{each.process.pid}-" in worker)
    replica.freeze()
    replicas.proxy.resting.add(replica.port)
    return replica


async def kept(replicas: Replicas) -> dict[str, list[dict[str, Any]]]:
    """All that could be written over. The claim of a card is a trace of who drew it, and no more."""
    columns = {
        "deferred_calls": "id, status, claim, outcome, settled_at, consents, request_id",
        "call_steps": "call_id, number, digest, first_sent_at, result",
        "outgoing_messages": "id, kind, status, claim, message_id, settled_at",
        "authorization_requests": "id, status, scopes, granted, refused, settled_at",
        "cards": "id, message_id",
        "authorization_attempts": "id, status, outcome",
        "grants": "user_key, status, generation, access_token, refresh_token, scopes, authorized_at, issued_at",
        "revocations": "id, status",
        "scope_waits": "id, status",
    }
    return {
        table: await replicas.rows(f"SELECT {names} FROM {table} ORDER BY 1, 2")
        for table, names in columns.items()
    }


async def thawed(replicas: Replicas, replica: Replica) -> None:
    """Wakes it up: what it does now is late, and changes nothing of what is kept, said or done."""
    world, unsent = (
        replicas.world,
        "SELECT count(*) FROM outgoing_messages WHERE status IN ('queued', 'sending')",
    )
    async with asyncio.timeout(20):
        while await replicas.one(unsent):  # what can be read may not be noted as sent yet
            await asyncio.sleep(0.05)
    before = await kept(replicas)
    said, done, renewed = answers(world), titles(world), refreshes(world)
    replica.thaw()
    await asyncio.sleep(3)
    assert await replicas.is_ready(replica)
    assert await kept(replicas) == before
    assert (answers(world), titles(world), refreshes(world)) == (said, done, renewed)
    replicas.proxy.resting.discard(replica.port)


RUNNING = "SELECT worker FROM deferred_calls WHERE status = 'running'"


async def test_a_replica_suspended_during_a_write_neither_repeats_nor_answers_it(
    world: World, replicas: Replicas
):
    await replicas.start(2, lease=SOON)
    await world.authorized(world.sam, HELLO)
    fault = await world.trouble(TASKS | {"method": "POST"}, "delay_after", times=1, seconds=9)
    asked = await world.say(world.sam, "/task once")
    await world.struck(fault)
    sleeper = await frozen(replicas, RUNNING)
    await world.lift()
    await world.answer_to(asked)
    await thawed(replicas, sleeper)
    assert titles(world).count("once") == 1
    assert answers(world)[asked] == 1


async def test_a_replica_suspended_while_sending_an_answer_sends_no_second_one(
    world: World, replicas: Replicas
):
    await replicas.start(2, lease=SOON)
    match = {"path": "/open-apis/im/v1/messages/*/reply"}
    fault = await world.trouble(match, "delay", times=1, seconds=9)
    asked = await world.say(world.sam, "/help")
    await world.struck(fault)
    sleeper = await frozen(replicas, "SELECT worker FROM outgoing_messages WHERE status = 'sending'")
    await world.lift()
    sent = "SELECT count(*) FROM outgoing_messages WHERE status = 'sent'"
    async with asyncio.timeout(20):
        while await replicas.one(sent) != 1:
            await asyncio.sleep(0.1)
    await thawed(replicas, sleeper)
    assert answers(world)[asked] == 1


async def test_a_replica_suspended_during_a_refresh_does_not_replace_a_newer_consent(
    world: World, replicas: Replicas
):
    await replicas.start(2, lease=SOON)
    await world.authorized(world.sam, HELLO)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    match = TOKENS | {"grant_type": "refresh_token"}
    fault = await world.trouble(match, "delay_after", times=1, seconds=9)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    sleeper = await frozen(replicas, RUNNING)
    await world.lift()
    # Only the sleeper has the new tokens, and the refresh token is spent: there is nothing left but to ask.
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    await thawed(replicas, sleeper)
    assert refreshes(world) == 2
    await world.answer_to(await world.say(world.sam, "/me"))
    assert refreshes(world) == 2


async def test_a_replica_suspended_during_an_exchange_does_not_replace_a_later_consent(
    world: World, replicas: Replicas
):
    one, other = await replicas.start(2, lease=SOON)
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    replicas.proxy.routes = {"/oauth/": one.port}
    match = TOKENS | {"grant_type": "authorization_code"}
    fault = await world.trouble(match, "delay_after", times=1, seconds=9)
    browser = asyncio.create_task(world.consent(world.sam, card))
    await world.struck(fault)
    one.freeze()
    await world.lift()
    replicas.proxy.resting.add(one.port)
    replicas.proxy.routes = {"/oauth/": other.port}
    async with asyncio.timeout(20):
        while not await replicas.rows("SELECT 1 FROM authorization_attempts WHERE status = 'failed'"):
            await asyncio.sleep(0.1)
    status, page = await world.consent(world.sam, card)
    assert status == 200, page
    await world.answer_to(asked)
    await thawed(replicas, one)
    _, page = await browser
    assert "Already done" in page
    assert await replicas.one("SELECT generation FROM grants") == 1


async def test_a_replica_suspended_while_updating_a_card_does_not_leave_an_old_state_on_it(
    world: World, replicas: Replicas
):
    await replicas.start(2, lease=SOON)
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    match = {"path": "/open-apis/im/v1/messages/*", "method": "PATCH"}
    fault = await world.trouble(match, "delay", times=1, seconds=60)
    second = await world.say(world.sam, "/agenda")
    await world.struck(fault)
    sleeper = await frozen(replicas, "SELECT worker FROM cards WHERE worker IS NOT NULL")

    def shown() -> Message:
        return world.tenant.messages[card.message_id]

    await world.until(lambda: "/agenda" in text_of(shown().content), "the wider card")
    await world.consent(world.sam, card)
    await world.until(lambda: not has_link(shown()), "the card's end")
    await world.lift()
    await world.until(lambda: has_link(shown()), "the old face, which the platform was slow to take")
    for asked in (first, second):
        await world.answer_to(asked)
    await thawed(replicas, sleeper)
    await world.until(lambda: not has_link(shown()), "the card's end, again")


# --- the database is away ---------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_restart_of_postgresql_loses_nothing(
    world: World, replicas: Replicas, postgresql_process: Any
):
    one, _ = await replicas.start(2)
    await world.authorized(world.sam, HELLO)
    asked = [await world.say(world.sam, f"/task before {n}") for n in range(3)]
    postgresql_process.stop()
    asked += [await world.say(world.sam, f"/task meanwhile {n}") for n in range(3)]
    assert not await replicas.is_ready(one)
    await asyncio.sleep(1)
    postgresql_process.ensure_postgres_running()
    asked += [await world.say(world.sam, f"/task after {n}") for n in range(3)]
    for message in asked:
        await world.answer_to(message, patience=40)
    assert {answers(world)[message] for message in asked} == {1}
    assert max(Counter(titles(world)).values()) == 1


async def test_no_transaction_is_open_while_the_platform_makes_everybody_wait(
    world: World, replicas: Replicas
):
    await replicas.start(2)
    people = [world.sam, world.ada, world.wei]
    await asyncio.gather(*(world.authorized(person, HELLO) for person in people))
    fault = await world.trouble({"path": "/open-apis"}, "delay", seconds=9)
    asked = [await world.say(person, command) for person in people for command in ("/tasks", "/task x")]
    await world.struck(fault)
    idle = (
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND xact_start < :since)"
    )
    (waiting,) = await replicas.rows("SELECT clock_timestamp() AS since")
    async with asyncio.timeout(
        8
    ):  # the requests hang for longer: what they hold open would be there all the time
        while not await replicas.rows(idle, **waiting):
            await asyncio.sleep(0.1)
    await world.lift()
    for message in asked:
        await world.answer_to(message, patience=30)


# --- the end ----------------------------------------------------------------------------------------------


async def ended(replica: Replica, *, signals: int = 1) -> None:
    """SIGTERM ends in exit 0 within 10 seconds."""
    begun = time.monotonic()
    for _ in range(signals - 1):
        replica.process.terminate()
        await asyncio.sleep(0.3)
    assert await replica.stop() == 0
    assert time.monotonic() - begun < 10


async def test_a_replica_that_is_told_to_stop_returns_what_hangs_at_the_platform(
    world: World, replicas: Replicas
):
    (one,) = await replicas.start(1)
    people = [world.sam, world.ada, world.wei]
    await asyncio.gather(*(world.authorized(person, HELLO) for person in people))
    fault = await world.trouble({"path": "/open-apis"}, "timeout")
    asked = [await world.say(person, command) for person in people for command in ("/tasks", "/task x")]
    await world.struck(fault)
    await asyncio.sleep(0.5)
    await ended(one)
    await world.lift()
    await replicas.start(1)
    for message in asked:
        await world.answer_to(message, patience=40)
    assert titles(world).count("x") == 3
    assert {answers(world)[message] for message in asked} == {1}


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_write_without_a_key_is_waited_for_at_the_end_and_then_told_as_unknown(
    world: World, replicas: Replicas, signals: int
):
    (one,) = await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    fault = await world.trouble(TASKS | {"method": "POST"}, "timeout", times=1)
    asked = await world.say(world.sam, '/call POST /open-apis/task/v2/tasks {"summary":"Once"}')
    await world.struck(fault)
    await ended(one, signals=signals)
    assert await replicas.one("SELECT status FROM deferred_calls WHERE command = 'call'") == "outcome_unknown"
    await replicas.start(1)
    await world.answer_to(asked, patience=40)
    assert answers(world)[asked] == 1
    assert titles(world).count("Once") == 0


@pytest.mark.parametrize("grant_type", ["refresh_token", "authorization_code"])
async def test_a_token_that_is_on_its_way_at_the_end_is_stored(
    world: World, replicas: Replicas, grant_type: str
):
    (one,) = await replicas.start(1)
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    match = TOKENS | {"grant_type": grant_type}
    fault = await world.trouble(match, "delay_after", times=1, seconds=4)
    browser = asyncio.create_task(world.consent(world.sam, card))
    if grant_type == "refresh_token":
        await browser
        await world.answer_to(asked)
        await world.control("tokens/expire", person=world.sam.open_id, which="access")
        asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    await ended(one)
    await browser
    await replicas.start(1)
    await world.answer_to(asked, patience=40)
    assert refreshes(world) == (grant_type == "refresh_token")
    assert len([m for m in world.from_bot(world.direct(world.sam)) if m.msg_type == "interactive"]) == 1


async def test_a_replica_stops_although_postgresql_is_gone(
    world: World, replicas: Replicas, postgresql_process: Any
):
    (one,) = await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    fault = await world.trouble(TASKS | {"method": "GET"}, "timeout", times=1)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    postgresql_process.stop()
    try:
        await ended(one)
    finally:
        postgresql_process.ensure_postgres_running()
    await replicas.start(1)
    await world.answer_to(asked, patience=40)
    assert answers(world)[asked] == 1


@pytest.mark.slow
async def test_a_long_list_of_answers_is_sent_by_the_next_replica(world: World, replicas: Replicas):
    (one,) = await replicas.start(1)
    asked = [await world.say(world.sam, "/tasks") for _ in range(15)]
    await world.fresh_card(world.sam, asked[0])
    async with asyncio.timeout(30):
        while await replicas.one("SELECT count(*) FROM deferred_calls WHERE status = 'suspended'") < 15:
            await asyncio.sleep(0.1)
    match = {"path": "/open-apis/im/v1/messages/*/reply"}
    fault = await world.trouble(match, "delay_after", seconds=1)
    asked.append(await world.say(world.sam, "/cancel"))
    await world.struck(fault)
    await ended(one)
    await world.lift()
    await replicas.start(1)
    for message in asked:
        await world.answer_to(message, patience=40)
    assert {answers(world)[message] for message in asked} == {1}


@pytest.mark.slow
async def test_a_replica_stops_although_postgresql_hangs(
    world: World, replicas: Replicas, postgresql_process: Any
):
    (one,) = await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    fault = await world.trouble(TASKS | {"method": "GET"}, "timeout", times=1)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    postmaster = psutil.Process(postgresql_process.get_pid())
    hanging = [postmaster, *postmaster.children(recursive=True)]
    for process in hanging:
        process.suspend()
    try:
        await ended(one)
    finally:
        for process in hanging:
            process.resume()
    await replicas.start(1)
    await world.answer_to(asked, patience=40)
    assert answers(world)[asked] == 1
