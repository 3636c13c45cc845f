"""For whoever watches the process: is it alive, is it ready, what is going on."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bot.core.events import Outage
from bot.flows.bot import now
from bot.store import views
from bot.web.keys import BOT, INGRESS

PATIENCE = 2.0


async def alive(request: web.Request) -> web.Response:
    """`GET /healthz`: the event loop runs."""
    return web.json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """`GET /readyz`: 200 when the database can be used and events can come in, else 503 naming what is not.

    A platform that cannot be reached is told in the body and changes no status.
    Costs no write: that the database takes one is known from the heartbeat.
    """
    outage = request.app[INGRESS].outage()
    checks = {"database": await database_answers(request), "events": outage is None}
    status = 200 if all(checks.values()) else 503
    words = {name: "up" if up else "down" for name, up in checks.items()}
    words |= described("events", outage) | described("platform", request.app[BOT].platform.outage)
    return web.json_response({"status": "ready" if status == 200 else "not ready", **words}, status=status)


def described(what: str, outage: Outage | None) -> dict[str, str]:
    if outage is None:
        return {}
    since = outage.since.isoformat(timespec="seconds")
    return {f"{what}_down_since": since, f"{what}_down_because": outage.reason}


async def database_answers(request: web.Request) -> bool:
    bot = request.app[BOT]
    try:
        async with asyncio.timeout(PATIENCE):
            await bot.database.probe()
    except Exception as error:
        bot.refusals.note("database not reachable", type(error).__name__, logging.ERROR, error)
        return False
    return bot.pulse.is_felt


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus text. Numbers of all that the app has in the database, whichever replica is asked."""
    bot = request.app[BOT]
    counts = await bot.database.read(lambda c: views.counts(c, now(), bot.database.app))
    registry = CollectorRegistry()
    for name, (words, values) in counts.items():
        gauge = Gauge(f"bot_{name}", words, ["status"], registry=registry)
        for status, count in values.items():
            gauge.labels(status).set(count)
    up = Gauge("bot_events_up", "Whether events can come in here", registry=registry)
    up.set(request.app[INGRESS].outage() is None)
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
