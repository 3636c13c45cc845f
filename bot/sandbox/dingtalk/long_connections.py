"""Stream mode: the endpoint that issues tickets, the WebSockets, and the frames that travel through them.

Each push goes to one connection, chosen at random among those that subscribed to its topic. The client acknowledges
it with a frame that carries the same `messageId`.
"""

import asyncio
import contextlib
import json
import random
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from bot.sandbox.dingtalk.gateway import TENANT, TRACE, ApiError, check_rate, read_json, success
from bot.sandbox.dingtalk.oauth import knows_client
from bot.sandbox.dingtalk.parameters import Parameters
from bot.sandbox.dingtalk.tenant import Tenant, new_id
from bot.sandbox.json_http import Json

routes = web.RouteTableDef()

SUBSCRIPTION_TYPES = ("EVENT", "CALLBACK", "SYSTEM")
ACK_CODES = (200, 400, 404, 500)
CLOSE_TIMEOUT = 1
MAX_ACKNOWLEDGEMENTS = 500


class NotAcknowledged(Exception):
    """No client acknowledged the push. `code` is the acknowledgement's code if it was not 200."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class Connection:
    """One open connection, its subscriptions, and its unacknowledged pushes by `messageId`."""

    connection_id: str
    subscriptions: set[tuple[str, str]]
    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    waiting: dict[str, asyncio.Future[Json]] = field(default_factory=dict)
    delivered: int = 0
    pings_answered: int = 0

    def is_subscribed_to(self, kind: str, topic: str) -> bool:
        return (kind, topic) in self.subscriptions or (kind, "*") in self.subscriptions

    async def close(self) -> None:
        await self.socket.close()

    def reset(self) -> None:
        """Cut the TCP connection."""
        if self.transport is not None:
            self.transport.abort()


@dataclass
class Ticket:
    """A ticket for one connection."""

    subscriptions: set[tuple[str, str]]
    expires_at: float


class Connections:
    """The app's open connections, the tickets that are not used yet, and the acknowledgements that arrived."""

    def __init__(self, tenant: Tenant) -> None:
        self.open: dict[str, Connection] = {}
        self.tickets: dict[str, Ticket] = {}
        self.acknowledgements: deque[Json] = deque(maxlen=MAX_ACKNOWLEDGEMENTS)
        """Every frame that a client sent, with the problem of those that acknowledge nothing."""
        self._tenant = tenant
        self._drops: set[asyncio.Task[None]] = set()

    def new_ticket(self, subscriptions: set[tuple[str, str]]) -> str:
        ticket = secrets.token_urlsafe(24)
        expires_at = self._tenant.clock.now() + self._tenant.behaviour.ticket_seconds
        self.tickets[ticket] = Ticket(subscriptions, expires_at)
        return ticket

    async def send(
        self, kind: str, topic: str, message_id: str, data: Json, **headers: str
    ) -> tuple[Any, float]:
        """Push to a random connection; return the `data` of its acknowledgement, parsed, and the seconds it took.

        Raises NotAcknowledged.
        """
        able = [each for each in self.open.values() if each.is_subscribed_to(kind, topic)]
        if not able:
            raise NotAcknowledged(
                "no connection" if not self.open else "no connection subscribed to this topic"
            )
        connection = random.choice(able)  # noqa: S311 - chance, not secrecy
        connection.delivered += 1
        frame = self._frame(connection, kind, topic, message_id, data, headers)
        acknowledgement, seconds = await self._ask(connection, message_id, frame)
        code = acknowledgement["code"]
        if code != 200:
            raise NotAcknowledged(f"acknowledged with {code}: {acknowledgement.get('message', '')}", code)
        return json.loads(acknowledgement["data"]), seconds

    async def ping(self, connection: Connection) -> None:
        """Send a ping of the protocol; the client must return its `opaque`. Raises NotAcknowledged."""
        message_id, opaque = new_id("ping_", 16), secrets.token_hex(4)
        frame = self._frame(connection, "SYSTEM", "ping", message_id, {"opaque": opaque}, {})
        answer, _ = await self._ask(connection, message_id, frame)
        echoed = json.loads(answer["data"])
        if not isinstance(echoed, dict) or echoed.get("opaque") != opaque:
            raise NotAcknowledged("the ping's opaque did not come back")
        connection.pings_answered += 1

    async def _ask(self, connection: Connection, message_id: str, frame: Json) -> tuple[Json, float]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer = connection.waiting[message_id] = loop.create_future()
        behaviour = self._tenant.behaviour
        limit = (
            behaviour.card_answer_seconds
            if frame["headers"]["topic"] == CARD_TOPIC
            else behaviour.answer_seconds
        )
        try:
            async with asyncio.timeout(limit):
                await connection.socket.send_str(json.dumps(frame, ensure_ascii=False))
                return await answer, loop.time() - started
        except TimeoutError:
            raise NotAcknowledged("no acknowledgement in time") from None
        except ConnectionError as error:
            raise NotAcknowledged("connection lost") from error
        finally:
            connection.waiting.pop(message_id, None)

    def _frame(
        self,
        connection: Connection,
        kind: str,
        topic: str,
        message_id: str,
        data: Json,
        headers: dict[str, str],
    ) -> Json:
        return {
            "specVersion": "1.0",
            "type": kind,
            "headers": {
                "appId": self._tenant.app.app_id,
                "connectionId": connection.connection_id,
                "contentType": "application/json",
                "messageId": message_id,
                "time": str(self._tenant.clock.wall_ms()),
                "topic": topic,
                **headers,
            },
            "data": json.dumps(data, ensure_ascii=False),
        }

    def receive(self, connection: Connection, text: str) -> None:
        """Handle a frame from a client. One that is not a well-formed acknowledgement is recorded without effect."""
        frame, problem = read_acknowledgement(text)
        self.acknowledgements.append(
            {"connection_id": connection.connection_id, "frame": frame, "problem": problem}
        )
        if (
            problem is not None
            or not isinstance(frame, dict)
            or self._tenant.behaviour.loses_acknowledgements
        ):
            return
        waiting = connection.waiting.get(str(frame["headers"].get("messageId")))
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)

    async def disconnect(self, reason: str = "connection is expired") -> None:
        """Ask every client to disconnect; a connection that is still open after the grace period is cut."""
        for connection in list(self.open.values()):
            frame = {
                "type": "SYSTEM",
                "headers": {
                    "topic": "disconnect",
                    "contentType": "application/json",
                    "messageId": new_id("disconnect_", 16),
                    "time": str(self._tenant.clock.wall_ms()),
                },
                "data": json.dumps({"reason": reason}),
            }
            with contextlib.suppress(ConnectionError):
                await connection.socket.send_str(json.dumps(frame))
            # No further push goes to it.
            connection.subscriptions = set()
            task = asyncio.create_task(self._drop_later(connection))
            self._drops.add(task)
            task.add_done_callback(self._drops.discard)

    async def _drop_later(self, connection: Connection) -> None:
        await self._tenant.clock.sleep(self._tenant.behaviour.disconnect_grace_seconds)
        connection.reset()

    async def close(self) -> None:
        for task in self._drops:
            task.cancel()
        await asyncio.gather(*self._drops, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in list(self.open.values())))

    def reset(self) -> None:
        """Cut every TCP connection."""
        for connection in list(self.open.values()):
            connection.reset()


