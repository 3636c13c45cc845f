"""The long connection, against the emulated platform, and against one that is built from the SDK's own frames."""

import asyncio
import base64
import contextlib
import json
import logging
import random
import time

import pytest
from aiohttp import WSMsgType, web
from aiohttp.http_websocket import WebSocketWriter
from yarl import URL

from bot.core.secrets import Secret
from bot.flows.throttling import RepeatedLogs
from bot.lark import stream, stream_endpoint
from bot.lark.stream import LongConnection
from bot.lark.stream_endpoint import MAX_PAUSE, REFUSED_PAUSE, ClientConfig, is_platform_address
from bot.sandbox.lark.faults import Fault
from bot.sandbox.lark.frames import Frame, encode
from bot.sandbox.lark.long_connections import CONNECTIONS, Connections, NotAcknowledged
from bot.sandbox.lark.sample_tenant import sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.transport import long_connection
from bot.transport.long_connection import CONNECT_TIMEOUT, MAX_FRAME_BYTES, EventNotAccepted
from tests.ports import free_port


class Platform:
    """The emulated platform on one port, that can go away and come back there."""

    def __init__(self):
        self.tenant = sample_tenant()
        self.port = free_port()

    async def up(self):
        app = build_platform(self.tenant)
        self.connections: Connections = app[CONNECTIONS]
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True).start()

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


def only_link(platform):
    """The one connection, as the platform has it."""
    (link,) = platform.connections.open.values()
    return link


async def test_an_event_is_acknowledged_when_it_was_handled_with_what_came_of_it(platform, connect):
    seen = []

    async def on_event(payload):
        await asyncio.sleep(0.05)
        seen.append(json.loads(payload))
        return {"toast": {"type": "info", "content": "好"}}

    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    result, seconds = await platform.connections.send("m1", {"a": "日志"})
    assert seen == [{"a": "日志"}]
    assert result == {"toast": {"type": "info", "content": "好"}}
    assert seconds >= 0.05


async def test_an_event_without_a_result_is_acknowledged_without_one(platform, connect):
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    assert (await platform.connections.send("m1", {}))[0] is None


@pytest.mark.parametrize("problem", [EventNotAccepted("for another app"), OSError("disk full")])
async def test_an_event_that_fails_is_refused_so_that_it_comes_again(platform, connect, caplog, problem):
    async def on_event(payload):
        raise problem

    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    with pytest.raises(NotAcknowledged, match="500"):
        await platform.connections.send("m1", {})
    said = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert str(problem) in said


async def test_events_do_not_wait_for_each_other(platform, connect):
    first = asyncio.Event()

    async def on_event(payload):
        if json.loads(payload)["n"] == 1:
            await first.wait()
        else:
            first.set()

    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    await asyncio.gather(*(platform.connections.send(f"m{n}", {"n": n}) for n in (1, 2)))


async def test_a_large_event_is_put_together(platform, connect):
    seen = []

    async def on_event(payload):
        seen.append(json.loads(payload))

    platform.tenant.behaviour.frame_payload_bytes = 1000
    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    large = {"text": "周报" * 5000}
    await platform.connections.send("m1", large)
    assert seen == [large]


async def test_a_frame_of_type_card_is_answered_too(platform, connect):
    async def on_event(payload):
        return {"toast": {"type": "success", "content": "done"}}

    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    result, _ = await platform.connections.send("m1", {}, "card")
    assert result == {"toast": {"type": "success", "content": "done"}}


async def test_a_handler_that_waits_holds_up_neither_pings_nor_other_events(platform, connect):
    waiting, over = asyncio.Event(), asyncio.Event()

    async def on_event(payload):
        if json.loads(payload).get("slow"):
            waiting.set()
            await over.wait()

    platform.tenant.behaviour.client_config = {"PingInterval": 1}
    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    slow = asyncio.create_task(platform.connections.send("slow", {"slow": True}))
    await waiting.wait()
    pings = only_link(platform).pings
    for number in range(20):
        await platform.connections.send(f"m{number}", {})
    await until(lambda: only_link(platform).pings >= pings + 1)
    over.set()
    await slow


