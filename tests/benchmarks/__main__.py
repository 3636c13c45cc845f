"""Measures, and prints one table: `python -m tests.benchmarks [NAME…] [--short]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib import import_module

from tests.benchmarks.figures import Figure, table

NAMES = ("outbound", "parsing", "acknowledging", "loops", "logged", "metrics", "starting", "growing")
"""Each is a module with `measure(*, short) -> list[Figure]`, explained in its first line."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--short", action="store_true", help="see that it runs; the figures mean nothing")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in chosen.names or NAMES:
        print(f"{name} …", file=sys.stderr, flush=True)
        figures += import_module(f"tests.benchmarks.{name}").measure(short=chosen.short)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of interleaved rounds\n")
    print(table(figures))


if __name__ == "__main__":
    main()
