"""The HTTP server by itself: how long it keeps a connection, which it gives up, and which paths it reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from bot.web import server
from bot.web.server import Runner, is_plain

Open = Callable[[bytes], Awaitable[asyncio.StreamReader]]

QUICK = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def go_on() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def connect(go_on: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Opens a connection to a server that has room for three, and sends something."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(server, "KEEPALIVE_TIMEOUT", 0.5)

    async def quick(request: web.Request) -> web.Response:
        return web.Response(text="quick")

    async def slow(request: web.Request) -> web.Response:
        await go_on.wait()
        return web.Response(text="slow")

    application = web.Application()
    application.router.add_get("/quick", quick)
    application.router.add_get("/slow", slow)
    runner = Runner(application, public_url="https://bot.example", shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    opened: list[asyncio.StreamWriter] = []

    async def open_one(sent: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        opened.append(writer)
        writer.write(sent)
        return reader

    yield open_one
    for writer in opened:
        writer.transport.abort()
    await runner.cleanup()


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))


async def end(reader: asyncio.StreamReader) -> bytes:
    """What still comes before the connection is closed."""
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"GET /qu", QUICK, QUICK + b"GET /qu"])
async def test_a_connection_without_a_request_is_closed_in_time(connect: Open, sent: bytes):
    started = time.monotonic()
    await end(await connect(sent))
    assert 0.4 < time.monotonic() - started < 4


async def test_a_request_that_takes_its_time_is_not_cut_off(connect: Open, go_on: asyncio.Event):
    reader = await connect(SLOW)
    asyncio.get_running_loop().call_later(1.5, go_on.set)
    assert b"slow" in await answer(reader)


async def test_the_connection_that_has_waited_longest_makes_room(connect: Open, go_on: asyncio.Event):
    working = await connect(SLOW)
    first = await connect(QUICK)
    await answer(first)
    await answer(await connect(QUICK))
    third = await connect(QUICK)
    assert b"quick" in await answer(third)
    assert await end(first) == b""
    go_on.set()
    assert b"slow" in await answer(working)


async def test_when_all_are_being_answered_the_next_is_refused(connect: Open, go_on: asyncio.Event):
    working = [await connect(SLOW) for _ in range(3)]
    assert await end(await connect(QUICK)) == b""
    go_on.set()
    for reader in working:
        assert b"slow" in await answer(reader)


async def test_a_body_that_comes_slowly_counts_as_waiting(connect: Open, go_on: asyncio.Event):
    waiting = [await connect(SLOW.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n")) for _ in range(3)]
    assert b"quick" in await answer(await connect(QUICK))
    assert await end(waiting[0]) == b""


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/healthz?",
        "/metrics?x=%6d//../",
        "/static/",
        "/static/page.css",
        "/authorize/" + "A-_0" * 11,
        "/oauth/lark/client/sign-ins",
    ],
)
def test_a_plain_path_is_read(path: str):
    assert is_plain(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "healthz",
        "/%6detrics",
        "/%6Detrics",
        "/metrics%2f",
        "/metrics%00",
        "//metrics",
        "/.//metrics",
        "/./metrics",
        "/static/../metrics",
        "/static/..",
        "/metrics#",
        "/metrics#x?y",
        "/metrics;x",
        "/metrics,",
        "/metrics\\",
        "/\\metrics",
        "/metrics\t",
        "/metrics\n",
        "/métrics",
        "http://bot.example/metrics",
        "bot.example:443",
        "/" + "a" * 300,
        "/a" * 4000,
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_not(path: str):
    assert not is_plain(path)
