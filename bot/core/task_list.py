"""Shows open tasks by their due dates, and reads the title of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bot.core.command_replies import how_to_use, paragraph
from bot.core.commands import Ask, Command
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.times import Zone, format_near_day, format_near_moment, zone_named

MAX_SHOWN = 30
"""Fits into one message with room to spare."""


@dataclass(frozen=True, slots=True)
class Task:
    title: Words | str
    url: str | None
    due: datetime | None
    whole_day: date | None
    """The due date of a task without a time, the same in every time zone."""

    def due_day(self, zone: Zone) -> date | None:
        return zone.local(self.due).date() if self.due else self.whole_day


def render_tasks(known: list[Task], ask: Ask, *, more: bool) -> Reply:
    """Return the reply that lists tasks. `more`: the platform has more than these."""
    zone = ask.zone
    today = zone.local(ask.asked_at).date()
    if not known and not more:
        return Reply(
            Words("No open tasks", "没有未完成的任务"),
            (paragraph(Words("Nothing to do. Enjoy!", "没有待办事项，享受轻松时刻吧！")),),
        )
    known = sorted(known, key=lambda task: (sort_key(task, zone, today), str(task.title)))
    lines = grouped(known[:MAX_SHOWN], ask.asked_at, zone, today)
    if more:
        lines.append(
            paragraph(Words("… and more. See Tasks in the app.", "……还有更多，请在应用的“任务”中查看。"))
        )
    elif len(known) > MAX_SHOWN:
        rest = Words("… and {n} more.", "……另有 {n} 项。").format(n=len(known) - MAX_SHOWN)
        lines.append(paragraph(rest))
    if not zone.known and any(task.due for task in known):
        lines.append(paragraph(zone_named(zone)))
    count = f"{len(known)}+" if more else str(len(known))
    title = (
        Words("1 open task", "未完成任务（1）")
        if count == "1"
        else Words("{n} open tasks", "未完成任务（{n}）")
    )
    return Reply(title.format(n=count), tuple(lines))


def sort_key(task: Task, zone: Zone, today: date) -> tuple[bool, datetime]:
    """Return the key that sorts by due time, with tasks without a date last. A date without a time is due at its end."""
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


def title_of_new_task(command: Command, ask: Ask, longest: int) -> str | Reply:
    """Return the title of the task to create, or how to use the command if it is missing or too long."""
    title = " ".join(ask.arguments.split())
    if not title:
        return how_to_use(command, Words("/task Book a room for Friday", "/task 预订周五的会议室"))
    if len(title) > longest:
        problem = Words(
            "A title can have up to {most} characters; this one has {n}.",
            "标题最多 {most} 个字符，当前为 {n} 个。",
        )
        return how_to_use(command, problem=problem.format(most=longest, n=len(title)))
    return title
