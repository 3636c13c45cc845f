"""Taking from a response what is there. Nothing in here raises: what does not fit counts as missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

from bot.core.api import Json
from bot.core.unseen_characters import one_line, tidy

LONGEST_LINK = 2000

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""A document's or a node's token, as it may stand in a path."""

CALENDAR_ID = re.compile(r"[A-Za-z0-9_@.=+-]{1,200}")


def mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def child(value: Json, *names: str) -> Mapping[str, Json]:
    """The object at the end of a path of names; an empty one when the path leads nowhere."""
    for name in names:
        value = mapping(value).get(name)
    return mapping(value)


def items(value: Json, name: str) -> list[Mapping[str, Json]]:
    """The objects of a list; whatever else is in it is left out."""
    found = mapping(value).get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


LONGEST_TEXT = 10_000
"""Characters of a title, a name or the like that are looked at: an answer may hold megabytes."""


def text(value: Mapping[str, Json], name: str, longest: int = LONGEST_TEXT) -> str:
    """A string without what cannot be shown; empty when there is none."""
    found = value.get(name)
    return tidy(found[:longest]) if isinstance(found, str) else ""


def line(value: Mapping[str, Json], name: str, limit: int = 120) -> str:
    return one_line(text(value, name), limit)


def number(value: Json) -> int | None:
    """An integer, which the platform often writes as a string."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


FIRST, LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
"""What lies beyond is taken for these: in some time zone, or a day further, the calendar would be at its end."""


def moment(value: Json, *, per_second: int = 1) -> datetime | None:
    """A time since the epoch, in seconds or (`per_second=1000`) in milliseconds; zero means none."""
    units = number(value)
    if not units:
        return None
    try:
        return min(max(datetime.fromtimestamp(units / per_second, UTC), FIRST), LAST)
    except (ValueError, OverflowError, OSError):
        return None


def day(value: Json) -> date | None:
    """A date as ISO 8601 writes it."""
    try:
        return (
            min(max(date.fromisoformat(value), FIRST.date()), LAST.date()) if isinstance(value, str) else None
        )
    except ValueError:
        return None


def link(value: Json) -> str | None:
    """A link that may be put before people: http or https, and nothing in it that does not show."""
    if not isinstance(value, str) or len(value) > LONGEST_LINK or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in {"http", "https"} and parts.hostname else None


def token(value: Json) -> str | None:
    """A token that may stand in a path."""
    return value if isinstance(value, str) and TOKEN.fullmatch(value) else None


def calendar_id(value: Json) -> str | None:
    safe = isinstance(value, str) and CALENDAR_ID.fullmatch(value) and ".." not in value and value != "."
    return value if safe else None
