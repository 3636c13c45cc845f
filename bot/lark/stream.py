"""The long connection: receives events over a WebSocket that the bot opens."""

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
from yarl import URL

from bot.core.api import Json, Unreachable
from bot.core.events import Outage
from bot.core.network import STRAIGHT, Network
from bot.core.secrets import Secret
from bot.lark.connection_errors import describe_error
from bot.lark.frames import CONTROL, DATA, Frame, FrameError, PayloadAssembler, decode, encode, ping
from bot.lark.http_client import ConnectionOptions, HttpClient, drop_if_costly
from bot.lark.outcomes import is_redirect
from bot.lark.response_values import parse_json_object
from bot.lark.stream_endpoint import (
    ENDPOINT,
    MAX_REASON_LENGTH,
    CannotConnect,
    ClientConfig,
    is_platform_address,
    refusal,
    refused_handshake,
    reject_redirects,
)

log = logging.getLogger(__name__)


CONNECT_TIMEOUT = 8.0
"""Seconds for one attempt, the question for the address included."""


HEARTBEAT = 8.0
"""Seconds of silence after which the WebSocket is pinged; it has half as long to answer. Notices a peer that
vanished without a word. The platform's own pings, every two minutes, would notice it too late."""


PONG_TIMEOUT = 10.0
"""Seconds for the answer to one of those. Notices a platform that is gone behind a proxy that is not."""


MAX_FRAME_BYTES = 1024 * 1024
"""Bytes; the SDK takes no larger ones either. One that is larger ends the connection."""


MAX_CONCURRENT_EVENTS = 1000
"""Events that are being accepted. Those beyond are refused, and the platform sends them again."""


MAX_UNREADABLE_FRAMES = 20
"""Frames in a row that cannot be read. After these the connection is given up: its other end speaks something else."""


MAX_IDLE_FRAMES = 200


IDLE_PERIOD = 10.0
"""At most so many frames in so many seconds that bring no event: pings, pongs, and what is refused. The platform sends
a handful in a minute."""


FRAMES_PER_TURN = 20
"""Frames after which everything else in the process has its turn."""


FINISH_TIMEOUT = 2.5
"""Seconds that events under way have at the end."""


CLOSE_TIMEOUT = 0.5


REMINDER_INTERVAL = 600.0
"""Seconds after which an outage that goes on unchanged is logged again."""


class EventNotAccepted(Exception):
    """The event is to be sent again. Words for the log."""


def log_refusal(message: str, reason: str) -> None:
    log.warning(message, extra={"reason": reason})


EventHandler = Callable[[bytes], Awaitable[Json]]
"""Takes one event's payload. The event is acknowledged when it has returned, with what it returned unless that is
None; when it raises, the platform is told to send the event again."""


SILENT = "the connection fell silent"


