"""The long connection: receives events over a WebSocket that the bot opens, and reconnects whenever it is lost.

The platform's own client cannot be used: it requests the address with a blocking call, reconnects without delay or limit
after a disconnection, and sends no response to a frame whose topic is unknown or whose handler raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import aiohttp

from bot.core.api import Json
from bot.core.events import Outage
from bot.core.network import DIRECT, Network
from bot.core.retry import SECOND, backoff
from bot.core.secrets import Secret
from bot.dingtalk.frames import CALLBACK, EVENT, SYSTEM, Frame, FrameError, decode
from bot.dingtalk.stream_endpoint import CannotConnect, reject_redirects, request_address
from bot.transport.connection_errors import describe_error
from bot.transport.http_client import ConnectionOptions, HttpClient

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 8.0
"""Seconds for one attempt, including the request for the address."""

HEARTBEAT = 8.0
"""Seconds of silence before a WebSocket ping, which must be answered within half that time."""

MAX_FRAME_BYTES = 1024 * 1024
"""A larger frame closes the connection."""

MAX_CONCURRENT_EVENTS = 1000
"""Events that may be in progress. Further ones are rejected, and the platform may redeliver them."""

MAX_UNREADABLE_FRAMES = 20
"""Consecutive unreadable frames before the connection is closed: the peer does not speak the protocol."""

MAX_IDLE_FRAMES = 200
IDLE_PERIOD = 10.0
"""Limit on frames without an event, and the seconds it applies to. The platform sends a few a minute."""

FRAMES_PER_TURN = 20
"""Frames after which the event loop runs other tasks."""

FIRST_PAUSE, LONGEST_PAUSE = SECOND, 15 * SECOND
"""Pauses between attempts. The longest pause and one attempt take less than 30 seconds, because the connection must be up
within that time after the platform is."""

REFUSED_PAUSE = 20 * SECOND
"""The pause after a refusal that only an operator can resolve."""

QUICK_PAUSE = timedelta(seconds=0.5)
"""The longest pause before a connection replaces one that worked and that the platform closed or asked to close."""

FINISH_TIMEOUT = 2.5
"""Seconds for events in progress to finish when the connection stops or is replaced."""

CLOSE_TIMEOUT = 0.5

REMINDER_INTERVAL = 600.0
"""Seconds after which an unchanged outage is logged again."""

ASKED_TO_RECONNECT = "the platform asks to reconnect"


class EventNotAccepted(Exception):
    """The platform should redeliver the event. The text is for the log."""


def log_refusal(message: str, reason: str) -> None:
    log.warning(message, extra={"reason": reason})


EventHandler = Callable[[Frame], Awaitable[Json]]
"""Handles one frame. Its return value is the answer in the acknowledgement. If it raises, the frame is rejected."""


class Connection:
    """One WebSocket connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.proven = False
        """Whether a readable frame has arrived."""
        self.close_reason: str | None = None
        """Why the bot closes the connection; None while it is kept open."""
        self.accepting: set[asyncio.Task[None]] = set()
        self._unreadable = 0
        self._idle = 0
        self._idle_since = time.monotonic()

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
            return "the connection fell silent"
        return f"the connection was closed ({self.socket.close_code})"


