"""The composition root: builds the bot from its settings, runs it, and stops it in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from bot.core.api import Json
from bot.core.builtin_commands import builtin_commands
from bot.core.commands import Registry, registry
from bot.core.errors import ConfigurationError
from bot.core.events import Outage, Unauthentic, UrlVerification
from bot.core.grants import REVOKED_BY_OPERATOR
from bot.core.people import UserKey
from bot.core.unseen_characters import escape
from bot.flows import cards, takeover
from bot.flows.account import permissions
from bot.flows.acknowledge import acknowledge_forever
from bot.flows.authorize.revoke import revoke_due
from bot.flows.bot import Bot, now
from bot.flows.chores import CHORES, repeat, show_cards_when_woken
from bot.flows.intake import accept_event
from bot.flows.worker import Worker
from bot.lark.commands import COMMANDS
from bot.lark.platform import LarkPlatform
from bot.lark.stream import LongConnection, NotAccepted
from bot.plugins import installed_commands
from bot.settings import Settings, exposed_database
from bot.store import replicas, views
from bot.store.ids import new_id
from bot.store.keyring import Keyring
from bot.store.opening import check_schema, open_database, upgrade
from bot.web import routes
from bot.web.server import Runner

log = logging.getLogger(__name__)


def all_commands(page: str | None = None) -> Registry:
    """Ours, and those of installed packages. `page`: the link to "My permissions", if browsers reach it."""
    others = installed_commands([*builtin_commands(COMMANDS, page), *COMMANDS])
    return registry(*builtin_commands([*COMMANDS, *others], page), *COMMANDS, *others)


def own_commands() -> Registry:
    """Without those of other packages."""
    return registry(*builtin_commands(COMMANDS), *COMMANDS)


def lark(settings: Settings) -> LarkPlatform:
    return LarkPlatform(
        app_id=settings.app_id,
        app_secret=settings.app_secret,
        open_url=settings.open_url,
        accounts_url=settings.accounts_url,
        applink_url=settings.applink_url,
        oauth=settings.oauth,
        encrypt_key=settings.encrypt_key,
        verification_token=settings.verification_token,
        public_url=settings.public_url,
        network=settings.network,
    )


Refit = Callable[[Bot], Bot]
"""What a test may do to the bot's parts between their assembly and their work, such as having it die among them."""


def as_it_is(bot: Bot) -> Bot:
    return bot


def page_link(settings: Settings, platform: LarkPlatform) -> str | None:
    return platform.card_link(f"{settings.public_url}/permissions") if settings.public_url else None


@contextlib.asynccontextmanager
async def assembled(settings: Settings, refit: Refit = as_it_is) -> AsyncIterator[Bot]:
    """The bot's parts, connected and not yet at work."""
    seal = key_ring(settings)
    database = await open_database(settings.database_url, seal, f"{LarkPlatform.name}:{settings.app_id}")
    try:
        async with lark(settings) as platform:
            bot = Bot(
                database=database,
                platform=platform,
                commands=all_commands(page_link(settings, platform)),
                worker=f"{socket.gethostname()}-{os.getpid()}-{new_id(now())[-6:]}",
                public_url=settings.public_url or "",
                oauth=settings.oauth,
                key_ids=seal.key_ids,
                admins=settings.admins,
                authorization_ttl=settings.authorization_ttl,
                deferred_ttl=settings.deferred_ttl,
                time_zone=settings.time_zone,
            )
            database.on_work(bot.wake.calls.set)
            yield refit(bot)
    finally:
        await database.close()


def key_ring(settings: Settings) -> Keyring:
    return Keyring([key.reveal() for key in settings.encryption_keys])


def run(settings: Settings, refit: Refit = as_it_is) -> int:
    """Serves until SIGTERM or SIGINT, then drains. Returns the exit code."""
    if settings.auto_migrate:
        upgrade(settings.database_url, key_ring(settings))
    else:
        check_schema(settings.database_url)
    for line in exposed_database(settings.database_url):
        log.warning(line)
    last_resort = threading.Timer(LONGEST_STOP, os._exit, (0,))
    last_resort.daemon = True
    try:
        asyncio.run(serve(settings, refit, last_resort.start))
    finally:
        last_resort.cancel()
    return 0


LONGEST_STOP = 9.5
"""Seconds after which a process that was told to stop is gone, whatever still hangs: a database that neither answers
nor breaks the connection, say. What is not put back by then is found when its lease ends."""


