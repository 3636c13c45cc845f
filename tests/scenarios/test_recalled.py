"""A question that was taken back is not answered where others read: what it read is dropped, what it did is told to its
asker alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.sandbox.lark.tenant import Chat, Message, Person

from .card_content import has_link, text_of, without_acknowledgements
from .test_commands_of_others import broken, with_packages
from .world import World

READS = ["/me", "/doc welcome", "/call GET /open-apis/task/v2/tasks"]
KEYED, UNKEYED = "/task Buy milk", '/call POST /open-apis/task/v2/tasks {"summary":"Buy milk"}'


def told(world: World, chat: Chat, since: str, words: str = "") -> list[Message]:
    answers = without_acknowledgements(world.from_bot(chat, since))
    return [m for m in answers if words in text_of(m.content)]


async def held(world: World, person: Person, command: str, chat: Chat | None = None) -> tuple[str, object]:
    """The person has asked, and their call hangs at the platform."""
    fault = await world.trouble({"path": "/open-apis/*", "identity": person.open_id}, "delay", seconds=9)
    asked = await world.say(person, command, chat)
    await world.struck(fault)
    return asked, fault


async def recalled(world: World, asked: str) -> None:
    """The person has taken the question back, and the bot knows."""
    await world.control("recall", message_id=asked)
    await world.until(
        lambda: world.rows(
            "SELECT 1 FROM deferred_calls WHERE recalled_at IS NOT NULL OR outcome = 'recalled'"
        ),
        "the bot to know",
    )


async def settled(world: World) -> dict[str, str]:
    await world.until(lambda: not world.count("deferred_calls", settled_at=None), "the end of the call", 30)
    await world.until(
        lambda: not world.count("outgoing_messages", settled_at=None),
        "all to be sent",
        30,
    )
    (call,) = world.rows("SELECT status, outcome FROM deferred_calls ORDER BY id DESC LIMIT 1")
    return call


async def everything_granted(world: World) -> None:
    """Sam has consented to what the commands here need."""
    asked = await world.say(world.sam, "/authorize task:task:read task:task:write docx:document:readonly")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)


@pytest.mark.parametrize("in_group", [True, False], ids=["group", "direct"])
@pytest.mark.parametrize("command", READS)
async def test_what_was_read_for_a_recalled_question_is_dropped(world: World, command: str, in_group: bool):
    await world.start()
    await everything_granted(world)
    chat = world.group if in_group else world.direct(world.sam)
    asked, _ = await held(world, world.sam, command, chat)
    await recalled(world, asked)
    await world.lift()
    assert await settled(world) == {"status": "cancelled", "outcome": "recalled"}
    assert told(world, world.group, asked) == []
    assert told(world, world.direct(world.sam), asked) == []


@pytest.mark.parametrize("in_group", [True, False], ids=["group", "direct"])
@pytest.mark.parametrize("command", [KEYED, UNKEYED])
async def test_what_a_recalled_question_wrote_is_told_to_its_asker_alone(
    world: World, command: str, in_group: bool
):
    await world.start()
    await everything_granted(world)
    chat = world.group if in_group else world.direct(world.sam)
    asked, _ = await held(world, world.sam, command, chat)
    await recalled(world, asked)
    await world.lift()
    assert (await settled(world))["status"] == "succeeded"
    assert len(told(world, world.direct(world.sam), asked, "Buy milk")) == 1
    assert told(world, world.group, asked) == []
    assert text_of(world.tenant.work.as_json()).splitlines().count("Buy milk") == 1


@pytest.mark.parametrize("kind", ["drop_after", "html"])
async def test_a_recalled_write_whose_outcome_is_unknown_is_told_to_its_asker_alone(world: World, kind: str):
    await world.start()
    await everything_granted(world)
    await world.trouble({"path": "/open-apis/task", "method": "POST"}, kind)
    asked = await world.say(world.sam, KEYED, world.group)
    await world.until(
        lambda: world.rows("SELECT 1 FROM deferred_calls WHERE first_failed_at IS NOT NULL"),
        "the first failure",
    )
    await recalled(world, asked)
    await world.lift()
    assert (await settled(world))["status"] == "succeeded"
    assert len(told(world, world.direct(world.sam), asked, "Buy milk")) == 1
    assert told(world, world.group, asked) == []
    assert text_of(world.tenant.work.as_json()).splitlines().count("Buy milk") == 1


@pytest.mark.parametrize(
    ("command", "comes"), [("/me", False), ("/doc welcome", False), (KEYED, True), (UNKEYED, True)]
)
async def test_a_recall_that_only_the_reply_tells_of_is_kept_to_as_well(
    world: World, command: str, comes: bool
):
    """The event is late, or lost: the platform refuses the reply, for its message was recalled."""
    await world.start()
    await everything_granted(world)
    asked, _ = await held(world, world.sam, command, world.group)
    world.tenant.recall_message(world.tenant.messages[asked])
    await world.lift()
    ended = await settled(world)
    # A read is cancelled instead, if it took so long that the bot tried to react to the message.
    assert ended["status"] == "succeeded" or (not comes and ended["outcome"] == "recalled")
    alone = [m for m in told(world, world.group, asked) if m.ephemeral_for == world.sam.open_id]
    assert bool(alone or told(world, world.direct(world.sam), asked)) == comes
    assert told(world, world.group, asked) == alone
    await world.control("recall", message_id=asked)
    await world.answer_to(await world.say(world.sam, "/help"))
    assert told(world, world.group, asked) == alone


@pytest.mark.parametrize("in_group", [True, False], ids=["group", "direct"])
async def test_a_recalled_question_is_not_asked_about(world: World, in_group: bool):
    """Nobody is asked to consent, to confirm, or told to wait for what they have taken back."""
    await world.start()
    await world.authorized(world.sam)
    chat = world.group if in_group else world.direct(world.sam)
    fault = await world.trouble(
        {"path": "/open-apis/docx", "identity": world.sam.open_id}, "delay", seconds=9
    )
    asked = await world.say(world.sam, "/doc welcome", chat)
    await world.struck(fault)
    await recalled(world, asked)
    await world.lift()
    assert await settled(world) == {"status": "cancelled", "outcome": "recalled"}
    assert told(world, world.direct(world.sam), asked) == []
    assert told(world, world.group, asked) == []
    assert not world.count("authorization_requests", status=("open", "redeeming"))


async def test_a_recalled_question_that_is_being_retried_is_not_tried_again(world: World):
    await world.start()
    await world.authorized(world.sam)
    fault = await world.trouble({"path": "/open-apis/task"}, "drop_before")
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks", world.group)
    await world.until(lambda: fault.struck > 1, "a second try")
    await recalled(world, asked)
    assert await settled(world) == {"status": "cancelled", "outcome": "recalled"}
    assert told(world, world.group, asked) == []


READ_THEN_WRITE = """
from bot.commands import ApiCall, Reply, Span, Words, Write, any_of, command

