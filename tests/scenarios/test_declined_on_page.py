"""A refusal on the platform's page comes from anybody who has the link: it ends that opening and nothing else."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

from bot.sandbox.lark.tenant import Message, Person

from .card_content import has_link, kinds_of_buttons, text_of, without_acknowledgements
from .test_foreign_hands import in_client
from .world import World

SAYS_SO = "Declined on the page"
ACKNOWLEDGED = {"Authorize": "default", "Not now": "default"}
ASKS = {"Authorize": "primary", "Not now": "default"}


async def decline(world: World, link: str, door: str = "browser") -> str:
    """Two requests without any identity. Returns the page at the end."""
    if door == "client":
        _, begun = await in_client(world, "attempts", {"ticket": link.rpartition("/")[2]})
        _, said = await in_client(world, "results", {"state": begun["state"], "error": "access_denied"})
        return f"{said['title']} {said['text']}"
    status, target, page = await world.get(link)
    assert status == 302, page
    state = parse_qs(urlsplit(target).query)["state"][0]
    return await page_after(world, f"{world.public}/oauth/lark/callback?error=access_denied&state={state}")


async def page_after(world: World, back: str) -> str:
    """What a browser shows that comes back from the platform."""
    _, target, page = await world.get(back)
    return (await world.get(urljoin(back, target)))[2] if target else page


async def asked(world: World, person: Person, command: str = "/tasks") -> tuple[str, Message]:
    message = await world.say(person, command)
    return message, await world.fresh_card(person, message)


async def says_so(world: World, card: Message) -> None:
    await world.until(lambda: SAYS_SO in text_of(card.content), "the acknowledgement")


def changes(world: World, card: Message) -> int:
    """How often the card was changed."""
    return len(world.requests(f"/im/v1/messages/{card.message_id}", "PATCH"))


def audited(world: World, action: str) -> list[dict[str, Any]]:
    rows = world.find("audit_log", action=action)
    return [{"user_key": row["user_key"], "detail": json.loads(row["detail"])} for row in rows]


def states(world: World) -> tuple[list[str], list[str]]:
    return world.statuses("deferred_calls"), world.statuses("authorization_requests")


@pytest.mark.parametrize("door", ["browser", "client"])
async def test_a_refusal_by_anyone_with_the_link_declines_nothing_for_its_owner(world: World, door: str):
    await world.start()
    message, card = await asked(world, world.sam, "/doc welcome")
    await world.say(world.sam, "/tasks")
    await world.until(lambda: "task:task:read" in text_of(card.content), "both needs on the card")
    link = world.link_of(card)
    page = await decline(world, link, door)
    assert "still waiting" in page
    assert "Not now" in page
    await says_so(world, card)
    assert "/doc** and **/tasks** weren't run" in text_of(card.content)
    assert kinds_of_buttons(card) == ACKNOWLEDGED
    assert world.link_of(card) == link
    assert states(world) == (["suspended"] * 2, ["open"])
    (denied,) = audited(world, "attempt_denied")
    assert denied["user_key"].endswith(world.sam.open_id), "whom it concerns"
    assert denied["detail"].items() >= {"by": "unidentified", "where": "page"}.items()
    assert not audited(world, "request_declined")
    assert not audited(world, "call_cancelled")
    assert world.rows("SELECT quiet_since FROM users WHERE quiet_since IS NOT NULL") == []
    await world.open(card)
    assert SAYS_SO in text_of(card.content), "an opening changes nothing"
    assert (await world.consent(world.sam, card))[0] == 200
    assert "welcome" in text_of((await world.answer_to(message)).content).lower()
    await world.until(lambda: "Authorized" in text_of(card.content), "the authorized card")
    await world.until(lambda: states(world) == (["succeeded"] * 2, ["granted"]), "both answers")


async def test_refusals_without_end_change_the_card_once_and_send_nothing(world: World):
    await world.start()
    message, card = await asked(world, world.sam)
    # The first opening changes the card as well: it gets its second control.
    await world.see_page_error(card)
    before = changes(world, card)
    for door in ("browser", "client") * 5:
        await decline(world, world.link_of(card), door)
        await says_so(world, card)
    # A card that is to change once more has done so before the answer to this.
    await world.answer_to(await world.say(world.sam, "/help"))
    (drawn,) = world.rows("SELECT wanted, shown FROM cards")
    assert drawn == {"wanted": 3, "shown": 3}
    assert changes(world, card) == before + 1
    assert len(audited(world, "attempt_denied")) == 10, "one entry for each opening"
    said = without_acknowledgements(world.from_bot(world.direct(world.sam), message))
    assert [m.message_id for m in said][:-1] == [card.message_id]


async def test_a_strangers_consent_does_not_take_the_acknowledgement_back(world: World):
    await world.start()
    message, card = await asked(world, world.sam)
    await decline(world, world.link_of(card))
    await says_so(world, card)
    assert (await world.consent(world.ada, card))[0] == 403
    await world.until(lambda: world.rows("SELECT 1 FROM cards WHERE shown = wanted"), "the card")
    assert SAYS_SO in text_of(card.content)
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(message)


async def test_a_new_command_asks_as_before_on_the_same_card_and_points_to_it(world: World):
    await world.start()
    first, card = await asked(world, world.sam)
    await decline(world, world.link_of(card))
    await says_so(world, card)
    second = await world.say(world.sam, "/tasks")
    await world.until(lambda: kinds_of_buttons(card) == ASKS, "the card that asks")
    assert SAYS_SO not in text_of(card.content)
    await world.answer_to(second, "to the card above")
    assert world.rows("SELECT declined_on_page_at FROM authorization_requests") == [
        {"declined_on_page_at": None}
    ]
    assert (await world.consent(world.sam, card))[0] == 200
    for each in (first, second):
        await world.until(lambda each=each: answered(world, each), "the answer")


def answered(world: World, message: str) -> bool:
    return bool(
        world.rows(
            "SELECT 1 FROM deferred_calls WHERE message_id = ? AND status = 'succeeded'",
            message,
        )
    )


@pytest.mark.parametrize("declined", ["on the page", "by the person"])
async def test_a_refusal_does_not_silence_the_note_of_a_new_command_in_a_group(world: World, declined: str):
    await world.start()
    _, card = await asked(world, world.sam)
    if declined == "on the page":
        await decline(world, world.link_of(card))
        await says_so(world, card)
    else:
        await world.click(world.sam, card, "not_now")
    message = await world.say(world.sam, "/agenda", world.group)
    await world.answer_to(message, "in our direct chat")
    card = await world.card_for(world.sam, "calendar:calendar:readonly")
    assert kinds_of_buttons(card) == ASKS
    assert (await world.consent(world.sam, card))[0] == 200
    await world.until(lambda: answered(world, message), "the answer")


@pytest.mark.parametrize("by", ["not_now", "/cancel"])
async def test_the_person_themselves_drops_what_waits(world: World, by: str):
    await world.start()
    message, card = await asked(world, world.sam)
    await decline(world, world.link_of(card))
    await says_so(world, card)
    if by == "not_now":
        await world.not_now(world.sam, card)
    else:
        await world.say(world.sam, by)
        await world.answer_to(message)
    await world.until(lambda: not has_link(card), "the declined card")
    assert states(world)[0][0] == "cancelled"
    assert states(world)[1] == ["declined"]
    (entry,) = audited(world, "request_declined")
    assert entry["detail"]["reason"] == {"not_now": "not_now", "/cancel": "cancelled_by_user"}[by]


async def test_what_waits_runs_out_at_its_time_as_if_nobody_had_declined(world: World):
    await world.start()
    _, card = await asked(world, world.sam)
    await decline(world, world.link_of(card))
    await says_so(world, card)
    await world.expires(card)
    assert states(world) == (["expired"], ["expired"])


async def test_a_refusal_after_the_end_does_not_claim_that_something_waits(world: World):
    await world.start()
    message, card = await asked(world, world.sam)
    late = await world.open(card)
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(message)
    page = await page_after(world, await world.decide(late, world.ada, "refuse"))
    assert "still waiting" not in page
    assert "closed in the meantime" in page
    assert states(world) == (["succeeded"], ["granted"])


async def test_a_card_that_only_its_reader_sees_is_replaced_once(world: World):
    """It cannot be changed; the one that takes its place says so, and has a link that nobody else knows."""
    world.sam.blocked_bot = True
    await world.start()
    message = await world.say(world.sam, "/task Buy milk", world.group)

    def cards() -> list[Message]:
        return [m for m in world.from_bot(world.group, message) if has_link(m) and not m.recalled]

    (card,) = await world.until(cards, "the card")
    first = world.link_of(card)
    await decline(world, first)
    (second,) = await world.until(
        lambda: [m for m in cards() if SAYS_SO in text_of(m.content)], "the acknowledgement"
    )
    assert world.link_of(second) != first
    assert kinds_of_buttons(second) == ACKNOWLEDGED
    assert [row["status"] for row in world.rows("SELECT status FROM authorization_requests ORDER BY id")] == [
        "superseded",
        "open",
    ]
    await decline(world, world.link_of(second))
    assert (await world.get(first))[0] == 410
    await world.answer_to(await world.say(world.sam, "/help", world.group))
    assert [m.message_id for m in cards()] == [second.message_id]
    assert (await world.consent(world.sam, second))[0] == 200
    await world.until(lambda: answered(world, message), "the answer")
