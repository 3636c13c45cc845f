"""The long connection: events come in over a WebSocket that the bot opened. Stays connected, whatever happens.

The client is our own. The SDK's runs on a loop of its module, asks for the address with a blocking request, reads
on only when a handler has returned, does not answer frames of type `card`, waits up to two minutes before it
connects again, ends for good on some refusals, and logs the address, by which others can connect.
https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from bot.core.api import Json, Unreachable
from bot.core.events import Outage
from bot.core.network import STRAIGHT, Network
from bot.core.secrets import Secret
from bot.lark.api import OTHER_BRAND, WRONG_BRAND, Http, Way, bounded, describe, is_redirect, parse_object
from bot.lark.frames import CONTROL, DATA, Frame, FrameError, Parts, decode, encode, ping

log = logging.getLogger(__name__)

ENDPOINT = "/callback/ws/endpoint"

DOMAINS = (("feishu.cn", "larkoffice.com"), ("larksuite.com",))
"""Of each brand. The addresses seen so far are msg-frontier.feishu.cn and msg-frontier-sg.larksuite.com."""

CONNECT_WITHIN = 8.0
"""Seconds for one attempt, the question for the address included."""
LONGEST_FIRST_PAUSE = 5.0
LONGEST_PAUSE = 10.0
PAUSE_WHEN_REFUSED = 20.0
"""Seconds between attempts. The longest and one attempt make less than the 30 in which a connection has to be back
after the platform is; so a platform that wishes for longer pauses does not get them."""
SHORTEST_PAUSE = 0.5

KEEPALIVE = 8.0
"""Seconds of silence after which the WebSocket is pinged; it has half as long to answer. Notices a peer that
vanished without a word. The platform's own pings, every two minutes, would notice it too late."""
PONG_WITHIN = 10.0
"""Seconds for the answer to one of those. Notices a platform that is gone behind a proxy that is not."""

LARGEST_FRAME = 1024 * 1024
"""Bytes; the SDK takes no larger ones either. One that is larger ends the connection."""
MOST_AT_ONCE = 1000
"""Events that are being accepted. Those beyond are refused, and the platform sends them again."""

MOST_UNREADABLE = 20
"""Frames in a row that cannot be read. After these the connection is given up: its other end speaks something else."""
MOST_IDLE = 200
IDLE_WITHIN = 10.0
"""At most so many frames in so many seconds that bring no event: pings, pongs, and what is refused. The platform sends
a handful in a minute."""
TURN = 20
"""Frames after which everything else in the process has its turn."""

FINISH_WITHIN = 2.5
"""Seconds that events under way have at the end."""
CLOSE_WITHIN = 0.5

LONGEST_WISH = 86400
"""Seconds, or attempts, that the platform may wish for."""

REMIND_EVERY = 600.0
"""Seconds after which an outage that goes on unchanged is logged again."""
LONGEST_WORDS = 200

REFUSALS = {
    403: "the app is disabled, or may not have long connections",
    514: "the platform does not accept LARK_APP_ID with LARK_APP_SECRET",
    1000040344: "the platform misses the app's credentials",
    1000040350: "the app has as many long connections as it may",
    WRONG_BRAND: OTHER_BRAND,
}
"""What only the app's developers or operators can change."""


class CannotConnect(Exception):
    """Words for operators. `refused`: trying again soon will not help."""

    def __init__(self, words: str, *, refused: bool = False) -> None:
        super().__init__(words)
        self.refused = refused


class NotAccepted(Exception):
    """The event is to be sent again. Words for the log."""


def log_refusal(message: str, reason: str) -> None:
    log.warning(message, extra={"reason": reason})


OnEvent = Callable[[bytes], Awaitable[Json]]
"""Takes one event's payload. The event is acknowledged when it has returned, with what it returned unless that is
None; when it raises, the platform is told to send the event again."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How the platform wishes its clients to behave, in seconds. It may change its mind at any time."""

    ping_interval: int = 120
    reconnect_count: int = -1
    reconnect_interval: int = 120
    reconnect_nonce: int = 30
    """The longest of the random waits before the first attempt."""

    def updated(self, given: Any) -> ClientConfig:
        """With the fields that were given and make sense."""
        given = given if isinstance(given, dict) else {}
        fields = {
            name: given[wire]
            for name, wire, least in (
                ("ping_interval", "PingInterval", 1),
                ("reconnect_count", "ReconnectCount", -1),
                ("reconnect_interval", "ReconnectInterval", 0),
                ("reconnect_nonce", "ReconnectNonce", 0),
            )
            if type(given.get(wire)) is int and least <= given[wire] <= LONGEST_WISH
        }
        return replace(self, **fields)

    def pause(self, failures: int, *, refused: bool = False) -> float:
        """Seconds until the next attempt, after so many have failed since the connection was lost."""
        if refused:
            longest = PAUSE_WHEN_REFUSED
        elif failures == 0:
            return random.uniform(SHORTEST_PAUSE, max(SHORTEST_PAUSE, self._first_pause()))  # noqa: S311 - jitter
        elif 0 <= self.reconnect_count < failures:
            longest = LONGEST_PAUSE  # the SDK ends here
        else:
            longest = max(
                SHORTEST_PAUSE, min(2.0 ** min(failures, 10), self.reconnect_interval, LONGEST_PAUSE)
            )
        return longest * random.uniform(0.5, 1)  # noqa: S311

    def _first_pause(self) -> float:
        return min(self.reconnect_nonce, LONGEST_FIRST_PAUSE)