async def test_more_events_at_once_than_there_is_room_for_are_refused(platform, connect, monkeypatch):
    over = asyncio.Event()

    async def on_event(payload):
        await over.wait()

    monkeypatch.setattr(long_connection, "MAX_CONCURRENT_EVENTS", 10)
    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    sending = [asyncio.create_task(platform.connections.send(f"m{n}", {})) for n in range(15)]
    await until(lambda: sum(each.done() for each in sending) == 5)
    over.set()
    results = await asyncio.gather(*sending, return_exceptions=True)
    assert [isinstance(each, NotAcknowledged) for each in results] == [False] * 10 + [True] * 5


async def test_an_invalid_frame_harms_nothing(platform, connect, monkeypatch):
    monkeypatch.setattr(long_connection, "MAX_IDLE_FRAMES", 2000)
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    link = only_link(platform)
    chance = random.Random(1)
    headers = {"type": "event", "message_id": "m", "trace_id": "t"}
    event = encode(Frame(1, 1, 1, 1, headers | {"sum": "1", "seq": "0"}, payload=b"[" * 5000))
    for number in range(500):
        damaged = bytearray(event[:100])
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        await link.socket.send_bytes(bytes(damaged))
        await link.socket.send_bytes(chance.randbytes(chance.randrange(40)))
        if number % 5 == 0:
            # Only very many, or some in a row, are a reason to connect again: see the next test.
            await platform.connections.send(f"n{number}", {})
    await link.socket.send_str("text")
    await link.socket.send_bytes(encode(Frame(1, 1, 1, 7, {})))
    await link.socket.send_bytes(encode(Frame(1, 1, 1, 1, {})))
    for wrong in ({"sum": "x", "seq": "0"}, {"sum": "2", "seq": "2"}, {"sum": "-1"}, {"sum": "9" * 9999}):
        await link.socket.send_bytes(encode(Frame(1, 1, 1, 1, headers | wrong, payload=b"{}")))
    for settings in (b"", b"no JSON", b"[]", b"[" * 100_000, b'{"PingInterval":"soon"}', b"\xff"):
        await link.socket.send_bytes(encode(Frame(0, 0, 1, 0, {"type": "pong"}, payload=settings)))
    await platform.connections.send("m1", {})
    assert only_link(platform) is link


ALIKE = {"type": "event", "message_id": "m", "trace_id": "t"}
FLOODS = {
    "one byte": b"x",
    "no bytes": b"",
    "random bytes": bytes(range(64)),
    "a string": "text",
    "a ping of the platform's": encode(Frame(0, 0, 1, 0, {"type": "ping"})),
    "settings": encode(Frame(0, 0, 1, 0, {"type": "pong"}, payload=b'{"PingInterval": 120}')),
    "of no type": encode(Frame(1, 1, 1, 1, {})),
    "an impossible part": encode(Frame(1, 1, 1, 1, ALIKE | {"sum": "2", "seq": "2"}, payload=b"x")),
    "the same part": encode(Frame(1, 1, 1, 1, ALIKE | {"sum": "2", "seq": "0"}, payload=b"x")),
    "an event that is refused": encode(Frame(1, 1, 1, 1, ALIKE | {"sum": "1", "seq": "0"}, payload=b"{}")),
}
MANY = 50_000


