"""A status is shown once, even if the message beside it already contains it."""

from __future__ import annotations

import re

import pytest

from .card_content import text_of
from .world import World

TASKS = {"path": "/open-apis/task/v2/tasks"}


@pytest.mark.parametrize(
    "said",
    [
        "/call GET /open-apis/no/such/v1/thing",
        "/call POST /open-apis/task/v9/tasks {}",
        "/call DELETE /open-apis/authen/v1/user_info",
    ],
)
async def test_a_call_of_what_is_not_there_shows_its_status_once(world: World, said: str):
    await world.start()
    await world.authorized(world.sam)
    answer = text_of((await world.answer_to(await world.say(world.sam, said), "page not found")).content)
    for part in answer.split("\n"):
        # As a number: the log id beside it may contain the digits.
        assert len(re.findall(r"\b404\b", part)) <= 1, part
    assert "404 page not found" in answer


@pytest.mark.parametrize(
    ("code", "message"), [(1470404, "1470404: no such task"), (1254041, "1254041"), (5, "5 out of order")]
)
async def test_a_code_that_the_message_repeats_is_shown_once(world: World, code: int, message: str):
    await world.start()
    await world.authorized(world.sam)
    await world.trouble(TASKS, "status", status=400, body={"code": code, "msg": message})
    answer = await world.answer_to(await world.say(world.sam, "/call GET /open-apis/task/v2/tasks"), message)
    assert f"{code} {code}" not in text_of(answer.content)
