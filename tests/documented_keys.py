"""The keys of the JSON that operators' commands print, as docs/terminal.md lists them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "terminal.md"


def _rows() -> dict[str, tuple[str, ...]]:
    part = PAGE.read_text(encoding="utf-8").partition("| output | keys |")[2]
    found: dict[str, tuple[str, ...]] = {}
    for outputs, keys in re.findall(r"^\| (`.*?) \| (.*) \|$", part, re.MULTILINE):
        # What follows a semicolon or "and" is not always there.
        always = re.split(r"; |, and ", keys)[0]
        for output in re.findall(r"`([^`]+)`", outputs):
            found[output] = tuple(re.findall(r"`([^`]+)`", always))
    return found


DOCUMENTED = _rows()


def require(output: str, answer: Mapping[str, Any], *, more: bool = False) -> None:
    """Fail unless the answer has exactly the documented keys, in this order. `more`: others may follow them."""
    keys = tuple(answer)
    expected = DOCUMENTED[output]
    assert (keys[: len(expected)] if more else keys) == expected, output
