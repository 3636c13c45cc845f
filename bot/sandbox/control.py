"""The control API under /sandbox/api: what the chat page and the tests see of the tenant, and their switches.

JSON over HTTP and one event stream; an error is a 4xx with {"error": words}. The consents are in
`consent`, the switches in `switches`.
"""

import asyncio
import json

from aiohttp import web

from bot.sandbox.content import callback_value, find_button
from bot.sandbox.delivery import DELIVERY, user_ids
from bot.sandbox.gateway import TENANT
from bot.sandbox.scopes import SCOPES
from bot.sandbox.tenant import Chat, Json, Message, Person, ScopeSwitch, Tenant, new_id
from bot.sandbox.tokens import revoke_person

routes = web.RouteTableDef()

RECEIVE_P2P = {"im:message.p2p_msg", "im:message.p2p_msg:readonly"}
RECEIVE_MENTIONS = {"im:message.group_at_msg", "im:message.group_at_msg:readonly"}
KEEP_ALIVE_SECONDS = 15


class Wrong(web.HTTPBadRequest):
    """A 4xx with {"error": words}."""

    def __init__(self, words: str) -> None:
        super().__init__(text=json.dumps({"error": words}), content_type="application/json")


async def read_body(request: web.Request) -> Json:
    try:
        body = await request.json()
    except ValueError:
        raise Wrong("the body must be JSON") from None
    if not isinstance(body, dict):
        raise Wrong("the body must be an object")
    return body


def named_person(tenant: Tenant, body: Json) -> Person:
    person = tenant.people.get(str(body.get("person")))
    if person is None:
        raise Wrong("no such person")
    return person


def named_message(tenant: Tenant, body: Json) -> Message:
    message = tenant.messages.get(str(body.get("message_id")))
    if message is None:
        raise Wrong("no such message")
    return message


def _after(request: web.Request) -> int:
    given = request.headers.get("Last-Event-ID") or request.query.get("after") or "0"
    if not given.isdigit():
        raise Wrong("after must be a whole number")
    return int(given)


# What there is


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