TASKS = "/open-apis/task/v2/tasks"

@command("odd", summary=Words("odd", "odd"), needs=any_of("task:task:write"))
def odd(ask):
    yield ApiCall("GET", "/open-apis/authen/v1/user_info")
    yield ApiCall("POST", TASKS, body={"summary": "first"}, write=Write())
    yield ApiCall("GET", "/open-apis/authen/v1/user_info")
    yield ApiCall("POST", TASKS, body={"summary": "second"}, write=Write())
    return Reply(None, ((Span("both done"),),))
"""


@pytest.mark.parametrize("read_before", [1, 2], ids=["before-the-first-write", "between-two-writes"])
async def test_no_write_leaves_for_a_recalled_question(world: World, tmp_path: Path, read_before: int):
    broken(tmp_path / "site", READ_THEN_WRITE)
    with_packages(world, tmp_path / "site")
    await world.start()
    await world.authorized(world.sam, "/odd")
    user_info = {"path": "/open-apis/authen/v1/user_info", "identity": world.sam.open_id}
    if read_before == 2:
        pause = await world.trouble({"path": "/open-apis/task", "method": "POST"}, "delay", seconds=9)
    else:
        pause = await world.trouble(user_info, "delay", seconds=9)
    asked = await world.say(world.sam, "/odd", world.group)
    await world.struck(pause)
    await recalled(world, asked)
    await world.lift()
    assert await settled(world) == {"status": "cancelled", "outcome": "recalled"}
    assert told(world, world.group, asked) == []
    done = text_of(world.tenant.work.as_json()).splitlines()
    assert (done.count("first"), done.count("second")) == (read_before, 1)
    words = [text_of(m.content) for m in told(world, world.direct(world.sam), asked)]
    assert ["Stopped halfway" in each for each in words] == [True] * (read_before - 1)


async def test_a_question_recalled_before_its_turn_or_after_its_answer_changes_nothing_else(world: World):
    await world.start()
    await world.authorized(world.sam)
    await held(world, world.sam, "/tasks")
    behind = await world.say(world.sam, "/me", world.group)
    await world.until(lambda: world.count("deferred_calls", command="me"), "the second question")
    await recalled(world, behind)
    await world.lift()
    after = await world.say(world.sam, "/help", world.group)
    answer = await world.answer_to(after)
    await world.control("recall", message_id=after)
    await world.answer_to(await world.say(world.sam, "/help"))
    assert told(world, world.group, behind) == [answer]
    statuses = world.statuses("deferred_calls", command=("help", "me"))
    assert statuses == ["cancelled", "succeeded", "succeeded"]


async def test_a_crash_does_not_forget_that_a_question_was_recalled(world: World):
    await world.start()
    await everything_granted(world)
    asked, _ = await held(world, world.sam, KEYED, world.group)
    await recalled(world, asked)
    await world.kill()
    await world.lift()
    await world.start()
    assert (await settled(world))["status"] == "succeeded"
    assert len(told(world, world.direct(world.sam), asked, "Buy milk")) == 1
    assert told(world, world.group, asked) == []


# --- what only a refusal tells of ------------------------------------------------------------------------------------


async def recalled_unheard(world: World, asked: str) -> None:
    """The person has taken the question back, and no event says so."""
    world.tenant.recall_message(world.tenant.messages[asked])


PRIVATE = ["/tasks", "/agenda", "/search welcome", "/call GET /open-apis/task/v2/tasks"]


@pytest.mark.parametrize("command", PRIVATE)
async def test_a_refused_reaction_tells_that_a_private_question_was_recalled(world: World, command: str):
    await world.start()
    asked = await world.say(
        world.sam, "/authorize task:task:read calendar:calendar:readonly search:docs:read"
    )
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    slow = await world.trouble({"path": "/open-apis/*", "identity": world.sam.open_id}, "delay", seconds=9)
    asked = await world.say(world.sam, command, world.group)
    await recalled_unheard(world, asked)
    await world.struck(slow)
    await world.until(
        lambda: world.rows("SELECT 1 FROM deferred_calls WHERE recalled_at IS NOT NULL"), "the bot to know"
    )
    await world.lift()
    assert await settled(world) == {"status": "cancelled", "outcome": "recalled"}
    assert told(world, world.group, asked) == []
    assert told(world, world.direct(world.sam), asked) == []


@pytest.mark.parametrize("command", ["/tasks", "/agenda week", "/doc welcome", "/task Buy milk"])
async def test_a_refused_note_tells_that_a_question_in_a_group_was_recalled(world: World, command: str):
    """The card has come already: it asks for nothing any more."""
    await world.start()
    # The brackets make it a pattern, which does not match a reaction to a message.
    slow = await world.trouble({"path": "/open-apis/im/v1/message[s]", "method": "POST"}, "delay", seconds=9)
    asked = await world.say(world.sam, command, world.group)
    await world.struck(slow)
    await recalled_unheard(world, asked)
    await world.lift()
    assert await settled(world) == {"status": "cancelled", "outcome": "recalled"}
    assert told(world, world.group, asked) == []
    (card,) = told(world, world.direct(world.sam), asked)
    await world.until(lambda: not has_link(card), "the card's last face")


# --- what the bot does for itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_group", [True, False], ids=["group", "direct"])
@pytest.mark.parametrize(
    ("command", "words"),
    [("/revoke", "Revoked"), ("/cancel", "Cancelled: /agenda"), ("/revoke", "Cancelled: /agenda")],
)
async def test_a_recalled_revoke_or_cancel_is_told_to_its_asker_alone(
    world: World, command: str, words: str, in_group: bool
):
    """What it did is done: its asker has to know, and nobody else."""
    await world.start()
    await world.authorized(world.sam)
    await world.fresh_card(world.sam, await world.say(world.sam, "/agenda"))
    slow = await world.trouble({"path": "/open-apis/im/v1/messages/*/reply"}, "delay", seconds=9)
    asked = await world.say(world.sam, command, world.group if in_group else world.direct(world.sam))
    await world.struck(slow)
    await recalled_unheard(world, asked)
    await world.lift()
    await settled(world)
    assert len(told(world, world.direct(world.sam), asked, words)) == 1
    assert told(world, world.group, asked) == []
    await world.control("recall", message_id=asked)
    await world.answer_to(await world.say(world.sam, "/help"))
    assert len(told(world, world.direct(world.sam), asked, words)) == 1
