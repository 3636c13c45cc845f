"""The long connection: receives events over a WebSocket that the bot opens, and reconnects whenever it is lost.

The SDK's client cannot be used. It runs on an event loop that its module creates, requests the address with a blocking
call, reads the next frame only after a handler has returned, does not answer frames of type `card`, waits up to two
minutes to reconnect, stops for good after some refusals, and logs the address, with which others could connect.
https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import aiohttp

from bot.core.api import Json
from bot.core.events import Outage
from bot.core.network import DIRECT, Network
from bot.core.response_values import parse_json_object
from bot.core.secrets import Secret
from bot.lark.frames import CONTROL, DATA, Frame, FrameError, PayloadAssembler, decode, encode, ping
from bot.lark.stream_endpoint import (
    CannotConnect,
    ClientConfig,
    refused_handshake,
    reject_redirects,
    request_address,
)
from bot.transport.connection_errors import describe_error
from bot.transport.http_client import ConnectionOptions, HttpClient, drop_if_costly

log = logging.getLogger(__name__)


CONNECT_TIMEOUT = 8.0
"""Seconds for one attempt, including the request for the address."""

HEARTBEAT = 8.0
"""Seconds of silence before a WebSocket ping, which must be answered within half that time. Detects a peer that
vanished. The platform's own pings, every two minutes, would detect it too late."""

PONG_TIMEOUT = 10.0
"""Seconds for the answer to a ping of the platform's protocol. Detects that the platform is gone behind a live proxy."""

MAX_FRAME_BYTES = 1024 * 1024
"""The SDK's limit too. A larger frame closes the connection."""

MAX_CONCURRENT_EVENTS = 1000
"""Events that may be in progress. Further ones are rejected, and the platform redelivers them."""

MAX_UNREADABLE_FRAMES = 20
"""Consecutive unreadable frames before the connection is closed: the peer does not speak the protocol."""

MAX_IDLE_FRAMES = 200
IDLE_PERIOD = 10.0
"""Limit on frames without an event (pings, pongs, rejected events), and the seconds it applies to. The platform sends a
few a minute."""

FRAMES_PER_TURN = 20
"""Frames after which the event loop runs other tasks."""

FINISH_TIMEOUT = 2.5
"""Seconds for events in progress to finish when the connection stops."""

CLOSE_TIMEOUT = 0.5

REMINDER_INTERVAL = 600.0
"""Seconds after which an unchanged outage is logged again."""


class EventNotAccepted(Exception):
    """The platform should redeliver the event. The text is for the log."""


def log_refusal(message: str, reason: str) -> None:
    log.warning(message, extra={"reason": reason})


EventHandler = Callable[[bytes], Awaitable[Json]]
"""Handles one event's payload. Its return value, unless None, is the answer in the acknowledgement. If it raises, the
platform is asked to redeliver the event."""


SILENT = "the connection fell silent"


