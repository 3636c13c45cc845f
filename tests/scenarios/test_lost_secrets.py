"""What was sealed cannot be opened any more: its own call, grant or card has a defined end, and the others go on."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from bot.sandbox.lark.tenant import Person

from .card_content import text_of
from .test_device import Room
from .world import World

SEALED_WITH_A_KEY_THAT_IS_GONE = "v1.0badc0de.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def lose(world: World, table: str, *columns: str, of: Person) -> None:
    """A hand at the database, while the bot is down."""
    values = ", ".join(f"{column} = '{SEALED_WITH_A_KEY_THAT_IS_GONE}'" for column in columns)
    change = f"UPDATE {table} SET {values} WHERE user_key LIKE ? AND {columns[0]} IS NOT NULL"
    with closing(sqlite3.connect(world.database)) as connection, connection:
        assert connection.execute(change, [f"%{of.open_id}"]).rowcount


def says_that_it_is_lost(world: World, row: str) -> bool:
    return f"row={row}" in (world.directory / "bot.log").read_text()


async def test_a_lost_answer_is_told_and_the_next_one_is_sent(world: World):
    await world.start()
    await world.trouble({"path": "/open-apis/im/v1/messages"}, "drop_before")
    asked = {person.open_id: await world.say(person, "/help") for person in (world.sam, world.wei)}
    await world.until(lambda: world.count("outgoing_messages", kind="answer") == 2, "both answers")
    await world.kill()
    lose(world, "outgoing_messages", "content", of=world.sam)
    await world.lift()
    await world.start()
    await world.answer_to(asked[world.wei.open_id], "/agenda", patience=40)
    lost = await world.answer_to(asked[world.sam.open_id], "The answer was lost")
    assert "/help" in text_of(lost.content)
    assert says_that_it_is_lost(world, "outgoing_messages:content:")
    under_way = "SELECT 1 FROM outgoing_messages WHERE status IN ('queued', 'sending')"
    await world.until(lambda: not world.rows(under_way), "the end of all of them")
    (given_up,) = world.rows(
        "SELECT kind, status, reason FROM outgoing_messages WHERE status <> 'sent' AND kind <> 'interim'"
    )
    assert (given_up["kind"], given_up["status"]) == ("answer", "undeliverable")
    assert "cannot be opened" in given_up["reason"]


@pytest.mark.parametrize("columns", [["access_token"], ["access_token", "refresh_token"]])
async def test_a_person_whose_tokens_are_lost_is_asked_again(world: World, columns: list[str]):
    await world.start()
    await world.authorized(world.sam)
    await world.stop()
    lose(world, "grants", *columns, of=world.sam)
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    assert says_that_it_is_lost(world, "grants:access_token:")
    ended = world.rows("SELECT detail FROM audit_log WHERE action = 'grant_ended'")
    assert ended == [{"detail": '{"reason": "token_lost"}'}]


async def test_a_lost_refresh_token_is_forgotten_and_others_are_renewed(world: World):
    """Ahead of need, and the access token is used while it lives."""
    world.tenant.behaviour.access_token_seconds = 300
    await world.start()
    await world.authorized(world.sam)
    await world.authorized(world.ada)
    await world.stop()
    lose(world, "grants", "refresh_token", of=world.sam)
    with closing(sqlite3.connect(world.database)) as connection, connection:
        connection.execute(
            "UPDATE grants SET access_expires_at = datetime('now', '+200 seconds') || '.000000'"
        )
    await world.start()
    await world.until(lambda: world.requests("/token"), "a renewal")
    await world.until(lambda: world.count("grants", refresh_token=None), "the end of the lost one")
    await world.until(lambda: world.count("grants", generation=2), "the other one")
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked)


async def test_revoking_ends_what_cannot_be_opened(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.stop()
    lose(world, "grants", "access_token", "refresh_token", of=world.sam)
    await world.start()
    await world.answer_to(await world.say(world.sam, "/revoke"))
    assert world.statuses("grants") == ["ended"]


async def test_a_lost_revocation_is_given_up_and_the_next_one_made(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.authorized(world.ada)
    await world.trouble({"path": "*revoke*"}, "drop_before")
    for person in (world.sam, world.ada):
        await world.answer_to(await world.say(person, "/revoke"))
    await world.kill()
    lose(world, "revocations", "token", of=world.sam)
    await world.lift()
    await world.start()
    await world.until(lambda: not world.count("revocations", status="queued"), "the end", patience=40)
    ended = world.rows(
        "SELECT status, reason FROM revocations ORDER BY user_key LIKE ?", f"%{world.sam.open_id}"
    )
    assert (
        ended == [{"status": "done", "reason": None}] * 2 + [{"status": "failed", "reason": "token_lost"}] * 2
    )


async def test_a_card_that_has_lost_its_link_is_replaced_by_another(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    old = await world.fresh_card(world.sam, first)
    waiting = await world.say(world.wei, "/tasks")
    await world.fresh_card(world.wei, waiting)
    await world.stop()
    lose(world, "authorization_requests", "ticket", of=world.sam)
    await world.start()
    second = await world.say(world.sam, "/agenda")
    new = await world.fresh_card(world.sam, second)
    await world.until(
        lambda: "newer card" in text_of(world.tenant.messages[old.message_id].content), "a word"
    )
    await world.consent(world.sam, new)
    await world.answer_to(first)
    await world.answer_to(second)
    assert says_that_it_is_lost(world, "authorization_requests:ticket:")


async def test_a_link_whose_sealed_copy_is_lost_leads_nowhere_until_the_next_command_brings_another(
    world: World,
):
    """Nothing proves any more that the bot made it, and for whom."""
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.stop()
    lose(world, "authorization_requests", "ticket", of=world.sam)
    await world.start()
    assert (await world.get(world.link_of(card)))[0] == 404
    assert world.count("authorization_attempts") == 0
    again = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, again))
    await world.answer_to(asked)
    await world.answer_to(again)


async def test_a_lost_device_code_gives_the_card_its_button_back(world: World):
    room = Room(world)
    await room.start()
    asked, card = await room.asked(world.sam, "/agenda")
    await room.press(world.sam, card)
    await room.link(card)
    await world.stop()
    lose(world, "device_authorizations", "device_code", of=world.sam)
    await room.start()
    await room.says(card, "didn't go through", patience=40)
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
