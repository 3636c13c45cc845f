"""Prints the lowest versions that pyproject.toml allows, as constraints for pip: `aiohttp==3.14.5`.

With `--unmet`, only those that this environment does not have: nothing means that its tests ran on the floors.
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def main(*arguments: str) -> None:
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]:
        parts = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
        if parts is None:
            raise SystemExit(
                f"pyproject.toml: {requirement!r} should be NAME>=VERSION, so that it has a lowest version."
            )
        name, floor = parts.groups()
        if arguments != ("--unmet",) or metadata.version(name) != floor:
            print(f"{name}=={floor}")


if __name__ == "__main__":
    main(*sys.argv[1:])
