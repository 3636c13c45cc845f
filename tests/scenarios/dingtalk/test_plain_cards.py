"""Cards without buttons that send something back: what people do instead, in words."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.scenarios.card_content import text_of
from tests.scenarios.dingtalk.conftest import DingTalkWorld, buttons_of

HOUR = 3600


def titles(world: DingTalkWorld) -> list[str]:
    return [todo["subject"] for todo in world.tenant.work.todos.values()]


async def authorized(world: DingTalkWorld, person: Any, command: str = "/task first") -> None:
    asked = await world.say(person, command)
    await world.authorize_in_client(person, await world.fresh_card(person, asked))
    await world.told(person, "Task created", asked)


async def asked_late(
    world: DingTalkWorld, person: Any, command: str, chat: Any = None, hours: float = 2
) -> str:
    """Send a message that arrives hours later, and wait for the question whether it is still wanted."""
    message = await world.say(person, command, chat, age=hours * HOUR)
    await world.told(person, "Still want this?", message)
    return message


# --- an old write --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "title", "chat", "answer"),
    [
        ("/task Pay the invoice", "Pay the invoice", "direct", "/confirm"),
        ("/task 交报告", "交报告", "direct", "confirm"),
        ("/task Call the bank", "Call the bank", "group", "/Confirm "),
        ("/call POST {path} {body}", "By any API", "direct", "／confirm"),
    ],
)
async def test_an_old_write_is_confirmed_in_words(
    world: DingTalkWorld, cards: str, command: str, title: str, chat: str, answer: str
):
    await world.start()
    await authorized(world, world.sam)
    body = json.dumps({"subject": "By any API", "executorIds": [world.sam.union_id]})
    command = command.replace("{path}", "/v1.0/todo/users/me/personalTasks").replace("{body}", body)
    if "/call" in command:
        await authorized_for_any_api(world)
    where = world.group if chat == "group" else None
    asked = await world.say(world.sam, command, where, age=2 * HOUR)
    question = await world.until(
        lambda: next(
            (m for m in world.from_bot(world.direct(world.sam), asked) if title in text_of(m.content)), None
        ),
        "the question",
    )
    assert title not in titles(world)
    if cards == "plain cards":
        assert "/confirm" in text_of(question.content)
    said = await world.say(world.sam, answer)
    await world.until(lambda: title in titles(world), "the write")
    await world.until(
        lambda: any(
            "running" in text_of(m.content) or "执行" in text_of(m.content)
            for m in world.from_bot(world.direct(world.sam), said)
        )
    )
    assert titles(world).count(title) == 1
    again = await world.say(world.sam, "/confirm")
    await world.told(world.sam, "Nothing is waiting", again)
    assert titles(world).count(title) == 1


async def authorized_for_any_api(world: DingTalkWorld) -> None:
    asked = await world.say(world.sam, "/authorize Todo.PersonalTodo.Write")
    await world.authorize_in_client(world.sam, await world.fresh_card(world.sam, asked))
    await world.told(world.sam, "Authorized", asked)


@pytest.mark.parametrize("answer", ["/cancel", "/revoke"])
async def test_an_old_write_is_dropped_in_words(world: DingTalkWorld, answer: str):
    await world.start()
    await authorized(world, world.sam)
    await asked_late(world, world.sam, "/task Pay the invoice")
    said = await world.say(world.sam, answer)
    await world.told(world.sam, "Cancelled: /task", said)
    after = await world.say(world.sam, "/confirm")
    await world.told(world.sam, "Nothing is waiting", after)
    assert "Pay the invoice" not in titles(world)


async def test_only_the_asker_can_confirm(world: DingTalkWorld):
    await world.start()
    await authorized(world, world.sam)
    await authorized(world, world.ada, "/task hers")
    await asked_late(world, world.sam, "/task Pay the invoice")
    (row,) = world.rows("SELECT id FROM deferred_calls WHERE waits_for = 'confirmation'")
    for words in ("/confirm", f"/confirm {row['id'][-4:]}", f"/confirm {row['id']}"):
        said = await world.say(world.ada, words)
        await world.told(world.ada, "Nothing is waiting", said)
    niko = next(p for p in world.tenant.people.values() if p.corp_id != world.tenant.app.corp_id)
    await world.say(niko, "/confirm")
    await world.told(niko, "Not available in your organization")
    assert world.count("deferred_calls", waits_for="confirmation") == 1
    assert "Pay the invoice" not in titles(world)


async def test_of_several_old_writes_the_one_that_is_named_runs(world: DingTalkWorld):
    await world.start()
    await authorized(world, world.sam)
    for title in ("One", "Two", "Three"):
        await asked_late(world, world.sam, f"/task {title}")
    choice = await world.told(world.sam, "Which one should I run?", await world.say(world.sam, "/confirm"))
    codes = dict(re.findall(r"/confirm (\w+)\*\* – /task (\w+)", text_of(choice.content)))
    codes = {title: code for code, title in codes.items()}
    assert set(codes) == {"One", "Two", "Three"}
    for wrong in ("/confirm zzzz", "/confirm all", f"/confirm {codes['One']}{codes['Two']}"):
        await world.told(world.sam, "Which one should I run?", await world.say(world.sam, wrong))
    said = await world.say(world.sam, f"/confirm {codes['Two'].upper()}")
    await world.told(world.sam, "OK, running /task Two", said)
    await world.until(lambda: "Two" in titles(world), "the write")
    await world.told(world.sam, "Which one", await world.say(world.sam, "/confirm"))
    await world.told(world.sam, "Cancelled: /task", await world.say(world.sam, "/cancel"))
    assert not {"One", "Three"} & set(titles(world))


async def test_a_confirmation_that_is_older_than_the_write_does_not_count(world: DingTalkWorld):
    """Both messages were delivered late, in the order in which they were sent."""
    await world.start()
    await authorized(world, world.sam)
    await asked_late(world, world.sam, "/task Pay the invoice", hours=2)
    said = await world.say(world.sam, "/confirm", age=3 * HOUR)
    await world.told(world.sam, "Nothing is waiting", said)
    assert "Pay the invoice" not in titles(world)


# --- the administrator -----------------------------------------------------------------------------------


async def waiting_for_administrator(world: DingTalkWorld, person: Any, command: str, scope: str) -> str:
    """Ask for something whose scope the app lacks, and consent to it in a browser. Returns the message."""
    await world.control("app-scopes", scope=scope, user=False)
    asked = await world.say(person, command)
    await world.consent(person, await world.fresh_card(person, asked))
    await world.told(person, "Waiting for your administrator", asked, patience=25)
    return asked


@pytest.mark.parametrize(
    ("command", "scope", "answer"),
    [
        ("/task Water the plants", "Todo.Todo.Write", "Task created"),
        ("/tasks", "Todo.Todo.Read", "Sketch the launch page"),
        ("/agenda week", "Calendar.Event.Read", "Design critique"),
    ],
)
async def test_after_the_administrators_check_the_user_is_asked_once_more(
    world: DingTalkWorld, cards: str, command: str, scope: str, answer: str
):
    await world.start()
    asked = await waiting_for_administrator(world, world.sam, command, scope)
    told = await world.told(world.ada, scope)
    assert "Sam Rivera" in text_of(told.content)
    assert world.sam.user_id not in text_of(told.content)
    await world.control("app-scopes", scope=scope, user=True)
    if cards == "plain cards":
        assert "/check" in text_of(told.content)
        said = await world.say(world.ada, "/check")
        await world.told(world.ada, "trying again", said)
    else:
        await world.click(world.ada, told, "check_again")
    card = await world.card_for(world.sam, "An administrator has enabled", patience=25)
    assert scope in text_of(card.content)
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, answer, asked)
    assert world.statuses("scope_waits") == ["enabled"]
    (row,) = world.rows("SELECT status, consents FROM deferred_calls WHERE command <> 'check'")
    assert row == {"status": "succeeded", "consents": 2}


async def test_a_check_counts_though_the_call_is_just_being_tried_again(world: DingTalkWorld):
    await world.start()
    await waiting_for_administrator(world, world.sam, "/tasks", "Todo.Todo.Read")
    retried = await world.trouble({"path": "/v1.0/todo"}, "delay_after", times=1, seconds=0.15)
    await world.struck(retried)
    await world.control("app-scopes", scope="Todo.Todo.Read", user=True)
    said = await world.say(world.ada, "/check")
    await world.told(world.ada, "trying again", said)
    await world.card_for(world.sam, "An administrator has enabled", patience=25)


async def test_a_check_that_nobody_but_an_administrator_makes(world: DingTalkWorld):
    await world.start()
    await waiting_for_administrator(world, world.sam, "/tasks", "Todo.Todo.Read")
    await world.control("app-scopes", scope="Todo.Todo.Read", user=True)
    for person, words in ((world.sam, "Only an administrator"), (world.wei, "仅管理员")):
        said = await world.say(person, "/check")
        await world.told(person, words, said)
    assert world.statuses("scope_waits") == ["waiting"]
    # It is tried again from time to time.
    await world.until(lambda: world.count("deferred_calls", waits_for="administrator") == 1, "the wait")


async def test_a_check_before_anything_was_enabled_asks_at_most_three_times(world: DingTalkWorld):
    await world.start()
    asked = await waiting_for_administrator(world, world.sam, "/tasks", "Todo.Todo.Read")
    for consents in (2, 3):
        said = await world.say(world.ada, "/check")
        card = await world.fresh_card(world.sam, said)
        assert "An administrator has enabled" in text_of(card.content)
        await world.consent(world.sam, card)
        await world.until(
            lambda consents=consents: world.rows(
                f"SELECT 1 FROM deferred_calls WHERE waits_for = 'administrator' AND consents = {consents}"
            ),
            "the wait for the administrator",
            25,
        )
    said = await world.say(world.ada, "/check")
    await world.told(world.ada, "trying again", said)
    await world.until(
        lambda: world.rows("SELECT 1 FROM deferred_calls WHERE waits_for = 'administrator'"), "the wait", 25
    )
    cards_sent = [m for m in world.from_bot(world.direct(world.sam), asked) if m.content.get("singleURL")]
    assert len(cards_sent) == 3
    await world.control("app-scopes", scope="Todo.Todo.Read", user=True)
    again = await world.say(world.sam, "/tasks")
    await world.authorize_in_client(world.sam, await world.fresh_card(world.sam, again))
    await world.told(world.sam, "Sketch the launch page", again)


async def test_what_works_by_itself_settles_the_wait(world: DingTalkWorld, cards: str):
    """Somebody else's call shows that the scope is enabled, though no administrator said so."""
    world.tenant.behaviour.refused_scopes = ["Todo.Todo.Read"]
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    told = await world.told(world.ada, "Todo.Todo.Read", patience=25)
    world.tenant.behaviour.refused_scopes = []
    await world.told(world.sam, "Sketch the launch page", asked, patience=30)
    await world.until(lambda: world.statuses("scope_waits") == ["enabled"], "the wait to end", 30)
    if cards == "interactive cards":
        await world.until(lambda: "Enabled" in text_of(told.content), "the card that says so")


