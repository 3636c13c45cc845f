"""Long connections: the endpoint that issues addresses, the WebSockets, and the delivery of events through them.

Each event goes to one connection, chosen at random. The client acknowledges it with the same frame, one more header
and the response as payload.
"""

import asyncio
import base64
import contextlib
import json
import random
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import WSMsgType, web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.frames import CONTROL, DATA, Frame, FrameError, decode, encode
from bot.sandbox.lark.gateway import TENANT, TRACE, ApiError, success
from bot.sandbox.lark.tenant import Tenant

routes = web.RouteTableDef()

SERVICE_ID = 33554678
AUTH_FAILED = 514
FORBIDDEN = 403
TOO_MANY_CONNECTIONS = 1000040350
WRONG_BRAND = 1000040351


CLOSE_TIMEOUT = 1


class NotAcknowledged(Exception):
    """No client acknowledged the event. `code` is the acknowledgement's code if it was not 200."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class PendingEvent:
    """An event that awaits its acknowledgement, and the frames that it was sent in."""

    frames: list[Frame]
    answer: asyncio.Future[Json]

    def is_answered_by(self, frame: Frame) -> bool:
        """Return whether this is one of its frames, returned with the time that handling took (`biz_rt`)."""
        headers = dict(frame.headers)
        if not headers.pop("biz_rt", "").isdecimal():
            return False
        returned = replace(frame, headers=headers, payload=None)
        return any(returned == replace(sent, payload=None) for sent in self.frames)


@dataclass
class Connection:
    """One open connection, and its unacknowledged events by message id."""

    device_id: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    waiting: dict[str, PendingEvent] = field(default_factory=dict)
    delivered: int = 0
    pings: int = 0

    async def close(self) -> None:
        await self.socket.close()

    def reset(self) -> None:
        """Cut the TCP connection."""
        if self.transport is not None:
            self.transport.abort()


class Connections:
    """The app's open connections, and the tickets of addresses that were issued but not used."""

    def __init__(self, tenant: Tenant) -> None:
        self.open: dict[str, Connection] = {}
        self.expected: dict[str, str] = {}
        self._tenant = tenant
        self._sequence = 0

    def new_address(self, host: str, *, secure: bool = False) -> str:
        """Issue the address of one connection."""
        device_id = str(secrets.randbelow(9 * 10**18) + 10**18)
        self.expected[device_id] = ticket = secrets.token_urlsafe(24)
        scheme = "wss" if secure else "ws"
        return f"{scheme}://{host}/ws/v2?device_id={device_id}&service_id={SERVICE_ID}&ticket={ticket}"

    async def send(self, message_id: str, body: Json, frame_type: str = "event") -> tuple[Any, float]:
        """Send an event to a random connection; return the result in its acknowledgement and the seconds it took.

        Raises NotAcknowledged.
        """
        if not self.open:
            raise NotAcknowledged("no connection")
        connection = random.choice(list(self.open.values()))  # noqa: S311 - chance, not secrecy
        connection.delivered += 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        frames = self._frames(message_id, frame_type, json.dumps(body, ensure_ascii=False).encode())
        sending = connection.waiting[message_id] = PendingEvent(frames, loop.create_future())
        try:
            async with asyncio.timeout(self._tenant.behaviour.answer_seconds):
                for frame in frames:
                    await connection.socket.send_bytes(encode(frame))
                acknowledgement = await sending.answer
        except TimeoutError:
            raise NotAcknowledged("no acknowledgement in time") from None
        except ConnectionError as error:
            raise NotAcknowledged("connection lost") from error
        finally:
            connection.waiting.pop(message_id, None)
        code = acknowledgement.get("code")
        if code != 200:
            raise NotAcknowledged(f"acknowledged with code {code}", code if isinstance(code, int) else None)
        data = acknowledgement.get("data")
        result = json.loads(base64.b64decode(data)) if data is not None else None
        return result, loop.time() - started

    def _frames(self, message_id: str, frame_type: str, payload: bytes) -> list[Frame]:
        """Return the payload in as many frames as it needs."""
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
                    "type": frame_type,
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
        """Send new settings to every client over its open connection."""
        for connection in self.open.values():
            await connection.socket.send_bytes(encode(pong(settings)))

    async def close(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self.open.values()))

    def reset(self) -> None:
        for connection in self.open.values():
            connection.reset()


