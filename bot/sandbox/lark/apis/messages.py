"""The message APIs: send, reply, edit, update cards, recall, ephemeral cards."""

import json
import re
from typing import Any

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.message_content import (
    RICH_BYTES,
    card_error,
    check_card,
    parameter_error,
    parse_content,
)
from bot.sandbox.lark.parameters import Parameters
from bot.sandbox.lark.tenant import DAY, HOUR, Chat, Message, Person, Tenant, new_id
from bot.sandbox.rate_limits import Limit

apis = Apis()

SEND = one_of("im:message", "im:message:send_as_bot", "im:message:send")
SEND_AS_USER = (("im:message",), ("im:message.send_as_user",))
UPDATE = one_of("im:message", "im:message:send_as_bot", "im:message:update")

UUID_WINDOW = HOUR
PATCH_WINDOW = 14 * DAY
TARGET_LIMIT = Limit(per_second=5)
RECEIVE_ID_TYPES = ("open_id", "union_id", "user_id", "email", "chat_id")
OPEN_ID = re.compile(r"ou_[0-9a-f]{32}\Z")


# Sending


@apis.api("POST", "/im/v1/messages", user=SEND_AS_USER, tenant=SEND)
async def create(call: Call) -> web.Response:
    query, body = Parameters(call.query), Parameters(call.body)
    kind = query.choice("receive_id_type", RECEIVE_ID_TYPES)
    receive_id = body.text("receive_id")
    fields = _message_fields(body)
    chat = find_target_chat(call.tenant, kind, receive_id, call.person)
    return success(_send(call, chat, fields))


@apis.api("POST", "/im/v1/messages/{message_id}/reply", user=SEND_AS_USER, tenant=SEND)
async def reply(call: Call) -> web.Response:
    body = Parameters(call.body)
    fields = _message_fields(body)
    in_thread = bool(body.flag("reply_in_thread"))
    parent = find_message(call.tenant, call.path("message_id"))
    if parent.ephemeral_for is not None:
        raise parameter_error("an ephemeral message cannot be replied to")
    chat = call.tenant.chats[parent.chat_id]
    check_chat(chat, call.person)
    check_people(call.tenant, chat)
    check_topic(call.tenant, parent)
    return success(_send(call, chat, fields, parent, in_thread=in_thread))


def _message_fields(body: Parameters) -> tuple[str, str, str | None]:
    return body.text("msg_type"), body.text("content"), body.optional_text("uuid", max_length=50)


def _send(
    call: Call,
    chat: Chat,
    fields: tuple[str, str, str | None],
    parent: Message | None = None,
    *,
    in_thread: bool = False,
) -> Json:
    """Send a message, or return the one that was sent with the same uuid in the last hour."""
    tenant = call.tenant
    msg_type, content, uuid = fields
    now = tenant.clock.now()
    if uuid is not None and uuid in tenant.sent and tenant.sent[uuid][0] > now - UUID_WINDOW:
        return message_json(tenant, tenant.messages[tenant.sent[uuid][1]])
    parsed = parse_content(msg_type, content)
    check_target_rate(tenant, f"to {chat.chat_id}")
    at = tenant.clock.wall_ms()
    message = Message(
        message_id=new_id("om_"),
        chat_id=chat.chat_id,
        sender_type="user" if call.person else "bot",
        sender=call.person.open_id if call.person else tenant.app.bot_open_id,
        msg_type=msg_type,
        content=parsed,
        created_at=at,
        updated_at=at,
        sent_at=now,
        reply_to=parent.message_id if parent else None,
        root_id=(parent.root_id or parent.message_id) if parent else None,
        thread_id=tenant.topic_of(chat, parent, in_thread=in_thread),
    )
    if uuid is not None:
        tenant.sent[uuid] = (now, message.message_id)
    tenant.add_message(message)
    return message_json(tenant, message)


def check_target_rate(tenant: Tenant, key: str) -> None:
    """Count against 5 a second for one chat or one message. The message APIs have their own code for this limit."""
    if tenant.behaviour.rate_limits and tenant.limiter.hit(key, TARGET_LIMIT, tenant.clock.now()) is not None:
        raise ApiError(230020, "This operation triggers the frequency limit.")


def find_target_chat(tenant: Tenant, kind: str, receive_id: str, sender: Person | None) -> Chat:
    """Return the chat that a receive id stands for. Raises ApiError if this sender cannot send there."""
    if kind == "chat_id":
        chat = tenant.chats.get(receive_id)
        if chat is None:
            raise parameter_error("invalid receive_id")
        check_chat(chat, sender)
        check_people(tenant, chat)
        return chat
    person = next((p for p in tenant.people.values() if getattr(p, kind) == receive_id), None)
    if person is None:
        if kind == "open_id" and OPEN_ID.match(receive_id):
            raise ApiError(99992361, "open_id cross app")
        raise parameter_error("invalid receive_id")
    if sender is not None:
        return _chat_between(tenant, sender, person)
    check_recipient(tenant, person)
    direct = tenant.direct_chat(person.open_id)
    if direct is None:
        raise ApiError(230002, "The bot can not be outside the group.")
    return direct


