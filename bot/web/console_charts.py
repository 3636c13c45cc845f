"""The geometry of the console's charts. The templates draw them as SVG, with the same numbers in a table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.core.calls import CallStatus
from bot.core.language import Words
from bot.core.times import Zone, format_near_day
from bot.core.words import console as words
from bot.flows.console import Overview

COLUMN_WIDTH = 10
HEIGHT = 100


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a column. `kind` is its class in the style sheet."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    label: str | Words
    title: Words
    x: float
    segments: tuple[Segment, ...]
    numbers: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns on a scale from 0 to `top`, in a box of `width` by 100."""

    columns: tuple[Column, ...]
    top: int
    kinds: tuple[str, ...]
    """The parts of a column, from the bottom up."""

    @property
    def width(self) -> int:
        return COLUMN_WIDTH * len(self.columns)

    @property
    def is_empty(self) -> bool:
        return not any(each.total for each in self.columns)


def round_top(most: int) -> int:
    """Return the next round number, for the top of a scale: 1, 2, 4, 6, 8, 10, 20, 40…"""
    power = 1
    while power * 10 < most:
        power *= 10
    return next((power * step for step in (1, 2, 4, 6, 8, 10) if power * step >= most), 10 * power)


def chart(rows: Sequence[tuple[str | Words, Words, Mapping[str, int]]], kinds: tuple[str, ...]) -> Chart:
    """Return a chart of rows of label, title and numbers by kind."""
    totals = [sum(numbers.get(kind, 0) for kind in kinds) for _, _, numbers in rows]
    top = round_top(max(totals, default=0))
    columns = []
    for position, ((label, title, numbers), total) in enumerate(zip(rows, totals, strict=True)):
        segments, below = [], 0.0
        for kind in kinds:
            height = HEIGHT * numbers.get(kind, 0) / top
            if height:
                segments.append(Segment(kind, round(HEIGHT - below - height, 2), round(height, 2)))
            below += height
        counted = tuple(numbers.get(kind, 0) for kind in kinds)
        columns.append(Column(label, title, COLUMN_WIDTH * position, tuple(segments), counted, total))
    return Chart(tuple(columns), top, kinds)


ENDINGS = (
    CallStatus.SUCCEEDED,
    CallStatus.CANCELLED,
    CallStatus.EXPIRED,
    CallStatus.OUTCOME_UNKNOWN,
    CallStatus.FAILED,
)
"""From the bottom of a column up."""


def outcome_chart(overview: Overview, zone: Zone) -> Chart:
    """Return the chart of how calls ended on each day."""
    today = zone.local(overview.as_of).date()
    rows: list[tuple[str | Words, Words, Mapping[str, int]]] = []
    for each in overview.outcomes:
        day = zone.local(each.begins_at).date()
        rows.append((str(day.day), format_near_day(day, today), each.numbers))
    return chart(rows, tuple(each.value for each in ENDINGS))


def consent_chart(seconds: Sequence[float]) -> Chart:
    """Return the distribution of the times that consents took."""
    limits = [limit for limit, _ in words.BUCKETS if limit is not None]
    numbers = [0] * len(words.BUCKETS)
    for each in seconds:
        numbers[bisect_right(limits, each)] += 1
    return chart(
        [
            (label, label, {"consent": number})
            for (_, label), number in zip(words.BUCKETS, numbers, strict=True)
        ],
        ("consent",),
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value below which this share of the ordered values lies; None if there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
