"""Liveness, readiness and metrics, for monitoring."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bot.core.events import Outage
from bot.core.platform import Platform
from bot.flows import observations
from bot.flows.bot import utc_now
from bot.store import operator_queries
from bot.web.app_keys import BOT, INGRESSES

PROBE_TIMEOUT = 2.0
"""Seconds."""


async def alive(request: web.Request) -> web.Response:
    """`GET /healthz`: the event loop runs."""
    return web.json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """`GET /readyz`: 200 if the database is usable and events can arrive, else 503 with what is down.

    The body reports a platform that cannot be reached, which does not change the status.
    The check does not write, because the heartbeat shows whether the database accepts writes.
    """
    bot, several = request.app[BOT], len(request.app[BOT].platforms) > 1
    checks = {"database": await is_database_up(request)}
    fields: dict[str, str] = {}
    for platform in bot.platforms.values():
        events, calls = (f"{platform.name}_events", platform.name) if several else ("events", "platform")
        outage = events_outage(request, platform)
        checks[events] = outage is None
        fields |= outage_fields(events, outage) | outage_fields(calls, platform.outage)
    status = 200 if all(checks.values()) else 503
    fields = {name: "up" if up else "down" for name, up in checks.items()} | fields
    return web.json_response({"status": "ready" if status == 200 else "not ready", **fields}, status=status)


def events_outage(request: web.Request, platform: Platform) -> Outage | None:
    """Return why a platform's events cannot arrive at the moment, or None. Events by webhook always can."""
    ingress = request.app[INGRESSES].get(platform.name)
    return ingress() if ingress is not None else None


def outage_fields(what: str, outage: Outage | None) -> dict[str, str]:
    if outage is None:
        return {}
    since = outage.since.isoformat(timespec="seconds")
    return {f"{what}_down_since": since, f"{what}_down_because": outage.reason}


async def is_database_up(request: web.Request) -> bool:
    bot = request.app[BOT]
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await bot.database.probe()
    except Exception as error:
        observations.failed(bot, "database not reachable", error)
        return False
    return bot.heartbeat.is_recent


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus text. The counts are those of all replicas together."""
    bot = request.app[BOT]
    counts = await bot.database.view(lambda c: operator_queries.counts(c, utc_now(), bot.database.apps))
    registry = CollectorRegistry()
    for name, (description, values) in counts.items():
        gauge = Gauge(f"bot_{name}", description, ["status"], registry=registry)
        for status, count in values.items():
            gauge.labels(status).set(count)
    each = Gauge(
        "bot_platform_events_up",
        "Whether a platform's events can arrive at this replica",
        ["platform"],
        registry=registry,
    )
    are_up = {platform.name: events_outage(request, platform) is None for platform in bot.platforms.values()}
    for name, is_up in are_up.items():
        each.labels(name).set(is_up)
    up = Gauge(
        "bot_events_up", "Whether the events of every platform can arrive at this replica", registry=registry
    )
    up.set(all(are_up.values()))
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