class Connection:
    """One WebSocket connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, service: int) -> None:
        self.socket = socket
        self.service = service
        self.payloads = PayloadAssembler()
        self.silent_since: float | None = None
        """When a ping was sent, unless a frame has arrived since."""
        self.proven = False
        """Whether a readable frame has arrived."""
        self.close_reason: str | None = None
        """Why the bot closes the connection; None while it is kept open."""
        self._unreadable = 0
        self._idle = 0
        self._idle_since = time.monotonic()

    async def send(self, frame: Frame) -> None:
        await self.socket.send_bytes(encode(frame))

    async def close(self) -> None:
        # aiohttp applies its own timeout to each frame that arrives before the peer closes.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.socket.close()

    def count_readable(self) -> None:
        self.proven, self._unreadable = True, 0

    def count_unreadable(self) -> None:
        self._unreadable += 1
        if self._unreadable >= MAX_UNREADABLE_FRAMES:
            self.close_reason = "the other end sends unreadable frames"
        self.count_idle()

    def count_idle(self) -> None:
        """Count a frame without an event, or with one that is rejected."""
        now = time.monotonic()
        if now > self._idle_since + IDLE_PERIOD:
            self._idle, self._idle_since = 0, now
        self._idle += 1
        if self._idle > MAX_IDLE_FRAMES:
            self.close_reason = self.close_reason or "the other end sends too many frames without an event"

    def why_lost(self) -> str:
        if self.close_reason:
            return self.close_reason
        if isinstance(self.socket.exception(), TimeoutError):
            return SILENT
        return f"the connection was closed ({self.socket.close_code})"


class LongConnection:
    """Receives events from `start()` to `stop()`, and reconnects by itself. `outage` says whether it is down."""

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: Secret,
        open_url: str,
        on_event: EventHandler,
        on_refusal: Callable[[str, str], None] = log_refusal,
        network: Network = DIRECT,
    ) -> None:
        """`on_refusal` is called with a message and a reason, both from fixed sets, so that it can count repetitions."""
        self._app_id, self._app_secret, self._open_url = app_id, app_secret, open_url
        self._on_event, self._on_refusal = on_event, on_refusal
        self._network, self._options = network, ConnectionOptions(network)
        self._config = ClientConfig()
        self._outage: Outage | None = Outage(datetime.now(UTC), "not connected yet")
        self._logged_at = -REMINDER_INTERVAL
        self._serving: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._accepting: set[asyncio.Task[None]] = set()
        self._answers_pings = False

    @property
    def outage(self) -> Outage | None:
        """None while events can be received."""
        return self._outage

    async def start(self) -> None:
        """Start connecting, and return at once."""
        self._serving = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Stop receiving events, finish those in progress, and close the connection. Takes at most three seconds."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    async def _serve(self) -> None:
        failures = 0
        async with contextlib.AsyncExitStack() as opened:
            http = HttpClient(self._network)
            opened.push_async_callback(http.close)
            session = await opened.enter_async_context(
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=None),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    middlewares=(reject_redirects,),
                )
            )
            opened.push_async_callback(self._finish)
            while True:
                refused = False
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT):
                        connection = self._connection = await self._connect(http, session)
                    self._record_up()
                    await self._receive(connection)
                except Exception as problem:
                    failures += 1
                    refused = isinstance(problem, CannotConnect) and problem.refused
                    self._record_down(reason_of(problem), failures)
                else:
                    peer_behaved = connection.close_reason in {None, SILENT}
                    failures = 0 if connection.proven and peer_behaved else failures + 1
                    self._record_down(connection.why_lost(), failures)
                await asyncio.sleep(self._config.pause(failures, refused=refused))

    # --- connecting

    async def _connect(self, http: HttpClient, session: aiohttp.ClientSession) -> Connection:
        address = await request_address(http, self._open_url, self._app_id, self._app_secret)
        self._config = self._config.updated(address.config)
        try:
            socket = await session.ws_connect(
                address.url,
                heartbeat=HEARTBEAT,
                autoping=False,  # aiohttp would answer any number of pings without yielding to the event loop
                max_msg_size=MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
                **self._options.for_url(str(address.url)),
            )
        except aiohttp.WSServerHandshakeError as problem:
            raise refused_handshake(problem.status, problem.headers or {}) from None
        return Connection(socket, address.service)

    # --- receiving

    async def _receive(self, connection: Connection) -> None:
        """Receive frames until the connection is lost, without waiting for events to be accepted."""
        pinging = asyncio.create_task(self._keep_pinging(connection))
        try:
            count = 0
            async for message in connection.socket:
                await self._handle_message(connection, message)
                if connection.close_reason:
                    break
                count += 1
                if count % FRAMES_PER_TURN == 0:
                    # Reading a socket that has buffered frames never yields to the event loop.
                    await asyncio.sleep(0)
            await connection.close()
        finally:
            pinging.cancel()

    async def _handle_message(self, connection: Connection, message: aiohttp.WSMessage) -> None:
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                connection.silent_since = None
                self._handle_frame(connection, message.data)
            case aiohttp.WSMsgType.PING:
                connection.count_idle()
                await connection.socket.pong(message.data)
            case aiohttp.WSMsgType.PONG:
                connection.count_idle()
            case _:
                connection.count_unreadable()

    async def _keep_pinging(self, connection: Connection) -> None:
        """Ping at the interval that the platform sets, which may change at any time."""
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.send(ping(connection.service))
                pinged = time.monotonic()
                connection.silent_since = connection.silent_since or pinged
                while time.monotonic() < pinged + self._config.ping_interval:
                    await asyncio.sleep(1)
                    await self._check_silence(connection)

    async def _check_silence(self, connection: Connection) -> None:
        """Close a connection whose ping was not answered, if this platform has ever answered one."""
        silent_since = connection.silent_since
        if self._answers_pings and silent_since and time.monotonic() > silent_since + PONG_TIMEOUT:
            connection.close_reason = SILENT
            await connection.close()

    def _handle_frame(self, connection: Connection, data: bytes) -> None:
        """Handle one frame. An unreadable frame alone does not end the connection."""
        try:
            frame = decode(data)
            connection.count_readable()
            if frame.method == CONTROL and frame.header("type") == "pong":
                self._answers_pings = True
                self._config = self._config.updated(parse_json_object(drop_if_costly(frame.payload)))
                connection.count_idle()
            elif frame.method == DATA and frame.header("type") in {"event", "card"}:
                wasted = connection.payloads.wasted
                payload = connection.payloads.add(frame, time.monotonic())
                if connection.payloads.wasted > wasted:
                    connection.count_idle()
                if payload is not None:
                    self._start_accepting(connection, frame, payload)
            else:
                connection.count_idle()
        except FrameError as problem:
            connection.count_unreadable()
            self._on_refusal("a frame could not be read", str(problem))

    def _start_accepting(self, connection: Connection, frame: Frame, payload: bytes) -> None:
        has_room = len(self._accepting) < MAX_CONCURRENT_EVENTS
        task = asyncio.create_task(self._accept(connection, frame, payload, has_room=has_room))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _accept(self, connection: Connection, frame: Frame, payload: bytes, *, has_room: bool) -> None:
        """Acknowledge an event once it is accepted, with the handler's answer; otherwise ask for redelivery."""
        started = time.monotonic()
        try:
            if not has_room:
                raise EventNotAccepted("too many at once")
            result = await self._on_event(payload)
        except EventNotAccepted as problem:
            self._on_refusal("an event was not accepted", str(problem))
            if has_room:
                connection.count_idle()
            answer: Json = {"code": 500}
        except Exception:
            log.exception("an event was not accepted")
            answer = {"code": 500}
        else:
            answer = {"code": 200} if result is None else {"code": 200, "data": encode_result(result)}
        took = round((time.monotonic() - started) * 1000)
        try:
            await connection.send(frame.answered(json.dumps(answer).encode(), took))
        except ConnectionError:
            self._on_refusal(
                "an event was not answered", "the connection was lost; the event will be redelivered"
            )

    # --- outages

    def _record_up(self) -> None:
        lasted = (datetime.now(UTC) - self._outage.since).total_seconds() if self._outage else 0
        log.info("long connection up", extra={"was_down_seconds": round(lasted)})
        self._outage, self._logged_at = None, -REMINDER_INTERVAL

    def _record_down(self, reason: str, failures: int) -> None:
        """Record the outage. Log it if it is new or has changed, and every `REMINDER_INTERVAL`."""
        before = self._outage
        self._outage = Outage(before.since if before else datetime.now(UTC), reason)
        now = time.monotonic()
        if before is None or before.reason != reason or now >= self._logged_at + REMINDER_INTERVAL:
            self._logged_at = now
            since = self._outage.since.isoformat(timespec="seconds")
            log.warning("no long connection", extra={"reason": reason, "since": since, "failures": failures})

    async def _finish(self) -> None:
        """Wait for events in progress, and close. The platform redelivers those that are not answered in time."""
        if self._accepting:
            await asyncio.wait(self._accepting, timeout=FINISH_TIMEOUT)
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()
        self._outage = Outage(datetime.now(UTC), "stopped")


def encode_result(result: Json) -> str:
    return base64.b64encode(json.dumps(result).encode()).decode()


def reason_of(problem: Exception) -> str:
    """Describe an error without the connection's address, which some exceptions quote."""
    if isinstance(problem, CannotConnect):
        return str(problem)
    return describe_error(problem)