@pytest.mark.parametrize("what", [*FLOODS, "parts of other events", "pings", "pongs"])
async def test_a_flood_of_invalid_events_ends_the_connection_and_delays_nobody(
    platform, connect, caplog, what
):
    """Judged by what the process spends once the frames have been made, both ends together."""
    caplog.set_level(logging.INFO)
    refusals = RepeatedLogs()

    async def on_event(payload):
        if payload == b"{}":
            raise EventNotAccepted("not an event")

    connection = await connect(on_event, on_refusal=refusals.note)
    await until(lambda: connection.outage is None)
    link = only_link(platform)
    frames = FrameBuffer()
    writer = WebSocketWriter(frames, frames, limit=1 << 30)
    for number in range(MANY):
        if what in FLOODS:
            frame = FLOODS[what]
            text = isinstance(frame, str)
            await writer.send_frame(
                frame.encode() if text else frame, WSMsgType.TEXT if text else WSMsgType.BINARY
            )
        elif what == "parts of other events":
            part = {"message_id": f"m{number}", "sum": "2", "seq": "0"}
            await writer.send_frame(encode(Frame(1, 1, 1, 1, ALIKE | part, payload=b"x")), WSMsgType.BINARY)
        else:
            await writer.send_frame(b"", WSMsgType.PING if what == "pings" else WSMsgType.PONG)
    before = time.process_time()
    link.transport.write(bytes(frames.sent))
    await until(lambda: connection.outage is not None)
    spent = time.process_time() - before
    print(f"{what}: {spent:.2f} s, {connection.outage.reason}")
    assert connection.outage.reason.startswith("the other end sends")
    assert spent < 1.5
    assert len(caplog.records) < 20
    await until(lambda: connection.outage is None)
    await platform.connections.send("m1", {"a": 1})


class FrameBuffer:
    """A transport and protocol for a writer, that keep what is written."""

    def __init__(self):
        self.sent = bytearray()

    def is_closing(self):
        return False

    def write(self, data):
        self.sent += data

    def writelines(self, pieces):
        self.sent += b"".join(pieces)

    async def _drain_helper(self):
        pass


async def test_a_few_invalid_events_do_not_end_the_connection(platform, connect):
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    link = only_link(platform)
    for frame in (*FLOODS.values(),) * 2:
        await (link.socket.send_str(frame) if isinstance(frame, str) else link.socket.send_bytes(frame))
    for _ in range(50):
        await link.socket.ping()
    await platform.connections.send("m1", {})
    assert only_link(platform) is link
    assert connection.outage is None


async def test_a_frame_beyond_all_bounds_costs_the_connection_and_no_more(platform, connect):
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    await only_link(platform).socket.send_bytes(bytes(MAX_FRAME_BYTES + 1))
    await until(lambda: connection.outage is not None)
    assert "1009" in connection.outage.reason
    await until(lambda: connection.outage is None)
    await platform.connections.send("m1", {})


async def test_it_comes_back_when_the_platform_does(platform, connect):
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    await platform.down()
    await until(lambda: connection.outage is not None)
    await asyncio.sleep(3)
    await platform.up()
    await until(lambda: connection.outage is None, seconds=25)
    await platform.connections.send("m1", {})


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_is_lost_is_replaced(platform, connect, how):
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    await platform.connections.close() if how == "close" else platform.connections.reset()
    await until(lambda: connection.outage is not None)
    assert "closed" in connection.outage.reason
    await until(lambda: connection.outage is None)
    await platform.connections.send("m1", {})


@pytest.mark.parametrize("deaf", ["answers_websocket_pings", "answers_pings"])
async def test_a_connection_on_which_nothing_comes_any_more_is_given_up(platform, connect, monkeypatch, deaf):
    monkeypatch.setattr(long_connection, "HEARTBEAT", 0.5)
    monkeypatch.setattr(stream, "PONG_TIMEOUT", 0.5)
    platform.tenant.behaviour.client_config = {"PingInterval": 1}
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    await until(lambda: only_link(platform).pings >= 2)
    first = only_link(platform)
    setattr(platform.tenant.behaviour, deaf, False)
    await until(lambda: connection.outage is not None)
    assert "silent" in connection.outage.reason
    setattr(platform.tenant.behaviour, deaf, True)
    await until(lambda: connection.outage is None)
    await until(lambda: first not in platform.connections.open.values())
    await platform.connections.send("m1", {})


async def test_a_platform_that_never_answers_pings_is_not_expected_to(platform, connect, monkeypatch):
    monkeypatch.setattr(stream, "PONG_TIMEOUT", 0.2)
    platform.tenant.behaviour.answers_pings = False
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    link = only_link(platform)
    await asyncio.sleep(2.5)
    assert only_link(platform) is link


