"""The composition root: builds the bot from its settings, runs it, and stops it in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from bot.build import current_build
from bot.core.endpoints import SentRequest
from bot.core.errors import BotError, ConfigurationError
from bot.core.platform import Platform
from bot.flows import observations, takeover
from bot.flows.acknowledge import acknowledge_forever
from bot.flows.bot import Bot, utc_now
from bot.flows.chores import CHORES, check_clock, record_retention, repeat, upkeep_on_signal, warn_of_clock
from bot.flows.command_timeout import enable_stack_dump
from bot.flows.metrics import Metrics
from bot.flows.tracing import Tracer
from bot.flows.worker import Worker
from bot.platforms import admins_of, all_commands, configured
from bot.settings import Settings, exposed_database
from bot.stop_signals import stop_signals
from bot.store import replicas
from bot.store.ids import new_id
from bot.store.keyring import Keyring
from bot.store.open_database import check_schema, open_database, upgrade
from bot.store.retention import Retention
from bot.tracing import tracer_for
from bot.web import routes
from bot.web.app_keys import Ingresses
from bot.web.server import Runner, backlog

log = logging.getLogger(__name__)


Refit = Callable[[Bot], Bot]
"""A hook for tests: changes the assembled bot before it starts, for example to crash it at a chosen point."""


def unchanged(bot: Bot) -> Bot:
    return bot


def page_link(settings: Settings, platform: Platform) -> str | None:
    """Return the link to "My permissions" for the chat."""
    return platform.card_link(f"{settings.public_url}/permissions") if settings.public_url else None


@contextlib.asynccontextmanager
async def assembled(
    settings: Settings, refit: Refit = unchanged, *, traced: bool = False
) -> AsyncIterator[Bot]:
    """Yield the bot with its parts built and connected, but no work started. `traced`: it records spans if configured."""
    keyring, entries = keyring_from(settings), configured(settings)
    database = await open_database(settings.database_url, keyring, *(each.app(settings) for each in entries))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        build, worker = current_build(), f"{socket.gethostname()}-{os.getpid()}-{new_id(utc_now())[-6:]}"
        metrics = Metrics(build)
        tracer = tracer_for(os.environ, build, worker) if traced else Tracer()
        stack.push_async_callback(tracer.close)

        def request_sent(platform: str, sent: SentRequest) -> None:
            metrics.request_sent(platform, sent)
            tracer.request_sent(platform, sent)

        platforms = [
            await stack.enter_async_context(each.build(settings, partial(request_sent, each.name)))
            for each in entries
        ]
        by_app = dict(zip(database.apps, entries, strict=True))
        bot = Bot(
            database=database,
            platforms={each.app: each for each in platforms},
            commands={
                each.app: all_commands(by_app[each.app], page_link(settings, each)) for each in platforms
            },
            worker=worker,
            public_url=settings.public_url or "",
            key_ids=keyring.key_ids,
            admins={app: admins_of(entry, settings) for app, entry in by_app.items()},
            authorization_ttl=settings.authorization_ttl,
            deferred_ttl=settings.deferred_ttl,
            build=build,
            time_zone=settings.time_zone,
            retention=Retention(settings.retention, settings.audit_retention),
            metrics=metrics,
            tracer=tracer,
        )
        for app, commands in bot.commands.items():
            typed = (name for name, command in commands.items() if not command.hidden)
            metrics.prepare(bot.platforms[app].name, observations.KINDS.values(), typed)
        database.on_work(bot.signals.calls.set)
        database.on_entry(partial(observations.committed, bot))
        database.outages.listen(observations.database_away, observations.database_back)
        yield refit(bot)


def keyring_from(settings: Settings) -> Keyring:
    return Keyring([key.reveal() for key in settings.encryption_keys])


def run(settings: Settings, refit: Refit = unchanged) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then drain. Return the exit code."""
    if settings.auto_migrate:
        note = upgrade(settings.database_url, keyring_from(settings))
    else:
        note = check_schema(settings.database_url)
    if note:
        log.warning(note)
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


STOP_TIMEOUT = 9.0
"""Seconds after which a stopping process exits even if something hangs, such as a database that neither responds nor
closes the connection. Work that is not released by then is claimed again when its lease ends."""