def _chat_between(tenant: Tenant, one: Person, other: Person) -> Chat:
    """Return the direct chat of two people, without the bot; created on demand."""
    members = {one.open_id, other.open_id}
    for chat in tenant.chats.values():
        if chat.kind == "p2p" and not chat.has_bot and set(chat.members) == members:
            return chat
    chat = Chat(new_id("oc_"), "p2p", f"{one.name}, {other.name}", sorted(members), has_bot=False)
    tenant.chats[chat.chat_id] = chat
    return chat


def check_chat(chat: Chat, sender: Person | None) -> None:
    if chat.dissolved:
        raise ApiError(232009, "Your request specifies a chat which has already been dissolved.")
    outside = not chat.has_bot if sender is None else sender.open_id not in chat.members
    if outside:
        who = "bot" if sender is None else "user"
        raise ApiError(230002, f"The {who} can not be outside the group.")


def check_people(tenant: Tenant, chat: Chat) -> None:
    if chat.kind == "p2p":
        for open_id in chat.members:
            check_recipient(tenant, tenant.people[open_id])


def check_recipient(tenant: Tenant, person: Person) -> None:
    """Raise if the bot cannot reach this person in a direct chat."""
    if person.tenant_key != tenant.app.tenant_key:
        raise ApiError(230038, "Cross tenant p2p chat operate forbid.")
    if person.status == "resigned":
        raise ApiError(230029, "The user has resigned.")
    if not person.available:
        raise ApiError(230013, "Bot has NO availability to this user.")
    if person.blocked_bot:
        raise ApiError(230053, "The user has stopped the bot from sending messages.")


def find_message(tenant: Tenant, message_id: str) -> Message:
    """Return a message that is neither recalled nor deleted. Raises ApiError."""
    message = tenant.messages.get(message_id)
    if message is None:
        raise parameter_error("invalid message_id")
    if message.deleted:
        raise ApiError(231003, "The message is not found.")
    if message.recalled:
        raise ApiError(230011, "The message was withdrawn.")
    return message


def check_topic(tenant: Tenant, parent: Message) -> None:
    """Raise if the message that opened the topic is gone. Which code the platform uses is not documented."""
    first = tenant.first_of_topic(parent.thread_id) if parent.thread_id else None
    if first is not None and (first.recalled or first.deleted):
        raise ApiError(230019, "The topic does NOT exist.")


def message_json(tenant: Tenant, message: Message) -> Json:
    if message.sender_type == "bot":
        sender = {"id": tenant.app.app_id, "id_type": "app_id", "sender_type": "app"}
    else:
        sender = {"id": message.sender, "id_type": "open_id", "sender_type": "user"}
    fields: Json = {
        "message_id": message.message_id,
        "msg_type": message.msg_type,
        "create_time": str(message.created_at),
        "update_time": str(message.updated_at),
        "deleted": message.recalled or message.deleted,
        "updated": bool(message.versions),
        "chat_id": message.chat_id,
        "sender": {**sender, "tenant_key": tenant.app.tenant_key},
        "body": {"content": json.dumps(message.content, ensure_ascii=False)},
    }
    if message.reply_to is not None:
        fields |= {"root_id": message.root_id, "parent_id": message.reply_to}
    if message.thread_id is not None:
        fields["thread_id"] = message.thread_id
    return fields


# Changing


@apis.api("PATCH", "/im/v1/messages/{message_id}", user=SEND_AS_USER, tenant=UPDATE)
async def patch(call: Call) -> web.Response:
    """Update a card that the same identity has sent."""
    content = Parameters(call.body).text("content")
    message = _own_message(call, call.path("message_id"))
    if message.msg_type != "interactive":
        raise parameter_error("This message is NOT a card.")
    if message.sent_at + PATCH_WINDOW <= call.tenant.clock.now():
        raise ApiError(230031, "The message sent more than 14 days ago can not be updated.")
    check_target_rate(call.tenant, f"patch {message.message_id}")
    call.tenant.update_message(message, parse_content("interactive", content))
    return success({})


