"""Where a callback ends: at a page whose address holds neither a code nor a state, whatever came of it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from bot.flows.account.sign_in import SignInFailure
from bot.flows.authorize.grant import CallbackResult

from .raw_http import exchange, request
from .world import World

STATE, CODE = "s" * 43, "Qm3xYzzz1"
CALLBACK = "/oauth/lark/callback"

QUERIES = [
    "",
    f"?code={CODE}&state={STATE}",
    f"?code={CODE}&state=signin.{STATE}",
    f"?code={CODE}",
    f"?state={STATE}",
    f"?error=access_denied&state={STATE}",
    f"?error=access_denied&state=signin.{STATE}",
    f"?code={CODE}&code={CODE}&state={STATE}",
    f"?code={CODE}&error=access_denied&state={STATE}",
    f"?code={CODE}%0d%0aX:%20y&state={STATE}",
    f"?code={CODE}&state=" + "s" * 5000,
    f"?code={CODE}&state={STATE}#/login",
    f"?x=1&code={CODE}&state={STATE}&next=https://evil.example",
]
PATHS = [CALLBACK, f"{CALLBACK}/", f"{CALLBACK}/more"]
NEARLY = [
    f"{CALLBACK}//x",
    f"{CALLBACK}/%2f%5c",
    f"{CALLBACK}.php",
    "/oauth/lark/",
    "/oauth/lark/Callback",
    "/callback",
    "/",
    "/oauth/lark/client",
]
"""Other paths, to which a link, a proxy or a slip may have brought a code."""


async def left(world: World, method: str, path: str) -> str:
    """Goes to a callback, and returns the address at which the browser ends."""
    async with world.http.request(method, world.public + path, allow_redirects=False) as response:
        assert response.status == 303, (method, path, response.status)
        assert "Set-Cookie" not in response.headers
        assert CODE not in await response.text()
        target = response.headers["Location"]
    parts = urlsplit(target)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", ""), target
    assert "?" not in target
    assert STATE not in target
    return target


@pytest.mark.parametrize("path", PATHS)
async def test_no_callback_leaves_its_code_in_the_address(world: World, path: str):
    await world.start()
    for query in QUERIES:
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
            target = await left(world, method, path + query)
            status, _, page = await world.get(world.public + target)
            assert status == 400, (target, page)
    assert world.count("authorization_attempts") == 0


@pytest.mark.parametrize("path", NEARLY)
async def test_no_other_page_leaves_a_code_in_the_address(world: World, path: str):
    await world.start()
    for query in (each for each in QUERIES if "code" in each or "state" in each):
        assert await left(world, "GET", path + query) == "/authorization/malformed"


@pytest.mark.parametrize("path", [*PATHS, *NEARLY[:5], "/oauth/lark/client"])
@pytest.mark.parametrize("length", [8_200, 12_000, 70_000])
async def test_no_state_is_too_long_to_be_taken_out_of_the_address(world: World, path: str, length: int):
    await world.start()
    for query in (f"?code={CODE}&state={'s' * length}", f"?state={'%C3' * (length // 3)}&code={CODE}"):
        answer = await exchange(world, request(f"GET {path}{query}", "User-Agent: Mozilla/5.0"))
        assert (answer.status, answer.headers["location"]) == (303, "/authorization/malformed")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "clear-site-data" not in answer.headers
    assert CODE not in (world.directory / "bot.log").read_text()


STRAY = [
    "/permissions",
    "/permissions/continue",
    "/login",
    "/login/declined",
    "/login/other_browser",
    "/authorization/authorized",
    "/authorization/malformed",
    f"/authorize/{'t' * 43}",
    "/healthz",
]
"""Pages that have no use for a code."""


@pytest.mark.parametrize("path", STRAY)
async def test_a_code_at_a_page_that_has_no_use_for_it_is_taken_out_of_the_address(world: World, path: str):
    await world.start()
    for query in (each for each in QUERIES if "code" in each or "state" in each):
        for agent in ("Mozilla/5.0", "Mozilla/5.0 Lark/7.30.6"):
            async with world.http.get(
                world.public + path + query, allow_redirects=False, headers={"User-Agent": agent}
            ) as response:
                assert (response.status, response.headers["Location"]) == (303, path)
                assert "Set-Cookie" not in response.headers
                assert CODE not in await response.text()
    for query in ("", "?x=1", "?signed-in", "?waiting=1"):
        async with world.http.get(world.public + path + query, allow_redirects=False) as response:
            assert response.headers.get("Location") != path


async def test_a_strangers_link_without_a_challenge_ends_without_its_code(world: World):
    """To either of the two addresses on the app's list, for a person who only follows it."""
    await world.start()
    for page in ("callback", "client"):
        redirect = f"{world.public}/oauth/lark/{page}"
        link = (
            f"{world.origin}/open-apis/authen/v1/authorize?response_type=code&state={STATE}"
            f"&client_id={world.tenant.app.app_id}&redirect_uri={redirect}"
        )
        _, target, _ = await world.get(link)
        back = await world.decide(target.split("id=")[1], world.sam)
        assert parse_qs(urlsplit(back).query).keys() == {"code", "state"}
        target = await left(world, "GET", back.removeprefix(world.public))
        assert target in {"/authorization/unknown", "/authorization/malformed"}


async def test_a_failure_of_ours_in_a_callback_ends_at_a_page_too(world: World):
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help"))
    world.change("ALTER TABLE authorization_attempts RENAME TO away")
    for query in QUERIES[1:3]:
        target = await left(world, "GET", CALLBACK + query)
        assert target == "/authorization/trouble"
        status, _, page = await world.get(world.public + target)
        assert (status, "Something went wrong" in page) == (500, True)


OUTCOMES = [
    *(f"/authorization/{each.value}" for each in (*CallbackResult,)),
    "/authorization/trouble",
    *(f"/login/{each.value}" for each in SignInFailure),
]


async def test_each_outcome_has_a_page_that_says_the_same_to_everybody(world: World):
    await world.start()
    seen: set[str] = set()
    for outcome in OUTCOMES:
        for language, other in (("en", "zh-CN"), ("zh-CN", "en")):
            pages = []
            for _ in range(2):
                async with world.http.get(
                    world.public + outcome, headers={"Accept-Language": language}
                ) as response:
                    assert response.status in {200, 202, 400, 403, 409, 500, 503}, outcome
                    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                    assert response.headers["Cache-Control"] == "no-store"
                    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                    assert "Set-Cookie" not in response.headers
                    pages.append(await response.text())
            assert pages[0] == pages[1]
            assert f'<html lang="{language}"' in pages[0]
            assert f'<aside lang="{other}"' in pages[0]
            seen.add(pages[0])
    assert len(seen) >= 2 * (len(OUTCOMES) - 3)  # few share their words
    for path in ("/authorization/", "/authorization/x", "/authorization/granted/x", "/login/", "/login/x"):
        assert (await world.get(world.public + path))[0] == 404
