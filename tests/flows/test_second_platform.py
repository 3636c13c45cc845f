"""Two platforms in one process and one database: each user is asked, answered and authorized on their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient
from sqlalchemy import text

from bot.core.api import ApiCall
from bot.core.builtin_commands import PlatformWords, builtin_commands
from bot.core.cards import Face
from bot.core.commands import Ask, Command, Steps, registry
from bot.core.events import MessageReceived, Outage
from bot.core.language import Words
from bot.core.messages import Chat, Reply, Span
from bot.core.oauth import Approved
from bot.core.people import UserKey
from bot.core.platform import Platform
from bot.core.scopes import ScopeSyntax, any_of
from bot.core.secrets import Secret
from bot.flows.authorize.callback import complete
from bot.flows.authorize.grant import CallbackResult
from bot.flows.authorize.open import find_open_request, open_link
from bot.flows.bot import Bot, utc_now
from bot.flows.chores import CHORES, repeat, upkeep_on_signal
from bot.flows.intake import accept_event
from bot.flows.worker import Worker
from bot.lark.commands import COMMANDS as LARK_COMMANDS
from bot.lark.commands import WORDS as LARK_WORDS
from bot.lark.platform import LarkPlatform
from bot.sandbox.lark.sample_tenant import WEI, sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.sandbox.lark.tenant import Tenant
from bot.sandbox.lark.tokens import new_code
from bot.store import grants, requests
from bot.store.ids import new_id
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.web import routes

from .tiny_platform import TinyPlatform

PUBLIC = "https://bot.example"
T = TypeVar("T")


def my_day(ask: Ask) -> Steps:
    """Needs what it declares, and then what only the platform's refusal names."""
    me = yield ApiCall("GET", "/v1/me")
    yield ApiCall("GET", "/v1/day")
    return Reply(Words("Your day", "今天"), ((Span(repr(me)),),))


DAY = Command("day", my_day, Words("", ""), needs=lambda _: any_of("Contact.Read"))
TINY_WORDS = PlatformWords(ScopeSyntax(re.compile(r"[A-Z]\w+\.[A-Z]\w+"), 5), "/authorize Contact.Read")
LARK_REGISTRY = registry(*builtin_commands(LARK_COMMANDS, LARK_WORDS), *LARK_COMMANDS)
TINY_REGISTRY = registry(*builtin_commands([DAY], TINY_WORDS), DAY)


@dataclass
class TwoPlatforms:
    tenant: Tenant
    lark: LarkPlatform
    tiny: TinyPlatform
    bot: Bot

    async def say(self, user: UserKey, words: str) -> None:
        moment = utc_now()
        chat = Chat(f"chat of {user.open_id}", "direct")
        message = MessageReceived(new_id(moment), user, chat, new_id(moment), words, moment, "en")
        await accept_event(self.bot, message)

    async def link_of(self, user: UserKey) -> dict[str, str]:
        """The query of the platform's page to which the link of the user's open request leads."""
        bot = self.bot
        live = await until(lambda: bot.database.read(lambda c: requests.live_of(c, user)))
        assert live.ticket
        found = await find_open_request(bot, live.ticket.reveal())
        url = await open_link(bot, found)  # type: ignore[arg-type]
        return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def until(look: Callable[[], Awaitable[T | None]]) -> T:
    async with asyncio.timeout(20):
        while not (found := await look()):
            await asyncio.sleep(0.02)
        return found


@contextlib.asynccontextmanager
async def at_work(bot: Bot) -> AsyncIterator[None]:
    worker = Worker(bot)
    bot.database.on_work(bot.signals.calls.set)
    tasks = [asyncio.create_task(each) for each in (worker.work(), upkeep_on_signal(bot))]
    tasks += [asyncio.create_task(repeat(bot, chore)) for chore in CHORES]
    try:
        yield
    finally:
        for task in (*tasks, *bot.background_tasks):
            task.cancel()
        await asyncio.gather(*tasks, *bot.background_tasks, return_exceptions=True)
        await worker.drain()


