"""The HTTP server: what every connection may cost, and what every request and response has in common.

Anybody can connect. No one connection may hold up the event loop, and no number of them may keep out the rest:

- request bodies are never inflated, and one with a `Content-Encoding` is answered 415;
- the loop reads a few kilobytes of a connection at a time, and then it is the turn of the others;
- a body that no handler has read is not read at all: the response is sent, and the connection closed;
- headers are cut to a length that takes no time to search or parse;
- connections that wait for their clients end after a while, and the oldest ones as soon as there are too many.
"""

from __future__ import annotations

import asyncio
import re
import resource
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bot.flows.consent import Landing
from bot.web.authorize import LANDED_AT
from bot.web.headers import common_headers

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MOST_CONNECTIONS = 500
IDLE_WITHIN = 75.0
"""Seconds for the next request on a connection, its head included. Proxies close theirs after 60 as a rule, and the
side that uses a connection should be the one that closes it."""
READ_AT_ONCE = 4 * 1024
"""Bytes. Parsing them takes a millisecond at most, even if they are chunks of one byte each."""
BUFFERED = 16 * 1024
"""Bytes of a body that wait for a handler to read them."""
MOST_HEADERS = 100
LONGEST_TARGET, LONGEST_FIELD = 8 * 1024, 8 * 1024 - 2
"""Bytes of the request's target, and of one header. They differ, so that an error tells which of the two it is about."""
LONGEST_HEADER = 512
"""Characters of a header that handlers see, cookies apart. To search 8 KB for the name of a robot, or for the validators
of a cached file, takes milliseconds."""
PARTING = 0.5
"""Seconds in which a client can read a response that came before its body had been sent."""

PLAIN_PATH = re.compile(r"/|(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?")
LONGEST_PATH = 256
NOWHERE = "/nowhere"