async def test_settings_that_are_sent_in_between_count_at_once(platform, connect):
    connection = await connect(nothing)
    await until(lambda: connection.outage is None)
    await until(lambda: only_link(platform).pings == 1)
    platform.tenant.behaviour.client_config = {"PingInterval": 1}
    await platform.connections.push_settings({"PingInterval": 1})
    await until(lambda: only_link(platform).pings >= 3)


def test_a_pause_is_random_and_no_longer_than_the_platform_or_the_promise_wants():
    def longest(failures, refused=False, **wishes):
        config = ClientConfig().updated(wishes)
        pauses = [config.pause(failures, refused=refused) for _ in range(300)]
        assert len(set(pauses)) > 1
        assert min(pauses) >= 0.25
        return max(pauses)

    assert 4 < longest(0) <= 5
    assert longest(0, ReconnectNonce=3600) <= 5
    assert 1 < longest(0, ReconnectNonce=2) <= 2
    assert longest(1) <= 2
    assert [longest(failures) <= 10 for failures in range(2, 2000, 100)]
    assert longest(9, ReconnectInterval=3600) <= 10
    assert longest(9, ReconnectInterval=3) <= 3
    assert longest(9, ReconnectInterval=0) <= 0.5
    assert longest(9, ReconnectInterval=0, ReconnectCount=9) <= 0.5
    assert 5 < longest(9, ReconnectInterval=0, ReconnectCount=8) <= 10
    assert 10 < longest(1, refused=True) <= 20
    assert MAX_PAUSE + 2 * CONNECT_TIMEOUT < 30
    assert REFUSED_PAUSE + CONNECT_TIMEOUT < 30


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "x",
        {"PingInterval": 0, "ReconnectCount": -2, "ReconnectNonce": True},
        {"PingInterval": 10**400, "ReconnectInterval": 10**400, "ReconnectNonce": 10**400},
    ],
)
def test_wishes_that_make_no_sense_are_left_out(given):
    assert ClientConfig().updated(given) == ClientConfig()


REFUSALS = {
    "a wrong secret": (
        "LARK_APP_SECRET",
        lambda tenant, on: setattr(tenant.app, "app_secret", "x" if on else "s"),
    ),
    "a disabled app": ("disabled", lambda tenant, on: setattr(tenant.app, "enabled", not on)),
    "too many": (
        "reached its limit",
        lambda tenant, on: setattr(tenant.behaviour, "connection_limit", 0 if on else 50),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_said_in_words_once_and_is_not_the_end(
    platform, connect, caplog, monkeypatch, name
):
    monkeypatch.setattr(stream_endpoint, "REFUSED_PAUSE", 0.4)
    caplog.set_level(logging.INFO)
    words, switch = REFUSALS[name]
    platform.tenant.app.app_secret = "s"
    switch(platform.tenant, True)
    connection = await connect(nothing, app_secret=Secret("s"))
    await until(lambda: words in connection.outage.reason)
    since = connection.outage.since
    await asyncio.sleep(2)
    assert connection.outage.since == since
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message for record in warnings] == ["no long connection"]
    assert words in warnings[0].reason
    switch(platform.tenant, False)
    await until(lambda: connection.outage is None)
    everything = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "device_id" not in everything


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "status", "status": 200, "body": {"code": 1, "msg": "system busy"}}, "1 system busy"),
        ({"kind": "status", "status": 200, "body": {"code": 1000040343, "msg": "internal"}}, "1000040343"),
        ({"kind": "status", "status": 200, "body": {"code": 1000040344, "msg": "?"}}, "credentials"),
        ({"kind": "html"}, "HTTP 502"),
        ({"kind": "drop_before"}, "broke"),
        ({"kind": "truncate"}, "broke"),
        ({"kind": "status", "status": 200, "body": {"code": 0}}, "no address"),
        ({"kind": "status", "status": 200, "body": {"code": 0, "data": {"URL": "wss://x"}}}, "parameters"),
        (
            {"kind": "status", "status": 200, "body": {"code": 0, "data": {"URL": "ws://:x/?service_id=1"}}},
            "invalid",
        ),
        ({"kind": "status", "status": 200, "body": "[]"}, "HTTP 200"),
    ],
)
async def test_whatever_the_platform_answers_it_is_asked_again(platform, connect, fault, words):
    kind = fault.pop("kind")
    trouble = Fault("f1", kind, {"path": "/callback/ws/endpoint"}, 1, fault)
    platform.tenant.faults.all["f1"] = trouble
    connection = await connect(nothing)
    await until(lambda: trouble.struck and connection.outage and words in connection.outage.reason)
    await until(lambda: connection.outage is None, seconds=25)


