"""Pushes and stream connections under a test's control: push, replay, inspect, ping, disconnect, drop."""

from aiohttp import web

from bot.sandbox.dingtalk.event_delivery import DELIVERY
from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.dingtalk.long_connections import CONNECTIONS, NotAcknowledged
from bot.sandbox.dingtalk.tenant import PushedEvent
from bot.sandbox.json_http import BadRequest, Json, read_object

routes = web.RouteTableDef()


@routes.post("/sandbox/api/events")
async def push_event(request: web.Request) -> web.Response:
    """Push {"event": the data, "type": "message" or the type of an event}, or by HTTP a raw {"body", "headers"}."""
    delivery, body = request.app[DELIVERY], await read_object(request)
    event = body.get("event", {})
    if not isinstance(event, dict):
        raise BadRequest("event must be an object")
    raw = None
    if "body" in body:
        raw = (str(body["body"]).encode(), {k: str(v) for k, v in dict(body.get("headers", {})).items()})
    return web.json_response(
        pushed_json(await delivery.push_once(event, str(body.get("type", "message")), raw))
    )


@routes.post("/sandbox/api/events/replay")
async def replay_event(request: web.Request) -> web.Response:
    """Deliver {"event_id"} again; with `new_frame`, in a frame with another `messageId`."""
    body = await read_object(request)
    event_id = str(body.get("event_id"))
    if event_id not in request.app[TENANT].events:
        raise BadRequest("no such event")
    replayed = await request.app[DELIVERY].replay(event_id, new_frame=bool(body.get("new_frame")))
    return web.json_response(pushed_json(replayed))


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
    """The open connections, and every frame that clients sent."""
    connections = request.app[CONNECTIONS]
    return web.json_response(
        {
            "connections": [
                {
                    "connection_id": each.connection_id,
                    "subscriptions": sorted(list(pair) for pair in each.subscriptions),
                    "delivered": each.delivered,
                    "pings_answered": each.pings_answered,
                }
                for each in connections.open.values()
            ],
            "acknowledgements": list(connections.acknowledgements),
        }
    )


@routes.post("/sandbox/api/connections/ping")
async def ping_connections(request: web.Request) -> web.Response:
    """Ping every connection; returns how many answered."""
    connections = request.app[CONNECTIONS]
    answered = 0
    for connection in list(connections.open.values()):
        try:
            await connections.ping(connection)
        except NotAcknowledged:
            continue
        answered += 1
    return web.json_response({"answered": answered})


@routes.delete("/sandbox/api/connections")
async def drop_connections(request: web.Request) -> web.Response:
    """Close every connection. `?how=reset` cuts the TCP connections, `?how=disconnect` sends the protocol's frame."""
    connections = request.app[CONNECTIONS]
    match request.query.get("how"):
        case "reset":
            connections.reset()
        case "disconnect":
            await connections.disconnect()
        case _:
            await connections.close()
    return web.json_response({})
