"""What the bot does in a user's name is on record: each call to the platform, whatever becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .world import World

SHOWN = "method, path, status, code, outcome, step"


def made_for(world: World, message_id: str, columns: str = SHOWN) -> list[tuple[Any, ...]]:
    call = world.only("deferred_calls", message_id=message_id)
    found = world.rows(f"SELECT {columns} FROM api_calls WHERE call_id = ? ORDER BY id", call["id"])
    return [tuple(row.values()) for row in found]


async def test_the_loop_is_on_record(world: World):
    await world.start()
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks?page_size=5")
    card = await world.card_for(world.sam)
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    made = made_for(world, asked, f"{SHOWN}, attempt, user_key, log_id, milliseconds")
    assert [row[:7] for row in made][-1] == ("GET", "/open-apis/task/v2/tasks", 200, "0", "succeeded", 0, 1)
    for *_, user_key, log_id, milliseconds in made:
        assert user_key.endswith(world.sam.open_id)
        assert log_id
        assert 0 <= milliseconds < 10_000


async def test_a_refusal_for_a_missing_scope_is_on_record_with_what_followed(world: World):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    asked = await world.say(world.sam, "/call GET /open-apis/calendar/v4/calendars")
    card = await world.fresh_card(world.sam, asked)
    path = "/open-apis/calendar/v4/calendars"
    await world.until(lambda: made_for(world, asked), "the record of the refusal")
    assert [row[:5] for row in made_for(world, asked)] == [
        ("GET", path, 400, "99991679", "insufficient_scope")
    ]
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    assert [row[2:5] for row in made_for(world, asked)] == [
        (400, "99991679", "insufficient_scope"),
        (200, "0", "succeeded"),
    ]


FAULTS: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "503": ({"kind": "status", "status": 503}, (503, None, "no_answer")),
    "500": ({"kind": "status", "status": 500}, (500, None, "no_answer")),
    "a page of a proxy": ({"kind": "html"}, (502, None, "no_answer")),
    "dropped": ({"kind": "drop_before"}, (None, None, "no_answer")),
    "dropped after": ({"kind": "drop_after"}, (None, None, "no_answer")),
    "rate limit": ({"kind": "rate_limit", "reset": 1}, (429, "99991400", "rate_limited")),
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS)
async def test_each_failed_attempt_is_on_record(
    world: World, fault: dict[str, Any], expected: tuple[Any, ...]
):
    await world.start()
    await world.authorized(world.sam)
    await world.control("faults", match={"path": "/open-apis/task"}, times=2, **fault)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked)
    made = made_for(world, asked, "status, code, outcome, attempt")
    assert [row[3] for row in made] == [1, 2, 3]
    assert [row[2] for row in made] == [expected[2], expected[2], "succeeded"]
    assert made[0][:1] == expected[:1]


async def test_a_write_is_on_record_without_what_was_written(world: World):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    title = "Buy the ring for Ada"
    asked = await world.say(
        world.sam, f'/call POST /open-apis/task/v2/tasks?user_id_type=open_id {{"summary":"{title}"}}'
    )
    await world.answer_to(asked)
    assert made_for(world, asked)[-1][:5] == ("POST", "/open-apis/task/v2/tasks", 200, "0", "succeeded")
    assert "user_id_type" not in str(world.rows("SELECT * FROM api_calls"))
    assert title not in str(world.rows("SELECT * FROM api_calls"))


async def test_a_write_whose_answer_is_lost_is_on_record_and_so_is_the_probe_before_the_next(world: World):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    await world.control(
        "faults", match={"path": "/open-apis/task", "method": "POST"}, times=1, kind="drop_after"
    )
    asked = await world.say(world.sam, "/task Buy milk")
    await world.answer_to(asked, "Buy milk")
    methods = [(row[0], row[2], row[4]) for row in made_for(world, asked)]
    assert methods[0] == ("POST", None, "no_answer")
    assert methods[-1] == ("POST", 200, "succeeded")
    assert ("GET", 200, "succeeded") in methods[1:-1]


async def test_a_rejected_token_and_the_call_with_the_next_are_on_record(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.control("faults", match={"path": "/open-apis/task"}, times=1, kind="token_expired")
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked)
    made = made_for(world, asked, "code, outcome, attempt")
    assert made == [("99991677", "token_rejected", 1), ("0", "succeeded", 1)]


async def test_a_call_that_is_interrupted_is_on_record_when_the_process_stops(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.control("faults", match={"path": "/open-apis/task"}, times=1, kind="delay", seconds=8)
    asked = await world.say(world.sam, "/tasks")
    await world.until(lambda: world.requests("/open-apis/task/v2/tasks")[1:], "the request")
    await asyncio.wait_for(world.stop(), 10)
    assert made_for(world, asked, "status, outcome") == [(None, "no_answer")]


async def test_commands_that_do_not_call_the_platform_leave_no_record(world: World):
    await world.start()
    for command in ("/help", "/permissions", "/cancel"):
        await world.answer_to(await world.say(world.sam, command))
    assert world.count("api_calls") == 0
