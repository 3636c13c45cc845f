"""How the bot behaves when people hesitate, look elsewhere, come back late, or leave."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bot.sandbox.lark.tenant import Message

from .card_content import actions_on, has_link, text_of, without_acknowledgements
from .world import World


async def test_what_expired_is_asked_again_by_one_click(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    expired = await world.fresh_card(world.sam, asked)
    await world.expires(expired)
    assert actions_on(expired) == ["retry_expired"]
    assert not has_link(expired)
    before = list(world.tenant.messages)[-1]
    for _ in range(2):
        await world.click(world.sam, expired, "retry_expired")
    card = await world.fresh_card(world.sam, before)
    await world.consent(world.sam, card)
    assert len(await world.answers_to(asked, 1)) == 1
    calls = world.rows("SELECT status FROM deferred_calls ORDER BY received_at")
    assert [call["status"] for call in calls] == ["expired", "succeeded"]


async def test_a_card_that_was_lost_sight_of_is_sent_again_and_the_old_one_points_to_it(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    second = await world.say(world.sam, "/doc welcome")
    await world.until(
        lambda: "/doc" in text_of(world.tenant.messages[card.message_id].content), "the wider card"
    )
    assert without_acknowledgements(world.from_bot(world.direct(world.sam), second)) == []
    world.change("UPDATE authorization_requests SET created_at = datetime('now', '-5 minutes') || '.000000'")
    third = await world.say(world.sam, "/agenda")
    pointer = await world.answer_to(third, "to the card above")
    await (
        world.drawn()
    )  # An update that is still on its way could come after the one that takes away the link.
    await world.click(world.sam, pointer, "send_again")
    moved = await world.fresh_card(world.sam, third)
    assert moved.message_id != card.message_id
    old = world.tenant.messages[card.message_id]
    await world.until(lambda: not has_link(old), "the old card without a link")
    assert "newest card" in text_of(old.content)
    await world.consent(world.sam, moved)
    for asked in (first, second, third):
        await world.answer_to(asked)
    await world.until(lambda: "Authorized" in text_of(world.tenant.messages[moved.message_id].content))
    assert world.count("authorization_requests") == 1


async def test_an_old_write_keeps_no_buttons_once_it_is_decided(world: World):
    world.tenant.clock.wall = lambda: time.time() - 7200
    await world.start()
    for title, action, end in (("one", "confirm", "confirmed"), ("two", "discard", "cancelled")):
        asked = await world.say(world.sam, f"/task {title}")
        if action == "confirm":
            await world.consent(world.sam, await world.fresh_card(world.sam, asked))
        else:
            await world.control("grants", person=world.sam.open_id, scopes=[])
            await world.answer_to(await world.say(world.sam, "/revoke"))
            asked = await world.say(world.sam, f"/task {title} again")
            await world.consent(world.sam, await world.fresh_card(world.sam, asked))

        def question(action: str = action, asked: str = asked) -> Message | None:
            said = world.from_bot(world.direct(world.sam), asked)
            return next((m for m in said if action in actions_on(m)), None)

        card = await world.until(question, "the question")
        assert f"/task {title}" in text_of(card.content), "one can tell which of several it is about"
        await world.click(world.sam, card, action)
        await world.until(
            lambda card=card: not actions_on(world.tenant.messages[card.message_id]), "no buttons"
        )
        decided = text_of(world.tenant.messages[card.message_id].content)
        assert end in decided.lower()
        assert f"/task {title}" in decided


async def leave(world: World) -> None:
    await world.control(
        "events",
        event={
            "event_type": "contact.user.deleted_v3",
            "event": {"object": {"open_id": world.sam.open_id}, "old_object": {}},
        },
    )


async def test_when_a_person_leaves_their_tokens_go(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.say(world.sam, "/doc welcome")
    await world.until(lambda: world.count("deferred_calls", status="suspended"))
    await leave(world)
    grant = world.only("grants")
    assert (grant["status"], grant["end_reason"]) == ("ended", "person_left")
    assert (grant["access_token"], grant["refresh_token"]) == (None, None)
    assert world.count("deferred_calls", status="suspended") == 0
    assert world.count("authorization_requests", status="open") == 0
    await world.until(lambda: not world.count("revocations", status="queued"), "revoked")


async def test_when_an_organization_removes_the_app_its_tokens_go(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.say(world.sam, "/doc welcome")
    await world.until(lambda: world.count("deferred_calls", status="suspended"))
    app = world.tenant.app
    elsewhere = {"app_id": app.app_id, "tenant_key": "another", "type": "app_uninstalled"}
    for uuid, event in (("u-1", elsewhere), ("u-2", elsewhere | {"tenant_key": app.tenant_key})):
        assert world.statuses("grants") == ["active"], "it is another organization's matter"
        removed = {"uuid": uuid, "token": app.verification_token, "type": "event_callback", "event": event}
        assert (await world.control("events", event=removed))["acknowledged"]
    grant = world.only("grants")
    assert (grant["status"], grant["end_reason"]) == ("ended", "app_stopped")
    assert (grant["access_token"], grant["refresh_token"]) == (None, None)
    call = world.only("deferred_calls", command="doc")
    assert (call["status"], call["outcome"]) == ("cancelled", "app_stopped")
    assert world.count("authorization_requests", status="open") == 0


async def test_a_burst_of_commands_makes_one_card(world: World):
    await world.start()
    commands: list[Any] = ["/tasks", "/agenda", "/doc welcome", "/search welcome", "/task milk"] * 3
    asked = [await world.say(world.sam, command) for command in commands]
    card = await world.fresh_card(world.sam, asked[0])
    await world.until(lambda: world.count("deferred_calls", status="suspended") == len(commands))
    assert without_acknowledgements(world.from_bot(world.direct(world.sam), asked[0])) == [card]
    await world.consent(world.sam, card)
    for each in asked:
        await world.answer_to(each, patience=40)


async def offered(world: World) -> Message:
    """Sam has granted calendar and tasks long ago, and has used only the tasks since; now he uses them again."""
    for command in ("/tasks", "/agenda"):
        await world.authorized(world.sam, command)
    return await offer_after_long(world)


async def used_after_long(world: World) -> str:
    """Sam uses one of two permissions, both granted long ago. Returns the message that asked."""
    world.change(
        "UPDATE granted_scopes SET granted_at = '2026-01-01 00:00:00.000000', used_at = NULL, used_by = NULL",
    )
    world.change("UPDATE grants SET last_used_at = '2026-01-01 00:00:00.000000'")
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked)
    return asked


async def offer_after_long(world: World) -> Message:
    asked = await used_after_long(world)

    def found() -> Message | None:
        said = world.from_bot(world.direct(world.sam), asked)
        return next((m for m in said if "give_back" in actions_on(m)), None)

    card: Message = await world.until(found, "the offer")
    return card


@pytest.mark.parametrize("by", ["on the page", "not_now"])
async def test_after_a_refusal_nothing_is_offered_before_the_next_consent(world: World, by: str):
    await world.start()
    for command in ("/tasks", "/agenda"):
        await world.authorized(world.sam, command)
    asked = await world.say(world.sam, "/doc welcome")
    card = await world.fresh_card(world.sam, asked)
    if by == "not_now":
        await world.not_now(world.sam, card)
    else:
        await world.consent(world.sam, card, "refuse")
        await world.card_for(world.sam, "Declined on the page")
    await used_after_long(world)
    if by == "not_now":
        asked = await world.say(world.sam, "/doc welcome")
        card = await world.fresh_card(world.sam, asked)
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    # An offer is made once in three months: had there been one before, there would be none now.
    await offer_after_long(world)


async def test_what_is_not_used_is_offered_once_and_given_back(world: World):
    await world.start()
    card = await offered(world)
    text = text_of(card.content)
    assert "calendar:calendar:readonly" in text
    assert "task:task:read" not in text
    await world.click(world.sam, card, "give_back")
    await world.until(
        lambda: not actions_on(world.tenant.messages[card.message_id]), "the answer on the card"
    )
    assert "Removed here" in text_of(world.tenant.messages[card.message_id].content)
    grant = world.only("grants")
    assert "calendar" not in grant["scopes"] + grant["scopes_ever"]
    assert "task:task:read" in grant["scopes"]
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    grant = world.only("grants")
    assert grant["generation"] == 4
    assert "calendar" not in grant["scopes"]
    world.change("UPDATE grants SET last_used_at = '2026-01-01 00:00:00.000000'")
    world.change(
        "UPDATE granted_scopes SET granted_at = '2026-01-01 00:00:00.000000', used_at = NULL, used_by = NULL",
    )
    last = await world.say(world.sam, "/me")
    await world.answer_to(last)
    again = await world.say(world.sam, "/agenda")
    fresh = await world.fresh_card(world.sam, again)
    await world.consent(world.sam, fresh)
    await world.answer_to(again)
    assert not [m for m in world.from_bot(world.direct(world.sam), last) if "give_back" in actions_on(m)]


async def test_a_burst_of_one_command_changes_its_card_no_more_often_than_what_it_says(world: World):
    await world.start()
    asked = [await world.say(world.sam, "/agenda") for _ in range(40)]
    card = await world.fresh_card(world.sam, asked[0])
    await world.until(lambda: world.count("deferred_calls", status="suspended") == 40, "waiting")
    await world.consent(world.sam, card)
    for each in asked:
        await world.answer_to(each, patience=60)
    # Its end, which a minute may turn over meanwhile; then the two faces of the consent.
    assert len(world.requests(f"/messages/{card.message_id}", "PATCH")) <= 5
