"""An API that fails or refuses: each story says so with code and log id, repetitions are counted, the reason is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .test_logged_story import Line, told
from .world import World

FAILED, REFUSED = "the platform failed", "refused by the platform"


def of_call(world: World, message_id: str, *messages: str) -> list[Line]:
    call = world.only("deferred_calls", message_id=message_id)["id"]
    return [line for line in told(world) if line.get("call") == call and line["message"] in messages]


async def ready_for(world: World, command: str, **settings: str) -> None:
    await world.start(BOT_LOG_LEVEL="info", BOT_LOG_FORMAT="json", **settings)
    await world.authorized(world.sam, command)


def make_late(world: World) -> None:
    """Let a quarter of an hour pass since the first failure."""
    world.change("UPDATE deferred_calls SET first_failed_at = datetime('now', '-20 minutes') || '.000000'")


@pytest.mark.parametrize(
    ("fault", "status", "code", "reason"),
    [
        ({"kind": "status", "status": 500}, 500, "500", "error 500"),
        (
            {"kind": "status", "status": 200, "code": 190003},
            200,
            "190003",
            "error 190003",
        ),
        ({"kind": "html"}, 502, None, "no usable response (HTTP 502)"),
        ({"kind": "drop_before"}, None, None, "the connection broke (ServerDisconnectedError)"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
async def test_an_api_that_goes_on_failing_is_told_counted_and_kept_as_the_reason(
    world: World, fault: dict[str, Any], status: int | None, code: str | None, reason: str
):
    await ready_for(world, "/agenda")
    await world.control("faults", match={"path": "/open-apis/calendar"}, **fault)
    asked = await world.say(world.sam, "/agenda")
    await world.until(lambda: len(world.find("api_calls", status=status, code=code)) >= 4, "some tries", 40)
    make_late(world)
    await world.until(lambda: world.status_of(asked) == "failed", "the end", 60)
    (line,) = of_call(world, asked, FAILED)
    assert line["level"] == "warning"
    assert (line.get("status"), line.get("code"), line["reason"]) == (status, code, reason)
    assert line["path"].startswith("/open-apis/calendar/")
    assert (line["method"], line["attempt"]) == ("POST", 1)
    (end,) = of_call(world, asked, "call ended")
    assert (end["status"], end["outcome"]) == ("failed", "platform_failed")
    assert end["reason"].startswith(reason)
    assert end["attempts"] >= 4
    call = world.only("deferred_calls", message_id=asked)["id"]
    (entry,) = world.find("audit_log", subject_id=call, action="call_failed")
    assert json.loads(entry["detail"])["reason"].startswith(reason)


async def test_the_log_id_that_the_person_reads_is_in_the_log_and_kept(world: World):
    await ready_for(world, "/tasks")
    await world.control(
        "faults", match={"path": "/open-apis/task"}, kind="status", status=400, code=1470403, msg="no right"
    )
    asked = await world.say(world.sam, "/tasks")
    answer = await world.answer_to(asked)
    (line,) = of_call(world, asked, REFUSED)
    (end,) = of_call(world, asked, "call ended")
    assert (line["status"], line["code"], line["reason"]) == (400, "1470403", "refused")
    assert line["log_id"]
    assert line["log_id"] in json.dumps(answer.content)
    assert world.count("api_calls", log_id=line["log_id"]) == 1
    assert end["status"] in {"failed", "succeeded"}


async def test_an_outage_of_an_api_that_many_meet_is_a_line_a_call_and_not_a_line_a_try(world: World):
    await ready_for(world, "/tasks")
    await world.control("faults", match={"path": "/open-apis/task"}, kind="status", status=500)
    asked = [await world.say(world.sam, "/tasks") for _ in range(5)]
    await world.until(lambda: world.count("api_calls", status=500) > 15, "some tries", 60)
    await world.lift()
    for message in asked:
        await world.until(lambda m=message: world.status_of(m) == "succeeded", "the end", 60)
    for message in asked:
        await world.until(lambda m=message: of_call(world, m, "call ended"), "its line")
        assert len(of_call(world, message, FAILED)) <= 1
        assert len(of_call(world, message, "call ended")) == 1
    tries = world.count("api_calls", status=500)
    lines = [line for line in told(world) if line["message"] == FAILED]
    assert len(lines) <= 6 < tries


async def test_cancelling_what_runs_is_no_trouble(world: World):
    """The worker of the cancelled call notices that it has lost its lease, which is as it should be."""
    await ready_for(world, "/tasks")
    fault = await world.trouble({"path": "/open-apis/task"}, "delay_after", seconds=30)
    await world.say(world.sam, "/tasks")
    await world.struck(fault)
    await world.answer_to(await world.say(world.sam, "/cancel"))
    await world.lift(fault)
    await world.until(lambda: any(line["message"] == "lease lost" for line in told(world)), "the end", 20)
    assert [line for line in told(world) if line["level"] in {"warning", "error"}] == []
