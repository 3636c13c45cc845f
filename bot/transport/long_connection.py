"""A WebSocket by which a platform delivers events, kept open.

What is in the frames, how an address is requested and how long to wait between attempts differ by platform: see
`LongConnection`'s abstract methods.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import aiohttp
from yarl import URL

from bot.core.api import Json
from bot.core.events import Outage
from bot.core.network import DIRECT, Network
from bot.transport.connection_errors import describe_error
from bot.transport.http_client import ConnectionOptions, HttpClient, OnRequest

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 8.0
"""Seconds for one attempt, including the request for the address."""

HEARTBEAT = 8.0
"""Seconds of silence before a WebSocket ping, which must be answered within half that time. Detects a peer that
vanished. A platform's own pings can be minutes apart, which would detect it too late."""

MAX_FRAME_BYTES = 1024 * 1024
"""A larger frame closes the connection."""

MAX_CONCURRENT_EVENTS = 1000
"""Events that may be in progress. Further ones are rejected, and the platform may redeliver them."""

MAX_UNREADABLE_FRAMES = 20
"""Consecutive unreadable frames before the connection is closed: the peer does not speak the protocol."""

MAX_IDLE_FRAMES = 200
IDLE_PERIOD = 10.0
"""Limit on frames without an event (pings, pongs, rejected events), and the seconds it applies to. A platform sends a
few a minute."""

FRAMES_PER_TURN = 20
"""Frames after which the event loop runs other tasks."""

FINISH_TIMEOUT = 2.5
"""Seconds for events in progress to finish when the connection stops or is replaced."""

CLOSE_TIMEOUT = 0.5

REMINDER_INTERVAL = 600.0
"""Seconds after which an unchanged outage is logged again."""

MAX_REASONS = 10
"""Reasons of one outage that are logged at once. They may alternate for as long as it lasts."""

MAX_REASON_LENGTH = 200

SILENT = "the connection fell silent"


class CannotConnect(Exception):
    """A connection could not be opened. The message is for operators. `refused`: an early retry will not help."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class EventNotAccepted(Exception):
    """The platform should redeliver the event. The text is for the log."""


def parse_url(value: Any) -> URL:
    """Parse the URL of a WebSocket. Raises `CannotConnect` if it is not one."""
    if not isinstance(value, str) or not value.startswith(("wss://", "ws://")):
        raise CannotConnect("the platform returned no address")
    try:
        return URL(value)
    except (ValueError, IndexError):  # yarl raises IndexError for `wss://[]@`
        raise CannotConnect("the platform returned an invalid address") from None


def is_in_domains(url: URL, origin: URL, domains: tuple[str, ...]) -> bool:
    """Whether an address is at the origin's host or in one of the domains, and as secure as the origin.

    The server of an address reads the app's events and can forge others.
    """
    host, origin_host = url.host or "", origin.host or ""
    if url.user is not None or url.password is not None or not host:
        return False
    if url.scheme == "ws":
        # Unencrypted only if the configured origin is unencrypted too, which only a loopback host may be.
        return origin.scheme == "http" and host == origin_host
    return url.scheme == "wss" and (host == origin_host or is_subdomain(host, domains))


def is_subdomain(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


async def reject_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Raise `CannotConnect` on a redirect.

    aiohttp follows redirects of a WebSocket handshake, to any host and from wss to ws, and has no option to prevent it.
    """
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise CannotConnect(f"the platform redirects the connection elsewhere: HTTP {response.status}")
    return response


def reason_of(problem: Exception) -> str:
    """Describe an error without the connection's address, which some exceptions quote."""
    return str(problem) if isinstance(problem, CannotConnect) else describe_error(problem)


