"""Formats answers for operators: tables that fit the terminal, or JSON.

Nothing that a table shows is cut: cells wrap, and rows that are too wide for a table become blocks. Does not depend on
the database or the commands. Control characters in text from chats are escaped, because a terminal would execute them.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeGuard

from bot.core.unseen_characters import escape, escape_json

WIDTH = 100
"""Columns of output that does not go to a terminal."""
MIN_WIDTH = 50
"""Columns that an id needs. A narrower terminal breaks the lines itself."""
GAP = 2
"""Spaces between two columns."""
LONGEST_PIECE = 24
"""Columns that a longer word may be given before it is broken, where it may be."""

Value = object
"""A value of a row: text, a number, a boolean, a time, None, a list of texts; or rows, or a mapping."""

Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Layout:
    """How much room there is."""

    width: int = WIDTH
    wide: bool = False
    """One line a row with every field, however long."""


def layout(*, wide: bool = False) -> Layout:
    """Return the layout for the terminal, or for what COLUMNS says."""
    return Layout(max(MIN_WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns), wide)


def as_json(answer: Value) -> str:
    return escape_json(json.dumps(answer, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


Field = str | tuple[str, ...]
"""The name of a field, or of several whose values are shown beside each other."""

Breaks = Literal["never", "at_spaces", "anywhere"]
"""Where the values of a column may be broken into lines. Ids, times and scopes are never broken."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    fields: tuple[Field, ...]
    """What it shows of the row, one per line. Leaves out empty ones."""
    breaks: Breaks = "at_spaces"


@dataclass(frozen=True, slots=True)
class Table:
    """How rows are shown: aligned columns, and below each row a line with what would make them too wide."""

    columns: Sequence[Column]
    below: tuple[tuple[str, Field], ...] = ()
    """Labels and fields. A label may be empty; empty fields are left out."""


def _table(*columns: Column, below: Sequence[str | tuple[str, Field]] = ()) -> Table:
    return Table(columns, tuple(("", each) if isinstance(each, str) else each for each in below))


def _column(heading: str, *fields: Field, breaks: Breaks = "at_spaces") -> Column:
    return Column(heading, fields, breaks)


def _whole(heading: str, *fields: Field) -> Column:
    return Column(heading, fields, "never")


_WHO = ("name", "user_key")
AFFECTED = "affected"
"""The field with the users whom an error affected, the latest first."""
AFFECTED_SHOWN = 3
_ABOUT: tuple[str, Field] = ("", ("subject_kind", "subject_id"))
_STATE = (_column("command", "command"), _column("status", "status", "waits_for"))
TABLES: Mapping[str, Table] = {
    "users": _table(
        _column("name", "name", breaks="anywhere"),
        _column("grant", "grant"),
        _whole("until", "grant_expires_at"),
        _whole("waiting", "suspended_calls"),
        _whole("seen", "seen_at"),
        below=("user_key", ("chat", ("last_chat_kind", "last_chat_id")), ("scopes", "scopes")),
    ),
    "requests": _table(
        _whole("created", "created_at"),
        _column("status", "status", "failure"),
        _column("for", "reasons"),
        _column("asks for", "scopes"),
        _column("granted", "granted"),
        below=(*_WHO, ("request", "id")),
    ),
    "calls": _table(
        _whole("asked", "asked_at"),
        *_STATE,
        _column("needs", "needs"),
        _column("outcome", "outcome", breaks="anywhere"),
        below=(*_WHO, ("call", "id")),
    ),
    "audit": _table(
        _whole("at", "at"),
        _column("what", "action"),
        _column("detail", "detail", breaks="anywhere"),
        below=(*_WHO, _ABOUT),
    ),
    "errors": _table(
        _whole("last", "last_at"),
        _whole("first", "first_at"),
        _whole("times", "count"),
        _whole("users", "users"),
        _column("what", "what", breaks="anywhere"),
        _column("status", "status"),
        _column("code", "code", breaks="anywhere"),
        below=(("affected:", AFFECTED), ("latest: log id", "log_id"), ("call", "call_id")),
    ),
    "explain.waiting": _table(
        _whole("asked", "asked_at"),
        *_STATE,
        _column("needs", "needs"),
        _column("why", "why"),
        below=(("fails since", "first_failed_at"), ("call", "id")),
    ),
    "explain.recent_calls": _table(
        _whole("asked", "asked_at"),
        *_STATE,
        _column("outcome", "outcome", breaks="anywhere"),
        _whole("ended", "settled_at"),
        below=(("call", "id"),),
    ),
    "explain.recent_requests": _table(
        _whole("created", "created_at"),
        _column("status", "status", "failure"),
        _column("for", "reasons"),
        _column("asks for", "scopes"),
        _column("granted", "granted"),
        below=(("request", "id"),),
    ),
    "explain.timeline": _table(
        _whole("at", "at"), _column("what", "what"), _column("detail", "detail", _ABOUT[1], breaks="anywhere")
    ),
}
"""The tables, by the name of the command or part. JSON, and a wide table, contain every field."""
INTERNAL: Mapping[str, Collection[str]] = {
    "explain.open_request": {"user_key", "card_wanted", "card_shown", "card_attempts"}
}
"""Facts of a part that only JSON and a wide answer contain."""
HEADINGS: Mapping[str, str] = {"status.trouble": "trouble of the last seven days"}
"""What facts and parts are called, if not by the name that they have in JSON."""
STORY = "explain"
"""The answer whose empty facts are left out."""