# --- one answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["/task Milk", "/tasks", "/agenda"])
@pytest.mark.parametrize("chat", ["direct", "group"])
async def test_cancel_answers_once(world: DingTalkWorld, cards: str, command: str, chat: str):
    await world.start()
    where = world.group if chat == "group" else None
    asked = await world.say(world.sam, command, where)
    await world.fresh_card(world.sam, asked)
    await world.drawn()
    if where:
        # It is sent after the card was recorded as drawn, so it may still be on its way.
        await world.said(world.group, "I've sent you a card in our direct chat", asked)
    said = await world.say(world.sam, "/cancel")
    name = command.split(maxsplit=1)[0]
    await world.told(world.sam, f"Cancelled: {name}", said)
    await world.drawn()
    last = await world.say(world.sam, "/help")
    await world.answer_to(last)
    answers = [
        text_of(m.content) for m in world.from_bot(world.direct(world.sam), said) if m.reply_to != last
    ]
    assert len(answers) == 1, answers
    assert world.from_bot(world.group, said) == []
    assert len(world.from_bot(world.group, asked)) == (1 if where else 0), "where the card is, said once"


async def test_cancel_names_all_that_it_dropped(world: DingTalkWorld):
    await world.start()
    for command in ("/tasks", "/task One", "/agenda"):
        await world.say(world.sam, command)
    await world.until(lambda: world.count("deferred_calls", status="suspended") == 3)
    await world.drawn()
    said = await world.say(world.sam, "/cancel")
    answer = await world.told(world.sam, "Cancelled", said)
    assert all(name in text_of(answer.content) for name in ("/tasks", "/task", "/agenda"))
    await world.answer_to(last := await world.say(world.sam, "/help"))
    answers = [
        text_of(m.content) for m in world.from_bot(world.direct(world.sam), said) if m.reply_to != last
    ]
    assert len(answers) == 1, answers


