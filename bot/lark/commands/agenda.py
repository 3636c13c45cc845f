"""`/agenda`: events of the primary calendar, for today, tomorrow, or seven days from today."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from bot.core.api import ApiCall, Json
from bot.core.command_replies import how_to_use, paragraph
from bot.core.commands import ApiRefused, Ask, Steps, as_written, command
from bot.core.events import Mentions
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.scopes import all_of, any_of
from bot.core.times import Zone, find_zone, format_day_heading, format_time, zone_named
from bot.core.unseen_characters import one_line
from bot.core.words.refusals import unreadable
from bot.lark.commands.refusals import Refusal, Refusals, explain
from bot.lark.commands.response_fields import calendar_id, child, day, items, line, link, moment, text

DAY = timedelta(days=1)

MAX_ENTRIES = 30
"""Fits into one message with room to spare."""

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


@dataclass(frozen=True, slots=True)
class Period:
    """Consecutive days. `first` is counted from the day of the request."""

    first: int
    days: int


TODAY, TOMORROW, WEEK = Period(0, 1), Period(1, 1), Period(0, 7)

PERIODS = {
    **dict.fromkeys(("", "today", "今天", "今日"), TODAY),
    **dict.fromkeys(("tomorrow", "明天", "明日"), TOMORROW),
    **dict.fromkeys(
        ("week", "this week", "一周", "本周", "这周", "这一周", "这星期", "本星期", "一週", "本週", "這週"),
        WEEK,
    ),
}

MAX_PERIOD_LENGTH = 20
"""Characters of the argument that are stored."""


def keep_period(text: str, mentions: Mentions) -> str:
    return one_line(as_written(text, mentions), MAX_PERIOD_LENGTH)


def period_of(written: str) -> Period | None:
    """Return the period for an argument, with or without punctuation around it."""
    return PERIODS.get(unicodedata.normalize("NFKC", written).strip(AROUND).lower())


AROUND = string.whitespace + string.punctuation + "‘’“”「」『』【】《》〈〉。、…"


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
    return render(found, ask, period)


def primary_calendar(response: Json) -> str | None:
    """Return the id of the calendar of type `primary`, else of the first."""
    calendars = [child(each, "calendar") for each in items(child(response, "data"), "calendars")]
    calendars.sort(key=lambda each: each.get("type") != "primary")
    ids = (calendar_id(each.get("calendar_id")) for each in calendars)
    return next((each for each in ids if each), None)


# --- events ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """An event, either of whole days (`first` to `last`, inclusive) or from `start` to `end`."""

    title: Words | str
    first: date | None
    last: date | None
    start: datetime | None
    end: datetime | None
    zone: str
    place: str
    url: str | None
    meeting: str | None


@dataclass(frozen=True, slots=True)
class Events:
    events: tuple[Event, ...]
    cut: bool = False
    """The platform has more events than it returned."""
    without_repeats: bool = False
    """Of repeating events, only the first occurrence is included."""


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
    events = Events(tuple(readable_events(found)), cut=data.get("has_more") is True)
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


# --- the reply -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as shown on one day."""

    when: Words | str
    rank: tuple[bool, datetime | None]
    event: Event


ALL_DAY = Words("All day", "全天")

NOTHING_PLANNED: Line = paragraph(Words("Nothing on your calendar.", "没有日程安排。"))


def render(found: Events, ask: Ask, period: Period) -> Reply:
    zone, mixed = zone_of(found.events, ask.zone)
    today = zone.local(ask.asked_at).date()
    days = [today + (period.first + n) * DAY for n in range(period.days)]
    agenda_of = {each: entries(found.events, each, zone) for each in days}
    lines, left_out = day_by_day(agenda_of, today)
    if period.days == 1:
        title = format_day_heading(days[0], today)
        lines = lines[1:]
    else:
        title = Words("Next {n} days", "未来 {n} 天").format(n=period.days)
    return Reply(
        title,
        (*(lines or [NOTHING_PLANNED]), *notes(found, zone, mixed, left_out)),
        time_zone=time_zone_of_most(found.events),
    )


