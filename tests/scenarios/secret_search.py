"""A search for secrets in every encoding, and a proxy that records all that the bot sends to the platform."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
from aiohttp import web

SHORTEST = 8
"""Characters. Shorter secrets would be found by chance."""


def forms(secret: str) -> Iterator[bytes]:
    """Yield a secret in every encoding: plain, in a URL, in JSON, in hexadecimal, in Base64 at any offset."""
    plain = secret.encode()
    yield plain
    yield quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()
    yield plain.hex().encode()
    for offset in range(3):
        # Preceding bytes shift the encoding and change its first and last characters.
        encoded = base64.b64encode(b"\0" * offset + plain)[2 if offset else 0 :]
        letters = encoded[2 if offset else 0 :].rstrip(b"=")[:-1]
        yield letters
        yield letters.translate(bytes.maketrans(b"+/", b"-_"))


def leaks(secrets: dict[str, str], places: dict[str, bytes]) -> list[str]:
    """Return `kind of secret in place` for each secret found, never the secret itself."""
    return sorted(
        {
            f"{kind} in {place}"
            for secret, kind in secrets.items()
            if len(secret) >= SHORTEST
            for form in forms(secret)
            for place, content in places.items()
            if form in content
        }
    )


@dataclass
class RecordedRequest:
    """A request of the bot to the platform."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class RecordingProxy:
    """Records every request between the bot and the platform, and can answer in the platform's place.

    An answer from `echoes` repeats the whole request, as the most careless platform would.
    """

    platform: str
    origin: str = ""
    requests: list[RecordedRequest] = field(default_factory=list)
    echoes: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    """Path prefix: HTTP status, and the fields of the answer beside those that repeat the request."""
    answers: list[bytes] = field(default_factory=list)
    names_itself: str | None = None
    """Path prefix of requests that keep the `Host` header, so that the platform names this proxy in its answers."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(RecordedRequest(request.path_qs, dict(request.headers), body))
        for path, (status, fields) in self.echoes.items():
            if request.path.startswith(path):
                said = f"{request.headers} {body.decode()}"
                words = dict.fromkeys(("msg", "message", "errmsg", "error_description"), said)
                own = {**words, "data": {"echo": said}}
                return web.json_response({**own, **fields}, status=status)
        named = self.names_itself is not None and request.path.startswith(self.names_itself)
        headers = {n: value for n, value in request.headers.items() if named or n.lower() != "host"}
        try:
            async with (
                aiohttp.ClientSession(auto_decompress=False) as session,
                session.request(
                    request.method,
                    self.platform + request.path_qs,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as answer,
            ):
                content = await answer.read()
                self.answers.append(content)
                kept = {n: v for n, v in answer.headers.items() if n.lower() not in HOP_BY_HOP}
                return web.Response(status=answer.status, headers=kept, body=content)
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)

    def fields(self, *names: str) -> set[str]:
        """Return the values of these fields in the bodies of all requests."""
        found = set()
        for each in self.requests:
            try:
                body = json.loads(each.body)
            except ValueError:
                continue
            found |= {str(body[name]) for name in names if isinstance(body, dict) and body.get(name)}
        return found

    def connections(self) -> set[str]:
        """Return the tickets in the addresses that the platform gave for the long connection."""
        addresses = re.findall(rb'"URL": ?"([^"]+)"', b"\n".join(self.answers))
        queries = [parse_qs(urlsplit(address.decode()).query) for address in addresses]
        return {value for query in queries for value in query.get("ticket", [])}


HOP_BY_HOP = {"content-length", "transfer-encoding", "connection", "date", "server", "content-encoding"}

LINK = re.compile(rb"authorize(?:/|%2F|%252F)[\w-]{43}")


def without_links(content: bytes) -> bytes:
    """Return a card without its link, the one place that has to contain the ticket."""
    return LINK.sub(b"authorize", content)