def as_text(name: str, answer: Row | Sequence[Row], room: Layout | None = None) -> str:
    """Format rows as a table, and a mapping as its plain values followed by a section for each nested part."""
    room = room or Layout()
    if not isinstance(answer, Mapping):
        return table(answer, None if room.wide else _with_app(TABLES.get(name), answer), room)
    facts = {each: value for each, value in answer.items() if not _is_section(value)}
    inner = Layout(room.width - GAP, room.wide)
    sections = [
        f"{_heading(name, each)}\n{_indented(as_text(f'{name}.{each}', value, inner))}"
        for each, value in answer.items()
        if _is_section(value)
    ]
    if not room.wide:
        facts = {each: value for each, value in facts.items() if each not in INTERNAL.get(name, ())}
    if name.startswith(STORY):
        facts = {each: value for each, value in facts.items() if shown(value) not in EMPTY}
    return "\n\n".join([*([_facts(name, facts, room)] if facts else []), *sections])


def _with_app(shape: Table | None, rows: Sequence[Row]) -> Table | None:
    """Add the app's column if the rows have one, as they do if there are several apps."""
    if shape is None or not rows or "app" not in rows[0]:
        return shape
    return Table((_column("app", "app"), *shape.columns), shape.below)


def _is_section(value: Value) -> TypeGuard[Row | Sequence[Row]]:
    """Whether a value is rows, or a mapping that contains more than numbers."""
    if isinstance(value, Mapping):
        return not all(each is None or isinstance(each, (int, float)) for each in value.values())
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _facts(name: str, facts: Row, room: Layout) -> str:
    return _block([(_heading(name, each), [shown(value)]) for each, value in facts.items()], room)


def _heading(name: str, each: str) -> str:
    return HEADINGS.get(f"{name}.{each}") or _words(each)


def _block(lines: Sequence[tuple[str, Sequence[str]]], room: Layout) -> str:
    """Format headings, each followed by its values, one below the other."""
    widest = max((width(heading) for heading, _ in lines), default=0)
    left = room.width - widest - 2 * GAP
    return "\n".join(
        f"{padded(heading if not number else '', widest)}  {line}".rstrip()
        for heading, values in lines
        for number, line in enumerate(line for value in values for line in wrapped(value, left))
    )


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.split("\n"))


# --- tables ------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row], shape: Table | None = None, room: Layout | None = None) -> str:
    """Format aligned columns under their headings, or a block for each row if the columns do not fit."""
    room = room or Layout()
    if not rows:
        return "none"
    shape = shape or Table([_default(name, rows) for name in rows[0]])
    headings = [[column.heading] for column in shape.columns]
    lines = [[_cell(column, row, whole=room.wide) for column in shape.columns] for row in rows]
    if room.wide:
        cells = [[" ".join(cell) for cell in line] for line in [headings, *lines]]
        widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
        return "\n".join(_line(line, widths) for line in cells)
    fitted = _fitted(shape.columns, lines, room.width)
    if fitted is None:
        return "\n\n".join(
            _block([*zip([c.heading for c in shape.columns], line, strict=True), *_below(shape, row)], room)
            for line, row in zip(lines, rows, strict=True)
        )
    printed = list(_lines(headings, fitted))
    for line, row in zip(lines, rows, strict=True):
        printed += _lines(line, fitted)
        below = [f"{label} {text}".strip() for label, (text,) in _below(shape, row)]
        printed += [f"    {part}" for part in _flowing(below, room.width - 4)]
    return "\n".join(printed)


def _below(shape: Table, row: Row) -> list[tuple[str, list[str]]]:
    """Return the labels and values that stand below a row."""
    values = ((label, _shown_field(field, row)) for label, field in shape.below)
    return [(label, [value]) for label, value in values if value not in EMPTY]


