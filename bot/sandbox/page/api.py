"""The chat page's API: the platform's state and feed, sign-in, the bot's process and database, time.

It is the same for every platform. What people and administrators do is in each emulator's control API, under the
same prefix.
"""

import asyncio
import json
from pathlib import Path

from aiohttp import web

from bot.sandbox.bot_process import BotProcess
from bot.sandbox.json_http import BadRequest, Json
from bot.sandbox.page.database import list_tables, read_table
from bot.sandbox.platform import PERSON_COOKIE, ChatPlatform

KEEP_ALIVE_SECONDS = 15
MAX_ADVANCE_SECONDS = 366 * 86_400

EXTERNAL_BOT: Json = {
    "supervised": False,
    "running": None,
    "state": "external",
    "words": "The bot was started elsewhere.",
    "log": [],
}

routes = web.RouteTableDef()
PLATFORM: web.AppKey[ChatPlatform] = web.AppKey("platform")
BOT = web.AppKey("bot", BotProcess)
DATABASE = web.AppKey("database", Path)


# The platform


@routes.get("/sandbox/api/state")
async def state(request: web.Request) -> web.Response:
    """Everything that the page shows, and the sequence number of the last change in it."""
    platform = request.app[PLATFORM]
    return web.json_response({**platform.state(), "sequence": len(platform.feed.changes)})


@routes.get("/sandbox/api/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events: the changes after `after`, then each new one."""
    feed = request.app[PLATFORM].feed
    after = _after(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    queue, unsubscribe = feed.subscribe()
    try:
        for change in feed.changes_after(after):
            await _send(response, change.as_json())
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    latest = await queue.get()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if latest is None:
                return response
            await _send(response, latest.as_json())
    except ConnectionError:
        return response
    finally:
        unsubscribe()


async def _send(response: web.StreamResponse, change: Json) -> None:
    data = json.dumps(change, ensure_ascii=False)
    await response.write(f"id: {change['sequence']}\ndata: {data}\n\n".encode())


@routes.get("/sandbox/api/changes")
async def changes(request: web.Request) -> web.Response:
    """The changes after `after`, all or of one `kind`."""
    found = request.app[PLATFORM].feed.changes_after(_after(request), request.query.get("kind"))
    return web.json_response({"changes": [change.as_json() for change in found]})


@routes.get("/sandbox/api/requests")
async def requests(request: web.Request) -> web.Response:
    """The bot's requests to the platform after `after`."""
    found = request.app[PLATFORM].feed.changes_after(_after(request), "request")
    return web.json_response({"requests": [change.as_json() for change in found]})


def _after(request: web.Request) -> int:
    given = request.headers.get("Last-Event-ID") or request.query.get("after") or "0"
    if not given.isdigit():
        raise BadRequest("after must be a whole number")
    return int(given)


@routes.get("/sandbox/login")
async def login(request: web.Request) -> web.Response:
    """Sign this browser in as `person`, then redirect to `next`, a path of this site."""
    person = request.query.get("person", "")
    if not request.app[PLATFORM].has_person(person):
        return web.json_response({"error": "no such person"}, status=404)
    target = request.query.get("next", "/")
    if not target.startswith("/") or target.startswith(("//", "/\\")):
        return web.json_response({"error": "next must be a path of this site"}, status=400)
    response = web.HTTPFound(target)
    response.set_cookie(PERSON_COOKIE, person, samesite="Lax", httponly=True)
    raise response


# The bot


@routes.get("/sandbox/api/database")
async def tables(request: web.Request) -> web.Response:
    """The tables of the bot's database, with their numbers of rows."""
    return web.json_response(await asyncio.to_thread(list_tables, request.app[DATABASE]))


@routes.get("/sandbox/api/database/{table}")
async def table(request: web.Request) -> web.Response:
    """The newest rows of one table."""
    found = await asyncio.to_thread(read_table, request.app[DATABASE], request.match_info["table"])
    if found is None:
        return web.json_response({"error": "no such table"}, status=404)
    return web.json_response(found)


@routes.get("/sandbox/api/bot")
async def bot_status(request: web.Request) -> web.Response:
    bot = request.app.get(BOT)
    return web.json_response(EXTERNAL_BOT if bot is None else bot.as_json())


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
        return web.json_response({"error": "the body must be {action, deferred_ttl?}"}, status=400)
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
            return web.json_response({"error": "action must be kill, stop, start or restart"}, status=400)
    return web.json_response(bot.as_json())


@routes.post("/sandbox/api/time")
async def advance_everyone(request: web.Request) -> web.Response:
    """Let {"advance": seconds} pass at the platform, for people and for the bot, which is restarted."""
    bot = request.app.get(BOT)
    if bot is None:
        return web.json_response(
            {"error": "the bot was started elsewhere; its clock cannot be changed"}, status=409
        )
    try:
        seconds = float((await request.json())["advance"])
    except (ValueError, KeyError, TypeError, AttributeError):
        seconds = -1
    if not 0 <= seconds <= MAX_ADVANCE_SECONDS:
        return web.json_response({"error": "the body must be {advance}: seconds, at most a year"}, status=400)
    clock = request.app[PLATFORM].clock
    was_running = bot.running
    await bot.stop()
    clock.advance_everyone(seconds)
    bot.ahead = clock.wall_offset
    if was_running:
        await bot.start()
    return web.json_response(bot.as_json())
