"""`python -m tests.jumping_clock FILE run` is `python -m bot run` with a clock that is ahead by the seconds in a file."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from bot.sandbox.shifted_clock import shift_clocks

if __name__ == "__main__":
    file = Path(sys.argv[1])
    shift_clocks(lambda: float(file.read_text()))
    sys.argv[:2] = ["bot"]
    runpy.run_module("bot", run_name="__main__", alter_sys=True)
