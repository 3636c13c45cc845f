"""The long connection through the SDK's client, against the emulated platform."""

import asyncio
import json
import logging
import threading
import time

import pytest
from aiohttp import web

from bot.core.model import Secret
from bot.lark.stream import LongConnection
from bot.sandbox.connections import CONNECTIONS, Connections, NotAcknowledged
from bot.sandbox.frames import Frame, encode
from bot.sandbox.sample import sample_tenant
from bot.sandbox.server import build_platform

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""The SDK's, while it is imported."""


class Platform:
    """The emulated platform on one port, that can go away and come back there."""

    def __init__(self):
        self.tenant = sample_tenant()
        self.port = 0

    async def up(self):
        app = build_platform(self.tenant)
        self.connections: Connections = app[CONNECTIONS]
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]

    async def down(self):
        await self.runner.cleanup()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def platform():
    platform = Platform()
    await platform.up()
    yield platform
    await platform.down()


async def until(condition, seconds=10.0):
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "waited too long"
        await asyncio.sleep(0.02)


@pytest.fixture
async def connect(platform):
    opened = []

    async def start(on_event, **changes):
        given = {
            "app_id": platform.tenant.app.app_id,
            "app_secret": Secret(platform.tenant.app.app_secret),
            "open_url": platform.url,
        }
        connection = LongConnection(**(given | changes), on_event=on_event)
        opened.append(connection)
        await connection.start()
        return connection

    yield start
    for connection in opened:
        await connection.stop()


async def nothing(payload):
    return None


async def test_an_event_arrives_on_our_loop_and_is_answered_when_it_was_handled(platform, connect):
    here, seen = threading.current_thread(), []

    async def on_event(payload):
        await asyncio.sleep(0.05)
        seen.append((json.loads(payload), threading.current_thread()))
        return {"toast": {"type": "info", "content": "好"}}

    connection = await connect(on_event)
    await until(lambda: connection.up)
    result, seconds = await platform.connections.send("m1", {"a": "日志"})
    assert seen == [({"a": "日志"}, here)]
    assert result == {"toast": {"type": "info", "content": "好"}}
    assert seconds >= 0.05


async def test_an_event_that_fails_is_refused_so_that_it_comes_again(platform, connect, caplog):
    async def on_event(payload):
        raise ValueError("what the person wrote")

    connection = await connect(on_event)
    await until(lambda: connection.up)
    with pytest.raises(NotAcknowledged, match="500"):
        await platform.connections.send("m1", {})
    assert "what the person wrote" not in caplog.text


async def test_events_do_not_wait_for_each_other(platform, connect):
    first = asyncio.Event()

    async def on_event(payload):
        if json.loads(payload)["n"] == 1:
            await first.wait()
        else:
            first.set()

    connection = await connect(on_event)
    await until(lambda: connection.up)
    await asyncio.gather(*(platform.connections.send(f"m{n}", {"n": n}) for n in (1, 2)))


async def test_a_large_event_is_put_together(platform, connect):
    seen = []

    async def on_event(payload):
        seen.append(json.loads(payload))

    platform.tenant.behaviour.frame_payload_bytes = 1000
    connection = await connect(on_event)
    await until(lambda: connection.up)
    large = {"text": "周报" * 5000}
    await platform.connections.send("m1", large)
    assert seen == [large]


async def test_a_frame_of_type_card_is_answered_too(platform, connect):
    async def on_event(payload):
        return {"kind": "card"}

    connection = await connect(on_event)
    await until(lambda: connection.up)
    socket = next(iter(platform.connections.open.values()))
    answer = asyncio.get_running_loop().create_future()
    socket.waiting["c1"] = answer
    headers = {"type": "card", "message_id": "c1", "trace_id": "t", "sum": "1", "seq": "0"}
    await socket.socket.send_bytes(encode(Frame(1, 1, 1, 1, headers, payload=b"{}")))
    assert (await asyncio.wait_for(answer, 3))["code"] == 200


async def test_what_is_no_frame_harms_nothing(platform, connect):
    connection = await connect(nothing)
    await until(lambda: connection.up)
    socket = next(iter(platform.connections.open.values())).socket
    await socket.send_bytes(b"\xff\xff")
    await socket.send_str("text")
    await socket.send_bytes(encode(Frame(1, 1, 1, 7, {})))
    await socket.send_bytes(encode(Frame(1, 1, 1, 1, {"sum": "x"})))
    result, _ = await platform.connections.send("m1", {})
    assert result is None
    assert connection.up


async def test_it_comes_back_when_the_platform_does(platform, connect):
    connection = await connect(nothing)
    await until(lambda: connection.up)
    await platform.down()
    await until(lambda: not connection.up)
    await asyncio.sleep(3)
    await platform.up()
    await until(lambda: connection.up, seconds=25)
    await platform.connections.send("m1", {})


async def test_the_platforms_wish_to_reconnect_late_is_not_followed(platform, connect):
    platform.tenant.behaviour.client_config = {
        "ReconnectCount": 0,
        "ReconnectInterval": 3600,
        "ReconnectNonce": 3600,
        "PingInterval": None,
    }
    connection = await connect(nothing)
    await until(lambda: connection.up)
    await platform.connections.close()
    await until(lambda: not connection.up)
    await until(lambda: connection.up, seconds=5)


async def test_a_refusal_is_logged_and_not_the_end(platform, connect, caplog):
    caplog.set_level(logging.INFO)
    app, secret = platform.tenant.app, platform.tenant.app.app_secret
    app.app_secret = "changed meanwhile"
    connection = await connect(nothing, app_secret=Secret(secret))
    await until(lambda: any("514" in str(record.__dict__.get("reason")) for record in caplog.records))
    assert not connection.up
    app.app_secret = secret
    await until(lambda: connection.up, seconds=15)
    everything = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert secret not in everything
    assert "device_id" not in everything


async def test_a_platform_that_is_not_there_keeps_nobody_waiting(connect):
    started = time.monotonic()
    connection = await connect(nothing, open_url="http://127.0.0.1:9")
    assert not connection.up
    await connection.stop()
    assert time.monotonic() - started < 10


async def test_it_stops_within_two_seconds_while_an_event_hangs(platform, connect):
    hanging = asyncio.Event()

    async def on_event(payload):
        hanging.set()
        await asyncio.sleep(3600)

    connection = await connect(on_event)
    await until(lambda: connection.up)
    sending = asyncio.create_task(platform.connections.send("m1", {}))
    await hanging.wait()
    started = time.monotonic()
    await connection.stop()
    assert time.monotonic() - started < 2.2
    assert not connection.up
    with pytest.raises(NotAcknowledged):
        await sending


async def test_two_connections_live_side_by_side(platform, connect):
    first, second = await connect(nothing), await connect(nothing)
    await until(lambda: first.up and second.up)
    assert len(platform.connections.open) == 2
    await first.stop()
    await platform.connections.send("m1", {})
    assert second.up


async def test_the_main_loop_is_not_held_up(platform, connect):
    slowest, running = 0.0, True

    async def watch():
        nonlocal slowest
        while running:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            slowest = max(slowest, time.monotonic() - before)

    connection = await connect(nothing)
    await until(lambda: connection.up)
    watching = asyncio.create_task(watch())
    platform.tenant.behaviour.rate_limits = False
    for n in range(100):
        await platform.connections.send(f"m{n}", {"n": n})
    running = False
    await watching
    assert slowest < 0.5
