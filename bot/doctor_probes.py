"""HTTP requests and connections that only `bot doctor` makes. What answers may be anything: all of it is bounded."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from bot.core.network import Network, is_loopback
from bot.core.response_values import parse_json_object
from bot.core.unseen_characters import one_line
from bot.transport.connection_errors import describe_error
from bot.transport.http_client import ConnectionOptions

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=5, connect=4.5)
"""Seconds. The rest of a check's `TIMEOUT` is for what comes before the request, so that its own failure is told."""
MAX_ANSWER_BYTES = 64 * 1024
MAX_SHOWN = 80
"""Characters of an answer that a message quotes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """At most `MAX_ANSWER_BYTES`."""
    seconds: float
    clock_ahead: timedelta | None
    """How far this machine's clock is ahead of the server's, or None if that is unknown."""

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object in the body, or an empty one."""
        return parse_json_object(self.body) or {}

    @property
    def description(self) -> str:
        """What it is, for a message."""
        media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        kinds = {"text/html": "an HTML page", "application/json": "JSON", "text/plain": "plain text"}
        kind = kinds.get(media_type) or one_line(media_type, MAX_SHOWN)
        server = one_line(self.headers.get("Server", ""), MAX_SHOWN)
        return f"HTTP {self.status}{f', {kind}' if kind else ''}{f' from {server}' if server else ''}"


@dataclass(frozen=True, slots=True)
class Failure:
    """No HTTP response."""

    kind: Literal["name", "certificate", "refused", "proxy", "other"]
    reason: str


async def probe(
    network: Network,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer | Failure:
    """Send one request and return what came back. Follows no redirect."""
    options = ConnectionOptions(network).for_url(url)
    sent_at, started = time.time(), time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(timeout=REQUEST_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method,
                url,
                headers={"User-Agent": "bot-doctor", **(headers or {})},
                data=body,
                allow_redirects=False,
                **options,
            ) as response,
        ):
            seconds = time.monotonic() - started
            ahead = clock_ahead(response.headers.get("Date", ""), sent_at + seconds / 2)
            content = await read_start(response)
            return Answer(response.status, response.headers, content, seconds, ahead)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as problem:
        return Failure(kind_of(problem), describe(problem))


def network_to(network: Network, url: str) -> Network:
    """Return how browsers reach an address of the bot: on this machine without a proxy."""
    return replace(network, proxies=None) if is_loopback(urlsplit(url).hostname or "") else network


async def read_start(response: aiohttp.ClientResponse) -> bytes:
    content = b""
    while len(content) < MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
        content += more
    return content[:MAX_ANSWER_BYTES]


def clock_ahead(date: str, now: float) -> timedelta | None:
    try:
        server_time = parsedate_to_datetime(date)
    except (ValueError, OverflowError, TypeError):
        return None
    return datetime.fromtimestamp(now, UTC) - (
        server_time if server_time.tzinfo else server_time.replace(tzinfo=UTC)
    )


def kind_of(problem: Exception) -> Literal["name", "certificate", "refused", "proxy", "other"]:
    match problem:
        case aiohttp.ClientConnectorCertificateError():
            return "certificate"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "proxy"
        case aiohttp.ClientConnectorDNSError():
            return "name"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=errno.ECONNREFUSED)):
            return "refused"
    return "other"


def describe(problem: Exception) -> str:
    if isinstance(problem, aiohttp.ClientConnectorDNSError):
        return f"the name {problem.host} cannot be resolved"
    return describe_error(problem)


# --- the port ----------------------------------------------------------------------------------------------


def listening_problem(host: str, port: int) -> OSError | None:
    """Return why this machine cannot listen there, or None. Does not listen, so that a starting bot still can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as problem:
        return problem
    return None


def local_origin(host: str, port: int) -> str:
    """Return the origin at which a program that listens there can be reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not to listen on
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"
