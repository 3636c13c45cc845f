"""What anybody can repeat costs a bounded number of rows that nobody can delete, and of calls to the platform."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.sandbox.lark.tenant import Message

from .test_administrator import without
from .test_foreign_hands import BROWSER, IN_CLIENT, come_back, in_client, state_in
from .webhook_client import WebhookClient
from .world import World, forged_click

SCOPES = "/open-apis/application/v6/scopes"


async def asked_for(world: World, command: str = "/tasks") -> tuple[str, Message]:
    asked = await world.say(world.sam, command)
    return asked, await world.fresh_card(world.sam, asked)


async def opened(world: World, link: str) -> str:
    """The state of a fresh opening."""
    status, target, page = await world.get(link)
    assert status == 302, page
    return parse_qs(urlsplit(target).query)["state"][0]


def audited(world: World) -> int:
    return world.count("audit_log")


def actions(world: World) -> list[str]:
    return [row["action"] for row in world.find("audit_log")]


# --- rows that nobody can delete ------------------------------------------------------------------------------------


async def test_a_state_that_is_sent_back_without_end_is_audited_once(world: World):
    await world.start()
    asked, card = await asked_for(world)
    link = world.link_of(card)
    failed, denied, late = await opened(world, link), await opened(world, link), await opened(world, link)
    await come_back(world, state=failed, error="server_error")
    await come_back(world, state=denied, error="access_denied")
    world.change(
        "UPDATE authorization_attempts SET expires_at = datetime('now', '-1 minute') || '.000000' "
        "WHERE status = 'live'"
    )
    used = state_in(await world.decide(await world.open(card), world.sam))
    await come_back(world, state=used, code="x")
    before = audited(world)
    for state in (failed, denied, late, used):
        for answer in ({"code": "x"}, {"error": "access_denied"}, {"error": "server_error"}):
            for door in ("browser", "client"):
                for _ in range(5):
                    if door == "browser":
                        await come_back(world, state=state, **answer)
                    else:
                        await in_client(world, "results", {"state": state, **answer})
        await asyncio.gather(*(come_back(world, state=state, code="x") for _ in range(10)))
    assert audited(world) == before + 4
    assert actions(world)[before:] == ["callback_rejected"] * 4
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(asked)


async def test_openings_that_are_ended_at_once_are_bounded_a_day_and_the_person_has_a_way_out(world: World):
    await world.start()
    _, card = await asked_for(world)
    link = world.link_of(card)
    ticket = link.rpartition("/")[2]
    errors = ("server_error", "access_denied")
    for number in range(100):
        if number % 2:
            state = await opened(world, link)
        else:
            state = (await in_client(world, "attempts", {"ticket": ticket}))[1]["state"]
        await come_back(world, state=state, error=errors[number % 4 // 2])
    before, looks = audited(world), len(world.requests(SCOPES))
    for _ in range(20):
        status, _, page = await world.get(link)
        assert status == 429
        assert "Not now" in page
        assert (await in_client(world, "attempts", {"ticket": ticket}))[0] == 429
    assert audited(world) == before
    assert len(world.requests(SCOPES)) == looks
    await world.click(world.sam, card, "not_now")
    asked, fresh = await asked_for(world)
    assert (await world.consent(world.sam, fresh))[0] == 200
    await world.answer_to(asked)


async def test_a_link_that_was_opened_too_often_can_be_opened_again_a_day_later(world: World):
    await world.start()
    asked, card = await asked_for(world)
    for _ in range(100):
        await come_back(world, state=await opened(world, world.link_of(card)), error="server_error")
    assert (await world.get(world.link_of(card)))[0] == 429
    world.change("UPDATE authorization_attempts SET created_at = datetime('now', '-25 hours') || '.000000'")
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(asked)


async def test_nothing_else_that_anybody_can_repeat_leaves_rows_that_nobody_can_delete(world: World):
    await world.start()
    attacker = WebhookClient(world)
    asked, card = await asked_for(world)
    link = world.link_of(card)
    ticket = link.rpartition("/")[2]
    request = world.only("authorization_requests")
    outsider = next(p for p in world.tenant.people.values() if p.tenant_key != world.tenant.app.tenant_key)
    forged = attacker.seal(attacker.message("/tasks"))

    async def everything() -> None:
        for path in (
            "/authorize/x", f"/authorize/{'A' * 43}", "/oauth/lark/callback", "/oauth/lark/callback?state=x&code=y",
            "/oauth/lark/callback?state=x&error=access_denied", "/oauth/lark/client", "/login", "/permissions",
            "/permissions?signed-in", "/permissions/continue", "/console", "/healthz", "/readyz", "/metrics",
        ):  # fmt: skip
            await world.get(world.public + path)
        for what in ("attempts", "sign-ins", "results"):
            for fields in (
                {},
                {"ticket": "A" * 43},
                {"state": "x", "code": "y"},
                {"state": "x", "error": "e"},
            ):
                await in_client(world, what, fields)
        await in_client(world, "attempts", {"ticket": ticket}, Origin="https://evil.example")
        for path in ("/logout", "/permissions/revoke", "/permissions/cancel"):
            async with world.http.post(world.public + path, data={"proof": "x"}, allow_redirects=False):
                pass
        sign_in = parse_qs(urlsplit((await world.get(f"{world.public}/login"))[1]).query)["state"][0]
        await come_back(world, state=sign_in, code="x")
        await come_back(world, state=sign_in, error="access_denied")
        await world.get(link, **{"User-Agent": "Slackbot-LinkExpanding 1.0"})
        await world.get(link, **{"User-Agent": IN_CLIENT})
        async with world.http.head(link):
            pass
        await attacker.post(forged)
        await attacker.post(forged, attacker.sign(forged, key="wrong"))
        for person in (world.wei, outsider):
            for action in (
                "not_now",
                "page_error",
                "page_error_scope",
                "page_error_other",
                "authorize",
                "send_again",
                "cancel",
                "confirm",
                "retry",
                "apply",
            ):
                await forged_click(world, person, {"action": action, "subject": request["id"]})

    await everything()
    before = audited(world)
    for _ in range(2):
        await everything()
    assert actions(world)[before:] == []
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(asked)


# --- calls to the platform -------------------------------------------------------------------------------------------


async def test_openings_share_one_reading_of_the_apps_scopes(world: World):
    await world.start()
    _, card = await asked_for(world)
    _, other = await world.say(world.wei, "/tasks"), await world.card_for(world.wei, "task:task:read")
    before, begun = len(world.requests(SCOPES)), time.monotonic()
    links = [world.link_of(card), world.link_of(other)]
    at_once = await asyncio.gather(*(world.get(link) for link in links * 8))
    one_by_one = [await world.get(link) for link in links for _ in range(8)]
    assert {status for status, _, _ in [*at_once, *one_by_one]} == {302}
    assert len(world.requests(SCOPES)) - before <= 1 + (time.monotonic() - begun) / 2.5


async def test_openings_beyond_the_bound_ask_the_platform_nothing(world: World):
    await world.start()
    _, card = await asked_for(world)
    link = world.link_of(card)
    for _ in range(20):
        assert (await world.get(link))[0] == 302
    before, begun = len(world.requests(SCOPES)), time.monotonic()
    while time.monotonic() < begun + 3:  # longer than a reading is shared
        assert (await world.get(link))[0] == 429
        assert (await in_client(world, "attempts", {"ticket": link.rpartition("/")[2]}))[0] == 429
    assert len(world.requests(SCOPES)) == before


async def test_openings_at_once_of_a_link_for_a_scope_that_the_app_lost_change_the_request_once(world: World):
    await world.start()
    _, card = await asked_for(world)
    await without(world, "task:task:read")
    link = world.link_of(card)
    at_once = await asyncio.gather(*(world.get(link) for _ in range(10)))
    assert {status for status, _, _ in at_once} == {302}
    assert actions(world).count("scope_disabled") == 1
    assert actions(world).count("request_asks_otherwise") == 1


# --- pages of other sites --------------------------------------------------------------------------------------------

NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

EMBEDDED = [
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "font"},
    {"Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "websocket"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Sec-Fetch-User": "?1"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "frame"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "embed"},
    {"Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Dest": "image"},
]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
async def test_a_page_that_embeds_or_fetches_a_link_uses_nothing_up(world: World, site: str):
    await world.start()
    asked, card = await asked_for(world)
    for headers in EMBEDDED:
        for agent in (BROWSER, IN_CLIENT):
            given = headers | {"Sec-Fetch-Site": site, "User-Agent": agent}
            for url in (world.link_of(card), f"{world.link_of(card)}?browser"):
                assert (await world.get(url, **given))[:2] == (200, ""), given
            assert (await world.get(f"{world.public}/login", **given))[:2] == (403, ""), given
    assert world.count("authorization_attempts") == 0
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(asked)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-User": "?1", **NAVIGATION},
        {"Sec-Fetch-Site": "none", **NAVIGATION},
        {"Sec-Fetch-Site": "same-origin", **NAVIGATION},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-User": "?1", **NAVIGATION},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-User": "?1", **NAVIGATION},
    ],
    ids=[
        "an old browser",
        "typed",
        "another program",
        "our own page",
        "a sibling's link",
        "another site's link",
    ],
)
async def test_everyone_who_follows_a_link_gets_through(world: World, headers: dict[str, str]):
    await world.start()
    _, card = await asked_for(world)
    status, target, _ = await world.get(world.link_of(card), **headers)
    assert status == 302
    assert target.startswith(world.origin)


async def test_a_page_that_sends_the_browser_here_by_itself_takes_one_click_more(world: World):
    await world.start()
    _, card = await asked_for(world)
    link = world.link_of(card)
    by_itself = {"Sec-Fetch-Site": "cross-site", **NAVIGATION}
    for url, onward in ((link, "?"), (f"{link}?browser", "?browser")):
        for _ in range(25):
            status, _, page = await world.get(url, **by_itself)
            assert status == 200
        assert f'href="{onward}"' in page
        assert link.rpartition("/")[2] not in page
    status, _, page = await world.get(f"{world.public}/oauth/lark/client", **by_itself)
    assert (status, "script" in page) == (200, False), "the page whose script opens the link"
    assert world.count("authorization_attempts") == 0
    clicked = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-User": "?1", **NAVIGATION}
    assert (await world.get(f"{link}?", **clicked))[0] == 302
    # Inside the client no attempt starts before the page asks for one.
    status, target, _ = await world.get(link, **by_itself | {"User-Agent": IN_CLIENT})
    assert (status, target.partition("#")[0]) == (302, "/oauth/lark/client")
    assert (
        "script"
        in (await world.get(f"{world.public}/oauth/lark/client", **by_itself | {"User-Agent": IN_CLIENT}))[2]
    )
