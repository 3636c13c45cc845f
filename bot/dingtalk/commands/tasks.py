"""`/tasks` and `/task`: the user's open tasks, and a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from bot.core.api import ApiCall, Json, Write
from bot.core.command_replies import paragraph
from bot.core.commands import ApiRefused, Ask, Steps, command, nothing, with_names
from bot.core.language import Words
from bot.core.messages import Reply, Span
from bot.core.response_fields import child, items, line, link, mapping, moment, text
from bot.core.scopes import any_of
from bot.core.task_list import Task, render_tasks, title_of_new_task
from bot.core.words.refusals import unreadable
from bot.dingtalk.commands.profile import read_me, union_id_of
from bot.dingtalk.commands.refusals import code_of_refusal
from bot.dingtalk.error_codes import TASK_EXISTS

MAX_TITLE_LENGTH = 1024
"""The platform's limit for a task's subject."""

KEY_LIFETIME = timedelta(hours=1)
"""`sourceId` makes creation idempotent, as long as the task exists. How long afterwards is not documented."""

MAX_PAGES = 5

NO_USER = Words("your account", "你的账号")


def path_of(union_id: str, rest: str) -> str:
    return f"/v1.0/todo/users/{quote(union_id, safe='')}/{rest}"


# --- open tasks ----------------------------------------------------------------------------------------


@command(
    "tasks",
    summary=Words("your open tasks", "查看未完成任务"),
    needs=any_of("Todo.Todo.Read"),
    keep=nothing,
    private=True,
)
def tasks(ask: Ask) -> Steps:
    union_id = union_id_of((yield from read_me()))
    if union_id is None:
        return unreadable(NO_USER)
    found, more = yield from read_tasks(union_id)
    return render_tasks(found, ask, more=more)


def read_tasks(union_id: str) -> Generator[ApiCall, Any, tuple[list[Task], bool]]:
    """Return the open tasks, and whether there are more."""
    found: list[Task] = []
    page = "0"
    for _ in range(MAX_PAGES):
        query = {"isDone": False, "nextToken": page, "roleTypes": [["executor"]]}
        response = mapping(
            (yield ApiCall("POST", path_of(union_id, "org/tasks/query"), body=query, read=True))
        )
        found += [task for each in items(response, "todoCards") if (task := read_task(each)) is not None]
        following = response.get("nextToken")
        if not isinstance(following, str) or following in {"", "0", page}:
            return found, False
        page = following
    return found, True


def read_task(found: Mapping[str, Json]) -> Task | None:
    if found.get("isDone") is True:
        return None
    url = child(found, "detailUrl")
    return Task(
        title=line(found, "subject") or Words("(no title)", "（无标题）"),
        url=link(url.get("pcUrl")) or link(url.get("appUrl")),
        due=moment(found.get("dueTime"), per_second=1000),
        whole_day=None,
    )


# --- a new task -----------------------------------------------------------------------------------------


@command(
    "task",
    usage=Words("TITLE", "标题"),
    summary=Words("create a task", "创建任务"),
    needs=any_of("Todo.Todo.Write"),
    keep=with_names,
)
def task(ask: Ask) -> Steps:
    title = title_of_new_task(task, ask, MAX_TITLE_LENGTH)
    if isinstance(title, Reply):
        return title
    union_id = union_id_of((yield from read_me()))
    if union_id is None:
        return unreadable(NO_USER)
    try:
        created = mapping((yield new_task(ask, union_id, title)))
    except ApiRefused as refused:
        if not exists_already(refused):
            raise
        created = {}
    url = child(created, "detailUrl")
    shown = line(created, "subject", 200) or title[:200]
    return Reply(
        Words("Task created", "任务已创建"),
        (
            (Span("☐ "), Span(shown, url=link(url.get("pcUrl")))),
            paragraph(Words("Assigned to you.", "已指派给你。")),
        ),
    )


def new_task(ask: Ask, union_id: str, title: str) -> ApiCall:
    """Return the call that creates a task. A retry has the same `sourceId`."""
    return ApiCall(
        "POST",
        path_of(union_id, "tasks"),
        query={"operatorId": union_id},
        body={
            "sourceId": hashlib.sha256(f"task {ask.key}".encode()).hexdigest(),
            "subject": title,
            "creatorId": union_id,
            "executorIds": [union_id],
        },
        write=Write(keyed_for=KEY_LIFETIME),
    )


EXISTS = ("exist", "已存在", "重复")


def exists_already(refused: ApiRefused) -> bool:
    """Whether a task with this `sourceId` exists: an earlier attempt, whose response was lost, has created it.

    The same code is used for any wrong parameter, so only the message shows it.
    """
    if code_of_refusal(refused) != TASK_EXISTS:
        return False
    message = text(mapping(refused.outcome.data), "message").lower() or refused.outcome.message.lower()
    return any(word in message for word in EXISTS)