@pytest.fixture
async def idle(database_url: str) -> AsyncIterator[TwoPlatforms]:
    """Both platforms and the bot, which does not work yet."""
    tenant, tiny = sample_tenant(), TinyPlatform()
    key, app = new_key(), tenant.app
    async with contextlib.AsyncExitStack() as stack:
        runner = web.AppRunner(build_platform(tenant))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        lark = LarkPlatform(
            app_id=app.app_id, app_secret=Secret(app.app_secret), open_url=url, accounts_url=url
        )
        await stack.enter_async_context(lark)
        platforms: dict[str, Platform] = {lark.app: lark, tiny.app: tiny}
        database = await open_database(database_url, Keyring([key]), *platforms)
        stack.push_async_callback(database.close)
        bot = Bot(
            database=database,
            platforms=platforms,
            commands={lark.app: LARK_REGISTRY, tiny.app: TINY_REGISTRY},
            worker="worker",
            public_url=PUBLIC,
            key_ids=database.key_ids,
            admins={},
            authorization_ttl=timedelta(minutes=5),
            deferred_ttl=timedelta(hours=1),
        )
        yield TwoPlatforms(tenant, lark, tiny, bot)


@pytest.fixture
async def world(idle: TwoPlatforms) -> AsyncIterator[TwoPlatforms]:
    async with at_work(idle.bot):
        yield idle


async def test_both_loops_run_side_by_side(world: TwoPlatforms):
    """Message, refusal, suspension, card, link, callback, grant, release and answer, on both at once."""
    wei = world.lark.user_key(WEI, world.tenant.app.tenant_key)
    mia = world.tiny.user_key("staff 4711", "corp 1")
    await asyncio.gather(authorize_on_lark(world, wei), authorize_on_tiny(world, mia))
    for user in (wei, mia):
        found = await world.bot.database.read(lambda c, user=user: grants.find(c, user))
        assert found is not None
        assert (found.refresh_token is not None) == (user is wei)
    assert {user.app for user, _ in world.tiny.sent.values()} == {world.tiny.app}


async def authorize_on_lark(world: TwoPlatforms, wei: UserKey) -> None:
    await world.say(wei, "/tasks")
    page = await world.link_of(wei)
    assert page["redirect_uri"] == f"{PUBLIC}/oauth/lark/callback"
    result = await complete(world.bot, world.lark, Approved(Secret(page["state"]), code_of(world, page)))
    assert result is CallbackResult.AUTHORIZED
    await until(lambda: status_of(world, wei, "succeeded"))


def code_of(world: TwoPlatforms, page: dict[str, str]) -> Secret:
    """The code that Lark's page sends back when Wei consents."""
    code = new_code(
        world.tenant,
        world.tenant.people[WEI],
        frozenset(page["scope"].split()),
        redirect_uri=page["redirect_uri"],
        challenge=page["code_challenge"],
        challenge_method=page["code_challenge_method"],
    )
    return Secret(code.code)


async def authorize_on_tiny(world: TwoPlatforms, mia: UserKey) -> None:
    tiny, bot = world.tiny, world.bot
    await world.say(mia, "/day")
    held: frozenset[str] = frozenset()
    for lacking in ("Contact.Read", "Calendar.Read"):
        await until(lambda: status_of(world, mia, "suspended"))
        page = await world.link_of(mia)
        assert page["back"] == f"{PUBLIC}/tiny/done"
        assert set(page["scope"].split()) == {lacking}
        held |= {lacking}
        code = tiny.consent(mia.open_id, held)
        result = await complete(bot, tiny, Approved(Secret(page["state"]), Secret(code)))
        assert result is CallbackResult.AUTHORIZED
    await until(lambda: status_of(world, mia, "succeeded"))
    grant = await bot.database.read(lambda c: grants.find(c, mia))
    # The platform returns no scopes: what was asked for and not refused counts as held.
    assert grant is not None
    assert grant.scopes == held

    async def answered() -> bool:
        return any("Your day" in body for _, body in tiny.sent.values())

    async def shown() -> bool:
        return {card.face for card in tiny.shown.values()} == {Face.AUTHORIZED}

    await until(answered)
    await until(shown)


