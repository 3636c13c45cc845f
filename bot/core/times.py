"""Formats days and times in every language. The current day is a parameter: this module reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from bot.core.language import Words

WEEKDAYS = (
    Words("Monday", "周一"),
    Words("Tuesday", "周二"),
    Words("Wednesday", "周三"),
    Words("Thursday", "周四"),
    Words("Friday", "周五"),
    Words("Saturday", "周六"),
    Words("Sunday", "周日"),
)

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

ALL_TIMES_UTC = Words(
    en="Times in UTC.",
    zh="以上为 UTC 时间。",
)


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone."""

    tz: tzinfo
    name: str
    known: bool
    """Whether it is the user's. False for the default zone, which replaces an unknown one."""

    def local(self, moment: datetime) -> datetime:
        """Return the same time in this zone."""
        return moment.astimezone(self.tz)

    def midnight(self, day: date) -> datetime:
        """Return the start of the day, in UTC, because Python compares two times of the same zone by the wall clock."""
        return datetime(day.year, day.month, day.day, tzinfo=self.tz).astimezone(UTC)


UNKNOWN_ZONE = Zone(UTC, "UTC", known=False)


def find_zone(name: str | None) -> Zone | None:
    """Return the zone with an IANA name, or None if there is none."""
    if not name:
        return None
    try:
        return Zone(ZoneInfo(name), name, known=True)
    except (KeyError, ValueError, OSError):  # an unknown name; an invalid one; a directory such as "Europe"
        return None


def zone_or(name: str | None, default: str) -> Zone:
    """Return a user's zone, or the default one if theirs is unknown."""
    known = find_zone(name)
    if known is not None:
        return known
    fallback = find_zone(default)
    return Zone(fallback.tz, fallback.name, known=False) if fallback is not None else UNKNOWN_ZONE


def zone_named(zone: Zone) -> Words:
    """Return the line that states the zone of the times, for a reader who may be in another one."""
    if zone.name == UNKNOWN_ZONE.name:
        return ALL_TIMES_UTC
    return Words(en="Times in {zone}.", zh="时区：{zone}。").format(zone=zone.name)


def format_day(day: date, today: date) -> Words:
    """Return `Monday 5 January` for a heading, with the year if it is not the current one."""
    weekday = WEEKDAYS[day.weekday()]
    return with_date(f"{weekday.en} {day.day} {MONTHS[day.month - 1]}", day, today)


def with_date(en: str, day: date, today: date) -> Words:
    year_en, year_zh = ("", "") if day.year == today.year else (f" {day.year}", f"{day.year}年")
    return Words(f"{en}{year_en}", f"{year_zh}{day.month}月{day.day}日 {WEEKDAYS[day.weekday()].zh}")


NEAR_DAYS = {
    timedelta(days=0): Words("today", "今天"),
    timedelta(days=1): Words("tomorrow", "明天"),
    timedelta(days=-1): Words("yesterday", "昨天"),
}


def format_day_heading(day: date, today: date) -> Words:
    """Return `format_day`, preceded by the name of a near day: `Today · Monday 5 January`."""
    words, near = format_day(day, today), NEAR_DAYS.get(day - today)
    return Words(f"{near.en.capitalize()} · {words.en}", f"{near.zh} · {words.zh}") if near else words


def format_near_day(day: date, today: date) -> Words:
    """Return a day for use in a sentence: `today`, or `Mon 5 Jan`, with the year if it is not the current one."""
    short = f"{WEEKDAYS[day.weekday()].en[:3]} {day.day} {MONTHS[day.month - 1][:3]}"
    return NEAR_DAYS.get(day - today) or with_date(short, day, today)


def format_time(moment: datetime, zone: Zone) -> str:
    return zone.local(moment).strftime("%H:%M")


def format_near_moment(moment: datetime, zone: Zone, today: date) -> Words:
    """Return a day and time for use in a sentence: `tomorrow 18:02`. The zone is not named."""
    day, time = format_near_day(zone.local(moment).date(), today), format_time(moment, zone)
    return Words(f"{day.en} {time}", f"{day.zh} {time}")


def format_moment(moment: datetime, zone: Zone, today: date) -> Words:
    """Return `format_near_moment`, followed by the zone if it is not certainly the reader's."""
    words = format_near_moment(moment, zone, today)
    return words if zone.known else Words(f"{words.en} {zone.name}", f"{words.zh} {zone.name}")
