"""The tenant as JSON, for the chat page and tests."""

from aiohttp import web

from bot.sandbox.json_http import BadRequest, Json
from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.scopes import SCOPES
from bot.sandbox.lark.tenant import Chat, Person, ScopeSwitch, Tenant

routes = web.RouteTableDef()


@routes.get("/sandbox/api/work")
async def work(request: web.Request) -> web.Response:
    """The people's data that the bot may have changed: tasks, events, records, sent mail."""
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
    return {
        "open_id": person.open_id,
        "name": person.name,
        "en_name": person.en_name,
        "locale": person.locale,
        "timezone": person.timezone,
        "avatar_color": person.avatar_color,
        "role": person.role,
        "user_agent": person.user_agent,
        "tenant_key": person.tenant_key,
        "available": person.available,
        "status": person.status,
        "granted": sorted(person.granted),
    }


def chat_json(chat: Chat) -> Json:
    return {"chat_id": chat.chat_id, "kind": chat.kind, "name": chat.name, "members": chat.members}


def app_json(tenant: Tenant) -> Json:
    app = tenant.app
    switches = {scope: app.scopes.get(scope, ScopeSwitch()) for scope in SCOPES}
    return {
        "app_id": app.app_id,
        "name": app.name,
        "name_zh": app.name_zh,
        "bot_open_id": app.bot_open_id,
        "owner": app.owner,
        "tenant_key": app.tenant_key,
        "redirect_urls": app.redirect_urls,
        "scopes": [
            {
                "scope": scope,
                "description": {"en": info.en, "zh": info.zh},
                "user": switches[scope].user,
                "tenant": switches[scope].tenant,
                "pending": switches[scope].pending,
            }
            for scope, info in SCOPES.items()
        ],
    }
