"""What is for one person reaches them by whichever private way is open, and nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bot.sandbox.lark.tenant import Chat, Message, Person

from .card_content import has_link, text_of
from .world import World

REFUSALS = [
    (400, 230101, "nobody has listed this one"),
    (400, 230038, "Cross tenant p2p chat operate forbid."),
    (200, 230006, "Bot ability is not activated."),
    (400, 99992361, "open_id cross app"),
    (403, 230001, "invalid receive_id"),
    (404, 40004, "no such thing"),
]
BY_ID = {"path": "/open-apis/im/v1/messages", "receive_id_type": "open_id"}
BY_CHAT = {"path": "/open-apis/im/v1/messages", "receive_id_type": "chat_id"}
BY_REPLY = {"path": "/open-apis/im/v1/messages/*/reply"}
FOR_ONE_MEMBER = {"path": "/open-apis/ephemeral/v1/send"}


def refusals(cases: Sequence[tuple[int, int, str]] = REFUSALS) -> Any:
    return pytest.mark.parametrize("refusal", cases, ids=lambda case: f"{case[0]}-{case[1]}")


async def refuse(world: World, refusal: tuple[int, int, str], *ways: dict[str, str]) -> None:
    status, code, words = refusal
    for way in ways:
        await world.trouble(way, "status", status=status, code=code, msg=words)


async def card_in(world: World, chat: Chat, since: str) -> Message:
    card: Message = await world.until(
        lambda: next((m for m in world.from_bot(chat, since) if has_link(m)), None), "the card"
    )
    return card


def nobody_else_saw(world: World, person: Person) -> bool:
    """Whether every card with a link was for this person alone."""
    cards = [m for m in world.tenant.messages.values() if m.sender_type == "bot" and has_link(m)]
    direct = world.direct(person).chat_id
    return all(m.chat_id == direct or m.ephemeral_for == person.open_id for m in cards)


@refusals()
async def test_a_card_goes_to_the_direct_chat_when_a_message_to_its_person_is_refused(
    world: World, refusal: tuple[int, int, str]
):
    await world.start()
    await refuse(world, refusal, BY_ID)
    asked = await world.say(world.sam, "/tasks")
    card = await card_in(world, world.direct(world.sam), asked)
    assert card.reply_to is None
    await world.consent(world.sam, card)
    await world.answer_to(asked, "open tasks")
    await world.until(lambda: not any(map(has_link, world.from_bot(world.direct(world.sam)))), "no link")


@refusals(REFUSALS[:3])
async def test_a_card_is_a_reply_when_both_ids_are_refused(world: World, refusal: tuple[int, int, str]):
    await world.start()
    await refuse(world, refusal, BY_ID, BY_CHAT)
    asked = await world.say(world.sam, "/agenda")
    card = await card_in(world, world.direct(world.sam), asked)
    assert card.reply_to == asked
    await world.consent(world.sam, card)
    assert len(await world.answers_to(asked, 2)) == 2


@refusals()
async def test_a_card_for_a_group_takes_the_way_of_the_direct_chat_if_there_is_one(
    world: World, refusal: tuple[int, int, str]
):
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help"))
    await refuse(world, refusal, BY_ID)
    asked = await world.say(world.sam, "/doc welcome", world.group)
    card = await card_in(world, world.direct(world.sam), asked)
    assert nobody_else_saw(world, world.sam)
    await world.consent(world.sam, card)
    await world.answer_to(asked, "elcome")


@refusals(REFUSALS[:4])
async def test_a_card_is_shown_in_the_group_to_its_person_when_there_is_no_direct_chat(
    world: World, refusal: tuple[int, int, str]
):
    await world.start()
    await refuse(world, refusal, BY_ID)
    asked = await world.say(world.sam, "/doc welcome", world.group)
    card = await card_in(world, world.group, asked)
    assert card.ephemeral_for == world.sam.open_id
    await world.consent(world.sam, card)
    await world.answer_to(asked, "elcome")


@refusals(REFUSALS[:3])
@pytest.mark.parametrize("command", ["/tasks", "/doc welcome", "/task Buy milk"])
async def test_a_group_is_told_how_to_open_a_chat_when_no_private_way_is_left(
    world: World, refusal: tuple[int, int, str], command: str
):
    await world.start()
    await refuse(world, refusal, BY_ID, FOR_ONE_MEMBER)
    asked = await world.say(world.sam, command, world.group)
    told = await world.answer_to(asked, "Open a chat with me")
    assert not has_link(told)
    assert world.origin in text_of(told.content)  # where the chat opens
    again = await world.say(world.sam, command)
    card = await card_in(world, world.direct(world.sam), again)
    await world.consent(world.sam, card)
    await world.until(
        lambda: world.statuses("deferred_calls") == ["succeeded"] * 2,
        "both to be done",
    )


@refusals(REFUSALS[:3])
async def test_an_answer_reaches_a_person_whose_chat_takes_none(world: World, refusal: tuple[int, int, str]):
    """The other way round: the chat's id is refused, and a message to the person works."""
    await world.start()
    await refuse(world, refusal, BY_REPLY, BY_CHAT)
    for command in ("/help", "/permissions", "/nonsense"):
        asked = await world.say(world.sam, command)
        await world.until(
            lambda since=asked: world.from_bot(world.direct(world.sam), since), f"the answer to {command}"
        )
    await world.until(
        lambda: (
            not world.rows("SELECT 1 FROM outgoing_messages WHERE status <> 'sent' AND kind <> 'interim'")
        ),
        "all to be sent",
    )


