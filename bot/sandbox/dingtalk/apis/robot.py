"""Messages of the robot: replies to a session webhook, to people, to groups, and their recall."""

import secrets

from aiohttp import web

from bot.sandbox.dingtalk.gateway import TENANT, ApiError, Apis, Call, LegacyError, legacy_success, success
from bot.sandbox.dingtalk.message_content import check_robot_message, check_session_message
from bot.sandbox.dingtalk.parameters import Parameters
from bot.sandbox.dingtalk.tenant import DAY, Message
from bot.sandbox.json_http import Json

apis = Apis()
routes = web.RouteTableDef()

SEND = ("qyapi_robot_sendmsg",)
MAX_RECIPIENTS = 20
RECALL_WINDOW = DAY
NO_SESSION = 300001


def robot_message(call: Call) -> tuple[str, Json]:
    """Return the msgKey and the content of a robot API call. Raises ApiError."""
    body = Parameters(call.body, "invalidParameter.param")
    robot_code, msg_key, msg_param = body.text("robotCode"), body.text("msgKey"), body.text("msgParam")
    if robot_code != call.tenant.app.robot_code:
        raise ApiError("invalidParameter.robotCode.invalid", "无效的robotCode")
    try:
        return msg_key, check_robot_message(msg_key, msg_param)
    except ValueError as problem:
        raise ApiError("invalidParameter.msgParam.invalid", str(problem)) from None


@apis.api("POST", "/v1.0/robot/oToMessages/batchSend", tenant=SEND)
async def batch_send(call: Call) -> web.Response:
    """Send to people. HTTP 200 does not mean delivered: the response lists who did not receive it."""
    msg_key, content = robot_message(call)
    body = Parameters(call.body, "invalidParameter.param")
    user_ids = body.texts("userIds", minimum=1, maximum=MAX_RECIPIENTS) or []
    tenant, key = call.tenant, secrets.token_urlsafe(32)
    invalid, throttled = [], []
    for user_id in dict.fromkeys(user_ids):
        person = tenant.member(user_id)
        chat = tenant.direct_chat(user_id)
        if person is None or chat is None:
            invalid.append(user_id)
        elif person.throttled:
            throttled.append(user_id)
        else:
            message = tenant.new_bot_message(chat, msg_key, content, sent_by="batchSend")
            message.process_query_key = key
            tenant.add_message(message)
    return success(
        {"processQueryKey": key, "invalidStaffIdList": invalid, "flowControlledStaffIdList": throttled}
    )


@apis.api("POST", "/v1.0/robot/groupMessages/send", tenant=SEND)
async def group_send(call: Call) -> web.Response:
    """Send to a group that the robot is in."""
    msg_key, content = robot_message(call)
    conversation = Parameters(call.body).text("openConversationId")
    chat = call.tenant.chats.get(conversation)
    if chat is None or chat.kind != "group" or chat.dissolved:
        raise ApiError("invalidParameter.openConversationId.invalid", "无效的openConversationId")
    if not chat.has_bot:
        raise ApiError("robot.notInGroup", "机器人不在群内")
    message = call.tenant.new_bot_message(chat, msg_key, content, sent_by="groupMessages")
    message.process_query_key = secrets.token_urlsafe(32)
    call.tenant.add_message(message)
    return success({"processQueryKey": message.process_query_key})


def recall_keys(call: Call, *, kind: str) -> web.Response:
    """Recall what was sent with these keys within a day; the response lists them, and why the others failed."""
    body = Parameters(call.body, "invalidParameter.param")
    if body.text("robotCode") != call.tenant.app.robot_code:
        raise ApiError("invalidParameter.robotCode.invalid", "无效的robotCode")
    keys = body.texts("processQueryKeys", minimum=1, maximum=MAX_RECIPIENTS) or []
    done, failed = [], {}
    for key in keys:
        sent = [m for m in call.tenant.messages.values() if m.process_query_key == key and m.sent_by == kind]
        if not sent:
            failed[key] = "the message does not exist"
        elif sent[0].sent_at + RECALL_WINDOW <= call.tenant.clock.now():
            failed[key] = "the message is older than 24 hours"
        else:
            _recall(call, sent)
            done.append(key)
    return success({"successResult": done, "failedResult": failed})


def _recall(call: Call, messages: list[Message]) -> None:
    for message in messages:
        if not message.recalled:
            call.tenant.recall_message(message)


@apis.api("POST", "/v1.0/robot/otoMessages/batchRecall", tenant=SEND)
async def batch_recall(call: Call) -> web.Response:
    return recall_keys(call, kind="batchSend")


@apis.api("POST", "/v1.0/robot/groupMessages/recall", tenant=SEND)
async def group_recall(call: Call) -> web.Response:
    Parameters(call.body).text("openConversationId")
    return recall_keys(call, kind="groupMessages")


@routes.post("/robot/sendBySession")
async def send_by_session(request: web.Request) -> web.Response:
    """A reply to one bot message, without a token; everyone in its chat sees it."""
    tenant = request.app[TENANT]
    session = tenant.sessions.get(request.query.get("session", ""))
    if session is None or session.expires_at <= tenant.clock.now():
        raise LegacyError(NO_SESSION, "session 不存在")
    if request.content_type != "application/json":
        raise LegacyError(43004, "无效的HTTP HEADER Content-Type")
    try:
        body = await request.json()
        if not isinstance(body, dict):
            raise ValueError("the body is not an object")
        msg_type, content = check_session_message(body)
    except ValueError as problem:
        raise LegacyError(400105, f"消息格式不合法: {problem}") from None
    chat = tenant.chats[session.chat_id]
    if chat.dissolved or not chat.has_bot:
        raise LegacyError(NO_SESSION, "session 不存在")
    message = tenant.new_bot_message(chat, msg_type, content, sent_by="sessionWebhook")
    message.reply_to = session.message_id
    tenant.add_message(message)
    return legacy_success()