class Connection:
    """One connection, from its handshake to its end."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, service: int) -> None:
        self.socket = socket
        self.service = service
        self.parts = PayloadAssembler()
        self.silent_since: float | None = None
        """When it was pinged, unless something came since."""
        self.proven = False
        """Whether anything came yet that can be read."""
        self.given_up: str | None = None
        """Why this end has closed it."""
        self._unreadable = 0
        self._idle = 0
        self._idle_since = time.monotonic()

    async def send(self, frame: Frame) -> None:
        await self.socket.send_bytes(encode(frame))

    async def close(self) -> None:
        # aiohttp waits so long for each frame that comes before the other end has closed, too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.socket.close()

    def read(self) -> None:
        """A frame could be read."""
        self.proven, self._unreadable = True, 0

    def unreadable(self) -> None:
        """A frame could not be read."""
        self._unreadable += 1
        if self._unreadable >= MAX_UNREADABLE_FRAMES:
            self.given_up = "the other end sends what cannot be read"
        self.idle()

    def idle(self) -> None:
        """A frame has brought no event, or one that is refused."""
        now = time.monotonic()
        if now > self._idle_since + IDLE_PERIOD:
            self._idle, self._idle_since = 0, now
        self._idle += 1
        if self._idle > MAX_IDLE_FRAMES:
            self.given_up = self.given_up or "the other end sends too much that is no event"

    def why_lost(self) -> str:
        if self.given_up:
            return self.given_up
        if isinstance(self.socket.exception(), TimeoutError):
            return SILENT
        return f"the connection was closed ({self.socket.close_code})"


class LongConnection:
    """`await start()`, look at `outage`, `await stop()`. Connects by itself for as long as it takes."""

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: Secret,
        open_url: str,
        on_event: EventHandler,
        on_refusal: Callable[[str, str], None] = log_refusal,
        network: Network = STRAIGHT,
    ) -> None:
        """`on_refusal` takes a message and a reason, both from fixed sets, for what may come in any number."""
        self._app_id, self._app_secret, self._open_url = app_id, app_secret, open_url
        self._on_event, self._on_refusal = on_event, on_refusal
        self._network, self._options = network, ConnectionOptions(network)
        self._config = ClientConfig()
        self._outage: Outage | None = Outage(datetime.now(UTC), "not connected yet")
        self._said_at = -REMINDER_INTERVAL
        self._serving: asyncio.Task[None] | None = None
        self._link: Connection | None = None
        self._handling: set[asyncio.Task[None]] = set()
        self._pings_are_answered = False

    @property
    def outage(self) -> Outage | None:
        """None while events can come in."""
        return self._outage

    async def start(self) -> None:
        """Returns at once; an event may come from now on."""
        self._serving = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Takes nothing more, answers what is being accepted, and closes: takes three seconds at most."""
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
                        link = self._link = await self._connect(http, session)
                    self._is_up()
                    await self._receive(link)
                except Exception as problem:
                    failures += 1
                    refused = isinstance(problem, CannotConnect) and problem.refused
                    self._is_down(reason_of(problem), failures)
                else:
                    is_silence = link.given_up in {None, SILENT}
                    failures = 0 if link.proven and is_silence else failures + 1
                    self._is_down(link.why_lost(), failures)
                await asyncio.sleep(self._config.pause(failures, refused=refused))

    # --- connecting

    async def _connect(self, http: HttpClient, session: aiohttp.ClientSession) -> Connection:
        url = await self._address(http)
        service = url.query.get("service_id", "")
        if not (service.isascii() and service.isdigit() and len(service) <= 10):
            raise CannotConnect("the platform gave an address without its parameters")
        if not is_platform_address(url, URL(self._open_url)):
            raise CannotConnect(
                f"the platform gave an address that is not its own: {url.host}"[:MAX_REASON_LENGTH]
            )
        try:
            socket = await session.ws_connect(
                url,
                heartbeat=HEARTBEAT,
                autoping=False,  # or aiohttp would answer any number of pings without giving way
                max_msg_size=MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
                **self._options.for_url(str(url)),
            )
        except aiohttp.WSServerHandshakeError as problem:
            raise refused_handshake(problem.status, problem.headers or {}) from None
        return Connection(socket, int(service))

    async def _address(self, http: HttpClient) -> URL:
        """Where to connect. It is for one connection, and whoever has it can take our events."""
        credentials = {"AppID": self._app_id, "AppSecret": self._app_secret.reveal()}
        answer = await http.fetch("POST", self._open_url + ENDPOINT, body=credentials)
        if isinstance(answer, Unreachable):
            raise CannotConnect(answer.reason)
        if is_redirect(answer.status):
            raise CannotConnect(f"the platform redirects the question for an address: HTTP {answer.status}")
        parsed = parse_json_object(answer.body) or {}
        code = parsed.get("code")
        if type(code) is not int:
            raise CannotConnect(f"the platform gave no address: HTTP {answer.status}")
        if code != 0:
            raise refusal(code, parsed.get("msg"))
        data = parsed.get("data")
        fields = data if isinstance(data, dict) else {}
        self._config = self._config.updated(fields.get("ClientConfig"))
        url = fields.get("URL")
        if not isinstance(url, str) or not url.startswith(("wss://", "ws://")):
            raise CannotConnect("the platform gave no address")
        try:
            return URL(url)
        except ValueError:
            raise CannotConnect("the platform gave an address that is none") from None

    # --- receiving

    async def _receive(self, link: Connection) -> None:
        """Until the connection is lost. Nothing here waits for an event to be accepted."""
        pinging = asyncio.create_task(self._keep_pinging(link))
        try:
            count = 0
            async for message in link.socket:
                await self._take_message(link, message)
                if link.given_up:
                    break
                count += 1
                if count % FRAMES_PER_TURN == 0:
                    # A socket with frames that have come already never waits.
                    await asyncio.sleep(0)
            await link.close()
        finally:
            pinging.cancel()

    async def _take_message(self, link: Connection, message: aiohttp.WSMessage) -> None:
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                link.silent_since = None
                self._take(link, message.data)
            case aiohttp.WSMsgType.PING:
                link.idle()
                await link.socket.pong(message.data)
            case aiohttp.WSMsgType.PONG:
                link.idle()
            case _:
                link.unreadable()

    async def _keep_pinging(self, link: Connection) -> None:
        """As often as the platform wishes, which may change between two pings."""
        with contextlib.suppress(ConnectionError):
            while True:
                await link.send(ping(link.service))
                pinged = time.monotonic()
                link.silent_since = link.silent_since or pinged
                while time.monotonic() < pinged + self._config.ping_interval:
                    await asyncio.sleep(1)
                    await self._notice_silence(link)

    async def _notice_silence(self, link: Connection) -> None:
        """Only a platform that has answered pings before is expected to answer them."""
        silent_since = link.silent_since
        if self._pings_are_answered and silent_since and time.monotonic() > silent_since + PONG_TIMEOUT:
            link.given_up = SILENT
            await link.close()

    def _take(self, link: Connection, data: bytes) -> None:
        """One frame. What is wrong with one does not end the connection."""
        try:
            frame = decode(data)
            link.read()
            if frame.method == CONTROL and frame.header("type") == "pong":
                self._pings_are_answered = True
                self._config = self._config.updated(parse_json_object(drop_if_costly(frame.payload)))
                link.idle()
            elif frame.method == DATA and frame.header("type") in {"event", "card"}:
                wasted = link.parts.wasted
                payload = link.parts.join(frame, time.monotonic())
                if link.parts.wasted > wasted:
                    link.idle()
                if payload is not None:
                    self._handle(link, frame, payload)
            else:
                link.idle()
        except FrameError as problem:
            link.unreadable()
            self._on_refusal("a frame could not be read", str(problem))

    def _handle(self, link: Connection, frame: Frame, payload: bytes) -> None:
        has_room = len(self._handling) < MAX_CONCURRENT_EVENTS
        task = asyncio.create_task(self._accept(link, frame, payload, has_room=has_room))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def _accept(self, link: Connection, frame: Frame, payload: bytes, *, has_room: bool) -> None:
        """Acknowledges an event when it has been accepted, with what is to be answered; else says that it was not."""
        started = time.monotonic()
        try:
            if not has_room:
                raise EventNotAccepted("too many at once")
            result = await self._on_event(payload)
        except EventNotAccepted as problem:
            self._on_refusal("an event was not accepted", str(problem))
            if has_room:
                link.idle()
            answer: Json = {"code": 500}
        except Exception:
            log.exception("an event was not accepted")
            answer = {"code": 500}
        else:
            answer = {"code": 200} if result is None else {"code": 200, "data": encode_result(result)}
        took = round((time.monotonic() - started) * 1000)
        try:
            await link.send(frame.answered(json.dumps(answer).encode(), took))
        except ConnectionError:
            self._on_refusal("an event was not answered", "the connection was lost; the event comes again")

    # --- up and down

    def _is_up(self) -> None:
        lasted = (datetime.now(UTC) - self._outage.since).total_seconds() if self._outage else 0
        log.info("long connection up", extra={"was_down_seconds": round(lasted)})
        self._outage, self._said_at = None, -REMINDER_INTERVAL

    def _is_down(self, reason: str, failures: int) -> None:
        """Says so when it is news, and now and then while it lasts."""
        before = self._outage
        self._outage = Outage(before.since if before else datetime.now(UTC), reason)
        now = time.monotonic()
        if before is None or before.reason != reason or now >= self._said_at + REMINDER_INTERVAL:
            self._said_at = now
            since = self._outage.since.isoformat(timespec="seconds")
            log.warning("no long connection", extra={"reason": reason, "since": since, "failures": failures})

    async def _finish(self) -> None:
        """The end: the platform sends again what could not be answered in time."""
        if self._handling:
            await asyncio.wait(self._handling, timeout=FINISH_TIMEOUT)
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)
        if self._link is not None:
            await self._link.close()
        self._outage = Outage(datetime.now(UTC), "stopped")


def encode_result(result: Json) -> str:
    return base64.b64encode(json.dumps(result).encode()).decode()


def reason_of(problem: Exception) -> str:
    """Never holds the address of the connection, which some exceptions quote."""
    if isinstance(problem, CannotConnect):
        return str(problem)
    return describe_error(problem)
