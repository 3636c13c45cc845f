"""The long connection, with the real bot: nothing is lost on it and nothing happens twice, whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from aiohttp import web

from bot.sandbox.lark.faults import Fault
from bot.sandbox.lark.long_connections import CONNECTIONS, NotAcknowledged
from tests.ports import free_port

from .card_content import has_link, is_acknowledgement
from .crash_points import crashing_bot
from .raw_http import processor_seconds
from .webhook_client import WebhookClient
from .world import World


@pytest.fixture
def connected(world: World) -> World:
    """Events come by the long connection, and those that were not acknowledged come again soon and often."""
    world.tenant.app.events_by = "websocket"
    world.tenant.behaviour.redelivery_seconds = (1.0,) * 60
    world.settings["LARK_EVENTS"] = "websocket"
    return world


async def readiness(world: World) -> dict[str, Any]:
    status, _, body = await world.get(f"{world.public}/readyz")
    ready: dict[str, Any] = json.loads(body)
    assert (status == 200) == (ready["status"] == "ready")
    return ready


async def until_events_are(world: World, state: str, patience: float = 15) -> dict[str, Any]:
    deadline = time.monotonic() + patience
    while (ready := await readiness(world))["events"] != state:
        assert time.monotonic() < deadline, world.log_tail()
        await asyncio.sleep(0.1)
    return ready


async def drop(world: World, how: str) -> None:
    async with world.http.delete(f"{world.origin}/sandbox/api/connections?how={how}"):
        pass


def answers(world: World) -> Counter[str | None]:
    """How often each message of Sam's was answered."""
    replies = (m for m in world.from_bot(world.direct(world.sam)) if m.reply_to)
    return Counter(m.reply_to for m in replies if not is_acknowledgement(m))


def is_acknowledged(world: World) -> bool:
    """Whether every event is."""
    return all(event.acknowledged for event in world.tenant.events.values())


async def test_the_whole_loop(connected: World):
    await connected.start()
    asked = await connected.say(connected.sam, "/tasks")
    status, page = await connected.consent(connected.sam, await connected.fresh_card(connected.sam, asked))
    assert status == 200, page
    await connected.answer_to(asked)
    in_the_group = await connected.say(connected.sam, "/tasks", connected.group)
    await connected.shown_alone(connected.sam, in_the_group, "open tasks")
    await connected.control("revoke", person=connected.sam.open_id)
    await connected.until(lambda: connected.statuses("grants") == ["ended"])
    await connected.until(lambda: is_acknowledged(connected), "all acknowledgements")
    assert await connected.stop() == 0
    log = (connected.directory / "bot.log").read_text()
    assert "device_id" not in log


@pytest.mark.parametrize("frame_type", ["event", "card"])
async def test_a_click_is_answered_with_a_toast_and_the_cards_new_face(connected: World, frame_type: str):
    connected.tenant.behaviour.card_frame_type = frame_type
    await connected.start()
    asked = await connected.say(connected.sam, "/doc welcome")
    card = await connected.fresh_card(connected.sam, asked)
    clicked = await connected.click(connected.sam, card, "not_now")
    assert clicked["code"] is None
    assert clicked["response"]["toast"]["type"] == "info"
    assert clicked["response"]["card"]["type"] == "raw"
    assert not has_link(connected.tenant.messages[card.message_id])


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_lost_connection_comes_back_and_what_was_said_meanwhile_with_it(connected: World, how: str):
    await connected.start()
    await drop(connected, how)
    asked = await connected.say(connected.sam, "/help")
    await connected.answer_to(asked, patience=30)


@pytest.mark.slow
async def test_a_platform_that_was_away_finds_the_bot_back_within_thirty_seconds(connected: World):
    await connected.start()
    await connected.platform_down()
    down = await until_events_are(connected, "down")
    assert down["database"] == "up"
    await asyncio.sleep(20)
    still = await readiness(connected)
    assert still["events_down_since"] == down["events_down_since"]
    assert "no connection to 127.0.0.1" in still["events_down_because"]
    said = (connected.directory / "bot.log").read_text().count("no long connection")
    assert said <= 3
    await connected.platform_up()
    up = await until_events_are(connected, "up", patience=30)
    assert "events_down_since" not in up
    await connected.answer_to(await connected.say(connected.sam, "/help"))


