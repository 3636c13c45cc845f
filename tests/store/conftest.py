"""An open database of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.transaction import Database

from .examples import APP


@pytest.fixture
def key() -> str:
    return new_key()


@pytest.fixture
async def database(database_url: str, key: str) -> AsyncIterator[Database]:
    """The test runs on SQLite and on PostgreSQL."""
    opened = await open_database(database_url, Keyring([key]), APP)
    yield opened
    await opened.close()