async def status_of(world: TwoPlatforms, user: UserKey, status: str) -> bool:
    query = text("SELECT status FROM deferred_calls WHERE user_key = :user")
    found = await world.bot.database.read(lambda c: c.execute(query, {"user": str(user)}).scalar())
    return bool(found == status)


async def test_the_help_lists_the_commands_of_the_users_platform(world: TwoPlatforms):
    mia = world.tiny.user_key("staff 4711", "corp 1")
    await world.say(mia, "/help")

    async def answer() -> str | None:
        return next((body for _, body in world.tiny.sent.values() if "/day" in body), None)

    said = await until(answer)
    assert "/permissions" in said
    assert "/tasks" not in said
    assert "tasks" in world.bot.commands_of(world.lark.user_key(WEI, world.tenant.app.tenant_key))
    assert "tasks" not in world.bot.commands_of(mia)


async def test_a_busy_platform_does_not_keep_the_other_waiting(idle: TwoPlatforms):
    wei = idle.lark.user_key(WEI, idle.tenant.app.tenant_key)
    people = [replace(wei, open_id=f"ou_{n}") for n in range(5)]
    for user in people:
        await idle.say(user, "/me")
    mia = idle.tiny.user_key("staff 4711", "corp 1")
    await idle.say(mia, "/day")
    worker = Worker(idle.bot)
    claimed = [await worker.claim(urgent_only=False) for _ in range(6)]
    assert [call is not None and call.user.platform for call in claimed[:2]] == ["lark", "tiny"]
    assert {call.user for call in claimed if call} == {*people, mia}
    assert await worker.claim(urgent_only=False) is None


async def test_a_state_counts_only_at_the_door_of_its_platform(world: TwoPlatforms):
    """Otherwise the page of one platform could pass its own codes off as the other's."""
    wei = world.lark.user_key(WEI, world.tenant.app.tenant_key)
    await world.say(wei, "/tasks")
    page = await world.link_of(wei)
    answer = Approved(Secret(page["state"]), Secret(world.tiny.consent(WEI, frozenset({"Contact.Read"}))))
    assert await complete(world.bot, world.tiny, answer) is CallbackResult.UNKNOWN
    code = code_of(world, page)
    assert await complete(world.bot, world.lark, Approved(answer.state, code)) is CallbackResult.AUTHORIZED


# --- the doors ---------------------------------------------------------------------------------------

Client = TestClient[web.Request, web.Application]
IN_LARK = {"User-Agent": "Mozilla/5.0 Lark/7.1.0"}


@dataclass(frozen=True)
class Connected:
    """The connection by which the events of a platform arrive."""

    outage: Outage | None
    was_up: bool


@pytest.fixture
async def browser(world: TwoPlatforms, aiohttp_client: AiohttpClient) -> Client:
    outage = Outage(utc_now(), "no stream")
    return await aiohttp_client(
        routes.build(world.bot, {"lark": Connected(None, True), "tiny": Connected(outage, False)})
    )


async def location(browser: Client, path: str, headers: dict[str, str] | None = None) -> str:
    response = await browser.get(path, headers=headers, allow_redirects=False)
    assert response.status in {302, 303}, await response.text()
    return response.headers["Location"]


@pytest.mark.parametrize("path", ["/permissions", "/login", "/login/declined", "/login?with=nobody"])
@pytest.mark.parametrize(("language", "words"), [("en", "Sign in with Tiny"), ("zh-CN", "使用小平台登录")])
async def test_a_visitor_chooses_the_platform_to_sign_in_with(
    browser: Client, path: str, language: str, words: str
):
    response = await browser.get(path, headers={"Accept-Language": language}, allow_redirects=False)
    html = await response.text()
    assert words in html
    assert 'href="/login?with=tiny"' in html
    assert 'href="/login?with=lark"' in html


