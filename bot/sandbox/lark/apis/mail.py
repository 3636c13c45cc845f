"""The mail APIs: list, read and send mail."""

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters, page
from bot.sandbox.lark.tenant import new_id
from bot.sandbox.rate_limits import Limit

apis = Apis()


MAILBOX = "/mail/v1/user_mailboxes/{user_mailbox_id}/messages"
READ_MAIL = one_of("mail:user_mailbox.message:readonly")
MAIL_FIELD_SCOPES = {
    "subject": "mail:user_mailbox.message.subject:read",
    "head_from": "mail:user_mailbox.message.address:read",
    "to": "mail:user_mailbox.message.address:read",
    "cc": "mail:user_mailbox.message.address:read",
    "bcc": "mail:user_mailbox.message.address:read",
    "body_html": "mail:user_mailbox.message.body:read",
    "body_plain_text": "mail:user_mailbox.message.body:read",
    "body_preview": "mail:user_mailbox.message.body:read",
}


def _mailbox(call: Call) -> list[Json]:
    if call.path("user_mailbox_id") not in ("me", call.user.email):
        raise ApiError(1230002, "no permission for this mailbox", 403)
    return call.tenant.work.mail.get(call.user.open_id, [])


@apis.api("GET", MAILBOX, user=READ_MAIL, limit=Limit(per_second=10))
async def list_mail(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", minimum=1, maximum=20)
    items, following, more = page(_mailbox(call), size, query.optional_text("page_token"))
    ids = [letter["message_id"] for letter in items]
    return success({"items": ids, "page_token": following, "has_more": more})


@apis.api("GET", MAILBOX + "/{message_id}", user=READ_MAIL, limit=Limit(per_minute=100))
async def get_mail(call: Call) -> web.Response:
    Parameters(call.query).choice("format", ("full", "plain_text_full", "metadata"), "full")
    letter = next((m for m in _mailbox(call) if m["message_id"] == call.path("message_id")), None)
    if letter is None:
        raise ApiError(1230001, "invalid message_id")
    shown = {
        name: value
        for name, value in letter.items()
        if name not in MAIL_FIELD_SCOPES or MAIL_FIELD_SCOPES[name] in call.scopes
    }
    return success({"message": shown})


@apis.api(
    "POST", MAILBOX + "/send", user=one_of("mail:user_mailbox.message:send"), limit=Limit(per_minute=100)
)
async def send_mail(call: Call) -> web.Response:
    body = Parameters(call.body)
    recipients, key = body.list("to"), body.optional_text("dedupe_key")
    _mailbox(call)
    if not recipients or not (body.optional_text("body_plain_text") or body.optional_text("body_html")):
        raise ApiError(1234008, "to and a body are needed")
    known = ("send mail", call.user.open_id, key or "")
    if key and known in call.tenant.work.written:
        raise ApiError(1236005, "duplicate dedupe_key", 409)
    sent = {"message_id": new_id("", 24), "thread_id": new_id("", 16)}
    if key:
        call.tenant.work.written[known] = (call.tenant.clock.now(), sent)
    call.tenant.work.sent_mail.append({**sent, "from": call.user.open_id, **call.body})
    return success(sent)
