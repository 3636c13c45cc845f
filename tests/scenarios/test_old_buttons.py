"""Buttons that are pressed a day, thirteen days or a month later: what they did once they do not do again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from bot.sandbox.lark.tenant import Message

from .card_content import actions_on, value_on
from .world import World, forged_click

HOUR = 3600
TASKS = "/open-apis/task/v2/tasks"


async def expired(world: World) -> Message:
    asked = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, asked)
    await world.expires(card)
    return card


async def arrived_late(world: World) -> Message:
    return await world.answer_to(await world.say(world.sam, "/tasks", age=30 * HOUR), "couldn't get to")


async def too_busy(world: World) -> Message:
    busy = await world.trouble({"path": TASKS}, "rate_limit", reset=120)
    answer = await world.answer_to(await world.say(world.sam, "/tasks"), "limiting requests")
    await world.lift(busy)
    return answer


async def let_pass(world: World, time: timedelta) -> None:
    """So much time goes by, and the bot has pruned what it keeps no longer."""
    await world.stop()
    for table, column in (("events", "received_at"), ("deferred_calls", "settled_at")):
        back = f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-{int(time.total_seconds())} seconds') || '000'"
        world.change(f"UPDATE {table} SET {column} = {back} WHERE {column} IS NOT NULL")
    await world.start()
    await world.until(
        lambda: not world.rows("SELECT 1 FROM events WHERE event_id NOT LIKE 'retry-%'"), "the pruning"
    )


@pytest.mark.parametrize("happened", [expired, arrived_late, too_busy])
async def test_try_again_is_once_for_as_long_as_it_can_be_pressed(world: World, happened: object):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    assert callable(happened)
    told = await happened(world)
    (retry,) = actions_on(told)
    await world.click(world.sam, told, retry)
    calls = world.count("deferred_calls")
    await world.until(
        lambda: not world.count("deferred_calls", status=("queued", "running")),
        "its run",
    )
    for time in (timedelta(hours=25), timedelta(days=12)):
        await let_pass(world, time)
        for _ in range(2):
            answer = await world.click(world.sam, told, retry)
            assert answer["response"]["toast"]["type"] == "info", "it was dealt with"
        assert world.count("deferred_calls") == calls
    await let_pass(world, timedelta(days=20))
    await world.click(world.sam, told, retry)
    assert not world.rows("SELECT 1 FROM deferred_calls WHERE status NOT IN ('suspended')")
    assert not world.rows("SELECT 1 FROM events WHERE event_id LIKE 'retry-%'"), "nothing is kept for nothing"


async def test_a_write_that_was_confirmed_is_not_dropped_by_the_other_button(world: World):
    """A client may still show both: on another device, or out of a message that could not be changed."""
    await world.start()
    await world.authorized(world.sam, "/tasks")
    asked = await world.say(world.sam, "/task Pay the invoice", age=5 * HOUR)

    def found() -> Message | None:
        return next(
            (m for m in world.from_bot(world.direct(world.sam), asked) if "confirm" in actions_on(m)), None
        )

    card = await world.until(found, "the question")
    values = {action: value_on(card, action) for action in ("confirm", "discard")}
    await world.click(world.sam, card, "confirm")
    request = await world.card_for(world.sam, "task:task:write")
    for action in ("discard", "confirm", "discard"):
        await forged_click(world, world.sam, values[action])
    await world.consent(world.sam, request)
    await world.answer_to(asked, "Task created")
    for action in ("confirm", "discard"):
        await forged_click(world, world.sam, values[action])
    assert len(world.requests(TASKS, "POST")) == 2, "one was refused for want of the scope"
    assert world.status_of(asked) == "succeeded"


async def test_an_offer_gives_back_what_it_offered_and_nothing_that_came_later(world: World):
    await world.start()
    for command in ("/tasks", "/agenda"):
        await world.authorized(world.sam, command)
    now = datetime.now(UTC)
    granted = (now - timedelta(days=65)).strftime("%Y-%m-%d %H:%M:%S.%f")
    world.change(f"UPDATE granted_scopes SET granted_at = '{granted}', used_at = NULL, used_by = NULL")
    for days in (13, 30, 100):
        at = (now - timedelta(days=days)).isoformat()
        await forged_click(world, world.sam, {"action": "give_back", "subject": at})
        grant = world.only("grants")
        assert {"task:task:read", "calendar:calendar:readonly"} <= set(json.loads(grant["scopes"]))
    await forged_click(world, world.sam, {"action": "give_back", "subject": now.isoformat()})
    await world.until(lambda: "calendar" not in world.only("grants")["scopes"], "the narrower grant")
