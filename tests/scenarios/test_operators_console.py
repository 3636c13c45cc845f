"""The console of a running bot: signing in, the story of a call, its two buttons, and both platforms in one process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from urllib.parse import urlencode

import pytest

from .test_sign_in import IN_CLIENT, Browser, browser, met
from .world import World

__all__ = ["browser"]

CONSOLE = "/console"


async def sign_in(one: Browser, path: str, person: object) -> str:
    """Open a page of the console, sign in, and return where that leads."""
    _, _, page = await one.get(path)
    (link,) = re.findall(r'href="(/login[^"]*)"', page)
    status, target, page = await one.get(unescape(link))
    assert status == 303, page
    _, target, page = await one.get(target)
    status, location, page = await one.get(await one.world.decide(target.split("id=")[1], person))  # type: ignore[arg-type]
    assert status == 303, page
    return location


async def fields_of(one: Browser, path: str) -> dict[str, str]:
    """Return the hidden fields of the form on a page that asks for a confirmation."""
    _, _, page = await one.get(path)
    form = page.partition('class="card confirm"')[2]
    return {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)}


@pytest.fixture
async def running(world: World) -> World:
    """Sam has sent a command, authorized it and read the answer."""
    await world.start()
    message = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(message)
    return world


@pytest.mark.parametrize("path", [CONSOLE, f"{CONSOLE}/people", f"{CONSOLE}/calls?status=failed"])
async def test_a_sign_in_leads_back_to_the_page_that_was_opened(
    running: World, browser: Callable[..., Browser], path: str
):
    ada = browser()
    location = await sign_in(ada, path, running.ada)
    assert location.startswith(path)
    assert location.endswith("signed-in")
    status, _, page = await ada.get(location)
    assert (status, running.ada.name in unescape(page)) == (200, True)
    assert "bot_destination" not in ada.cookies()
    # The next sign-in, at My permissions, does not lead to the console.
    assert (await ada.get(await ada.way_back(running.ada)))[1] == "/permissions?signed-in"


async def test_inside_the_client_the_console_signs_in_by_itself(
    running: World, browser: Callable[..., Browser]
):
    client = browser(IN_CLIENT)
    path = f"{CONSOLE}/people"
    assert (await client.get(path))[:2] == (303, f"/login?to={path}")
    assert (await client.get(f"/login?to={path}"))[:2] == (303, "/oauth/lark/client#sign-in")
    _, asked = await client.post_json("/oauth/lark/client/sign-ins", {})
    page = f"{running.public}/oauth/lark/client"
    given = await running.control("in-client", person=running.ada.open_id, page_url=page, scope_list=[])
    result = {"state": asked["state"], "code": given["code"]}
    assert await client.post_json("/oauth/lark/client/results", result) == (
        200,
        {"location": f"{path}?signed-in"},
    )
    assert (await client.get(f"{path}?signed-in"))[0] == 200


async def test_a_failed_sign_in_is_tried_again_for_the_same_page(
    running: World, browser: Callable[..., Browser]
):
    ada = browser()
    _, target, _ = await ada.get(f"/login?to={CONSOLE}/errors")
    _, target, _ = await ada.get(target)
    _, _, page = await ada.get(await running.decide(target.split("id=")[1], running.ada, "refuse"))
    assert f'href="/login?to={CONSOLE}/errors"' in page


async def test_the_story_of_a_call_is_told_from_the_question_to_the_answer(
    running: World, browser: Callable[..., Browser]
):
    ada = browser()
    await sign_in(ada, CONSOLE, running.ada)
    (call,) = [each["id"] for each in running.find("deferred_calls", command="tasks")]
    await running.until(lambda: set(running.statuses("outgoing_messages")) == {"sent"}, "the messages' end")
    status, _, page = await ada.get(f"{CONSOLE}/story?call={call}")
    assert status == 200
    told = [unescape(each) for each in re.findall(r"<strong>(.*?)</strong>", page.partition("timeline")[2])]
    order = [
        "Asked",
        "Suspended",
        "Card shown",
        "Link opened",
        "Released",
        "Succeeded",
        "Message sent",
    ]
    positions = [told.index(each) for each in order]
    assert positions == sorted(positions), told
    # The request and the call are settled and released in one transaction.
    assert "Authorized" in told[positions[3] : positions[-1]]
    assert told.count("Link opened") == 1
    # The scope's lack was known without asking the platform.
    (made,) = running.find("api_calls", call_id=call)
    assert made["outcome"] == "succeeded"
    assert made["log_id"] in page
    _, _, overview = await ada.get(CONSOLE)
    assert re.search(r'Authorized</th><td class="right">1<', overview)


async def test_an_operator_revokes_and_the_person_is_asked_again(
    running: World, browser: Callable[..., Browser]
):
    ada, sam = browser(), browser()
    await sign_in(ada, CONSOLE, running.ada)
    await sam.sign_in(running.sam)
    user = running.only("grants")["user_key"]
    fields = await fields_of(ada, f"{CONSOLE}/revoke?{urlencode({'user': user})}")
    status, location, _ = await ada.post(f"{CONSOLE}/revoke", fields)
    assert (status, location.endswith("&revoked")) == (303, True)
    assert running.only("grants")["status"] == "ended"
    await running.until(
        lambda: running.statuses("revocations") == ["done"] * running.count("revocations"), "the revocation"
    )
    assert "Sam Rivera" not in await sam.permissions()
    (entry,) = running.find("audit_log", action="revoked_by_operator")
    assert entry["user_key"] == user
    operator = json.loads(entry["detail"])["operator"]
    assert operator.endswith(running.ada.open_id)
    await running.fresh_card(running.sam, await running.say(running.sam, "/tasks"))


async def test_checking_again_continues_what_waits(running: World, browser: Callable[..., Browser]):
    await running.control("app-scopes", scope="search:docs:read", user=False)
    ada = browser()
    await sign_in(ada, CONSOLE, running.ada)
    await running.say(running.sam, "/search plans")
    await running.until(lambda: running.count("deferred_calls", waits_for="administrator") == 1, "a wait")
    _, _, page = await ada.get(f"{CONSOLE}/scopes")
    assert "search:docs:read" in page
    assert "/search" in page
    assert "plans" not in page
    await running.control("app-scopes", scope="search:docs:read", user=True)
    status, location, _ = await ada.post(f"{CONSOLE}/check", await fields_of(ada, f"{CONSOLE}/check"))
    assert status == 303
    assert location in {f"{CONSOLE}/scopes?continued", f"{CONSOLE}/scopes?checked"}
    (entry,) = running.find("audit_log", action="scopes_checked")
    assert json.loads(entry["detail"])["operator"].endswith(running.ada.open_id)
    await running.card_for(running.sam, "search:docs:read")


async def test_the_owner_is_the_administrator_if_none_is_configured(
    world: World, browser: Callable[..., Browser]
):
    await world.start(BOT_ADMINS="")
    await met(world, world.sam)
    ada, sam = browser(), browser()
    await sign_in(ada, CONSOLE, world.ada)
    await sign_in(sam, CONSOLE, world.sam)
    assert (await ada.get(CONSOLE))[0] == 200
    assert (await sam.get(CONSOLE))[0] == 403


async def test_without_a_public_address_there_is_no_console(world: World):
    await world.start(BOT_PUBLIC_URL="")
    async with world.http.get(f"http://127.0.0.1:{world.port}{CONSOLE}") as response:
        assert response.status == 404
