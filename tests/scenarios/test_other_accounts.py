"""A consent by another account than was asked: its page, the word to the asker, and what operators see."""

from __future__ import annotations

import json

import pytest

from bot.sandbox.lark.tenant import Message, Person

from .card_content import text_of
from .test_device import Room
from .world import World

OTHERS = ["Ada Meyer", "Wei Lan"]


def other(world: World, name: str) -> Person:
    return world.wei if name == "Wei Lan" else world.person(name)


def told(world: World, since: str) -> list[Message]:
    said = world.from_bot(world.direct(world.sam), since)
    return [message for message in said if "another account" in text_of(message.content)]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("command", ["/tasks", "/doc welcome"])
async def test_the_page_offers_to_switch_and_the_asker_is_told_once(world: World, name: str, command: str):
    await world.start()
    asked = await world.say(world.sam, command)
    card = await world.fresh_card(world.sam, asked)
    for _ in range(3):
        status, page = await world.consent(other(world, name), card)
        assert status == 403
        assert f'href="{world.origin}/"' in page
        assert "Switch account" in page
    await world.until(lambda: told(world, asked), "a word to the asker")
    (word,) = told(world, asked)
    assert name not in text_of(word.content)
    assert "账号不一致" in text_of(word.content)
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    assert len(told(world, asked)) == 1


async def test_a_person_who_reads_chinese_is_offered_it_in_chinese(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    back = await world.decide(await world.open(card), world.wei)
    _, _, page = await world.get(back, **{"Accept-Language": "zh-CN"})
    assert "切换账号" in page


async def test_operators_see_that_the_token_was_dropped(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.ada, await world.fresh_card(world.sam, asked))
    code, out, _ = await world.cli("explain", world.sam.open_id, "--json")
    assert code == 0
    (entry,) = [each for each in json.loads(out)["timeline"] if each["what"] == "attempt_failed"]
    assert "wrong_person" in str(entry["detail"])
    assert "dropped" in str(entry["detail"])
    assert world.ada.open_id not in out
    code, out, _ = await world.cli("explain", world.sam.open_id)
    assert "dropped" in out


async def test_operators_see_that_the_token_was_dropped_by_device_flow(world: World):
    room = Room(world)
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.ada)
    dropped = "SELECT 1 FROM audit_log WHERE action LIKE 'device%' AND detail LIKE '%dropped%'"
    await world.until(lambda: world.rows(dropped), "the entry in the audit log")
    await world.until(lambda: "another account" in text_of(card.content), "the word on the card")


async def test_a_person_who_has_already_continued_is_not_told(world: World):
    """Nothing asks for a consent any more, so nothing is to be done."""
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    stale = await world.open(card)
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    status, _, _ = await world.get(await world.decide(stale, world.ada))
    assert status == 403
    again = await world.say(world.sam, "/tasks")
    await world.answer_to(again)
    assert told(world, asked) == []
