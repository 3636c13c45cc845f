"""The organization as JSON, for the chat page and tests."""

from aiohttp import web

from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.dingtalk.scopes import SCOPES
from bot.sandbox.dingtalk.tenant import Chat, Person, ScopeSwitch, Tenant
from bot.sandbox.json_http import BadRequest, Json

routes = web.RouteTableDef()


@routes.get("/sandbox/api/work")
async def work(request: web.Request) -> web.Response:
    """The people's data that the bot may have changed: to-dos and events."""
    return web.json_response(request.app[TENANT].work.as_json())


@routes.get("/sandbox/api/messages")
async def messages(request: web.Request) -> web.Response:
    """Messages created after `after` (Unix milliseconds), of one `chat_id`, as `person` sees them; each optional."""
    query = request.query
    after = query.get("after") or "0"
    if not after.isdigit():
        raise BadRequest("after must be a whole number")
    seen = request.app[TENANT].messages_seen_by(query.get("person"), query.get("chat_id"), int(after))
    return web.json_response({"messages": [message.as_json() for message in seen]})


@routes.get("/sandbox/api/cards/{out_track_id}")
async def card(request: web.Request) -> web.Response:
    """One card: its template, data, private data, and the messages that show it."""
    found = request.app[TENANT].cards.get(request.match_info["out_track_id"])
    if found is None:
        raise BadRequest("no such card")
    return web.json_response(
        {
            "template_id": found.template_id,
            "data": found.data,
            "private_data": found.private_data,
            "space_type": found.space_type,
            "space_id": found.space_id,
            "message_ids": found.message_ids,
        }
    )


def state_json(tenant: Tenant) -> Json:
    """Return what `bot.sandbox.platform.ChatPlatform.state` promises."""
    return {
        "app": app_json(tenant),
        "people": [person_json(person) for person in tenant.people.values()],
        "chats": [chat_json(chat) for chat in tenant.chats.values()],
        "messages": [message.as_json() for message in tenant.messages.values()],
        "faults": [fault.as_json() for fault in tenant.faults.all.values()],
    }


def person_json(person: Person) -> Json:
    """`open_id` is the page's name for the id of a person; the page reads `tenant_key` as the organization."""
    return {
        "open_id": person.user_id,
        "user_id": person.user_id,
        "union_id": person.union_id,
        "name": person.name,
        "en_name": person.en_name,
        "locale": person.locale,
        "timezone": person.timezone,
        "avatar_color": person.avatar_color,
        "role": person.role,
        "user_agent": person.user_agent,
        "tenant_key": person.corp_id,
        "active": person.active,
        "throttled": person.throttled,
        "granted": sorted(person.granted),
    }


def chat_json(chat: Chat) -> Json:
    return {"chat_id": chat.chat_id, "kind": chat.kind, "name": chat.name, "members": chat.members}


def app_json(tenant: Tenant) -> Json:
    app = tenant.app
    switches = {scope: app.scopes.get(scope, ScopeSwitch()) for scope in SCOPES}
    return {
        "app_id": app.client_id,
        "name": app.name,
        "name_zh": app.name_zh,
        "bot_open_id": app.robot_code,
        "owner": app.owner,
        "tenant_key": app.corp_id,
        "published": app.published,
        "redirect_urls": app.redirect_urls,
        "scopes": [
            {
                "scope": scope,
                "description": {"en": info.en, "zh": info.zh},
                "user": switches[scope].user if info.delegated else switches[scope].tenant,
                "tenant": switches[scope].tenant,
                "pending": False,
                "delegated": info.delegated,
            }
            for scope, info in SCOPES.items()
        ],
    }