SILENT = "the connection fell silent"


class Link:
    """One connection, from its handshake to its end."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, service: int) -> None:
        self.socket = socket
        self.service = service
        self.parts = Parts()
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
            async with asyncio.timeout(CLOSE_WITHIN):
                await self.socket.close()

    def read(self) -> None:
        """A frame could be read."""
        self.proven, self._unreadable = True, 0

    def unreadable(self) -> None:
        """A frame could not be read."""
        self._unreadable += 1
        if self._unreadable >= MOST_UNREADABLE:
            self.given_up = "the other end sends what cannot be read"
        self.idle()

    def idle(self) -> None:
        """A frame has brought no event, or one that is refused."""
        now = time.monotonic()
        if now > self._idle_since + IDLE_WITHIN:
            self._idle, self._idle_since = 0, now
        self._idle += 1
        if self._idle > MOST_IDLE:
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
        on_event: OnEvent,
        on_refusal: Callable[[str, str], None] = log_refusal,
        network: Network = STRAIGHT,
    ) -> None:
        """`on_refusal` takes a message and a reason, both from fixed sets, for what may come in any number."""
        self._app_id, self._app_secret, self._open_url = app_id, app_secret, open_url
        self._on_event, self._on_refusal = on_event, on_refusal
        self._network, self._way = network, Way(network)
        self._config = ClientConfig()
        self._outage: Outage | None = Outage(datetime.now(UTC), "not connected yet")
        self._said_at = -REMIND_EVERY
        self._serving: asyncio.Task[None] | None = None
        self._link: Link | None = None
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
            http = Http(self._network)
            opened.push_async_callback(http.close)
            session = await opened.enter_async_context(
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=None),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    middlewares=(refuse_redirects,),
                )
            )
            opened.push_async_callback(self._finish)
            while True:
                refused = False
                try:
                    async with asyncio.timeout(CONNECT_WITHIN):
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

    async def _connect(self, http: Http, session: aiohttp.ClientSession) -> Link:
        url = await self._address(http)
        service = url.query.get("service_id", "")
        if not (service.isascii() and service.isdigit() and len(service) <= 10):
            raise CannotConnect("the platform gave an address without its parameters")
        if not is_platforms(url, URL(self._open_url)):
            raise CannotConnect(
                f"the platform gave an address that is not its own: {url.host}"[:LONGEST_WORDS]
            )
        try:
            socket = await session.ws_connect(
                url,
                heartbeat=KEEPALIVE,
                autoping=False,  # or aiohttp would answer any number of pings without giving way
                max_msg_size=LARGEST_FRAME,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_WITHIN),
                **self._way.to(str(url)),
            )
        except aiohttp.WSServerHandshakeError as problem:
            raise refused_handshake(problem.status, problem.headers or {}) from None
        return Link(socket, int(service))

    async def _address(self, http: Http) -> URL:
        """Where to connect. It is for one connection, and whoever has it can take our events."""
        credentials = {"AppID": self._app_id, "AppSecret": self._app_secret.reveal()}
        answer = await http.fetch("POST", self._open_url + ENDPOINT, body=credentials)
        if isinstance(answer, Unreachable):
            raise CannotConnect(answer.reason)
        if is_redirect(answer.status):
            raise CannotConnect(f"the platform redirects the question for an address: HTTP {answer.status}")
        parsed = parse_object(answer.body) or {}
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

    async def _receive(self, link: Link) -> None:
        """Until the connection is lost. Nothing here waits for an event to be accepted."""
        pinging = asyncio.create_task(self._keep_pinging(link))
        try:
            count = 0
            async for message in link.socket:
                await self._take_message(link, message)
                if link.given_up:
                    break
                count += 1
                if count % TURN == 0:
                    # A socket with frames that have come already never waits.
                    await asyncio.sleep(0)
            await link.close()
        finally:
            pinging.cancel()

    async def _take_message(self, link: Link, message: aiohttp.WSMessage) -> None:
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

    async def _keep_pinging(self, link: Link) -> None:
        """As often as the platform wishes, which may change between two pings."""
        with contextlib.suppress(ConnectionError):
            while True:
                await link.send(ping(link.service))
                pinged = time.monotonic()
                link.silent_since = link.silent_since or pinged
                while time.monotonic() < pinged + self._config.ping_interval:
                    await asyncio.sleep(1)
                    await self._notice_silence(link)

    async def _notice_silence(self, link: Link) -> None:
        """Only a platform that has answered pings before is expected to answer them."""
        silent_since = link.silent_since
        if self._pings_are_answered and silent_since and time.monotonic() > silent_since + PONG_WITHIN:
            link.given_up = SILENT
            await link.close()

    def _take(self, link: Link, data: bytes) -> None:
        """One frame. What is wrong with one does not end the connection."""
        try:
            frame = decode(data)
            link.read()
            if frame.method == CONTROL and frame.header("type") == "pong":
                self._pings_are_answered = True
                self._config = self._config.updated(parse_object(bounded(frame.payload)))
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

    def _handle(self, link: Link, frame: Frame, payload: bytes) -> None:
        has_room = len(self._handling) < MOST_AT_ONCE
        task = asyncio.create_task(self._accept(link, frame, payload, has_room=has_room))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def _accept(self, link: Link, frame: Frame, payload: bytes, *, has_room: bool) -> None:
        """Acknowledges an event when it has been accepted, with what is to be answered; else says that it was not."""
        started = time.monotonic()
        try:
            if not has_room:
                raise NotAccepted("too many at once")
            result = await self._on_event(payload)
        except NotAccepted as problem:
            self._on_refusal("an event was not accepted", str(problem))
            if has_room:
                link.idle()
            answer: Json = {"code": 500}
        except Exception:
            log.exception("an event was not accepted")
            answer = {"code": 500}
        else:
            answer = {"code": 200} if result is None else {"code": 200, "data": encoded(result)}
        took = round((time.monotonic() - started) * 1000)
        try:
            await link.send(frame.answered(json.dumps(answer).encode(), took))
        except ConnectionError:
            self._on_refusal("an event was not answered", "the connection was lost; the event comes again")

    # --- up and down

    def _is_up(self) -> None:
        lasted = (datetime.now(UTC) - self._outage.since).total_seconds() if self._outage else 0
        log.info("long connection up", extra={"was_down_seconds": round(lasted)})
        self._outage, self._said_at = None, -REMIND_EVERY

    def _is_down(self, reason: str, failures: int) -> None:
        """Says so when it is news, and now and then while it lasts."""
        before = self._outage
        self._outage = Outage(before.since if before else datetime.now(UTC), reason)
        now = time.monotonic()
        if before is None or before.reason != reason or now >= self._said_at + REMIND_EVERY:
            self._said_at = now
            since = self._outage.since.isoformat(timespec="seconds")
            log.warning("no long connection", extra={"reason": reason, "since": since, "failures": failures})

    async def _finish(self) -> None:
        """The end: the platform sends again what could not be answered in time."""
        if self._handling:
            await asyncio.wait(self._handling, timeout=FINISH_WITHIN)
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)
        if self._link is not None:
            await self._link.close()
        self._outage = Outage(datetime.now(UTC), "stopped")


def is_platforms(url: URL, open_url: URL) -> bool:
    """Whether an address belongs to the platform. Its server reads our events, and can invent others."""
    host, asked = url.host or "", open_url.host or ""
    if url.user is not None or url.password is not None or not host:
        return False
    if url.scheme == "ws":
        # In the clear only where the question for it was, which only a loopback host may be asked.
        return open_url.scheme == "http" and host == asked
    brand = next((domains for domains in DOMAINS if is_below(asked, domains)), sum(DOMAINS, ()))
    return url.scheme == "wss" and (host == asked or is_below(host, brand))


def is_below(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


async def refuse_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp follows them for a WebSocket, to any host and from wss to plain, and cannot be told not to."""
    response = await handler(request)
    if is_redirect(response.status):
        response.close()
        raise CannotConnect(f"the platform redirects the connection elsewhere: HTTP {response.status}")
    return response


def encoded(result: Json) -> str:
    return base64.b64encode(json.dumps(result).encode()).decode()


def refused_handshake(status: int, headers: Mapping[str, str]) -> CannotConnect:
    """What the platform has to say about a connection that it does not take is in these headers."""
    for name in ("handshake-autherrcode", "handshake-status"):
        code = headers.get(name, "")
        if code in map(str, REFUSALS):
            return refusal(int(code), headers.get("handshake-msg"))
    return CannotConnect(f"the platform did not take the connection: HTTP {status}")


def refusal(code: int, message: Any) -> CannotConnect:
    words = REFUSALS.get(code, "the platform gave no address")
    said = f"{code} {message if isinstance(message, str) else ''}".strip()
    return CannotConnect(f"{words}: {said[:LONGEST_WORDS]}", refused=code in REFUSALS)


def reason_of(problem: Exception) -> str:
    """Never holds the address of the connection, which some exceptions quote."""
    if isinstance(problem, CannotConnect):
        return str(problem)
    return describe(problem)
