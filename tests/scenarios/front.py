"""What can stand between the public and the bot: a proxy that works, one that does not, or something else entirely."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from aiohttp import web

from tests.ports import free_port

Handler = Callable[[web.Request], Any]


class Front:
    """A reverse proxy in front of the bot, with paths that it treats in its own way."""

    def __init__(self, bot: str) -> None:
        self.bot = bot
        self.origin = ""
        self.answers: dict[str, web.Response] = {}
        """What it answers itself, by the beginning of the path."""
        self.delays: dict[str, float] = {}
        """Seconds after which it forwards, by the beginning of the path."""
        self.dropped: set[str] = set()
        """Headers that it does not forward."""

    def answer(self, path: str, status: int, text: str = "", **headers: str) -> None:
        kind = headers.pop("kind", "text/html")
        self.answers[path] = web.Response(status=status, text=text, content_type=kind, headers=headers)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        for path, delay in self.delays.items():
            if request.path.startswith(path):
                await asyncio.sleep(delay)
        for path, made in self.answers.items():
            if request.path.startswith(path):
                return web.Response(status=made.status, body=made.body, headers=made.headers)
        try:
            async with (
                aiohttp.ClientSession(auto_decompress=False) as session,
                session.request(
                    request.method,
                    f"{self.bot}{request.rel_url}",
                    data=await request.read() or None,
                    headers={k: v for k, v in request.headers.items() if k not in {"Host", *self.dropped}},
                    allow_redirects=False,
                ) as response,
            ):
                kept = {
                    k: v for k, v in response.headers.items() if k not in {"Content-Length", "Connection"}
                }
                return web.Response(status=response.status, body=await response.read(), headers=kept)
        except aiohttp.ClientError:
            return web.Response(status=502, text="<html>502 Bad Gateway</html>", content_type="text/html")


@contextlib.asynccontextmanager
async def front_of(bot: str, context: ssl.SSLContext | None = None) -> AsyncIterator[Front]:
    front = Front(bot)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", front.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    front.origin = f"{'https' if context else 'http'}://127.0.0.1:{port}"
    yield front
    await runner.cleanup()
