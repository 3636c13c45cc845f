"""Shows the response of `/call`, with secrets masked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bot.core.api import ApiCall, Json
from bot.core.api_requests import MAX_BODY_DEPTH
from bot.core.command_replies import paragraph
from bot.core.language import Words
from bot.core.messages import Code, Line, Reply, Span
from bot.core.unseen_characters import one_line, tidy

MAX_SHOWN_BYTES = 6000
"""Bytes of a response that are shown. A message can have 30 KB, and JSON escapes make the text longer."""

MASK = "***"

SECRET_NAMES = re.compile(
    r"(access_?token|refresh_?token|id_?token|device_?code|session_?key|secret|password|passwd|app_?ticket)$",
    re.IGNORECASE,
)
"""Names of fields whose values are masked. Tokens of documents, pages and the like are not secret."""

MAX_SECRET_NAME_LENGTH = 64

SECRET_VALUES = re.compile(
    # A JSON web token. Each word is scanned once, from its start: a user could send one that repeats "eyJ" throughout.
    r"(?<![A-Za-z0-9_-])(?>[A-Za-z0-9_-]*?eyJ)[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*)+"
    r"|eyJhbGciOi[A-Za-z0-9_-]*"  # a truncated one
    r"|(?<![A-Za-z0-9_-])(?:ur|u|t|a|r)-(?=[A-Za-z_]*[0-9])[A-Za-z0-9_]{12,}[A-Za-z0-9_.-]*"
)
"""Matches everything that looks like a token of the platform."""


@dataclass(frozen=True, slots=True)
class ShownResponse:
    text: str
    complete: bool


def render_response(api_call: ApiCall, response: Json, status: str, support: tuple[Line, ...] = ()) -> Reply:
    """Return the response as JSON. Only the user sees it, because others in the chat may not have access."""
    shown = pretty(response)
    lines: list[Line] = [(Span(SECRET_VALUES.sub(MASK, one_line(status)), bold=True),)]
    if response is not None:
        lines.append(Code(shown.text))
    if not shown.complete:
        lines.append(paragraph(Words("… shortened: the answer is longer.", "……内容过长，已截断。")))
    title = one_line(f"{api_call.method} {api_call.path}", 100)
    return Reply(Words(title, title), (*lines, *support), confidential=True)


def pretty(response: Json) -> ShownResponse:
    """Format the start of a response. The rest is not read, because it may be megabytes."""
    written, room = [], MAX_SHOWN_BYTES
    for piece in pieces(response):
        written.append(piece)
        room -= len(piece)
        if room < 0:
            break
    text = "".join(written).encode(errors="replace")
    return ShownResponse(
        text[:MAX_SHOWN_BYTES].decode(errors="ignore"), complete=len(text) <= MAX_SHOWN_BYTES
    )


def pieces(value: Json, level: int = 0) -> Iterator[str]:
    """Yield the value as JSON in pieces, with secrets masked and deep levels left out."""
    line, inside = "\n" + "  " * level, "\n" + "  " * (level + 1)
    match value:
        case dict() | list() if level > MAX_BODY_DEPTH:
            yield quoted("…")
        case dict() if value:
            for number, (name, inner) in enumerate(value.items()):
                yield f"{',' if number else '{'}{inside}{quoted(tidy(truncate(name)))}: "
                if inner and SECRET_NAMES.search(name[-MAX_SECRET_NAME_LENGTH:]):
                    yield quoted(MASK)
                else:
                    yield from pieces(inner, level + 1)
            yield line + "}"
        case list() if value:
            for number, inner in enumerate(value):
                yield f"{',' if number else '['}{inside}"
                yield from pieces(inner, level + 1)
            yield line + "]"
        case str():
            yield quoted(SECRET_VALUES.sub(MASK, truncate(value)))
        case _:
            yield json.dumps(value)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


IN_TOKENS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


def truncate(text: str) -> str:
    """Return the start of a text. A word is never cut, because half a secret may no longer be recognized as one."""
    return text if len(text) <= MAX_SHOWN_BYTES else text[:MAX_SHOWN_BYTES].rstrip(IN_TOKENS) + "…"
