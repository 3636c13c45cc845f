"""Every message has a visible sign within two seconds: an answer, a card or a reaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bot.sandbox.lark.tenant import Chat, Message, ScopeSwitch

from .card_content import text_of
from .world import PATIENCE, World

TYPING = "Typing"
IN_TIME = 2.0


def signs(world: World, message: str) -> list[str]:
    """What is on a message, or says something to it."""
    replies = [
        text_of(m.content)
        for m in world.tenant.messages.values()
        if m.reply_to == message and m.sender_type == "bot"
    ]
    return [r.emoji_type for r in world.tenant.messages[message].reactions] + replies


def marked(world: World, message: str) -> bool:
    return TYPING in [r.emoji_type for r in world.tenant.messages[message].reactions]


async def until_seen(world: World, message: str, seen: Callable[[], Any]) -> None:
    """Waits for a sign, and sees that it came within two seconds of the message, by the platform's clock."""
    sent_at = world.tenant.messages[message].created_at
    await world.until(seen, "a sign")
    changes = [
        c
        for c in world.tenant.feed.changes
        if (c.kind == "reaction" and c.data["message"]["message_id"] == message)
        or (c.kind == "message" and c.data["message"]["reply_to"] == message)
    ]
    assert changes[0].at - sent_at < IN_TIME * 1000


def comes_at_once(world: World, asked: str, answer: Message) -> bool:
    """Whether the answer came well before the bot reacts to a message without one. A busy machine may take longer."""
    return answer.created_at - world.tenant.messages[asked].created_at < 700


async def unmarked(world: World, *messages: str) -> None:
    await world.until(lambda: not any(marked(world, each) for each in messages), "the marks to go")
    await world.until(lambda: not world.count("message_reactions"), "their rows to go")


def without_reactions(world: World) -> None:
    world.tenant.app.scopes["im:message.reactions:write_only"] = ScopeSwitch()


SLOW = {
    "/tasks": "/open-apis/task/",
    "/doc welcome": "/open-apis/docx/",
    "/me": "/open-apis/authen/v1/user_info",
}


@pytest.mark.parametrize("where", ["direct", "group"])
@pytest.mark.parametrize("said", SLOW)
async def test_a_slow_call_is_marked_until_its_answer_is_there(world: World, said: str, where: str):
    await world.start()
    await world.authorized(world.sam, said)
    slow = await world.trouble({"path": SLOW[said]}, "delay", seconds=60)
    chat: Chat | None = world.group if where == "group" else None
    asked = await world.say(world.sam, said, chat)
    await until_seen(world, asked, lambda: marked(world, asked))
    await world.lift(slow)
    if where == "group" and said == "/tasks":
        await world.shown_alone(world.sam, asked)
    else:
        await world.answer_to(asked)
    await unmarked(world, asked)
    # What is over is not marked again.
    assert [c.data["added"] for c in world.tenant.feed.changes_after(0, "reaction")] == [True, False]


async def test_what_is_answered_at_once_costs_no_reaction(world: World):
    await world.start()
    await world.authorized(world.sam)
    # A chat takes five messages a second: what it holds up is not answered at once.
    at_once = set()
    for person, said in (
        (world.sam, "/tasks"),
        (world.ada, "/help"),
        (world.ada, "/permissions"),
        (world.wei, "what is this?"),
    ):
        asked = await world.say(person, said)
        if comes_at_once(world, asked, await world.answer_to(asked)):
            at_once.add(asked)
    assert at_once
    last = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, last)
    await world.drawn()
    # The card right below it is a sign, too; a message that has none is marked by now.
    late = await world.say(world.sam, "/doc welcome")
    await world.until(lambda: marked(world, late), "a mark")
    if comes_at_once(world, last, card):
        at_once.add(last)
    reacted = {c.data["message"]["message_id"] for c in world.tenant.feed.changes_after(0, "reaction")}
    assert late in reacted
    assert not reacted & at_once
    await world.consent(world.sam, card)
    await unmarked(world, late)


