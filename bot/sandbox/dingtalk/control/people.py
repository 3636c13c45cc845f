"""What people do: send and recall messages, press buttons of cards, withdraw their authorization."""

import secrets

from aiohttp import web

from bot.sandbox.dingtalk.control.lookup import message_in, person_in
from bot.sandbox.dingtalk.event_delivery import DELIVERY
from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.dingtalk.tenant import Chat, Message, Person, Session, Tenant, encrypted_id
from bot.sandbox.dingtalk.tokens import withdraw_grants
from bot.sandbox.json_http import BadRequest, Json, read_object

routes = web.RouteTableDef()

MESSAGE_TYPES = ("text", "richText", "picture", "audio", "video", "file", "unknownMsgType")


@routes.post("/sandbox/api/messages")
async def send_message(request: web.Request) -> web.Response:
    """A person sends a message. The bot receives it in their direct chat, and in a group if it is mentioned.

    - `text`, or `content` and `message_type`: one of `MESSAGE_TYPES`.
    - `chat_id`: without it, the person's direct chat with the bot.
    - `mention_bot`: mentions the bot. `mentions`: user ids of people who are mentioned as well.
    - `age`: how many seconds ago the message was written; negative if the platform's clock is ahead.
    - `fields`: replaces fields of the pushed message; a field that is None is left out.
    """
    tenant, body = request.app[TENANT], await read_object(request)
    person = person_in(tenant, body)
    chat = _chat_in(tenant, body, person)
    message = _new_message(tenant, body, person, chat)
    mentions = [str(each) for each in body.get("mentions", ())]
    if not tenant.people.keys() >= set(mentions):
        raise BadRequest("no such person to mention")
    tenant.add_message(message)
    event_id = None
    if chat.has_bot and (chat.kind == "p2p" or body.get("mention_bot")):
        origin = f"{request.scheme}://{request.host}"
        event = message_event(tenant, message, chat, person, mentions=mentions, origin=origin)
        event |= dict(body.get("fields", {}))
        event = {name: value for name, value in event.items() if value is not None}
        event_id = request.app[DELIVERY].push(event)
    return web.json_response({"message_id": message.message_id, "event_id": event_id})


def _chat_in(tenant: Tenant, body: Json, person: Person) -> Chat:
    chat = (
        tenant.chats.get(str(body["chat_id"])) if body.get("chat_id") else tenant.direct_chat(person.user_id)
    )
    if chat is None or person.user_id not in chat.members:
        raise BadRequest("no such chat, or the person is not in it")
    return chat


def _new_message(tenant: Tenant, body: Json, person: Person, chat: Chat) -> Message:
    kind = str(body.get("message_type", "text"))
    content = body.get("content")
    if content is None:
        content = {"content": str(body.get("text", ""))}
    if kind not in MESSAGE_TYPES or not isinstance(content, dict):
        raise BadRequest(f"message_type must be one of {', '.join(MESSAGE_TYPES)}, and content an object")
    age = body.get("age", 0)
    if not isinstance(age, int | float):
        raise BadRequest("age must be a number of seconds")
    at = tenant.clock.wall_ms() - int(age * 1000)
    shown = {**content, "mentions_bot": True} if body.get("mention_bot") else content
    return Message(
        message_id=f"msg{secrets.token_urlsafe(18)}==",
        chat_id=chat.chat_id,
        sender_type="user",
        sender=person.user_id,
        msg_type=kind,
        content=shown,
        created_at=at,
        updated_at=at,
        sent_at=tenant.clock.now(),
        sent_by="person",
    )