async def serve(settings: Settings, refit: Refit, on_stop: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)
    async with assembled(settings, refit, traced=True) as bot, contextlib.AsyncExitStack() as ingress_stack:
        loop.set_exception_handler(partial(report_loop_error, bot))
        await check_clock(bot)
        await takeover.enter(bot)
        await record_retention(bot)
        doors = open_doors(settings, bot, await ingress_stack.enter_async_context(ingresses(settings, bot)))
        for door in doors:
            await door.runner.setup()
        worker = Worker(bot)
        tasks = [asyncio.create_task(each) for each in (worker.work(), upkeep_on_signal(bot))]
        tasks += [asyncio.create_task(each) for each in (acknowledge_forever(bot), warn_of_clock(bot))]
        tasks += [asyncio.create_task(repeat(bot, chore)) for chore in CHORES]
        try:
            ports = {door.name: await listen(door, settings.host) for door in doors}
            # Objects created during startup live as long as the process: keep the garbage collector from traversing them.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            build = {"version": bot.build.version, "revision": bot.build.revision}
            log.info("ready", extra={**build, "host": settings.host, **ports, "worker": bot.worker})
            await stop.wait()
            on_stop()
            log.info("stopping")
        finally:
            await shut_down(bot, doors, worker, tasks, ingress_stack)


GC_THRESHOLDS = (20_000, 20, 20)
"""Nearly everything that a loop allocates is freed by reference counting, and CPython's default collects every 700
allocations."""


def report_loop_error(bot: Bot, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error outside any task. The loop reports each connection that it cannot accept."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        bot.refusals.note(
            "the process may open no more files: connections wait; raise the limit (ulimit -n)",
            os.strerror(error.errno),
            logging.WARNING,
        )
    else:
        loop.default_exception_handler(context)


@dataclass(frozen=True, slots=True)
class Door:
    """A port and the server behind it."""

    name: str
    """In the log."""
    variable: str
    port: int
    runner: Runner


def open_doors(settings: Settings, bot: Bot, ingresses: Ingresses) -> list[Door]:
    """Return the server for BOT_PORT and, if it is set, the one for BOT_METRICS_PORT."""

    def door(name: str, variable: str, port: int, application: web.Application) -> Door:
        public_url = settings.public_url or ""
        return Door(
            name, variable, port, Runner(application, public_url=public_url, shutdown_timeout=HANDLER_TIMEOUT)
        )

    own_port = settings.metrics_port
    doors = [
        door("port", "BOT_PORT", settings.port, routes.build(bot, ingresses, with_health=own_port is None))
    ]
    if own_port is not None:
        doors.append(door("metrics_port", "BOT_METRICS_PORT", own_port, routes.build_health(bot, ingresses)))
    return doors


async def listen(door: Door, host: str) -> int:
    """Accept connections on a port, and return it: 0 stands for any free one."""
    try:
        await web.TCPSite(door.runner, host, door.port, backlog=backlog()).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"{door.variable}: port {door.port} of {host} is already in use."
            raise BotError(problem, "Stop the program that uses it, or choose another port.") from error
        if error.errno == errno.EACCES:
            problem = f"{door.variable}: this user may not listen on port {door.port}."
            raise BotError(problem, "Choose a port from 1024.") from error
        if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
            raise
        problem = f"BOT_HOST: {host!r} is not an address of this machine."
        raise ConfigurationError(
            f"{problem} Use one of its addresses, such as 127.0.0.1, or 0.0.0.0 for all of them."
        ) from error
    found: int = door.runner.addresses[0][1]
    return found


HANDLER_TIMEOUT = 2.5
"""Seconds for open requests to finish at shutdown. aiohttp waits this long twice: before and after cancelling them."""


DEREGISTER_TIMEOUT = 0.5
"""Seconds for deleting this replica's row at shutdown: an unavailable database must not delay the exit."""


async def shut_down(
    bot: Bot,
    doors: Sequence[Door],
    worker: Worker,
    tasks: list[asyncio.Task[None]],
    ingress_stack: contextlib.AsyncExitStack,
) -> None:
    """Stop accepting work, finish or release running work, and delete the replica's row."""
    for task in tasks[1:]:
        task.cancel()
    closing = [door.runner.cleanup() for door in doors]
    await asyncio.gather(*closing, worker.drain(), finish_background(bot), ingress_stack.aclose())
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(DEREGISTER_TIMEOUT):
            await bot.database.write(lambda c: replicas.remove(c, bot.worker))
            observations.replica_left(bot.worker)


async def finish_background(bot: Bot) -> None:
    """Wait one more second for background tasks. What they would do is also recorded in the database."""
    if bot.background_tasks:
        await asyncio.wait(bot.background_tasks, timeout=1)


@contextlib.asynccontextmanager
async def ingresses(settings: Settings, bot: Bot) -> AsyncIterator[Ingresses]:
    """Open the connections by which events arrive. Yields them by platform."""
    connections = {each.name: each.connect(settings, bot) for each in configured(settings)}
    opened = {name: connection for name, connection in connections.items() if connection is not None}
    async with contextlib.AsyncExitStack() as stack:
        for connection in opened.values():
            await connection.start()
            stack.push_async_callback(connection.stop)
        yield opened
