"""The doors: which URL leads where."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.flows.bot import Bot
from bot.web import authorize, client, events, health
from bot.web.headers import secure
from bot.web.keys import BOT, CLIENT_SCRIPT, INGRESS, ClientScript, Ingress
from bot.web.pages import NOT_FOUND, TROUBLE

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"


def build(bot: Bot, *, webhook: bool, ingress_up: Callable[[], bool], client_script: str) -> web.Application:
    """The bot's web application. `webhook`: events come in by HTTP."""
    app = web.Application(middlewares=[secure, explain], client_max_size=events.LARGEST_EVENT)
    app[BOT] = bot
    app[CLIENT_SCRIPT] = ClientScript(client_script)
    app[INGRESS] = Ingress(ingress_up)
    name = bot.platform.name
    if webhook:
        app.router.add_post(f"/{name}/events", events.receive)
    if not bot.by_device:
        app.router.add_get("/authorize/{ticket}", authorize.start)
        app.router.add_get(f"/oauth/{name}/callback", authorize.callback, allow_head=False)
        app.router.add_get(f"/oauth/{name}/client", client.page)
        app.router.add_post(f"/oauth/{name}/client/attempts", client.begin)
        app.router.add_post(f"/oauth/{name}/client/results", client.finish)
    app.router.add_get("/healthz", health.alive)
    app.router.add_get("/readyz", health.ready)
    app.router.add_get("/metrics", health.metrics)
    app.router.add_static("/static", STATIC)
    return app


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A person who mistypes a link, or meets a failure of ours, reads a page; programs still see the status."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return authorize.show(request, NOT_FOUND)
    except web.HTTPException:
        raise
    except Exception:
        resource = request.match_info.route.resource
        log.exception("request failed", extra={"route": resource.canonical if resource else ""})
        return authorize.show(request, TROUBLE)
