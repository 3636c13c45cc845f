"""What people do: send, recall and delete messages, open the chat, click buttons, withdraw their authorization."""

import json

from aiohttp import web

from bot.sandbox.json_http import BadRequest, Json, read_object
from bot.sandbox.lark.control.lookup import message_in, person_in
from bot.sandbox.lark.event_delivery import DELIVERY, user_ids
from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.message_content import callback_value, find_button
from bot.sandbox.lark.tenant import Chat, Message, Person, Tenant, new_id
from bot.sandbox.lark.tokens import revoke_person

routes = web.RouteTableDef()

RECEIVE_DIRECT_MESSAGES = {"im:message.p2p_msg", "im:message.p2p_msg:readonly"}
RECEIVE_MENTIONS = {"im:message.group_at_msg", "im:message.group_at_msg:readonly", "im:message.group_msg"}


@routes.post("/sandbox/api/messages")
async def send_message(request: web.Request) -> web.Response:
    """A person sends a message. The bot receives it in their direct chat, and in a group if it is mentioned.

    - `text`, or `content` and `message_type`.
    - `chat_id`: without it, the person's direct chat with the bot.
    - `mention_bot`: mentions the bot as `@_user_1`. `mentions`: open_ids of people, mentioned as `@_user_2`,
      `@_user_3`, … in this order.
    - `mention_all`: puts `@_all` before the text; "listed" among the message's mentions, or "unlisted", as the
      platform also delivers it.
    - `age`: how many seconds ago the message was written; negative if the platform's clock is ahead.
    - `reply_to`: the message that this one answers, in the same topic. `in_thread`: opens a topic for the answer.
    """
    tenant, body = request.app[TENANT], await read_object(request)
    person = person_in(tenant, body)
    chat = _chat_in(tenant, body, person)
    mentions = _mentions_in(tenant, body)
    message = _new_message(tenant, body, person, chat)
    tenant.add_message(message)
    event_id = None
    if _bot_receives(tenant, chat, body):
        agent = str(body.get("user_agent", person.user_agent))
        event = message_event(tenant, message, chat, person, mentions=mentions, user_agent=agent)
        event_id = request.app[DELIVERY].push(request.app[DELIVERY].envelope("im.message.receive_v1", event))
    return web.json_response({"message_id": message.message_id, "event_id": event_id})


def _chat_in(tenant: Tenant, body: Json, person: Person) -> Chat:
    chat = (
        tenant.chats.get(str(body["chat_id"])) if body.get("chat_id") else tenant.direct_chat(person.open_id)
    )
    if chat is None or person.open_id not in chat.members:
        raise BadRequest("no such chat, or the person is not in it")
    return chat


def _mentions_in(tenant: Tenant, body: Json) -> list[Json]:
    people = [tenant.people.get(str(open_id)) for open_id in body.get("mentions", ())]
    if None in people:
        raise BadRequest("no such person to mention")
    mention_all = body.get("mention_all")
    if mention_all not in (None, "listed", "unlisted"):
        raise BadRequest("mention_all must be listed or unlisted")
    mentions = mentions_json(
        tenant, [each for each in people if each], with_bot=bool(body.get("mention_bot"))
    )
    return [MENTION_OF_EVERYONE, *mentions] if mention_all == "listed" else mentions


def _new_message(tenant: Tenant, body: Json, person: Person, chat: Chat) -> Message:
    content = body.get("content")
    if content is None:
        marks = [
            *(["@_all"] if body.get("mention_all") else []),
            *(["@_user_1"] if body.get("mention_bot") else []),
        ]
        content = {"text": " ".join([*marks, str(body.get("text", ""))])}
    if not isinstance(content, dict):
        raise BadRequest("content must be an object")
    age = body.get("age", 0)
    if not isinstance(age, int | float):
        raise BadRequest("age must be a number of seconds")
    parent = message_in(tenant, body, "reply_to") if body.get("reply_to") else None
    if parent is not None and parent.chat_id != chat.chat_id:
        raise BadRequest("the message to answer is in another chat")
    at = tenant.clock.wall_ms() - int(age * 1000)
    return Message(
        message_id=new_id("om_"),
        chat_id=chat.chat_id,
        sender_type="user",
        sender=person.open_id,
        msg_type=str(body.get("message_type", "text")),
        content=content,
        created_at=at,
        updated_at=at,
        sent_at=tenant.clock.now(),
        reply_to=parent.message_id if parent else None,
        root_id=(parent.root_id or parent.message_id) if parent else None,
        thread_id=tenant.topic_of(chat, parent, in_thread=bool(body.get("in_thread"))),
    )


def _bot_receives(tenant: Tenant, chat: Chat, body: Json) -> bool:
    """Return whether the app has a scope by which it receives this message."""
    if not chat.has_bot:
        return False
    enabled = tenant.app.enabled_scopes("tenant")
    if chat.kind == "p2p":
        return not enabled.isdisjoint(RECEIVE_DIRECT_MESSAGES)
    mentioned = bool(body.get("mention_bot") or body.get("mention_all"))
    return mentioned and not enabled.isdisjoint(RECEIVE_MENTIONS)


def message_event(
    tenant: Tenant, message: Message, chat: Chat, person: Person, *, mentions: list[Json], user_agent: str
) -> Json:
    """Return the body of `im.message.receive_v1`; fields that do not apply are absent."""
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


MENTION_OF_EVERYONE: Json = {
    "key": "@_all",
    "id": {"union_id": "", "user_id": "", "open_id": ""},
    "name": "所有人",
}
"""A mention of everyone carries empty ids."""


def mentions_json(tenant: Tenant, people: list[Person], *, with_bot: bool) -> list[Json]:
    """Return the mentions of the bot and of people in the form of a message's `mentions`."""
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
    """A message is recalled. The app receives an event if its sender is a person."""
    tenant, delivery = request.app[TENANT], request.app[DELIVERY]
    message = message_in(tenant, await read_object(request))
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
    """A message is deleted. The APIs have other codes for this than for a recalled one (231003, 230110)."""
    tenant = request.app[TENANT]
    message = message_in(tenant, await read_object(request))
    message.deleted = True
    tenant.feed.announce("message_recalled", {"message_id": message.message_id, "chat_id": message.chat_id})
    return web.json_response({})


@routes.post("/sandbox/api/enter")
async def enter(request: web.Request) -> web.Response:
    """A person opens their direct chat with the bot."""
    tenant = request.app[TENANT]
    person = person_in(tenant, await read_object(request))
    chat = tenant.direct_chat(person.open_id)
    if chat is None:
        raise BadRequest("the person has no chat with the bot")
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
    """A person clicks a callback button, named by its `element_id` or by the `value` that it sends."""
    tenant, body = request.app[TENANT], await read_object(request)
    person, message = person_in(tenant, body), message_in(tenant, body)
    if message not in tenant.messages_seen_by(person.open_id, message.chat_id):
        raise BadRequest("the person does not see this message")
    if message.recalled or message.deleted or message.msg_type != "interactive":
        raise BadRequest("this is not a card, or no longer one")
    button = find_button(message.content, element_id=body.get("element_id"), value=body.get("value"))
    if button is None or callback_value(button) is None:
        raise BadRequest("the card has no such button")
    response, code = await request.app[DELIVERY].click(person, message, button)
    return web.json_response({"response": response, "code": code})


@routes.post("/sandbox/api/revoke")
async def revoke(request: web.Request) -> web.Response:
    """A person withdraws all that they granted. The app receives an event."""
    tenant, body = request.app[TENANT], await read_object(request)
    person = person_in(tenant, body)
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
