"""What the log tells of a story, through the real program: a line for each thing that ended, with the story's ids."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from .webhook_client import WebhookClient
from .world import World

Line = dict[str, Any]

LOOP = """
event accepted kind=message command=tasks chat=direct call=CALL message_id=MESSAGE event=EVENT user=USER
call started command=tasks call=CALL message_id=MESSAGE user=USER
refused by the platform reason=insufficient_scope method=GET path=/open-apis/task/v2/tasks status=400 code=99991679 \
log_id=LOG attempt=1 scopes=task:task:read|task:task:write call=CALL message_id=MESSAGE user=USER
call suspended command=tasks waits_for=authorization needs=task:task:read|task:task:write request=REQUEST \
call=CALL message_id=MESSAGE user=USER
card shown face=waiting scopes=offline_access,task:task:read request=REQUEST card=CARD \
call=CALL message_id=MESSAGE user=USER
link opened request=REQUEST authorization_attempt=OPENING call=CALL message_id=MESSAGE user=USER
consent ended result=granted gained=task:task:read request=REQUEST authorization_attempt=OPENING \
call=CALL message_id=MESSAGE user=USER
call resumed command=tasks consents=1 call=CALL message_id=MESSAGE user=USER
call ended command=tasks status=succeeded outcome=answered seconds=SECONDS call=CALL message_id=MESSAGE user=USER
message sent kind=answer outgoing=OUTGOING sent=ANSWER call=CALL message_id=MESSAGE user=USER
card shown face=authorized scopes=offline_access,task:task:read request=REQUEST card=CARD \
call=CALL message_id=MESSAGE user=USER
""".strip().splitlines()


def log_of(world: World) -> str:
    return (world.directory / "bot.log").read_text()


def fields_of(line: str) -> Line:
    """Return the fields of a line in JSON, or what stands for them in a line of text."""
    if line.startswith("{"):
        found: Line = json.loads(line)
        return found
    time, level, logger, rest = line.split(" ", 3)
    message, *pairs = re.split(r" (?=[a-z_]+=)", rest)
    fields: Line = dict(pair.partition("=")[::2] for pair in pairs)
    return {"time": time, "level": level.lower(), "logger": logger, "message": message, **fields}


def told(world: World, since: int = 0) -> list[Line]:
    return [fields_of(line) for line in log_of(world)[since:].splitlines() if not line.startswith("    | ")]


def as_text(line: Line) -> str:
    pairs = (
        f"{name}={value}"
        for name, value in line.items()
        if name not in {"time", "level", "logger", "message"}
    )
    return " ".join([line["message"], *pairs])


def with_names(text: str, names: dict[str, str]) -> str:
    """Replace ids, which differ each time, by their names."""
    for value, name in names.items():
        text = text.replace(value, name)
    for field, name in {"seconds": "SECONDS", "log_id": "LOG"}.items():
        text = re.sub(rf"(?<= ){field}=\S+", f"{field}={name}", text)
    return text


async def ask_once(world: World) -> None:
    """Let the person consent to something, so that the next refusal is the platform's."""
    asked = await world.say(world.sam, "/doc welcome")
    await world.consent(world.sam, await world.card_for(world.sam, "docx:document:readonly"))
    await world.answer_to(asked)
    await world.card_for(world.sam, "Authorized")
    await world.drawn()
    await world.until(
        lambda: "kind=answer" in log_of(world) or '"kind": "answer"' in log_of(world), "the log"
    )


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_the_loop_reads_like_the_story_that_it_is(world: World, log_format: str):
    await world.start(BOT_LOG_LEVEL="info", BOT_LOG_FORMAT=log_format)
    await ask_once(world)
    since = len(log_of(world))
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    await world.drawn()
    await world.consent(world.sam, card)
    answer = await world.answer_to(asked)
    await world.card_for(world.sam, "Authorized")
    await world.drawn()
    assert await world.stop() == 0
    call = world.only("deferred_calls", message_id=asked)
    sent = world.only("outgoing_messages", message_id=answer.message_id)
    names = {
        call["id"]: "CALL",
        asked: "MESSAGE",
        world.only("events", message_id=asked)["event_id"]: "EVENT",
        call["user_key"]: "USER",
        call["request_id"]: "REQUEST",
        card.message_id: "CARD",
        sent["id"]: "OUTGOING",
        world.only("authorization_attempts", request_id=call["request_id"])["id"]: "OPENING",
        answer.message_id: "ANSWER",
    }
    lines = [with_names(as_text(line), names) for line in told(world, since) if line["logger"] == "bot"]
    *story, left = lines
    assert left.startswith("replica left replica=")
    # The card and the answer are sent at the same time.
    assert sorted(story, key=LOOP.index) == LOOP
    without_card, expected = (
        [each for each in some if "face=authorized" not in each] for some in (story, LOOP)
    )
    assert without_card == expected


