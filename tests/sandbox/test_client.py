"""What the client's SDK asks the client, and by what way a browser gets to the bot."""

import json
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient, AiohttpServer

from bot.sandbox.bot_proxy import build_bot_proxy
from bot.sandbox.lark.emulator import LarkEmulator
from bot.sandbox.lark.sample_tenant import NIKO

from .conftest import ADA, REDIRECT, LarkClient

TASKS = "task:task:read"


async def ask(world: LarkClient, api: str, person: str = ADA, **more: str) -> dict[str, Any]:
    """As the stand-in for the SDK asks: with a script, whose text holds the answer."""
    query = {"question": "7", "app_id": world.tenant.app.app_id, "page_url": REDIRECT, **more}
    answer = await world.client.get(
        "/sandbox/jssdk.js", params={"api": api, **query}, headers={"Cookie": f"sandbox_person={person}"}
    )
    assert answer.content_type == "text/javascript"
    script = await answer.text()
    before, after = "window.sandboxClient.answered(7, ", ");"
    assert script.startswith(before)
    assert script.endswith(after)
    answered = json.loads(script.removeprefix(before).removesuffix(after))
    assert isinstance(answered, dict)
    return answered


async def test_only_what_is_new_is_asked_for(world):
    sheet = (await ask(world, "requestAccess", scopes=TASKS))["sheet"]
    assert [each["scope"] for each in sheet["scopes"]] == [TASKS]
    given = await ask(world, "requestAccess", scopes=TASKS, decision="allow")
    assert (await world.exchange(given["code"], redirect_uri=None)).code == 0
    assert "code" in await ask(world, "requestAccess", scopes=TASKS)
    assert "code" in await ask(world, "requestAccess")


async def test_a_refusal_has_its_number_and_grants_nothing(world):
    assert (await ask(world, "requestAccess", scopes=TASKS, decision="refuse"))["errno"] == 2700002
    assert world.tenant.people[ADA].granted == set()


async def test_a_code_of_the_older_api_lives_five_minutes(world):
    given = await ask(world, "requestAuthCode")
    newer = await ask(world, "requestAccess")
    await world.control("clock", advance=200)
    assert (await world.exchange(newer["code"], redirect_uri=None)).code == 20004
    assert (await world.exchange(given["code"], redirect_uri=None)).code == 0


@pytest.mark.parametrize(
    ("person", "more", "error"),
    [
        (ADA, {"app_id": "cli_another"}, "20048"),
        (ADA, {"page_url": "https://elsewhere.example/"}, "20029"),
        (ADA, {"scopes": "minutes:minutes"}, "20027"),
        (NIKO, {}, "20010"),
        ("ou_nobody", {}, "Nobody uses this client"),
    ],
)
async def test_what_cannot_be_asked_is_an_error_that_the_client_shows(world, person, more, error):
    answered = await ask(world, "requestAccess", person, **more)
    assert error in answered["error"]
    assert "code" not in answered


async def test_another_sites_page_gets_no_answer(world):
    query = {"question": "1", "app_id": world.tenant.app.app_id, "page_url": REDIRECT}
    foreign = {"Cookie": f"sandbox_person={ADA}", "Sec-Fetch-Site": "cross-site"}
    path = "/sandbox/jssdk.js?api=requestAccess"
    assert (await world.client.get(path, params=query, headers=foreign)).status == 403
    assert (await world.client.get(path, params={**query, "question": "alert(1)"})).status == 403


@pytest.mark.parametrize(("sdk", "status"), [("new", 200), ("old", 200), ("broken", 200), ("absent", 404)])
async def test_the_sdk_is_that_of_the_client_that_is_emulated(world, sdk, status):
    await world.control("behaviour", client_sdk=sdk)
    answer = await world.client.get("/sandbox/jssdk.js")
    assert answer.status == status
    assert status == 404 or f'kind = "{sdk}"' in await answer.text()


async def test_the_proxy_to_the_bot_changes_only_the_user_agent_and_only_inside_the_client(
    world, aiohttp_client: AiohttpClient, aiohttp_server: AiohttpServer
):
    async def echo(request: web.Request) -> web.Response:
        seen = {"agent": request.headers["User-Agent"], "path": request.raw_path, "host": request.host}
        response = web.json_response(seen | {"body": await request.text()}, status=201)
        response.set_cookie("one", "1")
        response.set_cookie("two", "2")
        return response

    bot = web.Application()
    bot.router.add_route("*", "/{path:.*}", echo)
    server = await aiohttp_server(bot)
    front = build_bot_proxy(LarkEmulator(world.tenant), str(server.make_url("")).rstrip("/"))
    browser = await aiohttp_client(front)
    path = "/authorize/a%2Fb?x=%20"
    plain = await browser.post(path, data=b"text", headers={"User-Agent": "Browser/1"})
    seen = await plain.json()
    assert (plain.status, seen["agent"], seen["path"], seen["body"]) == (201, "Browser/1", path, "text")
    assert seen["host"] == f"{browser.host}:{browser.port}"
    assert len(plain.headers.getall("Set-Cookie")) == 2
    inside = {"Cookie": f"sandbox_person={ADA}; sandbox_client=1", "User-Agent": "Browser/1"}
    answer = await (await browser.get("/", headers=inside)).json()
    assert answer["agent"] == world.tenant.people[ADA].user_agent


async def test_an_applink_puts_a_browser_into_the_client_when_that_is_switched_on(world):
    link = {"mode": "sidebar-semi", "url": "http://127.0.0.1:1/x"}
    outside = await world.get("/client/web_url/open", params=link)
    assert 'sandbox_client=""' in outside.headers["Set-Cookie"]
    await world.control("behaviour", links_open="in the client")
    inside = await world.get("/client/web_url/open", params=link)
    assert "sandbox_client=1" in inside.headers["Set-Cookie"]
