"""The control API's switches: the app's settings, people and grants, time, how the platform behaves, trouble.

Like the rest of it: JSON over HTTP, an error is a 4xx with {"error": words}.
"""

from dataclasses import fields

from aiohttp import web

from bot.sandbox.connections import CONNECTIONS
from bot.sandbox.control import Wrong, app_json, chat_json, named_person, person_json, read_body
from bot.sandbox.delivery import DELIVERY
from bot.sandbox.faults import FAULT_KINDS, Fault, told
from bot.sandbox.gateway import TENANT
from bot.sandbox.scopes import SCOPES
from bot.sandbox.tenant import Chat, Json, Person, PushedEvent, ScopeSwitch, new_id
from bot.sandbox.tokens import expire_tokens

routes = web.RouteTableDef()

PERSON_FIELDS = {field.name for field in fields(Person)} - {"granted"}


@routes.post("/sandbox/api/app-scopes")
async def set_app_scope(request: web.Request) -> web.Response:
    tenant, body = request.app[TENANT], await read_body(request)
    scope = str(body.get("scope"))
    if scope not in SCOPES:
        raise Wrong("no such scope")
    switch = tenant.app.scopes.setdefault(scope, ScopeSwitch())
    for name in ("user", "tenant", "pending"):
        if isinstance(body.get(name), bool):
            setattr(switch, name, body[name])
    tenant.app.applied_for_scopes = False
    data = {"scope": scope, "user": switch.user, "tenant": switch.tenant, "pending": switch.pending}
    tenant.announce("scope", data)
    return web.json_response(data)


@routes.post("/sandbox/api/app")
async def set_app(request: web.Request) -> web.Response:
    """What the developer console sets beside scopes: {enabled, installed, may_refresh, redirect_urls};
    and whether it is an app of the other brand: {other_brand}."""
    tenant, body = request.app[TENANT], await read_body(request)
    for name in ("enabled", "installed", "may_refresh", "other_brand"):
        if isinstance(body.get(name), bool):
            setattr(tenant.app, name, body[name])
    if isinstance(body.get("redirect_urls"), list):
        tenant.app.redirect_urls = [str(url) for url in body["redirect_urls"]]
    return web.json_response(app_json(tenant))


@routes.post("/sandbox/api/subscription")
async def subscribe(request: web.Request) -> web.Response:
    """How the app gets its events: {"by": "webhook", "url": …}, which is checked, or {"by": "websocket"},
    for which a connection must be up."""
    tenant, body = request.app[TENANT], await read_body(request)
    if body.get("by") == "websocket":
        if not request.app[CONNECTIONS].open and not body.get("unchecked"):
            raise Wrong("no long connection is up")
        tenant.app.events_by = "websocket"
        return web.json_response({})
    url = str(body.get("url", ""))
    problem = await request.app[DELIVERY].check_address(url)
    if problem is not None and not body.get("unchecked"):
        raise Wrong(problem)
    tenant.app.events_by, tenant.app.events_url = "webhook", url
    return web.json_response({})


@routes.post("/sandbox/api/grants")
async def set_grants(request: web.Request) -> web.Response:
    tenant, body = request.app[TENANT], await read_body(request)
    person = named_person(tenant, body)
    scopes = body.get("scopes")
    if not isinstance(scopes, list) or not SCOPES.keys() >= set(scopes):
        raise Wrong("scopes must be a list of known scopes")
    person.granted = set(scopes)
    tenant.announce("scope", {"person": person.open_id, "granted": sorted(scopes)})
    return web.json_response(person_json(person))


@routes.post("/sandbox/api/tokens/expire")
async def expire(request: web.Request) -> web.Response:
    tenant, body = request.app[TENANT], await read_body(request)
    which = body.get("which", "access")
    if which not in ("access", "refresh", "both"):
        raise Wrong("which is access, refresh or both")
    person = named_person(tenant, body)
    expire_tokens(tenant, person, access=which != "refresh", refresh=which != "access")
    return web.json_response({})


@routes.post("/sandbox/api/people")
async def set_person(request: web.Request) -> web.Response:
    tenant, body = request.app[TENANT], await read_body(request)
    if not body.keys() <= PERSON_FIELDS or "open_id" not in body:
        raise Wrong(f"a person has {', '.join(sorted(PERSON_FIELDS))}")
    person = tenant.people.get(str(body["open_id"]))
    if person is None:
        given: Json = {"name": "Somebody", "en_name": "Somebody", "tenant_key": tenant.app.tenant_key, **body}
        person = Person(**given)
        tenant.add_person(person)
    for name, value in body.items():
        setattr(person, name, value)
    tenant.announce("person", {"person": person_json(person)})
    return web.json_response(person_json(person))


