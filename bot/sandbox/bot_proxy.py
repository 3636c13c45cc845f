"""A reverse proxy between browsers and the bot, which sets the emulated client's user agent.

The bot decides by the user agent what to show, and a page cannot change the browser's. So browsers reach the bot through
this proxy, which sets the client's user agent on requests from inside the client.
"""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bot.sandbox.platform import Emulator

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
"""Headers between two neighbours (RFC 9110, 7.6.1), and the length, which aiohttp writes itself."""

BOT_NOT_RUNNING = (
    "The bot is not running. Start it in the chat page (Trouble, The bot), then load this page again."
)

SESSION = web.AppKey("session", aiohttp.ClientSession)


def build_bot_proxy(emulator: Emulator, bot_url: str) -> web.Application:
    """Build an application that forwards every request to the bot."""

    async def forward(request: web.Request) -> web.Response:
        headers = end_to_end(request.headers)
        if agent := emulator.client_user_agent(request):
            headers["User-Agent"] = agent
        try:
            async with request.app[SESSION].request(
                request.method,
                URL(bot_url + request.raw_path, encoded=True),
                headers=headers,
                data=await request.read() or None,
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except aiohttp.ClientError:
            return web.Response(status=502, text=BOT_NOT_RUNNING)
        return web.Response(status=response.status, headers=end_to_end(response.headers), body=body)

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.cleanup_ctx.append(_session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def _session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=60)
    ) as app[SESSION]:
        yield


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the headers that a proxy passes on."""
    return CIMultiDict((n, v) for n, v in headers.items() if n.lower() not in HOP_BY_HOP)
