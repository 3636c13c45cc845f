"""The note in a group says where the card went and where the answer will be: once, when that is known, and truly."""

from __future__ import annotations

import pytest

from bot.sandbox.lark.tenant import Message

from .card_content import has_link, text_of, without_acknowledgements
from .test_signs import without_reactions
from .test_ways import BY_ID, FOR_ONE_MEMBER, card_in, refuse
from .world import World

REFUSAL = (400, 230013, "no")
DIRECT, ALONE = "a card in our direct chat", "a card that only you can see"
HERE, PRIVATELY = "I'll answer here once you've authorized", "only you will see my answer"
COMMANDS = [
    ("/doc welcome", HERE),
    ("/task Buy milk", HERE),
    ("/agenda week", PRIVATELY),
    ("/tasks", PRIVATELY),
    ("/search welcome", PRIVATELY),
    ("/call GET /open-apis/task/v2/tasks", PRIVATELY),
]


def in_public(world: World, since: str) -> list[Message]:
    answers = without_acknowledgements(world.from_bot(world.group, since))
    return [m for m in answers if m.ephemeral_for is None]


def position(world: World, message: Message) -> int:
    return list(world.tenant.messages).index(message.message_id)


@pytest.mark.parametrize(("said", "where"), COMMANDS[:-1])
async def test_it_tells_of_the_direct_chat_after_the_card_has_come_there(world: World, said: str, where: str):
    await world.start()
    asked = await world.say(world.sam, said, world.group)
    note = await world.answer_to(asked)
    card = await world.fresh_card(world.sam, asked)
    assert card.chat_id == world.direct(world.sam).chat_id
    assert position(world, card) < position(world, note)
    assert DIRECT in text_of(note.content)
    assert where in text_of(note.content)
    await world.consent(world.sam, card)
    if where == HERE:
        await world.until(lambda: len(in_public(world, asked)) == 2, "the answer, for all to see")
    else:
        answer = await world.until(
            lambda: [m for m in world.from_bot(world.group, asked) if m.ephemeral_for == world.sam.open_id],
            "the answer, for the asker alone",
        )
        assert answer
        assert in_public(world, asked) == [note]


@pytest.mark.parametrize(("said", "where"), COMMANDS)
async def test_it_tells_of_a_card_that_is_shown_in_the_group(world: World, said: str, where: str):
    await world.start()
    await refuse(world, REFUSAL, BY_ID)
    asked = await world.say(world.sam, said, world.group)
    note = await world.answer_to(asked)
    card = await world.shown_alone(world.sam, asked)
    assert has_link(card)
    assert position(world, card) < position(world, note)
    assert ALONE in text_of(note.content)
    assert where in text_of(note.content)
    assert "direct chat" not in text_of(note.content)
    assert in_public(world, asked) == [note]


@pytest.mark.parametrize("said", [said for said, _ in COMMANDS[:4]])
async def test_no_note_comes_before_the_word_that_nothing_private_reaches_the_asker(world: World, said: str):
    await world.start()
    await refuse(world, REFUSAL, BY_ID, FOR_ONE_MEMBER)
    asked = await world.say(world.sam, said, world.group)
    told = await world.answer_to(asked, "Open a chat with me")
    # By the next command the card comes after all, in the direct chat.
    again = await world.say(world.sam, said)
    card = await card_in(world, world.direct(world.sam), again)
    await world.consent(world.sam, card)
    await world.until(lambda: not world.count("deferred_calls", settled_at=None), "both to be done")
    await world.until(lambda: not world.count("outgoing_messages", settled_at=None), "all to be sent")
    public = [text_of(m.content) for m in in_public(world, asked)]
    assert public[0] == text_of(told.content)
    assert not [each for each in public if DIRECT in each or ALONE in each]


@pytest.mark.parametrize("said", ["/doc welcome", "/agenda", "/task Buy bread"])
async def test_a_card_that_is_late_has_its_note_late_and_the_question_a_sign(world: World, said: str):
    without_reactions(world)
    await world.start()
    busy = await world.trouble(BY_ID, "rate_limit")
    asked = await world.say(world.sam, said, world.group)
    await world.answer_to(asked, "working on it")
    assert not [m for m in in_public(world, asked) if "card" in text_of(m.content)]
    await world.lift(busy)
    card = await world.fresh_card(world.sam, asked)
    note = await world.answer_to(asked, DIRECT, patience=40)
    assert position(world, card) < position(world, note)


@pytest.mark.parametrize("way", ["direct", "group"])
async def test_each_command_in_a_group_has_its_own_note(world: World, way: str):
    await world.start()
    if way == "group":
        await refuse(world, REFUSAL, BY_ID)
    words = DIRECT if way == "direct" else ALONE
    asked = []
    for said in ("/doc welcome", "/tasks", "/doc welcome", "/doc welcome", "/agenda"):
        asked.append(await world.say(world.sam, said, world.group))
        await world.answer_to(asked[-1], words)
    assert len(in_public(world, asked[0])) == len(asked)
    if way == "group":
        # It is seen only when it is shown: each command brings it again, and takes the one before away.
        await world.drawn()
        shown = [m for m in world.from_bot(world.group, asked[0]) if has_link(m) and not m.recalled]
        assert len(shown) == 1
        assert position(world, shown[0]) > list(world.tenant.messages).index(asked[-1])
        assert world.count("authorization_requests", status="open") == 1


async def test_many_commands_at_once_have_a_note_each(world: World):
    await world.start()
    said = ["/doc welcome", "/tasks", "/agenda", "/task milk", "/search news"] * 3
    asked = [await world.say(world.sam, each, world.group) for each in said]
    for each in asked:
        await world.answer_to(each, DIRECT, patience=40)
    await world.drawn()
    assert len(in_public(world, asked[0])) == len(asked)


async def test_a_crash_between_the_card_and_its_note_loses_no_note(world: World):
    await world.start()
    slow = await world.trouble({"path": "/open-apis/im/v1/messages/*/reply"}, "delay", seconds=60)
    asked = await world.say(world.sam, "/doc welcome", world.group)
    await world.struck(slow)
    assert [m for m in world.from_bot(world.direct(world.sam), asked) if has_link(m)], "first the card"
    await world.kill()
    await world.lift()
    await world.start()
    await world.answer_to(asked, DIRECT, patience=40)
    assert len([m for m in world.from_bot(world.direct(world.sam), asked) if has_link(m)]) == 1
    await world.drawn()
    assert len(in_public(world, asked)) == 1
