"""A consent in which every scope was unticked: its tokens are stored, and it declines its request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.sandbox.lark.tenant import Message

from .card_content import text_of
from .scrape import scrape_until
from .test_device import Room
from .test_logged_story import told
from .world import World

UNTICKED = (["offline_access"], [])
ON_CARD = "Not authorized"


async def untick(world: World, card: Message, ticked: list[str]) -> str:
    """Consent to these scopes alone. Returns the page at the end."""
    back = await world.decide(await world.open(card), world.sam, scopes=ticked)
    status, _, page = await world.get(back)
    assert status == 200
    return page


def declined(world: World) -> dict[str, Any]:
    """The one request, and how the views and the audit log tell its end."""
    request = world.only("authorization_requests")
    assert request["status"] == "declined"
    assert set(json.loads(request["granted"])) <= {"offline_access"}
    asked = set(json.loads(request["scopes"])) - {"offline_access"}
    assert set(json.loads(request["refused"])) == asked
    (funnel,) = world.rows("SELECT outcome, declined_at, granted_at FROM consent_funnel")
    assert (funnel["outcome"], funnel["granted_at"]) == ("declined", None)
    assert funnel["declined_at"] is not None
    ended = world.only("audit_log", action="request_declined", subject_id=request["id"])
    detail = json.loads(ended["detail"])
    assert (detail["reason"], set(detail["refused"])) == ("nothing_granted", asked)
    assert not world.count("audit_log", action="request_granted")
    return request


async def says(world: World, card: Message, words: str) -> str:
    shown = world.tenant.messages[card.message_id]
    await world.until(lambda: words in text_of(shown.content), f"a card with {words!r}")
    return text_of(shown.content)


@pytest.mark.parametrize("ticked", UNTICKED, ids=["only offline_access", "nothing"])
@pytest.mark.parametrize(
    ("command", "scope"),
    [
        ("/tasks", "task:task:read"),
        ("/agenda", "calendar:calendar"),
        ("/authorize contact:user.email:readonly task:task:read", "contact:user.email:readonly"),
    ],
)
async def test_a_consent_to_nothing_declines_its_request(
    world: World, command: str, scope: str, ticked: list[str]
):
    await world.start(BOT_LOG_FORMAT="json")
    asked = await world.say(world.sam, command)
    card = await world.card_for(world.sam, scope)
    link = world.link_of(card)
    page = await untick(world, card, ticked)
    assert "Not authorized" in page
    assert "None of the permissions" in page
    await world.answer_to(asked, "still needs")
    assert scope in await says(world, card, ON_CARD), "the card lists what was not authorized"
    declined(world)
    assert world.only("deferred_calls")["outcome"] == "partly_refused"
    status, _, page = await world.get(link)
    assert status == 410
    assert "declined" in page
    # Everywhere else where operators look.
    (line,) = (each for each in told(world) if each["message"] == "consent ended")
    assert (line["result"], line["reason"]) == ("denied", "nothing_granted")
    assert scope in line["refused"]
    found = await scrape_until(
        world, lambda s: s.total("bot_authorization_requests_ended_total"), "a request that ended"
    )
    assert found.find("bot_authorization_requests_ended_total", platform="lark") == {("declined",): 1}
    assert found.find("bot_consents_total", platform="lark") == {("nothing_granted", "denied"): 1}
    for status_asked, count in (("declined", 1), ("granted", 0)):
        code, out, err = await world.cli("requests", "--status", status_asked, "--json")
        assert (code, len(json.loads(out))) == (0, count), err
    # The next command asks again, and a consent then counts.
    again = await world.say(world.sam, command)
    await world.consent(world.sam, await world.fresh_card(world.sam, again))
    await world.answer_to(again)
    assert world.statuses("authorization_requests") == ["declined", "granted"]


async def test_a_consent_to_nothing_by_device_code_declines_too(world: World):
    room = Room(world)
    await room.start()
    asked, card = await room.asked(world.sam, "/doc welcome")
    await room.press(world.sam, card)
    status, target, page = await world.get(await room.link(card))
    assert status == 302, page
    await world.decide(target.split("id=")[1], world.sam, scopes=["offline_access"])
    await world.answer_to(asked, "still needs")
    await room.says(card, ON_CARD)
    declined(world)


async def test_a_consent_to_nothing_of_what_two_commands_need_declines_both(world: World):
    await world.start()
    asked = [await world.say(world.sam, "/tasks")]
    await world.card_for(world.sam, "task:task:read")
    asked.append(await world.say(world.sam, "/doc welcome"))
    card = await world.card_for(world.sam, "docx:document:readonly")
    await untick(world, card, ["offline_access"])
    for each in asked:
        await world.answer_to(each, "still needs")
    await says(world, card, ON_CARD)
    declined(world)
    assert world.statuses("deferred_calls") == ["cancelled", "cancelled"]


async def test_one_scope_of_several_is_a_grant_of_that_one(world: World):
    """Also if it is one that the user has granted before."""
    await world.start()
    await world.say(world.sam, "/tasks")
    await world.card_for(world.sam, "task:task:read")
    await world.say(world.sam, "/doc welcome")
    card = await world.card_for(world.sam, "docx:document:readonly")
    assert "Partly" in await untick(world, card, ["docx:document:readonly"])
    request = world.only("authorization_requests")
    assert request["status"] == "granted"
    assert json.loads(request["refused"]) == ["task:task:read"]
    assert [row["outcome"] for row in world.rows("SELECT outcome FROM consent_funnel")] == ["partly_granted"]


async def test_a_need_that_is_added_meanwhile_still_gets_its_card(world: World):
    """The first scope is unticked; the second was not on that page, and is asked for on the same card."""
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    consent_id = await world.open(card)
    second = await world.say(world.sam, "/doc welcome")
    await world.card_for(world.sam, "docx:document:readonly")
    await world.get(await world.decide(consent_id, world.sam, scopes=["offline_access"]))
    await world.answer_to(first, "still needs")
    assert world.statuses("authorization_requests") == ["open"]
    await world.until(
        lambda: "task:task:read" not in text_of(world.tenant.messages[card.message_id].content),
        "a card for the rest",
    )
    await world.consent(world.sam, card)
    await world.answer_to(second)
    assert world.statuses("authorization_requests") == ["granted"]