CONNECTIONS = web.AppKey("connections", Connections)


def pong(settings: Json | None) -> Frame:
    payload = None if settings is None else json.dumps(settings, separators=(",", ":")).encode()
    return Frame(0, 0, SERVICE_ID, CONTROL, {"type": "pong"}, payload=payload)


@routes.post("/callback/ws/endpoint")
async def endpoint(request: web.Request) -> web.Response:
    """Issue an address. Every refusal is HTTP 200 with a code, as the clients expect."""
    tenant = request.app[TENANT]
    try:
        body = await request.json()
    except ValueError:
        body = {}
    app = tenant.app
    if not isinstance(body, dict) or body.get("AppID") != app.app_id:
        raise ApiError(AUTH_FAILED, "app not found", 200, bare=True)
    if body.get("AppSecret") != app.app_secret:
        raise ApiError(AUTH_FAILED, "auth failed", 200, bare=True)
    if not app.enabled:
        raise ApiError(FORBIDDEN, "forbidden", 200, bare=True)
    if app.other_brand:
        raise ApiError(WRONG_BRAND, "Incorrect domain name", 200, bare=True)
    TRACE.get().identity = "app"
    url = request.app[CONNECTIONS].new_address(request.headers["Host"], secure=request.secure)
    return success({"URL": url, "ClientConfig": tenant.behaviour.client_config}, "")


@routes.get("/ws/v2")
async def connect(request: web.Request) -> web.StreamResponse:
    tenant, connections = request.app[TENANT], request.app[CONNECTIONS]
    device_id = request.query.get("device_id", "")
    if connections.expected.get(device_id) != request.query.get("ticket", ""):
        return _refused_handshake(FORBIDDEN, "forbidden", 0)
    if len(connections.open) >= tenant.behaviour.connection_limit:
        return _refused_handshake(AUTH_FAILED, "connections exceed the limit", TOO_MANY_CONNECTIONS)
    connections.expected.pop(device_id)
    socket = web.WebSocketResponse(autoping=False, timeout=CLOSE_TIMEOUT)
    await socket.prepare(request)
    connection = Connection(device_id, socket, request.transport)
    connections.open[device_id] = connection
    tenant.feed.announce("connection", {"event": "opened", "open": len(connections.open)})
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                with contextlib.suppress(FrameError):
                    await _receive(tenant, connection, decode(message.data))
            elif message.type is WSMsgType.PING and tenant.behaviour.answers_websocket_pings:
                await socket.pong(message.data)
    finally:
        connections.open.pop(device_id, None)
        for sending in connection.waiting.values():
            if not sending.answer.done():
                sending.answer.set_exception(ConnectionResetError("the client went away"))
        tenant.feed.announce("connection", {"event": "closed", "open": len(connections.open)})
    return socket


def _refused_handshake(status: int, message: str, auth_code: int) -> web.Response:
    headers = {
        "handshake-status": str(status),
        "handshake-msg": message,
        "handshake-autherrcode": str(auth_code),
    }
    return web.Response(status=403, headers=headers)


async def _receive(tenant: Tenant, connection: Connection, frame: Frame) -> None:
    if frame.method == CONTROL:
        if frame.headers.get("type") == "ping":
            connection.pings += 1
            if tenant.behaviour.answers_pings:
                await connection.socket.send_bytes(encode(pong(tenant.behaviour.client_config)))
        return
    sending = connection.waiting.get(frame.headers.get("message_id", ""))
    if sending is None or sending.answer.done() or not sending.is_answered_by(frame):
        return
    if tenant.behaviour.loses_acknowledgements:
        return
    with contextlib.suppress(ValueError):
        acknowledgement = json.loads(frame.payload or b"")
        if isinstance(acknowledgement, dict):
            sending.answer.set_result(acknowledgement)
