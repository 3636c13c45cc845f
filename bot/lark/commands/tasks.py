"""`/tasks` and `/task`: the user's open tasks, and a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, timedelta

from bot.core.api import ApiCall, Json, Write
from bot.core.command_replies import paragraph
from bot.core.commands import ApiRefused, Ask, Steps, command, nothing, with_names
from bot.core.language import Words
from bot.core.messages import Reply, Span
from bot.core.pagination import read_pages
from bot.core.response_fields import child, line, link, moment
from bot.core.scopes import any_of
from bot.core.task_list import Task, render_tasks, title_of_new_task
from bot.lark.commands.refusals import Refusal, Refusals, explain

MAX_TITLE_LENGTH = 3000
"""The platform's limit for a task's summary."""


KEY_LIFETIME = timedelta(minutes=4)
"""The platform remembers a `client_token` for five minutes. One minute is a margin for the request itself."""


NO_ACCESS = Refusal(
    Words("You can't use Tasks at the moment", "你目前无法使用任务功能"),
    Words(
        "Try opening Tasks in the app. If it works there, contact your administrator.",
        "请先在应用中打开“任务”。如果能正常使用，请联系管理员。",
    ),
)


STILL_BEING_CREATED = Refusal(
    Words("Your task is being created", "任务正在创建"),
    Words(
        "Please check your tasks in a moment.",
        "请稍后查看任务列表。",
    ),
)


READ_REFUSALS: Refusals = {1470403: NO_ACCESS, 1470404: NO_ACCESS}


WRITE_REFUSALS: Refusals = {1470403: NO_ACCESS, 1470422: STILL_BEING_CREATED}


@command(
    "tasks",
    summary=Words("your open tasks", "查看未完成任务"),
    needs=any_of("task:task:read", "task:task:write"),
    keep=nothing,
    private=True,
)
def tasks(ask: Ask) -> Steps:
    query = {"page_size": "100", "completed": "false", "type": "my_tasks"}
    try:
        found = yield from read_pages(ApiCall("GET", "/open-apis/task/v2/tasks", query))
    except ApiRefused as refused:
        return explain(refused, READ_REFUSALS)
    known = [task for each in found.items if (task := read_task(each)) is not None]
    return render_tasks(known, ask, more=found.more)


def read_task(found: Mapping[str, Json]) -> Task | None:
    if moment(found.get("completed_at"), per_second=1000) or found.get("status") == "done":
        return None
    due = child(found, "due")
    at = moment(due.get("timestamp"), per_second=1000)
    # A date without a time is given as midnight UTC.
    whole_day = at.astimezone(UTC).date() if at and due.get("is_all_day") is True else None
    return Task(
        title=line(found, "summary") or Words("(no title)", "（无标题）"),
        url=link(found.get("url")),
        due=None if whole_day else at,
        whole_day=whole_day,
    )


@command(
    "task",
    usage=Words("TITLE", "标题"),
    summary=Words("create a task", "创建任务"),
    needs=any_of("task:task:write", "task:task:writeonly"),
    keep=with_names,
)
def task(ask: Ask) -> Steps:
    title = title_of_new_task(task, ask, MAX_TITLE_LENGTH)
    if isinstance(title, Reply):
        return title
    try:
        created = yield new_task(ask, title)
    except ApiRefused as refused:
        return explain(refused, WRITE_REFUSALS)
    made = child(created, "data", "task")
    return Reply(
        Words("Task created", "任务已创建"),
        (
            (Span("☐ "), Span(line(made, "summary", 200) or title[:200], url=link(made.get("url")))),
            paragraph(Words("Assigned to you.", "已指派给你。")),
        ),
    )


def new_task(ask: Ask, title: str) -> ApiCall:
    """Return the call that creates a task. Its `client_token` is the same whenever the command is replayed."""
    return ApiCall(
        "POST",
        "/open-apis/task/v2/tasks",
        query={"user_id_type": "open_id"},
        body={
            "summary": title,
            "members": [{"id": ask.user.open_id, "type": "user", "role": "assignee"}],
            "client_token": hashlib.sha256(f"task {ask.key}".encode()).hexdigest(),
        },
        write=Write(keyed_for=KEY_LIFETIME),
    )