async def test_a_refusal_is_said_where_operators_look_and_ends_with_its_reason(connected: World):
    await connected.start()
    await connected.control("app", enabled=False)
    await drop(connected, "close")
    deadline = time.monotonic() + 20
    while "the app is disabled" not in (await readiness(connected)).get("events_down_because", ""):
        assert time.monotonic() < deadline, connected.log_tail()
        await asyncio.sleep(0.1)
    assert "the app is disabled" in (connected.directory / "bot.log").read_text()
    await connected.control("app", enabled=True)
    await until_events_are(connected, "up", patience=30)


async def test_what_was_said_while_the_bot_was_dead_is_answered_once(connected: World):
    await connected.start()
    await connected.answer_to(await connected.say(connected.sam, "/help"))
    await connected.kill()
    asked = [await connected.say(connected.sam, "/help") for _ in range(3)]
    await connected.start()
    for message in asked:
        await connected.answer_to(message)
    assert set(answers(connected).values()) == {1}


async def test_a_stop_answers_or_returns_everything_and_nothing_twice(connected: World):
    connected.tenant.behaviour.rate_limits = False
    await connected.start()
    asked = [await connected.say(connected.sam, "/help") for _ in range(10)]
    stopping = asyncio.create_task(connected.stop())
    for _ in range(10):
        asked.append(await connected.say(connected.sam, "/help"))
        await asyncio.sleep(0.02)
    began = time.monotonic()
    assert await stopping == 0
    assert time.monotonic() - began < 10
    await connected.until(
        lambda: not connected.tenant.feed.changes_after(0, "connection")[-1].data["open"], "the end"
    )
    await connected.start()
    for message in asked:
        await connected.answer_to(message, patience=30)
    await connected.until(lambda: is_acknowledged(connected), "all acknowledgements")
    assert answers(connected) == dict.fromkeys(asked, 1)


