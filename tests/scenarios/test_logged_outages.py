"""What is away is told once, and once when it is back: the database, the platform. What repeats is counted."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .replicas import Replicas
from .test_logged_story import Line, ask_once, log_of, told
from .webhook_client import WebhookClient
from .world import World

OUTAGE = {"the database is away", "the database is back"}


@pytest.fixture
async def replicas(world: World, postgresql_url: str) -> AsyncIterator[Replicas]:
    world.tenant.behaviour.redelivery_seconds = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    async with Replicas(world, postgresql_url) as replicas:
        yield replicas


def lines_about(world: World, *messages: str) -> list[Line]:
    return [line for line in told(world) if line["message"] in messages]


async def until_told(world: World, message: str, count: int = 1, patience: float = 30) -> None:
    await world.until(lambda: log_of(world).count(message) >= count, message, patience)


async def test_postgresql_is_away_and_back_once_each(
    world: World, replicas: Replicas, postgresql_process: Any
):
    """However many chores, pages, probes, events and calls meet the outage."""
    (one,) = await replicas.start(1, BOT_LOG_LEVEL="info")
    await world.answer_to(await world.say(world.sam, "/help"))
    since = len(log_of(world))
    postgresql_process.stop()
    try:
        await until_told(world, "the database is away")
        asked = await world.say(world.sam, "/help")
        for _ in range(20):
            assert not await replicas.is_ready(one)
            assert (await world.get(f"{world.public}/authorize/{'x' * 43}"))[0] == 500
        await asyncio.sleep(3)  # in which every chore meets it
    finally:
        postgresql_process.ensure_postgres_running()
    await until_told(world, "the database is back")
    await world.answer_to(asked, patience=40)
    away, back = lines_about(world, *OUTAGE)
    assert (away["message"], away["level"]) == ("the database is away", "error")
    assert away["reason"]
    assert (back["message"], back["level"]) == ("the database is back", "info")
    assert 3 <= float(back["seconds"]) < 60
    lines = told(world, since)
    assert [line["message"] for line in lines if line["level"] == "error"] == ["the database is away"]
    assert "Traceback" not in log_of(world)[since:]
    assert len(lines) < 15


async def test_a_sqlite_file_that_another_program_locks_is_away_and_back_once_each(world: World):
    await world.start(BOT_LOG_LEVEL="info", BOT_LOG_FORMAT="json")
    with contextlib.closing(sqlite3.connect(world.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await until_told(world, "the database is away", patience=60)
        other.execute("ROLLBACK")
    await until_told(world, "the database is back")
    away, back = lines_about(world, *OUTAGE)
    assert "locked" in away["reason"]
    assert back["seconds"] > 0
    await world.answer_to(await world.say(world.sam, "/help"))
    assert [line["message"] for line in told(world) if line["level"] == "error"] == ["the database is away"]


async def send(world: World, text: str) -> str:
    """Send a message of Sam as the platform would, which is away. Returns the message's id."""
    client = WebhookClient(world)
    event = client.message(text)
    assert (await client.send(event))[0] == 200
    return str(event["event"]["message"]["message_id"])


@pytest.mark.parametrize("fault", [None, {"kind": "drop_before"}, {"kind": "html"}], ids=str)
async def test_the_platform_is_away_and_back_once_each(world: World, fault: dict[str, Any] | None):
    """It cannot be connected to, breaks each connection, or its gateway alone answers."""
    await world.start(BOT_LOG_LEVEL="info")
    await ask_once(world)
    since = len(log_of(world))
    if fault is None:
        await world.platform_down()
    else:
        await world.control("faults", match={"path": "/open-apis/"}, **fault)
    for _ in range(3):
        await send(world, "/help")
    await until_told(world, "the platform cannot be reached", patience=60)
    await asyncio.sleep(2)  # in which the answers are tried again
    if fault is None:
        await world.platform_up()
    else:
        await world.lift()
    await until_told(world, "the platform can be reached again", patience=60)
    away, back = lines_about(world, "the platform cannot be reached", "the platform can be reached again")
    assert away["host"] == back["host"] == "127.0.0.1"
    assert away["reason"]
    assert 0 < float(back["seconds"]) < 60
    answered = "SELECT 1 FROM outgoing_messages WHERE status <> 'sent'"
    await world.until(lambda: not world.rows(answered), "the answers", 40)
    assert not [line for line in told(world, since) if line["level"] == "error"]


async def test_a_platform_that_refuses_or_fails_for_one_api_is_not_away(world: World):
    await world.start(BOT_LOG_LEVEL="info")
    await world.authorized(world.sam)
    await world.control("faults", match={"path": "/open-apis/task"}, kind="status", status=503)
    asked = await world.say(world.sam, "/tasks")
    await world.until(lambda: len(world.requests("/open-apis/task")) > 5, "some tries", 40)
    await world.lift()
    await world.answer_to(asked)
    assert lines_about(world, "the platform cannot be reached") == []
