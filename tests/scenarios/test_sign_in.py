"""Signing in and My permissions, over HTTP: who gets a session, and attempts to get another person's."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import unquote, urlencode

import aiohttp
import pytest

from bot.core.oauth import digest
from bot.sandbox.lark.tenant import Person
from bot.store import sealed
from bot.store.keyring import Keyring

from .card_content import text_of
from .world import World, outcome_page

IN_CLIENT = "Mozilla/5.0 (iPhone) AppleWebKit/605.1 Mobile Lark/7.30.6 LarkLocale/en_US"


class Browser:
    """A browser of its own: it keeps cookies, and nobody else's."""

    def __init__(self, world: World, agent: str = "Mozilla/5.0") -> None:
        self.world = world
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"User-Agent": agent}
        )

    async def get(self, url: str) -> tuple[int, str, str]:
        """Status, Location and text; a path is one of the bot's. Of a failed callback those of the page at its end."""
        async with self.http.get(self.full(url), allow_redirects=False) as response:
            if onward := outcome_page(self.full(url), response):
                return await self.get(onward)
            return response.status, response.headers.get("Location", ""), await response.text()

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> tuple[int, str, str]:
        async with self.http.post(
            self.full(path), data=fields, headers=headers, allow_redirects=False
        ) as response:
            return response.status, response.headers.get("Location", ""), await response.text()

    async def post_json(self, path: str, fields: Any, **headers: str) -> tuple[int, Any]:
        headers = {"Origin": self.world.public} | headers
        async with self.http.post(self.full(path), json=fields, headers=headers) as response:
            return response.status, await response.json(content_type=None) if response.ok else {}

    def full(self, url: str) -> str:
        return url if url.startswith("http") else self.world.public + url

    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.http.cookie_jar}

    def take_cookies(self, cookies: dict[str, str]) -> None:
        self.http.cookie_jar.update_cookies(cookies)

    # --- on the way in

    async def way_back(self, person: Person, decision: str = "allow") -> str:
        """Begins web login and decides on the platform's page; the URL that leads back, not yet followed."""
        status, target, page = await self.get("/login")
        assert status == 303, page
        status, target, page = await self.get(target)
        assert status == 302, page
        return await self.world.decide(target.split("id=")[1], person, decision)

    async def sign_in(self, person: Person) -> None:
        status, target, page = await self.get(await self.way_back(person))
        assert (status, target) == (303, "/permissions?signed-in"), page

    async def permissions(self) -> str:
        status, _, page = await self.get("/permissions")
        assert status == 200
        return unescape(page)

    async def proof(self) -> dict[str, str]:
        """The hidden field of the forms on the page."""
        found = re.search(r'name="proof" value="([^"]+)"', await self.permissions())
        assert found is not None
        return {"proof": found[1]}


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Callable[..., Browser]]:
    """Opens browsers."""
    opened: list[Browser] = []

    def one(agent: str = "Mozilla/5.0") -> Browser:
        opened.append(Browser(world, agent))
        return opened[-1]

    yield one
    for each in opened:
        await each.http.close()


async def met(world: World, person: Person) -> None:
    """Somebody of the organization has used the bot."""
    await world.answer_to(await world.say(person, "/help"))


@pytest.fixture
async def running(world: World) -> World:
    await world.start()
    await met(world, world.sam)
    return world


def sessions(world: World) -> list[str]:
    return [row["user_key"].rsplit(":", 1)[1] for row in world.find("sessions")]


NOT_HERE = "Sign-in started elsewhere"
OPEN = "/login"


# --- the way in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["v1", "v2", "v3"])
async def test_web_login_signs_in_and_leaves_no_token_behind(
    world: World, browser: Callable[..., Browser], generation: str
):
    await world.start(LARK_OAUTH=generation)
    await met(world, world.sam)
    sam = browser()
    page = await sam.permissions()
    assert "/login" in page
    assert "Sign out" not in page
    await sam.sign_in(world.sam)
    page = await sam.permissions()
    assert "Signed in as Sam Rivera" in page
    assert "You haven't authorized anything" in page
    assert world.count("grants") == 0
    assert world.statuses("authorization_attempts") == ["completed"]
    (consent,) = [
        c.data for c in world.tenant.feed.changes_after(0, "consent") if c.data["event"] == "opened"
    ]
    assert consent["scopes"] == []


async def test_signing_in_leaves_a_grant_as_it_is(running: World, browser: Callable[..., Browser]):
    await running.authorized(running.sam)
    before = running.find("grants")
    await browser().sign_in(running.sam)
    assert running.find("grants") == before


@pytest.mark.parametrize("generation", ["v1", "v2", "v3"])
async def test_the_client_says_who_it_is_without_a_login(
    world: World, browser: Callable[..., Browser], generation: str
):
    await world.start(LARK_OAUTH=generation)
    await met(world, world.sam)
    client = browser(IN_CLIENT)
    assert (await client.get("/permissions"))[:2] == (303, "/login")
    assert (await client.get("/login"))[:2] == (303, "/oauth/lark/client#sign-in")
    status, asked = await client.post_json("/oauth/lark/client/sign-ins", {})
    assert (status, asked["scopeList"]) == (200, [])
    page = f"{world.public}/oauth/lark/client"
    given = await world.control("in-client", person=world.sam.open_id, page_url=page, scope_list=[])
    ended = await client.post_json(
        "/oauth/lark/client/results", {"state": asked["state"], "code": given["code"]}
    )
    assert ended == (200, {"location": "/permissions?signed-in"})
    assert "Signed in as Sam Rivera" in await client.permissions()
    assert world.count("grants") == 0


async def test_a_person_who_refuses_is_not_signed_in(running: World, browser: Callable[..., Browser]):
    sam = browser()
    status, _, page = await sam.get(await sam.way_back(running.sam, "refuse"))
    assert status == 200
    assert "Not signed in" in page
    assert sessions(running) == []


