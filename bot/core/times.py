"""Days and times as people read them, in every language. No clock here: the moment is given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from bot.core.model import Words

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
    en="Times are in UTC, because I do not know your time zone.",
    zh="我不知道你的时区，因此以上时间均为 UTC 时间。",
)


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone; `known` is False when it stands in for one that nobody told."""

    tz: tzinfo
    name: str
    known: bool

    def local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.tz)

    def midnight(self, day: date) -> datetime:
        """When the day begins here. In UTC, so that it compares by time, not by the wall clock."""
        return datetime(day.year, day.month, day.day, tzinfo=self.tz).astimezone(UTC)


UNKNOWN_ZONE = Zone(UTC, "UTC", known=False)


def find_zone(name: str | None) -> Zone | None:
    """The zone of an IANA name, or None."""
    if not name:
        return None
    try:
        return Zone(ZoneInfo(name), name, known=True)
    except (KeyError, ValueError, OSError):  # unknown; not a name at all; a folder of names
        return None


def zone_or(name: str | None, default: str) -> Zone:
    """The zone of a person; the default where theirs is not known."""
    known = find_zone(name)
    if known is not None:
        return known
    fallback = find_zone(default)
    return Zone(fallback.tz, fallback.name, known=False) if fallback is not None else UNKNOWN_ZONE


def zone_named(zone: Zone) -> Words:
    """Which zone times are in, for an answer whose reader may be in another one."""
    if zone.name == UNKNOWN_ZONE.name:
        return ALL_TIMES_UTC
    return Words(en="Times in {zone}.", zh="时区：{zone}。").format(zone=zone.name)


def day_in_words(day: date, today: date) -> Words:
    """`Monday 5 January`, with the year when it is not this one."""
    weekday = WEEKDAYS[day.weekday()]
    year_en, year_zh = ("", "") if day.year == today.year else (f" {day.year}", f"{day.year}年")
    return Words(
        en=f"{weekday.en} {day.day} {MONTHS[day.month - 1]}{year_en}",
        zh=f"{year_zh}{day.month}月{day.day}日 {weekday.zh}",
    )


def near_day_in_words(day: date, today: date) -> Words:
    """As `day_in_words`, but today, tomorrow and yesterday say so first."""
    words = day_in_words(day, today)
    match day - today:
        case timedelta(days=0):
            return Words(en=f"Today, {words.en}", zh=f"今天 {words.zh}")
        case timedelta(days=1):
            return Words(en=f"Tomorrow, {words.en}", zh=f"明天 {words.zh}")
        case timedelta(days=-1):
            return Words(en=f"Yesterday, {words.en}", zh=f"昨天 {words.zh}")
        case _:
            return words


def time_in_words(moment: datetime, zone: Zone) -> str:
    return zone.local(moment).strftime("%H:%M")


def moment_in_words(moment: datetime, zone: Zone, today: date) -> Words:
    """A day with its time and zone."""
    local = zone.local(moment)
    day, time = day_in_words(local.date(), today), f"{local:%H:%M} {zone.name}"
    return Words(en=f"{day.en}, {time}", zh=f"{day.zh} {time}")


def near_moment_in_words(moment: datetime, zone: Zone, today: date) -> Words:
    """A time with its day, which is left out when it is a day away at most: `yesterday, 10:30`. The zone is not named."""
    local = zone.local(moment)
    time = f"{local:%H:%M}"
    near = {
        timedelta(days=0): Words(en="today", zh="今天"),
        timedelta(days=1): Words(en="tomorrow", zh="明天"),
        timedelta(days=-1): Words(en="yesterday", zh="昨天"),
    }
    day = near.get(local.date() - today) or day_in_words(local.date(), today)
    return Words(en=f"{day.en}, {time}", zh=f"{day.zh} {time}")