STORY = {
    "event accepted",
    "call started",
    "refused by the platform",
    "call suspended",
    "card shown",
    "link opened",
    "consent ended",
    "call resumed",
    "call ended",
    "message sent",
}


def of_user(lines: Sequence[Line], person: str) -> list[Line]:
    return [line for line in lines if str(line.get("user", "")).endswith(person)]


async def test_each_line_of_a_story_has_its_call_whatever_else_happens(world: World):
    """Two people's stories at once, and another process from the card on: it has suspended neither call."""
    await world.start(BOT_LOG_FORMAT="json")
    people = (world.sam, world.ada)
    asked = {each.open_id: await world.say(each, "/agenda") for each in people}
    cards = [await world.card_for(each, "calendar:calendar") for each in people]
    await world.drawn()
    assert await world.stop() == 0
    await world.start()
    for person, card in zip(people, cards, strict=True):
        await world.consent(person, card, "refuse")
    for person, card in zip(people, cards, strict=True):
        await world.card_for(person, "Declined on the page")
        await world.consent(person, card)
    for person in people:
        await world.answer_to(asked[person.open_id])
        await world.card_for(person, "Authorized")
    await world.drawn()
    assert await world.stop() == 0
    lines = told(world)
    for person in people:
        message = asked[person.open_id]
        call = world.only("deferred_calls", message_id=message)["id"]
        story = [line for line in of_user(lines, person.open_id) if line["message"] in STORY]
        assert {line["message"] for line in story} >= STORY - {"refused by the platform"}
        assert [line["result"] for line in story if line["message"] == "consent ended"] == [
            "denied",
            "granted",
        ]
        opened, ended = (
            [(line["request"], line["authorization_attempt"]) for line in story if line["message"] == message]
            for message in ("link opened", "consent ended")
        )
        assert sorted(opened) == sorted(ended)
        assert {line.get("call") for line in story} == {call}
        assert {line.get("message_id") for line in story} == {message}
        # At level debug, each request to the platform that is made for the call.
        requests = [line for line in lines if line["message"] == "request" and line.get("call") == call]
        assert {"/open-apis/im/v1/messages", "/open-apis/authen/v2/oauth/token"} <= {
            line["path"] for line in requests
        }
        assert any("/calendar/" in line["path"] and line["status"] == 200 for line in requests)
        assert all(line["level"] == "debug" and line["milliseconds"] >= 0 for line in requests)


async def test_a_message_that_cannot_be_marked_as_read_is_told_with_its_call(world: World):
    await world.start(BOT_LOG_FORMAT="json")
    await world.authorized(world.sam)
    body = {"code": 231002, "msg": "No permission to react"}
    refused = await world.trouble({"path": "*/reactions*"}, "status", status=400, body=body)
    slow = await world.trouble({"path": "/open-apis/task"}, "delay", seconds=4)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(refused)
    await world.lift(slow)
    await world.answer_to(asked)
    await world.until(lambda: "reaction not added" in log_of(world), "the line")
    (line,) = (line for line in told(world) if line["message"] == "reaction not added")
    call = world.only("deferred_calls", message_id=asked)["id"]
    assert (line["call"], line["message_id"], line["level"]) == (call, asked, "info")


async def test_a_click_has_the_call_of_its_card_and_the_message_of_that(world: World):
    """The card is another message. Another process than the one that suspended the call accepts the click."""
    await world.start(BOT_LOG_FORMAT="json")
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    await world.drawn()
    assert await world.stop() == 0
    await world.start()
    await world.not_now(world.sam, card)
    await world.until(lambda: world.count("deferred_calls", message_id=asked, status="cancelled"), "the end")
    call = world.only("deferred_calls", message_id=asked)["id"]
    (clicked,) = (line for line in told(world) if line.get("kind") == "click")
    assert clicked["user"].endswith(world.sam.open_id)
    assert [clicked[name] for name in ("call", "message_id", "card", "action")] == [
        call,
        asked,
        card.message_id,
        "not_now",
    ]


