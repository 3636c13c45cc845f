"""Prints each other Python on this machine that the bot should run on, one of each minor version: `3.12 /path`.

Looks at PATH and at what pyenv has installed. Whether something is a Python, and which, it is asked.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 11)
QUESTION = "import sys; print(*sys.version_info[:2])"


def candidates() -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(each) for each in os.environ.get("PATH", "").split(os.pathsep) if each]
    for folder in [*sorted((pyenv / "versions").glob("*/bin"), reverse=True), *folders]:
        if folder != pyenv / "shims" and folder.is_dir():
            yield from sorted(
                each for each in folder.iterdir() if re.fullmatch(r"python3(\.\d+)?", each.name)
            )


def version_of(python: Path) -> tuple[int, int] | None:
    try:
        ran = subprocess.run(  # noqa: S603 - that is the purpose
            [python, "-I", "-c", QUESTION], capture_output=True, text=True, timeout=10, check=True
        )
        major, minor = map(int, ran.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return major, minor


def main() -> None:
    found: dict[tuple[int, int], Path] = {}
    for python in candidates():
        version = version_of(python)
        if version is not None and version >= OLDEST and version != sys.version_info[:2]:
            found.setdefault(version, python)
    for (major, minor), python in sorted(found.items()):
        print(f"{major}.{minor} {python}")


if __name__ == "__main__":
    main()
