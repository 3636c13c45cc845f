"""What the answers of several commands are put together from: lines, lists, how a command is used."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bot.core.commands import Command
from bot.core.model import Line, Reply, Span, Words

Text = Words | str

UNSHOWN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Control characters other than line ends, lone surrogates, and what turns around the reading direction of what
follows, beyond the text that holds it."""


def paragraph(*parts: Text) -> Line:
    return tuple(Span(part) for part in parts)


def tidy(text: str) -> str:
    """Text without what cannot be shown or sent: control characters other than line ends, lone surrogates."""
    return text if text.isprintable() else UNSHOWN.sub("", text)


def one_line(text: str, limit: int = 120) -> str:
    """Text made fit for the inside of a line: no line ends, and no longer than `limit`."""
    line = tidy(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def listed(parts: Iterable[str]) -> Words:
    parts = list(parts)
    return Words(en=", ".join(parts), zh="、".join(parts))


def how_to_use(command: Command, *examples: str, problem: Text | None = None) -> Reply:
    """The answer to a command whose arguments do not make sense."""
    lines: list[Line] = [] if problem is None else [paragraph(problem)]
    lines.append((Span(f"{command.typed} {command.usage}".strip(), bold=True),))
    lines += [paragraph(Words(en="Example: ", zh="例如："), example) for example in examples]
    return Reply(Words(en=f"How to use {command.typed}", zh=f"{command.typed} 的用法"), tuple(lines))
