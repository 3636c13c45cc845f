"""The work of a process that ends is taken over at once: after a restart on SQLite, by other replicas on PostgreSQL."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.bot_process import bot
from tests.ports import free_port

from .card_content import text_of
from .replicas import Replicas
from .world import World

TASKS = {"path": "/open-apis/task/v2/tasks"}
TOKENS = {"path": "/open-apis/authen/v2/oauth/token"}
MESSAGES = {"path": "/open-apis/im/v1/messages"}

CONTINUES_WITHIN = 2.0
TAKES_OVER_WITHIN = 5.0


# --- SQLite -----------------------------------------------------------------------------------------------


async def answered_after_restart(world: World, asked: str) -> None:
    """Starts the bot again, which answers within the promised time of being ready."""
    await world.lift()
    await world.start()
    ready = time.monotonic()
    await world.answer_to(asked)
    assert time.monotonic() - ready < CONTINUES_WITHIN


@pytest.mark.parametrize("words", ["/tasks", "/task Water the plants", "/call GET /open-apis/task/v2/tasks"])
async def test_a_call_that_a_dead_process_ran_is_answered_at_once(world: World, words: str):
    await world.start()
    await world.authorized(world.sam, "/task first")
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = await world.say(world.sam, words)
    await world.struck(slow)
    await world.kill()
    await answered_after_restart(world, asked)
    assert (await world.answers_to(asked, 1))[1:] == []


async def test_a_message_that_a_dead_process_was_sending_is_sent_at_once(world: World):
    await world.start()
    slow = await world.trouble(MESSAGES, "delay", seconds=60)
    asked = await world.say(world.sam, "/help")
    await world.struck(slow)
    await world.kill()
    await answered_after_restart(world, asked)


async def test_a_card_that_a_dead_process_was_updating_is_updated_at_once(world: World):
    await world.start()
    slow = await world.trouble(MESSAGES, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    await world.kill()
    await world.lift()
    await world.start()
    ready = time.monotonic()
    await world.fresh_card(world.sam, asked)
    assert time.monotonic() - ready < CONTINUES_WITHIN


async def test_a_code_that_a_dead_process_was_exchanging_is_exchanged_at_once(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    consent = await world.open(card)
    back = await world.decide(consent, world.sam)
    slow = await world.trouble(TOKENS, "timeout")
    coming = asyncio.create_task(world.get(back))
    await world.struck(slow)
    await world.kill()
    with pytest.raises(Exception, match=r".*"):
        await coming
    await answered_after_restart(world, asked)


async def test_a_refresh_of_a_dead_process_and_its_waiting_call_continue_at_once(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    slow = await world.trouble(TOKENS, "timeout")
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    await world.kill()
    await answered_after_restart(world, asked)


@pytest.mark.slow
async def test_a_second_process_on_the_file_is_warned_of_and_takes_nothing_over(world: World):
    await world.start()
    await world.authorized(world.sam)
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    port = str(free_port())
    second = world.fork(bot("run"), BOT_PORT=port)
    log = world.directory / "bot.log"
    await world.until(lambda: "another process uses this database file" in log.read_text(), "a warning")
    await world.until(lambda: log.read_text().count(" ready") == 2, "the second process")
    (call,) = world.rows("SELECT claim, takeovers FROM deferred_calls WHERE status = 'running'")
    assert call == {"claim": 1, "takeovers": 0}
    # The first one ends; the second goes on with its call when the lease ends, and a third is not alone either.
    await world.kill()
    third = world.fork(bot("run"), BOT_PORT=str(free_port()))
    await world.until(lambda: log.read_text().count("another process uses") == 2, "another warning")
    await world.lift()
    await world.answer_to(asked, patience=40)
    for process in (second, third):
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 12) == 0
    await world.start()
    assert log.read_text().count("another process uses") == 2


@pytest.mark.parametrize("by", ["a link", "a link to a link", "a linked directory", "a roundabout path"])
async def test_a_second_process_that_opens_the_file_by_another_path_is_warned_too(
    world: World, tmp_path: Path, by: str
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = elsewhere / "data.db"
    match by:
        case "a link":
            path.symlink_to(world.database)
        case "a link to a link":
            (elsewhere / "first.db").symlink_to("../bot.db")
            path.symlink_to("first.db")
        case "a linked directory":
            (elsewhere / "linked").symlink_to(world.directory)
            path = elsewhere / "linked" / "bot.db"
        case _:
            path = elsewhere / ".." / "bot.db"
    await world.start()
    await world.authorized(world.sam)
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    url = f"sqlite+aiosqlite:///{path}"
    second = world.fork(bot("run"), BOT_PORT=str(free_port()), BOT_DATABASE_URL=url)
    log = world.directory / "bot.log"
    await world.until(lambda: log.read_text().count(" ready") == 2, "the second process", 30)
    assert "another process uses this database file" in log.read_text()
    (call,) = world.rows("SELECT claim, takeovers FROM deferred_calls WHERE status = 'running'")
    assert call == {"claim": 1, "takeovers": 0}
    await world.lift()
    await world.answer_to(asked)
    second.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(second.wait(), 12) == 0


async def test_without_a_lock_file_the_bot_relies_on_leases(world: World):
    (world.directory / "bot.db.lock").mkdir()
    await world.start()
    assert "no lock file beside the database" in (world.directory / "bot.log").read_text()
    await world.answer_to(await world.say(world.sam, "/help"))


async def test_a_call_that_takes_its_process_down_five_times_is_given_up_with_a_word(
    world: World, tmp_path: Any
):
    """Nor does anything else of that person wait for it for longer than that."""
    site = tmp_path / "site"
    (site / "bot_odd-1.0.dist-info").mkdir(parents=True)
    (site / "bot_odd-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bot-odd\nVersion: 1.0\n"
    )
    (site / "bot_odd-1.0.dist-info" / "entry_points.txt").write_text("[bot.commands]\nodd = bot_odd:odd\n")
    (site / "bot_odd.py").write_text(
        """
