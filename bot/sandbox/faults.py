"""Injected faults: which requests they match, and what they do to them.

A fault can match any request to the platform, including those to token endpoints. `delay_after`, `drop_after` and
`truncate` let the handler work first, so the bot does not learn that its request succeeded. Removing a fault ends its
delays. With `lost_authorization` the request arrives without the header that authorizes it, as behind some proxies.
Each platform has its own bodies for errors: `ErrorBodies`.
"""

import asyncio
import contextlib
import fnmatch
import json
from collections.abc import Awaitable, Callable, Mapping
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

LOST_AUTHORIZATION = web.RequestKey("lost_authorization", bool)
"""Marks a request whose authorizing header is ignored."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Traits = Mapping[str, str | None]
"""The traits of a request that faults match on: `method`, `path`, and whatever else the platform names."""


@dataclass(frozen=True)
class ErrorBodies:
    """The responses of one platform to the faults `status` (without a given body) and `rate_limit`."""

    status: Callable[[dict[str, Any]], Any]
    """Returns the JSON body, from the fault's options."""
    rate_limit: Callable[[dict[str, Any]], web.Response]


@dataclass
class Fault:
    """A fault for the requests that match. `times` limits how often it applies; None: until it is removed."""

    fault_id: str
    kind: FaultKind
    match: dict[str, str]
    times: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    struck: int = 0
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, traits: Traits) -> bool:
        if self.times is not None and self.struck >= self.times:
            return False
        exact = self.match.keys() - {"method", "path"}
        return (
            self.match.get("method", traits["method"] or "").upper() == traits["method"]
            and all(self.match[name] == traits.get(name) for name in exact)
            and _path_matches(self.match.get("path", "/"), traits["path"] or "")
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
    """Return a change of the feed about a fault. `kind` is the change's own there, so the fault's kind is `fault`."""
    described = fault.as_json()
    return {"event": event, "fault": described.pop("kind"), **described, **more}


def _path_matches(pattern: str, path: str) -> bool:
    if any(character in pattern for character in "*?["):
        return fnmatch.fnmatchcase(path, pattern)
    return path.startswith(pattern)


class Faults:
    """The active faults, oldest first; the first that matches a request applies."""

    def __init__(self) -> None:
        self.all: dict[str, Fault] = {}

    def match(self, traits: Traits) -> Fault | None:
        fault = next((f for f in self.all.values() if f.matches(traits)), None)
        if fault is not None:
            fault.struck += 1
        return fault

    def remove(self, fault_id: str) -> Fault | None:
        """Remove a fault and release the requests that it delays; None if there is no such fault."""
        fault = self.all.pop(fault_id, None)
        if fault is not None:
            fault.removed.set()
        return fault

    def remove_all(self) -> None:
        for fault_id in list(self.all):
            self.remove(fault_id)


async def apply_fault(
    fault: Fault, request: web.Request, handler: Handler, closing: asyncio.Event, bodies: ErrorBodies
) -> web.StreamResponse:
    """Serve a request under a fault: instead of the handler, or around it."""
    options = fault.options
    match fault.kind:
        case "status":
            return _status(options, bodies)
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
            return bodies.rate_limit(options)
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


def _status(options: dict[str, Any], bodies: ErrorBodies) -> web.Response:
    headers = {str(name): str(value) for name, value in dict(options.get("headers") or {}).items()}
    status = int(options.get("status", 500))
    body = options.get("body")
    if isinstance(body, str):
        return web.Response(status=status, text=body, headers=headers)
    if body is None:
        body = bodies.status(options)
    return web.json_response(body, status=status, headers=headers)


def _drop(request: web.Request) -> web.Response:
    """Cut the TCP connection. The response that the server needs is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


async def _truncated(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Announce the length of the whole body, send half of it and close the connection."""
    body = response.body if isinstance(response, web.Response) else b""
    whole = body if isinstance(body, bytes) else json.dumps({}).encode()
    half = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
    half.content_length = len(whole)
    await half.prepare(request)
    await half.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return half