class Connection:
    """One WebSocket connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.proven = False
        """Whether a readable frame has arrived."""
        self.close_reason: str | None = None
        """Why the bot closes the connection; None while it is kept open."""
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
            return SILENT
        return f"the connection was closed ({self.socket.close_code})"


class Accept(Protocol):
    """Accepts one event, or rejects it if there is no room for it."""

    def __call__(self, *, has_room: bool) -> Coroutine[Any, Any, None]: ...


def log_refusal(message: str, reason: str) -> None:
    log.warning(message, extra={"reason": reason})


C = TypeVar("C", bound=Connection)
E = TypeVar("E")


class LongConnection(abc.ABC, Generic[C, E]):
    """Receives events from `start()` to `stop()`, and reconnects by itself. `outage` says whether it is down.

    C: the platform's kind of connection. E: what the handler of an event is given.
    """

    log: ClassVar[logging.Logger]
    data_type: ClassVar[aiohttp.WSMsgType]
    """The type of the messages that hold frames."""
    no_failures: ClassVar[frozenset[str | None]]
    """Close reasons after which the next attempt is the first."""

    def __init__(
        self,
        *,
        on_event: Callable[[E], Awaitable[Json]],
        on_refusal: Callable[[str, str], None] = log_refusal,
        network: Network = DIRECT,
        on_request: OnRequest | None = None,
    ) -> None:
        """`on_event` returns the answer in the acknowledgement. If it raises, the event is rejected.

        `on_refusal` is called with a message and a reason, both from fixed sets, so that it can count repetitions.
        """
        self._on_event, self._on_refusal = on_event, on_refusal
        self._network, self._options = network, ConnectionOptions(network)
        self._on_request = on_request
        self._outage: Outage | None = Outage(datetime.now(UTC), "not connected yet")
        self._was_up = False
        self._logged_at = -REMINDER_INTERVAL
        self._told: set[str] = set()
        """The reasons of the current outage that were logged."""
        self._serving: asyncio.Task[None] | None = None
        self._connection: C | None = None
        self._accepting: set[asyncio.Task[None]] = set()

    @property
    def outage(self) -> Outage | None:
        """None while events can be received."""
        return self._outage

    @property
    def was_up(self) -> bool:
        """Whether events could be received at any time since the start."""
        return self._was_up

    async def start(self) -> None:
        """Start connecting, and return at once."""
        self._serving = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Stop receiving events, finish those in progress, and close the connection. Takes at most three seconds."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    # --- what differs by platform

    @abc.abstractmethod
    async def _connect(self, http: HttpClient, session: aiohttp.ClientSession) -> C:
        """Request an address and connect to it. Raises `CannotConnect`."""

    @abc.abstractmethod
    async def _receive(self, connection: C) -> None:
        """Receive frames until the connection is lost, and close it."""

    @abc.abstractmethod
    async def _handle_frame(self, connection: C, data: Any) -> None:
        """Handle one frame. An unreadable frame alone does not end the connection."""

    @abc.abstractmethod
    def _pause(self, failures: int, *, refused: bool) -> float:
        """Return the seconds until the next attempt, by the number of failures since the connection was lost."""

    # --- connecting

    async def _serve(self) -> None:
        failures = 0
        async with contextlib.AsyncExitStack() as opened:
            http = HttpClient(self._network, on_request=self._on_request)
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
                    peer_behaved = connection.close_reason in self.no_failures
                    failures = 0 if connection.proven and peer_behaved else failures + 1
                    self._record_down(connection.why_lost(), failures)
                await asyncio.sleep(self._pause(failures, refused=refused))

    async def _open_socket(self, session: aiohttp.ClientSession, url: URL) -> aiohttp.ClientWebSocketResponse:
        """Raises `aiohttp.WSServerHandshakeError` if the server refuses the handshake."""
        socket: aiohttp.ClientWebSocketResponse = await session.ws_connect(
            url,
            heartbeat=HEARTBEAT,
            autoping=False,  # aiohttp would answer any number of pings without yielding to the event loop
            max_msg_size=MAX_FRAME_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
            **self._options.for_url(str(url)),
        )
        return socket

    # --- receiving

    async def _read(self, connection: C) -> None:
        """Read frames until the connection is lost, or should be closed, without waiting for events to be accepted."""
        count = 0
        async for message in connection.socket:
            match message.type:
                case self.data_type:
                    await self._handle_frame(connection, message.data)
                case aiohttp.WSMsgType.PING:
                    connection.count_idle()
                    await connection.socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    connection.count_idle()
                case _:
                    connection.count_unreadable()
            if connection.close_reason:
                break
            count += 1
            if count % FRAMES_PER_TURN == 0:
                # Reading a socket that has buffered frames never yields to the event loop.
                await asyncio.sleep(0)

    def _start_accepting(self, accept: Accept) -> None:
        has_room = len(self._accepting) < MAX_CONCURRENT_EVENTS
        task = asyncio.create_task(accept(has_room=has_room))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _accept(self, connection: C, event: E, *, has_room: bool) -> tuple[bool, Json]:
        """Pass an event to its handler. Returns whether it is accepted, and the handler's answer."""
        try:
            if not has_room:
                raise EventNotAccepted("too many at once")
            return True, await self._on_event(event)
        except EventNotAccepted as problem:
            self._on_refusal("an event was not accepted", str(problem))
            if has_room:
                connection.count_idle()
        except Exception:
            self.log.exception("an event was not accepted")
        return False, None

    # --- outages

    def _record_up(self) -> None:
        lasted = (datetime.now(UTC) - self._outage.since).total_seconds() if self._outage else 0
        self.log.info("long connection up", extra={"was_down_seconds": round(lasted)})
        self._outage, self._was_up, self._logged_at = None, True, -REMINDER_INTERVAL
        self._told.clear()

    def _record_down(self, reason: str, failures: int) -> None:
        """Record the outage. Log it if it or its reason is new, and every `REMINDER_INTERVAL`."""
        before = self._outage
        self._outage = Outage(before.since if before else datetime.now(UTC), reason)
        now = time.monotonic()
        is_told = reason in self._told or len(self._told) >= MAX_REASONS
        if before is None or not is_told or now >= self._logged_at + REMINDER_INTERVAL:
            self._logged_at = now
            self._told.add(reason)
            since = self._outage.since.isoformat(timespec="seconds")
            details = {"reason": reason, "since": since, "failures": failures}
            self.log.log(self._outage_level(reason), "no long connection", extra=details)

    def _outage_level(self, reason: str) -> int:
        return logging.WARNING

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