def most_connections() -> int:
    """At most half of the files that the process may open: the other half is for the database and the platform."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files // 2)


class Connection(web.RequestHandler):
    """One connection. Knows whether it is the client's turn, or ours."""

    __slots__ = ("_being_handled", "_server")

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._being_handled: web.BaseRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio reads up to 256 KB in one go, which can be 40 000 chunks: a tenth of a second for everybody else.
        transport.max_size = READ_AT_ONCE  # type: ignore[attr-defined]
        super().connection_made(transport)

    @property
    def waits_for_client(self) -> bool:
        """Whether the next thing to happen is up to the client: a request, the rest of one, or reading a response."""
        return self._being_handled is None or not self._being_handled.content.is_eof()

    async def handle(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        self._being_handled = request
        self._server.was_used(self)
        try:
            return await handler(request)
        finally:
            self._being_handled = None
            self._server.was_used(self)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        for name, value in self._server.headers.items():
            resp.headers.setdefault(name, value)
        has_body_left = not request.content.is_eof()
        if has_body_left:
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        if has_body_left:
            await self._part()
        return finished

    async def _part(self) -> None:
        """Closes without reading on. At once would be too soon: the reset overtakes a response that was not read yet."""
        if self.transport is not None:
            self.transport.pause_reading()
            self.transport.write_eof()
            await asyncio.sleep(PARTING)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """For what is not HTTP: says so, and repeats nothing of it."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        begins, limit = exc.args[:2] if isinstance(exc, LineTooLong) else (b"", None)
        is_header = limit == LONGEST_FIELD
        response = web.Response(status=status, text=HEADER_TOO_LONG if is_header else NOT_HTTP)
        if limit == LONGEST_TARGET and begins.startswith(b"/oauth/"):
            # A stranger's link can have so long a state. Its code is not to stay in the address bar.
            response = web.Response(
                status=303, headers={"Location": f"{LANDED_AT}/{Landing.MALFORMED.value}"}
            )
        if is_header:
            # The only header that a browser makes so long. Otherwise a script could lock a person out by planting them.
            response.headers["Clear-Site-Data"] = '"cookies"'
        response.force_close()
        return response


NOT_HTTP = "This is not a valid HTTP request.\n"
HEADER_TOO_LONG = (
    "Your browser sent too many cookies. Open the page again; if this comes back, clear the cookies of this site.\n"
    "浏览器发送的 Cookie 过多。请重新打开页面；如果仍然出现此提示，请清除本站的 Cookie。\n"
)


class Server(web.Server):
    """Makes the connections, closes the oldest when there are too many, and sees each request before the application."""

    def __init__(self, handler: Handler, *, headers: Mapping[str, str], **options: Any) -> None:
        super().__init__(self._answer, **options)
        self.headers = headers
        """Of every response."""
        self._handler = handler
        self._most = most_connections()
        self._by_use: dict[Connection, None] = {}
        """The open connections, the one that was used last at the end."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        connection = cast(Connection, handler)
        if len(self._by_use) >= self._most and not self._make_room():
            transport.abort()
            return
        self._by_use[connection] = None

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._by_use.pop(cast(Connection, handler), None)
        super().connection_lost(handler, exc)

    def was_used(self, connection: Connection) -> None:
        if self._by_use.pop(connection, self) is None:
            self._by_use[connection] = None

    def _make_room(self) -> bool:
        """Ends the connection that has waited longest for its client. False when all are being worked for."""
        oldest = next((each for each in self._by_use if each.waits_for_client), None)
        if oldest is None:
            return False
        del self._by_use[oldest]
        if oldest.transport is not None:
            oldest.transport.abort()
        return True

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if hdrs.CONTENT_ENCODING in request.headers:
            # `identity` too: the name is reserved for Accept-Encoding (RFC 9110, 8.4.1 and 12.5.3).
            return web.Response(
                status=415,
                text="The body of a request may have no Content-Encoding.\n",
                headers={hdrs.ACCEPT_ENCODING: "identity"},
            )
        if not is_plain(request.raw_path):
            # With its query: the 404 handler redirects when there is a code in it.
            query = request.rel_url.raw_query_string
            request = request.clone(rel_url=URL.build(path=NOWHERE, query_string=query, encoded=True))
        return await cast(Connection, request.protocol).handle(request, self._handler)


def is_plain(target: str) -> bool:
    """Whether the path of a request has only one way to read it: no escapes, no dots, no doubled slashes.

    No path of ours needs any of that. Rules of a proxy, such as "no /metrics from outside", compare paths as text, and
    `/%6detrics` must not be a way around them.
    """
    path = target.partition("?")[0]
    return len(path) <= LONGEST_PATH and PLAIN_PATH.fullmatch(path) is not None


def with_short_headers(message: RawRequestMessage) -> RawRequestMessage:
    """The head of a request with long headers cut, except for cookies, which `session.cookie` reads without parsing."""
    if not any(is_too_long(name, value) for name, value in message.headers.items()):
        return message
    short = (
        (name, value[:LONGEST_HEADER] if is_too_long(name, value) else value)
        for name, value in message.headers.items()
    )
    return message._replace(headers=CIMultiDictProxy(CIMultiDict(short)))


def is_too_long(name: str, value: str) -> bool:
    return len(value) > LONGEST_HEADER and name.lower() != "cookie"


class Runner(web.AppRunner):
    """Runs an application on that server."""

    __slots__ = ("_headers",)

    def __init__(self, app: web.Application, *, public_url: str, shutdown_timeout: float) -> None:
        super().__init__(
            app,
            access_log=None,
            shutdown_timeout=shutdown_timeout,
            auto_decompress=False,
            keepalive_timeout=IDLE_WITHIN,
            lingering_time=0,
            max_headers=MOST_HEADERS,
            max_line_size=LONGEST_TARGET,
            max_field_size=LONGEST_FIELD,
            read_bufsize=BUFFERED,
        )
        self._headers = common_headers(public_url)

    async def _make_server(self) -> Server:
        made = await super()._make_server()

        def request_of(message: RawRequestMessage, *others: Any) -> web.BaseRequest:
            return made.request_factory(with_short_headers(message), *others)

        return Server(made.request_handler, headers=self._headers, request_factory=request_of, **self._kwargs)