async def test_nothing_is_acknowledged_before_it_is_kept(connected: World):
    await connected.start()
    with closing(sqlite3.connect(connected.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asked = await connected.say(connected.sam, "/help")
        await asyncio.sleep(4)
        (event,) = connected.tenant.events.values()
        assert not event.acknowledged
        assert event.attempts
        other.execute("ROLLBACK")
    await connected.answer_to(asked)
    await connected.until(lambda: event.acknowledged, "the acknowledgement")
    assert answers(connected) == {asked: 1}


async def test_a_bot_that_dies_between_keeping_and_acknowledging_answers_once(connected: World):
    dying = connected.fork(crashing_bot(die_at="flows.intake.accept_message:write_together:after#1"))
    asked = await connected.say(connected.sam, "/help")
    assert await asyncio.wait_for(dying.wait(), 30) == -9
    assert not is_acknowledged(connected)
    assert connected.count("deferred_calls", settled_at=None) == 1
    await connected.start()
    await connected.answer_to(asked)
    await connected.until(lambda: is_acknowledged(connected), "the acknowledgement")
    await asyncio.sleep(1)
    assert answers(connected) == {asked: 1}


async def test_acknowledgements_that_are_lost_make_nothing_happen_twice(connected: World):
    connected.tenant.behaviour.loses_acknowledgements = True
    connected.tenant.behaviour.answer_seconds = 0.5
    await connected.start()
    asked = await connected.say(connected.sam, "/help")
    await connected.answer_to(asked)
    (event,) = connected.tenant.events.values()
    await connected.until(lambda: len(event.attempts) >= 3, "redeliveries")
    connected.tenant.behaviour.loses_acknowledgements = False
    await connected.until(lambda: event.acknowledged, "the acknowledgement")
    assert answers(connected) == {asked: 1}


async def test_a_message_larger_than_a_frame_comes_whole(connected: World):
    connected.tenant.behaviour.frame_payload_bytes = 200
    await connected.start()
    asked = await connected.say(connected.sam, "/search " + "周报 " * 500)
    await connected.fresh_card(connected.sam, asked)
    (event,) = connected.tenant.events.values()
    await connected.until(lambda: event.acknowledged, "the acknowledgement")


async def test_payloads_of_the_wrong_kind_are_refused_and_the_connection_stays(connected: World):
    connected.tenant.behaviour.redelivery_seconds = ()
    await connected.start()
    header = {"event_id": "e1", "event_type": "im.message.receive_v1", "app_id": connected.tenant.app.app_id}
    wrong = [
        {},
        {"schema": "2.0"},
        {"schema": "2.0", "header": {"event_id": 7}, "event": {}},
        {"schema": "2.0", "header": header, "event": []},
        {"schema": "2.0", "header": header, "event": {"sender": None, "message": 7}},
        {"schema": "2.0", "header": header | {"app_id": "cli_other"}, "event": {}},
        {"schema": "2.0", "header": header | {"event_type": "card.action.trigger"}, "event": {"action": "x"}},
    ]
    for event in wrong:
        result = await connected.control("events", event=event)
        assert not result["acknowledged"], event
    assert connected.count("events") == 0
    await connected.answer_to(await connected.say(connected.sam, "/help"))
    opened = [c for c in connected.tenant.feed.changes_after(0, "connection") if c.data["event"] == "opened"]
    assert len(opened) == 1


async def test_two_replicas_share_the_events_and_a_repeat_at_both_has_no_effect(
    connected: World, postgresql_url: str
):
    connected.tenant.behaviour.rate_limits = False
    connected.settings["BOT_DATABASE_URL"] = postgresql_url
    await connected.start()
    first = connected.process
    connected.port = free_port()
    await connected.start(BOT_PUBLIC_URL=connected.public)
    asked, shares = [], [0, 0]
    while min(shares) == 0:  # by chance, as the platform does it
        asked.append(await connected.say(connected.sam, "/help"))
        await connected.answer_to(asked[-1])
        async with connected.http.get(f"{connected.origin}/sandbox/api/connections") as response:
            shares = [each["delivered"] for each in (await response.json())["connections"]]
        assert len(shares) == 2
        assert len(asked) < 100
    for event_id in list(connected.tenant.events):
        for _ in range(4):
            await connected.control("events/replay", event_id=event_id)
    assert first is not None
    first.kill()
    await first.wait()
    last = await connected.say(connected.sam, "/help")
    await connected.answer_to(last)
    assert answers(connected) == dict.fromkeys([*asked, last], 1)


async def test_a_payload_with_a_wrong_verification_token_is_refused(connected: World):
    """The platform leaves the token empty by this way; one that does not fit comes from somebody else."""
    await connected.start()
    await until_events_are(connected, "up")
    attacker, platform = WebhookClient(connected), connected.runner.app[CONNECTIONS]
    for number, wrong in enumerate(("guessed", " ", 7, ["x"], {}, True)):
        for payload in (
            attacker.message(token=wrong),
            attacker.message(token="") | {"token": wrong},
            attacker.click(connected.sam, {"action": "help"}, token=wrong),
        ):
            with pytest.raises(NotAcknowledged, match="500"):
                await platform.send(f"wrong-{number}", payload)
    assert connected.count("events") == 0
    without = attacker.message()
    del without["header"]["token"]
    for number, right in enumerate((attacker.message(), attacker.message(token=""), without)):
        await platform.send(f"right-{number}", right)
    assert connected.count("deferred_calls") == 3
    assert "the verification token does not match" in (connected.directory / "bot.log").read_text()


async def test_the_bot_does_not_follow_the_connection_elsewhere(connected: World):
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path_qs)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return socket

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    await connected.start()
    headers = {"Location": f"http://127.0.0.1:{port}/ws/v2?device_id=1&service_id=1"}
    trouble = Fault("f1", "status", {"path": "/ws/v2"}, None, {"status": 302, "headers": headers})
    connected.tenant.faults.all["f1"] = trouble
    await drop(connected, "reset")
    await connected.until(lambda: trouble.struck > 1, "two attempts", patience=30)
    ready = await until_events_are(connected, "down")
    assert "redirects" in ready["events_down_because"]
    connected.tenant.faults.all.clear()
    await until_events_are(connected, "up", patience=30)
    assert asked == []
    await runner.cleanup()


RAW = {
    "garbage": b"\x82\x01x",
    "empty frames": b"\x82\x00",
    "text": b"\x81\x02hi",
    "pings": b"\x89\x00",
    "pings with something in them": b"\x89\x04ping",
    "pongs": b"\x8a\x00",
}


@pytest.mark.parametrize("what", RAW)
async def test_frames_without_an_event_cost_little_and_fill_no_log(connected: World, what: str):
    await connected.start()
    (link,) = connected.runner.app[CONNECTIONS].open.values()
    lines = len((connected.directory / "bot.log").read_text().splitlines())
    spent = processor_seconds(connected)
    assert link.transport is not None
    link.transport.write(RAW[what] * 50_000)
    await connected.until(
        lambda: link not in connected.runner.app[CONNECTIONS].open.values(), "the end of it"
    )
    await until_events_are(connected, "up")
    spent = processor_seconds(connected) - spent
    print(f"{what}: {spent:.2f} s")
    assert spent < 2
    assert len((connected.directory / "bot.log").read_text().splitlines()) < lines + 30
    await connected.answer_to(await connected.say(connected.sam, "/help"), patience=30)
