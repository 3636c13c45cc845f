"""Removes invisible characters from text before it is stored, and escapes them when it is printed.

Control characters send commands to a terminal, bidirectional controls reverse the text after them, and zero-width
characters make two names look alike. Those that a script or an emoji needs are kept: the joiners of Persian and Hindi,
the joiners, selectors and tags of emoji sequences, and the selectors of ideographs. See
https://www.unicode.org/reports/tr51/.
"""

from __future__ import annotations

import json
import re

_EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001fbff"
)
_KEYCAPS = "0-9#*"
_IDEOGRAPHS = "\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_JOINED = (
    "\u0600-\u061b\u061d-\u08ff\u0900-\u0dff\u0e80-\u109f\u1780-\u17b3\u17b6-\u180a\u1810-\u18af\u1a20-\u1aaf\u1b00-\u1bff"
    "\ua840-\ua87f\ua8e0-\ua8ff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefe\U00010a00-\U00011fff\U0001e900-\U0001e95f"
)
"""Scripts in which a joiner or non-joiner changes the letters around it."""
_MONGOLIAN = "\u1820-\u18aa"

_KEPT = "|".join(
    [
        # A flag made of tags, such as Scotland's; ZWJ between two emoji; a joiner between two letters that it shapes.
        "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f",
        f"(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])",
        f"(?<=[{_EMOJI}]\ufe0f)\u200d(?=[{_EMOJI}])",
        f"(?<=[{_JOINED}])[\u200c\u200d](?=[{_JOINED}])",
        # One variation selector after a character that has variants.
        f"(?<=[{_EMOJI}{_KEYCAPS}])[\ufe0e\ufe0f]",
        f"(?<=[{_IDEOGRAPHS}])[\ufe00-\ufe02\U000e0100-\U000e01ef]",
        f"(?<=[{_MONGOLIAN}])[\u180b-\u180f]",
        f"(?<=[{_MONGOLIAN}][\u180b-\u180d\u180f])[\u200c\u200d](?=[{_JOINED}])",
    ]
)
_UNSEEN = (
    # Controls, lone surrogates, noncharacters.
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\ud800-\udfff\ufdd0-\ufdef\ufff0-\ufffb"
    + "".join(f"{chr(plane | 0xFFFE)}{chr(plane | 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    # Line separators, format characters, letters and marks without a glyph.
    + "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    + "\ufe00-\ufe0f\ufeff\uffa0\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_ANY_UNSEEN = re.compile(f"[{_UNSEEN}]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_REMOVED = re.compile(f"(?P<kept>{_KEPT})|[{_UNSEEN}]")
_ESCAPED = re.compile(f"(?P<kept>{_KEPT})|[{_UNSEEN}\t\n]")


def tidy(text: str) -> str:
    """Return the text without invisible characters. Tabs are kept, and every kind of line end becomes a line feed."""
    if (text.isascii() and text.isprintable()) or not _ANY_UNSEEN.search(text):
        return text
    return _REMOVED.sub(lambda match: match["kept"] or "", _LINE_ENDS.sub("\n", text))


def one_line(text: str, limit: int = 120) -> str:
    """Return the text on one line, without invisible characters, and cut to `limit` characters."""
    line = " ".join(tidy(text).split())
    return line if len(line) <= limit else tidy(f"{line[: limit - 1].rstrip()}…")


def escape(text: str, *, lines: bool = False) -> str:
    """Return the text on one line, with invisible characters escaped: `\\n`, `\\x1b`. `lines` keeps line feeds."""
    if text.isascii() and text.isprintable():
        return text

    def escaped(match: re.Match[str]) -> str:
        if match["kept"] or (lines and match[0] == "\n"):
            return match[0]
        return escape_sequence(match[0])

    return _ESCAPED.sub(escaped, text)


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_sequence(character: str) -> str:
    """Return how a Python literal writes a character: `\\n`, `\\x1b`, `\\u2028`.

    The codec `unicode_escape` is a file that is opened at its first use, which fails without a free file descriptor.
    """
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_json(text: str) -> str:
    """Return the same JSON with the invisible characters in its strings escaped: `\\u001b`."""
    return _REMOVED.sub(lambda match: match["kept"] or json.dumps(match[0])[1:-1], text)
