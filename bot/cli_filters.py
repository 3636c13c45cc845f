"""The filters of operators' lists: reads `--since`, `--until` and `--status`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, time, timedelta

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
DURATION = re.compile(r"(?:(\d{1,6})([smhdw]))+", re.ASCII)
PART = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?", re.ASCII)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
DAYS = {"today": 0, "yesterday": 1}

EXAMPLES = (
    "write a time such as 09:30 (today), 2026-11-28T09:30, 2026-11-28T09:30Z, 2026-11-28 or today, "
    "or an age such as 2h or 3d"
)


def since(text: str) -> datetime:
    """Read the beginning of a period. A date means its first moment, in the local time zone."""
    return _read(text, end_of_day=False)


def until(text: str) -> datetime:
    """Read the end of a period. A date is included."""
    return _read(text, end_of_day=True)


def _read(text: str, *, end_of_day: bool) -> datetime:
    written = text.strip()
    try:
        found = (
            _ago(written)
            or _day(written, end_of_day=end_of_day)
            or _time_of_day(written)
            or datetime.fromisoformat(written)
        )
        # A time without a zone is local.
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: {EXAMPLES}") from None


def _ago(text: str) -> datetime | None:
    if not DURATION.fullmatch(text.lower()):
        return None
    parts = [timedelta(**{UNITS[unit]: int(count)}) for count, unit in PART.findall(text.lower())]
    return datetime.now(UTC) - sum(parts, timedelta())


def _time_of_day(text: str) -> datetime | None:
    """Return this time of today, by the local time zone."""
    if not TIME_OF_DAY.fullmatch(text):
        return None
    return datetime.combine(datetime.now().astimezone().date(), time.fromisoformat(text.zfill(len("09:30"))))


def _day(text: str, *, end_of_day: bool) -> datetime | None:
    """Return when a day begins or ends, by the local time zone."""
    if text.lower() in DAYS:
        day = datetime.now().astimezone().date() - timedelta(days=DAYS[text.lower()])
    elif DATE.fullmatch(text):
        day = datetime.fromisoformat(text).date()
    else:
        return None
    return datetime.combine(day + timedelta(days=end_of_day), time())


def statuses(allowed: Callable[[], Collection[str]] | None = None) -> Callable[[str], tuple[str, ...]]:
    """Return what reads `--status`: one word or several, separated by commas. `allowed` are the words that exist."""

    def read(text: str) -> tuple[str, ...]:
        words = tuple(word for part in text.split(",") if (word := part.strip()))
        if not words:
            raise argparse.ArgumentTypeError("--status is empty")
        known = allowed() if allowed is not None else words
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(
                    f"{word!r} is not a status here: choose from {', '.join(known)}"
                )
        return words

    return read


def calls() -> Collection[str]:
    from bot.core.calls import CallStatus  # noqa: PLC0415

    return [each.value for each in CallStatus]


def requests() -> Collection[str]:
    from bot.core.requests import RequestStatus  # noqa: PLC0415

    return [each.value for each in RequestStatus]


def users() -> Collection[str]:
    return ("active", "ended", "none")
