"""The control API under /sandbox/api: what the chat page and the tests see of the tenant, and the switches they
have. JSON over HTTP and one event stream; an error is a 4xx with {"error": words}.
"""

import asyncio
import json

from aiohttp import web

from .scopes import SCOPES
from .tenant import Json, Person, Tenant

routes = web.RouteTableDef()
TENANT = web.AppKey("tenant", Tenant)


def person_json(person: Person) -> Json:
    return {
        "open_id": person.open_id,
        "name": person.name,
        "en_name": person.en_name,
        "locale": person.locale,
        "avatar_color": person.avatar_color,
        "role": person.role,
        "user_agent": person.user_agent,
        "tenant_key": person.tenant_key,
        "available": person.available,
        "status": person.status,
        "granted": sorted(person.granted),
    }


def app_json(tenant: Tenant) -> Json:
    app = tenant.app
    return {
        "app_id": app.app_id,
        "name": app.name,
        "name_zh": app.name_zh,
        "bot_open_id": app.bot_open_id,
        "owner": app.owner,
        "redirect_urls": app.redirect_urls,
        "scopes": [
            {
                "scope": scope,
                "description": {"en": info.en, "zh": info.zh},
                "user": scope in app.scopes and app.scopes[scope].user,
                "tenant": scope in app.scopes and app.scopes[scope].tenant,
            }
            for scope, info in SCOPES.items()
        ],
    }


@routes.get("/sandbox/api/state")
async def state(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    return web.json_response(
        {
            "app": app_json(tenant),
            "people": [person_json(person) for person in tenant.people.values()],
            "chats": [
                {"chat_id": c.chat_id, "kind": c.kind, "name": c.name, "members": c.members}
                for c in tenant.chats.values()
            ],
            "messages": [message.as_json() for message in tenant.messages.values()],
            "faults": [],
            "sequence": len(tenant.changes),
        }
    )


@routes.get("/sandbox/api/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events: what happened after `after`, then everything that happens."""
    tenant = request.app[TENANT]
    after = int(request.headers.get("Last-Event-ID") or request.query.get("after") or 0)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    queue, unsubscribe = tenant.subscribe()
    try:
        for change in tenant.changes_after(after):
            await _send(response, change.sequence, change.as_json())
        while True:
            try:
                change = await asyncio.wait_for(queue.get(), timeout=15)
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            await _send(response, change.sequence, change.as_json())
    finally:
        unsubscribe()


async def _send(response: web.StreamResponse, sequence: int, data: Json) -> None:
    await response.write(f"id: {sequence}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode())


@routes.get("/sandbox/api/messages")
async def messages(request: web.Request) -> web.Response:
    seen = request.app[TENANT].messages_seen_by(
        request.query.get("person"), request.query.get("chat_id"), int(request.query.get("after", 0))
    )
    return web.json_response({"messages": [message.as_json() for message in seen]})
