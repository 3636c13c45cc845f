"""Webhooks to compare with: they verify, decrypt and parse, and record nothing.

`python -m tests.benchmarks.handlers minimal|sdk` prints its port and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

from aiohttp import web

from tests.benchmarks import subscription as app
from tests.benchmarks.parsing import minimal


async def receive_minimal(request: web.Request) -> web.Response:
    minimal(request.headers, await request.read())
    return web.json_response({})


def sdk_receiver() -> web.RequestHandler:  # type: ignore[type-arg]
    from lark_oapi.core.model import RawRequest
    from lark_oapi.event.dispatcher_handler import EventDispatcherHandler

    logging.getLogger("Lark").setLevel(logging.ERROR)
    builder = EventDispatcherHandler.builder(app.ENCRYPT_KEY, app.VERIFICATION_TOKEN)
    handler = builder.register_p2_im_message_receive_v1(lambda event: None).build()

    async def receive(request: web.Request) -> web.Response:
        raw = RawRequest()
        raw.uri, raw.headers, raw.body = request.path, dict(request.headers), await request.read()
        answer = handler.do(raw)
        return web.Response(status=answer.status_code, body=answer.content)

    return receive  # type: ignore[return-value]


async def serve(which: str) -> None:
    application = web.Application()
    application.router.add_post("/lark/events", sdk_receiver() if which == "sdk" else receive_minimal)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    gc.collect()
    gc.freeze()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