WAITING_FOR_ADMINISTRATORS = "SELECT calls, users, commands FROM waiting_for_administrators"


async def test_what_waits_for_an_administrator_still_does_while_the_platform_is_away(world: World):
    """The list contradicts the refusal, so the bot tries again by itself: each time is told, but not in an outage."""
    await world.start()
    await world.authorized(world.sam)
    body = {
        "code": 99991672,
        "msg": "Access denied. One of the following scopes is required: [task:task:read]",
    }
    refusing = await world.trouble({"path": "/open-apis/task"}, "status", status=400, body=body)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "administrator")
    waiting = world.rows(WAITING_FOR_ADMINISTRATORS)
    assert waiting == [{"calls": 1, "users": 1, "commands": "tasks"}]
    away = await world.trouble({"path": "/"}, "drop_before")
    await world.until(lambda: "the platform cannot be reached" in log_of(world), "the outage")
    for _ in range(60):  # longer than the first pauses
        await asyncio.sleep(0.2)
        assert world.rows(WAITING_FOR_ADMINISTRATORS) == waiting
    await world.lift(refusing, away)
    assert len(await world.answers_to(asked, 2, patience=40)) == 2
    call = world.only("deferred_calls", message_id=asked)["id"]
    retried = [line for line in told(world) if line["message"] == "call retried"]
    assert {
        (line["call"], line["message_id"], line["command"], line["waits_for"], line["level"])
        for line in retried
    } == {(call, asked, "tasks", "administrator", "info")}
    # Just after the outage, a first look at the list may still fail.
    reasons = {line["reason"] for line in retried}
    assert reasons <= {"the list shows its scopes", "the list of scopes cannot be read"}


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("trace", "request_id", "kept"),
    [
        (TRACE, "7b1c2d3e-0000-4444-8888-0123456789ab", (TRACE, "7b1c2d3e-0000-4444-8888-0123456789ab")),
        (TRACE.upper(), "a b", (None, None)),
        ("00-abc-01", "x" * 65, (None, None)),
        (f"{TRACE}-02", "evil\u00a0level=error", (None, None)),
        ("", "01J9ZQ:eu-west/17+3=", (None, "01J9ZQ:eu-west/17+3=")),
    ],
)
async def test_what_the_proxy_calls_a_request_is_in_the_lines_about_it(
    world: World, trace: str, request_id: str, kept: tuple[str | None, str | None]
):
    """Anyone can send these headers, if the proxy passes them on."""
    await world.start(BOT_LOG_FORMAT="json")
    client = WebhookClient(world)
    event = client.message("/tasks")
    body = client.seal(event)
    headers = {"traceparent": trace, "X-Request-Id": request_id}
    status, _ = await client.post(body, client.sign(body) | headers)
    assert status == 200
    card = await world.card_for(world.sam, "task:task:read")
    assert (await world.get(world.link_of(card), **headers))[0] == 302
    lines = told(world)
    for message in ("event accepted", "link opened"):
        (line,) = (each for each in lines if each["message"] == message)
        assert (line.get("traceparent"), line.get("x_request_id")) == kept
        assert line["call"]
    (started,) = (each for each in lines if each["message"] == "call started")
    assert "traceparent" not in started


WRITTEN = "words-that-nobody-else-reads"


async def test_no_line_has_what_people_wrote(world: World):
    """An id that is part of an API's path is no text: the path is logged, and so is the scope that somebody asks for."""
    await world.start(BOT_LOG_FORMAT="json")
    await ask_once(world)
    for text in (
        WRITTEN,
        f"/search {WRITTEN}",
        f"/authorize {WRITTEN}",
        f"/call GET /open-apis/contact/v3/users?name={WRITTEN}",
        f'/call POST /open-apis/task/v2/tasks {{"summary": "{WRITTEN}"}}',
        f"/help {WRITTEN}",
        f"/{WRITTEN}",
    ):
        asked = await world.say(world.sam, text)
        call = f"SELECT status FROM deferred_calls WHERE message_id = '{asked}'"
        await world.until(lambda call=call: world.rows(call) not in ([], [{"status": "running"}]), "the call")
    await world.drawn()
    assert await world.stop() == 0
    assert WRITTEN not in log_of(world)
    assert "/open-apis/contact/v3/users" in log_of(world)
