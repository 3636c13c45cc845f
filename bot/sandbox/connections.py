"""Long connections: where a client gets its address, its frames, and who gets an event.

Of several connections each event goes to a random one; it is delivered when that client acknowledges it.
"""

import asyncio
import base64
import contextlib
import json
import random
import secrets
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from .frames import CONTROL, DATA, Frame, FrameError, decode, encode
from .gateway import TENANT, TRACE, Refusal, success
from .tenant import Json, Tenant

routes = web.RouteTableDef()

SERVICE_ID = 33554678
AUTH_FAILED = 514
FORBIDDEN = 403
TOO_MANY_CONNECTIONS = 1000040350


class NotAcknowledged(Exception):
    """The event reached nobody who acknowledged it; the words say why."""


@dataclass
class Connection:
    """One open connection, and the acknowledgements that are awaited on it by message id."""

    device_id: str
    socket: web.WebSocketResponse
    waiting: dict[str, asyncio.Future[Json]] = field(default_factory=dict)
    delivered: int = 0


class Connections:
    """The open connections of the app, and the addresses given out for the next ones."""

    def __init__(self, tenant: Tenant) -> None:
        self.open: dict[str, Connection] = {}
        self.expected: set[str] = set()
        self._tenant = tenant
        self._sequence = 0

    def new_address(self, host: str) -> str:
        """An address for one connection."""
        device_id = str(secrets.randbelow(9 * 10**18) + 10**18)
        self.expected.add(device_id)
        return f"ws://{host}/ws/v2?device_id={device_id}&service_id={SERVICE_ID}"

    async def send(self, message_id: str, body: Json) -> tuple[Any, float]:
        """Sends an event to a random connection and returns the result in its acknowledgement, and the time
        that this took."""
        if not self.open:
            raise NotAcknowledged("no connection")
        connection = random.choice(list(self.open.values()))  # noqa: S311 - chance, not secrecy
        connection.delivered += 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer: asyncio.Future[Json] = loop.create_future()
        connection.waiting[message_id] = answer
        try:
            async with asyncio.timeout(self._tenant.behaviour.answer_seconds):
                for frame in self._frames(message_id, json.dumps(body, ensure_ascii=False).encode()):
                    await connection.socket.send_bytes(encode(frame))
                acknowledgement = await answer
        except TimeoutError:
            raise NotAcknowledged("no acknowledgement in time") from None
        except ConnectionError as error:
            raise NotAcknowledged("connection lost") from error
        finally:
            connection.waiting.pop(message_id, None)
        if acknowledgement.get("code") != 200:
            raise NotAcknowledged(f"acknowledged with code {acknowledgement.get('code')}")
        data = acknowledgement.get("data")
        result = json.loads(base64.b64decode(data)) if data is not None else None
        return result, loop.time() - started

    def _frames(self, message_id: str, payload: bytes) -> list[Frame]:
        """The payload in as many frames as it takes."""
        size = self._tenant.behaviour.frame_payload_bytes
        parts = [payload[at : at + size] for at in range(0, len(payload), size)]
        self._sequence += 1
        return [
            Frame(
                seq_id=self._sequence,
                log_id=self._sequence,
                service=SERVICE_ID,
                method=DATA,
                headers={
                    "type": "event",
                    "message_id": message_id,
                    "trace_id": secrets.token_hex(8),
                    "sum": str(len(parts)),
                    "seq": str(number),
                },
                payload=part,
            )
            for number, part in enumerate(parts)
        ]

    async def push_settings(self, settings: Json) -> None:
        """Gives every client new settings in mid-connection."""
        for connection in self.open.values():
            await connection.socket.send_bytes(encode(pong(settings)))

    async def close(self) -> None:
        for connection in list(self.open.values()):
            await connection.socket.close()


CONNECTIONS = web.AppKey("connections", Connections)


def pong(settings: Json | None) -> Frame:
    payload = None if settings is None else json.dumps(settings, separators=(",", ":")).encode()
    return Frame(0, 0, SERVICE_ID, CONTROL, {"type": "pong"}, payload=payload)


@routes.post("/callback/ws/endpoint")
async def endpoint(request: web.Request) -> web.Response:
    """Where to connect; HTTP 200 with a code for every refusal, as the clients expect."""
    tenant = request.app[TENANT]
    try:
        body = await request.json()
    except ValueError:
        body = {}
    app = tenant.app
    if not isinstance(body, dict) or body.get("AppID") != app.app_id:
        raise Refusal(AUTH_FAILED, "app not found", 200, bare=True)
    if body.get("AppSecret") != app.app_secret:
        raise Refusal(AUTH_FAILED, "auth failed", 200, bare=True)
    if not app.enabled:
        raise Refusal(FORBIDDEN, "forbidden", 200, bare=True)
    TRACE.get().identity = "app"
    url = request.app[CONNECTIONS].new_address(request.host)
    return success({"URL": url, "ClientConfig": tenant.behaviour.client_config}, "")


@routes.get("/ws/v2")
async def connect(request: web.Request) -> web.StreamResponse:
    tenant, connections = request.app[TENANT], request.app[CONNECTIONS]
    device_id = request.query.get("device_id", "")
    if device_id not in connections.expected:
        return _refused_handshake(FORBIDDEN, "forbidden", 0)
    if len(connections.open) >= tenant.behaviour.connection_limit:
        return _refused_handshake(AUTH_FAILED, "connections exceed the limit", TOO_MANY_CONNECTIONS)
    connections.expected.discard(device_id)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    connection = Connection(device_id, socket)
    connections.open[device_id] = connection
    tenant.announce("connection", {"event": "opened", "open": len(connections.open)})
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                with contextlib.suppress(FrameError):
                    await _receive(tenant, connection, decode(message.data))
    finally:
        connections.open.pop(device_id, None)
        for answer in connection.waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the client went away"))
        tenant.announce("connection", {"event": "closed", "open": len(connections.open)})
    return socket


def _refused_handshake(status: int, words: str, auth_code: int) -> web.Response:
    headers = {
        "handshake-status": str(status),
        "handshake-msg": words,
        "handshake-autherrcode": str(auth_code),
    }
    return web.Response(status=403, headers=headers)


async def _receive(tenant: Tenant, connection: Connection, frame: Frame) -> None:
    if frame.method == CONTROL:
        if frame.headers.get("type") == "ping":
            await connection.socket.send_bytes(encode(pong(tenant.behaviour.client_config)))
        return
    answer = connection.waiting.get(frame.headers.get("message_id", ""))
    if answer is None or answer.done():
        return
    if not {"type", "trace_id", "sum", "seq"} <= frame.headers.keys():
        return
    with contextlib.suppress(ValueError):
        acknowledgement = json.loads(frame.payload or b"")
        if isinstance(acknowledgement, dict):
            answer.set_result(acknowledgement)
