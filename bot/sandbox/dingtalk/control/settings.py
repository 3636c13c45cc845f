"""Settings of the emulated platform: the app, people, chats, grants, tokens, card templates, time, behaviour."""

from dataclasses import fields

from aiohttp import web

from bot.sandbox.dingtalk.control.lookup import person_in
from bot.sandbox.dingtalk.control.state import app_json, chat_json, person_json
from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.dingtalk.scopes import SCOPES
from bot.sandbox.dingtalk.tenant import CardTemplate, Chat, Organization, Person, ScopeSwitch, new_id
from bot.sandbox.dingtalk.tokens import expire_tokens
from bot.sandbox.json_http import BadRequest, Json, read_object

routes = web.RouteTableDef()

PERSON_FIELDS = {field.name for field in fields(Person)} - {"granted", "effective_at"}


@routes.post("/sandbox/api/app-scopes")
async def set_app_scope(request: web.Request) -> web.Response:
    """Add a scope to the app or remove it: {scope, user, tenant}.

    Without `tenant`, `user` switches a scope that only administrators grant as well.
    """
    tenant, body = request.app[TENANT], await read_object(request)
    scope = str(body.get("scope"))
    if scope not in SCOPES:
        raise BadRequest("no such scope")
    info, switch = SCOPES[scope], tenant.app.scopes.setdefault(scope, ScopeSwitch())
    user, application = body.get("user"), body.get("tenant")
    if isinstance(user, bool):
        switch.user = user and info.delegated
        if application is None and not info.delegated:
            application = user
    if isinstance(application, bool):
        switch.tenant = application and info.application
    data = {"scope": scope, "user": switch.user, "tenant": switch.tenant, "pending": False}
    tenant.feed.announce("scope", data)
    return web.json_response(data)


@routes.post("/sandbox/api/app")
async def set_app(request: web.Request) -> web.Response:
    """Change what the developer console sets besides scopes: {enabled, published, redirect_urls}."""
    tenant, body = request.app[TENANT], await read_object(request)
    for name in ("enabled", "published"):
        if isinstance(body.get(name), bool):
            setattr(tenant.app, name, body[name])
    if isinstance(body.get("redirect_urls"), list):
        tenant.app.redirect_urls = [str(url) for url in body["redirect_urls"]]
    return web.json_response(app_json(tenant))


@routes.post("/sandbox/api/subscription")
async def subscribe(request: web.Request) -> web.Response:
    """Set how the app receives messages: {"by": "webhook", "url": …}, or {"by": "stream"}."""
    tenant, body = request.app[TENANT], await read_object(request)
    if body.get("by") not in ("webhook", "stream"):
        raise BadRequest("by must be webhook or stream")
    tenant.app.events_by = body["by"]
    if body["by"] == "webhook":
        tenant.app.events_url = str(body.get("url", ""))
    return web.json_response({})


@routes.post("/sandbox/api/grants")
async def set_grants(request: web.Request) -> web.Response:
    """Replace what a person has granted: {person, scopes}. Tokens keep the scopes that they were issued with."""
    tenant, body = request.app[TENANT], await read_object(request)
    person = person_in(tenant, body)
    scopes = body.get("scopes")
    if not isinstance(scopes, list) or not SCOPES.keys() >= set(scopes):
        raise BadRequest("scopes must be a list of known scopes")
    person.granted, person.effective_at = set(scopes), {}
    tenant.feed.announce("scope", {"person": person.user_id, "granted": sorted(scopes)})
    return web.json_response(person_json(person))


@routes.post("/sandbox/api/tokens/expire")
async def expire(request: web.Request) -> web.Response:
    """Make a person's tokens expire now: {person, which: access | refresh | both}; {which: app} for the app's own."""
    tenant, body = request.app[TENANT], await read_object(request)
    which = body.get("which", "access")
    if which == "app":
        tenant.credentials.app_tokens.clear()
        return web.json_response({})
    if which not in ("access", "refresh", "both"):
        raise BadRequest("which must be access, refresh, both or app")
    person = person_in(tenant, body)
    expire_tokens(tenant, person, access=which != "refresh", refresh=which != "access")
    return web.json_response({})


@routes.post("/sandbox/api/people")
async def set_person(request: web.Request) -> web.Response:
    """Add or change a person: {user_id} and any fields of `Person`."""
    tenant, body = request.app[TENANT], await read_object(request)
    if not body.keys() <= PERSON_FIELDS or "user_id" not in body:
        raise BadRequest(f"a person may only have {', '.join(sorted(PERSON_FIELDS))}")
    person = tenant.people.get(str(body["user_id"]))
    if person is None:
        given: Json = {"name": "Somebody", "en_name": "Somebody", "corp_id": tenant.app.corp_id, **body}
        person = Person(**given)
        tenant.add_person(person)
    for name, value in body.items():
        setattr(person, name, value)
    tenant.organizations.setdefault(person.corp_id, Organization(person.corp_id, person.corp_id))
    tenant.feed.announce("person", {"person": person_json(person)})
    return web.json_response(person_json(person))


@routes.post("/sandbox/api/chats")
async def set_chat(request: web.Request) -> web.Response:
    """Add or change a chat: {chat_id?, name, members, has_bot, dissolved}."""
    tenant, body = request.app[TENANT], await read_object(request)
    if not tenant.people.keys() >= set(body.get("members", [])):
        raise BadRequest("no such person")
    chat = tenant.chats.get(str(body.get("chat_id")))
    if chat is None:
        chat = Chat(f"cid{new_id('', 32)}==", "group", "", [])
        tenant.chats[chat.chat_id] = chat
    for name in ("name", "members", "has_bot", "dissolved"):
        if name in body:
            setattr(chat, name, body[name])
    tenant.feed.announce("chat", {"chat": chat_json(chat)})
    return web.json_response(chat_json(chat))


@routes.post("/sandbox/api/templates")
async def set_template(request: web.Request) -> web.Response:
    """Add or change a template of the card console: {template_id, variables?, published?}."""
    tenant, body = request.app[TENANT], await read_object(request)
    template_id = str(body.get("template_id", ""))
    if not template_id:
        raise BadRequest("template_id is missing")
    template = tenant.templates.setdefault(template_id, CardTemplate(template_id))
    if isinstance(body.get("variables"), list):
        template.variables = [str(each) for each in body["variables"]]
    if isinstance(body.get("published"), bool):
        template.published = body["published"]
    return web.json_response(
        {
            "template_id": template_id,
            "variables": template.variables,
            "published": template.published,
        }
    )


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
        setattr(behaviour, name, tuple(value) if name == "redelivery_seconds" else value)
    return web.json_response({field.name: getattr(behaviour, field.name) for field in fields(behaviour)})
