"""Events and long connections under a test's control: push, replay, inspect, drop."""

from aiohttp import web

from bot.sandbox.json_http import BadRequest, Json, read_object
from bot.sandbox.lark.event_delivery import DELIVERY
from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.long_connections import CONNECTIONS
from bot.sandbox.lark.tenant import PushedEvent

routes = web.RouteTableDef()


@routes.post("/sandbox/api/events")
async def push_event(request: web.Request) -> web.Response:
    """Push {"event": an envelope, or `event_type` and `event` to put into one}, or raw {"body", "headers"}."""
    delivery, body = request.app[DELIVERY], await read_object(request)
    event = body.get("event", {})
    if not isinstance(event, dict):
        raise BadRequest("event must be an object")
    if "event_type" in event:
        event = delivery.envelope(event["event_type"], event.get("event", {}))
    raw = None
    if "body" in body:
        raw = (str(body["body"]).encode(), {k: str(v) for k, v in dict(body.get("headers", {})).items()})
    return web.json_response(pushed_json(await delivery.push_once(event, raw)))


@routes.post("/sandbox/api/events/replay")
async def replay_event(request: web.Request) -> web.Response:
    """Deliver an event again."""
    event_id = str((await read_object(request)).get("event_id"))
    if event_id not in request.app[TENANT].events:
        raise BadRequest("no such event")
    return web.json_response(pushed_json(await request.app[DELIVERY].replay(event_id)))


@routes.get("/sandbox/api/events/{event_id}")
async def show_event(request: web.Request) -> web.Response:
    record = request.app[TENANT].events.get(request.match_info["event_id"])
    if record is None:
        raise BadRequest("no such event")
    return web.json_response(pushed_json(record))


def pushed_json(record: PushedEvent) -> Json:
    return {
        "event_id": record.event_id,
        "event_type": record.event_type,
        "body": record.body,
        "acknowledged": record.acknowledged,
        "attempts": record.attempts,
    }


@routes.get("/sandbox/api/connections")
async def show_connections(request: web.Request) -> web.Response:
    connections = request.app[CONNECTIONS].open.values()
    return web.json_response(
        {"connections": [{"device_id": c.device_id, "delivered": c.delivered} for c in connections]}
    )


@routes.post("/sandbox/api/connections/settings")
async def push_settings(request: web.Request) -> web.Response:
    """Send new client settings to every connection, as the platform does in a pong."""
    await request.app[CONNECTIONS].push_settings(await read_object(request))
    return web.json_response({})


@routes.delete("/sandbox/api/connections")
async def drop_connections(request: web.Request) -> web.Response:
    """Close every connection; with `?how=reset`, cut the TCP connections instead."""
    if request.query.get("how") == "reset":
        request.app[CONNECTIONS].reset()
    else:
        await request.app[CONNECTIONS].close()
    return web.json_response({})
