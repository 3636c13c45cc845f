"""SQL on the bot's database without the bot's store, as an operator would run it."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

Rows = list[dict[str, Any]]


class Sql:
    """A client for either database. Every statement commits by itself."""

    def __init__(self, url: str) -> None:
        backend, _, rest = url.partition("://")
        self._sqlite: Engine | None = None
        self._postgresql: AsyncEngine | None = None
        if backend.startswith("sqlite"):
            self._sqlite = create_engine(f"sqlite://{rest}", isolation_level="AUTOCOMMIT", poolclass=NullPool)
        else:
            self._postgresql = create_async_engine(url, isolation_level="AUTOCOMMIT")

    async def rows(self, statement: str, **parameters: Any) -> Rows:
        """Run a statement and return its rows, or an empty list."""
        if self._sqlite is not None:
            return await asyncio.to_thread(self._run_on_sqlite, self._sqlite, statement, parameters)
        assert self._postgresql is not None
        async with self._postgresql.connect() as connection:
            return await connection.run_sync(_run, statement, parameters)

    async def close(self) -> None:
        if self._postgresql is not None:
            await self._postgresql.dispose()

    @staticmethod
    def _run_on_sqlite(engine: Engine, statement: str, parameters: dict[str, Any]) -> Rows:
        with engine.connect() as connection:
            return _run(connection, statement, parameters)


async def query(url: str, statement: str, **parameters: Any) -> Rows:
    """Run one statement on a new connection."""
    client = Sql(url)
    try:
        return await client.rows(statement, **parameters)
    finally:
        await client.close()


def _run(connection: Connection, statement: str, parameters: dict[str, Any]) -> Rows:
    result = connection.execute(text(statement), parameters)
    return [dict(row) for row in result.mappings()] if result.returns_rows else []