@contextlib.asynccontextmanager
async def elsewhere():
    """Another server, and what is asked of it."""
    asked = []

    async def answer(request):
        asked.append(request.path)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return socket

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_the_connection_follows_no_redirect(platform, connect, status, host):
    async with elsewhere() as (port, asked):
        headers = {"Location": f"http://{host}:{port}/ws/v2?device_id=1&service_id=1"}
        platform.tenant.faults.all["f1"] = trouble = Fault(
            "f1", "status", {"path": "/ws/v2"}, None, {"status": status, "headers": headers}
        )
        connection = await connect(nothing)
        await until(lambda: trouble.struck and "redirects" in connection.outage.reason)
        assert asked == []
        platform.tenant.faults.all.clear()
        await until(lambda: connection.outage is None)


async def test_an_address_that_is_not_the_platforms_is_not_asked(platform, connect, caplog):
    async with elsewhere() as (port, asked):
        data = {"URL": f"ws://localhost:{port}/ws/v2?device_id=1&service_id=1&ticket=t0ps3cr3t"}
        body = {"code": 0, "data": data}
        platform.tenant.faults.all["f1"] = Fault(
            "f1", "status", {"path": "/callback/ws/endpoint"}, None, {"status": 200, "body": body}
        )
        connection = await connect(nothing)
        await until(lambda: "not its own: localhost" in connection.outage.reason)
        assert asked == []
        platform.tenant.faults.all.clear()
        await until(lambda: connection.outage is None)
    assert "t0ps3cr3t" not in caplog.text + "".join(str(record.__dict__) for record in caplog.records)


@pytest.mark.parametrize("status", [300, 302, 307, 399])
async def test_a_redirect_that_holds_an_address_is_no_answer(platform, connect, status):
    async with elsewhere() as (port, asked):
        data = {"URL": f"ws://127.0.0.1:{port}/ws/v2?device_id=1&service_id=1"}
        answer = {"status": status, "body": {"code": 0, "data": data}, "headers": {"Location": data["URL"]}}
        platform.tenant.faults.all["f1"] = trouble = Fault(
            "f1", "status", {"path": "/callback/ws/endpoint"}, None, answer
        )
        connection = await connect(nothing)
        await until(lambda: trouble.struck and "redirects the request" in connection.outage.reason)
        assert asked == []
        platform.tenant.faults.all.clear()
        await until(lambda: connection.outage is None)


FEISHU, LARK, PROXY, LOCAL = (
    "https://open.feishu.cn",
    "https://open.larksuite.com",
    "https://lark.corp.example",
    "http://127.0.0.1:8400",
)


@pytest.mark.parametrize(
    ("url", "open_url"),
    [
        ("wss://msg-frontier.feishu.cn/ws/v2", FEISHU),
        ("wss://MSG-Frontier.feishu.cn:443/ws/v2", FEISHU),
        ("wss://open.feishu.cn/ws/v2", FEISHU),
        ("wss://msg-frontier.feishu.cn/ws/v2", "https://open.larkoffice.com"),
        ("wss://msg-frontier-sg.larksuite.com/ws/v2", LARK),
        ("wss://msg-frontier-sg.larksuite.com/ws/v2", PROXY),
        ("wss://lark.corp.example:8443/ws/v2", PROXY),
        ("ws://127.0.0.1:8400/ws/v2", LOCAL),
        ("wss://msg-frontier.feishu.cn/ws/v2", LOCAL),
    ],
)
def test_an_address_of_the_platform_is_taken(url, open_url):
    assert is_platform_address(URL(url), URL(open_url))