class LongConnection:
    """Receives events from `start()` to `stop()`, and reconnects by itself. `outage` says whether it is down."""

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: Secret,
        api_url: str,
        on_event: EventHandler,
        on_refusal: Callable[[str, str], None] = log_refusal,
        network: Network = DIRECT,
    ) -> None:
        """`on_refusal` takes a message and a reason, both from fixed sets, because refusals can be numerous."""
        self._app_id, self._app_secret, self._api_url = app_id, app_secret, api_url
        self._on_event, self._on_refusal = on_event, on_refusal
        self._network, self._options = network, ConnectionOptions(network)
        self._outage: Outage | None = Outage(datetime.now(UTC), "not connected yet")
        self._logged_at = -REMINDER_INTERVAL
        self._serving: asyncio.Task[None] | None = None
        self._connection: Connection | None = None

    @property
    def outage(self) -> Outage | None:
        """None while events can be received."""
        return self._outage

    async def start(self) -> None:
        """Begin to connect, and return at once."""
        self._serving = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Receive no more events, finish those in progress, and close. Takes at most three seconds."""
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
                    peer_behaved = connection.close_reason in {None, ASKED_TO_RECONNECT}
                    failures = 0 if connection.proven and peer_behaved else failures + 1
                    self._record_down(connection.why_lost(), failures)
                await asyncio.sleep(pause_of(failures, refused=refused))

    async def _connect(self, http: HttpClient, session: aiohttp.ClientSession) -> Connection:
        url = await request_address(http, self._api_url, self._app_id, self._app_secret)
        try:
            socket = await session.ws_connect(
                url,
                heartbeat=HEARTBEAT,
                autoping=False,  # aiohttp would answer any number of pings without yielding to the event loop
                max_msg_size=MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
                **self._options.for_url(str(url)),
            )
        except aiohttp.WSServerHandshakeError as problem:
            raise CannotConnect(f"the platform refused the connection: HTTP {problem.status}") from None
        return Connection(socket)

    # --- receiving

    async def _receive(self, connection: Connection) -> None:
        """Receive frames until the connection is lost, without waiting for events to be accepted."""
        count = 0
        async for message in connection.socket:
            await self._handle_message(connection, message)
            if connection.close_reason:
                break
            count += 1
            if count % FRAMES_PER_TURN == 0:
                # Reading a socket that has buffered frames never yields to the event loop.
                await asyncio.sleep(0)
        if connection.close_reason == ASKED_TO_RECONNECT and connection.accepting:
            # The platform keeps the connection open for ten seconds, in which delivered frames can be acknowledged.
            await asyncio.wait(connection.accepting, timeout=FINISH_TIMEOUT)
        await connection.close()

    async def _handle_message(self, connection: Connection, message: aiohttp.WSMessage) -> None:
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await self._handle_frame(connection, message.data)
            case aiohttp.WSMsgType.PING:
                connection.count_idle()
                await connection.socket.pong(message.data)
            case aiohttp.WSMsgType.PONG:
                connection.count_idle()
            case _:
                connection.count_unreadable()

    async def _handle_frame(self, connection: Connection, text: str) -> None:
        """Handle one frame. An unreadable frame alone does not end the connection."""
        try:
            frame = decode(text)
        except FrameError as problem:
            connection.count_unreadable()
            self._on_refusal("a frame could not be read", str(problem))
            return
        connection.count_readable()
        match frame.type, frame.topic:
            case "SYSTEM", "disconnect":
                connection.close_reason = ASKED_TO_RECONNECT
            case "SYSTEM", "ping":
                connection.count_idle()
                await connection.socket.send_str(frame.answer_ping())
            case kind, _ if kind == SYSTEM:
                connection.count_idle()
            case _:
                self._start_accepting(connection, frame)

    def _start_accepting(self, connection: Connection, frame: Frame) -> None:
        has_room = len(connection.accepting) < MAX_CONCURRENT_EVENTS
        task = asyncio.create_task(self._accept(connection, frame, has_room=has_room))
        connection.accepting.add(task)
        task.add_done_callback(connection.accepting.discard)

    async def _accept(self, connection: Connection, frame: Frame, *, has_room: bool) -> None:
        """Acknowledge a frame once its event is accepted, with the handler's answer; otherwise reject it."""
        try:
            if not has_room:
                raise EventNotAccepted("too many at once")
            answer = acknowledgement(frame, await self._on_event(frame))
        except EventNotAccepted as problem:
            self._on_refusal("an event was not accepted", str(problem))
            if has_room:
                connection.count_idle()
            answer = rejection(frame)
        except Exception:
            log.exception("an event was not accepted")
            answer = rejection(frame)
        try:
            await connection.socket.send_str(answer)
        except ConnectionError:
            self._on_refusal("an event was not answered", "the connection was lost")

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
            level = logging.INFO if reason == ASKED_TO_RECONNECT else logging.WARNING
            log.log(
                level, "no long connection", extra={"reason": reason, "since": since, "failures": failures}
            )

    async def _finish(self) -> None:
        """Wait for events in progress, and close."""
        connection = self._connection
        if connection is not None:
            if connection.accepting:
                await asyncio.wait(connection.accepting, timeout=FINISH_TIMEOUT)
            for task in connection.accepting:
                task.cancel()
            await asyncio.gather(*connection.accepting, return_exceptions=True)
            await connection.close()
        self._outage = Outage(datetime.now(UTC), "stopped")


def acknowledgement(frame: Frame, answer: Json) -> str:
    """Return the acknowledgement of a frame: a status for an event, the handler's answer for a callback."""
    if frame.type == EVENT:
        return frame.answer({"status": "SUCCESS", "message": "OK"})
    return frame.answer({"response": answer})


def rejection(frame: Frame) -> str:
    if frame.type == CALLBACK:
        return frame.answer({"response": None}, code=500)
    return frame.answer({"status": "LATER", "message": "not accepted"})


def pause_of(failures: int, *, refused: bool) -> float:
    """Return the seconds until the next attempt, by the number of failures since the connection was lost."""
    jitter = random.random()  # noqa: S311 - spreads reconnections, guards nothing
    if refused:
        return REFUSED_PAUSE.total_seconds() * (0.5 + jitter / 2)
    if failures == 0:
        return QUICK_PAUSE.total_seconds() * jitter
    return backoff(failures, jitter, first=FIRST_PAUSE, longest=LONGEST_PAUSE).total_seconds()


def reason_of(problem: Exception) -> str:
    """Describe an error without the connection's address, which some exceptions quote."""
    return str(problem) if isinstance(problem, CannotConnect) else describe_error(problem)
