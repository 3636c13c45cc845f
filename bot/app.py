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
from bot.flows.chores import CHORES, repeat, show_cards_on_signal
from bot.flows.intake import accept_event
from bot.flows.time_limit import enable_stack_dump
from bot.flows.worker import Worker
from bot.lark.commands import COMMANDS
from bot.lark.platform import LarkPlatform
from bot.lark.stream import EventNotAccepted, LongConnection
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
    """Return the built-in commands and those of installed packages. `page`: the link to "My permissions", if any."""
    others = installed_commands([*builtin_commands(COMMANDS, page), *COMMANDS])
    return registry(*builtin_commands([*COMMANDS, *others], page), *COMMANDS, *others)


def own_commands() -> Registry:
    """Return the built-in commands alone."""
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
"""A test's hook: changes the assembled bot before it starts to work, for example to crash it at a chosen point."""


def unchanged(bot: Bot) -> Bot:
    return bot


def page_link(settings: Settings, platform: LarkPlatform) -> str | None:
    return platform.card_link(f"{settings.public_url}/permissions") if settings.public_url else None


@contextlib.asynccontextmanager
async def assembled(settings: Settings, refit: Refit = unchanged) -> AsyncIterator[Bot]:
    """Build and connect the bot's parts, without starting any work."""
    seal = keyring_from(settings)
    database = await open_database(settings.database_url, seal, f"{LarkPlatform.name}:{settings.app_id}")
    try:
        async with lark(settings) as platform:
            bot = Bot(
                database=database,
                platforms={platform.app: platform},
                commands=all_commands(page_link(settings, platform)),
                worker=f"{socket.gethostname()}-{os.getpid()}-{new_id(now())[-6:]}",
                public_url=settings.public_url or "",
                key_ids=seal.key_ids,
                admins={platform.app: settings.admins},
                authorization_ttl=settings.authorization_ttl,
                deferred_ttl=settings.deferred_ttl,
                time_zone=settings.time_zone,
            )
            database.on_work(bot.signals.calls.set)
            yield refit(bot)
    finally:
        await database.close()


def keyring_from(settings: Settings) -> Keyring:
    return Keyring([key.reveal() for key in settings.encryption_keys])


def run(settings: Settings, refit: Refit = unchanged) -> int:
    """Serve until SIGTERM or SIGINT, then drain. Return the exit code."""
    if settings.auto_migrate:
        upgrade(settings.database_url, keyring_from(settings))
    else:
        check_schema(settings.database_url)
    for line in exposed_database(settings.database_url):
        log.warning(line)
    enable_stack_dump()
    forced_exit = threading.Timer(STOP_TIMEOUT, os._exit, (0,))
    forced_exit.daemon = True
    try:
        asyncio.run(serve(settings, refit, forced_exit.start))
    finally:
        forced_exit.cancel()
    return 0


STOP_TIMEOUT = 9.5
"""Seconds after which a stopping process exits even if something hangs, for example a database that neither answers nor
closes the connection. Work that was not released by then is claimed again when its lease ends."""


async def serve(settings: Settings, refit: Refit, on_stop: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with assembled(settings, refit) as bot, contextlib.AsyncExitStack() as doors:
        await takeover.enter(bot)
        outage = await doors.enter_async_context(ingress(settings, bot))
        application = routes.build(
            bot, has_webhook=settings.events == "webhook", outage=outage, client_script=settings.jssdk_url
        )
        runner = Runner(application, public_url=settings.public_url or "", shutdown_timeout=HANDLER_TIMEOUT)
        await runner.setup()
        worker = Worker(bot)
        tasks = [asyncio.create_task(each) for each in (worker.work(), show_cards_on_signal(bot))]
        tasks.append(asyncio.create_task(acknowledge_forever(bot)))
        tasks += [asyncio.create_task(repeat(bot, chore)) for chore in CHORES]
        try:
            await listen(runner, settings)
            # Objects made during start-up live as long as the process: keep the collector from traversing them.
            gc.collect()
            gc.freeze()
            log.info("ready", extra={"host": settings.host, "port": settings.port, "worker": bot.worker})
            await stop.wait()
            on_stop()
            log.info("stopping")
        finally:
            await shut_down(bot, runner, worker, tasks, doors)


async def listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
            raise
        problem = f"BOT_HOST: {settings.host!r} is not an address of this machine."
        raise ConfigurationError(
            f"{problem} Use one of its addresses, such as 127.0.0.1, or 0.0.0.0 for all of them."
        ) from error


HANDLER_TIMEOUT = 2.5
"""Seconds for open requests at shutdown. aiohttp waits this long twice: before and after it cancels them."""


DEREGISTER_TIMEOUT = 0.5
"""Seconds to delete this replica's row at shutdown, because an unavailable database must not delay the exit."""


async def shut_down(
    bot: Bot,
    runner: web.AppRunner,
    worker: Worker,
    tasks: list[asyncio.Task[None]],
    doors: contextlib.AsyncExitStack,
) -> None:
    """Stop accepting work, finish or release what runs, and only then close the database."""
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(runner.cleanup(), worker.drain(), finish_background(bot), doors.aclose())
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(DEREGISTER_TIMEOUT):
            await bot.database.write(lambda c: replicas.remove(c, bot.worker))


async def finish_background(bot: Bot) -> None:
    """Give background tasks one more second. Everything they do is also in the database."""
    if bot.background_tasks:
        await asyncio.wait(bot.background_tasks, timeout=1)


@contextlib.asynccontextmanager
async def ingress(settings: Settings, bot: Bot) -> AsyncIterator[Callable[[], Outage | None]]:
    """Open the long connection if events arrive by it. Yields a function that returns the current outage, or None."""
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
    """Return the handler of the long connection's payloads, which the connection itself authenticates."""

    async def on_event(payload: bytes) -> Json:
        match bot.first_platform.parse(payload):
            case Unauthentic(reason=reason):
                raise EventNotAccepted(reason)
            case UrlVerification():
                return None
            case event:
                return await accept_event(bot, event) or None

    return on_event


def revoke(settings: Settings, user_text: str) -> int:
    """`bot revoke USER`: end a grant here and at the platform, cancel waiting calls, and sign the user out."""
    return asyncio.run(revoke_user(settings, user_text))


async def revoke_user(settings: Settings, user_text: str) -> int:
    async with assembled(settings) as bot:
        await bot.database.enter(bot.worker, None)
        found = await bot.database.view(lambda c: views.find_user(c, user_text))
        users = [each for each in found if each.app == bot.database.app]
        if len(users) != 1:
            what = "matches several users: use the open_id" if users else "is not a user of the bot"
            if found and not users:
                others = ", ".join(sorted({each.app for each in found}))
                what = f"is known to another app only: run this with the settings of {others}"
            print(escape(f"{user_text!r} {what}."), file=sys.stderr)  # noqa: T201 - an operator's command
            return 1
        print(await revoke_and_report(bot, users[0]))  # noqa: T201
        return 0


async def revoke_and_report(bot: Bot, user: UserKey) -> str:
    ended = await permissions.revoke(bot, user, REVOKED_BY_OPERATOR, sign_out=True)
    await asyncio.gather(*bot.background_tasks)
    await revoke_due(bot)
    await cards.show_due_cards(bot)
    grant = "Grant ended here and at the platform." if ended.had_grant else "There was no active grant."
    return f"{grant} Cancelled calls: {ended.cancelled}. Browsers signed out: {ended.signed_out}."