async def test_each_message_below_an_open_card_is_marked_until_it_is_answered(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    await world.drawn()
    below = [
        await world.say(world.sam, said)
        for said in ("/doc welcome", "/agenda week", "/tasks", "/task Sweep the yard", "/search garden")
    ]
    for each in below:
        await until_seen(world, each, lambda each=each: marked(world, each))
    await world.consent(world.sam, card)
    for each in (first, *below):
        await world.answer_to(each)
    await unmarked(world, *below)
    assert not marked(world, first)


async def test_each_message_behind_a_running_call_is_marked_until_it_is_answered(world: World):
    await world.start()
    await world.authorized(world.sam)
    slow = await world.trouble({"path": "/open-apis/task/"}, "delay", seconds=60)
    asked = [await world.say(world.sam, said) for said in ("/tasks", "/permissions", "hello?", "/cancel")]
    for each in asked:
        await until_seen(world, each, lambda each=each: signs(world, each))
    await world.lift(slow)
    for each in asked:
        await world.answer_to(each)
    await unmarked(world, *asked)


@pytest.mark.parametrize("how", ["not_now", "/cancel", "expired"])
async def test_a_reaction_is_removed_when_its_call_is_cancelled(world: World, how: str):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    await world.drawn()
    second = await world.say(world.sam, "/tasks")
    await world.until(lambda: marked(world, second), "the mark")
    if how == "not_now":
        await world.click(world.sam, card, how)
    elif how == "expired":
        await world.expires(card)
    else:
        await world.say(world.sam, how)
    if how == "/cancel":  # of the others the card says so itself
        await world.answer_to(second, patience=40)
    await unmarked(world, second)


# --- without reactions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", SLOW)
async def test_an_app_that_may_not_react_says_a_word_and_does_not_try_with_each_message(
    world: World, said: str
):
    without_reactions(world)
    await world.start()
    await world.authorized(world.sam, said)
    slow = await world.trouble({"path": SLOW[said]}, "delay", seconds=60)
    for _ in range(2):
        asked = await world.say(world.sam, said)
        await until_seen(world, asked, lambda asked=asked: signs(world, asked))
        await world.answer_to(asked, "working on it")
    await world.lift(slow)
    await world.answer_to(asked)
    assert len(world.requests("/reactions")) == 1, "remembered"
    assert "ERROR" not in world.log_tail()


async def test_without_reactions_each_message_below_an_open_card_is_told_where_that_is(world: World):
    without_reactions(world)
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    await world.drawn()
    below = [await world.say(world.sam, said) for said in ("/doc welcome", "/agenda week", "/tasks")]
    for each in below:
        await until_seen(world, each, lambda each=each: signs(world, each))
        await world.answer_to(each, "the card above")
    await world.consent(world.sam, card)
    for each in below:
        await world.answer_to(each)


@pytest.mark.parametrize("code", [231002, 231008, 230027, 99991400])
async def test_a_reaction_that_is_refused_is_no_error_and_a_word_takes_its_place(world: World, code: int):
    await world.start()
    await world.authorized(world.sam)
    await world.trouble(
        {"path": "/open-apis/im/v1/messages/*/reactions"},
        "status",
        status=400,
        body={"code": code, "msg": ""},
    )
    slow = await world.trouble({"path": "/open-apis/task/"}, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await until_seen(world, asked, lambda: signs(world, asked))
    await world.lift(slow)
    await world.answer_to(asked, "open tasks")
    assert not world.count("message_reactions")
    assert "ERROR" not in world.log_tail()


# --- crashes ------------------------------------------------------------------------------------------------------


async def test_a_mark_that_outlives_the_process_goes_with_the_answer_of_the_next(world: World):
    await world.start()
    await world.authorized(world.sam)
    first = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, first)
    await world.drawn()
    second = await world.say(world.sam, "/agenda")
    await world.until(
        lambda: world.rows("SELECT 1 FROM message_reactions WHERE reaction_id IS NOT NULL"), "it"
    )
    await world.kill()
    await world.start()
    await world.consent(world.sam, card)
    await world.answer_to(second)
    await unmarked(world, second)


async def test_a_mark_that_could_not_be_removed_is_removed_later(world: World):
    await world.start()
    await world.authorized(world.sam)
    slow = await world.trouble({"path": "/open-apis/task/"}, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await world.until(
        lambda: world.rows("SELECT 1 FROM message_reactions WHERE reaction_id IS NOT NULL"), "it"
    )
    away = await world.trouble(
        {"path": "/open-apis/im/v1/messages/*/reactions/*", "method": "DELETE"}, "drop_before"
    )
    await world.lift(slow)
    await world.answer_to(asked, "open tasks")
    await world.struck(away)
    await world.lift()
    world.change("UPDATE message_reactions SET due_at = created_at")
    await unmarked(world, asked)


async def test_what_a_killed_process_had_begun_is_marked_by_the_next(world: World):
    await world.start()
    await world.authorized(world.sam)
    slow = await world.trouble({"path": "/open-apis/task/"}, "delay", seconds=60)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(slow)
    await world.kill()
    assert not marked(world, asked)
    await world.start()
    await world.until(lambda: marked(world, asked), "the mark", PATIENCE + 25)
    await world.lift()
    await world.answer_to(asked, "open tasks")
    await unmarked(world, asked)


# --- the same answer several times ----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["/tasks", "/agenda week", "/doc welcome"])
async def test_identical_reads_that_waited_for_one_consent_are_drawn_once(world: World, said: str):
    await world.start()
    asked = [await world.say(world.sam, said) for _ in range(4)]
    card = await world.fresh_card(world.sam, asked[0])
    await world.until(
        lambda: world.count("deferred_calls", status="suspended") == 4,
        "four waiting",
    )
    await world.consent(world.sam, card)
    same = "Same as my answer above"
    others = [text_of((await world.answer_to(each, same)).content) for each in asked[1:]]
    # On a busy machine each may have got a word before its answer.
    first = max((reply for reply in signs(world, asked[0])), key=len)
    assert same not in first
    assert all(len(other) < len(first) for other in others)
    for each in asked[1:]:
        assert all(len(reply) < len(first) for reply in signs(world, each)), "and nothing else"
    again = await world.say(world.sam, said)
    assert "Same as" not in text_of((await world.answer_to(again)).content), (
        "a new question has an answer of its own"
    )


async def test_reads_that_differ_in_what_they_ask_or_find_are_drawn_whole(world: World):
    await world.start()
    said = ("/tasks", "/agenda week", "/task Paint the fence", "/tasks", "/agenda today")
    asked = []
    for each in said:
        asked.append(await world.say(world.sam, each))
    card = await world.fresh_card(world.sam, asked[0])
    await world.until(lambda: world.count("deferred_calls", status="suspended") == 5, "all waiting")
    await world.consent(world.sam, card)
    for each in asked:
        assert "Same as" not in text_of((await world.answer_to(each)).content)
    assert "Paint the fence" in text_of((await world.answer_to(asked[3])).content)


@pytest.mark.parametrize("said", ["/tasks", "/agenda week", "/doc welcome"])
async def test_an_answer_is_not_called_the_same_as_one_that_never_came(world: World, said: str):
    await world.start()
    asked = [await world.say(world.sam, said) for _ in range(3)]
    card = await world.fresh_card(world.sam, asked[0])
    await world.until(
        lambda: world.count("deferred_calls", status="suspended") == 3,
        "three waiting",
    )
    first = {"path": f"/open-apis/im/v1/messages/{asked[0]}/reply"}
    await world.trouble(first, "status", status=400, body={"code": 230028, "msg": "no"}, times=1)
    api = {"/tasks": "task", "/agenda week": "calendar", "/doc welcome": "docx"}[said]
    await world.trouble({"path": f"/open-apis/{api}/"}, "delay", seconds=0.7)
    await world.consent(world.sam, card)
    await world.answer_to(asked[0], "doesn't let me send it")
    second, third = [await last_sign(world, each) for each in asked[1:]]
    assert "Same as" not in second
    assert "Same as my answer above" in third
    assert len(third) < len(second)


async def last_sign(world: World, asked: str) -> str:
    """What the person read last below a question that is answered."""
    sent = "SELECT 1 FROM outgoing_messages m JOIN deferred_calls c ON c.id = m.call_id "
    sent += "WHERE c.message_id = ? AND m.kind = 'answer' AND m.status = 'sent'"
    await world.until(lambda: world.rows(sent, asked), "the answer")
    return signs(world, asked)[-1]
