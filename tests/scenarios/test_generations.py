"""The token endpoint's three generations: the whole loop by each, its errors in words, and a change of generation."""

from __future__ import annotations

import json

import pytest

from .card_content import text_of
from .world import World

ENDPOINTS = {
    "v1": ("/open-apis/authen/v1/oidc/access_token", "/open-apis/authen/v1/oidc/refresh_access_token"),
    "v2": ("/open-apis/authen/v2/oauth/token", "/open-apis/authen/v2/oauth/token"),
    "v3": ("/oauth/v3/token", "/oauth/v3/token"),
}
GENERATIONS = list(ENDPOINTS)


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_the_whole_loop_and_a_refresh(world: World, generation: str):
    await world.start(LARK_OAUTH=generation)
    await world.authorized(world.sam)
    await world.authorized(world.sam, "/agenda")
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    grant = world.only("grants")
    assert grant["oauth"] == generation
    assert grant["refreshed_at"]
    assert grant["refresh_expires_at"]
    assert {"task:task:read", "calendar:calendar:readonly"} <= set(json.loads(grant["scopes"]))
    exchange, refresh = ENDPOINTS[generation]
    assert {each["code"] for each in world.requests(exchange, "POST")} == {0}
    assert [each["grant_type"] for each in world.requests(refresh, "POST")].count("refresh_token") == 1


PAGES = {
    "v1": {20003: 400, 20004: 400, 20022: 403, 20042: 500, 20046: 500, 20014: 500},
    "v2": {
        20003: 400,
        20049: 400,
        20065: 400,
        20071: 400,
        20010: 403,
        20066: 403,
        20002: 500,
        20048: 500,
        21001: 500,
    },
    "v3": {20003: 400, 20068: 400, 20009: 403, 20069: 500, 20070: 500},
}
"""Error codes of an exchange, by whose matter they are: 400 the code's, 403 the person's, 500 the app's."""


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_each_error_of_an_exchange_has_its_page_and_the_link_goes_on_working(
    world: World, generation: str
):
    await world.start(LARK_OAUTH=generation)
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    pages = {}
    for code in PAGES[generation]:
        body = {"code": code, "error": "invalid_grant", "error_description": "words", "msg": "words"}
        status = 200 if generation == "v1" else 400
        match = {"path": ENDPOINTS[generation][0]}
        times = 2 if code == 20068 else 1  # the code is shown again then, without the scopes
        await world.control("faults", match=match, times=times, kind="status", status=status, body=body)
        shown, page = await world.consent(world.sam, card)
        assert shown >= 400, (code, page)
        assert "words" not in page
        pages[code] = page
    for group in set(PAGES[generation].values()):
        same = {page for code, page in pages.items() if PAGES[generation][code] == group}
        assert len(same) == 1, group
    status, page = await world.consent(world.sam, card)
    assert status == 200, page
    await world.answer_to(asked)


OVER = {"v1": [20026, 20037, 20038, 20021], "v2": [20037, 20064, 20073, 20024], "v3": [20026, 20037, 20008]}


@pytest.mark.parametrize(
    ("generation", "code"), [(generation, code) for generation in OVER for code in OVER[generation]]
)
async def test_a_refresh_token_that_is_over_ends_the_grant_and_the_person_is_asked_again(
    world: World, generation: str, code: int
):
    await world.start(LARK_OAUTH=generation)
    await world.authorized(world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    body = {"code": code, "error": "invalid_grant", "msg": "words"}
    status = 200 if generation == "v1" else 400
    match = {"path": ENDPOINTS[generation][1], "grant_type": "refresh_token"}
    await world.control("faults", match=match, kind="status", status=status, body=body)
    await world.authorized(world.sam)
    reasons = [json.loads(row["detail"])["reason"] for row in world.find("audit_log", action="grant_ended")]
    assert reasons == [f"refresh_refused_{code}"]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_misconfigured_app_ends_no_grant(world: World, generation: str):
    await world.start(LARK_OAUTH=generation)
    await world.authorized(world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    body = {"code": 20036, "error": "unsupported_grant_type", "msg": "words"}
    status = 200 if generation == "v1" else 400
    match = {"path": ENDPOINTS[generation][1], "grant_type": "refresh_token"}
    await world.trouble(match, "status", status=status, body=body)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, patience=40)
    await world.lift()
    grant = world.only("grants")
    assert grant["status"] == "active"
    assert grant["refresh_token"]


@pytest.mark.parametrize("generation", ["v2", "v3"])
async def test_an_app_that_may_not_refresh_asks_again_without_delay(world: World, generation: str):
    await world.start(LARK_OAUTH=generation)
    await world.authorized(world.sam)
    await world.control("app", may_refresh=False)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.authorized(world.sam)


async def test_what_a_security_policy_wants_is_told(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    body = {"code": 21000, "error": "access_denied", "cli_hint": "Verify yourself in the client first."}
    match = {"path": ENDPOINTS["v2"][1], "grant_type": "refresh_token"}
    await world.control("faults", match=match, times=1, kind="status", status=400, body=body)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "security policy doesn't allow it right now")
    await world.answer_to(asked, "Verify yourself in the client first.")
    grant = world.only("grants")
    assert grant["status"] == "active"
    assert grant["refresh_token"]


@pytest.mark.parametrize(
    ("before", "after", "goes_on"),
    [("v2", "v3", True), ("v3", "v2", True), ("v1", "v2", False), ("v2", "v1", False), ("v1", "v3", False)],
)
async def test_after_a_change_of_generation_a_grant_is_used_while_it_can_be(
    world: World, before: str, after: str, goes_on: bool
):
    await world.start(LARK_OAUTH=before)
    await world.authorized(world.sam)
    await world.stop()
    await world.start(LARK_OAUTH=after)
    # The access token is good anywhere, and is kept until it is over.
    await world.answer_to(await world.say(world.sam, "/tasks"))
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    if goes_on:
        await world.answer_to(await world.say(world.sam, "/tasks"))
    else:
        await world.authorized(world.sam)
        ended = world.only("audit_log", action="grant_ended")
        assert json.loads(ended["detail"])["reason"] == "refresh_refused_20026"
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    answer = await world.answer_to(await world.say(world.sam, "/tasks"))
    assert text_of(answer.content)