async def test_signing_in_ends_on_the_page_of_ones_platform(world: TwoPlatforms, browser: Client):
    mia = world.tiny.user_key("staff 4711", "corp 1")
    await world.say(mia, "/day")
    await until(lambda: status_of(world, mia, "suspended"))
    on_lark = parse_qs(urlsplit(await location(browser, "/login?with=lark")).query)
    assert on_lark["redirect_uri"] == [f"{PUBLIC}/oauth/lark/callback"]
    response = await browser.get("/login?with=tiny", allow_redirects=False)
    page = parse_qs(urlsplit(response.headers["Location"]).query)
    assert page["back"] == [f"{PUBLIC}/tiny/done"]
    (started,) = [each for each in response.headers.getall("Set-Cookie") if "bot_browser" in each]
    kept = {"Cookie": started.partition(";")[0]}
    (state,), code = page["state"], world.tiny.consent("staff 4711", frozenset())
    declined = await location(browser, f"/oauth/lark/callback?state={state}&error=access_denied", kept)
    assert declined == "/login/other_browser?with=lark"
    came = f"/tiny/done?state={state}&ticket={quote(code)}"
    response = await browser.get(came, headers=kept, allow_redirects=False)
    assert response.headers["Location"] == "/permissions?signed-in"
    (session,) = [each for each in response.headers.getall("Set-Cookie") if "bot_session" in each]
    found = await browser.get("/permissions", headers={"Cookie": session.partition(";")[0]})
    html = await found.text()
    assert "Signed in · Tiny" in html
    assert "/day" in html


@pytest.mark.parametrize("name", ["code", "state", "ticket"])
async def test_a_code_of_either_platform_stays_in_no_address(browser: Client, name: str):
    assert await location(browser, f"/permissions?{name}=secret") == "/permissions"


async def test_a_link_is_opened_by_its_own_platforms_client_only(world: TwoPlatforms, browser: Client):
    wei = world.lark.user_key(WEI, world.tenant.app.tenant_key)
    mia = world.tiny.user_key("staff 4711", "corp 1")
    for user, command, leads_to in (
        (wei, "/tasks", "/oauth/lark/client#"),
        (mia, "/day", "https://tiny.example/consent?"),
    ):
        await world.say(user, command)
        live = await until(lambda user=user: world.bot.database.read(lambda c: requests.live_of(c, user)))
        assert live.ticket
        path = f"/authorize/{live.ticket.reveal()}"
        assert (await location(browser, path, IN_LARK)).startswith(leads_to)
        if user is mia:
            # Lark's page does not start an attempt for it either.
            headers = {"Origin": PUBLIC, "Content-Type": "application/json"}
            body = json.dumps({"ticket": live.ticket.reveal()})
            response = await browser.post("/oauth/lark/client/attempts", data=body, headers=headers)
            assert response.status == 404


async def test_the_page_in_the_client_and_its_script_are_the_platforms(browser: Client):
    html = await (await browser.get("/oauth/lark/client", headers=IN_LARK)).text()
    (script,) = re.findall(r'"(/static/lark/[^"]+)"', html)
    response = await browser.get(script)
    assert response.status == 200
    assert "requestAccess" in await response.text()
    assert (await browser.get("/static/in_client.js")).status == 404
    assert (await browser.get("/static/lark/../page.css")).status == 200


async def test_readiness_and_metrics_tell_the_platforms_apart(browser: Client):
    response = await browser.get("/readyz")
    told = await response.json()
    assert response.status == 503
    assert (told["lark_events"], told["tiny_events"]) == ("up", "down")
    assert told["tiny_events_down_because"] == "no stream"
    text = await (await browser.get("/metrics")).text()
    assert 'bot_platform_events_up{platform="lark"} 1.0' in text
    assert 'bot_platform_events_up{platform="tiny"} 0.0' in text
    assert "bot_events_up 0.0" in text