async def serve(settings: Settings, refit: Refit, on_stop: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with assembled(settings, refit) as bot, contextlib.AsyncExitStack() as doors:
        await takeover.enter(bot)
        outage = await doors.enter_async_context(ingress(settings, bot))
        application = routes.build(
            bot, webhook=settings.events == "webhook", outage=outage, client_script=settings.jssdk_url
        )
        runner = Runner(application, public_url=settings.public_url or "", shutdown_timeout=HANDLERS_PATIENCE)
        await runner.setup()
        worker = Worker(bot)
        tasks = [asyncio.create_task(each) for each in (worker.work(), show_cards_when_woken(bot))]
        tasks.append(asyncio.create_task(acknowledge_forever(bot)))
        tasks += [asyncio.create_task(repeat(bot, chore)) for chore in CHORES]
        try:
            await listen(runner, settings)
            # What start-up made stays: a collection need not walk it again and again.
            gc.collect()
            gc.freeze()
            log.info("ready", extra={"host": settings.host, "port": settings.port, "worker": bot.worker})
            await stop.wait()
            on_stop()
            log.info("stopping")
        finally:
            await stop_in_order(bot, runner, worker, tasks, doors)


async def listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
            raise
        problem = f"BOT_HOST: {settings.host!r} is no address of this machine."
        raise ConfigurationError(
            f"{problem} Write one, like 127.0.0.1, or 0.0.0.0 for all of them."
        ) from error


HANDLERS_PATIENCE = 2.5
"""Seconds that requests under way have at the end. aiohttp waits so long twice: before and after it cancels them."""


FAREWELL = 0.5
"""Seconds to take this replica off the list. A database that is away does not hold up the end."""


async def stop_in_order(
    bot: Bot,
    runner: web.AppRunner,
    worker: Worker,
    tasks: list[asyncio.Task[None]],
    doors: contextlib.AsyncExitStack,
) -> None:
    """Nothing new comes in, what runs is finished or put back, and only then the database is closed."""
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(runner.cleanup(), worker.drain(), finish_background(bot), doors.aclose())
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(FAREWELL):
            await bot.database.write(lambda c: replicas.remove(c, bot.worker))


async def finish_background(bot: Bot) -> None:
    """Gives what goes on after an answer a moment more; nothing depends on it."""
    if bot.tasks:
        await asyncio.wait(bot.tasks, timeout=1)


@contextlib.asynccontextmanager
async def ingress(settings: Settings, bot: Bot) -> AsyncIterator[Callable[[], Outage | None]]:
    """Opens the long connection when events come that way. Yields what tells why none can come in."""
    if settings.events == "webhook":
        yield lambda: None
        return
    connection = LongConnection(
        app_id=settings.app_id,
        app_secret=settings.app_secret,
        open_url=settings.open_url,
        on_event=stream_handler(bot),
        on_refusal=bot.refusals.note,
        network=settings.network,
    )
    await connection.start()
    try:
        yield lambda: connection.outage
    finally:
        await connection.stop()


def stream_handler(bot: Bot) -> Callable[[bytes], Awaitable[Json]]:
    """Payloads of the long connection are already authentic: parsed and accepted like those of the webhook."""

    async def on_event(payload: bytes) -> Json:
        match bot.platform.parse(payload):
            case Unauthentic(reason=reason):
                raise NotAccepted(reason)
            case UrlVerification():
                return None
            case event:
                return await accept_event(bot, event) or None

    return on_event


def revoke(settings: Settings, user_text: str) -> int:
    """`bot revoke USER`: ends a grant here and at the platform, cancels what waits, and signs the person out."""
    return asyncio.run(revoke_user(settings, user_text))


async def revoke_user(settings: Settings, user_text: str) -> int:
    async with assembled(settings) as bot:
        await bot.database.enter(bot.worker, None)
        found = await bot.database.read(lambda c: views.find_user(c, user_text))
        users = [each for each in found if each.app == bot.database.app]
        if len(users) != 1:
            what = "names several people: use the open_id" if users else "is nobody the bot knows"
            if found and not users:
                others = ", ".join(sorted({each.app for each in found}))
                what = f"is known to another app only: run this with the settings of {others}"
            print(escape(f"{user_text!r} {what}."), file=sys.stderr)  # noqa: T201 - an operator's command
            return 1
        print(await end_for(bot, users[0]))  # noqa: T201
        return 0


async def end_for(bot: Bot, user: UserKey) -> str:
    ended = await permissions.take_back(bot, user, REVOKED_BY_OPERATOR, sign_out=True)
    await asyncio.gather(*bot.tasks)
    await revoke_due(bot)
    await cards.show_due_cards(bot)
    grant = "Grant ended here and at the platform." if ended.had_grant else "There was no active grant."
    return f"{grant} Cancelled calls: {ended.cancelled}. Browsers signed out: {ended.signed_out}."
