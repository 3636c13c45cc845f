"""`/tasks` and `/task`: list open tasks, and create one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from bot.core.api import ApiCall, Json, Write
from bot.core.command_replies import how_to_use, paragraph
from bot.core.commands import ApiRefused, Ask, Steps, command, nothing, with_names
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.pagination import Listed, read_pages
from bot.core.scopes import any_of
from bot.core.times import Zone, format_near_day, format_near_moment, zone_named
from bot.lark.commands.refusals import Refusal, Refusals, explain
from bot.lark.commands.response_fields import child, line, link, moment

MAX_SHOWN = 30
"""Fits into one message with room to spare."""

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


# --- open tasks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    title: Words | str
    url: str | None
    due: datetime | None
    whole_day: date | None
    """The due date of a task without a time, the same in every time zone."""

    def due_day(self, zone: Zone) -> date | None:
        return zone.local(self.due).date() if self.due else self.whole_day


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
    return render(found, ask)


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


def render(found: Listed, ask: Ask) -> Reply:
    zone = ask.zone
    today = zone.local(ask.asked_at).date()
    known = [task for each in found.items if (task := read_task(each)) is not None]
    if not known and not found.more:
        return Reply(
            Words("No open tasks", "没有未完成的任务"),
            (paragraph(Words("Nothing to do. Enjoy!", "没有待办事项，享受轻松时刻吧！")),),
        )
    known.sort(key=lambda task: (due_before(task, zone, today), str(task.title)))
    lines = grouped(known[:MAX_SHOWN], ask.asked_at, zone, today)
    if found.more:
        lines.append(
            paragraph(Words("… and more. See Tasks in the app.", "……还有更多，请在应用的“任务”中查看。"))
        )
    elif len(known) > MAX_SHOWN:
        more = Words("… and {n} more.", "……另有 {n} 项。").format(n=len(known) - MAX_SHOWN)
        lines.append(paragraph(more))
    if not zone.known and any(task.due for task in known):
        lines.append(paragraph(zone_named(zone)))
    count = f"{len(known)}+" if found.more else str(len(known))
    title = (
        Words("1 open task", "未完成任务（1）")
        if count == "1"
        else Words("{n} open tasks", "未完成任务（{n}）")
    )
    return Reply(title.format(n=count), tuple(lines))


def due_before(task: Task, zone: Zone, today: date) -> tuple[bool, datetime]:
    """Return the sort key: by due time, tasks without a date last. One with only a date is due at the end of the day."""
    if task.due:
        return False, task.due
    return task.whole_day is None, zone.midnight((task.whole_day or today) + timedelta(days=1))


def group_of(task: Task, now: datetime, zone: Zone, today: date) -> Words:
    due_day = task.due_day(zone)
    if due_day is None:
        return Words("No due date", "无截止日期")
    if due_day < today or (task.due and task.due < now):
        return Words("🔴 Overdue", "🔴 已逾期")
    return Words("🟠 Due today", "🟠 今天截止") if due_day == today else Words("Later", "后续")


def grouped(shown: Sequence[Task], now: datetime, zone: Zone, today: date) -> list[Line]:
    lines: list[Line] = []
    heading: Words | None = None
    for task in shown:
        group = group_of(task, now, zone, today)
        if group != heading:
            heading = group
            lines.append((Span(group, bold=True),))
        lines.append(task_line(task, zone, today))
    return lines


def task_line(task: Task, zone: Zone, today: date) -> Line:
    title = (Span("☐ "), Span(task.title, url=task.url))
    due_day = task.due_day(zone)
    if due_day is None:
        return title
    due = format_near_moment(task.due, zone, today) if task.due else format_near_day(due_day, today)
    return (*title, Span(" · "), Span(due))


# --- a new task -----------------------------------------------------------------------------------------


@command(
    "task",
    usage=Words("TITLE", "标题"),
    summary=Words("create a task", "创建任务"),
    needs=any_of("task:task:write", "task:task:writeonly"),
    keep=with_names,
)
def task(ask: Ask) -> Steps:
    title = " ".join(ask.arguments.split())
    if not title:
        return how_to_use(task, Words("/task Book a room for Friday", "/task 预订周五的会议室"))
    if len(title) > MAX_TITLE_LENGTH:
        problem = Words(
            "A title can have up to {most} characters; this one has {n}.",
            "标题最多 {most} 个字符，当前为 {n} 个。",
        )
        return how_to_use(task, problem=problem.format(most=MAX_TITLE_LENGTH, n=len(title)))
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