@routes.get("/sandbox/api/state")
async def state(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    return web.json_response(
        {
            "app": app_json(tenant),
            "people": [person_json(person) for person in tenant.people.values()],
            "chats": [chat_json(chat) for chat in tenant.chats.values()],
            "messages": [message.as_json() for message in tenant.messages.values()],
            "faults": [fault.as_json() for fault in tenant.faults.all.values()],
            "sequence": len(tenant.changes),
        }
    )


@routes.get("/sandbox/api/work")
async def work(request: web.Request) -> web.Response:
    """What the people work on and the bot may have changed: tasks, events, records, mail that was sent."""
    return web.json_response(request.app[TENANT].work.as_json())


@routes.get("/sandbox/api/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events: what happened after `after`, then everything that happens."""
    tenant = request.app[TENANT]
    after = _after(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    queue, unsubscribe = tenant.subscribe()
    try:
        for change in tenant.changes_after(after):
            await _send(response, change.as_json())
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    latest = await queue.get()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if latest is None:
                return response
            await _send(response, latest.as_json())
    except ConnectionError:
        return response
    finally:
        unsubscribe()


async def _send(response: web.StreamResponse, change: Json) -> None:
    data = json.dumps(change, ensure_ascii=False)
    await response.write(f"id: {change['sequence']}\ndata: {data}\n\n".encode())


@routes.get("/sandbox/api/changes")
async def changes(request: web.Request) -> web.Response:
    """The changes after `after`, all or of one `kind`."""
    kind = request.query.get("kind")
    found = request.app[TENANT].changes_after(_after(request), kind)
    return web.json_response({"changes": [change.as_json() for change in found]})


@routes.get("/sandbox/api/requests")
async def requests(request: web.Request) -> web.Response:
    found = request.app[TENANT].changes_after(_after(request), "request")
    return web.json_response({"requests": [change.as_json() for change in found]})


@routes.get("/sandbox/api/messages")
async def messages(request: web.Request) -> web.Response:
    query = request.query
    seen = request.app[TENANT].messages_seen_by(query.get("person"), query.get("chat_id"), _after(request))
    return web.json_response({"messages": [message.as_json() for message in seen]})


# What people do


@routes.post("/sandbox/api/messages")
async def send_message(request: web.Request) -> web.Response:
    """A person says something. The bot hears of it in their direct chat, and in a group when mentioned.

    `mentions` are the open_ids of others whom the text mentions, by `@_user_2`, `@_user_3`, … in their order; the bot
    has `@_user_1`. `mention_all` mentions everyone, by `@_all` before the text: "listed" among the message's mentions, or
    "unlisted", as the platform also delivers it. `age`: so many seconds ago it was written, and is delivered only now;
    less than none when the platform's clock is ahead. `reply_to` is the message that it answers, in the topic of that;
    `in_thread` opens one.
    """
    tenant, body = request.app[TENANT], await read_body(request)
    person = named_person(tenant, body)
    chat = (
        tenant.chats.get(str(body["chat_id"])) if body.get("chat_id") else tenant.direct_chat(person.open_id)
    )
    if chat is None or person.open_id not in chat.members:
        raise Wrong("no such chat, or the person is not in it")
    mentions_bot = bool(body.get("mention_bot"))
    mentioned = [tenant.people.get(str(open_id)) for open_id in body.get("mentions", ())]
    if None in mentioned:
        raise Wrong("no such person to mention")
    mention_all = body.get("mention_all")
    if mention_all not in (None, "listed", "unlisted"):
        raise Wrong("mention_all is listed or unlisted")
    msg_type = str(body.get("message_type", "text"))
    content = body.get("content")
    if content is None:
        text = str(body.get("text", ""))
        marks = [*(["@_all"] if mention_all else []), *(["@_user_1"] if mentions_bot else [])]
        content = {"text": " ".join([*marks, text])}
    if not isinstance(content, dict):
        raise Wrong("content must be an object")
    age = body.get("age", 0)
    if not isinstance(age, int | float):
        raise Wrong("age is a number of seconds")
    parent = named_message(tenant, {"message_id": body["reply_to"]}) if body.get("reply_to") else None
    if parent is not None and parent.chat_id != chat.chat_id:
        raise Wrong("the message to answer is in another chat")
    at = tenant.clock.wall_ms() - int(age * 1000)
    message = Message(
        message_id=new_id("om_"),
        chat_id=chat.chat_id,
        sender_type="user",
        sender=person.open_id,
        msg_type=msg_type,
        content=content,
        created_at=at,
        updated_at=at,
        sent_at=tenant.clock.now(),
        reply_to=parent.message_id if parent else None,
        root_id=(parent.root_id or parent.message_id) if parent else None,
        thread_id=tenant.topic_of(chat, parent, in_thread=bool(body.get("in_thread"))),
    )
    tenant.add_message(message)
    event_id = None
    enabled = tenant.app.enabled_scopes("tenant")
    heard = (
        RECEIVE_P2P if chat.kind == "p2p" else (RECEIVE_MENTIONS if mentions_bot or mention_all else set())
    )
    if chat.has_bot and not enabled.isdisjoint(heard):
        agent = str(body.get("user_agent", person.user_agent))
        mentions = mentions_in(tenant, [each for each in mentioned if each], with_bot=mentions_bot)
        if mention_all == "listed":
            mentions.insert(0, EVERYONE)
        event = message_event(tenant, message, chat, person, mentions=mentions, user_agent=agent)
        event_id = request.app[DELIVERY].push(request.app[DELIVERY].envelope("im.message.receive_v1", event))
    return web.json_response({"message_id": message.message_id, "event_id": event_id})


def message_event(
    tenant: Tenant, message: Message, chat: Chat, person: Person, *, mentions: list[Json], user_agent: str
) -> Json:
    """`im.message.receive_v1`; fields that do not apply are absent."""
    described: Json = {
        "message_id": message.message_id,
        "create_time": str(message.created_at),
        "update_time": str(message.updated_at),
        "chat_id": chat.chat_id,
        "chat_type": chat.kind,
        "message_type": message.msg_type,
        "content": json.dumps(message.content, ensure_ascii=False),
        "user_agent": user_agent,
    }
    if message.reply_to is not None:
        described |= {"root_id": message.root_id, "parent_id": message.reply_to}
    if message.thread_id is not None:
        described["thread_id"] = message.thread_id
    if mentions:
        described["mentions"] = mentions
    sender = {"sender_id": user_ids(tenant, person), "sender_type": "user", "tenant_key": person.tenant_key}
    return {"sender": sender, "message": described}


EVERYONE: Json = {"key": "@_all", "id": {"union_id": "", "user_id": "", "open_id": ""}, "name": "所有人"}
"""A mention of everyone names nobody by id."""


def mentions_in(tenant: Tenant, people: list[Person], *, with_bot: bool) -> list[Json]:
    """The bot and people, as a message's `mentions` describes them."""
    app = tenant.app
    bot: Json = {
        "key": "@_user_1",
        "id": {"union_id": "on_" + app.bot_open_id[3:], "open_id": app.bot_open_id},
        "mentioned_type": "bot",
        "name": app.name,
        "tenant_key": app.tenant_key,
    }
    others = [
        {
            "key": f"@_user_{number}",
            "id": user_ids(tenant, person),
            "mentioned_type": "user",
            "name": person.name,
            "tenant_key": person.tenant_key,
        }
        for number, person in enumerate(people, start=2)
    ]
    return [*([bot] if with_bot else []), *others]


@routes.post("/sandbox/api/recall")
async def recall(request: web.Request) -> web.Response:
    """A message is taken back. The app hears of it when a person does that with theirs."""
    tenant, delivery = request.app[TENANT], request.app[DELIVERY]
    message = named_message(tenant, await read_body(request))
    tenant.recall_message(message)
    if message.sender_type == "user":
        event: Json = {
            "message_id": message.message_id,
            "chat_id": message.chat_id,
            "recall_time": str(message.updated_at),
            "recall_type": "message_owner",
        }
        delivery.push(delivery.envelope("im.message.recalled_v1", event))
    return web.json_response({})


@routes.post("/sandbox/api/delete")
async def delete(request: web.Request) -> web.Response:
    """The message is deleted, which is another thing than recalled (231003, 230110)."""
    tenant = request.app[TENANT]
    message = named_message(tenant, await read_body(request))
    message.deleted = True
    tenant.announce("message_recalled", {"message_id": message.message_id, "chat_id": message.chat_id})
    return web.json_response({})


@routes.post("/sandbox/api/enter")
async def enter(request: web.Request) -> web.Response:
    """The person opens the direct chat with the bot."""
    tenant = request.app[TENANT]
    person = named_person(tenant, await read_body(request))
    chat = tenant.direct_chat(person.open_id)
    if chat is None:
        raise Wrong("the person has no chat with the bot")
    event: Json = {"chat_id": chat.chat_id, "operator_id": user_ids(tenant, person)}
    earlier = tenant.messages_seen_by(person.open_id, chat.chat_id)
    if earlier:
        event["last_message_id"] = earlier[-1].message_id
        event["last_message_create_time"] = str(earlier[-1].created_at)
    delivery = request.app[DELIVERY]
    event_id = delivery.push(delivery.envelope("im.chat.access_event.bot_p2p_chat_entered_v1", event))
    return web.json_response({"event_id": event_id})


@routes.post("/sandbox/api/clicks")
async def click(request: web.Request) -> web.Response:
    """Presses a callback button, which is found by `element_id` or by the `value` that it sends."""
    tenant, body = request.app[TENANT], await read_body(request)
    person, message = named_person(tenant, body), named_message(tenant, body)
    if message not in tenant.messages_seen_by(person.open_id, message.chat_id):
        raise Wrong("the person does not see this message")
    if message.recalled or message.deleted or message.msg_type != "interactive":
        raise Wrong("this is not a card, or not any more")
    button = find_button(message.content, element_id=body.get("element_id"), value=body.get("value"))
    if button is None or callback_value(button) is None:
        raise Wrong("the card has no such button")
    answer, code = await request.app[DELIVERY].click(person, message, button)
    return web.json_response({"response": answer, "code": code})


@routes.post("/sandbox/api/revoke")
async def revoke(request: web.Request) -> web.Response:
    """The person withdraws everything, and the app is told."""
    tenant, body = request.app[TENANT], await read_body(request)
    person = named_person(tenant, body)
    revoke_person(tenant, person)
    delivery = request.app[DELIVERY]
    event = {
        "revoke_token_type": "user_access_token refresh_token",
        "revoke_reason": f"Revoked by {body.get('reason', 'user')} action.",
        **user_ids(tenant, person),
    }
    event_id = None
    if "auth:user_access_token:read" in tenant.app.enabled_scopes("tenant"):
        event_id = delivery.push(delivery.envelope("auth.user_access_token.revoked_v4", event))
    return web.json_response({"event_id": event_id})