def zones_named(events: Sequence[Event]) -> Counter[str]:
    return Counter(event.zone for event in events if event.start and find_zone(event.zone))


def zone_of(events: Sequence[Event], asker: Zone) -> tuple[Zone, bool]:
    """Return the most common time zone of the events, else the user's; and whether the events have several."""
    named = zones_named(events)
    zone = find_zone(named.most_common(1)[0][0]) if named else None
    return zone or asker, len(named) > 1


def time_zone_of_most(events: Sequence[Event]) -> str | None:
    """Return the time zone of more than half of the events, which is assumed to be the user's; None if there is none."""
    named = zones_named(events)
    return next((name for name, count in named.items() if count * 2 > named.total()), None)


def entries(events: Iterable[Event], on: date, zone: Zone) -> list[Entry]:
    """Return the entries of a day: all-day events first, then by time."""
    begins, over = zone.midnight(on), zone.midnight(on + DAY)
    found = [entry for event in events if (entry := entry_on(event, on, begins, over, zone)) is not None]
    return sorted(found, key=lambda entry: (entry.rank[0], entry.rank[1] or begins))


def entry_on(event: Event, on: date, begins: datetime, over: datetime, zone: Zone) -> Entry | None:
    """Return how an event is shown on a day, from `begins` to `over`; None if it does not take place on that day."""
    if event.start is None or event.end is None:
        held = event.first is not None and event.last is not None and event.first <= on <= event.last
        return Entry(ALL_DAY, (False, None), event) if held else None
    if event.start >= over or event.start < begins >= event.end:
        return None
    if event.start <= begins and event.end >= over:
        return Entry(ALL_DAY, (False, None), event)
    start, end = format_time(event.start, zone), format_time(event.end, zone)
    if event.start < begins:
        return Entry(Words(f"until {end}", f"至 {end}"), (True, None), event)
    if event.end > over:
        return Entry(Words(f"from {start}", f"{start} 起"), (True, event.start), event)
    return Entry(start if event.start == event.end else f"{start}–{end}", (True, event.start), event)


def day_by_day(agenda_of: Mapping[date, list[Entry]], today: date) -> tuple[list[Line], int]:
    """Return the lines of each day that has entries, and the number of entries that were left out."""
    lines: list[Line] = []
    room, left_out = MAX_ENTRIES, 0
    for each, found in agenda_of.items():
        shown = found[:room]
        room, left_out = room - len(shown), left_out + len(found) - len(shown)
        if shown:
            lines.append((Span(format_day_heading(each, today), bold=True),))
            lines += [entry_line(entry) for entry in shown]
    return lines, left_out


def entry_line(entry: Entry) -> Line:
    event = entry.event
    spans = [Span(entry.when, bold=True), Span("  "), Span(event.title, url=event.url)]
    if event.place:
        spans.append(Span(f" · {event.place}"))
    if event.meeting:
        spans += [Span(" · "), Span(Words("Join", "加入会议"), url=event.meeting)]
    return tuple(spans)


def notes(found: Events, zone: Zone, mixed: bool, left_out: int) -> list[Line]:
    """Return the notes below the events."""
    sentences: list[Words] = []
    if left_out:
        sentences.append(Words("… and {n} more.", "……还有 {n} 项。").format(n=left_out))
    if found.cut:
        sentences.append(Words("Too many events to show them all.", "日程过多，未能全部显示。"))
    if found.without_repeats:
        sentences.append(Words("Some repeating events may be missing.", "部分重复日程可能未显示。"))
    if not zone.known:
        sentences.append(zone_named(zone))
    elif mixed:
        sentences.append(Words("Times in {zone}.", "以上为 {zone} 时间。").format(zone=one_line(zone.name)))
    return [paragraph(each) for each in sentences]
