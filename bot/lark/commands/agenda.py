"""`/agenda`: events of the primary calendar, for today, tomorrow, or seven days from today."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bot.core.agenda import DAY, Event, Events, Period, keep_period, period_of, render_agenda
from bot.core.api import ApiCall, Json
from bot.core.command_replies import how_to_use
from bot.core.commands import ApiRefused, Ask, Steps, command
from bot.core.language import Words
from bot.core.response_fields import calendar_id, child, day, items, line, link, moment, text
from bot.core.scopes import all_of, any_of
from bot.core.words.refusals import unreadable
from bot.lark.commands.refusals import Refusal, Refusals, explain

EVENTS_PER_CALL = 1000
"""The platform's limit. A request for a time range has no further pages."""


NEEDS = all_of(
    any_of("calendar:calendar:readonly", "calendar:calendar:read"),
    any_of("calendar:calendar:readonly", "calendar:calendar.event:read", "calendar:calendar"),
)
"""One clause for finding the primary calendar, one for reading its events. The preferred scope suffices for both."""


REFUSALS: Refusals = {
    code: Refusal(
        Words("You can't use Calendar at the moment", "你目前无法使用日历功能"),
        Words(
            "Try opening Calendar in the app. If it works there, contact your administrator.",
            "请先在应用中打开“日历”。如果能正常使用，请联系管理员。",
        ),
    )
    for code in (191000, 191001, 191002, 191003, 191004, 195100)
}


@command(
    "agenda",
    usage=Words("[today|tomorrow|week]", "[今天|明天|本周]"),
    summary=Words("what's on your calendar", "查看日程"),
    needs=NEEDS,
    private=True,
    keep=keep_period,
)
def agenda(ask: Ask) -> Steps:
    period = period_of(ask.arguments)
    if period is None:
        return how_to_use(agenda, Words("/agenda tomorrow", "/agenda 明天"))
    try:
        primary = yield ApiCall("POST", "/open-apis/calendar/v4/calendars/primary", read=True)
        calendar = primary_calendar(primary)
        if calendar is None:
            return unreadable(Words("your calendar", "你的日历"))
        found = yield from read_events(calendar, ask.asked_at, period)
    except ApiRefused as refused:
        return explain(refused, REFUSALS)
    return render_agenda(found, ask, period)


def primary_calendar(response: Json) -> str | None:
    """Return the id of the calendar of type `primary`, else of the first."""
    calendars = [child(each, "calendar") for each in items(child(response, "data"), "calendars")]
    calendars.sort(key=lambda each: each.get("type") != "primary")
    ids = (calendar_id(each.get("calendar_id")) for each in calendars)
    return next((each for each in ids if each), None)


def read_events(calendar: str, asked_at: datetime, period: Period) -> Generator[ApiCall, Any, Events]:
    """Read the events of a period, with a day before and after it, because the time zone is only known from the events.

    The list contains a repeating event once, at its first time. If there is one, the view that repeats events is read.
    """
    path = f"/open-apis/calendar/v4/calendars/{quote(calendar, safe='@')}/events"
    span = {
        "start_time": str(int((asked_at + (period.first - 1) * DAY).timestamp())),
        "end_time": str(int((asked_at + (period.first + period.days) * DAY).timestamp())),
    }
    data = child((yield ApiCall("GET", path, {**span, "page_size": str(EVENTS_PER_CALL)})), "data")
    found = items(data, "items")
    events = Events(tuple(readable_events(found)), truncated=data.get("has_more") is True)
    if not any(text(each, "recurrence") for each in found):
        return events
    try:
        view = child((yield ApiCall("GET", f"{path}/instance_view", span)), "data")
    except ApiRefused:
        return replace(events, without_repeats=True)
    return Events(tuple(readable_events(items(view, "items"))))


def readable_events(found: Iterable[Mapping[str, Json]]) -> Iterable[Event]:
    """Yield the events that can be parsed, except cancelled and declined ones."""
    for each in found:
        if each.get("status") == "cancelled" or each.get("self_rsvp_status") == "decline":
            continue
        event = read_event(each)
        if event is not None:
            yield event


def read_event(found: Mapping[str, Json]) -> Event | None:
    starts, ends = child(found, "start_time"), child(found, "end_time")
    first, start = day(starts.get("date")), moment(starts.get("timestamp"))
    if first is None and start is None:
        return None
    location = child(found, "location")
    event = Event(
        title=line(found, "summary") or Words("(no title)", "（无标题）"),
        first=None,
        last=None,
        start=None,
        end=None,
        zone=text(starts, "timezone"),
        place=line(location, "name", 60) or line(location, "address", 60),
        url=link(found.get("app_link")),
        meeting=link(child(found, "vchat").get("meeting_url")),
    )
    if first is not None:
        # The end of an all-day event is the day after its last. For a single day it may equal the start.
        after = day(ends.get("date")) or first
        return replace(event, first=first, last=max(first, after - DAY))
    assert start is not None
    return replace(event, start=start, end=max(start, moment(ends.get("timestamp")) or start))
