"""Messages that are delivered late or handled late: what they ask for counts from when it was asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from bot.sandbox.lark.tenant import Chat, Message, Person

from .card_content import actions_on, text_of
from .world import World

TASKS = "/open-apis/task/v2/tasks"
HOUR = 3600


def creations(world: World) -> int:
    """How many tasks were created. An attempt that was refused for lack of a scope created none."""
    return sum(request["status"] == 200 for request in world.requests(TASKS, "POST"))


async def confirmation_for(world: World, person: Person, asked: str, patience: float = 15) -> Message:
    """The card that asks whether a late write is still wanted."""

    def found() -> Message | None:
        cards = world.from_bot(world.direct(person), asked)
        return next((card for card in cards if "confirm" in actions_on(card)), None)

    card: Message = await world.until(found, "the question whether it is still wanted", patience)
    return card


@pytest.mark.parametrize("hours", [1.1, 5, 7.5])
@pytest.mark.parametrize("chat", ["direct", "group"])
async def test_a_write_that_arrives_late_is_confirmed_before_it_is_made(
    world: World, hours: float, chat: str
):
    await world.start()
    await world.authorized(world.sam, "/task first")
    where: Chat | None = world.group if chat == "group" else None
    for said in ("/task Pay the invoice", f'/call POST {TASKS} {{"summary": "Pay the invoice"}}'):
        before = creations(world)
        asked = await world.say(world.sam, said, where, age=hours * HOUR)
        card = await confirmation_for(world, world.sam, asked)
        assert "Pay the invoice" in text_of(card.content)
        assert creations(world) == before
        await world.click(world.sam, card, "confirm")
        await world.until(lambda before=before: creations(world) > before, "the task")
        asked = await world.say(world.sam, said, where, age=hours * HOUR)
        await world.click(world.sam, await confirmation_for(world, world.sam, asked), "discard")
        if where is None:
            await world.answer_to(asked, "cancelled")
        else:
            await world.shown_alone(world.sam, asked, "cancelled")
        assert creations(world) == before + 1


async def test_a_write_that_lacks_its_scope_as_well_is_asked_for_and_confirmed(world: World):
    await world.start()
    asked = await world.say(world.sam, "/task Pay the invoice", age=5 * HOUR)
    await world.consent(world.sam, await world.card_for(world.sam, "task:task:write"))
    await world.click(world.sam, await confirmation_for(world, world.sam, asked), "confirm")
    await world.answer_to(asked, "Task created")
    assert creations(world) == 1


async def test_a_write_that_grows_old_while_the_platform_is_busy_is_confirmed(world: World):
    """It was asked for within the hour when it was first tried, and not when it could be made."""
    await world.start()
    await world.authorized(world.sam, "/task first")
    busy = await world.trouble({"path": TASKS}, "rate_limit", reset=8)
    asked = await world.say(world.sam, "/task Pay the invoice", age=HOUR - 6)
    await world.struck(busy)
    await world.lift(busy)
    assert creations(world) == 1
    await world.click(world.sam, await confirmation_for(world, world.sam, asked), "confirm")
    await world.answer_to(asked, "Task created")
    assert creations(world) == 2


async def test_a_write_that_waited_through_an_outage_of_the_bot_is_confirmed(world: World):
    """It was kept before the bot died, and the bot came back after more than an hour had gone by since the asking."""
    await world.start()
    await world.authorized(world.sam, "/task first")
    slow = await world.trouble({"path": "/open-apis/authen/v1/user_info"}, "delay", seconds=30)
    await world.say(world.sam, "/me")
    await world.struck(slow)
    asked = await world.say(world.sam, "/task Pay the invoice", age=HOUR - 4)
    await world.until(lambda: world.count("deferred_calls", message_id=asked), "its row")
    await world.kill()
    await world.lift(slow)
    asked_at = datetime.now(UTC) - timedelta(seconds=HOUR - 4)
    await world.until(
        lambda: datetime.now(UTC) - asked_at > timedelta(seconds=HOUR + 1), "the hour to be over"
    )
    await world.start()
    card = await confirmation_for(world, world.sam, asked, patience=40)
    await world.click(world.sam, card, "confirm")
    await world.answer_to(asked, "Task created")
    assert creations(world) == 2


async def test_a_late_read_is_answered_as_long_as_it_may_wait(world: World):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    for said in ("/tasks", "/me", f"/call GET {TASKS}"):
        await world.answer_to(await world.say(world.sam, said, age=7 * HOUR))
    assert not world.count("deferred_calls", status="expired")


def as_user(world: World) -> list[str]:
    """The calls that were made in a person's name."""
    return [
        each["path"] for each in world.requests("/open-apis/") if (each["identity"] or "").startswith("ou_")
    ]


