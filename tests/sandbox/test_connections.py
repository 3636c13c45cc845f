"""The long connection: its frames, byte for byte, and who gets an event."""

import asyncio
import base64
import json
from collections import Counter

import pytest
from aiohttp import WSServerHandshakeError

from bot.sandbox.lark.frames import Frame, FrameError, decode, encode
from bot.sandbox.lark.long_connections import pong
from bot.sandbox.lark.sample_tenant import ADA

PING = "0800100018f681801020002a0c0a0474797065120470696e67"
PONG = "0800100018f681801020002a0c0a04747970651204706f6e6742137b2250696e67496e74657276616c223a39307d"
DATA = (
    "0807100918f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d312a0e0a08747261"
    "63655f6964120274312a080a0373756d1201312a080a0373657112013042027b7d"
)
ACK = (
    "0807100918f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d312a0e0a08747261"
    "63655f6964120274312a080a0373756d1201312a080a037365711201302a0c0a0662697a5f727412023132420d7b22636f6465"
    "223a203230307d"
)


@pytest.mark.parametrize("hexadecimal", [PING, PONG, DATA, ACK])
def test_frames_are_read_and_written_byte_for_byte(hexadecimal):
    assert encode(decode(bytes.fromhex(hexadecimal))).hex() == hexadecimal


def test_frames_mean_what_they_should():
    assert encode(pong({"PingInterval": 90})).hex() == PONG
    frame = decode(bytes.fromhex(DATA))
    assert (frame.seq_id, frame.log_id, frame.service, frame.method) == (7, 9, 33554678, 1)
    assert frame.headers == {"type": "event", "message_id": "m1", "trace_id": "t1", "sum": "1", "seq": "0"}
    assert frame.payload == b"{}"


@pytest.mark.parametrize("bad", ["", "0807", "08", "42ff01", "0d00000000", PING[:-4]])
def test_bytes_that_are_no_frame_are_refused(bad):
    with pytest.raises(FrameError):
        decode(bytes.fromhex(bad))


@pytest.mark.filterwarnings("ignore")
def test_the_official_sdk_reads_our_frames_and_we_read_its():
    sdk = pytest.importorskip("lark_oapi.ws.pb.pbbp2_pb2")
    ours = Frame(2**40, 3, 33554678, 1, {"type": "event", "sum": "1"}, "gzip", "json", b"\x00\xff", "日志")
    theirs = sdk.Frame()
    theirs.ParseFromString(encode(ours))
    assert (theirs.SeqID, theirs.LogID, theirs.service, theirs.method) == (2**40, 3, 33554678, 1)
    assert {header.key: header.value for header in theirs.headers} == ours.headers
    assert (theirs.payload, theirs.payload_encoding, theirs.LogIDNew) == (b"\x00\xff", "gzip", "日志")
    assert decode(theirs.SerializeToString()) == ours


class Client:
    """A long connection's client in a few lines; acknowledges like the SDK."""

    def __init__(self, world):
        self.world = world
        self.got = []
        self.frames = []
        self.answer = {"code": 200}
        self.parts = {}

    async def connect(self):
        app = self.world.tenant.app
        answer = await self.world.post(
            "/callback/ws/endpoint", json={"AppID": app.app_id, "AppSecret": app.app_secret}
        )
        url = answer.body["data"]["URL"]
        self.socket = await self.world.client.ws_connect("/ws/v2" + url.partition("/ws/v2")[2])
        self.task = asyncio.create_task(self.listen())
        return self

    async def listen(self):
        async for message in self.socket:
            frame = decode(message.data)
            self.frames.append(frame)
            if frame.method == 1:
                await self.take(frame)

    async def take(self, frame):
        parts = self.parts.setdefault(frame.headers["message_id"], {})
        parts[int(frame.headers["seq"])] = frame.payload
        if len(parts) < int(frame.headers["sum"]):
            return
        self.got.append(json.loads(b"".join(parts[n] for n in sorted(parts))))
        if self.answer is None:
            return
        frame.headers["biz_rt"] = "1"
        frame.payload = json.dumps(self.answer).encode()
        await self.socket.send_bytes(encode(frame))

    async def close(self):
        await self.socket.close()
        await self.task


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def clients(world):
    opened = []

    async def connect(count=1):
        for _ in range(count):
            opened.append(await Client(world).connect())
        return opened

    world.tenant.app.events_by = "websocket"
    yield connect
    for client in opened:
        await client.close()


