"""How long the program takes: to say what it can do, and to be ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.environment import sqlite_url
from tests.benchmarks.figures import Figure, interleaved
from tests.benchmarks.processes import REPOSITORY, directory, running
from tests.ports import free_port

PATIENCE = 30


def measure(*, short: bool = False) -> list[Figure]:
    rounds = 1 if short else 5
    with (
        directory() as folder,
        running("bot", "sandbox", "--platform-only", "--port", str(free_port())) as emulator,
    ):
        settings = printed_settings(emulator.line, folder)
        median = interleaved(
            rounds,
            {
                "help": lambda: seconds_of("-m", "bot", "--help"),
                "sdk": lambda: seconds_of("-c", "import lark_oapi"),
                "webhook": lambda: seconds_until_ready(settings | {"LARK_EVENTS": "webhook"}),
                "websocket": lambda: seconds_until_ready(settings | {"LARK_EVENTS": "websocket"}),
            },
        )
    name = "bot run until it is ready"
    return [
        Figure("bot --help", median["help"], "s", at_most=0.3),
        Figure(
            f"{name}, websocket", median["websocket"], "s", median["sdk"], "import lark_oapi", at_most=1.3
        ),
        Figure(f"{name}, webhook", median["webhook"], "s", median["sdk"], "import lark_oapi"),
    ]


def printed_settings(line: object, folder: Path) -> dict[str, str]:
    """The emulator prints its address, then the environment of a bot that uses it."""
    assert callable(line)
    line()
    settings: dict[str, str] = {}
    while "BOT_ADMINS" not in settings:
        name, _, value = line().strip().partition("=")
        settings[name] = value
    # Made here: the database is there and migrated whenever time is taken, as after the first start of all.
    settings |= {"BOT_DATABASE_URL": sqlite_url(folder), "BOT_LOG_LEVEL": "warning"}
    subprocess.run(
        [sys.executable, "-m", "bot", "db", "upgrade"],
        cwd=REPOSITORY,
        env={**os.environ, **settings},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return settings


def seconds_of(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def seconds_until_ready(settings: Mapping[str, str]) -> float:
    began = time.perf_counter()
    with running("bot", "run", env=settings):
        while not is_ready(settings["BOT_PORT"]):
            if time.perf_counter() - began > PATIENCE:
                raise TimeoutError("The bot does not become ready.")
            time.sleep(0.01)
        return time.perf_counter() - began


def is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
