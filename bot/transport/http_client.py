"""HTTP to the platform: one pooled session, and bounded responses."""

from __future__ import annotations

import base64
import json
import logging
import re
import resource
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs

from bot.core.api import Json, Unreachable
from bot.core.availability import Availability
from bot.core.endpoints import SentRequest
from bot.core.events import Outage
from bot.core.network import DIRECT, Network, ServerTime
from bot.core.secrets import Secret
from bot.transport.connection_errors import NOTHING_SENT, describe_error
from bot.transport.json_limits import is_costly

log = logging.getLogger(__name__)


MAX_CONNECTIONS = 100
"""At most a quarter of the files that the process may open, because others are needed at the same time."""

MAX_RESPONSE_BYTES = 2 * 1024 * 1024

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=6)
"""Seconds for one attempt. `connect` is shorter than `total`, so that a timeout while connecting raises its own
exception: the request was then certainly not sent."""


UNANSWERED = 3
"""Requests in a row without an answer after which a host counts as away."""

GATEWAY_FAILED = frozenset({502, 503, 504})
"""Statuses of a gateway whose platform does not answer. A response in JSON is one of the platform."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response that has not been interpreted."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    """None if it was larger than `MAX_RESPONSE_BYTES`, or costly to parse."""


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """A user name and a password for HTTP Basic (RFC 7617)."""

    user: str
    password: Secret

    @property
    def header(self) -> str:
        joined = f"{self.user}:{self.password.reveal()}".encode()
        return f"Basic {base64.b64encode(joined).decode()}"


OnRequest = Callable[[SentRequest], None]


class HttpClient:
    """One pooled session, opened on first use. Safe for concurrent use."""

    def __init__(
        self,
        network: Network = DIRECT,
        *,
        log_outages: bool = False,
        token_header: str | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        """`log_outages`: log when a host becomes unreachable, and when it is reachable again.

        `token_header`: the header for access tokens, if it is not Authorization. Its value has no `Bearer`.

        `on_request` is called after each request, also after one that is interrupted.
        """
        self._options, self._log_outages = ConnectionOptions(network), log_outages
        self._token_header, self._on_request = token_header, on_request
        self.outages: dict[str, Outage] = {}
        """Hosts whose last request could not be sent, or whose last requests were not answered, by name."""
        self._availability: dict[str, Availability] = {}
        """Of the hosts that were away, or may be."""
        self.server_time: ServerTime | None = None
        """The server's clock at its latest response that showed it."""
        self._session: aiohttp.ClientSession | None = None
        self.last_call_failed = False
        """Whether the last API call had no usable response."""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        auth: Secret | BasicCredentials | None = None,
        query: Mapping[str, str] | None = None,
        body: Json = None,
        form: Mapping[str, str] | None = None,
        accept: str | None = None,
    ) -> HttpResponse | Unreachable:
        """Send a request once. Returns `Unreachable` if no response arrives, after 10 seconds at most.

        Follows no redirects and keeps no cookies.

        `auth` is an access token, which is masked in the response, or credentials for HTTP Basic. `body` is sent as JSON.
        """
        sending = self._send(method, url, auth, query, body, form, accept)
        if self._on_request is None:
            return await sending
        started_at, started = time.time(), time.perf_counter()
        response: HttpResponse | Unreachable | None = None
        try:
            response = await sending
            return response
        finally:
            status, code = result_of(response) if isinstance(response, HttpResponse) else (None, "")
            seconds = time.perf_counter() - started
            self._on_request(SentRequest(method, path_of(url), status, code, started_at, seconds))

    async def _send(
        self,
        method: str,
        url: str,
        auth: Secret | BasicCredentials | None,
        query: Mapping[str, str] | None,
        body: Json,
        form: Mapping[str, str] | None,
        accept: str | None,
    ) -> HttpResponse | Unreachable:
        headers: dict[str, str] = {} if accept is None else {hdrs.ACCEPT: accept}
        data: bytes | Mapping[str, str] | None = form
        token = auth if isinstance(auth, Secret) else None
        if token is not None:
            headers |= self._token_headers(token)
        if isinstance(auth, BasicCredentials):
            headers[hdrs.AUTHORIZATION] = auth.header
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json; charset=utf-8"
            data = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        started = time.monotonic()
        try:
            async with self._open_session().request(
                method,
                url,
                params=query or None,
                headers=headers,
                data=data,
                allow_redirects=False,
                middlewares=() if method in SAFE_METHODS else (send_once,),
                **self._options.for_url(url),
            ) as response:
                content = drop_if_costly(await read_bounded(response))
                self._log_request(method, url, started, status=response.status)
                if response.status in GATEWAY_FAILED and not (content or b"").lstrip().startswith(b"{"):
                    self._record_outage(url, f"HTTP {response.status}", certain=False)
                elif self._availability:
                    self._record_success(url)
                self._note_time(response)
                return HttpResponse(response.status, response.headers, mask_token(content, token))
        except NOTHING_SENT as problem:
            reason = describe_error(problem)
            self._log_request(method, url, started, reason=reason)
            self._record_outage(url, reason, certain=True)
            return Unreachable(reason, may_have_arrived=False)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            # When a connection breaks, even a kept-alive one, it is unknown how much of the request arrived.
            reason = describe_error(problem)
            self._log_request(method, url, started, reason=reason)
            self._record_outage(url, reason, certain=False)
            return Unreachable(reason, may_have_arrived=True)

    def _token_headers(self, token: Secret) -> dict[str, str]:
        if self._token_header is not None:
            return {self._token_header: token.reveal()}
        return {hdrs.AUTHORIZATION: f"Bearer {token.reveal()}"}

    def _note_time(self, response: aiohttp.ClientResponse) -> None:
        now = time.monotonic()
        if self.server_time is None or now - self.server_time.received > SERVER_TIME_INTERVAL:
            self.server_time = server_time(response.headers.get(hdrs.DATE, ""), now) or self.server_time

    def _record_success(self, url: str) -> None:
        host = urlsplit(url).hostname or ""
        self.outages.pop(host, None)
        availability = self._availability.get(host)
        lasted = availability.succeeded(time.monotonic()) if availability is not None else None
        if lasted is not None and self._log_outages:
            log.info("the platform can be reached again", extra={"host": host, "seconds": round(lasted, 1)})

    def _record_outage(self, url: str, reason: str, *, certain: bool) -> None:
        """Record that a request was not answered. `certain`: it could not even be sent."""
        host = urlsplit(url).hostname or ""
        availability = self._availability.setdefault(host, Availability(UNANSWERED))
        begins = availability.failed(time.monotonic(), certain=certain)
        if availability.since is None:
            return
        before = self.outages.get(host)
        self.outages[host] = Outage(before.since if before else datetime.now(UTC), reason)
        if begins and self._log_outages:
            log.warning("the platform cannot be reached", extra={"host": host, "reason": reason})

    def _log_request(
        self, method: str, url: str, started: float, *, status: int | None = None, reason: str | None = None
    ) -> None:
        """Log a request without its query, which may contain what a user wrote."""
        if log.isEnabledFor(logging.DEBUG):
            parts = urlsplit(url)
            ended = {"status": status} if reason is None else {"reason": reason}
            took = round((time.monotonic() - started) * 1000)
            log.debug(
                "request",
                extra={
                    "method": method,
                    "host": parts.netloc,
                    "path": parts.path,
                    **ended,
                    "milliseconds": took,
                },
            )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=max_connections()),
                timeout=TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.USER_AGENT: "bot-that-asks"},
            )
        return self._session


