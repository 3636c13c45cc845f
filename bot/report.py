"""What operators read, as text: aligned tables within 100 columns, or JSON. Knows no database and no command.

Whatever came from a chat is shown with its control characters spelled out: a terminal obeys them.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bot.logs import escape

WIDTH = 100
NARROWEST = 6
"""Columns are not shrunk below this: then rather a line is longer."""

Value = object
"""A value of a row: text, a number, a truth value, a time, None, a list of texts; or rows, or facts."""

Row = Mapping[str, Value]


def as_json(answer: Value) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=2, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value)


def as_text(answer: Row | Sequence[Row]) -> str:
    """A table for rows. For a mapping its facts, then a headed section for each part that has its own."""
    if not isinstance(answer, Mapping):
        return table(answer)
    facts = {name: value for name, value in answer.items() if not _is_section(value)}
    parts = [_facts(facts)] if facts else []
    for name, value in answer.items():
        if _is_section(value):
            body = as_text(value) if value else "none"  # type: ignore[arg-type]
            parts.append(f"{_words(name)}\n{_indented(body)}")
    return "\n\n".join(parts)


def _is_section(value: Value) -> bool:
    """Rows, facts, or an empty list, of which nobody can tell."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value)


def _facts(facts: Row) -> str:
    widest = max(width(_words(name)) for name in facts)
    return "\n".join(f"{padded(_words(name), widest)}  {shown(value)}" for name, value in facts.items())


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def table(rows: Sequence[Row]) -> str:
    """Aligned columns under their names; the widest give way until a line fits."""
    if not rows:
        return "none"
    names = list(rows[0])
    cells = [[_words(name) for name in names], *([shown(row[name]) for name in names] for row in rows)]
    widths = fitting([max(map(width, column)) for column in zip(*cells, strict=True)])
    return "\n".join(
        "  ".join(padded(cut(cell, room), room) for cell, room in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def fitting(wanted: Sequence[int]) -> list[int]:
    """Widths that fit on a line with two spaces between: the widest columns are the first to give way."""
    widths = list(wanted)
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH - 2 and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def shown(value: Value) -> str:
    """One value on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case set() | frozenset():
            return shown(sorted(value))
        case list() | tuple():
            return ", ".join(shown(each) for each in value) or "-"
        case Mapping():
            return ", ".join(f"{_words(str(name))} {shown(each)}" for name, each in value.items()) or "-"
    return escape(str(value)) or "-"


def width(text: str) -> int:
    """Columns on a terminal, where Chinese characters take two."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def padded(text: str, room: int) -> str:
    return text + " " * (room - width(text))


def cut(text: str, room: int) -> str:
    """The text within its room. Of an id or key both ends stay, because the ends tell them apart."""
    if width(text) <= room:
        return text
    tail = _within(text[::-1], (room - 1) // 2)[::-1] if " " not in text else ""
    return _within(text, room - 1 - width(tail)) + "…" + tail


def _within(text: str, room: int) -> str:
    used = 0
    for place, character in enumerate(text):
        used += _columns(character)
        if used > room:
            return text[:place]
    return text
