"""Trouble on purpose: which requests it strikes, and what becomes of them.

A fault may strike any request to the platform, the token endpoints among them. `delay_after`, `drop_after`
and `truncate` do the work first: that is the difference which a bot has to be ready for. A delay is over when
its fault is removed. With `lost_authorization` the request arrives without its
Authorization header, as behind some proxies.
"""

import asyncio
import contextlib
import fnmatch
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from aiohttp import web

FaultKind = Literal[
    "status",
    "delay",
    "delay_after",
    "drop_before",
    "drop_after",
    "html",
    "truncate",
    "rate_limit",
    "timeout",
    "down",
    "lost_authorization",
]
FAULT_KINDS = get_args(FaultKind)

LOST_AUTHORIZATION = "lost_authorization"
"""What a request is marked with whose Authorization header does not count."""


def authorization(request: web.Request) -> str:
    """The Authorization header as it arrived; empty when there is none."""
    return "" if LOST_AUTHORIZATION in request else request.headers.get("Authorization", "")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class RequestTraits:
    """What a fault looks at in a request."""

    method: str
    path: str
    identity: str | None
    grant_type: str | None
    receive_id_type: str | None = None
    """How a message names whom it goes to."""


@dataclass
class Fault:
    """One kind of trouble for the requests that match; `times` None means until it is removed."""

    fault_id: str
    kind: FaultKind
    match: dict[str, str]
    times: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    struck: int = 0
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    def strikes(self, aim: RequestTraits) -> bool:
        if self.times is not None and self.struck >= self.times:
            return False
        return (
            self.match.get("method", aim.method).upper() == aim.method
            and self.match.get("identity", aim.identity) == aim.identity
            and self.match.get("grant_type", aim.grant_type) == aim.grant_type
            and self.match.get("receive_id_type", aim.receive_id_type) == aim.receive_id_type
            and _path_matches(self.match.get("path", "/"), aim.path)
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "fault_id": self.fault_id,
            "kind": self.kind,
            "match": self.match,
            "times": self.times,
            "struck": self.struck,
            **self.options,
        }


def fault_change(event: str, fault: Fault, **more: Any) -> dict[str, Any]:
    """What the feed is told of a fault; `kind` is the kind of a change there, so a fault's is called `fault`."""
    described = fault.as_json()
    return {"event": event, "fault": described.pop("kind"), **described, **more}


def _path_matches(pattern: str, path: str) -> bool:
    if any(character in pattern for character in "*?["):
        return fnmatch.fnmatchcase(path, pattern)
    return path.startswith(pattern)


class Faults:
    """The troubles in force, oldest first; a request meets the first that strikes it."""

    def __init__(self) -> None:
        self.all: dict[str, Fault] = {}

    def match(self, aim: RequestTraits) -> Fault | None:
        fault = next((f for f in self.all.values() if f.strikes(aim)), None)
        if fault is not None:
            fault.struck += 1
        return fault

    def remove(self, fault_id: str) -> Fault | None:
        """Removes a fault; whoever is delayed by it goes on."""
        fault = self.all.pop(fault_id, None)
        if fault is not None:
            fault.removed.set()
        return fault

    def remove_all(self) -> None:
        for fault_id in list(self.all):
            self.remove(fault_id)


async def apply_fault(
    fault: Fault, request: web.Request, handler: Handler, closing: asyncio.Event
) -> web.StreamResponse:
    """Carries out a fault: what the client gets, if anything, instead of (or after) the handler's work."""
    options = fault.options
    match fault.kind:
        case "status":
            return _status(options)
        case "delay":
            await _pause(fault)
            return await handler(request)
        case "delay_after":
            response = await handler(request)
            await _pause(fault)
            return response
        case "drop_before" | "down":
            return _drop(request)
        case "drop_after":
            await handler(request)
            return _drop(request)
        case "html":
            page = "<html><head><title>502</title></head><body><h1>502 Bad Gateway</h1></body></html>"
            return web.Response(status=int(options.get("status", 502)), text=page, content_type="text/html")
        case "truncate":
            return await _truncated(request, await handler(request))
        case "rate_limit":
            return _rate_limited(options.get("reset"))
        case "lost_authorization":
            request[LOST_AUTHORIZATION] = True
            return await handler(request)
        case "timeout":
            await closing.wait()
            return _drop(request)


async def _pause(fault: Fault) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(float(fault.options.get("seconds", 1))):
            await fault.removed.wait()


def _status(options: dict[str, Any]) -> web.Response:
    headers = {str(name): str(value) for name, value in dict(options.get("headers") or {}).items()}
    status = int(options.get("status", 500))
    body = options.get("body")
    if isinstance(body, str):
        return web.Response(status=status, text=body, headers=headers)
    if body is None:
        body = {"code": options.get("code", status), "msg": options.get("msg", "internal error")}
    return web.json_response(body, status=status, headers=headers)


def _rate_limited(reset: int | None) -> web.Response:
    headers = {} if reset is None else {"x-ogw-ratelimit-limit": "100", "x-ogw-ratelimit-reset": str(reset)}
    body = {"code": 99991400, "msg": "request trigger frequency limit"}
    return web.json_response(body, status=429, headers=headers)


def _drop(request: web.Request) -> web.Response:
    """Cuts the TCP connection; the response is for nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


async def _truncated(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Promises the whole body and sends half of it."""
    body = response.body if isinstance(response, web.Response) else b""
    whole = body if isinstance(body, bytes) else json.dumps({}).encode()
    half = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
    half.content_length = len(whole)
    await half.prepare(request)
    await half.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return half
