"""The HTTP server: limits the cost of a connection, and handles what all requests and responses have in common.

Anyone can connect. A single connection must not block the event loop, and many must not lock out the others:

- Request bodies are never decompressed. One with a `Content-Encoding` is answered 415.
- The loop reads a few kilobytes of a connection at a time, then serves the others.
- A body that no handler has read is discarded unread: the server sends the response and closes the connection.
- Headers are truncated to a length that is quick to search and parse.
- Connections that wait for their clients are closed after a timeout, or the oldest at once if there are too many.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bot.core.words.pages import COOKIES_TOO_LONG
from bot.flows.authorize.grant import CallbackResult
from bot.web.authorize import RESULT_PATH
from bot.web.security import common_headers

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MAX_CONNECTIONS = 500
KEEPALIVE_TIMEOUT = 75.0
"""Seconds for the next request on a connection, including its headers. Proxies usually close idle connections after 60,
and it should be the proxy that closes: it could otherwise send a request just as the server closes."""
READ_SIZE = 4 * 1024
"""Bytes. Parsing them takes a millisecond at most, even as chunks of one byte each."""
BODY_BUFFER_SIZE = 16 * 1024
"""Bytes of a body that wait for a handler to read them."""
MAX_HEADERS = 100
MAX_TARGET_SIZE, MAX_FIELD_SIZE = 8 * 1024, 8 * 1024 - 2
"""Bytes of the request target, and of one header. They differ, so that a LineTooLong error shows which one it is."""
MAX_HEADER_LENGTH = 512
"""Characters of a header that handlers see, except for cookies. Searching 8 KB for the name of a robot, or for validators
of a cached file, takes milliseconds."""
CLOSE_DELAY = 0.5
"""Seconds for a client to read a response that was sent before the body of the request had arrived."""

PLAIN_PATH = re.compile(r"/|(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?")
MAX_PATH_LENGTH = 256
UNROUTED_PATH = "/nowhere"
"""A path without a route, for requests whose path is rejected."""


OTHER_FILES = 160
"""Files that are left for the database, the platform's connections and those that are being accepted or closed."""
MAX_BACKLOG = 128
"""Connections that the loop accepts at once, before it can close any."""


