"""Shows the events of a calendar, for today, tomorrow, or seven days from today."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bot.core.command_replies import paragraph
from bot.core.commands import Ask, as_written
from bot.core.events import Mentions
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.times import Zone, find_zone, format_day_heading, format_time, zone_named
from bot.core.unseen_characters import one_line

DAY = timedelta(days=1)


MAX_ENTRIES = 30
"""Fits into one message with room to spare."""


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
"""Characters that are stored of the argument."""


def keep_period(text: str, mentions: Mentions) -> str:
    return one_line(as_written(text, mentions), MAX_PERIOD_LENGTH)


def period_of(written: str) -> Period | None:
    """Return the period for an argument, with or without punctuation around it."""
    return PERIODS.get(unicodedata.normalize("NFKC", written).strip(AROUND).lower())


AROUND = string.whitespace + string.punctuation + "‘’“”「」『』【】《》〈〉。、…"


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
    truncated: bool = False
    """Whether the platform has more events than these."""
    without_repeats: bool = False
    """Whether repeating events are included with their first occurrence only."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as shown on one day."""

    when: Words | str
    rank: tuple[bool, datetime | None]
    event: Event


ALL_DAY = Words("All day", "全天")


NOTHING_PLANNED: Line = paragraph(Words("Nothing on your calendar.", "没有日程安排。"))


def render_agenda(found: Events, ask: Ask, period: Period) -> Reply:
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
    """Return the time zone of most events, else the user's, and whether events have several."""
    named = zones_named(events)
    zone = find_zone(named.most_common(1)[0][0]) if named else None
    return zone or asker, len(named) > 1


def time_zone_of_most(events: Sequence[Event]) -> str | None:
    """Return the time zone of more than half of the events, or None. It is taken to be the user's."""
    named = zones_named(events)
    return next((name for name, count in named.items() if count * 2 > named.total()), None)


def entries(events: Iterable[Event], on: date, zone: Zone) -> list[Entry]:
    """Return the entries of a day: all-day events first, then by time."""
    midnight, next_midnight = zone.midnight(on), zone.midnight(on + DAY)
    found = [
        entry for event in events if (entry := entry_on(event, on, midnight, next_midnight, zone)) is not None
    ]
    return sorted(found, key=lambda entry: (entry.rank[0], entry.rank[1] or midnight))


def entry_on(event: Event, on: date, midnight: datetime, next_midnight: datetime, zone: Zone) -> Entry | None:
    """Return the entry of an event on one day, or None if it is on other days."""
    if event.start is None or event.end is None:
        is_on = event.first is not None and event.last is not None and event.first <= on <= event.last
        return Entry(ALL_DAY, (False, None), event) if is_on else None
    if event.start >= next_midnight or event.start < midnight >= event.end:
        return None
    if event.start <= midnight and event.end >= next_midnight:
        return Entry(ALL_DAY, (False, None), event)
    start, end = format_time(event.start, zone), format_time(event.end, zone)
    if event.start < midnight:
        return Entry(Words(f"until {end}", f"至 {end}"), (True, None), event)
    if event.end > next_midnight:
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
    texts: list[Words] = []
    if left_out:
        texts.append(Words("… and {n} more.", "……还有 {n} 项。").format(n=left_out))
    if found.truncated:
        texts.append(Words("Too many events to show them all.", "日程过多，未能全部显示。"))
    if found.without_repeats:
        texts.append(Words("Some repeating events may be missing.", "部分重复日程可能未显示。"))
    if not zone.known:
        texts.append(zone_named(zone))
    elif mixed:
        texts.append(Words("Times in {zone}.", "以上为 {zone} 时间。").format(zone=one_line(zone.name)))
    return [paragraph(each) for each in texts]