CONNECTIONS = web.AppKey("connections", Connections)

MESSAGE_TOPIC = "/v1.0/im/bot/messages/get"
CARD_TOPIC = "/v1.0/card/instances/callback"


def read_acknowledgement(text: str) -> tuple[Any, str | None]:
    """Return a client's frame and what is wrong with it, or None.

    An acknowledgement is `{code, headers: {messageId, contentType}, message, data}`, with `data` a JSON text.
    """
    try:
        frame = json.loads(text)
    except ValueError:
        return text, "not JSON"
    if not isinstance(frame, dict):
        return frame, "not an object"
    headers = frame.get("headers")
    if not isinstance(headers, dict):
        return frame, "no headers"
    if frame.get("code") not in ACK_CODES or isinstance(frame.get("code"), bool):
        return frame, "code is 200, 400, 404 or 500"
    if not isinstance(headers.get("messageId"), str):
        return frame, "no messageId"
    if headers.get("contentType") != "application/json":
        return frame, "contentType is application/json"
    if not isinstance(frame.get("message", ""), str):
        return frame, "message is a text"
    data = frame.get("data")
    if not isinstance(data, str):
        return frame, "data is a text"
    try:
        json.loads(data)
    except ValueError:
        return frame, "data is not JSON"
    return frame, None


