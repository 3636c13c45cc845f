"""Dependencies: the floors are what is tested, the lock file is complete, and the audit finds what it should."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "docs" / "deploy" / "requirements.lock"
AUDIT = ROOT / ".ci" / "audit.py"
FLOORS = ROOT / ".ci" / "floors.py"
PYTHONS = ROOT / ".ci" / "pythons.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = [Requirement(each) for each in PROJECT["dependencies"]]
LOCKED = dict(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("dependency", DEPENDENCIES, ids=lambda each: each.name)
def test_the_floor_of_a_dependency_is_the_version_that_is_locked_and_tested(dependency: Requirement) -> None:
    floors = [each.version for each in dependency.specifier if each.operator == ">="]
    assert floors == [LOCKED[dependency.name]]


def floors(root: Path, *more: str) -> list[str]:
    script = root / ".ci" / "floors.py"
    ran = subprocess.run([sys.executable, script, *more], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_every_dependency_has_a_floor_that_the_gate_can_install() -> None:
    named = [Requirement(each) for each in floors(ROOT)]
    listed = [*DEPENDENCIES, *map(Requirement, PROJECT["optional-dependencies"]["test"])]
    assert [each.name for each in named] == [each.name for each in listed]
    for floor, requirement in zip(named, listed, strict=True):
        (version,) = floor.specifier
        assert version.operator == "=="
        assert version.version in requirement.specifier


def test_the_gate_runs_the_floors_where_something_newer_is_installed(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(FLOORS, tmp_path / ".ci")
    installed = metadata.version("aiohttp")
    lists = f'dependencies = ["aiohttp>={installed}", "sqlalchemy[asyncio]>=1.4"]'
    extra = f'optional-dependencies.test = ["packaging>=20.0", "pytest>={metadata.version("pytest")}"]'
    (tmp_path / "pyproject.toml").write_text(f"[project]\n{lists}\n{extra}\n")
    assert floors(tmp_path, "--unmet") == ["sqlalchemy==1.4", "packaging==20.0"]
    assert f"aiohttp=={installed}" in floors(tmp_path)


def needed_by(name: str, extras: frozenset[str], seen: set[str]) -> set[str]:
    """The canonical names of a package's dependencies in this environment, and of theirs."""
    for text in metadata.requires(name) or ():
        needed = Requirement(text)
        markers = [needed.marker.evaluate({"extra": extra}) for extra in extras] if needed.marker else [True]
        key = canonicalize_name(needed.name)
        if any(markers) and key not in seen:
            seen.add(key)
            needed_by(needed.name, frozenset({"", *needed.extras}), seen)
    return seen


def test_the_lock_file_names_everything_that_the_bot_installs() -> None:
    assert needed_by("bot-that-asks", frozenset({""}), set()) <= LOCKED.keys()


def test_the_lock_file_pins_each_by_hash() -> None:
    pins = re.split(r"^(?=[a-z])", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(pins) == len(LOCKED)
    assert all("--hash=sha256:" in pin for pin in pins)


def audit(lock: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, AUDIT, lock, *more], capture_output=True, text=True, check=False)


def test_the_locked_versions_have_no_known_vulnerability() -> None:
    ran = audit(LOCK)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("pin", "advisory"), [("aiohttp==3.14.3", "GHSA-5wr8"), ("cryptography==44.0.0", "CVE-2024-12797")]
)
def test_a_version_with_a_known_vulnerability_fails_the_audit(
    tmp_path: Path, pin: str, advisory: str
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"{pin} \\\n    --hash=sha256:00\nidna==3.20\n")
    ran = audit(lock)
    assert ran.returncode == 1
    assert advisory in ran.stderr


@pytest.mark.parametrize(
    "pins",
    [
        ['aiohttp==3.14.3 ; python_version < "3.12"', 'aiohttp==3.14.5 ; python_version >= "3.12"'],
        ['aiohttp==3.14.5 ; sys_platform == "linux"', "aiohttp==3.14.3"],
        ["aiohttp[speedups]==3.14.3"],
        ["AioHTTP === 3.14.3"],
    ],
)
def test_no_way_to_write_a_pin_hides_its_version_from_the_audit(tmp_path: Path, pins: list[str]) -> None:
    lock = tmp_path / "lock"
    lock.write_text("".join(f"{pin} \\\n    --hash=sha256:00\n" for pin in pins) + "idna==3.20\n")
    ran = audit(lock)
    assert ran.returncode == 1
    assert "GHSA-5wr8" in ran.stderr


VULNERABLE = {"name": "idna", "version": "3.20", "vulns": [{"id": "CVE-1", "fix_versions": ["3.21"]}]}
SKIPPED = {"name": "idna", "skip_reason": "Dependency not found"}
FINE = {"name": "yarl", "version": "1.25.1", "vulns": []}


@pytest.mark.parametrize(
    ("report", "code", "words"),
    [
        ([FINE, VULNERABLE], 1, "CVE-1, fixed in 3.21"),
        ([FINE, SKIPPED], 1, "idna: the index knows no such version"),
        ([SKIPPED], 0, "SERVES NO ADVISORIES"),
        ([FINE], 0, "1 of 1 audited"),
    ],
)
def test_what_the_index_says_decides(
    tmp_path: Path, report: list[dict[str, object]], code: int, words: str
) -> None:
    pip_audit = tmp_path / "pip-audit"
    pip_audit.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps({'dependencies': report})}\nEND\n")
    pip_audit.chmod(0o755)
    ran = audit(LOCK, str(pip_audit))
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert words in ran.stdout + ran.stderr


# --- interpreters -------------------------------------------------------------------------------------------


def fake_python(folder: Path, name: str, says: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{says}\n")
    (folder / name).chmod(0o755)


def test_the_gate_finds_one_python_of_each_version_from_3_11_on(tmp_path: Path) -> None:
    path, pyenv = tmp_path / "bin", tmp_path / "pyenv"
    fake_python(path, "python3.10", "echo 3 10")
    fake_python(path, "python3.12", "echo 3 12")
    fake_python(path, "python3.14", "echo 3 14")
    fake_python(path, "python3.15", "exit 127")
    fake_python(path, "python3", "echo no version")
    fake_python(path, "python3-config", "echo 3 19")
    fake_python(pyenv / "versions" / "3.12.1" / "bin", "python3.12", "echo 3 12")
    fake_python(pyenv / "versions" / "3.13.0" / "bin", "python3", "echo 3 13")
    fake_python(pyenv / "shims", "python3.16", "echo 3 16")
    fake_python(path, "python3.11", f"echo {sys.version_info[0]} {sys.version_info[1]}")
    environment = {"PATH": f"{path}:{pyenv}/shims:/usr/bin-not-there", "PYENV_ROOT": str(pyenv)}
    ran = subprocess.run(
        [sys.executable, PYTHONS], env=environment, capture_output=True, text=True, check=True
    )
    found = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    assert found.pop("3.14") == str(path / "python3.14")
    expected = {
        "3.12": str(pyenv / "versions" / "3.12.1" / "bin" / "python3.12"),
        "3.13": str(pyenv / "versions" / "3.13.0" / "bin" / "python3"),
    }
    expected.pop(".".join(map(str, sys.version_info[:2])), None)
    assert found == expected


def test_the_oldest_python_is_the_same_everywhere_and_listed() -> None:
    listed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={listed[0]}"
    assert listed == [f"3.{minor}" for minor in range(11, 11 + len(listed))]
    assert len(listed) >= 3
