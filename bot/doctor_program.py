"""The checks of `bot doctor` for the program itself: its Python, and the packages that it needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import metadata

from bot.findings import Finding

PACKAGE = "bot-that-asks"
SUBJECT = "program"
FLOOR = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*>=\s*(?P<floor>\d+(?:\.\d+)*)")
NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def program() -> list[Finding]:
    try:
        own = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        fix = "Install the program with pip, which also installs what it needs."
        return [Finding("warn", SUBJECT, "runs from a copy that is not installed: versions are unknown", fix)]
    found = [*outdated_python(own), *outdated_packages()]
    python = ".".join(str(each) for each in sys.version_info[:3])
    return found or [Finding("ok", SUBJECT, f"version {own['Version']} on Python {python}")]


def outdated_python(own: metadata.PackageMetadata) -> Iterable[Finding]:
    floor = NUMBERS.search(own["Requires-Python"]) if "Requires-Python" in own else None
    if floor is not None and sys.version_info[:3] < numbers(floor[0]):
        python = ".".join(str(each) for each in sys.version_info[:3])
        yield Finding(
            "FAIL", SUBJECT, f"Python {python} is too old", f"Install Python {floor[0]} or a later one."
        )


def outdated_packages() -> Iterable[Finding]:
    for requirement in metadata.requires(PACKAGE) or ():
        needed, _, marker = requirement.partition(";")
        match = FLOOR.match(needed)
        if match is None or "extra" in marker:
            continue
        name, floor = match["name"], match["floor"]
        installed = installed_version(name)
        if installed is None or numbers(installed) < numbers(floor):
            message = f"{name} {installed} is too old" if installed else f"{name} is not installed"
            fix = f"Install what this release needs: pip install '{name}>={floor}'."
            yield Finding("FAIL", SUBJECT, message, fix)


def installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers with which a version begins, without zeros at the end."""
    match = NUMBERS.match(version)
    found = [int(each) for each in match[0].split(".")] if match else []
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)
