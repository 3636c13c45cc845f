"""Building blocks for the replies of commands: paragraphs, lists and usage."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.commands import Command
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.unseen_characters import one_line

__all__ = ["Text", "how_to_use", "listed", "one_line", "paragraph", "with_usage"]

Text = Words | str


def paragraph(*parts: Text) -> Line:
    """Return a line of plain text."""
    return tuple(Span(part) for part in parts)


def listed(parts: Iterable[str]) -> Words:
    """Return the parts, joined by commas."""
    parts = list(parts)
    return Words(en=", ".join(parts), zh="、".join(parts))


def with_usage(command: Command) -> Words:
    """Return the command as users type it, followed by its usage."""
    return (
        Words("{typed} {usage}", "{typed} {usage}").format(typed=command.typed, usage=command.usage).strip()
    )


def how_to_use(command: Command, *examples: Text, problem: Text | None = None) -> Reply:
    """Return the reply to invalid arguments. In a group, only the user sees it."""
    lines: list[Line] = [] if problem is None else [paragraph(problem)]
    lines.append((Span(with_usage(command), bold=True),))
    lines += [paragraph(Words(en="Example: ", zh="例如："), example) for example in examples]
    title = Words(en=f"How to use {command.typed}", zh=f"{command.typed} 的用法")
    return Reply(title, tuple(lines), confidential=True)