import os
import signal

from bot.commands import Words, command


@command("odd", summary=Words("x", "x"))
def odd(ask):
    os.kill(os.getpid(), signal.SIGKILL)
    yield
"""
    )
    world.settings["PYTHONPATH"] = f"{world.environment()['PYTHONPATH']}:{site}"
    await world.start()
    asked = await world.say(world.sam, "/odd")
    help_asked = await world.say(world.sam, "/help")
    deaths = 0
    while deaths < 5:
        assert world.process is not None
        await asyncio.wait_for(world.process.wait(), 30)
        deaths += 1
        world.process = world.fork(bot("run"))
    answer = await world.answer_to(asked)
    assert "/odd" in text_of(answer.content)
    await world.answer_to(help_asked)
    call = world.only("deferred_calls", command="odd")
    assert (call["status"], call["outcome"], call["claim"]) == ("failed", "no_progress", 6)
    assert "call given up" in (world.directory / "bot.log").read_text()
    await world.answer_to(await world.say(world.sam, "/help"))
    assert world.process.returncode is None


# --- urgent calls -----------------------------------------------------------------------------------------


async def test_help_is_answered_beside_a_slow_call_and_beside_what_waits_behind_it(world: World):
    await world.start()
    await world.authorized(world.sam)
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = [await world.say(world.sam, "/tasks") for _ in range(3)]
    await world.struck(slow)
    began = time.monotonic()
    await world.answer_to(await world.say(world.sam, "/help"))
    assert time.monotonic() - began < CONTINUES_WITHIN
    assert world.count("deferred_calls", status="running") == 1
    await world.lift()
    for message in asked:
        await world.answer_to(message, patience=30)


@pytest.mark.parametrize("word", ["/cancel", "/revoke"])
async def test_cancel_and_revoke_stop_a_slow_read_and_what_waits_behind_it(world: World, word: str):
    await world.start()
    await world.authorized(world.sam)
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = [await world.say(world.sam, "/tasks") for _ in range(2)]
    await world.struck(slow)
    began = time.monotonic()
    answer = await world.answer_to(await world.say(world.sam, word))
    assert time.monotonic() - began < CONTINUES_WITHIN
    assert "/tasks" in text_of(answer.content)
    for message in asked:
        assert len(await world.answers_to(message, 1)) == 1
    await world.lift()
    assert world.statuses("deferred_calls", command="tasks") == ["succeeded", "cancelled", "cancelled"]
    # Nothing asks for what the revoked call would have needed.
    assert world.count("authorization_requests", status="open") == 0


async def test_cancel_leaves_a_write_alone_that_may_have_left(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    slow = await world.trouble(TASKS | {"method": "POST"}, "delay", seconds=4)
    asked = await world.say(world.sam, "/task second")
    await world.struck(slow)
    await world.answer_to(await world.say(world.sam, "/cancel"))
    await world.answer_to(asked, "second")
    assert [task["summary"] for task in world.tenant.work.tasks if task["summary"] == "second"] == ["second"]
    assert world.status_of(asked) == "succeeded"


# --- PostgreSQL -------------------------------------------------------------------------------------------


@pytest.fixture
async def replicas(world: World, postgresql_url: str) -> AsyncIterator[Replicas]:
    world.tenant.behaviour.rate_limits = False
    world.tenant.behaviour.redelivery_seconds = (0.2, 0.5, 1.0, 2.0, 5.0)
    async with Replicas(world, postgresql_url) as replicas:
        yield replicas


async def locks_are_held(replicas: Replicas, count: int) -> None:
    """So many replicas show that they live."""
    held = "SELECT count(*) FROM replicas WHERE presence_lock IS NOT NULL"
    async with asyncio.timeout(15):
        while await replicas.one(held) != count:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("words", ["/tasks", "/task Water the plants", "/call GET /open-apis/task/v2/tasks"])
async def test_the_call_of_a_replica_that_ends_is_taken_over_within_five_seconds(
    world: World, replicas: Replicas, words: str
):
    await replicas.start(2)
    await world.authorized(world.sam, "/task first")
    await locks_are_held(replicas, 2)
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = await world.say(world.sam, words)
    await world.struck(slow)
    holder = await replicas.holder()
    replicas.proxy.resting.add(holder.port)
    await holder.kill()
    died = time.monotonic()
    # Not before: the holder could answer.
    await world.lift()
    await world.answer_to(asked, patience=20)
    assert time.monotonic() - died < TAKES_OVER_WITHIN
    assert await replicas.one("SELECT count(*) FROM replicas") == 1


async def test_the_refresh_of_a_replica_that_ends_is_taken_over_too(world: World, replicas: Replicas):
    await replicas.start(2)
    await world.authorized(world.sam)
    await locks_are_held(replicas, 2)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    slow = await world.trouble(TOKENS, "timeout")
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    holder = await replicas.holder()
    replicas.proxy.resting.add(holder.port)
    await holder.kill()
    died = time.monotonic()
    # Not before: the holder could answer.
    await world.lift()
    await world.answer_to(asked, patience=20)
    assert time.monotonic() - died < TAKES_OVER_WITHIN


async def test_a_replica_that_loses_its_lock_but_lives_keeps_its_work(world: World, replicas: Replicas):
    """Its connection is cut again and again, for longer than it takes to count as gone."""
    await replicas.start(2)
    await world.authorized(world.sam)
    await locks_are_held(replicas, 2)
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    holder = await replicas.holder()
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) "
        "| objid::bigint = (SELECT presence_lock FROM replicas WHERE id LIKE :name)"
    )
    until, cuts = time.monotonic() + 6, 0
    while time.monotonic() < until:
        cuts += await replicas.one(cut, name=f"%-{holder.process.pid}-%")
        await asyncio.sleep(0.1)
    assert cuts > 1
    (call,) = await replicas.rows("SELECT claim, takeovers FROM deferred_calls WHERE settled_at IS NULL")
    assert call == {"claim": 1, "takeovers": 0}
    await world.lift(slow)
    await world.answer_to(asked, patience=20)
    (call,) = await replicas.rows("SELECT claim FROM deferred_calls ORDER BY id DESC LIMIT 1")
    assert call["claim"] == 1
    await locks_are_held(replicas, 2)


async def test_a_replica_that_hangs_keeps_its_lock_and_loses_its_work_with_its_lease(
    world: World, replicas: Replicas
):
    await replicas.start(2, lease=4)
    await world.authorized(world.sam)
    await locks_are_held(replicas, 2)
    slow = await world.trouble(TASKS, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    holder = await replicas.holder()
    replicas.proxy.resting.add(holder.port)
    holder.freeze()
    await world.lift()
    await world.answer_to(asked, patience=20)
    assert await replicas.one("SELECT count(*) FROM replicas") == 2
    holder.thaw()
    await asyncio.wait_for(replicas_agree(replicas), 20)


async def replicas_agree(replicas: Replicas) -> None:
    """The one that was frozen gives signs of life again."""
    query = "SELECT count(*) FROM replicas WHERE heartbeat_at > now() - interval '2 seconds'"
    while await replicas.rows(query) != [{"count": 2}]:
        await asyncio.sleep(0.1)
