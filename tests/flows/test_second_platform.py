"""Two platforms in one process and one database: each user is asked, answered and authorized on their own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from sqlalchemy import text

from bot.core.api import ApiCall
from bot.core.builtin_commands import PlatformWords, builtin_commands
from bot.core.cards import Face
from bot.core.commands import Ask, Command, Steps, registry
from bot.core.events import MessageReceived
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
from bot.flows.bot import Bot, now
from bot.flows.chores import CHORES, repeat, show_cards_on_signal
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
from bot.store.opening import open_database

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
class World:
    tenant: Tenant
    lark: LarkPlatform
    tiny: TinyPlatform
    bot: Bot

    async def say(self, user: UserKey, words: str) -> None:
        moment = now()
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
    tasks = [asyncio.create_task(each) for each in (worker.work(), show_cards_on_signal(bot))]
    tasks += [asyncio.create_task(repeat(bot, chore)) for chore in CHORES]
    try:
        yield
    finally:
        for task in (*tasks, *bot.background_tasks):
            task.cancel()
        await asyncio.gather(*tasks, *bot.background_tasks, return_exceptions=True)
        await worker.drain()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
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
        await stack.enter_async_context(at_work(bot))
        yield World(tenant, lark, tiny, bot)


async def test_both_loops_run_side_by_side(world: World):
    """Message, refusal, suspension, card, link, callback, grant, release and answer, on both at once."""
    wei = world.lark.user_key(WEI, world.tenant.app.tenant_key)
    mia = world.tiny.user_key("staff 4711", "corp 1")
    await asyncio.gather(authorize_on_lark(world, wei), authorize_on_tiny(world, mia))
    for user in (wei, mia):
        found = await world.bot.database.read(lambda c, user=user: grants.find(c, user))
        assert found is not None
        assert (found.refresh_token is not None) == (user is wei)
    assert {user.app for user, _ in world.tiny.sent.values()} == {world.tiny.app}


async def authorize_on_lark(world: World, wei: UserKey) -> None:
    await world.say(wei, "/tasks")
    page = await world.link_of(wei)
    assert page["redirect_uri"] == f"{PUBLIC}/oauth/lark/callback"
    code = new_code(
        world.tenant,
        world.tenant.people[WEI],
        frozenset(page["scope"].split()),
        redirect_uri=page["redirect_uri"],
        challenge=page["code_challenge"],
        challenge_method=page["code_challenge_method"],
    )
    result = await complete(world.bot, world.lark, Approved(Secret(page["state"]), Secret(code.code)))
    assert result is CallbackResult.AUTHORIZED
    await until(lambda: status_of(world, wei, "succeeded"))


async def authorize_on_tiny(world: World, mia: UserKey) -> None:
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


async def status_of(world: World, user: UserKey, status: str) -> bool:
    query = text("SELECT status FROM deferred_calls WHERE user_key = :user")
    found = await world.bot.database.read(lambda c: c.execute(query, {"user": str(user)}).scalar())
    return bool(found == status)
