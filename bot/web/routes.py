"""The doors: which URL leads where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.core.events import Outage
from bot.flows.bot import Bot
from bot.flows.limits import RepeatedLogs
from bot.web import authorize, client, events, health, login, permissions
from bot.web.bodies import LARGEST_BODY
from bot.web.failures import note_failure
from bot.web.headers import is_navigation
from bot.web.keys import BOT, CLIENT_SCRIPT, INGRESS, ClientScript, Ingress
from bot.web.pages import FOREIGN_POST, NOT_FOUND, TROUBLE, show
from bot.web.session import ForeignPost

STATIC = Path(__file__).parent / "static"


def build(
    bot: Bot, *, webhook: bool, outage: Callable[[], Outage | None], client_script: str
) -> web.Application:
    """The bot's web application. `webhook`: events come in by HTTP."""
    app = web.Application(middlewares=[explain], client_max_size=LARGEST_BODY)
    app[BOT] = bot
    app[CLIENT_SCRIPT] = ClientScript.of(client_script)
    app[INGRESS] = Ingress(outage)
    name = bot.platform.name
    if webhook:
        app[events.ADVICE] = RepeatedLogs(every=events.ADVICE_EVERY)
        app.router.add_post(f"/{name}/events", events.receive)
    if not bot.by_device:
        app.router.add_routes(for_browsers(name))
    app.router.add_get("/healthz", health.alive)
    app.router.add_get("/readyz", health.ready)
    app.router.add_get("/metrics", health.metrics)
    app.router.add_static("/static", STATIC)
    return app


def for_browsers(name: str) -> list[web.RouteDef]:
    """What people open, who follow a link or come back from the platform's page."""
    return [
        web.get("/authorize/{ticket}", authorize.start),
        web.route("*", f"/oauth/{name}/callback", authorize.callback),
        web.route("*", f"/oauth/{name}/callback/{{rest:.*}}", authorize.callback),
        web.get(f"{authorize.LANDED_AT}/{{outcome}}", authorize.landed),
        web.get(f"/oauth/{name}/client", client.page),
        web.post(f"/oauth/{name}/client/attempts", client.begin),
        web.post(f"/oauth/{name}/client/sign-ins", client.begin_sign_in),
        web.post(f"/oauth/{name}/client/results", client.finish),
        web.get("/login", only_opened(login.start)),
        web.get("/login/{outcome}", login.ended),
        web.post("/logout", only_opened(login.sign_out)),
        web.get("/permissions", only_opened(permissions.page)),
        web.get("/permissions/continue", only_opened(permissions.go_on)),
        web.post("/permissions/revoke", only_opened(permissions.revoke)),
        web.post("/permissions/cancel", only_opened(permissions.cancel)),
    ]


Page = Callable[[web.Request], Awaitable[web.Response]]


def only_opened(handler: Page) -> Page:
    """For what goes by a session: no script, frame or image is to ask for it, be it of our own pages."""

    async def guarded(request: web.Request) -> web.Response:
        if not is_navigation(request):
            raise web.HTTPForbidden(text="This page can only be opened.")
        return await handler(request)

    return guarded


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A person who mistypes a link, or meets a failure of ours, reads a page; programs still see the status."""
    if authorize.has_stray_code(request):
        return login.redirect(request.path)
    try:
        return await handler(request)
    except web.HTTPNotFound:
        # An address that is nearly the callback's, which a proxy or a slip made of it.
        if authorize.brings_a_code(request) and is_navigation(request) and not request.app[BOT].by_device:
            return authorize.malformed(request)
        return show(request, NOT_FOUND)
    except ForeignPost:
        return show(request, FOREIGN_POST)
    except web.HTTPException:
        raise
    except Exception as error:
        resource = request.match_info.route.resource
        note_failure(request.app[BOT], resource.canonical if resource else "", error)
        return show(request, TROUBLE)
