"""Other processes, so that what is measured and what measures it do not share an event loop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 20


@dataclass
class Running:
    process: subprocess.Popen[str]

    def line(self) -> str:
        """The next line that the process prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended early: see above.")
        return line

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far, of all its threads. NaN where the kernel does not tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(
    *arguments: str, env: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[Running]:
    """Runs `python -m ARGUMENTS…` until the block ends. What it writes to stderr goes to the end of a file, if any."""
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=None if log is None else stack.enter_context(log.open("a")),
            text=True,
        )
    try:
        yield Running(process)
    finally:
        stop(process)


@dataclass
class Started(Running):
    port: int


@contextlib.contextmanager
def started(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Started]:
    """Runs a module of this folder until the block ends; it says where it listens, as its first line."""
    with running(f"tests.benchmarks.{module}", *arguments, env=env) as each:
        yield Started(each.process, int(each.line()))


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def result_of(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """What a module of this folder prints, as JSON, when it is done."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bot-benchmark-") as name:
        yield Path(name)