@pytest.mark.parametrize("age", [2 * HOUR, 7 * HOUR, 40 * 24 * HOUR])
async def test_what_is_older_than_the_time_for_which_a_call_waits_is_not_done(world: World, age: float):
    await world.start(BOT_DEFERRED_TTL=str(HOUR))
    await world.authorized(world.sam, "/tasks")
    before = len(as_user(world))
    for said in ("/tasks", "/me", "/agenda tomorrow", f"/call GET {TASKS}", "/task Pay the invoice"):
        asked = await world.say(world.sam, said, age=age)
        word = await world.answer_to(asked, "couldn't get to")
        assert world.status_of(asked) == "expired"
    assert len(as_user(world)) == before
    assert not creations(world)
    # It can be had after all.
    await world.click(world.sam, word, "retry")
    await world.consent(world.sam, await world.card_for(world.sam, "task:task:write"))
    await world.until(lambda: creations(world) == 1, "the task")


async def test_what_helps_and_what_ends_things_is_done_however_late(world: World):
    await world.start(BOT_DEFERRED_TTL=str(HOUR))
    await world.authorized(world.sam, "/tasks")
    await world.answer_to(await world.say(world.sam, "/help", age=7 * HOUR), "/agenda")
    await world.answer_to(await world.say(world.sam, "/cancel", age=7 * HOUR))
    await world.answer_to(await world.say(world.sam, "/revoke", age=7 * HOUR))
    assert world.statuses("grants") == ["ended"]


@pytest.mark.parametrize("ahead", [90, 2 * HOUR, 400 * 24 * HOUR])
async def test_a_time_in_the_future_is_taken_for_now(world: World, ahead: float):
    await world.start()
    await world.authorized(world.sam, "/task first")
    await world.answer_to(await world.say(world.sam, "/task from the future", age=-ahead), "Task created")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    times = world.rows("SELECT asked_at, received_at, expires_at FROM deferred_calls")
    assert all(each["asked_at"] <= each["received_at"] for each in times)
    latest = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
    assert all(each["expires_at"] <= latest for each in times)


# --- edited ---------------------------------------------------------------------------------------------


async def edit(world: World, asked: str, text: str) -> None:
    """What may arrive of an edit: the platform's event about it, and the message once more with its new text."""
    message, now = world.tenant.messages[asked], str(world.tenant.clock.wall_ms())
    first = next(
        each.body["event"]
        for each in world.tenant.events.values()
        if each.event_type == "im.message.receive_v1" and each.body["event"]["message"]["message_id"] == asked
    )
    content = json.dumps({"text": text})
    edited = first["message"] | {"content": content, "update_time": now}
    updated = {"message_id": asked, "chat_id": message.chat_id, "update_time": now, "content": content}
    for event_type, event in (
        ("im.message.updated_v1", {"message": updated, "sender": first["sender"]}),
        ("im.message.receive_v1", first | {"message": edited}),
    ):
        pushed = await world.control("events", event={"event_type": event_type, "event": event})
        assert pushed["acknowledged"], "else it would come again and again"


async def test_an_edit_changes_nothing_and_the_help_says_so(world: World):
    await world.start()
    waiting = await world.say(world.sam, "/task as it was sent")
    card = await world.fresh_card(world.sam, waiting)
    for text in ("/task as it was edited", "/revoke", "never mind"):
        await edit(world, waiting, text)
    await world.consent(world.sam, card)
    await world.answer_to(waiting, "as it was sent")
    await edit(world, waiting, "/task as it was edited afterwards")
    answered = await world.say(world.sam, "hello")
    await world.answer_to(answered)
    await edit(world, answered, "/task out of nothing")
    answer = await world.answer_to(await world.say(world.sam, "/help"))
    for locale, words in (("en_us", "send it again."), ("zh_cn", "请重新发送。")):
        assert text_of(answer.content[locale]["content"][-1]).strip().endswith(words)
    assert creations(world) == 1
    assert world.count("deferred_calls") == 3