async def test_each_event_goes_to_exactly_one_client_chosen_at_random(world, clients):
    three = await clients(3)
    sent = [(await world.control("messages", person=ADA, text=str(n)))["event_id"] for n in range(30)]
    await until(lambda: sum(len(client.got) for client in three) == 30)
    got = [event["header"]["event_id"] for client in three for event in client.got]
    assert sorted(got) == sorted(sent)
    assert all(client.got for client in three)
    await until(lambda: all(world.tenant.events[event_id].acknowledged for event_id in sent))


async def test_the_payload_is_plain_json_and_carries_every_header(world, clients):
    (client,) = await clients()
    await world.control("messages", person=ADA, text="hi")
    await until(lambda: client.got)
    assert client.got[0]["header"]["event_type"] == "im.message.receive_v1"
    assert {"type", "message_id", "trace_id", "sum", "seq"} <= client.frames[0].headers.keys()


@pytest.mark.parametrize("answer", [{"code": 500}, None])
async def test_an_event_that_is_not_acknowledged_well_comes_again(world, clients, answer):
    await world.control("behaviour", answer_seconds=0.05)
    (client,) = await clients()
    client.answer = answer
    sent = await world.control("messages", person=ADA, text="hi")
    await until(lambda: world.tenant.events[sent["event_id"]].attempts)
    client.answer = {"code": 200}
    await world.control("behaviour", answer_seconds=3)
    await world.control("clock", advance=15)
    await until(lambda: world.tenant.events[sent["event_id"]].acknowledged)
    assert Counter(e["header"]["event_id"] for e in client.got) == {sent["event_id"]: 2}


async def test_without_a_connection_the_event_waits_for_its_redelivery(world, clients):
    sent = await world.control("messages", person=ADA, text="hi")
    await until(lambda: world.tenant.events[sent["event_id"]].attempts)
    (client,) = await clients()
    await world.control("clock", advance=15)
    await until(lambda: client.got)


async def test_large_payloads_come_in_parts(world, clients):
    await world.control("behaviour", frame_payload_bytes=200)
    (client,) = await clients()
    await world.control("messages", person=ADA, text="x" * 1000)
    await until(lambda: client.got)
    assert len(client.frames) > 5
    assert [frame.headers["seq"] for frame in client.frames] == [str(n) for n in range(len(client.frames))]


async def test_a_click_is_answered_in_the_acknowledgement(world, clients, card):
    (client,) = await clients()
    toast = {"toast": {"type": "info", "content": "ok"}}
    client.answer = {"code": 200, "data": base64.b64encode(json.dumps(toast).encode()).decode()}
    message_id = (await world.send(ADA, "interactive", card)).body["data"]["message_id"]
    result = await world.control("clicks", person=ADA, message_id=message_id, element_id="btn_no")
    assert result == {"response": toast, "code": None}


async def test_a_ping_is_answered_with_settings_and_settings_can_be_pushed(world, clients):
    (client,) = await clients()
    await client.socket.send_bytes(bytes.fromhex(PING))
    await until(lambda: client.frames)
    assert json.loads(client.frames[0].payload)["PingInterval"] == 120
    await world.control("connections/settings", PingInterval=90)
    await until(lambda: len(client.frames) == 2)
    assert encode(client.frames[1]).hex() == PONG


async def test_one_connection_too_many_is_refused(world, clients):
    await clients(50)
    with pytest.raises(WSServerHandshakeError) as refusal:
        await clients()
    assert refusal.value.headers["handshake-status"] == "514"
    assert refusal.value.headers["handshake-autherrcode"] == "1000040350"


async def test_addresses_are_for_the_right_app_and_for_one_connection(world, clients):
    answer = await world.post("/callback/ws/endpoint", json={"AppID": "cli_x", "AppSecret": "y"})
    assert (answer.status, answer.code) == (200, 514)
    with pytest.raises(WSServerHandshakeError) as refusal:
        await world.client.ws_connect("/ws/v2?device_id=1&service_id=33554678")
    assert refusal.value.headers["handshake-status"] == "403"


async def test_connections_can_be_dropped(world, clients):
    (client,) = await clients()
    answer = await world.request("DELETE", "/sandbox/api/connections")
    assert answer.status == 200
    await until(client.task.done)
    assert not (await world.get("/sandbox/api/connections")).body["connections"]
