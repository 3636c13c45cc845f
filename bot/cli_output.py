"""Formats answers for operators: aligned tables within 100 columns, or JSON.

Does not depend on the database or the commands. Control characters in text from chats are escaped, because a terminal
would execute them.
"""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeGuard

from bot.core.unseen_characters import escape, escape_json

WIDTH = 100
MIN_COLUMN_WIDTH = 6
"""Columns are not shrunk below this; a line becomes longer instead."""

Value = object
"""A value of a row: text, a number, a boolean, a time, None, a list of texts; or rows, or a mapping."""

Row = Mapping[str, Value]


def as_json(answer: Value) -> str:
    return escape_json(json.dumps(answer, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


Columns = Mapping[str, str]
"""Column headings, each with the field of the row that it shows."""


def _without(columns: Columns, *fields: str) -> Columns:
    return {heading: field for heading, field in columns.items() if field not in fields}


_CALLS: Columns = {
    "asked": "asked_at",
    "who": "user_key",
    "command": "command",
    "status": "status",
    "waits for": "waits_for",
    "needs": "needs",
    "outcome": "outcome",
}
_AUDIT: Columns = {"at": "at", "what": "action", "who": "user_key", "detail": "detail"}
_REQUESTS: Columns = {
    "created": "created_at",
    "who": "user_key",
    "status": "status",
    "asks for": "scopes",
    "granted": "granted",
    "for": "reasons",
}
_PEOPLE: Columns = {
    "name": "name",
    "who": "user_key",
    "grant": "grant",
    "scopes": "scopes",
    "waiting": "suspended_calls",
    "seen": "seen_at",
}
COLUMNS: Mapping[str, Columns] = {
    "users": _PEOPLE,
    "requests": _REQUESTS,
    "calls": _CALLS,
    "audit": _AUDIT,
    "explain.waiting": _without(_CALLS, "user_key", "outcome"),
    "explain.recent_calls": _without(_CALLS, "user_key", "needs"),
    "explain.audit": _without(_AUDIT, "user_key"),
}
"""The columns of each table, by its name. JSON contains every field."""


def as_text(name: str, answer: Row | Sequence[Row]) -> str:
    """Format rows as a table, and a mapping as its plain values followed by a section for each nested part."""
    if not isinstance(answer, Mapping):
        return table(answer, _with_app(COLUMNS.get(name), answer))
    facts = {each: value for each, value in answer.items() if not _is_section(value)}
    sections = [
        f"{_words(each)}\n{_indented(as_text(f'{name}.{each}', value))}"
        for each, value in answer.items()
        if _is_section(value)
    ]
    return "\n\n".join([*([_facts(facts)] if facts else []), *sections])


def _with_app(columns: Columns | None, rows: Sequence[Row]) -> Columns | None:
    """Add the app's column if the rows have one, as they do if there are several apps."""
    return {"app": "app", **columns} if columns and rows and "app" in rows[0] else columns


def _is_section(value: Value) -> TypeGuard[Row | Sequence[Row]]:
    """Whether a value is rows, or a mapping that contains more than integers."""
    if isinstance(value, Mapping):
        return not all(isinstance(each, int) for each in value.values())
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _facts(facts: Row) -> str:
    widest = max(width(_words(name)) for name in facts)
    return "\n".join(
        f"{padded(_words(name), widest)}  {_wrapped(shown(value), widest + 2)}"
        for name, value in facts.items()
    )


def _wrapped(text: str, indent: int) -> str:
    lines = textwrap.wrap(text, WIDTH - 2 - indent, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * indent}".join(lines)


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def table(rows: Sequence[Row], columns: Columns | None = None) -> str:
    """Format aligned columns under their headings. The widest columns are shrunk until a line fits."""
    if not rows:
        return "none"
    columns = columns or {_words(name): name for name in rows[0]}
    cells = [list(columns), *([_cell(field, row[field]) for field in columns.values()] for row in rows)]
    wanted = [max(map(width, column)) for column in zip(*cells, strict=True)]
    whole = [
        field == "app" or any(isinstance(row[field], datetime) for row in rows) for field in columns.values()
    ]
    widths = fitting(wanted, whole)
    return "\n".join(
        "  ".join(padded(cut(cell, room), room) for cell, room in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cell(field: str, value: Value) -> str:
    if field == "user_key" and isinstance(value, str):
        # The open_id distinguishes the users of one app, and the commands accept it.
        return shown(value.rpartition(":")[2])
    if field == "detail" and not value:
        return "-"
    return shown(value)


def fitting(wanted: Sequence[int], whole: Sequence[bool]) -> list[int]:
    """Return widths that fit on a line, two spaces apart: the widest columns shrink, except those marked `whole`."""
    widths = list(wanted)
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH - 2:
        widest = max(range(len(widths)), key=lambda place: 0 if whole[place] else widths[place])
        if whole[widest] or widths[widest] <= MIN_COLUMN_WIDTH:
            break
        widths[widest] -= 1
    return widths


def shown(value: Value) -> str:
    """Format one value on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case Mapping():
            return ", ".join(f"{_words(str(name))} {shown(each)}" for name, each in value.items()) or "none"
        case list():
            # A nested list contains the alternatives of a scope requirement.
            parts = [
                " or ".join(map(shown, each)) if isinstance(each, list) else shown(each) for each in value
            ]
            return ", ".join(parts) or "none"
    return escape(str(value)) or "-"


def width(text: str) -> int:
    """Return the number of terminal columns; Chinese characters take two."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def padded(text: str, room: int) -> str:
    return text + " " * (room - width(text))


def cut(text: str, room: int) -> str:
    """Shorten text to `room` columns. Both ends of an id or key are kept, because they distinguish it."""
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
