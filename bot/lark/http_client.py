"""HTTP to the platform: one pooled session, and bounded responses."""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs

from bot.core.api import Json, Unreachable
from bot.core.events import Outage
from bot.core.network import STRAIGHT, Network
from bot.core.secrets import Secret
from bot.lark.connection_errors import NOTHING_SENT, describe_error
from bot.lark.json_limits import is_costly

log = logging.getLogger(__name__)


MAX_CONNECTIONS = 100


MAX_RESPONSE_BYTES = 2 * 1024 * 1024


TIMEOUT = aiohttp.ClientTimeout(total=10, connect=6)
"""One attempt waits 10 seconds at most. Connecting has less of it, so that running out of time while still
connecting has an exception of its own: then the request certainly never left."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Whatever came back, unread."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    """None when it was larger than `MAX_ANSWER_BYTES`, or costly to parse."""


class HttpClient:
    """One pooled session. Opened by its first use, closed by `close`; may be used concurrently."""

    def __init__(self, network: Network = STRAIGHT, *, watched: bool = False) -> None:
        """`watched`: the log is told when a host cannot be reached, and when it can be again."""
        self._way, self._watched = ConnectionOptions(network), watched
        self.outages: dict[str, Outage] = {}
        """The hosts to which the last request did not get through."""
        self._session: aiohttp.ClientSession | None = None
        self.in_trouble = False
        """Whether the last API call had no usable answer."""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        token: Secret | None = None,
        credentials: tuple[str, Secret] | None = None,
        query: Mapping[str, str] | None = None,
        body: Json = None,
        form: Mapping[str, str] | None = None,
    ) -> HttpResponse | Unreachable:
        """One attempt: waits 10 seconds at most, follows no redirect and keeps no cookie.

        Nobody who reads the answer can find the token in it.
        """
        headers: dict[str, str] = {}
        data: bytes | Mapping[str, str] | None = form
        if token is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {token.reveal()}"
        if credentials is not None:
            joined = f"{credentials[0]}:{credentials[1].reveal()}".encode()
            headers[hdrs.AUTHORIZATION] = f"Basic {base64.b64encode(joined).decode()}"
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json; charset=utf-8"
            data = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        try:
            async with self._opened().request(
                method,
                url,
                params=query or None,
                headers=headers,
                data=data,
                allow_redirects=False,
                middlewares=() if method in METHODS_SENT_ONCE else (send_once,),
                **self._way.to(url),
            ) as response:
                content = unless_costly(await read_bounded(response))
                if self.outages:
                    self._got_through(url)
                return HttpResponse(response.status, response.headers, mask_token(content, token))
        except NOTHING_SENT as problem:
            reason = describe_error(problem)
            self._did_not_get_through(url, reason)
            return Unreachable(reason, may_have_arrived=False)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            # A connection that breaks, a kept-alive one among them, does not tell how far the request came.
            return Unreachable(describe_error(problem), may_have_arrived=True)

    def _got_through(self, url: str) -> None:
        host = urlsplit(url).hostname or ""
        if self.outages.pop(host, None) and self._watched:
            log.info("the platform can be reached again", extra={"host": host})

    def _did_not_get_through(self, url: str, reason: str) -> None:
        host = urlsplit(url).hostname or ""
        before = self.outages.get(host)
        self.outages[host] = Outage(before.since if before else datetime.now(UTC), reason)
        if self._watched and (before is None or before.reason != reason):
            log.warning("the platform cannot be reached", extra={"host": host, "reason": reason})

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.USER_AGENT: "bot-that-asks"},
            )
        return self._session


def mask_token(content: bytes | None, token: Secret | None) -> bytes | None:
    """A gateway that repeats the headers it was sent must not get a token into what people and operators read."""
    if content is None or token is None:
        return content
    return content.replace(token.reveal().encode(), b"***")


METHODS_SENT_ONCE = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH"})
"""The methods that need no `send_once`: they only read, or aiohttp never repeats them by itself."""


class Interrupted(aiohttp.ClientError):
    """The connection broke before there was an answer."""


async def send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from repeating a PUT or DELETE whose connection broke: it may have been carried out.

    RFC 9110 calls them idempotent; whoever deletes "the first row" twice sees it otherwise.
    """
    try:
        return await handler(request)
    except NOTHING_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as problem:
        raise Interrupted(describe_error(problem)) from problem


async def read_bounded(response: aiohttp.ClientResponse) -> bytes | None:
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


def unless_costly(content: bytes | None) -> bytes | None:
    return None if content is None or is_costly(content) else content


class ConnectionOptions:
    """How aiohttp is told which proxy to take and whom to trust."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._trust: bool | ssl.SSLContext = True
        if network.certificates is not None:
            self._trust = ssl.create_default_context()
            # From 3.13 on Python refuses authorities whose own certificate lacks an extension, as those of many
            # companies do. These have been chosen by an operator.
            self._trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._trust.load_verify_locations(network.certificates)

    def to(self, url: str) -> dict[str, Any]:
        """Arguments for a request or a WebSocket."""
        proxy = self._network.proxy_for(url)
        if proxy is None:
            return {"ssl": self._trust}
        options: dict[str, Any] = {"ssl": self._trust, "proxy": proxy.url}
        if proxy.password is not None:
            credentials = aiohttp.encode_basic_auth(proxy.user, proxy.password.reveal())
            options["proxy_headers"] = {hdrs.PROXY_AUTHORIZATION: credentials}
        return options
