"""The user-token APIs about a person's own work: calendar, tasks and mail."""

import asyncio
import re

from aiohttp import web

from bot.sandbox.directory import ID_TYPES, find_person
from bot.sandbox.gateway import Apis, Call, Refusal, one_of, success
from bot.sandbox.limits import Limit
from bot.sandbox.parameters import Parameters, page
from bot.sandbox.sample_work import make_event, make_task
from bot.sandbox.tenant import Json, new_id

apis = Apis()

SECONDS = re.compile(r"\d{9,10}\Z")
MILLISECONDS = re.compile(r"\d{12,13}\Z")
TASK_TOKEN_SECONDS = 5 * 60


# Calendar

READ_CALENDARS = one_of("calendar:calendar:read", "calendar:calendar:readonly")
READ_EVENTS = one_of("calendar:calendar", "calendar:calendar.event:read", "calendar:calendar:readonly")
CREATE_EVENTS = one_of("calendar:calendar", "calendar:calendar.event:create")
EVENTS = "/calendar/v4/calendars/{calendar_id}/events"


@apis.api("POST", "/calendar/v4/calendars/primary", user=READ_CALENDARS, tenant=READ_CALENDARS)
async def primary_calendar(call: Call) -> web.Response:
    Parameters(call.query).choice("user_id_type", ID_TYPES, "open_id")
    if call.person is None:
        return success({"calendars": []})
    person = call.person
    calendar_id = next(
        (c for c, owner in call.tenant.work.calendars.items() if owner == person.open_id), None
    )
    if calendar_id is None:
        raise Refusal(195100, "user is dismissed or not exist in the tenant", 404)
    calendar = {
        "calendar_id": calendar_id,
        "summary": person.name,
        "description": "",
        "permissions": "private",
        "color": -1,
        "type": "primary",
        "summary_alias": "",
        "is_deleted": False,
        "is_third_party": False,
        "role": "owner",
    }
    return success({"calendars": [{"calendar": calendar, "user_id": person.open_id}]})


