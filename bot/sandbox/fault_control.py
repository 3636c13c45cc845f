"""Faults under a test's control: add, list in the feed, remove. The same for every platform."""

import secrets
from collections.abc import Callable

from aiohttp import web

from bot.sandbox.faults import FAULT_KINDS, Fault, Faults, fault_change
from bot.sandbox.feed import Feed
from bot.sandbox.json_http import BadRequest, read_object


def fault_routes(matched: set[str], state: Callable[[web.Request], tuple[Faults, Feed]]) -> web.RouteTableDef:
    """Return the routes. `matched`: the traits that a fault can match on. `state` returns the faults and the feed."""
    routes = web.RouteTableDef()

    @routes.post("/sandbox/api/faults")
    async def add_fault(request: web.Request) -> web.Response:
        """Add {kind, match, times} and the options of the kind; see `bot.sandbox.faults`."""
        (faults, feed), body = state(request), await read_object(request)
        kind, match, times = body.pop("kind", None), body.pop("match", {}), body.pop("times", None)
        if kind not in FAULT_KINDS:
            raise BadRequest(f"kind must be one of {', '.join(FAULT_KINDS)}")
        if not isinstance(match, dict) or not match.keys() <= matched:
            raise BadRequest(f"match may only contain {', '.join(sorted(matched))}")
        if times is not None and not isinstance(times, int):
            raise BadRequest("times must be a whole number")
        fault = Fault("f" + secrets.token_hex(4), kind, match, times, body)
        faults.all[fault.fault_id] = fault
        feed.announce("fault", fault_change("added", fault))
        return web.json_response({"fault_id": fault.fault_id})

    @routes.delete("/sandbox/api/faults")
    async def clear_faults(request: web.Request) -> web.Response:
        faults, feed = state(request)
        faults.remove_all()
        feed.announce("fault", {"event": "cleared"})
        return web.json_response({})

    @routes.delete("/sandbox/api/faults/{fault_id}")
    async def remove_fault(request: web.Request) -> web.Response:
        faults, feed = state(request)
        fault = faults.remove(request.match_info["fault_id"])
        if fault is None:
            raise BadRequest("no such fault")
        feed.announce("fault", fault_change("removed", fault))
        return web.json_response({})

    return routes
