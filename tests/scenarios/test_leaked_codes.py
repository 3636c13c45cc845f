"""A code that somebody learned, brought to a sign-in of their own: it signs nobody in."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import aiohttp
import pytest

from .test_sign_in import IN_CLIENT, Browser, met, sessions
from .test_sign_in import browser as opened
from .world import World

__all__ = ["opened"]

V3 = "/oauth/v3/token"
OTHERS = {"v1": "/open-apis/authen/v1/oidc/access_token", "v2": "/open-apis/authen/v2/oauth/token"}

Browsers = Callable[..., Browser]


async def leaked(world: World, page: str = "callback", **more: str) -> str:
    """The code of a link that a stranger made and Sam followed."""
    query = {
        "response_type": "code",
        "client_id": world.tenant.app.app_id,
        "redirect_uri": f"{world.public}/oauth/lark/{page}",
        "state": "of-the-stranger",
        **more,
    }
    _, target, _ = await world.get(f"{world.origin}/open-apis/authen/v1/authorize?{urlencode(query)}")
    back = await world.decide(target.split("id=")[1], world.sam)
    return aiohttp.client.URL(back).query["code"]


async def bring(world: World, one: Browser, code: str) -> int:
    """Takes the code to a sign-in that is begun in this browser."""
    way_back = await one.way_back(world.ada)
    state = aiohttp.client.URL(way_back).query["state"]
    return (await one.get(f"/oauth/lark/callback?{urlencode({'code': code, 'state': state})}"))[0]


async def bring_in_client(world: World, one: Browser, code: str) -> None:
    _, asked = await one.post_json("/oauth/lark/client/sign-ins", {})
    await one.post_json("/oauth/lark/client/results", {"state": asked["state"], "code": code})


@pytest.mark.parametrize("generation", ["v1", "v2", "v3"])
async def test_a_leaked_code_signs_nobody_in(world: World, opened: Browsers, generation: str):
    await world.start(LARK_OAUTH=generation)
    await met(world, world.sam)
    for page in ("callback", "client"):
        for more in (
            {},
            {"code_challenge": "x" * 43, "code_challenge_method": "S256"},
            {"scope": "task:task:read"},
        ):
            thief, phone = opened(), opened(IN_CLIENT)
            assert await bring(world, thief, await leaked(world, page, **more)) == 400
            await bring_in_client(world, phone, await leaked(world, page, **more))
            assert sessions(world) == []
    await opened().sign_in(world.sam)
    assert not [each for each in world.requests(OTHERS.get(generation, "/nowhere"), "POST")]


async def test_a_code_from_the_client_signs_nobody_in_by_the_browsers_road(
    world: World,
    opened: Browsers,
):
    await world.start()
    await met(world, world.sam)
    given = await world.control(
        "in-client", person=world.sam.open_id, page_url=f"{world.public}/oauth/lark/client", scope_list=[]
    )
    assert await bring(world, opened(), given["code"]) == 400
    assert sessions(world) == []


NOT_THERE = [
    {"kind": "status", "status": 404, "body": "404 page not found"},
    {"kind": "status", "status": 404, "body": {"code": 404, "msg": "not found"}},
    {"kind": "status", "status": 405, "body": ""},
    {"kind": "html", "status": 200},
    {"kind": "status", "status": 400, "body": {"code": 20036, "error": "unsupported_grant_type"}},
]


@pytest.mark.parametrize("generation", ["v1", "v2"])
@pytest.mark.parametrize("answer", NOT_THERE, ids=lambda each: f"{each['kind']}-{each['status']}")
async def test_where_the_app_has_no_v3_the_configured_generation_signs_in_and_v3_is_left_alone(
    world: World,
    opened: Browsers,
    generation: str,
    answer: dict[str, object],
):
    await world.control("faults", match={"path": V3}, **answer)
    await world.start(LARK_OAUTH=generation)
    await met(world, world.sam)
    for _ in range(3):
        await opened().sign_in(world.sam)
    assert len(world.requests(V3, "POST")) == 1
    assert len(world.requests(OTHERS[generation], "POST")) == 3
    assert (world.directory / "bot.log").read_text().count("no v3 token endpoint") == 1
    _, out, _ = await world.cli("doctor")
    (line,) = [each for each in out.splitlines() if each[6:].startswith("sign-in")]
    assert line.startswith("warn")


async def test_visitors_do_not_have_the_log_say_again_that_there_is_no_v3(world: World, opened: Browsers):
    """An answer that nobody knows makes the bot look again; what it finds is no news."""
    await world.control("faults", match={"path": V3}, **NOT_THERE[0])
    odd = {"kind": "status", "status": 400, "body": {"code": 29999, "error": "odd"}}
    await world.control("faults", match={"path": OTHERS["v2"], "grant_type": "authorization_code"}, **odd)
    await world.start(LARK_OAUTH="v2")
    await met(world, world.sam)
    for _ in range(8):
        visitor = opened()
        await visitor.get(await visitor.way_back(world.sam))
    assert len(world.requests(V3, "POST")) >= 8
    assert (world.directory / "bot.log").read_text().count("no v3 token endpoint") == 1


TROUBLE = [
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "truncate"},
    {"kind": "html", "status": 502},
    {"kind": "status", "status": 403, "body": "no"},
    {"kind": "rate_limit"},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "body": {"code": 20072, "error": "temporarily_unavailable"}},
]


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda each: "-".join(map(str, list(each.values())[:2])))
async def test_no_trouble_on_the_way_sends_a_sign_in_to_another_endpoint(
    world: World,
    opened: Browsers,
    trouble: dict[str, object],
):
    await world.start()
    await met(world, world.sam)
    code = await leaked(world)
    await world.control("faults", match={"path": V3}, **trouble)
    await bring(world, opened(), code)
    assert world.requests(OTHERS["v2"], "POST") == []
    await world.lift()
    assert sessions(world) == []
    await opened().sign_in(world.sam)


@pytest.mark.parametrize(("status", "times"), [(406, 1), (200, 1), (406, 20), (200, 20)])
@pytest.mark.parametrize("code", ["x" * 4000, "<script>alert(1)</script>", "' OR 1=1 --"])
async def test_no_code_sends_a_sign_in_to_another_endpoint(
    world: World,
    opened: Browsers,
    code: str,
    status: int,
    times: int,
):
    """As when a firewall before the platform answers a code that it does not like, and perhaps what comes after it, with
    a page of its own."""
    await world.start()
    await met(world, world.sam)
    await opened().sign_in(world.sam)
    page = {"kind": "html", "status": status, "times": times}
    await world.control("faults", match={"path": V3}, **page)
    await bring(world, opened(), code)
    await bring(world, opened(), await leaked(world))
    assert world.requests(OTHERS["v2"], "POST") == []
    assert sessions(world) == [world.sam.open_id]