@apis.api("GET", EVENTS, user=READ_EVENTS, tenant=READ_EVENTS)
async def list_events(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", least=50, most=1000, default=500)
    start, end = query.optional_text("start_time"), query.optional_text("end_time")
    page_token, sync_token = query.optional_text("page_token"), query.optional_text("sync_token")
    if (start is None) != (end is None) or (start is not None and (page_token or sync_token)):
        raise Refusal(190002, "invalid parameters in request: start_time and end_time go together, alone")
    for moment in (start, end, query.optional_text("anchor_time")):
        if moment is not None and not SECONDS.match(moment):
            raise Refusal(190002, "invalid parameters in request: times are in seconds")
    events = _calendar_events(call)
    if start is not None and end is not None:
        events = [event for event in events if _overlaps(event, int(start), int(end))][:size]
        return success({"has_more": False, "page_token": "", "sync_token": "", "items": events})
    items, following, more = page(events, size, page_token)
    sync = "" if more else "ListCalendarsSyncToken_1"
    return success({"has_more": more, "page_token": following, "sync_token": sync, "items": items})


def _calendar_events(call: Call) -> list[Json]:
    """The events of the calendar in the path, if the caller may see it."""
    calendar_id = call.path("calendar_id")
    owner = call.tenant.work.calendars.get(calendar_id)
    if "@" not in calendar_id:
        raise Refusal(191001, "invalid calendar_id")
    if owner is None:
        raise Refusal(191000, "calendar not found", 404)
    if call.person is None or call.person.open_id != owner:
        raise Refusal(191002, "no calendar access_role", 403)
    return call.tenant.work.events[calendar_id]


def _overlaps(event: Json, start: int, end: int) -> bool:
    begins, ends = event["start_time"], event["end_time"]
    if "timestamp" not in begins:
        return True
    return int(begins["timestamp"]) < end and int(ends["timestamp"]) > start


@apis.api("POST", EVENTS, user=CREATE_EVENTS, tenant=CREATE_EVENTS)
async def create_event(call: Call) -> web.Response:
    key = Parameters(call.query).optional_text("idempotency_key", shortest=32, longest=128)
    body = Parameters(call.body)
    events = _calendar_events(call)
    for name in ("start_time", "end_time"):
        _check_moment(body.object(name))
    body.optional_text("summary")
    known = ("create event", call.path("calendar_id"), key or "")
    if key and known in call.tenant.work.written:
        return success({"event": call.tenant.work.written[known][1]})
    event = make_event(call.path("calendar_id"), call.user, dict(call.body))
    events.append(event)
    if key:
        call.tenant.work.written[known] = (call.tenant.clock.now(), event)
    return success({"event": event})


def _check_moment(moment: Json | None) -> None:
    given = moment or {}
    timestamp = given.get("timestamp")
    if "date" not in given and not (isinstance(timestamp, str) and SECONDS.match(timestamp)):
        raise Refusal(
            190002, "invalid parameters in request: timestamp (seconds, a string) or date is needed"
        )


# Tasks

READ_TASKS = one_of("task:task:read", "task:task:write")
WRITE_TASKS = one_of("task:task:write", "task:task:writeonly")


@apis.api("GET", "/task/v2/tasks", user=READ_TASKS)
async def list_tasks(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", least=1, most=100, default=50)
    completed = query.flag("completed")
    query.choice("type", ("my_tasks",), "my_tasks")
    query.choice("user_id_type", ID_TYPES, "open_id")

    def is_mine(task: Json) -> bool:
        return any(m["id"] == call.user.open_id and m.get("role") == "assignee" for m in task["members"])

    mine = [task for task in call.tenant.work.tasks if is_mine(task)]
    if completed is not None:
        mine = [task for task in mine if (task["completed_at"] != "0") == completed]
    items, following, more = page(mine, size, query.optional_text("page_token"))
    return success({"items": items, "page_token": following, "has_more": more})


@apis.api("POST", "/task/v2/tasks", user=WRITE_TASKS, limit=Limit(per_second=10))
async def create_task(call: Call) -> web.Response:
    """Creates a task; the same `client_token` within five minutes of success gets the first result again."""
    body = Parameters(call.body)
    token = body.optional_text("client_token", shortest=10, longest=100)
    given = _task_fields(call, body)
    work, now = call.tenant.work, call.tenant.clock.now
    key = ("create task", call.user.open_id, token or "")
    if token:
        known = work.written.get(key)
        if known is not None and known[0] + TASK_TOKEN_SECONDS > now():
            return success({"task": known[1]})
        if key in work.being_written:
            raise Refusal(1470422, "concurrent requests with the same client_token", 500)
        work.being_written.add(key)
    try:
        if call.tenant.behaviour.task_create_seconds:
            await asyncio.sleep(call.tenant.behaviour.task_create_seconds)
        task = make_task(call.tenant, call.user, given)
        work.tasks.append(task)
        if token:
            work.written[key] = (now(), task)
    finally:
        work.being_written.discard(key)
    call.tenant.announce("work", {"event": "task created", "task": task})
    return success({"task": task})


def _task_fields(call: Call, body: Parameters) -> Json:
    summary = body.text("summary", longest=3000)
    due, members = body.object("due"), body.list("members")
    if due is not None:
        timestamp = due.get("timestamp")
        if not isinstance(timestamp, str) or not MILLISECONDS.match(timestamp):
            raise Refusal(1470400, "due.timestamp must be a string of milliseconds")
    for member in members or ():
        if find_person(call.tenant, "open_id", str(member.get("id"))) is None or "role" not in member:
            raise Refusal(1470400, "a member has the open_id of a user and a role")
    given: Json = {"summary": summary, "description": body.optional_text("description") or "", "due": due}
    # Whoever creates a task as themselves without naming members is its assignee only here: it is the sample
    # data's rule, so that the new task shows in their list.
    if members is not None:
        given["members"] = members
    return given


# Mail

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
        raise Refusal(1230002, "no permission for this mailbox", 403)
    return call.tenant.work.mail.get(call.user.open_id, [])


@apis.api("GET", MAILBOX, user=READ_MAIL, limit=Limit(per_second=10))
async def list_mail(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", least=1, most=20)
    items, following, more = page(_mailbox(call), size, query.optional_text("page_token"))
    ids = [letter["message_id"] for letter in items]
    return success({"items": ids, "page_token": following, "has_more": more})


@apis.api("GET", MAILBOX + "/{message_id}", user=READ_MAIL, limit=Limit(per_minute=100))
async def get_mail(call: Call) -> web.Response:
    Parameters(call.query).choice("format", ("full", "plain_text_full", "metadata"), "full")
    letter = next((m for m in _mailbox(call) if m["message_id"] == call.path("message_id")), None)
    if letter is None:
        raise Refusal(1230001, "invalid message_id")
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
        raise Refusal(1234008, "to and a body are needed")
    known = ("send mail", call.user.open_id, key or "")
    if key and known in call.tenant.work.written:
        raise Refusal(1236005, "duplicate dedupe_key", 409)
    sent = {"message_id": new_id("", 24), "thread_id": new_id("", 16)}
    if key:
        call.tenant.work.written[known] = (call.tenant.clock.now(), sent)
    call.tenant.work.sent_mail.append({**sent, "from": call.user.open_id, **call.body})
    return success(sent)
