"""A world for each story."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bot_process import Forker

from .at_once import AtOnce
from .world import World, migrated_world_in


@pytest.fixture
async def world(tmp_path: Path, forker: Forker, sqlite_template: Path) -> AsyncIterator[World]:
    async with migrated_world_in(tmp_path, forker, sqlite_template) as world:
        yield world


@pytest.fixture
def at_once(tmp_path: Path, forker: Forker, sqlite_template: Path) -> AtOnce:
    return AtOnce(tmp_path, forker, sqlite_template)
