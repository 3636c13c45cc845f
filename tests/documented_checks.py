"""The names of the checks of `bot doctor`, as docs/operating.md lists them."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operating.md"


def _names() -> frozenset[str]:
    table = PAGE.read_text(encoding="utf-8").partition("| check | what it looks at |")[2].partition("\n\n")[0]
    firsts = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    return frozenset(name for first in firsts for name in re.findall(r"`([^`]+)`", first))


DOCUMENTED_CHECKS = _names()
