"""Plays a platform that sends messages over one long connection, and tells how soon they were acknowledged.

`python -m tests.benchmarks.streaming AT_ONCE SECONDS` prints its port, waits for the bot's connection, sends, and prints
the figures.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time

from aiohttp import web

from bot.sandbox.lark.frames import DATA, Frame, decode, encode
from tests.benchmarks.figures import percentile
from tests.benchmarks.load import PEOPLE
from tests.benchmarks.subscription import message_event


class Streaming:
    def __init__(self, at_once: int, seconds: float) -> None:
        self.at_once, self.seconds = at_once, seconds
        self.next = secrets.randbelow(10**15) * 10**6
        self.sent: dict[str, float] = {}
        self.latencies: list[float] = []
        self.done: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()

    async def endpoint(self, request: web.Request) -> web.Response:
        url = f"ws://{request.host}/connection?device_id=1&service_id=1"
        return web.json_response({"code": 0, "data": {"URL": url}})

    async def connection(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        began = time.perf_counter()
        for _ in range(self.at_once):
            await self.send(socket)
        async for message in socket:
            frame = decode(message.data)
            if frame.method != DATA:
                continue
            if json.loads(frame.payload or b"{}")["code"] != 200:
                raise RuntimeError("Not acknowledged.")
            now = time.perf_counter()
            self.latencies.append((now - self.sent.pop(frame.headers["message_id"])) * 1e3)
            if now < began + self.seconds:
                await self.send(socket)
            elif not self.sent:
                self.done.set_result(self.figures(now - began))
                break
        return socket

    async def send(self, socket: web.WebSocketResponse) -> None:
        self.next += 1
        event = message_event(self.next, self.next % PEOPLE, "/doc welcome", time.time())
        name = event["header"]["event_id"]
        headers = {"type": "event", "message_id": name, "trace_id": name, "sum": "1", "seq": "0"}
        data = encode(Frame(1, 1, 1, DATA, headers, payload=json.dumps(event).encode()))
        self.sent[name] = time.perf_counter()
        await socket.send_bytes(data)

    def figures(self, took: float) -> dict[str, float]:
        return {"rate": len(self.latencies) / took, "p99": percentile(self.latencies, 0.99)}


async def run(at_once: int, seconds: float) -> None:
    streaming = Streaming(at_once, seconds)
    app = web.Application()
    app.router.add_post("/callback/ws/endpoint", streaming.endpoint)
    app.router.add_get("/connection", streaming.connection)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    print(json.dumps(await streaming.done), flush=True)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), float(sys.argv[2])))
