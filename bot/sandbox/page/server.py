"""Adds the chat page to an emulator's application: the page, its static files, its API and its guard."""

from pathlib import Path

from aiohttp import web

from bot.sandbox.bot_process import BotProcess
from bot.sandbox.page import api
from bot.sandbox.page.guard import add_security_headers, guard
from bot.sandbox.platform import ChatPlatform

STATIC = Path(__file__).parent / "static"


def add_chat_page(
    app: web.Application, platform: ChatPlatform, database: Path, bot: BotProcess | None
) -> None:
    """Add the page. Without a `bot` process, the page's controls for it are disabled."""
    add_page_api(app, platform)
    app[api.DATABASE] = database
    if bot is not None:
        app[api.BOT] = bot
    app.router.add_get("/", chat_page)
    app.router.add_static("/sandbox/static", STATIC)
    app.middlewares.insert(0, guard)
    app.on_response_prepare.append(add_security_headers)


def add_page_api(app: web.Application, platform: ChatPlatform) -> None:
    """Add the page's API alone, without files and guard: enough for tests that read the feed over HTTP."""
    app[api.PLATFORM] = platform
    app.add_routes(api.routes)


async def chat_page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "chat.html")
