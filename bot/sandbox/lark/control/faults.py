"""Faults under a test's control: add, list in the feed, remove."""

from aiohttp import web

from bot.sandbox.json_http import BadRequest, read_object
from bot.sandbox.lark.faults import FAULT_KINDS, Fault, fault_change
from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.tenant import new_id

routes = web.RouteTableDef()

MATCHED = {"method", "path", "grant_type", "identity", "receive_id_type"}


@routes.post("/sandbox/api/faults")
async def add_fault(request: web.Request) -> web.Response:
    """Add {kind, match, times} and the options of the kind; see `bot.sandbox.lark.faults`."""
    tenant, body = request.app[TENANT], await read_object(request)
    kind, match, times = body.pop("kind", None), body.pop("match", {}), body.pop("times", None)
    if kind not in FAULT_KINDS:
        raise BadRequest(f"kind is one of {', '.join(FAULT_KINDS)}")
    if not isinstance(match, dict) or not match.keys() <= MATCHED:
        raise BadRequest(f"match has {', '.join(sorted(MATCHED))}")
    if times is not None and not isinstance(times, int):
        raise BadRequest("times is a whole number")
    fault = Fault(new_id("f", 8), kind, match, times, body)
    tenant.faults.all[fault.fault_id] = fault
    tenant.feed.announce("fault", fault_change("added", fault))
    return web.json_response({"fault_id": fault.fault_id})


@routes.delete("/sandbox/api/faults")
async def clear_faults(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    tenant.faults.remove_all()
    tenant.feed.announce("fault", {"event": "cleared"})
    return web.json_response({})


@routes.delete("/sandbox/api/faults/{fault_id}")
async def remove_fault(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    fault = tenant.faults.remove(request.match_info["fault_id"])
    if fault is None:
        raise BadRequest("no such fault")
    tenant.feed.announce("fault", fault_change("removed", fault))
    return web.json_response({})
