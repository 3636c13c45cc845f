"""Settings of the emulated platform: the app, people, chats, grants, tokens, time, behaviour."""

from dataclasses import fields

from aiohttp import web

from bot.sandbox.json_http import BadRequest, Json, read_object
from bot.sandbox.lark.control.lookup import person_in
from bot.sandbox.lark.control.state import app_json, chat_json, person_json
from bot.sandbox.lark.event_delivery import DELIVERY
from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.long_connections import CONNECTIONS
from bot.sandbox.lark.scopes import SCOPES
from bot.sandbox.lark.tenant import Chat, Person, ScopeSwitch, new_id
from bot.sandbox.lark.tokens import expire_tokens

routes = web.RouteTableDef()

PERSON_FIELDS = {field.name for field in fields(Person)} - {"granted"}


@routes.post("/sandbox/api/app-scopes")
async def set_app_scope(request: web.Request) -> web.Response:
    """Enable or disable a scope of the app: {scope, user, tenant, pending}."""
    tenant, body = request.app[TENANT], await read_object(request)
    scope = str(body.get("scope"))
    if scope not in SCOPES:
        raise BadRequest("no such scope")
    switch = tenant.app.scopes.setdefault(scope, ScopeSwitch())
    for name in ("user", "tenant", "pending"):
        if isinstance(body.get(name), bool):
            setattr(switch, name, body[name])
    tenant.app.applied_for_scopes = False
    data = {"scope": scope, "user": switch.user, "tenant": switch.tenant, "pending": switch.pending}
    tenant.feed.announce("scope", data)
    return web.json_response(data)


@routes.post("/sandbox/api/app")
async def set_app(request: web.Request) -> web.Response:
    """Change what the developer console sets besides scopes, and whether the app belongs to the other brand.

    {enabled, installed, published, may_refresh, redirect_urls, subscribed_events, subscribed_callbacks, other_brand}
    """
    tenant, body = request.app[TENANT], await read_object(request)
    for name in ("enabled", "installed", "published", "may_refresh", "other_brand"):
        if isinstance(body.get(name), bool):
            setattr(tenant.app, name, body[name])
    for name in ("redirect_urls", "subscribed_events", "subscribed_callbacks"):
        if isinstance(body.get(name), list):
            setattr(tenant.app, name, [str(each) for each in body[name]])
    return web.json_response(app_json(tenant))


@routes.post("/sandbox/api/subscription")
async def subscribe(request: web.Request) -> web.Response:
    """Set how the app receives events: {"by": "webhook", "url": …}, or {"by": "websocket"}.

    As in the developer console, the URL must answer a challenge, and a long connection must be open; `unchecked`
    skips both.
    """
    tenant, body = request.app[TENANT], await read_object(request)
    if body.get("by") == "websocket":
        if not request.app[CONNECTIONS].open and not body.get("unchecked"):
            raise BadRequest("no long connection is open")
        tenant.app.events_by = "websocket"
        return web.json_response({})
    url = str(body.get("url", ""))
    problem = await request.app[DELIVERY].check_address(url)
    if problem is not None and not body.get("unchecked"):
        raise BadRequest(problem)
    tenant.app.events_by, tenant.app.events_url = "webhook", url
    return web.json_response({})


@routes.post("/sandbox/api/grants")
async def set_grants(request: web.Request) -> web.Response:
    """Replace what a person has granted: {person, scopes}."""
    tenant, body = request.app[TENANT], await read_object(request)
    person = person_in(tenant, body)
    scopes = body.get("scopes")
    if not isinstance(scopes, list) or not SCOPES.keys() >= set(scopes):
        raise BadRequest("scopes must be a list of known scopes")
    person.granted = set(scopes)
    tenant.feed.announce("scope", {"person": person.open_id, "granted": sorted(scopes)})
    return web.json_response(person_json(person))


@routes.post("/sandbox/api/tokens/expire")
async def expire(request: web.Request) -> web.Response:
    """Make a person's tokens expire now: {person, which: access | refresh | both}."""
    tenant, body = request.app[TENANT], await read_object(request)
    which = body.get("which", "access")
    if which not in ("access", "refresh", "both"):
        raise BadRequest("which must be access, refresh or both")
    person = person_in(tenant, body)
    expire_tokens(tenant, person, access=which != "refresh", refresh=which != "access")
    return web.json_response({})


@routes.post("/sandbox/api/people")
async def set_person(request: web.Request) -> web.Response:
    """Add or change a person: {open_id} and any fields of `Person`."""
    tenant, body = request.app[TENANT], await read_object(request)
    if not body.keys() <= PERSON_FIELDS or "open_id" not in body:
        raise BadRequest(f"a person may only have {', '.join(sorted(PERSON_FIELDS))}")
    person = tenant.people.get(str(body["open_id"]))
    if person is None:
        given: Json = {"name": "Somebody", "en_name": "Somebody", "tenant_key": tenant.app.tenant_key, **body}
        person = Person(**given)
        tenant.add_person(person)
    for name, value in body.items():
        setattr(person, name, value)
    tenant.feed.announce("person", {"person": person_json(person)})
    return web.json_response(person_json(person))


@routes.post("/sandbox/api/chats")
async def set_chat(request: web.Request) -> web.Response:
    """Add or change a chat: {chat_id?, name, members, has_bot, dissolved, topics}."""
    tenant, body = request.app[TENANT], await read_object(request)
    chat = tenant.chats.get(str(body.get("chat_id")))
    if chat is None:
        chat = Chat(new_id("oc_"), "group", "", [])
        tenant.chats[chat.chat_id] = chat
    for name in ("name", "members", "has_bot", "dissolved", "topics"):
        if name in body:
            setattr(chat, name, body[name])
    if not tenant.people.keys() >= set(chat.members):
        raise BadRequest("no such person")
    tenant.feed.announce("chat", {"chat": chat_json(chat)})
    return web.json_response(chat_json(chat))


@routes.post("/sandbox/api/clock")
async def advance_clock(request: web.Request) -> web.Response:
    """Let {"advance": seconds} pass at the platform."""
    tenant, body = request.app[TENANT], await read_object(request)
    seconds = body.get("advance", 0)
    if not isinstance(seconds, int | float) or seconds < 0:
        raise BadRequest("advance must be a number of seconds, at least 0")
    tenant.clock.advance(seconds)
    return web.json_response({"now": tenant.clock.now(), "offset": tenant.clock.offset})


@routes.post("/sandbox/api/behaviour")
async def set_behaviour(request: web.Request) -> web.Response:
    """Change fields of `Behaviour`; returns all of them."""
    behaviour, body = request.app[TENANT].behaviour, await read_object(request)
    if unknown := body.keys() - {field.name for field in fields(behaviour)}:
        raise BadRequest(f"unknown: {', '.join(sorted(unknown))}")
    for name, value in body.items():
        setattr(behaviour, name, tuple(value) if isinstance(value, list) else value)
    return web.json_response({field.name: getattr(behaviour, field.name) for field in fields(behaviour)})
