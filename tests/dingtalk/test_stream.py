"""The long connection, against the emulated platform."""

import asyncio
import json

import pytest
from aiohttp import web
from yarl import URL

from bot.core.secrets import Secret
from bot.dingtalk import stream
from bot.dingtalk.frames import FrameError, decode
from bot.dingtalk.stream import LongConnection
from bot.dingtalk.stream_endpoint import is_platform_address
from bot.sandbox.dingtalk.long_connections import CONNECTIONS, MESSAGE_TOPIC, Connections, NotAcknowledged
from bot.sandbox.dingtalk.sample_tenant import sample_tenant
from bot.sandbox.dingtalk.server import build_platform
from bot.sandbox.faults import Fault
from bot.transport.long_connection import EventNotAccepted
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

    async def push(self, message_id="f1", **data):
        return await self.connections.send("CALLBACK", MESSAGE_TOPIC, message_id, {"msgId": "m1", **data})


@pytest.fixture
async def platform():
    platform = Platform()
    await platform.up()
    yield platform
    await platform.down()


async def until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def connect(platform):
    opened = []

    async def connect(on_event, **changes):
        given = {
            "app_id": platform.tenant.app.client_id,
            "app_secret": Secret(platform.tenant.app.client_secret),
            "api_url": f"http://127.0.0.1:{platform.port}",
            "on_event": on_event,
        }
        connection = LongConnection(**(given | changes))
        await connection.start()
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        await connection.stop()


async def test_an_event_is_acknowledged_after_it_is_accepted(platform, connect):
    seen, go_on = [], asyncio.Event()

    async def accept(frame):
        seen.append(frame)
        await go_on.wait()
        return {"answer": 1}

    connection = await connect(accept)
    await until(lambda: connection.outage is None)
    pushing = asyncio.create_task(platform.push(text={"content": "/me"}))
    await until(lambda: seen)
    assert not pushing.done()
    go_on.set()
    answer, _ = await pushing
    assert answer == {"response": {"answer": 1}}
    assert (seen[0].message_id, json.loads(seen[0].data)["msgId"]) == ("f1", "m1")


@pytest.mark.parametrize("error", [EventNotAccepted("no room"), RuntimeError("broken")])
async def test_what_is_not_accepted_is_not_acknowledged(platform, connect, error):
    async def accept(frame):
        raise error

    connection = await connect(accept)
    await until(lambda: connection.outage is None)
    with pytest.raises(NotAcknowledged):
        await platform.push()


async def test_an_event_subscription_gets_its_status(platform, connect):
    async def accept(frame):
        if frame.message_id == "later":
            raise EventNotAccepted("later")

    connection = await connect(accept)
    await until(lambda: connection.outage is None)
    answer, _ = await platform.connections.send("EVENT", "*", "now", {"a": 1}, eventType="user_add_org")
    assert answer["status"] == "SUCCESS"
    answer, _ = await platform.connections.send("EVENT", "*", "later", {"a": 1}, eventType="user_add_org")
    assert answer["status"] == "LATER"


async def test_the_platform_asks_to_reconnect(platform, connect):
    connected = []

    async def accept(frame):
        return None

    connection = await connect(accept)
    await until(lambda: connection.outage is None)
    connected.append(connection._connection)
    await platform.connections.disconnect()
    await until(lambda: connection._connection is not connected[0] and connection.outage is None)
    answer, _ = await platform.push()
    assert answer == {"response": None}


async def test_it_comes_back_after_the_platform_does(platform, connect, monkeypatch):
    monkeypatch.setattr(stream, "FIRST_PAUSE", stream.FIRST_PAUSE / 20)
    monkeypatch.setattr(stream, "LONGEST_PAUSE", stream.LONGEST_PAUSE / 50)

    async def accept(frame):
        return None

    connection = await connect(accept)
    await until(lambda: connection.outage is None)
    await platform.down()
    await until(lambda: connection.outage is not None)
    await platform.up()
    await until(lambda: connection.outage is None)
    assert (await platform.push())[0] == {"response": None}


async def test_a_refusal_names_what_is_wrong_and_no_secret(platform, connect, caplog):
    async def accept(frame):
        return None

    connection = await connect(accept, app_secret=Secret("a-wrong-secret-0001"))
    await until(
        lambda: connection.outage is not None and "DINGTALK_CLIENT_SECRET" in connection.outage.reason
    )
    assert "a-wrong-secret" not in caplog.text


async def test_a_failing_answer_is_no_refusal(platform, connect):
    async def accept(frame):
        return None

    platform.tenant.faults.all["f"] = Fault("f", "html", {"path": "*/connections/open"}, None, {})
    connection = await connect(accept)
    await until(lambda: connection.outage is not None and "no address" in connection.outage.reason)


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("wss://wss-open-connection.dingtalk.com:443/connect", True),
        ("wss://x.dingtalk.io/connect", True),
        ("wss://api.dingtalk.com/connect", True),
        ("wss://dingtalk.com.evil.example/connect", False),
        ("wss://evildingtalk.com/connect", False),
        ("ws://wss-open-connection.dingtalk.com/connect", False),
        ("wss://a:b@x.dingtalk.com/connect", False),
    ],
)
def test_an_address_elsewhere_is_not_connected_to(url, ours):
    assert is_platform_address(URL(url), URL("https://api.dingtalk.com")) == ours


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"headers": {}}', '{"type": "OTHER", "headers": {"topic": "x"}}', "[" * 5000]
)
def test_an_invalid_frame_is_reported(text):
    with pytest.raises(FrameError):
        decode(text)
