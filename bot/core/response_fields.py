"""Reads fields of responses. Nothing here raises: a value of the wrong type counts as missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

from bot.core.api import Json
from bot.core.unseen_characters import one_line, tidy

MAX_LINK_LENGTH = 2000

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""The token of a document or wiki node, safe within a path."""

CALENDAR_ID = re.compile(r"[A-Za-z0-9_@.=+-]{1,200}")


def mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def child(value: Json, *names: str) -> Mapping[str, Json]:
    """Return the object at a path of names, empty if there is none."""
    for name in names:
        value = mapping(value).get(name)
    return mapping(value)


def items(value: Json, name: str) -> list[Mapping[str, Json]]:
    """Return the objects of a list, without its other items."""
    found = mapping(value).get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


MAX_TEXT_LENGTH = 10_000
"""Characters of a text that are read, because a response may contain megabytes."""


def text(value: Mapping[str, Json], name: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return a text without unprintable characters, or an empty string if there is none."""
    found = value.get(name)
    return tidy(found[:max_length]) if isinstance(found, str) else ""


def line(value: Mapping[str, Json], name: str, limit: int = 120) -> str:
    return one_line(text(value, name), limit)


def number(value: Json) -> int | None:
    """Return an integer, which the platform often writes as text, or None."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


EARLIEST, LATEST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
"""Times beyond these are clamped, so that another time zone or the next day is still within the calendar's range."""


def moment(value: Json, *, per_second: int = 1) -> datetime | None:
    """Return the time of a Unix timestamp in seconds, or in milliseconds with `per_second=1000`. Zero means none."""
    units = number(value)
    if not units:
        return None
    try:
        return min(max(datetime.fromtimestamp(units / per_second, UTC), EARLIEST), LATEST)
    except (ValueError, OverflowError, OSError):
        return None


def day(value: Json) -> date | None:
    """Return the date in an ISO 8601 text, or None."""
    try:
        return (
            min(max(date.fromisoformat(value), EARLIEST.date()), LATEST.date())
            if isinstance(value, str)
            else None
        )
    except ValueError:
        return None


def link(value: Json) -> str | None:
    """Return the value if it is an http(s) URL without spaces and unprintable characters, else None."""
    if not isinstance(value, str) or len(value) > MAX_LINK_LENGTH or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in {"http", "https"} and parts.hostname else None


def token(value: Json) -> str | None:
    """Return the value if it is a token that is safe within a path, else None."""
    return value if isinstance(value, str) and TOKEN.fullmatch(value) else None


def calendar_id(value: Json) -> str | None:
    safe = isinstance(value, str) and CALENDAR_ID.fullmatch(value) and ".." not in value and value != "."
    return value if safe else None