def path_of(url: str) -> str:
    """Return the path of a URL that has one, without its query."""
    return "/" + url.split("/", 3)[-1].partition("?")[0]


FIRST_CODE = re.compile(rb'\s*\{\s*"(?:code|errcode)"\s*:\s*(?:(-?\d{1,12})|"([\w.-]{1,60})")\s*[,}]')
"""The usual beginning of a response. Finding a code there is much cheaper than parsing the response."""
MAX_CODE_SEARCH = 16 * 1024
"""Bytes. A larger response that does not begin with its code is a success, which states its data."""


def result_of(response: HttpResponse) -> tuple[int, str]:
    """Return the status and the platform's code, which is empty if the response states none."""
    body = response.body or b""
    if found := FIRST_CODE.match(body):
        return response.status, (found[1] or found[2]).decode()
    if body.lstrip()[:1] != b"{" or len(body) > MAX_CODE_SEARCH:
        return response.status, ""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return response.status, ""
    stated = next((fields[name] for name in ("code", "errcode", "error") if fields.get(name) is not None), "")
    return response.status, str(stated)[:60] if type(stated) in {int, str} else ""


SERVER_TIME_INTERVAL = 1.0
"""Seconds between two readings of a response's Date."""


def server_time(date: str, received: float) -> ServerTime | None:
    """Parse the header Date of a response."""
    try:
        return ServerTime(parsedate_to_datetime(date).timestamp(), received)
    except (ValueError, OverflowError):
        return None


def max_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, files // 4))


def mask_token(content: bytes | None, token: Secret | None) -> bytes | None:
    """Mask the token in a response body: some gateways echo request headers in their error pages."""
    if content is None or token is None:
        return content
    return content.replace(token.reveal().encode(), b"***")


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH"})
"""Methods that need no `send_once`, because they only read or because aiohttp never retries them."""


class Interrupted(aiohttp.ClientError):
    """The connection broke before a response arrived."""


async def send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from retrying a PUT or DELETE after its connection broke: it may have been executed.

    aiohttp retries them because RFC 9110 calls them idempotent, but deleting "the first row" twice is not idempotent.
    """
    try:
        return await handler(request)
    except NOTHING_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as problem:
        raise Interrupted(describe_error(problem)) from problem


async def read_bounded(response: aiohttp.ClientResponse) -> bytes | None:
    """Read the body, or return None if it is larger than `MAX_RESPONSE_BYTES`."""
    length = response.content_length
    if length is not None and length <= MAX_RESPONSE_BYTES and hdrs.CONTENT_ENCODING not in response.headers:
        return await response.read()
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def drop_if_costly(content: bytes | None) -> bytes | None:
    """Return the content, or None if parsing it as JSON would take too long."""
    return None if content is None or is_costly(content) else content


class ConnectionOptions:
    """The proxy and the trusted certificates, as arguments for aiohttp."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._trust: bool | ssl.SSLContext = True
        if network.certificates is not None:
            self._trust = ssl.create_default_context()
            # Since 3.13, Python rejects certificates of authorities that lack certain extensions, as many corporate ones
            # do. The operator has chosen to trust these.
            self._trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._trust.load_verify_locations(network.certificates)

    def for_url(self, url: str) -> dict[str, Any]:
        """Return the arguments for a request or a WebSocket to this URL."""
        proxy = self._network.proxy_for(url)
        if proxy is None:
            return {"ssl": self._trust}
        options: dict[str, Any] = {"ssl": self._trust, "proxy": proxy.url}
        if proxy.password is not None:
            credentials = aiohttp.encode_basic_auth(proxy.user, proxy.password.reveal())
            options["proxy_headers"] = {hdrs.PROXY_AUTHORIZATION: credentials}
        return options