def _flowing(texts: Sequence[str], room: int) -> list[str]:
    """Put as many texts on each line as fit."""
    lines: list[str] = []
    for text in texts:
        if lines and width(lines[-1]) + GAP + width(text) <= room:
            lines[-1] += f"{' ' * GAP}{text}"
        else:
            lines += wrapped(text, room)
    return lines


EMPTY = {"", "-", "none"}


def _default(name: str, rows: Sequence[Row]) -> Column:
    times = any(isinstance(row.get(name), datetime) for row in rows)
    return Column(_words(name), (name,), "never" if times else "at_spaces")


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of one row."""
    parts = [
        [part for value in cell for part in wrapped(value, room)]
        for cell, room in zip(cells, widths, strict=True)
    ]
    for number in range(max(map(len, parts))):
        yield _line([cell[number] if number < len(cell) else "" for cell in parts], widths)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(padded(cell, room) for cell, room in zip(cells, widths, strict=True)).rstrip()


def _cell(column: Column, row: Row, *, whole: bool = False) -> list[str]:
    """Return what a cell shows, one text for each field that is not empty."""
    values = [_shown_field(field, row, whole=whole) for field in column.fields]
    return [value for value in values if value not in EMPTY] or values[-1:]


def _shown_field(field: Field, row: Row, *, whole: bool = False) -> str:
    if field == AFFECTED:
        return _affected(row, whole=whole)
    if isinstance(field, str):
        return _text(field, row.get(field), whole=whole)
    return " ".join(text for each in field if (text := _text(each, row.get(each), whole=whole)) not in EMPTY)


def _affected(row: Row, *, whole: bool) -> str:
    """Return the names, or else the ids, of the first affected users, and how many others there are."""
    users = row.get(AFFECTED)
    if not isinstance(users, list):
        return ""
    named = [each["name"] for each in users]
    some = [
        shown(each["name"]) if each["name"] and named.count(each["name"]) == 1 else _shown_field(_WHO, each)
        for each in (users if whole else users[:AFFECTED_SHOWN])
    ]
    number = row.get("users")
    more = number - len(some) if isinstance(number, int) else 0
    return ", ".join(some) + (f" and {more} more" if more > 0 else "")


def _text(field: str, value: Value, *, whole: bool) -> str:
    if field == "user_key" and isinstance(value, str) and not whole:
        # The open_id distinguishes the users of one app, and the commands accept it.
        return shown(value.rpartition(":")[2])
    if field == "detail" and not value:
        return "-"
    return shown(value)


def _fitted(
    columns: Sequence[Column], lines: Sequence[Sequence[Sequence[str]]], available: int
) -> list[int] | None:
    """Return the widths of the columns, spaces included in between, or None if they cannot fit."""
    widths, least = [], []
    for place, column in enumerate(columns):
        texts = [column.heading, *(text for line in lines for text in line[place])]
        widths.append(max(map(width, texts)))
        least.append(_least(column, texts))
    available -= GAP * (len(columns) - 1)
    if sum(least) > available:
        return None
    while sum(widths) > available:
        widest = max(
            (place for place in range(len(widths)) if widths[place] > least[place]), key=widths.__getitem__
        )
        widths[widest] -= 1
    return widths


def _least(column: Column, texts: Sequence[str]) -> int:
    """Return the smallest width of a column that has these texts."""
    if column.breaks == "never":
        return max(map(width, texts))
    longest = max(width(word) for text in texts for word in text.split(" "))
    return longest if column.breaks == "at_spaces" else min(longest, LONGEST_PIECE)


def wrapped(text: str, room: int) -> list[str]:
    """Break text into lines of `room` columns, at spaces if possible. Nothing is left out."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width(joined) <= room:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _pieces(word, max(room, 2))
        lines += full
    return [*lines, line]


def _pieces(word: str, room: int) -> list[str]:
    """Break a word into pieces of `room` columns."""
    pieces, piece, used = [], "", 0
    for character in word:
        size = _columns(character)
        if used + size > room:
            pieces.append(piece)
            piece, used = "", 0
        piece += character
        used += size
    return [*pieces, piece]


# --- values ------------------------------------------------------------------------------------------------------


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
            # A nested list contains the alternatives of a scope requirement, of which all have to be met.
            if value and all(isinstance(each, list) for each in value):
                parts = [" or ".join(map(shown, each)) for each in value]
                if len(parts) > 1:
                    parts = [f"({part})" if " or " in part else part for part in parts]
                return " and ".join(parts) or "none"
            return ", ".join(map(shown, value)) or "none"
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