@refusals(REFUSALS[:3])
async def test_a_private_answer_takes_the_way_of_the_direct_chat(world: World, refusal: tuple[int, int, str]):
    await world.start()
    await world.authorized(world.sam)
    await refuse(world, refusal, BY_ID, FOR_ONE_MEMBER)
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks", world.group)
    await world.until(
        lambda: any('"items"' in text_of(m.content) for m in world.from_bot(world.direct(world.sam), asked)),
        "the answer",
    )
    assert not any('"items"' in text_of(m.content) for m in world.from_bot(world.group))


@refusals(REFUSALS[:3])
async def test_a_private_answer_that_nothing_carries_is_told_in_the_group(
    world: World, refusal: tuple[int, int, str]
):
    await world.start()
    await world.authorized(world.sam)
    await refuse(world, refusal, BY_ID, FOR_ONE_MEMBER)
    world.change("UPDATE deferred_calls SET chat_kind = 'group'")  # not a word of the direct chat is known
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks", world.group)
    await world.answer_to(asked, "Open a chat with me")
    assert not any('"items"' in text_of(m.content) for m in world.from_bot(world.group))


@refusals()
async def test_an_administrators_card_takes_the_same_ways(world: World, refusal: tuple[int, int, str]):
    await world.control("app-scopes", scope="search:docs:read", user=False)
    await world.start()
    await world.answer_to(await world.say(world.ada, "/help"))
    await refuse(world, refusal, BY_ID)
    asked = await world.say(world.sam, "/search welcome")
    await world.answer_to(asked, "administrator")
    card = await world.card_for(world.ada, "search:docs:read")
    await world.control("app-scopes", scope="search:docs:read", user=True)
    await world.until(lambda: card.versions, "its changed face")
    await world.consent(world.sam, await card_in(world, world.direct(world.sam), asked))
    await world.answer_to(asked, "esults for")


async def test_an_administrators_card_that_only_a_group_carries_is_taken_back_when_it_is_done(world: World):
    await world.control("app-scopes", scope="search:docs:read", user=False)
    await world.start()
    await world.answer_to(await world.say(world.ada, "/help", world.group))
    await refuse(world, REFUSALS[0], BY_ID)
    asked = await world.say(world.sam, "/search welcome")
    card = await world.until(
        lambda: next(
            (m for m in world.from_bot(world.group) if "search:docs:read" in text_of(m.content)), None
        ),
        "the administrator's card",
    )
    assert card.ephemeral_for == world.ada.open_id
    await world.control("app-scopes", scope="search:docs:read", user=True)
    await world.until(lambda: card.deleted, "the card to go")
    await card_in(world, world.direct(world.sam), asked)
    others = [m for m in world.from_bot(world.group) if m.ephemeral_for == world.ada.open_id]
    assert others == [card]


@pytest.mark.parametrize("code", [230022, 230025, 230028, 230099, 230055])
async def test_a_refusal_of_the_content_is_not_tried_another_way(world: World, code: int):
    await world.start()
    await world.trouble(BY_REPLY, "status", times=1, status=400, code=code)
    asked = await world.say(world.sam, "/help")
    await world.answer_to(asked, f"doesn't let me send it ({code}")
    await world.until(lambda: len(world.requests("/reply", "POST")) >= 2, "both requests")
    assert len(world.requests("/reply", "POST")) == 2
    assert not [
        each for each in world.requests("/im/v1/messages", "POST") if each["path"].endswith("messages")
    ]