# --- nothing twice -----------------------------------------------------------------------------------------


TRIED_AGAIN = "SELECT 1 FROM deferred_calls WHERE waits_for = 'administrator' AND attempts >= 5"


@pytest.mark.parametrize("others", [0, 1, 2])
async def test_an_administrator_reads_of_each_user_once(world: DingTalkWorld, others: int):
    """The calls are tried again meanwhile, and each time are refused."""
    world.tenant.behaviour.refused_scopes = ["Todo.Todo.Read"]
    await world.start()
    people = [world.sam, world.wei, world.ada][: others + 1]
    for person in people:
        asked = await world.say(person, "/tasks")
        await world.authorize_in_client(person, await world.fresh_card(person, asked))
        n = people.index(person) + 1
        await world.until(lambda n=n: len(world.rows(TRIED_AGAIN)) == n, "a retry", 60)
    told = [
        text_of(m.content)
        for m in world.from_bot(world.direct(world.ada))
        if "Permission to enable" in text_of(m.content)
    ]
    assert len(told) == len(set(told)) == len(people), told


@pytest.mark.parametrize(
    ("first", "second"),
    [("/tasks", "/task Milk"), ("/me", "/agenda"), ("/agenda", "/authorize Todo.Todo.Read")],
)
async def test_a_card_that_is_sent_again_needs_no_word_about_it(
    world: DingTalkWorld, first: str, second: str
):
    await world.start()
    asked = await world.say(world.sam, first)
    await world.fresh_card(world.sam, asked)
    await world.drawn()
    again = await world.say(world.sam, second)
    card = await world.fresh_card(world.sam, again)
    assert first in text_of(card.content)
    acknowledged_by = datetime.now(UTC) + timedelta(seconds=3)
    await world.until(lambda: datetime.now(UTC) > acknowledged_by, "the time for a word")
    said = [text_of(m.content) for m in world.from_bot(world.direct(world.sam), again)]
    assert len(said) == 1, said


@pytest.mark.parametrize("way", ["in the client", "in a browser"])
async def test_a_page_sends_nobody_to_a_button_that_their_card_lacks(
    world: DingTalkWorld, cards: str, way: str
):
    """The page is the same whichever card it was opened from, so it leaves open whether there is the button."""
    await world.start()
    await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    has_button = "Not now" in [each["text"] for each in buttons_of(card)]
    assert has_button == (cards == "interactive cards")
    if way == "in the client":
        _, page = await world.authorize_in_client(world.sam, card, "cancel")
        said = json.dumps(page, ensure_ascii=False)
    else:
        _, said = await world.consent(world.sam, card, "refuse")
    assert "choose “Not now” on the card (if it has that button) or send /cancel" in said, said
    assert said.count("Not now") == 1
    said = await world.say(world.sam, "/cancel")
    await world.told(world.sam, "Cancelled: /me", said)
