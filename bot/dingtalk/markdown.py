"""Renders text as the platform's Markdown, a subset without escapes.

Characters that would turn text from elsewhere into a link, a picture or markup are replaced by look-alikes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from bot.core.language import Language, Words

MAX_PARAM_BYTES = 14_000
"""The platform accepts 15,000 bytes for the parameters of a message."""

LOOK_ALIKES = str.maketrans({"[": "［", "]": "］", "<": "＜", "`": "｀", "*": "∗"})

QUOTATION = re.compile(r"^[>\s]+", re.MULTILINE)
"""What would make a line a quotation."""

BREAK = "  \n"
"""The end of a line within a paragraph."""

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

BRACKETS = re.compile(r"\[([^\[\]\n]*)\](?=\s*[^\s(\[:])")
"""A pair of brackets that cannot begin a link, because other text follows it."""


def escape(text: str, following: str = "") -> str:
    """Return text that is shown literally, on as many lines as it has. `following` is the markup that follows it."""
    shown, at = [], 0
    for pair in BRACKETS.finditer(text + following):
        shown += [text[at : pair.start()].translate(LOOK_ALIKES), f"[{pair[1].translate(LOOK_ALIKES)}]"]
        at = pair.end()
    shown.append(text[at:].translate(LOOK_ALIKES))
    quoted = QUOTATION.sub(lambda start: start[0].replace(">", "＞"), "".join(shown))
    return quoted.replace("\n", BREAK)


BOLD = "**"


def bold(text: str) -> str:
    if text != text.strip() or not text or "\n" in text:
        return escape(text)
    return f"{BOLD}{escape(text, BOLD)}{BOLD}"


def link(text: str, url: str) -> str:
    return f"[{escape(text.translate(LOOK_ALIKES))}]({url.replace('(', '%28').replace(')', '%29').replace(' ', '%20')})"


def code_block(text: str) -> str:
    """Return text as a code block, which the text itself cannot end."""
    return "```\n" + text.replace("```", "｀｀｀") + "\n```"


def in_language(words: Words | str, language: Language) -> str:
    return words if isinstance(words, str) else words.to(language)


def lines(items: Iterable[str]) -> str:
    return BREAK.join(item for item in items if item)


def size(text: str) -> int:
    """Return the bytes of a text in the parameters of a message: a JSON string inside JSON."""
    return len(to_json(to_json(text)).encode(errors="replace"))


def shorten(text: str, room: int) -> str:
    """Return the longest beginning of a text that takes at most `room` bytes of UTF-8, with an ellipsis if it is cut."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= room:
        return text
    return encoded[: max(0, room - 3)].decode(errors="ignore").rstrip() + "…"
