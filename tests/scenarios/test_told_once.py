"""How a request that expired is told: once. By its card where that can be changed, else by a message."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from bot.sandbox.lark.tenant import Message, Person
from tests.bot_process import later_bot

from .card_content import actions_on, has_link, text_of, without_acknowledgements
from .world import World

PATCH = {"path": "/open-apis/im/v1/messages/*", "method": "PATCH"}


def saying(messages: Iterable[Message], words: str) -> list[Message]:
    return [m for m in messages if words in text_of(m.content) and not m.recalled]


async def told(world: World, person: Person, since: str, words: str, count: int = 1) -> list[Message]:
    """All that the person sees with these words, in their chat and in the group, when nothing more is to come."""
    chats = (world.direct(person), world.group)

    def found() -> list[Message]:
        return [m for chat in chats for m in saying(world.from_bot(chat, since), words)]

    await world.until(lambda: len(found()) >= count, words, 40)
    await world.until(
        lambda: (
            not world.rows(
                "SELECT 1 FROM deferred_calls WHERE settled_at IS NULL UNION ALL "
                "SELECT 1 FROM outgoing_messages WHERE settled_at IS NULL UNION ALL "
                "SELECT 1 FROM cards WHERE shown < wanted"
            )
        ),
        "the end of it all",
        40,
    )
    return found()


@pytest.mark.parametrize(
    "said", [["/tasks"], ["/agenda week"], ["/task Buy milk"], ["/search welcome", "/doc welcome"]]
)
async def test_what_expires_in_the_direct_chat_is_told_by_its_card_alone(world: World, said: list[str]):
    await world.start()
    asked = [await world.say(world.sam, each) for each in said]
    card = await world.card_for(world.sam, said[-1].split()[0])
    await world.drawn()
    world.let_expire()
    assert await told(world, world.sam, asked[0], "expired") == [card]
    assert all(each.split()[0] in text_of(card.content) for each in said)
    await world.click(world.sam, card, "retry_expired")
    again = await world.fresh_card(world.sam, card.message_id)
    await world.until(lambda: said[-1].split()[0] in text_of(again.content), "all of them")
    await world.consent(world.sam, again)
    for each in asked:
        await world.answer_to(each)
    statuses = world.statuses("deferred_calls")
    assert statuses == ["expired"] * len(said) + ["succeeded"] * len(said)


@pytest.mark.parametrize("said", ["/doc welcome", "/agenda", "/task Buy milk"])
async def test_what_expires_long_after_it_was_asked_in_a_group_is_told_by_its_card_alone(
    world: World, said: str
):
    """After so long the group would show it to nobody: a message would come below the card."""
    await world.start(BOT_DEFERRED_TTL="1200")
    asked = await world.say(world.sam, said, world.group)
    card = await world.fresh_card(world.sam, asked)
    await world.answer_to(asked)
    await world.drawn()
    await world.stop()
    world.runs = later_bot(1500)
    await world.start()
    assert await told(world, world.sam, asked, "expired") == [card]
    assert len(without_acknowledgements(world.from_bot(world.group, asked))) == 1, "the note"


@pytest.mark.parametrize(("code", "status"), [(230031, 400), (230099, 400), (230110, 400), (232009, 400)])
async def test_a_card_that_can_no_longer_be_changed_is_made_good_by_one_message(
    world: World, code: int, status: int
):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, asked)
    await world.trouble(PATCH, "status", status=status, body={"code": code, "msg": "no"})
    await world.drawn()
    world.let_expire()
    (message,) = await told(world, world.sam, asked, "expired")
    assert message.reply_to == asked
    assert actions_on(message) == ["retry"]


async def test_a_card_that_only_its_asker_sees_is_taken_away_and_a_message_says_so(world: World):
    await world.start()
    await world.trouble(
        {"path": "/open-apis/im/v1/messages"}, "status", status=400, body={"code": 230013, "msg": "no"}
    )
    asked = await world.say(world.sam, "/tasks", world.group)
    card = await world.shown_alone(world.sam, asked, "task:task:read")
    await world.drawn()
    world.let_expire()
    (message,) = await told(world, world.sam, asked, "expired")
    assert message.ephemeral_for == world.sam.open_id
    await world.until(lambda: card.recalled, "the card to go")


async def test_what_expires_before_its_card_is_told_by_a_message_and_the_card_goes_on(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    await world.say(world.sam, "/agenda")
    await world.until(lambda: "/agenda" in text_of(card.content), "the wider card")
    world.change(
        "UPDATE deferred_calls SET expires_at = datetime('now', '-1 minute') || '.000000' WHERE command = 'tasks'"
    )
    await world.answer_to(first, "expired", patience=40)
    await world.until(lambda: "/tasks" not in text_of(card.content), "the narrower card")
    assert has_link(card)
