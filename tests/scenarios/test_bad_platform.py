"""The platform misbehaves where a person would notice: what they read, and that nothing they asked is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from bot.sandbox.lark.tenant import Message

from .card_content import is_interim, text_of
from .world import World

SHORT, LONG = 25, 600
"""Seconds of an outage. The long one outlives authorization codes, and the window in which a write may be repeated."""

BACK = 90.0
"""Seconds after the platform is back within which all are answered: the longest pause, and time to work it off."""


DUE = """
SELECT 1 FROM deferred_calls WHERE status = 'running'
OR (status = 'queued' AND runs_after < strftime('%Y-%m-%d %H:%M:%f', 'now', '+0.5 seconds'))
"""
"""Calls that are tried within half a second."""


def answers(world: World, asked: str) -> list[Message]:
    """The replies to a message, without the word that it is being retried."""
    replies = [m for m in world.tenant.messages.values() if m.reply_to == asked and m.sender_type == "bot"]
    return [m for m in replies if not is_interim(m)]


async def everybody_answered(world: World, asked: list[str], patience: float = BACK) -> None:
    """Each message has exactly one answer."""
    await world.until(lambda: all(answers(world, each) for each in asked), "every answer", patience)
    await asyncio.sleep(2)
    assert {each: len(answers(world, each)) for each in asked if len(answers(world, each)) != 1} == {}


def tasks_created(world: World) -> Counter[str]:
    return Counter(text_of(world.tenant.work.as_json()).splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
async def test_no_request_is_lost_while_the_platform_is_down(world: World, seconds: int):
    world.tenant.behaviour.rate_limits = False
    await world.start()
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.wei, "/task warm up")
    for open_id in ("ou_kim", "ou_lee"):
        await world.control("people", open_id=open_id, name=open_id, en_name=open_id)
    kim, lee = world.tenant.people["ou_kim"], world.tenant.people["ou_lee"]
    await world.authorized(lee, "/task warm up")
    await world.control("tokens/expire", person=lee.open_id, which="access")

    # Kim has consented, and is on the way back from the consent page when the platform goes away.
    kim_asked = await world.say(kim, "/tasks")
    card = await world.fresh_card(kim, kim_asked)
    back = await world.decide(await world.open(card), kim)
    await world.control("faults", match={}, kind="down")
    status, _, page = await world.get(back)
    assert (status, "The platform is slow" in page) == (202, True)

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
    # Between two attempts: of two calls that are due together, the second may otherwise be the first to find it back.
    await world.until(lambda: not world.rows(DUE), "a pause in which nothing is tried")
    await world.lift()

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
        # Nobody reads "I'll keep trying" of something that they have been answered.
        answered = [None if is_interim(m) else m.reply_to for m in replies]
        assert not [m for n, m in enumerate(replies) if is_interim(m) and m.reply_to in answered[:n]]

    if seconds < 300:
        await everybody_answered(world, [kim_asked])
    else:
        # The code did not outlive the outage: the card asks again, and its link is still good.
        await world.until(
            lambda: world.count("authorization_requests", status="open"),
            "the open request",
        )
        status, page = await world.consent(kim, world.tenant.messages[card.message_id])
        assert status == 200, page
        await everybody_answered(world, [kim_asked])


@pytest.mark.slow
async def test_a_list_that_contradicts_a_refusal_is_tried_ever_more_rarely_and_told_once(world: World):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    refusal = {
        "code": 99991672,
        "msg": "Access denied. One of the following scopes is required: [task:task:read]",
    }
    await world.control("faults", match={"path": "/open-apis/task"}, kind="status", status=400, body=refusal)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "administrator")
    tried = len(world.requests("/open-apis/task"))
    await world.answer_to(asked, "still refuses", patience=60)
    assert len(world.requests("/open-apis/task")) - tried <= 4
    await world.until(lambda: about_publishing(world), "the word to the administrator")
    (call,) = world.rows("SELECT status, waits_for, attempts FROM deferred_calls WHERE status = 'suspended'")
    assert call == {"status": "suspended", "waits_for": "administrator", "attempts": 4}
    # The administrator need not wait for the next try.
    await world.lift()
    card = next(m for m in world.from_bot(world.direct(world.ada)) if m.msg_type == "interactive")
    await world.click(world.ada, card, "check_again")
    await world.until(
        lambda: len(answers(world, asked)) == 3, "the answer", patience=15
    )  # the next try by itself comes after 16 seconds
    assert len(about_publishing(world)) == 1


def about_publishing(world: World) -> list[Message]:
    return [m for m in world.from_bot(world.direct(world.ada)) if "please publish it" in text_of(m.content)]


async def test_scopes_that_are_lost_by_a_consent_are_told(world: World):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    asked = await world.say(world.sam, "/doc welcome")
    card = await world.fresh_card(world.sam, asked)
    consent_id = await world.open(card)
    world.sam.granted.discard("task:task:read")
    await world.get(await world.decide(consent_id, world.sam))
    await world.answer_to(asked)
    await world.until(
        lambda: [
            m
            for m in world.from_bot(world.direct(world.sam))
            if "no longer have: task:task:read" in text_of(m.content)
        ],
        "the word",
    )


@pytest.mark.slow
async def test_an_exchange_that_finds_no_platform_is_completed_when_it_is_back(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.control("faults", match={"path": "/open-apis/authen/v2"}, kind="html", times=4)
    status, page = await world.consent(world.sam, card)
    assert (status, "The platform is slow" in page) == (202, True)
    await world.answer_to(asked, patience=45)
    assert world.count("authorization_attempts") == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html"},
        {"kind": "drop_before"},
        {"kind": "rate_limit", "reset": 30},
        {"kind": "status", "status": 200, "body": {"code": 0, "data": {"scopes": "all"}}},
        {"kind": "status", "status": 200, "body": "[]"},
    ],
    ids=["html", "reset", "limit", "wrong types", "no object"],
)
async def test_without_the_list_of_scopes_the_declared_ones_are_asked_for(world: World, fault: dict):
    await world.start()
    await world.control("faults", match={"path": "/open-apis/application"}, **fault)
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    assert "task:task:read" in text_of(card.content)
    await world.consent(world.sam, card)
    await world.answer_to(asked)


async def test_while_the_access_token_lives_nobody_notices_that_the_token_endpoint_is_down(world: World):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    await world.control("faults", match={"path": "/open-apis/authen/v2"}, kind="down")
    with closing(sqlite3.connect(world.database)) as database, database:
        soon, before = (datetime.now(UTC) + timedelta(seconds=n) for n in (60, -7000))
        written = [moment.strftime("%Y-%m-%d %H:%M:%S.%f") for moment in (soon, before)]
        database.execute("UPDATE grants SET access_expires_at = ?, issued_at = ?", written)
    await world.until(
        lambda: world.rows("SELECT 1 FROM grants WHERE refresh_failures > 1"), "failed refreshes", 30
    )
    await world.answer_to(await world.say(world.sam, "/tasks"))
    await world.lift()
    await world.until(lambda: world.count("grants", refresh_failures=0), "the refresh", 30)


@pytest.mark.parametrize(("hours", "door"), [(-1, "webhook"), (-1, "websocket"), (1, "websocket")])
async def test_clocks_that_are_an_hour_apart_do_no_harm(world: World, hours: int, door: str):
    """Lifetimes are counted on either clock from the moment of the answer."""
    set_apart(world, hours)
    world.tenant.app.events_by = door
    await world.start(LARK_EVENTS=door)
    await world.authorized(world.sam, "/tasks")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    grant = world.only("grants")
    assert (grant["status"], grant["generation"]) == ("active", 2)


async def test_webhooks_from_an_hour_ahead_are_refused_and_the_log_says_why(world: World):
    set_apart(world, 1)
    await world.start()
    await world.say(world.sam, "/help")
    await world.until(lambda: "the signed timestamp is stale or ahead" in world.log_tail(), "the reason")
    set_apart(world, 0)
    await world.answer_to(await world.say(world.sam, "/help"))


def set_apart(world: World, hours: int) -> None:
    world.tenant.clock.wall = lambda: time.time() + 3600 * hours


async def test_readiness_says_that_the_database_was_moved_away_or_takes_no_writes(world: World):
    await world.start()
    ready = f"http://127.0.0.1:{world.port}/readyz"
    elsewhere = world.database.with_suffix(".moved")
    world.database.rename(elsewhere)
    assert (await world.get(ready))[0] == 503
    elsewhere.rename(world.database)
    assert (await world.get(ready))[0] == 200
    other = sqlite3.connect(world.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def status_becomes(status: int) -> None:
        async with asyncio.timeout(30):
            while (await world.get(ready))[0] != status:
                await asyncio.sleep(0.5)

    await status_becomes(503)
    other.rollback()
    other.close()
    await status_becomes(200)