# The endpoint that issues tickets


@routes.post("/v1.0/gateway/connections/open")
async def open_connection(request: web.Request) -> web.Response:
    """Issue the address and the ticket of one connection. Without `Accept: application/json` the response is XML."""
    tenant = request.app[TENANT]
    check_rate(tenant, "connections/open")
    body = Parameters(await read_json(request), "param.error")
    client_id, client_secret = body.text("clientId"), body.text("clientSecret")
    subscriptions = read_subscriptions(body)
    if not knows_client(tenant, client_id, client_secret):
        raise ApiError("authFailed", "鉴权失败", 401)
    ticket = request.app[CONNECTIONS].new_ticket(subscriptions)
    scheme = "wss" if request.secure else "ws"
    fields = {"endpoint": f"{scheme}://{request.host}/connect", "ticket": ticket}
    if "application/json" not in request.headers.get("Accept", ""):
        TRACE.get().code = 0
        elements = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
        return web.Response(text=f"<Response>{elements}</Response>", content_type="application/xml")
    return success(fields)


def read_subscriptions(body: Parameters) -> set[tuple[str, str]]:
    given = body.required("subscriptions")
    if not isinstance(given, list) or not given:
        raise body.wrong("subscriptions must be a list")
    found = set()
    for each in given:
        if not isinstance(each, dict) or each.get("type") not in SUBSCRIPTION_TYPES:
            raise body.wrong("a subscription needs a type: EVENT, CALLBACK or SYSTEM")
        if not isinstance(each.get("topic"), str) or not each["topic"]:
            raise body.wrong("a subscription needs a topic")
        found.add((str(each["type"]), str(each["topic"])))
    return found


# The WebSocket


@routes.get("/connect")
async def connect(request: web.Request) -> web.StreamResponse:
    tenant, connections = request.app[TENANT], request.app[CONNECTIONS]
    ticket = connections.tickets.pop(request.query.get("ticket", ""), None)
    if ticket is None or ticket.expires_at <= tenant.clock.now():
        return web.Response(status=401, text="the ticket is unknown, used or expired")
    if len(connections.open) >= tenant.behaviour.connection_limit:
        return web.Response(status=403, text="too many connections")
    socket = web.WebSocketResponse(timeout=CLOSE_TIMEOUT)
    await socket.prepare(request)
    connection = Connection(new_id("", 16), ticket.subscriptions, socket, request.transport)
    connections.open[connection.connection_id] = connection
    tenant.feed.announce("connection", {"event": "opened", "open": len(connections.open)})
    pinging = asyncio.create_task(_ping_regularly(tenant, connections, connection))
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                connections.receive(connection, message.data)
    finally:
        pinging.cancel()
        connections.open.pop(connection.connection_id, None)
        for answer in connection.waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the client went away"))
                answer.exception()  # retrieved, even if its delivery no longer waits for it
        tenant.feed.announce("connection", {"event": "closed", "open": len(connections.open)})
    return socket


async def _ping_regularly(tenant: Tenant, connections: Connections, connection: Connection) -> None:
    """Ping a client, and cut the connection when it does not answer."""
    while True:
        await tenant.clock.sleep(tenant.behaviour.ping_seconds)
        try:
            await connections.ping(connection)
        except NotAcknowledged:
            connection.reset()
            return
