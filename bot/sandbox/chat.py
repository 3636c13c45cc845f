"""The chat page: its files and headers, the bot's tables and process, and the guard before the control API.

The guard exists because the control API has no password: any web page that the visitor has open could
otherwise reach it, by posting across sites or by rebinding its own name to the loopback address.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

from aiohttp import web

from bot.sandbox.consent import PERSON_COOKIE
from bot.sandbox.gateway import TENANT
from bot.sandbox.process import BotProcess
from bot.sandbox.tables import list_tables, read_table
from bot.sandbox.tenant import Json

STATIC = Path(__file__).parent / "static"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FOR_PAGES_IN_THE_CLIENT = "/sandbox/jssdk.js"
"""Loaded by the bot's own pages, on another port: for an address without a name, that is not the same site either."""
EXTERNAL_BOT: Json = {
    "supervised": False,
    "running": None,
    "state": "external",
    "words": "The bot was started elsewhere.",
    "log": [],
}

A_YEAR = 366 * 86_400

routes = web.RouteTableDef()
BOT = web.AppKey("bot", BotProcess)
DATABASE = web.AppKey("database", Path)


def add_chat_page(app: web.Application, database: Path, bot: BotProcess | None) -> None:
    """Adds the pages to the platform's application. Without a `bot` process its switches are off."""
    app[DATABASE] = database
    if bot is not None:
        app[BOT] = bot
    app.add_routes(routes)
    app.router.add_static("/sandbox/static", STATIC)
    app.middlewares.insert(0, guard)
    app.on_response_prepare.append(harden)


def is_sandbox(path: str) -> bool:
    """The sandbox's own pages and control API, as opposed to the platform that it stands in for."""
    return path == "/" or path.startswith("/sandbox/")


@web.middleware
async def guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuses requests that another site's page could have made."""
    if is_sandbox(request.path) and (reason := foreign(request)):
        return web.json_response({"error": reason}, status=403)
    return await handler(request)


def foreign(request: web.Request) -> str | None:
    """Why this request is not from the sandbox's own pages or a local tool, if it is not."""
    if urlsplit(f"//{request.host}").hostname not in LOOPBACK:
        return "the sandbox answers to loopback addresses only"
    if request.method in ("GET", "HEAD"):
        # Navigations come from the bot's pages, which are another origin; data is for our own pages only.
        site = request.headers.get("Sec-Fetch-Site", "none")
        reads_data = request.path.startswith("/sandbox/api/")
        return "other sites may not read this" if reads_data and site not in ("same-origin", "none") else None
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return "other sites may not do this"
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        return "other sites may not do this"
    return None


async def harden(request: web.Request, response: web.StreamResponse) -> None:
    if is_sandbox(request.path):
        response.headers.update(HEADERS)
        if request.path.startswith(FOR_PAGES_IN_THE_CLIENT):
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        # Files are asked for anew each time (304 mostly), so that a newer sandbox never meets an older page.
        response.headers.setdefault(
            "Cache-Control", "no-cache" if request.path.startswith("/sandbox/static/") else "no-store"
        )


@routes.get("/")
async def chat_page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "chat.html")


@routes.get("/client/bot/open")
async def open_bot(request: web.Request) -> web.Response:
    """The AppLink to the direct chat with the bot, for whoever this browser is signed in as."""
    raise web.HTTPFound(f"/#person={quote(request.cookies.get(PERSON_COOKIE, ''))}")


@routes.get("/app/{app_id}/auth")
async def developer_console(request: web.Request) -> web.Response:
    """Where the platform's own links to enable a scope lead: to the page's switches, with that scope found."""
    raise web.HTTPFound(f"/#scopes={quote(request.query.get('q', ''))}")


@routes.get("/sandbox/consent")
async def consent_page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "consent.html")


@routes.get("/sandbox/device")
async def device_page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "device.html")


@routes.get("/sandbox/api/database")
async def tables(request: web.Request) -> web.Response:
    return web.json_response(await asyncio.to_thread(list_tables, request.app[DATABASE]))


@routes.get("/sandbox/api/database/{table}")
async def table(request: web.Request) -> web.Response:
    found = await asyncio.to_thread(read_table, request.app[DATABASE], request.match_info["table"])
    if found is None:
        return web.json_response({"error": "no such table"}, status=404)
    return web.json_response(found)


@routes.get("/sandbox/api/bot")
async def bot_status(request: web.Request) -> web.Response:
    bot = request.app.get(BOT)
    return web.json_response(EXTERNAL_BOT if bot is None else bot.as_json())


@routes.post("/sandbox/api/time")
async def pass_time(request: web.Request) -> web.Response:
    """Lets {"advance": seconds} pass for everybody: the platform, the people, and the bot, which is started again."""
    bot = request.app.get(BOT)
    if bot is None:
        return web.json_response({"error": "the bot was started elsewhere; its clock stays"}, status=409)
    try:
        seconds = float((await request.json())["advance"])
    except (ValueError, KeyError, TypeError, AttributeError):
        seconds = -1
    if not 0 <= seconds <= A_YEAR:
        return web.json_response({"error": "the body is {advance}: seconds, at most a year"}, status=400)
    runs = bot.running
    await bot.stop()
    request.app[TENANT].clock.advance_all(seconds)
    bot.ahead = request.app[TENANT].clock.everybody_ahead
    if runs:
        await bot.start()
    return web.json_response(bot.as_json())


@routes.post("/sandbox/api/bot")
async def control_bot(request: web.Request) -> web.Response:
    """{"action": kill | stop | start | restart}; a restart may set `deferred_ttl`, in seconds."""
    bot = request.app.get(BOT)
    if bot is None:
        return web.json_response({"error": "the bot was started elsewhere"}, status=409)
    try:
        body = await request.json()
        action = body["action"]
        deferred_ttl = int(body.get("deferred_ttl", bot.deferred_ttl))
    except (ValueError, KeyError, TypeError, AttributeError):
        return web.json_response({"error": "the body is {action, deferred_ttl?}"}, status=400)
    match action:
        case "kill":
            await bot.kill()
        case "stop":
            await bot.stop()
        case "start":
            await bot.start()
        case "restart" if deferred_ttl > 0:
            await bot.stop()
            bot.deferred_ttl = deferred_ttl
            await bot.start()
        case _:
            return web.json_response({"error": "action is kill, stop, start or restart"}, status=400)
    return web.json_response(bot.as_json())