@routes.post("/sandbox/api/chats")
async def set_chat(request: web.Request) -> web.Response:
    """Adds or changes a chat: {chat_id?, name, members, has_bot, dissolved, topics}."""
    tenant, body = request.app[TENANT], await read_body(request)
    chat = tenant.chats.get(str(body.get("chat_id")))
    if chat is None:
        chat = Chat(new_id("oc_"), "group", "", [])
        tenant.chats[chat.chat_id] = chat
    for name in ("name", "members", "has_bot", "dissolved", "topics"):
        if name in body:
            setattr(chat, name, body[name])
    if not tenant.people.keys() >= set(chat.members):
        raise Wrong("no such person")
    tenant.announce("chat", {"chat": chat_json(chat)})
    return web.json_response(chat_json(chat))


@routes.post("/sandbox/api/clock")
async def advance_clock(request: web.Request) -> web.Response:
    """Lets {"advance": seconds} pass at the platform."""
    tenant, body = request.app[TENANT], await read_body(request)
    seconds = body.get("advance", 0)
    if not isinstance(seconds, int | float) or seconds < 0:
        raise Wrong("advance is a number of seconds from 0")
    tenant.clock.advance(seconds)
    return web.json_response({"now": tenant.clock.now(), "offset": tenant.clock.offset})


@routes.post("/sandbox/api/behaviour")
async def set_behaviour(request: web.Request) -> web.Response:
    """Changes how the platform behaves where it is known to differ; the names are those of `Behaviour`."""
    behaviour, body = request.app[TENANT].behaviour, await read_body(request)
    if unknown := body.keys() - {field.name for field in fields(behaviour)}:
        raise Wrong(f"unknown: {', '.join(sorted(unknown))}")
    for name, value in body.items():
        setattr(behaviour, name, tuple(value) if isinstance(value, list) else value)
    return web.json_response({field.name: getattr(behaviour, field.name) for field in fields(behaviour)})


# Trouble


MATCHED = {"method", "path", "grant_type", "identity", "receive_id_type"}


@routes.post("/sandbox/api/faults")
async def add_fault(request: web.Request) -> web.Response:
    tenant, body = request.app[TENANT], await read_body(request)
    kind, match, times = body.pop("kind", None), body.pop("match", {}), body.pop("times", None)
    if kind not in FAULT_KINDS:
        raise Wrong(f"kind is one of {', '.join(FAULT_KINDS)}")
    if not isinstance(match, dict) or not match.keys() <= MATCHED:
        raise Wrong(f"match has {', '.join(sorted(MATCHED))}")
    if times is not None and not isinstance(times, int):
        raise Wrong("times is a whole number")
    fault = Fault(new_id("f", 8), kind, match, times, body)
    tenant.faults.all[fault.fault_id] = fault
    tenant.announce("fault", told("added", fault))
    return web.json_response({"fault_id": fault.fault_id})


@routes.delete("/sandbox/api/faults")
async def clear_faults(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    tenant.faults.lift_all()
    tenant.announce("fault", {"event": "cleared"})
    return web.json_response({})


@routes.delete("/sandbox/api/faults/{fault_id}")
async def remove_fault(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    fault = tenant.faults.lift(request.match_info["fault_id"])
    if fault is None:
        raise Wrong("no such fault")
    tenant.announce("fault", told("removed", fault))
    return web.json_response({})


@routes.post("/sandbox/api/events")
async def push_event(request: web.Request) -> web.Response:
    """Pushes {"event": a whole envelope, or a type and event to put in one}, or raw {"body", "headers"}."""
    delivery, body = request.app[DELIVERY], await read_body(request)
    event = body.get("event", {})
    if not isinstance(event, dict):
        raise Wrong("event must be an object")
    if "event_type" in event:
        event = delivery.envelope(event["event_type"], event.get("event", {}))
    raw = None
    if "body" in body:
        raw = (str(body["body"]).encode(), {k: str(v) for k, v in dict(body.get("headers", {})).items()})
    return web.json_response(pushed_json(await delivery.push_and_see(event, raw)))


@routes.post("/sandbox/api/events/replay")
async def replay_event(request: web.Request) -> web.Response:
    event_id = str((await read_body(request)).get("event_id"))
    if event_id not in request.app[TENANT].events:
        raise Wrong("no such event")
    return web.json_response(pushed_json(await request.app[DELIVERY].replay(event_id)))


@routes.get("/sandbox/api/events/{event_id}")
async def show_event(request: web.Request) -> web.Response:
    record = request.app[TENANT].events.get(request.match_info["event_id"])
    if record is None:
        raise Wrong("no such event")
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
    await request.app[CONNECTIONS].push_settings(await read_body(request))
    return web.json_response({})


@routes.delete("/sandbox/api/connections")
async def drop_connections(request: web.Request) -> web.Response:
    """Closes every connection; with `?how=reset` without a word."""
    if request.query.get("how") == "reset":
        request.app[CONNECTIONS].reset()
    else:
        await request.app[CONNECTIONS].close()
    return web.json_response({})
