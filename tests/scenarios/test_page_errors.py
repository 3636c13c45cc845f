"""The platform's page shows an error and never calls back: what its visitor says of it, and who is told what."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core.cards import PageError
from bot.sandbox.lark.tenant import Message

from .card_content import actions_on, has_link, text_of
from .test_device import Room
from .world import World, forged_click

ERRORS = [error.value for error in PageError]
ABOUT_THE_APP = {"path": "/open-apis/application/v6"}


def toast_of(clicked: Any) -> str:
    return str(clicked["response"]["toast"]["content"])


def told(world: World) -> list[str]:
    """What the administrator was sent."""
    return [text_of(message.content) for message in world.from_bot(world.direct(world.ada))]


async def reported(world: World) -> str:
    """What the administrator was sent, once that is one message."""
    await world.until(lambda: told(world), "a word to the administrator")
    (words,) = told(world)
    return words


async def asked(world: World, command: str) -> Message:
    return await world.fresh_card(world.sam, await world.say(world.sam, command))


def standing(world: World) -> Any:
    """What a request asks for, and what waits for it."""
    return world.rows("SELECT status, scopes, avoided FROM authorization_requests"), world.rows(
        "SELECT status, waits_for FROM deferred_calls"
    )


@pytest.mark.parametrize(
    "command", ["/search welcome", "/tasks", "/doc welcome", "/authorize task:task:read"]
)
async def test_nobody_is_told_of_an_error_on_a_page_that_was_not_opened(world: World, command: str):
    await world.start()
    card = await asked(world, command)
    assert "page_error" not in actions_on(card)
    before = standing(world)
    request = world.only("authorization_requests")
    for _ in range(3):
        for action in ("page_error", *(f"page_error_{error}" for error in ERRORS)):
            await forged_click(world, world.sam, {"action": action, "subject": request["id"]})
    assert standing(world) == before
    assert has_link(card)
    assert told(world) == []
    await world.consent(world.sam, card)


async def test_what_is_asked_for_instead_has_to_be_opened_as_well(world: World):
    await world.start()
    card = await asked(world, "/tasks")
    await world.see_page_error(card)
    await world.report_page_error(world.sam, card)
    assert "task:task:write" in text_of(card.content)
    assert "page_error" not in actions_on(card)
    before = standing(world)
    request = world.only("authorization_requests")
    await forged_click(world, world.sam, {"action": "page_error_scope", "subject": request["id"]})
    assert standing(world) == before
    assert told(world) == []


@pytest.mark.parametrize("error", [PageError.REDIRECT, PageError.APP, PageError.OTHER])
async def test_what_the_platform_does_not_confirm_is_told_as_a_report_once(world: World, error: PageError):
    await world.start()
    card = await asked(world, "/search welcome")
    await world.see_page_error(card)
    before = standing(world)
    for _ in range(3):
        assert "told your administrator" in toast_of(await world.report_page_error(world.sam, card, error))
    words = await reported(world)
    assert "reports" in words
    assert "can't confirm" in words
    assert "用户反馈" in words
    assert standing(world) == before
    audited = world.only("audit_log", action="page_error_reported")
    assert error.value in audited["detail"]
    await world.consent(world.sam, card)


async def test_a_redirect_url_that_is_missing_is_told_as_a_fact(world: World):
    world.tenant.app.scopes["application:application:self_manage"].tenant = True
    await world.start()
    card = await asked(world, "/tasks")
    world.tenant.app.redirect_urls = [f"{world.public}/oauth/lark/client"]
    await world.see_page_error(card)
    await world.report_page_error(world.sam, card, "redirect")
    words = await reported(world)
    assert f"doesn't include {world.public}/oauth/lark/callback" in words
    assert "can't confirm" not in words


async def test_a_redirect_url_that_nobody_can_look_up_is_told_as_a_report(world: World):
    await world.start()
    card = await asked(world, "/tasks")
    await world.see_page_error(card)
    await world.trouble(ABOUT_THE_APP, "status", status=500)
    await world.report_page_error(world.sam, card, "redirect")
    assert "can't be read" in await reported(world)


async def test_scopes_that_nobody_can_look_up_are_told_as_a_report(world: World):
    await world.trouble(ABOUT_THE_APP, "status", status=500)
    await world.start()
    card = await asked(world, "/search welcome")
    for _ in range(2):
        await world.see_page_error(card)
        await world.report_page_error(world.sam, card)
    words = await reported(world)
    assert "can't be read" in words
    assert "search:docs:read" in words
    assert world.count("scope_waits") == 0
    assert has_link(card)


async def test_a_scope_that_the_list_says_is_missing_is_asked_of_the_administrator(world: World):
    await world.start()
    card = await asked(world, "/search welcome")
    await world.see_page_error(card)
    await world.control("app-scopes", scope="search:docs:read", user=False)
    await world.report_page_error(world.sam, card)
    words = await reported(world)
    assert "search:docs:read" in words
    assert "reports" not in words


async def test_one_person_cannot_flood_the_administrators_with_reports(world: World):
    await world.start()
    cards = []
    for number in range(4):
        card = await asked(world, "/search welcome")
        await world.see_page_error(card)
        for error in ("redirect", "app", "other"):
            cards.append(toast_of(await world.report_page_error(world.sam, card, error)))
        await world.click(world.sam, card, "not_now")
        assert number < 3 or "show them" in cards[-1]
    assert len(told(world)) <= 10


async def test_without_an_administrator_nobody_claims_that_one_was_told(world: World):
    world.tenant.app.scopes["application:application:self_manage"].tenant = False
    await world.start(BOT_ADMINS="")
    card = await asked(world, "/tasks")
    await world.see_page_error(card)
    clicked = await world.report_page_error(world.sam, card, "other")
    assert "show them what the page says" in toast_of(clicked)


async def test_by_device_flow_the_control_comes_with_the_link(world: World):
    room = Room(world)
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    assert "page_error" not in actions_on(card)
    await room.press(world.sam, card)
    await room.link(card)
    await world.report_page_error(world.sam, card, "app")
    assert "reports" in await reported(world)
