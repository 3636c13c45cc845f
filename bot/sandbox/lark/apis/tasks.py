"""The task APIs: list and create tasks."""

import asyncio
import re

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.apis.contacts import ID_TYPES, find_person
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters, page
from bot.sandbox.lark.sample_work_data import make_task
from bot.sandbox.rate_limits import Limit

apis = Apis()

MILLISECONDS = re.compile(r"\d{12,13}\Z")
CLIENT_TOKEN_WINDOW = 5 * 60

READ_TASKS = one_of("task:task:read", "task:task:write")
WRITE_TASKS = one_of("task:task:write", "task:task:writeonly")


@apis.api("GET", "/task/v2/tasks", user=READ_TASKS)
async def list_tasks(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", minimum=1, maximum=100, default=50)
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
    """Create a task. The same `client_token` within five minutes of success returns the first result."""
    body = Parameters(call.body)
    token = body.optional_text("client_token", min_length=10, max_length=100)
    given = _task_fields(call, body)
    work, now = call.tenant.work, call.tenant.clock.now
    key = ("create task", call.user.open_id, token or "")
    if token:
        known = work.written.get(key)
        if known is not None and known[0] + CLIENT_TOKEN_WINDOW > now():
            return success({"task": known[1]})
        if key in work.being_written:
            raise ApiError(1470422, "concurrent requests with the same client_token", 500)
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
    call.tenant.feed.announce("work", {"event": "task created", "task": task})
    return success({"task": task})


def _task_fields(call: Call, body: Parameters) -> Json:
    summary = body.text("summary", max_length=3000)
    due, members = body.object("due"), body.list("members")
    if due is not None:
        timestamp = due.get("timestamp")
        if not isinstance(timestamp, str) or not MILLISECONDS.match(timestamp):
            raise ApiError(1470400, "due.timestamp must be a string of milliseconds")
    for member in members or ():
        if find_person(call.tenant, "open_id", str(member.get("id"))) is None or "role" not in member:
            raise ApiError(1470400, "a member has the open_id of a user and a role")
    given: Json = {"summary": summary, "description": body.optional_text("description") or "", "due": due}
    # Without members the creator becomes the assignee, so that the task shows in their list. That is a rule of
    # the sample data, not of the platform.
    if members is not None:
        given["members"] = members
    return given
