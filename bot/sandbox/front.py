"""The way from browsers to the bot: everything is passed on, as the client would send it while that is emulated.

A browser cannot take on the client's user agent, by which the bot decides what to show. So the bot is reached through
here, as it would be through a proxy, and a request that comes from inside the client says so on its way.
"""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bot.sandbox.client import user_agent
from bot.sandbox.tenant import Tenant

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
"""Between two neighbours (RFC 9110, 7.6.1), or written anew by whoever sends a body on."""

NOT_RUNNING = (
    "The bot is not running. Start it in the chat page (Trouble, The bot), then load this page again."
)

SESSION = web.AppKey("session", aiohttp.ClientSession)


def build_front(tenant: Tenant, bot_url: str) -> web.Application:
    """An application that passes every request on to the bot."""

    async def pass_on(request: web.Request) -> web.Response:
        headers = end_to_end(request.headers)
        if agent := user_agent(tenant, request):
            headers["User-Agent"] = agent
        try:
            async with request.app[SESSION].request(
                request.method,
                URL(bot_url + request.raw_path, encoded=True),
                headers=headers,
                data=await request.read() or None,
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
        except aiohttp.ClientError:
            return web.Response(status=502, text=NOT_RUNNING)
        return web.Response(status=answer.status, headers=end_to_end(answer.headers), body=body)

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", pass_on)
    return app


async def session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=60)
    ) as app[SESSION]:
        yield


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return CIMultiDict((n, v) for n, v in headers.items() if n.lower() not in HOP_BY_HOP)