@pytest.mark.parametrize(
    ("url", "open_url"),
    [
        ("ws://msg-frontier.feishu.cn/ws/v2", FEISHU),
        ("ws://msg-frontier.feishu.cn/ws/v2", LOCAL),
        ("ws://open.feishu.cn/ws/v2", FEISHU),
        ("https://msg-frontier.feishu.cn/ws/v2", FEISHU),
        ("wss://msg-frontier-sg.larksuite.com/ws/v2", FEISHU),
        ("wss://msg-frontier.feishu.cn/ws/v2", LARK),
        ("wss://evilfeishu.cn/ws/v2", FEISHU),
        ("wss://feishu.cn.evil.example/ws/v2", FEISHU),
        ("wss://msg-frontier.feishu.cn@evil.example/ws/v2", FEISHU),
        ("wss://user@msg-frontier.feishu.cn/ws/v2", FEISHU),
        ("wss://evil.example/feishu.cn", FEISHU),
        ("wss://evil.example?x=.feishu.cn", FEISHU),
        ("wss://evil.example#.feishu.cn", FEISHU),
        ("wss://feishu.cn./ws/v2", FEISHU),
        ("wss://127.0.0.1/ws/v2", FEISHU),
        ("wss://evil.example/ws/v2", PROXY),
        ("ws://lark.corp.example/ws/v2", PROXY),
        ("ws://127.0.0.2:8400/ws/v2", LOCAL),
        ("ws://localhost:8400/ws/v2", LOCAL),
        ("wss://evil.example/ws/v2", LOCAL),
        ("wss:///ws/v2", FEISHU),
    ],
)
def test_another_address_is_not(url, open_url):
    assert not is_platform_address(URL(url), URL(open_url))


async def test_a_handshake_that_is_refused_by_a_proxy_is_tried_again(platform, connect):
    trouble = Fault("f1", "status", {"path": "/ws/v2"}, 1, {"status": 403})
    platform.tenant.faults.all["f1"] = trouble
    connection = await connect(nothing)
    await until(lambda: connection.outage and "HTTP 403" in connection.outage.reason)
    await until(lambda: connection.outage is None)


async def test_a_platform_that_is_not_there_keeps_nobody_waiting(connect):
    started = time.monotonic()
    connection = await connect(nothing, open_url="http://127.0.0.1:9")
    await until(lambda: "127.0.0.1" in connection.outage.reason)
    await connection.stop()
    assert time.monotonic() - started < 10


async def test_what_is_being_accepted_at_the_end_is_answered_and_nothing_new_is_taken(platform, connect):
    taken, over = [], asyncio.Event()

    async def on_event(payload):
        taken.append(payload)
        await over.wait()

    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    sending = asyncio.create_task(platform.connections.send("m1", {}))
    await until(lambda: taken)
    stopping = asyncio.create_task(connection.stop())
    await asyncio.sleep(0.05)
    late = asyncio.create_task(platform.connections.send("m2", {}))
    await asyncio.sleep(0.05)
    over.set()
    await sending
    await stopping
    with pytest.raises(NotAcknowledged):
        await late
    assert len(taken) == 1


async def test_it_stops_in_time_while_an_event_hangs(platform, connect):
    hanging = asyncio.Event()

    async def on_event(payload):
        hanging.set()
        await asyncio.sleep(3600)

    connection = await connect(on_event)
    await until(lambda: connection.outage is None)
    sending = asyncio.create_task(platform.connections.send("m1", {}))
    await hanging.wait()
    started = time.monotonic()
    await connection.stop()
    assert time.monotonic() - started < 8, "of the ten seconds that the whole bot has"
    assert connection.outage is not None
    with pytest.raises(NotAcknowledged):
        await sending