def max_files() -> int:
    """Return how many files the process may open (`ulimit -n`)."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else files


def max_connections() -> int:
    """Return the limit, which is lower if the process may open few files."""
    files = max_files()
    return min(MAX_CONNECTIONS, max(files - OTHER_FILES, files // 4))


def backlog() -> int:
    return max(1, min(MAX_BACKLOG, max_files() // 16))


class Connection(web.RequestHandler):
    """One connection. Knows whether it waits for the client or for the server."""

    __slots__ = ("_handled_request", "_server")

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._handled_request: web.BaseRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio reads up to 256 KB at once, which can be 40,000 chunks: a tenth of a second without other requests.
        transport.max_size = READ_SIZE  # type: ignore[attr-defined]
        super().connection_made(transport)

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to act: to send a request or the rest of one, or to read a response."""
        return self._handled_request is None or not self._handled_request.content.is_eof()

    async def handle(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        self._handled_request = request
        self._server.mark_used(self)
        try:
            return await handler(request)
        finally:
            self._handled_request = None
            self._server.mark_used(self)

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
            await self._close_without_reading()
        return finished

    async def _close_without_reading(self) -> None:
        """Close without reading the rest of the body, after a delay: a reset would overtake the response."""
        if self.transport is not None:
            self.transport.pause_reading()
            self.transport.write_eof()
            await asyncio.sleep(CLOSE_DELAY)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond to what is not valid HTTP, without repeating any of it."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        start, limit = exc.args[:2] if isinstance(exc, LineTooLong) else (b"", None)
        if limit == MAX_TARGET_SIZE and start.startswith(b"/oauth/"):
            # A stranger's link can have such a long state. The redirect removes its code from the address bar.
            malformed = f"{RESULT_PATH}/{CallbackResult.MALFORMED.value}"
            response = web.Response(status=303, headers={"Location": malformed})
        elif limit == MAX_FIELD_SIZE:
            response = web.Response(status=status, text=HEADER_TOO_LONG)
            # Only cookies make a browser send such a long header. A script that plants them could lock a user out.
            response.headers["Clear-Site-Data"] = '"cookies"'
        else:
            response = web.Response(status=status, text=NOT_HTTP)
        response.force_close()
        return response


NOT_HTTP = "This is not a valid HTTP request.\n"
HEADER_TOO_LONG = f"{COOKIES_TOO_LONG.en}\n{COOKIES_TOO_LONG.zh}\n"


class Server(web.Server):
    """Accepts connections, closes the oldest if there are too many, and checks requests before the application does."""

    def __init__(self, handler: Handler, *, headers: Mapping[str, str], **options: Any) -> None:
        super().__init__(self._answer, **options)
        self.headers = headers
        """Headers of every response, unless the response has its own."""
        self._handler = handler
        self._max_connections = max_connections()
        self._idlest_first: dict[Connection, None] = {}
        """The open connections, least recently used first. A dict, because it removes a connection in constant time."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        connection = cast(Connection, handler)
        if len(self._idlest_first) >= self._max_connections and not self._make_room():
            transport.abort()
            return
        self._idlest_first[connection] = None

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._idlest_first.pop(cast(Connection, handler), None)
        super().connection_lost(handler, exc)

    def mark_used(self, connection: Connection) -> None:
        if self._idlest_first.pop(connection, self) is None:
            self._idlest_first[connection] = None

    def _make_room(self) -> bool:
        """Abort the connection that has waited longest for its client. Return False if none is waiting."""
        oldest = next((each for each in self._idlest_first if each.waits_for_client), None)
        if oldest is None:
            return False
        del self._idlest_first[oldest]
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
            # The query is kept, because `routes.show_errors` redirects if it has a code.
            query = request.rel_url.raw_query_string
            request = request.clone(rel_url=URL.build(path=UNROUTED_PATH, query_string=query, encoded=True))
        return await cast(Connection, request.protocol).handle(request, self._handler)


def is_plain(target: str) -> bool:
    """Whether a path is unambiguous: it has no escapes, dot segments or doubled slashes.

    No route needs them. Proxies compare paths as text, for example to block /metrics for the public, and `/%6detrics`
    must not bypass that.
    """
    path = target.partition("?")[0]
    return len(path) <= MAX_PATH_LENGTH and PLAIN_PATH.fullmatch(path) is not None


def with_short_headers(message: RawRequestMessage) -> RawRequestMessage:
    """Truncate long headers, except for cookies, which `session.read_cookie` reads without parsing."""
    if not any(is_too_long(name, value) for name, value in message.headers.items()):
        return message
    short = (
        (name, value[:MAX_HEADER_LENGTH] if is_too_long(name, value) else value)
        for name, value in message.headers.items()
    )
    return message._replace(headers=CIMultiDictProxy(CIMultiDict(short)))


def is_too_long(name: str, value: str) -> bool:
    return len(value) > MAX_HEADER_LENGTH and name.lower() != "cookie"


class Runner(web.AppRunner):
    """Runs an application on a `Server`."""

    __slots__ = ("_headers",)

    def __init__(self, app: web.Application, *, public_url: str, shutdown_timeout: float) -> None:
        super().__init__(
            app,
            access_log=None,
            shutdown_timeout=shutdown_timeout,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            lingering_time=0,
            max_headers=MAX_HEADERS,
            max_line_size=MAX_TARGET_SIZE,
            max_field_size=MAX_FIELD_SIZE,
            read_bufsize=BODY_BUFFER_SIZE,
        )
        self._headers = common_headers(public_url)

    async def _make_server(self) -> Server:
        server = await super()._make_server()

        def make_request(message: RawRequestMessage, *others: Any) -> web.BaseRequest:
            return server.request_factory(with_short_headers(message), *others)

        return Server(
            server.request_handler, headers=self._headers, request_factory=make_request, **self._kwargs
        )