async def test_cookies_are_kept_from_scripts_and_from_other_sites(
    world: World, browser: Callable[..., Browser]
):
    await world.start()
    async with browser().http.get(f"{world.public}/login", allow_redirects=False) as response:
        (cookie,) = response.headers.getall("Set-Cookie")
    assert cookie.startswith("bot_browser=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"} <= set(cookie.split("; "))
    await world.stop()
    await world.start(BOT_PUBLIC_URL="https://bot.example.com")
    local = f"http://127.0.0.1:{world.port}"
    async with browser().http.get(f"{local}/login", allow_redirects=False) as response:
        (cookie,) = response.headers.getall("Set-Cookie")
    # Browsers take it from this host alone, by TLS, and from no script.
    assert cookie.startswith("__Host-Http-bot_browser=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Secure"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


async def test_a_link_preview_begins_no_sign_in(running: World, browser: Callable[..., Browser]):
    robot = browser("LarkUrl2Meta bot")
    assert (await robot.get("/login"))[0] == 200
    async with browser().http.head(f"{running.public}/login", allow_redirects=False) as response:
        assert response.status == 200
    assert running.count("authorization_attempts") == 0


# --- those who would like it to be theirs ------------------------------------------------------------


async def test_a_session_id_that_was_planted_is_worth_nothing(
    running: World, browser: Callable[..., Browser]
):
    planted = {"bot_session": "p" * 43}
    victim, attacker = browser(), browser()
    victim.take_cookies(planted)
    attacker.take_cookies(planted)
    await victim.sign_in(running.sam)
    assert victim.cookies()["bot_session"] != planted["bot_session"]
    assert "Sam Rivera" not in await attacker.permissions()


async def test_signing_in_again_ends_the_previous_session(running: World, browser: Callable[..., Browser]):
    sam, thief = browser(), browser()
    await sam.sign_in(running.sam)
    thief.take_cookies(sam.cookies())
    assert "Sam Rivera" in await thief.permissions()
    await sam.sign_in(running.sam)
    assert "Sam Rivera" not in await thief.permissions()
    assert len(sessions(running)) == 1


async def test_nobody_is_signed_in_by_a_link_that_somebody_else_began(
    running: World, browser: Callable[..., Browser]
):
    attacker, victim = browser(), browser()
    link = await attacker.way_back(running.ada)
    status, _, page = await victim.get(link)
    assert status == 400
    assert NOT_HERE in page
    assert sessions(running) == []
    assert "bot_session" not in victim.cookies()


async def test_nobody_is_signed_in_by_anothers_link_during_their_own_sign_in_either(
    running: World, browser: Callable[..., Browser]
):
    attacker, victim = browser(), browser()
    link = await attacker.way_back(running.ada)
    own = await victim.way_back(running.sam)
    assert NOT_HERE in (await victim.get(link))[2]
    assert (await victim.get(own))[0] == 303
    assert "Signed in as Sam Rivera" in await victim.permissions()


async def test_what_came_back_counts_once(running: World, browser: Callable[..., Browser]):
    sam = browser()
    link = await sam.way_back(running.sam)
    cookies = sam.cookies()
    assert (await sam.get(link))[0] == 303
    sam.take_cookies(cookies)
    status, _, page = await sam.get(link)
    assert (status, "Already used" in page) == (400, True)
    assert len(sessions(running)) == 1


async def test_a_sign_in_that_took_too_long_starts_again(world: World, browser: Callable[..., Browser]):
    await world.start(BOT_AUTHORIZATION_TTL="1")
    await met(world, world.sam)
    sam = browser()
    link = await sam.way_back(world.sam)
    cookies = sam.cookies()
    await asyncio.sleep(1.1)
    sam.take_cookies(cookies)
    status, _, page = await sam.get(link)
    assert (status, NOT_HERE in page) == (400, True)


@pytest.mark.parametrize("state", ["signin.", "signin." + "x" * 43, "signin." + "x" * 4000, "signin.\u00e4"])
async def test_a_guessed_state_signs_nobody_in(running: World, browser: Callable[..., Browser], state: str):
    sam = browser()
    await sam.way_back(running.sam)
    async with sam.http.get(
        f"{running.public}/oauth/lark/callback", params={"state": state, "code": "c"}, allow_redirects=False
    ) as response:
        assert response.status == 303
        onward = response.headers["Location"]
    assert onward in {"/login/other_browser", "/authorization/malformed"}
    assert (await sam.get(onward))[0] == 400
    assert sessions(running) == []


@pytest.mark.parametrize(
    ("status", "says"),
    [("live", NOT_HERE), ("expired", NOT_HERE), ("completed", "Already used"), ("failed", "Already used")],
)
async def test_a_sign_in_that_an_earlier_release_began_is_told_from_one_that_was_used(
    running: World, browser: Callable[..., Browser], status: str, says: str
):
    """It was recorded when it began, and left no cookie that this release can read."""
    state = "signin." + "e" * 43
    moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    running.change(
        "INSERT INTO authorization_attempts "
        "(id, kind, state_digest, scopes, status, created_at, expires_at, consumed_at, outcome) "
        f"VALUES ('earlier', 'sign_in', '{digest(state)}', '[]', '{status}', '{moment}', '{moment}', "
        f"{'NULL' if says == NOT_HERE else repr(moment)}, {repr('x') if says != NOT_HERE else 'NULL'})"
    )
    query = {"state": state, "code": "c" * 43}
    answer, _, page = await browser().get(f"/oauth/lark/callback?{urlencode(query)}")
    assert (answer, says in page) == (400, True), page


async def test_neither_kind_of_attempt_completes_the_other(running: World, browser: Callable[..., Browser]):
    asked = await running.say(running.sam, "/tasks")
    card = await running.fresh_card(running.sam, asked)
    sam = browser()
    sign_in = await sam.way_back(running.sam)
    _, target, _ = await sam.get(running.link_of(card))
    state_of_the_card = aiohttp.client.URL(target).query["state"]
    back = aiohttp.client.URL(sign_in)
    # The sign-in's code with the card's state, and the card's state dressed up as a sign-in's.
    for state in (
        state_of_the_card,
        f"signin.{state_of_the_card}",
        back.query["state"].removeprefix("signin."),
    ):
        crossed = back.with_query(code=back.query["code"], state=state)
        status, _, page = await sam.get(str(crossed))
        assert status >= 400, page
    assert running.count("grants") == 0
    assert sessions(running) == []
    # The code was offered with the PKCE verifier of another attempt, and is still good for its own.
    assert (await sam.get(sign_in))[0] == 303


async def test_a_page_of_another_site_cannot_begin_or_finish_in_the_client(
    running: World, browser: Callable[..., Browser]
):
    client = browser(IN_CLIENT)
    for path in ("sign-ins", "results"):
        status, _ = await client.post_json(
            f"/oauth/lark/client/{path}", {"state": "signin.x", "code": "c"}, Origin="https://evil.example"
        )
        assert status == 403
    assert running.count("authorization_attempts") == 0


async def test_a_code_from_the_client_needs_the_browser_that_asked_for_it(
    running: World, browser: Callable[..., Browser]
):
    attacker, victim = browser(IN_CLIENT), browser(IN_CLIENT)
    _, asked = await attacker.post_json("/oauth/lark/client/sign-ins", {})
    page = f"{running.public}/oauth/lark/client"
    given = await running.control("in-client", person=running.ada.open_id, page_url=page, scope_list=[])
    result = {"state": asked["state"], "code": given["code"]}
    async with victim.http.post(
        f"{running.public}/oauth/lark/client/results", json=result, headers={"Origin": running.public}
    ) as response:
        assert response.status == 400
        assert (await response.json())["title"] == NOT_HERE
    assert sessions(running) == []


async def test_people_of_another_organization_are_not_let_in(running: World, browser: Callable[..., Browser]):
    stranger = {"open_id": "ou_stranger", "tenant_key": "another", "name": "Niko", "union_id": "on_1"}
    await running.control(
        "faults",
        match={"path": "/open-apis/authen/v1/user_info"},
        kind="status",
        status=200,
        body={"code": 0, "msg": "success", "data": stranger},
    )
    niko = browser()
    status, _, page = await niko.get(await niko.way_back(running.sam))
    assert status == 403
    assert "Unknown organization" in page
    assert sessions(running) == []
    assert running.count("users", tenant_key="another") == 0


@pytest.mark.parametrize(
    "answer",
    [{"error": "access_denied"}, {"error": "server_error"}, {"code": "made-up"}, {"code": "c" * 900}],
    ids=lambda each: "=".join(*each.items())[:20],
)
async def test_sign_ins_that_come_to_nothing_leave_nothing(
    running: World, browser: Callable[..., Browser], answer: dict[str, str]
):
    counts = {table: running.count(table) for table in ("authorization_attempts", "audit_log")}
    for one in (browser(), browser(IN_CLIENT)):
        for _ in range(10):
            if one.http.headers["User-Agent"] == IN_CLIENT:
                _, asked = await one.post_json("/oauth/lark/client/sign-ins", {})
                await one.post_json("/oauth/lark/client/results", {"state": asked["state"], **answer})
                continue
            way = aiohttp.client.URL(await one.way_back(running.sam))
            query = {"state": way.query["state"], **answer}
            for _ in range(2):
                status, _, page = await one.get(str(way.with_query(query)))
                assert status in {200, 400}, page
    for table, count in counts.items():
        assert running.count(table) == count, table
    assert sessions(running) == []


async def test_a_person_who_declined_by_mistake_can_still_come_back(
    running: World, browser: Callable[..., Browser]
):
    """Another tab of the platform's page, of the same sign-in."""
    sam = browser()
    way = aiohttp.client.URL(await sam.way_back(running.sam))
    declined = way.with_query(state=way.query["state"], error="access_denied")
    assert "You cancelled signing in" in (await sam.get(str(declined)))[2]
    assert (await sam.get(str(way)))[:2] == (303, "/permissions?signed-in")
    assert (await sam.get(str(way)))[0] == 400
    assert len(sessions(running)) == 1


async def test_a_strangers_sign_ins_are_audited_once_a_day(running: World, browser: Callable[..., Browser]):
    def stranger(open_id: str) -> dict[str, str]:
        return {"open_id": open_id, "tenant_key": "another", "name": "Niko", "union_id": "on_1"}

    for open_id in ("ou_niko", "ou_mara"):
        fault = await running.trouble(
            {"path": "/open-apis/authen/v1/user_info"},
            "status",
            status=200,
            body={"code": 0, "msg": "success", "data": stranger(open_id)},
        )
        for _ in range(5):
            one = browser()
            assert (await one.get(await one.way_back(running.sam)))[0] == 403
        await running.lift(fault)
    noted = running.rows("SELECT user_key, detail FROM audit_log WHERE action = 'sign_in_failed'")
    assert [each["user_key"].rsplit(":", 1)[1] for each in noted] == ["ou_niko", "ou_mara"]
    assert all("stranger" in each["detail"] for each in noted)
    assert running.count("authorization_attempts") == 0


async def test_an_administrator_is_let_in_before_anybody_has_used_the_bot(
    world: World, browser: Callable[..., Browser]
):
    await world.start()
    sam = browser()
    assert "Unknown organization" in (await sam.get(await sam.way_back(world.sam)))[2]
    await browser().sign_in(world.ada)


# --- posts -------------------------------------------------------------------------------------------

POSTS = ["/logout", "/permissions/revoke", "/permissions/cancel"]


async def test_the_address_of_a_form_that_is_opened_as_a_page_leads_back(
    running: World, browser: Callable[..., Browser]
):
    sam = browser()
    await sam.sign_in(running.sam)
    for path in POSTS:
        status, _, page = await sam.get(path)
        assert status == 405
        assert 'href="/permissions"' in page


@pytest.mark.parametrize("path", POSTS)
async def test_a_post_without_proof_or_from_elsewhere_does_nothing(
    running: World, browser: Callable[..., Browser], path: str
):
    await running.authorized(running.sam)
    sam, ada = browser(), browser()
    await sam.sign_in(running.sam)
    await ada.sign_in(running.ada)
    proof = await sam.proof()
    refused = [
        await sam.post(path, {}),
        await sam.post(path, {"proof": "x" * 43}),
        await sam.post(path, await ada.proof()),
        await sam.post(path, proof, Origin="https://evil.example"),
        await sam.post(path, proof, Origin=f"{running.public}.evil.example"),
        await sam.post(path, proof, **{"Sec-Fetch-Site": "cross-site"}),
        await sam.post(path, proof, **{"Sec-Fetch-Site": "same-site"}),
        await sam.post(path, {**proof, "more": "x" * 5000}),
        await sam.post(path, proof, **{"Content-Type": "text/plain"}),
    ]
    assert [status for status, _, _ in refused] == [403] * len(refused)
    assert running.statuses("grants") == ["active"]
    assert "Signed in as Sam Rivera" in await sam.permissions()
    # As a browser sends it from our page, whose policy is to send no referrer.
    assert (await sam.post(path, proof, Origin="null", **{"Sec-Fetch-Site": "same-origin"}))[0] == 303


@pytest.mark.parametrize(
    "metadata",
    [
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
        {"Sec-Fetch-Mode": "same-origin"},
        {"Sec-Fetch-Dest": "serviceworker"},
    ],
    ids=str,
)
async def test_what_goes_by_a_session_can_only_be_opened(
    running: World, browser: Callable[..., Browser], metadata: dict[str, str]
):
    await running.authorized(running.sam)
    sam = browser()
    await sam.sign_in(running.sam)
    proof = await sam.proof()
    metadata = {"Sec-Fetch-Site": "same-origin", **metadata}
    for path in ("/permissions", "/permissions/continue", "/login"):
        async with sam.http.get(sam.full(path), headers=metadata, allow_redirects=False) as response:
            assert response.status == 403
            assert "Sam" not in await response.text()
    for path in POSTS:
        assert (await sam.post(path, proof, **metadata))[0] == 403
    assert running.statuses("grants") == ["active"]
    opened = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with sam.http.get(sam.full("/permissions"), headers=opened) as response:
        assert "Signed in as Sam Rivera" in await response.text()
    assert (await sam.post("/logout", proof, **opened))[0] == 303


async def test_a_form_that_trickles_in_is_cut_off(running: World, browser: Callable[..., Browser]):
    sam = browser()
    await sam.sign_in(running.sam)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"p"
            await asyncio.sleep(0.5)

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with asyncio.timeout(12):
        async with sam.http.post(sam.full("/logout"), data=endless(), headers=form) as response:
            assert response.status == 408
    assert "Signed in as Sam Rivera" in await sam.permissions()


async def test_a_signed_out_cookie_is_dead(running: World, browser: Callable[..., Browser]):
    sam, thief = browser(), browser()
    await sam.sign_in(running.sam)
    thief.take_cookies(sam.cookies())
    status, target, _ = await sam.post("/logout", await sam.proof())
    assert (status, target) == (303, "/permissions?signed-out")
    assert "bot_session" not in sam.cookies()
    assert "Signed out" in (await sam.get(target))[2]
    for each in (sam, thief):
        assert "Sam Rivera" not in await each.permissions()
    assert sessions(running) == []


async def test_nobody_is_signed_out_by_a_post_from_elsewhere(running: World):
    """Browsers leave the cookie out of it (SameSite), and old ones do not say where it comes from."""
    async with running.http.post(f"{running.public}/logout", allow_redirects=False) as response:
        assert response.status == 303
        assert "Set-Cookie" not in response.headers


def age(world: World, column: str, by: timedelta) -> None:
    """Moves a time of all sessions into the past."""
    moment = (datetime.now(UTC) - by).strftime("%Y-%m-%d %H:%M:%S.%f")
    with closing(sqlite3.connect(world.database, timeout=10)) as connection, connection:
        connection.execute(f"UPDATE sessions SET {column} = ?", (moment,))


@pytest.mark.parametrize(("column", "by"), [("expires_at", 1), ("seen_at", 31 * 60)])
async def test_a_session_ends_by_time(running: World, browser: Callable[..., Browser], column: str, by: int):
    sam = browser()
    await sam.sign_in(running.sam)
    age(running, column, timedelta(seconds=by))
    assert "Sam Rivera" not in await sam.permissions()


ENDINGS = ["expired", "idle", "gone", "in another tab"]


async def session_ends(world: World, one: Browser, how: str) -> None:
    if how == "in another tab":
        await one.post("/logout", await one.proof())
    elif how == "gone":
        world.change("DELETE FROM sessions")
    else:
        column, by = ("expires_at", 1) if how == "expired" else ("seen_at", 31 * 60)
        age(world, column, timedelta(seconds=by))


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("path", ["/permissions/revoke", "/permissions/cancel", "/permissions/continue"])
async def test_what_is_pressed_after_a_session_has_ended_is_said_not_to_be_done(
    running: World, browser: Callable[..., Browser], how: str, path: str
):
    await running.authorized(running.sam)
    sam = browser()
    await sam.sign_in(running.sam)
    proof = await sam.proof()
    await session_ends(running, sam, how)
    status, target, _ = await (sam.get(path) if path.endswith("continue") else sam.post(path, proof))
    assert (status, target) == (303, "/permissions?ended")
    page = (await sam.get(target))[2]
    assert "You've been signed out" in unescape(page)
    assert "登录已结束" in page
    assert "ookie" not in page
    assert running.statuses("grants") == ["active"]


@pytest.mark.parametrize("how", ENDINGS[:3])
async def test_a_page_that_is_opened_after_a_session_has_ended_says_so(
    running: World, browser: Callable[..., Browser], how: str
):
    sam, stranger = browser(), browser()
    await sam.sign_in(running.sam)
    await session_ends(running, sam, how)
    page = await sam.permissions()
    assert "You've been signed out" in page
    assert "ookie" not in page
    assert "You've been signed out" not in await stranger.permissions()
    await sam.sign_in(running.sam)
    assert "Signed in as Sam Rivera" in await sam.permissions()


async def test_a_session_that_is_used_stays(running: World, browser: Callable[..., Browser]):
    sam = browser()
    await sam.sign_in(running.sam)
    age(running, "seen_at", timedelta(minutes=20))
    assert "Sam Rivera" in await sam.permissions()
    row = running.only("sessions")
    seen = datetime.fromisoformat(row["seen_at"]).replace(tzinfo=UTC)
    assert datetime.now(UTC) - seen < timedelta(minutes=1)


async def test_a_session_lives_through_a_restart_and_a_half_finished_sign_in_harms_nobody(
    running: World, browser: Callable[..., Browser]
):
    sam, ada = browser(), browser()
    await sam.sign_in(running.sam)
    link = await ada.way_back(running.ada)
    await running.control("faults", match={"path": "/oauth/v3/token"}, kind="timeout")
    landing = asyncio.create_task(ada.get(link))
    await running.until(
        lambda: running.count("authorization_attempts", status="redeeming"),
        "the exchange",
    )
    await running.kill()
    with pytest.raises(aiohttp.ClientError):
        await landing
    await running.start()
    assert "Signed in as Sam Rivera" in await sam.permissions()
    assert "Ada" not in await ada.permissions()
    await running.until(
        lambda: not running.count("authorization_attempts", status="redeeming"),
        "the end of the stranded sign-in",
        patience=40,
    )
    await running.lift()
    await ada.sign_in(running.ada)


async def test_a_platform_that_does_not_answer_is_said_to_be_that(
    running: World, browser: Callable[..., Browser]
):
    await running.control(
        "faults", match={"path": "/open-apis/authen/v1/user_info"}, kind="status", status=500
    )
    sam = browser()
    status, _, page = await sam.get(await sam.way_back(running.sam))
    assert status == 503
    assert "isn't responding" in unescape(page)
    assert sessions(running) == []


# --- my permissions ----------------------------------------------------------------------------------


async def test_it_says_what_was_granted_for_what_and_when_it_was_used(
    running: World, browser: Callable[..., Browser]
):
    await running.authorized(running.sam)
    sam = browser()
    await sam.sign_in(running.sam)
    page = await sam.permissions()
    assert "task:task:read" in page
    assert "For /tasks · allowed" in page
    assert "last used " in page
    assert "Renewed automatically" in page
    assert "Last used " in page
    assert "Times in UTC." in page


async def test_what_was_needed_last_was_done_no_later_than_the_bot_last_acted(
    running: World, browser: Callable[..., Browser]
):
    """The grant's own note lags behind: it is taken once a minute."""
    await running.authorized(running.sam)
    running.change("UPDATE grants SET last_used_at = '2026-01-01 00:00:00.000000'")
    sam = browser()
    await sam.sign_in(running.sam)
    page = await sam.permissions()
    needed = re.search(r"last used ([^<]+)<", page)
    assert needed is not None
    assert f"Last used {needed[1]}." in page


async def test_the_chat_points_to_the_page(running: World):
    for command in ("/permissions", "/help"):
        answer = await running.answer_to(await running.say(running.sam, command), "My permissions")
        assert f"{running.public}/permissions" in unquote(text_of(answer.content))


async def test_another_persons_session_sees_nothing_of_it(running: World, browser: Callable[..., Browser]):
    await running.authorized(running.sam)
    await running.fresh_card(running.sam, await running.say(running.sam, "/agenda"))
    ada = browser()
    await ada.sign_in(running.ada)
    page = await ada.permissions()
    assert "You haven't authorized anything" in page
    assert "task:task" not in page
    assert "/agenda" not in page
    assert (await ada.get("/permissions/continue"))[1] == "/permissions"
    await ada.post("/permissions/revoke", await ada.proof())
    await ada.post("/permissions/cancel", await ada.proof())
    assert running.statuses("grants") == ["active"]
    assert running.statuses("deferred_calls", command="agenda") == ["suspended"]


async def test_what_waits_is_shown_and_leads_on_to_its_consent(
    running: World, browser: Callable[..., Browser]
):
    asked = await running.say(running.sam, "/tasks")
    card = await running.fresh_card(running.sam, asked)
    sam = browser()
    await sam.sign_in(running.sam)
    page = await sam.permissions()
    assert "/tasks" in page
    assert "needs your authorization" in page
    ticket = running.link_of(card).rsplit("/", 1)[1]
    assert ticket not in page
    status, target, _ = await sam.get("/permissions/continue")
    assert (status, target) == (303, f"/authorize/{ticket}")
    await running.consent(running.sam, card)
    await running.answer_to(asked)


async def test_what_waits_can_be_dropped(running: World, browser: Callable[..., Browser]):
    asked = await running.say(running.sam, "/tasks")
    await running.fresh_card(running.sam, asked)
    sam = browser()
    await sam.sign_in(running.sam)
    assert (await sam.post("/permissions/cancel", await sam.proof()))[1] == "/permissions?cancelled"
    await running.answer_to(asked)
    page = await sam.permissions()
    assert "Waiting for you" not in page
    assert running.statuses("deferred_calls", command="tasks") == ["cancelled"]


async def test_taking_it_back_is_what_revoke_does(running: World, browser: Callable[..., Browser]):
    await running.authorized(running.sam)
    sam = browser()
    await sam.sign_in(running.sam)
    status, target, _ = await sam.post("/permissions/revoke", await sam.proof())
    assert (status, target) == (303, "/permissions?revoked")
    said = (await sam.get(target))[2]
    # What is true here, and what only the person can do at the platform.
    assert "tokens are erased here" in said
    assert "may still list this app" in said
    assert "privacy settings" in said
    assert "You haven't authorized anything" in await sam.permissions()
    grant = running.only("grants")
    assert (grant["status"], grant["end_reason"]) == ("ended", "revoked_by_user")
    assert (grant["access_token"], grant["refresh_token"]) == (None, None)
    assert running.count("granted_scopes") == 0
    await running.until(lambda: running.count("revocations", status="done"), "the platform's revocation")
    # Who is signed in stays so: what they granted and who they are, are two things.
    assert "Signed in as Sam Rivera" in await sam.permissions()


async def test_a_name_is_text_on_the_page(running: World, browser: Callable[..., Browser]):
    await running.control("people", open_id=running.sam.open_id, name="<b>Sam</b>\"'")
    sam = browser()
    await sam.sign_in(running.sam)
    _, _, page = await sam.get("/permissions")
    assert "<b>Sam" not in page
    assert "&lt;b&gt;Sam" in page


async def test_every_page_is_strict(running: World, browser: Callable[..., Browser]):
    sam = browser()
    pages = ["/permissions", "/login", "/permissions?signed-in", "/permissions?signed-out"]
    for signed_in in (False, True):
        if signed_in:
            await sam.sign_in(running.sam)
        for path in pages:
            async with sam.http.get(f"{running.public}{path}", allow_redirects=False) as response:
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert response.headers["Cache-Control"] == "no-store"
                assert "<script" not in await response.text()


async def test_no_secret_of_a_sign_in_is_written_down(running: World, browser: Callable[..., Browser]):
    sam = browser()
    link = await sam.way_back(running.sam)
    marks = sam.cookies()
    await sam.get(link)
    query = aiohttp.client.URL(link).query
    secrets = [*marks.values(), *sam.cookies().values(), query["code"], query["state"]]
    secrets += [token for token in running.tenant.credentials.access if token]
    assert await running.stop() == 0
    kept = b"".join(file.read_bytes() for file in running.directory.iterdir() if file.is_file())
    assert [each for each in secrets if each.encode() in kept] == []


async def test_an_operator_who_revokes_signs_the_person_out_everywhere(
    running: World, browser: Callable[..., Browser]
):
    """Something is wrong, or the operator would not: someone else at the person's browser is signed out, too."""
    await met(running, running.ada)
    at_home, at_work, somebody_else = browser(), browser(), browser()
    for each, person in ((at_home, running.sam), (at_work, running.sam), (somebody_else, running.ada)):
        await each.sign_in(person)
    code, out, _ = await running.cli("revoke", running.sam.open_id)
    assert code == 0
    assert "Browsers signed out: 2." in out
    for each in (at_home, at_work):
        assert "Signed in as" not in await each.permissions()
    assert "Signed in as Ada Meyer" in await somebody_else.permissions()
    told = running.rows("SELECT detail FROM audit_log WHERE action = 'signed_out'")
    assert told == [{"detail": '{"reason": "revoked_by_operator", "browsers": 2}'}]
    (entry,) = running.find("audit_log", action="revoked_by_operator")
    detail = json.loads(entry["detail"])
    assert (detail["calls"], detail["browsers"]) == (0, 2)


async def test_a_person_who_leaves_is_signed_out(running: World, browser: Callable[..., Browser]):
    sam = browser()
    await sam.sign_in(running.sam)
    left = {"object": {"open_id": running.sam.open_id}, "old_object": {}}
    await running.control("events", event={"event_type": "contact.user.deleted_v3", "event": left})
    assert "Signed in as" not in await sam.permissions()


async def test_a_robot_that_begins_sign_ins_stores_nothing_and_keeps_nobody_out(
    running: World, browser: Callable[..., Browser]
):
    sam, robot, phone = browser(), browser(), browser(IN_CLIENT)
    back = await sam.way_back(running.sam)

    async def begin(number: int) -> None:
        if number % 2:
            assert (await robot.get("/login"))[0] == 303
        else:
            assert (await phone.post_json("/oauth/lark/client/sign-ins", {}))[0] == 200

    for first in range(0, 1200, 40):
        await asyncio.gather(*(begin(first + number) for number in range(40)))
    assert running.count("authorization_attempts") == 0
    assert (await sam.get(back))[1] == "/permissions?signed-in"
    await browser().sign_in(running.sam)


async def test_what_a_browser_keeps_of_a_sign_in_can_be_neither_read_nor_changed_nor_exchanged(
    running: World, browser: Callable[..., Browser]
):
    sam = browser()
    link = await sam.way_back(running.sam)
    (kept,) = sam.cookies().values()
    state = aiohttp.client.URL(link).query["state"]
    assert not any(word in kept for word in (state, "callback", "signin"))
    (other,) = await cookies_of_a_begun_sign_in(browser())
    middle = len(kept) // 2
    for changed in (
        kept[:-2] + ("A" if kept[-2] != "A" else "B") + kept[-1],
        kept[:middle] + ("A" if kept[middle] != "A" else "B") + kept[middle + 1 :],
        kept.replace("v1.", "v2.", 1),
        kept[:-8],
        other,
        "x" * 43,
        "v1..",
    ):
        sam.http.cookie_jar.clear()
        sam.take_cookies({"bot_browser": changed})
        status, _, page = await sam.get(link)
        assert (status, NOT_HERE in page) == (400, True), changed
    assert sessions(running) == []
    assert running.count("authorization_attempts") == 0
    sam.take_cookies({"bot_browser": kept})
    assert (await sam.get(link))[1] == "/permissions?signed-in"


async def cookies_of_a_begun_sign_in(one: Browser) -> list[str]:
    assert (await one.get("/login"))[0] == 303
    return list(one.cookies().values())


async def test_a_sign_in_that_comes_back_many_times_at_once_counts_once(
    running: World, browser: Callable[..., Browser]
):
    sam = browser()
    link = await sam.way_back(running.sam)
    cookies = sam.cookies()
    copies = [browser() for _ in range(8)]
    for copy in copies:
        copy.take_cookies(cookies)
    came = await asyncio.gather(*(copy.get(link) for copy in copies))
    assert sorted(status for status, _, _ in came) == [303] + [400] * 7
    assert len(sessions(running)) == 1


async def test_what_anybody_can_cause_fills_no_log(running: World, browser: Callable[..., Browser]):
    """The first of a kind has a line of its own; those that follow share one, every ten seconds."""
    robot = browser()
    for first in range(0, 300, 30):
        queries = [f"state=signin.{first + number:043}&code=c" for number in range(10)]
        queries += [f"state={first + number:043}&code=c" for number in range(10)]
        queries += [f"state={first + number}" for number in range(10)]
        await asyncio.gather(*(robot.get(f"/oauth/lark/callback?{query}") for query in queries))
    lines = (running.directory / "bot.log").read_text().splitlines()
    told = [line for line in lines if "sign-in rejected" in line or "callback refused" in line]
    assert {"other_browser", "malformed", "unknown"} <= {
        word.strip('"') for line in told for word in line.replace("=", " ").split()
    }
    assert len(told) < 20


# --- a person who has very much ----------------------------------------------------------------------


def ask_for(world: World, scopes: frozenset[str]) -> None:
    """Has the open request ask for these, as the bot would write it: its ticket is sealed with them."""
    (row,) = world.find("authorization_requests", status="open")
    row |= {"scopes": frozenset(json.loads(row["scopes"])), "reasons": tuple(json.loads(row["reasons"]))}
    ring = Keyring([world.key])
    ticket = sealed.TICKET.open(ring, row)
    assert ticket is not None
    seal = sealed.TICKET.seal(ring, row | {"scopes": scopes}, ticket)
    written = json.dumps(sorted(scopes))
    world.change(
        f"UPDATE authorization_requests SET scopes = '{written}', ticket = '{seal}' WHERE status = 'open'"
    )


async def test_many_waiting_calls_and_scopes_are_shown_page_by_page(
    running: World, browser: Callable[..., Browser]
):
    await running.authorized(running.sam)
    for _ in range(61):
        await running.say(running.sam, "/agenda")
    await running.until(lambda: running.count("deferred_calls", status="suspended") == 61, "waiting")
    many = ", ".join(f'"x:scope:n{number:03}"' for number in range(300))
    running.change(f"UPDATE grants SET scopes = '[\"offline_access\", {many}]'")
    ask_for(running, frozenset(f"y:scope:n{number:03}" for number in range(300)))
    sam = browser()
    await sam.sign_in(running.sam)
    calls: dict[int, int] = {}
    scopes: list[str] = []
    address: str | None = "/permissions"
    while address is not None:
        _, _, page = await sam.get(address)
        page = unescape(page)
        assert len(page) < 40_000
        assert "(61)" in page
        assert "(301)" in page
        assert "and 280 more" in page
        scopes += re.findall(r"<code>(x:\S+|offline_access)</code>", page)
        following = {
            each: int(number) for each, number in re.findall(r"[?&](waiting|allowed)=(\d+)", address)
        }
        shown = {name: following.get(name, 1) for name in ("waiting", "allowed")}
        calls[shown["waiting"]] = page.count("<strong>/agenda</strong>")
        last = {"waiting": 4, "allowed": 16}
        later = {name: min(number + 1, last[name]) for name, number in shown.items()}
        links = re.findall(r'href="/permissions\?waiting=(\d+)&allowed=(\d+)"', page)
        assert (str(later["waiting"]), str(shown["allowed"])) in links or shown["waiting"] == last["waiting"]
        address = "/permissions?" + "&".join(f"{name}={number}" for name, number in later.items())
        if shown == last:
            address = None
    assert scopes == sorted(scopes, key=lambda each: (each == "offline_access", each))
    assert len(set(scopes)) == 301
    assert list(calls.values()) == [20, 20, 20, 1]
    for odd in ("0", "-1", "99999999999999999999", "x", "1&waiting=2", "%00", "\u0663"):
        assert (await sam.get(f"/permissions?waiting={odd}&allowed={odd}"))[0] == 200


async def test_codes_that_are_made_up_do_not_use_up_the_platforms_limit(
    running: World, browser: Callable[..., Browser]
):
    async def bring_any_code() -> str:
        visitor = browser()
        _, target, _ = await visitor.get("/login")
        state = re.search(r"[?&]state=([^&]+)", target)
        assert state is not None
        return (await visitor.get(f"/oauth/lark/callback?code=made-up&state={state[1]}"))[2]

    before, began = len(running.requests("/oauth/v3/token")), time.monotonic()
    ended = await asyncio.gather(*(bring_any_code() for _ in range(80)))
    asked = len(running.requests("/oauth/v3/token")) - before
    assert 0 < asked <= 10 * (time.monotonic() - began) + 2
    busy = [page for page in ended if "Too many sign-ins" in page]
    # One request has asked whether the endpoint is there at all.
    assert len(busy) - (80 - asked) in {0, 1}
    assert all("Sign-in failed" in page for page in ended if page not in busy)
    await browser().sign_in(running.sam)


async def test_sign_ins_under_way_are_bounded_while_the_token_endpoint_hangs(
    running: World, browser: Callable[..., Browser]
):
    await browser().sign_in(running.sam)
    hanging = await running.trouble({"path": "/oauth/v3/token"}, "delay", seconds=30)
    visitors = [browser() for _ in range(30)]
    ways = [await each.way_back(running.sam) for each in visitors]
    pages = [asyncio.create_task(each.get(way)) for each, way in zip(visitors, ways, strict=True)]
    await running.until(lambda: sum(each.done() for each in pages) == 10, "the refusals")
    await running.until(lambda: hanging.struck >= 20, "the others")
    assert hanging.struck == 20
    for each in pages:
        if each.done():
            status, _, page = await each
            assert (status, "Too many sign-ins" in page) == (503, True)
    # A way back that was refused is not used up.
    (late, *_) = (visitor for visitor, page in zip(visitors, pages, strict=True) if page.done())
    again = ways[visitors.index(late)]
    await running.lift(hanging)
    assert [(await each)[0] for each in pages].count(303) == 20
    assert (await late.get(again))[:2] == (303, "/permissions?signed-in")


# --- what was done ---------------------------------------------------------------------------------


WORDS = {
    "revoked": "I no longer have access to your account",
    "cancelled": "Cancelled.",
    "signed-out": "Signed out",
    "signed-in": "did not keep its cookie",
}


async def test_a_strangers_link_says_nothing_of_what_was_done(
    running: World, browser: Callable[..., Browser]
):
    await running.authorized(running.sam)
    sam, nobody = browser(), browser()
    await sam.sign_in(running.sam)
    for word, said in WORDS.items():
        for one in (sam, nobody):
            for query in (word, f"{word}=1", f"{word}&{word}", "&".join(WORDS)):
                status, _, page = await one.get(f"/permissions?{query}")
                assert (status, said in unescape(page)) == (200, False), (word, query)


async def test_a_mark_that_somebody_plants_says_nothing_of_what_was_done(
    running: World, browser: Callable[..., Browser]
):
    """The client's script runs on our origin, so it can set cookies, those of an attacker's own browser among them."""
    await running.authorized(running.sam)
    await running.authorized(running.ada)
    sam, ada, nobody = browser(), browser(), browser()
    await sam.sign_in(running.sam)
    await ada.sign_in(running.ada)
    _, target, _ = await ada.post("/permissions/revoke", await ada.proof())
    assert target == "/permissions?revoked"
    own = ada.cookies()["bot_done"]
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", own)
    changed = own[:-1] + ("A" if own[-1] != "A" else "B")
    for mark in ("revoked", "cancelled", "signed-out", own, changed, "v1.x.y", "x" * 200, "x" * 5000, ""):
        for one in (sam, nobody):
            one.take_cookies({"bot_done": mark})
            page = unescape((await one.get(f"/permissions?{'&'.join(WORDS)}"))[2])
            assert not any(said in page for said in WORDS.values()), mark
    _, target, _ = await sam.post("/logout", await sam.proof())
    sam_is_out = sam.cookies()["bot_done"]
    ada.take_cookies({"bot_done": sam_is_out})
    page = await ada.permissions()
    assert "Signed in as Ada Meyer" in page
    assert not any(said in page for said in WORDS.values())


@pytest.mark.parametrize(
    "others",
    ["a=b; ", 'a="b"; c="d; ', "bot_session; bot_sessio=x; xbot_session=y; ", "a=b; " * 1500, "; ;;=;"],
)
async def test_other_cookies_of_the_host_keep_nobody_signed_out(
    running: World, browser: Callable[..., Browser], others: str
):
    sam = browser()
    await sam.sign_in(running.sam)
    own = f"bot_session={sam.cookies()['bot_session']}"
    for cookies in (f"{others}; {own}", f"{own}; {others}", f"{own};{others}", f"{own}; {own}"):
        _, _, page = await running.get(f"{running.public}/permissions", Cookie=cookies)
        assert "Signed in as Sam Rivera" in page, cookies[:80]
    for planted in ("x" * 43, "", '"', own):
        _, _, page = await running.get(
            f"{running.public}/permissions", Cookie=f"{own}; bot_session={planted}"
        )
        assert "Sam Rivera" not in page, "one of the two was planted"


async def test_what_was_done_is_said_once(running: World, browser: Callable[..., Browser]):
    await running.authorized(running.sam)
    await running.fresh_card(running.sam, await running.say(running.sam, "/agenda"))
    sam = browser()
    await sam.sign_in(running.sam)
    for path, word in (
        ("/permissions/cancel", "cancelled"),
        ("/permissions/revoke", "revoked"),
        ("/logout", "signed-out"),
    ):
        _, target, _ = await sam.post(path, await sam.proof())
        assert target == f"/permissions?{word}"
        assert WORDS[word] in unescape((await sam.get(target))[2])
        assert WORDS[word] not in unescape((await sam.get(target))[2])


@pytest.mark.parametrize("path", ["/permissions/revoke", "/permissions/cancel"])
async def test_where_nothing_was_there_to_end_nothing_is_said_to_have_been_done(
    running: World, browser: Callable[..., Browser], path: str
):
    sam = browser()
    await sam.sign_in(running.sam)
    _, target, _ = await sam.post(path, await sam.proof())
    page = unescape((await sam.get(target))[2])
    assert not any(said in page for said in WORDS.values())
    assert "Signed in as Sam Rivera" in page


async def test_a_session_that_has_ended_blames_no_cookies(running: World, browser: Callable[..., Browser]):
    sam = browser()
    await sam.sign_in(running.sam)
    age(running, "expires_at", timedelta(seconds=1))
    status, _, page = await sam.get("/permissions?signed-in")
    assert (status, "ookie" in page, 'href="/login"' in page) == (200, False, True)