async def test_two_connections_share_the_events(platform, connect):
    taken = {"first": 0, "second": 0}

    def counting(name):
        async def on_event(payload):
            taken[name] += 1

        return on_event

    first, second = await connect(counting("first")), await connect(counting("second"))
    await until(lambda: first.outage is None and second.outage is None)
    for number in range(40):
        await platform.connections.send(f"m{number}", {})
    assert taken["first"] + taken["second"] == 40
    assert min(taken.values()) > 0
    await first.stop()
    for number in range(10):
        await platform.connections.send(f"n{number}", {})
    assert sum(taken.values()) == 50


# --- the SDK's own frames ---------------------------------------------------------------------------------


class SdkPlatform:
    """A platform of one connection, whose frames are the SDK's."""

    def __init__(self):
        self.frame = pytest.importorskip("lark_oapi.ws.pb.pbbp2_pb2").Frame
        self.received = asyncio.Queue()
        self.pings = 0

    async def endpoint(self, request):
        url = f"ws://{request.host}/ws/v2?device_id=1&service_id=33554678"
        return web.json_response({"code": 0, "msg": "", "data": {"URL": url}})

    async def connection(self, request):
        self.socket = web.WebSocketResponse()
        await self.socket.prepare(request)
        async for message in self.socket:
            assert message.type is WSMsgType.BINARY
            frame = self.frame()
            frame.ParseFromString(message.data)
            if frame.method == 0:
                assert frame.service == 33554678
                self.pings += 1
            else:
                self.received.put_nowait(frame)
        return self.socket

    def data_frame(self, payload, **headers):
        frame = self.frame(SeqID=7, LogID=2**63, service=33554678, method=1, payload=payload, LogIDNew="日志")
        known = {"type": "event", "message_id": "m1", "trace_id": "t1", "sum": "1", "seq": "0"}
        for key, value in (known | headers).items():
            header = frame.headers.add()
            header.key, header.value = key, value
        return frame

    async def exchange(self, *frames):
        for frame in frames:
            await self.socket.send_bytes(frame.SerializeToString())
        return await asyncio.wait_for(self.received.get(), 5)


@pytest.fixture
async def sdk_platform(connect):
    platform = SdkPlatform()
    app = web.Application()
    app.router.add_post("/callback/ws/endpoint", platform.endpoint)
    app.router.add_get("/ws/v2", platform.connection)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()

    async def connected(on_event):
        connection = await connect(on_event, open_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
        await until(lambda: connection.outage is None and platform.pings)
        return platform

    yield connected
    with contextlib.suppress(AttributeError):
        await platform.socket.close()
    await runner.cleanup()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("frame_type", ["event", "card"])
async def test_the_sdks_frames_come_back_with_time_and_result(sdk_platform, frame_type):
    answer = {"toast": {"type": "info", "content": "好"}, "card": {"type": "raw", "data": {"schema": "2.0"}}}

    async def on_event(payload):
        return answer

    platform = await sdk_platform(on_event)
    sent = platform.data_frame(b"{}", type=frame_type)
    back = await platform.exchange(sent)
    headers = [(each.key, each.value) for each in back.headers]
    assert headers[:-1] == [(each.key, each.value) for each in sent.headers]
    assert headers[-1][0] == "biz_rt"
    assert headers[-1][1].isdecimal()
    assert (back.SeqID, back.LogID, back.service, back.method) == (7, 2**63, 33554678, 1)
    assert (back.LogIDNew, back.HasField("payload_encoding")) == ("日志", False)
    said = json.loads(back.payload)
    assert said.keys() == {"code", "data"}
    assert said["code"] == 200
    assert json.loads(base64.b64decode(said["data"])) == answer


@pytest.mark.filterwarnings("ignore")
async def test_the_sdks_frames_are_put_together_and_refused(sdk_platform):
    seen = []

    async def on_event(payload):
        seen.append(payload)
        raise EventNotAccepted("no")

    platform = await sdk_platform(on_event)
    parts = [platform.data_frame(each, sum="3", seq=str(n)) for n, each in enumerate((b"a", b"b", b"c"))]
    back = await platform.exchange(parts[2], parts[0], parts[1])
    assert seen == [b"abc"]
    assert json.loads(back.payload) == {"code": 500}
    assert {each.key: each.value for each in back.headers}["seq"] == "1"
