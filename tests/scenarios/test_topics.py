"""Topics: what is asked in one is answered in it, and where its card is can be seen there."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bot.sandbox.lark.tenant import Chat, Message, Person

from .card_content import has_link, text_of, values_of, without_acknowledgements
from .world import World


async def in_topic(world: World, person: Person, text: str, of: str, chat: Chat | None = None) -> str:
    """The person says something in the topic that a message began, or that begins with it now."""
    return await world.say(person, text, chat, reply_to=of, in_thread=True)


def seen_in_topic(world: World, of: str) -> list[Message]:
    """The bot's messages in the topic of a message."""
    topic = world.tenant.messages[of].thread_id
    return [m for m in world.tenant.messages.values() if m.sender_type == "bot" and m.thread_id == topic]


def topics(world: World) -> set[str | None]:
    return {m.thread_id for m in world.tenant.messages.values()} - {None}


async def topic_group(world: World) -> Chat:
    made = await world.control(
        "chats", name="Questions", members=[world.sam.open_id, world.ada.open_id], topics=True
    )
    return world.tenant.chats[made["chat_id"]]


@pytest.mark.parametrize("command", ["/tasks", "/agenda", "/doc welcome", "/task Buy milk"])
async def test_a_card_comes_in_the_topic_of_the_direct_chat_where_it_was_asked(world: World, command: str):
    await world.start()
    first = await world.say(world.sam, "/help")
    await world.answer_to(first)
    asked = await in_topic(world, world.sam, command, first)
    card = await world.until(
        lambda: next((m for m in seen_in_topic(world, asked) if has_link(m)), None), "the card in the topic"
    )
    assert card.reply_to == asked
    await world.consent(world.sam, card)
    assert len(await world.answers_to(asked, 2)) == 2
    assert [m for m in world.from_bot(world.direct(world.sam), asked) if m.thread_id is None] == []


async def test_a_topic_says_where_the_card_is_that_was_sent_elsewhere(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    assert card.thread_id is None
    await world.drawn()
    asked = await in_topic(world, world.sam, "/doc welcome", first)
    told = await world.answer_to(asked, "card I sent you earlier")
    assert told in seen_in_topic(world, asked)
    again = await in_topic(world, world.sam, "/agenda", first)
    await world.until(lambda: "calendar" in text_of(card.content), "the wider card")
    await world.click(world.sam, told, "send_again")
    moved = await world.until(
        lambda: next((m for m in seen_in_topic(world, asked) if has_link(m)), None), "the card in the topic"
    )
    await world.consent(world.sam, moved)
    await world.answer_to(asked, "elcome")
    await world.answers_to(again, 1)


@pytest.mark.parametrize("other_topic", [True, False])
async def test_each_topic_says_where_the_card_is(world: World, other_topic: bool):
    await world.start()
    begun = [await world.say(world.sam, "/help") for _ in range(2)]
    for each in begun:
        await world.answer_to(each)
    asked = await in_topic(world, world.sam, "/tasks", begun[0])
    await world.until(lambda: any(map(has_link, seen_in_topic(world, asked))), "the card in the topic")
    second = await in_topic(world, world.sam, "/agenda", begun[other_topic])
    if other_topic:
        await world.answer_to(second, "card I sent you earlier")
    else:
        (card,) = without_acknowledgements(seen_in_topic(world, asked))
        await world.until(lambda: "calendar" in text_of(card.content), "the wider card")
        assert without_acknowledgements(seen_in_topic(world, asked)) == [card]


async def test_a_topic_that_takes_no_message_has_its_card_in_the_chat(world: World):
    await world.start()
    first = await world.say(world.sam, "/help")
    await world.answer_to(first)
    await in_topic(world, world.sam, "any words", first)
    await world.control("delete", message_id=first)
    before = topics(world)
    asked = await in_topic(world, world.sam, "/tasks", first)
    card = await world.until(
        lambda: next((m for m in world.from_bot(world.direct(world.sam), asked) if has_link(m)), None),
        "the card in the chat",
    )
    assert card.thread_id is None
    await world.consent(world.sam, card)
    await world.until(
        lambda: any(
            "open tasks" in text_of(m.content) for m in world.from_bot(world.direct(world.sam), asked)
        ),
        "the answer in the chat",
    )
    assert topics(world) == before


@pytest.mark.parametrize("gone", ["recall", "delete"])
@pytest.mark.parametrize("command", ["/doc welcome", "/me", "/task Buy milk", "/nonsense"])
async def test_a_topic_whose_first_message_is_gone_is_not_replaced_by_another(
    world: World, gone: str, command: str
):
    await world.start()
    asked = await world.say(world.sam, "/authorize task:task:read task:task:write docx:document:readonly")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    group = await topic_group(world)
    first = await world.say(world.ada, "/help", group)
    await world.answer_to(first)
    before = topics(world)
    await world.control(gone, message_id=first)
    asked = await in_topic(world, world.sam, command, first, group)
    await world.until(lambda: world.from_bot(world.direct(world.sam), asked), "the answer to Sam alone")
    await world.until(lambda: not world.count("outgoing_messages", settled_at=None), "all to be sent")
    assert world.from_bot(group, asked) == []
    assert topics(world) == before


@pytest.mark.parametrize("code", [230101, 230017, 230071])
async def test_a_refused_reply_opens_no_topic(world: World, code: int):
    """Whatever the refusal is."""
    await world.start()
    group = await topic_group(world)
    first = await world.say(world.sam, "/help", group)
    await world.answer_to(first)
    before = topics(world)
    await world.trouble({"path": "/open-apis/im/v1/messages/*/reply"}, "status", status=400, code=code)
    asked = await in_topic(world, world.sam, "/help", first, group)
    await world.until(lambda: world.from_bot(world.direct(world.sam), asked), "the answer to Sam alone")
    assert world.from_bot(group, asked) == []
    assert topics(world) == before


async def test_a_topic_group_is_answered_in_its_topics_and_asked_in_the_direct_chat(world: World):
    await world.start()
    group = await topic_group(world)
    asked = await world.say(world.sam, "/doc welcome", group)
    card = await world.fresh_card(world.sam, asked)
    assert card.chat_id == world.direct(world.sam).chat_id
    await world.consent(world.sam, card)
    await world.answer_to(asked, "elcome")
    topic = world.tenant.messages[asked].thread_id
    assert topic is not None
    assert {m.thread_id for m in world.from_bot(group)} == {topic}


async def test_an_old_write_in_a_topic_is_confirmed_there(world: World):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    first = await world.say(world.sam, "/help")
    await world.answer_to(first)
    world.change("DELETE FROM grants")
    world.tenant.clock.wall = lambda: time.time() - 7200
    asked = await in_topic(world, world.sam, "/task Buy milk", first)

    def shown(wanted: Any) -> Message | None:
        return next((m for m in seen_in_topic(world, asked) if wanted(m)), None)

    def asks_to_confirm(message: Message) -> bool:
        return any(value.get("action") == "confirm" for value in values_of(message.content))

    # Whichever comes first: a link to authorize, or the question whether it is still wanted.
    question = await world.until(lambda: shown(lambda m: has_link(m) or asks_to_confirm(m)), "a card")
    if has_link(question):
        await world.consent(world.sam, question)
        question = await world.until(lambda: shown(asks_to_confirm), "the question")
    assert question.reply_to == asked
    await world.click(world.sam, question, "confirm")
