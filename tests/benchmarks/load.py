"""Sends signed, encrypted messages to a webhook, and tells how fast and how soon they were acknowledged.

`python -m tests.benchmarks.load PORT CONNECTIONS SECONDS RATE`; a rate of 0: each connection as fast as it is answered.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterator

from tests.benchmarks.bare_http import Client, connect, post
from tests.benchmarks.figures import percentile
from tests.benchmarks.subscription import pushed

PEOPLE = 500
MOST = 12_000
"""Messages made ahead for one second of as fast as possible."""


def requests(count: int) -> Iterator[bytes]:
    """Each is a message of its own, in this run and all others."""
    first = secrets.randbelow(10**15) * 10**6
    prepared = []
    for number in range(count):
        body, headers = pushed(first + number, number % PEOPLE, "/doc welcome")
        prepared.append(post("/lark/events", body, headers))
    return iter(prepared)


class Load:
    def __init__(self, clients: list[Client], waiting: Iterator[bytes]) -> None:
        self.clients, self.waiting = clients, waiting
        self.latencies: list[float] = []

    async def send(self, client: Client, request: bytes, since: float) -> None:
        head, body = await client.send(request)
        if b" 200 " not in head[:13]:
            raise RuntimeError(f"Not acknowledged: {(head + body)[:300]!r}")
        self.latencies.append(time.perf_counter() - since)

    async def as_fast_as_possible(self, seconds: float) -> None:
        until = time.perf_counter() + seconds

        async def one(client: Client) -> None:
            while (now := time.perf_counter()) < until:
                request = next(self.waiting, None)
                if request is None:
                    return
                await self.send(client, request, now)

        await asyncio.gather(*map(one, self.clients))

    async def paced(self, seconds: float, rate: float) -> None:
        """At fixed times, however long the answers take; latency counts from the time that was due."""
        began = time.perf_counter()
        free = asyncio.Queue[Client]()
        for client in self.clients:
            free.put_nowait(client)

        async def one(due: float) -> None:
            await asyncio.sleep(due - time.perf_counter())
            client = await free.get()
            await self.send(client, next(self.waiting), due)
            free.put_nowait(client)

        await asyncio.gather(*(one(began + number / rate) for number in range(int(seconds * rate))))


async def run(port: int, connections: int, seconds: float, rate: float) -> dict[str, float]:
    load = Load(
        [await connect(port) for _ in range(connections)],
        requests(int(seconds * (rate or MOST)) + connections * 2),
    )
    for client in load.clients:
        await load.send(client, next(load.waiting), 0)
    load.latencies.clear()
    began = time.perf_counter()
    await (load.paced(seconds, rate) if rate else load.as_fast_as_possible(seconds))
    took = time.perf_counter() - began
    milliseconds = [each * 1e3 for each in load.latencies]
    return {
        "rate": len(milliseconds) / took,
        "p50": percentile(milliseconds, 0.5),
        "p99": percentile(milliseconds, 0.99),
    }


if __name__ == "__main__":
    port, connections, seconds, rate = sys.argv[1:]
    print(json.dumps(asyncio.run(run(int(port), int(connections), float(seconds), float(rate)))))
