"""Liveness, readiness and metrics, for monitoring."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bot.core.events import Outage
from bot.core.platform import Platform
from bot.flows import observations
from bot.flows.bot import Bot
from bot.flows.clock import utc_now
from bot.flows.database_gauges import DatabaseGauges
from bot.web.app_keys import BOT, INGRESSES, Ingresses

PROBE_TIMEOUT = 2.0
"""Seconds."""


# --- liveness and readiness ------------------------------------------------------------------------------


async def alive(request: web.Request) -> web.Response:
    """`GET /healthz`: the event loop runs. Tells which process this is."""
    bot = request.app[BOT]
    return web.json_response({"status": "alive", "instance": bot.worker, "version": bot.build.version})


async def ready(request: web.Request) -> web.Response:
    """`GET /readyz`: whether this process can serve. The body tells the state of the database and of the platforms.

    503 while the database cannot be used, and until each long connection has been up once. A later outage of a platform
    does not change the status: links and pages still work, and every replica would be taken away at once.
    The check does not write, because the heartbeat shows whether the database accepts writes.
    """
    bot, ingresses = request.app[BOT], request.app[INGRESSES]
    is_up = await is_database_up(request)
    have_been_up = all(each.was_up for each in ingresses.values())
    status = 200 if is_up and have_been_up else 503
    fields: dict[str, object] = {
        "status": "ready" if status == 200 else "not ready",
        "database": "up" if is_up else "down",
    }
    for platform in bot.platforms.values():
        several = len(bot.platforms) > 1
        names = (f"{platform.name}_events", platform.name) if several else ("events", "platform")
        fields |= state_of(bot, platform, ingresses, *names)
    return web.json_response(fields, status=status)


def state_of(
    bot: Bot, platform: Platform, ingresses: Ingresses, events: str, calls: str
) -> dict[str, object]:
    """Return the fields about a platform: whether its events arrive, and whether it can be called."""
    record, ingress = bot.events[platform.name], ingresses.get(platform.name)
    outage = ingress.outage if ingress is not None else None
    state = "down" if outage is not None else "refused" if record.problem else "up"
    fields: dict[str, object] = {events: state, **outage_fields(events, outage)}
    fields[f"{events}_last_at"] = iso(record.last_accepted_at)
    if record.problem:
        fields[f"{events}_refused_because"] = record.problem
    if ingress is None or record.refused:
        fields[f"{events}_refused"] = dict(record.refused)
        fields[f"{events}_last_refused_at"] = iso(record.last_refused_at)
    return (
        fields | {calls: "up" if platform.outage is None else "down"} | outage_fields(calls, platform.outage)
    )


def outage_fields(what: str, outage: Outage | None) -> dict[str, object]:
    if outage is None:
        return {}
    return {f"{what}_down_since": iso(outage.since), f"{what}_down_because": outage.reason}


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment is not None else None


async def is_database_up(request: web.Request) -> bool:
    bot = request.app[BOT]
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await bot.database.probe()
    except Exception as error:
        observations.failed(bot, "database not reachable", error)
        return False
    return bot.heartbeat.is_recent


# --- metrics ---------------------------------------------------------------------------------------------


TEXT_LIFETIME = 1.0
"""Seconds. Rendering takes milliseconds, and anyone may ask for it unless a proxy prevents that."""


@dataclass(slots=True)
class Exposition:
    """The metrics of this process and of its database, as Prometheus reads them."""

    bot: Bot
    ingresses: Ingresses
    database: DatabaseGauges
    _text: bytes = b""
    _rendered_at: float = -TEXT_LIFETIME

    async def render(self) -> bytes:
        await self.database.refresh(utc_now())
        if time.monotonic() >= self._rendered_at + TEXT_LIFETIME:
            self._text, self._rendered_at = generate_latest(self), time.monotonic()
        return self._text

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. Called by `generate_latest`."""
        yield from self.bot.metrics.registry.collect()
        yield GaugeMetricFamily(
            "bot_database_up",
            "Whether this process can read and write the database",
            self.database.is_readable and self.bot.heartbeat.is_recent,
        )
        yield GaugeMetricFamily(
            "bot_time_seconds", "The clock of this machine, in seconds since 1970", time.time()
        )
        yield from self._collect_platforms()
        yield from self.database.collect()

    def _collect_platforms(self) -> Iterator[Metric]:
        outages = {
            platform.name: ingress.outage if (ingress := self.ingresses.get(platform.name)) else None
            for platform in self.bot.platforms.values()
        }
        yield GaugeMetricFamily(
            "bot_events_up",
            "Whether the events of every platform can arrive at this replica",
            not any(outages.values()),
        )
        each_up = GaugeMetricFamily(
            "bot_platform_events_up",
            "Whether a platform's events can arrive at this replica",
            labels=["platform"],
        )
        down_seconds = GaugeMetricFamily(
            "bot_platform_events_down_seconds",
            "For how long the long connection of this replica has been down; 0 while it is up, and with webhooks",
            labels=["platform"],
        )
        calls_down_seconds = GaugeMetricFamily(
            "bot_platform_down_seconds",
            "For how long this replica has not been able to send requests to a platform; 0 while it is",
            labels=["platform"],
        )
        for platform in self.bot.platforms.values():
            outage = outages[platform.name]
            each_up.add_metric([platform.name], outage is None)
            down_seconds.add_metric([platform.name], seconds_of(outage))
            calls_down_seconds.add_metric([platform.name], seconds_of(platform.outage))
        yield from (each_up, down_seconds, calls_down_seconds)


def seconds_of(outage: Outage | None) -> float:
    return max(0.0, (utc_now() - outage.since).total_seconds()) if outage is not None else 0.0


EXPOSITION = web.AppKey("exposition", Exposition)


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus text. Succeeds without the database, too."""
    text = await request.app[EXPOSITION].render()
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


# --- routes ----------------------------------------------------------------------------------------------


def add_routes(app: web.Application, bot: Bot, ingresses: Ingresses) -> None:
    app[EXPOSITION] = Exposition(bot, ingresses, DatabaseGauges(bot.database, bot.key_ids))
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", metrics)