@apis.api("PUT", "/im/v1/messages/{message_id}", tenant=UPDATE)
async def edit(call: Call) -> web.Response:
    """Edit a text or a post that the bot has sent."""
    body = Parameters(call.body)
    msg_type, content = body.choice("msg_type", ("text", "post")), body.text("content")
    message = _own_message(call, call.path("message_id"))
    if message.msg_type not in ("text", "post"):
        raise parameter_error("This message can not be edited.")
    parsed = parse_content(msg_type, content)
    message.msg_type = msg_type
    call.tenant.update_message(message, parsed)
    return success(message_json(call.tenant, message))


@apis.api("DELETE", "/im/v1/messages/{message_id}", user=SEND_AS_USER, tenant=UPDATE)
async def recall(call: Call) -> web.Response:
    call.tenant.recall_message(_own_message(call, call.path("message_id")))
    return success({})


def _own_message(call: Call, message_id: str) -> Message:
    message = call.tenant.messages.get(message_id)
    if message is not None and message.deleted:
        raise ApiError(230110, "Action unavailable as the message has been deleted.")
    message = find_message(call.tenant, message_id)
    if message.ephemeral_for is not None:
        raise parameter_error("an ephemeral message can not be changed")
    identity = call.person.open_id if call.person else call.tenant.app.bot_open_id
    if message.sender != identity:
        raise ApiError(230027, "Lack of necessary permissions: the message was sent by another identity.")
    return message


@apis.api("POST", "/interactive/v1/card/update", tenant=UPDATE)
async def delayed_update(call: Call) -> web.Response:
    """Update a card by the token of a callback, after that callback was answered."""
    tenant = call.tenant
    token = tenant.card_tokens.get(str(call.body.get("token")))
    card = call.body.get("card")
    if token is None:
        raise ApiError(300020, "invalid token format")
    if token.expires_at <= tenant.clock.now():
        raise ApiError(300030, "token expired")
    if token.uses_left == 0:
        raise ApiError(300040, "token used up")
    if not token.answered:
        raise ApiError(200810, "the card is in an ongoing interaction")
    message = tenant.messages[token.message_id]
    if message.recalled or message.deleted:
        raise ApiError(200000, "the message was recalled")
    if not isinstance(card, dict):
        raise ApiError(100030, "card is not a JSON object")
    try:
        check_card(card)
    except ApiError as refusal:
        raise ApiError(11311, refusal.msg) from None
    token.uses_left -= 1
    tenant.update_message(message, card)
    return success(msg="ok")


# Ephemeral cards


@apis.api("POST", "/ephemeral/v1/send", tenant=UPDATE)
async def send_ephemeral(call: Call) -> web.Response:
    """Send a card that only one member of an ordinary group sees."""
    tenant, body = call.tenant, Parameters(call.body)
    chat_id = body.text("chat_id")
    body.choice("msg_type", ("interactive",))
    recipient = _recipient(tenant, body)
    card = _ephemeral_card(call.body.get("card"))
    chat = tenant.chats.get(chat_id)
    if chat is None or chat.kind != "group" or chat.topics:
        raise parameter_error("ephemeral messages are for ordinary groups")
    check_chat(chat, None)
    if recipient.open_id not in chat.members:
        raise parameter_error("the user is not in the chat")
    at = tenant.clock.wall_ms()
    message = Message(
        message_id=new_id("om_"),
        chat_id=chat_id,
        sender_type="bot",
        sender=tenant.app.bot_open_id,
        msg_type="interactive",
        content=card,
        created_at=at,
        updated_at=at,
        sent_at=tenant.clock.now(),
        ephemeral_for=recipient.open_id,
    )
    tenant.add_message(message)
    return success({"message_id": message.message_id}, "ok")


def _recipient(tenant: Tenant, body: Parameters) -> Person:
    for kind in ("open_id", "user_id", "email"):
        value = body.optional_text(kind)
        if value is not None:
            person = next((p for p in tenant.people.values() if getattr(p, kind) == value), None)
            if person is None:
                raise parameter_error(f"invalid {kind}")
            return person
    raise parameter_error("open_id, user_id or email is needed")


def _ephemeral_card(card: Any) -> Json:
    if not isinstance(card, dict):
        raise card_error(200621, "card must be an object here, not a string")
    if len(json.dumps(card, ensure_ascii=False).encode()) > RICH_BYTES:
        raise ApiError(230025, "The length of the message content reaches its limit.")
    check_card(card)
    return card


@apis.api("POST", "/ephemeral/v1/delete", tenant=UPDATE)
async def delete_ephemeral(call: Call) -> web.Response:
    message = call.tenant.messages.get(Parameters(call.body).text("message_id"))
    if message is None or message.ephemeral_for is None:
        raise parameter_error("invalid message_id")
    if message.deleted:
        raise ApiError(18051, "the message is already deleted")
    message.deleted = True
    call.tenant.recall_message(message)
    return success(msg="ok")
