"""Several bot processes on one PostgreSQL, behind a small reverse proxy."""

from __future__ import annotations

import asyncio
import itertools
import signal
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.bot_process import Call, Process, bot
from tests.ports import free_port
from tests.sql import Rows, query

from .changed_bot import bot_with_times
from .world import World

BOT_RUN = bot("run")

HOP_BY_HOP = {"connection", "host", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Proxy:
    """A reverse proxy at the bot's address that passes requests to its ports in turn.

    Answers 502 for a replica that is gone: a retry reaches another one.
    """

    port: int
    ports: list[int] = field(default_factory=list)
    resting: set[int] = field(default_factory=set)
    """Ports that get no requests for now."""
    routes: dict[str, int] = field(default_factory=dict)
    """Path prefix: the port that gets these requests."""
    served: list[tuple[str, int]] = field(default_factory=list)
    """Path and port of each request that was forwarded."""

    async def __aenter__(self) -> Self:
        self._turns = itertools.count()
        self._client = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        application = web.Application(client_max_size=4 * 1024**2)
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._runner.cleanup()
        await self._client.close()

    def who_served(self, path: str) -> set[int]:
        return {port for served, port in self.served if served.startswith(path)}

    def _choose(self, path: str) -> int | None:
        routed = [port for start, port in self.routes.items() if path.startswith(start)]
        if routed:
            return routed[0]
        serving = [port for port in self.ports if port not in self.resting]
        return serving[next(self._turns) % len(serving)] if serving else None

    async def _pass_on(self, request: web.Request) -> web.Response:
        port = self._choose(request.path)
        if port is None:
            return web.Response(status=502)
        self.served.append((request.path, port))
        try:
            async with self._client.request(
                request.method,
                f"http://127.0.0.1:{port}{request.raw_path}",
                headers=[(k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP],
                data=await request.read(),
                allow_redirects=False,
            ) as response:
                headers = [(k, v) for k, v in response.headers.items() if k.lower() not in HOP_BY_HOP]
                return web.Response(status=response.status, headers=headers, body=await response.read())
        except (aiohttp.ClientError, OSError):
            return web.Response(status=502)


@dataclass
class Replica:
    """One `bot run`."""

    port: int
    process: Process

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def stop(self, patience: float = 12) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), patience)


@dataclass
class Replicas:
    """The replicas of one world, and their proxy."""

    world: World
    url: str
    all: list[Replica] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.proxy = await Proxy(self.world.port).__aenter__()
        return self

    async def __aexit__(self, *problem: object) -> None:
        for replica in self.all:
            if replica.alive:
                await replica.kill()
        await self.proxy.__aexit__(*problem)

    async def start(
        self, count: int, *, lease: float | None = None, look_again: float | None = None, **settings: str
    ) -> list[Replica]:
        """Start `count` more replicas at once, and wait until each is ready.

        With a long poll interval (`look_again`, in seconds) a replica depends on notifications of new work.
        """
        program = bot_with_times(lease, look_again) if lease or look_again else BOT_RUN
        started = await asyncio.gather(*(self._start_one(program, settings) for _ in range(count)))
        self.proxy.ports += [each.port for each in started]
        return started

    async def _start_one(self, program: Call, settings: dict[str, str]) -> Replica:
        port = free_port()
        process = self.world.fork(program, BOT_PORT=str(port), BOT_DATABASE_URL=self.url, **settings)
        replica = Replica(port, process)
        self.all.append(replica)
        deadline = asyncio.get_running_loop().time() + 60
        while not await self.is_ready(replica):
            assert replica.alive, self.world.log_tail()
            assert asyncio.get_running_loop().time() < deadline, self.world.log_tail()
            await asyncio.sleep(0.05)
        return replica

    async def is_ready(self, replica: Replica) -> bool:
        try:
            async with self.world.http.get(f"http://127.0.0.1:{replica.port}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def rows(self, statement: str, **parameters: Any) -> Rows:
        """Run a query on the database."""
        return await query(self.url, statement, **parameters)

    async def one(self, statement: str, **parameters: Any) -> Any:
        (row,) = await self.rows(statement, **parameters)
        (value,) = row.values()
        return value

    async def holder(self) -> Replica:
        """Wait for a running call, and return the replica that runs it."""

        async def found() -> Replica | None:
            workers = await self.rows("SELECT worker FROM deferred_calls WHERE status = 'running'")
            return next(
                (each for each in self.all if workers and f"-{each.process.pid}-" in workers[0]["worker"]),
                None,
            )

        while (replica := await found()) is None:
            await asyncio.sleep(0.02)
        return replica
