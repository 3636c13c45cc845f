"""A world for each story."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.bot_process import Forker
from tests.reused_databases import ReusedDatabases
from tests.status_triggers import refuse_other_moves

from .at_once import AtOnce
from .world import World, migrated_world_in


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where bots die: the points are the flows', whatever the database, so the short walk is over one of them."""
    if "databases" in metafunc.fixturenames:
        walks = "name" in metafunc.fixturenames and not metafunc.config.getoption("--long")
        metafunc.parametrize("databases", ["sqlite"] if walks else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def sqlite_template(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database that rejects moves which the lifecycle does not list."""
    file = tmp_path_factory.mktemp("strict") / "bot.db"
    shutil.copy(sqlite_template, file)
    refuse_other_moves(file)
    return file


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Callable[[Path], contextlib.AbstractContextManager[str]]:
    """Makes a migrated database for a world, and gives its URL."""
    if request.param == "postgresql":
        reused: ReusedDatabases = request.getfixturevalue("postgresql_databases")
        return lambda _: reused.lend()
    template: Path = request.getfixturevalue("sqlite_template")

    def copied(directory: Path) -> contextlib.AbstractContextManager[str]:
        shutil.copy(template, directory / "bot.db")
        return contextlib.nullcontext(f"sqlite+aiosqlite:///{directory}/bot.db")

    return copied


@pytest.fixture
async def world(tmp_path: Path, forker: Forker, sqlite_template: Path) -> AsyncIterator[World]:
    async with migrated_world_in(tmp_path, forker, sqlite_template) as world:
        yield world


@pytest.fixture
def at_once(tmp_path: Path, forker: Forker, sqlite_template: Path) -> AtOnce:
    return AtOnce(tmp_path, forker, sqlite_template)
