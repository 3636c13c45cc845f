"""What the log tells of a story, through the real program: a line for each thing that ended, with the ids of the story."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from .world import World

Line = dict[str, Any]

LOOP = """
event accepted kind=message command=tasks chat=direct call=CALL message_id=MESSAGE event=EVENT user=USER
call started command=tasks call=CALL message_id=MESSAGE user=USER
refused by the platform method=GET path=/open-apis/task/v2/tasks attempt=1 reason=insufficient scope \
scopes=task:task:read,task:task:write log_id=LOG call=CALL message_id=MESSAGE user=USER
call suspended command=tasks waits_for=authorization needs=task:task:read,task:task:write request=REQUEST \
call=CALL message_id=MESSAGE user=USER
card shown face=waiting scopes=offline_access,task:task:read request=REQUEST card=CARD \
call=CALL message_id=MESSAGE user=USER
link opened request=REQUEST attempt=ATTEMPT call=CALL message_id=MESSAGE user=USER
consent ended result=granted gained=task:task:read call=CALL message_id=MESSAGE user=USER
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
    for field, name in {"seconds": "SECONDS", "log_id": "LOG", "attempt": "ATTEMPT"}.items():
        text = re.sub(rf"(?<= ){field}=(?!1\b)\S+", f"{field}={name}", text)
    return text


async def ask_once(world: World) -> None:
    """Let the person consent to something, so that the next refusal is the platform's."""
    asked = await world.say(world.sam, "/doc welcome")
    await world.consent(world.sam, await world.card_for(world.sam, "docx:document:readonly"))
    await world.answer_to(asked)
    await world.card_for(world.sam, "Authorized")
    await world.drawn()
    await world.until(lambda: "kind=answer" in log_of(world) or '"kind": "answer"' in log_of(world), "the log")


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_the_loop_reads_like_the_story_that_it_is(world: World, log_format: str):
    await world.start(BOT_LOG_LEVEL="info", BOT_LOG_FORMAT=log_format)
    await ask_once(world)
    since = len(log_of(world))
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
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