def message_event(
    tenant: Tenant, message: Message, chat: Chat, person: Person, *, mentions: list[str], origin: str
) -> Json:
    """Return the message as it is pushed to the bot, with a new session webhook. Fields that do not apply are absent.

    The text after a stripped mention starts with a space. `senderStaffId` is present only for members of the
    bot's organization, and only once the app is published.
    """
    app, behaviour = tenant.app, tenant.behaviour
    session = Session(
        secrets.token_hex(16),
        chat.chat_id,
        message.message_id,
        tenant.clock.now() + behaviour.session_webhook_seconds,
    )
    tenant.sessions[session.session] = session
    event: Json = {
        "conversationId": chat.chat_id,
        "conversationType": "1" if chat.kind == "p2p" else "2",
        "chatbotCorpId": app.corp_id,
        "chatbotUserId": app.bot_user_id,
        "robotCode": app.robot_code,
        "msgId": message.message_id,
        "msgtype": message.msg_type,
        "createAt": str(message.created_at) if behaviour.create_at_is_text else message.created_at,
        "senderId": person.sender_id,
        "senderNick": person.name,
        "senderCorpId": person.corp_id,
        "isAdmin": person.is_admin,
        "sessionWebhook": f"{origin}/robot/sendBySession?session={session.session}",
        "sessionWebhookExpiredTime": message.created_at + behaviour.session_webhook_seconds * 1000,
    }
    event |= message_body(message, chat)
    if tenant.member(person.user_id) is not None and app.published:
        event["senderStaffId"] = person.user_id
        if behaviour.events_name_union_id:
            event["senderUnionId"] = person.union_id
    if chat.kind == "group":
        people = [tenant.people[each] for each in mentions]
        event |= {
            "conversationTitle": chat.name,
            "isInAtList": True,
            "atUsers": [{"dingtalkId": app.bot_user_id}, *(at_user(tenant, each) for each in people)],
        }
    return event


def message_body(message: Message, chat: Chat) -> Json:
    """Return the field with what was written: `text`, or `content` for every other type."""
    content = {key: value for key, value in message.content.items() if key != "mentions_bot"}
    if message.msg_type == "text":
        text = str(content.get("content", ""))
        return {"text": {**content, "content": f" {text}" if chat.kind == "group" else text}}
    return {} if message.msg_type == "unknownMsgType" else {"content": content}


def at_user(tenant: Tenant, person: Person) -> Json:
    mention = {"dingtalkId": encrypted_id()}
    if tenant.member(person.user_id) is not None and tenant.app.published:
        mention["staffId"] = person.user_id
    return mention


@routes.post("/sandbox/api/recall")
async def recall(request: web.Request) -> web.Response:
    """A message is recalled. The app receives no event."""
    tenant = request.app[TENANT]
    tenant.recall_message(message_in(tenant, await read_object(request)))
    return web.json_response({})


@routes.post("/sandbox/api/enter")
async def enter(request: web.Request) -> web.Response:
    """A person opens their direct chat with the bot. The app receives no event."""
    person_in(request.app[TENANT], await read_object(request))
    return web.json_response({"event_id": None})


@routes.post("/sandbox/api/clicks")
async def click(request: web.Request) -> web.Response:
    """A person presses a button that sends a request: {person, message_id, value: {actionIds, params}}."""
    tenant, body = request.app[TENANT], await read_object(request)
    person, message = person_in(tenant, body), message_in(tenant, body)
    card = tenant.cards.get(message.out_track_id or "")
    if card is None or message.recalled:
        raise BadRequest("this message is not a card")
    if message.only_for is not None and person.user_id not in message.only_for:
        raise BadRequest("this person does not see the card")
    value = body.get("value")
    if not isinstance(value, dict) or not isinstance(value.get("actionIds"), list):
        raise BadRequest("value must contain actionIds and params")
    answer, problem = await request.app[DELIVERY].click(person, message, card, value)
    return web.json_response({"response": answer, "code": problem})


@routes.post("/sandbox/api/revoke")
async def revoke(request: web.Request) -> web.Response:
    """A person withdraws their authorization in the client's privacy settings. The app receives no event."""
    tenant = request.app[TENANT]
    withdraw_grants(tenant, person_in(tenant, await read_object(request)))
    return web.json_response({"event_id": None})
