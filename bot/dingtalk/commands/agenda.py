"""`/agenda`: events of the primary calendar, for today, tomorrow, or seven days from today."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bot.core.agenda import DAY, Event, Events, Period, keep_period, period_of, render_agenda
from bot.core.api import ApiCall, Json
from bot.core.command_replies import how_to_use
from bot.core.commands import Ask, Steps, command
from bot.core.language import Words
from bot.core.response_fields import child, day, items, line, link, mapping, text
from bot.core.scopes import any_of
from bot.core.words.refusals import unreadable
from bot.dingtalk.commands.profile import read_me, union_id_of
from bot.dingtalk.commands.tasks import NO_USER

EVENTS_PER_PAGE = 100

MAX_PAGES = 5


@command(
    "agenda",
    usage=Words("[today|tomorrow|week]", "[今天|明天|本周]"),
    summary=Words("what's on your calendar", "查看日程"),
    needs=any_of("Calendar.Event.Read"),
    private=True,
    keep=keep_period,
)
def agenda(ask: Ask) -> Steps:
    period = period_of(ask.arguments)
    if period is None:
        return how_to_use(agenda, Words("/agenda tomorrow", "/agenda 明天"))
    union_id = union_id_of((yield from read_me()))
    if union_id is None:
        return unreadable(NO_USER)
    found = yield from read_events(union_id, ask.asked_at, period)
    return render_agenda(found, ask, period)


def read_events(union_id: str, asked_at: datetime, period: Period) -> Generator[ApiCall, Any, Events]:
    """Read the events of a period, and of the day before and after it: the time zone is known only from the events."""
    path = f"/v1.0/calendar/users/{quote(union_id, safe='')}/calendars/primary/events"
    query = {
        "timeMin": iso(asked_at + (period.first - 1) * DAY),
        "timeMax": iso(asked_at + (period.first + period.days) * DAY),
        "maxResults": str(EVENTS_PER_PAGE),
    }
    found: list[Event] = []
    for _ in range(MAX_PAGES):
        response = mapping((yield ApiCall("GET", path, dict(query))))
        found += [event for each in items(response, "events") if (event := read_event(each)) is not None]
        following = response.get("nextToken")
        if not isinstance(following, str) or not following:
            return Events(tuple(found))
        query["nextToken"] = following
    return Events(tuple(found), truncated=True)


def iso(at: datetime) -> str:
    return at.replace(microsecond=0).isoformat()


def read_event(found: Mapping[str, Json]) -> Event | None:
    if found.get("status") == "cancelled":
        return None
    starts, ends = child(found, "start"), child(found, "end")
    first, start = day(starts.get("date")), at_of(starts)
    if first is None and start is None:
        return None
    event = Event(
        title=line(found, "summary") or Words("(no title)", "（无标题）"),
        first=None,
        last=None,
        start=None,
        end=None,
        zone=text(starts, "timeZone"),
        place=line(child(found, "location"), "displayName", 60),
        url=None,
        meeting=link(child(found, "onlineMeetingInfo").get("url")),
    )
    if first is not None:
        # The end of an all-day event is the day after its last. For a single day it may equal the start.
        after = day(ends.get("date")) or first
        return replace(event, first=first, last=max(first, after - DAY))
    assert start is not None
    return replace(event, start=start, end=max(start, at_of(ends) or start))


def at_of(side: Mapping[str, Json]) -> datetime | None:
    """Return the time of one side of an event: ISO 8601 with its zone."""
    try:
        at = datetime.fromisoformat(text(side, "dateTime", 40))
    except ValueError:
        return None
    return at if at.tzinfo is not None and 1900 < at.year < 9000 else None
