"""Look for known vulnerabilities in the versions of the lock file.

Two sources: the list beside this file, which needs no network, and the advisories that the package index serves,
read by pip-audit. An index that serves none is reported, not passed over; an index that does not answer fails the
check after three attempts. Usage: audit.py LOCK_FILE [PIP_AUDIT]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

ADVISORIES = Path(__file__).with_name("advisories.txt")
ATTEMPTS = 3


def advisories() -> list[tuple[str, Version, str]]:
    """Package, first fixed version and advisory of each line of the list."""
    lines = ADVISORIES.read_text(encoding="utf-8").splitlines()
    rows = [line.split(maxsplit=3) for line in lines if line and not line.startswith("#")]
    return [(name, Version(fixed), advisory) for name, fixed, advisory, _ in rows]


PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*={2,3}\s*([^\s;\\]+)", re.MULTILINE)


def locked_versions(lock: Path) -> list[tuple[str, Version]]:
    """Every pin. A package can have several, each for other interpreters or systems."""
    pins = PIN.findall(lock.read_text(encoding="utf-8"))
    return [(canonicalize_name(name), Version(version)) for name, version in pins]


def listed_problems(versions: list[tuple[str, Version]]) -> list[str]:
    """A line for each version that is older than the fix of a listed advisory."""
    return [
        f"{name} {version}: {advisory}, fixed in {fixed}"
        for listed, fixed, advisory in advisories()
        for name, version in versions
        if name == listed and version < fixed
    ]


def index_report(pip_audit: str, lock: Path) -> list[dict[str, object]]:
    """What pip-audit says of each dependency. Raises RuntimeError if it has no answer after three attempts."""
    command = [
        *(pip_audit, "--requirement", str(lock), "--require-hashes", "--disable-pip"),
        *("--format", "json", "--progress-spinner", "off"),
    ]
    for attempt in range(ATTEMPTS):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        try:
            return list(json.loads(ran.stdout)["dependencies"])
        except (ValueError, KeyError):
            if attempt + 1 < ATTEMPTS:
                time.sleep(5 * (attempt + 1))
    raise RuntimeError(f"pip-audit got no answer from the package index.\n{ran.stderr.strip()}")


def index_problems(report: list[dict[str, object]]) -> list[str]:
    """A line for each vulnerability that the index names, and for each package that it alone does not know."""
    problems = []
    skipped = [str(each["name"]) for each in report if "skip_reason" in each]
    if len(skipped) < len(report):
        problems += [f"{name}: the index knows no such version" for name in skipped]
    for each in report:
        for found in each.get("vulns", []):  # type: ignore[attr-defined]
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            problems.append(f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
    return problems


def main(lock: Path, pip_audit: str | None) -> int:
    versions = locked_versions(lock)
    if not versions:
        print(f"{lock} pins nothing.", file=sys.stderr)
        return 1
    problems = listed_problems(versions)
    print(f"{len(versions)} locked versions compared with {len(advisories())} listed advisories")
    if pip_audit:
        try:
            report = index_report(pip_audit, lock)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        problems += index_problems(report)
        audited = sum("skip_reason" not in each for each in report)
        print(f"{audited} of {len(report)} audited by the package index")
        if not audited:
            print("WARNING: THE PACKAGE INDEX SERVES NO ADVISORIES HERE. ONLY THE LIST WAS COMPARED.")
    for problem in problems:
        print(f"VULNERABLE {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
