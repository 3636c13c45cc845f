"""Migrated PostgreSQL databases that are emptied after each test and given to the next.

Copying a database for each test costs ten times as much as emptying it. A database that a test has changed in any other
way than by its rows is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from asyncpg import PostgresError
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

T = TypeVar("T")

STATE = text("""
    SELECT md5(concat(
        (SELECT string_agg(concat(oid, relname, relowner, relacl, reloptions), ';' ORDER BY oid) FROM pg_class
         WHERE relnamespace = 'public'::regnamespace),
        (SELECT string_agg(concat(attrelid, attnum, pg_attribute.xmin), ';' ORDER BY attrelid, attnum) FROM pg_attribute
         JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace),
        (SELECT string_agg(pg_trigger::text, ';' ORDER BY oid) FROM pg_trigger),
        (SELECT string_agg(concat(oid, xmin), ';' ORDER BY oid) FROM pg_constraint),
        (SELECT string_agg(concat(oid, xmin), ';' ORDER BY oid) FROM pg_proc WHERE oid >= 16384),
        (SELECT string_agg(concat(oid, nspname, nspacl), ';' ORDER BY oid) FROM pg_namespace),
        (SELECT string_agg(concat(extname, extversion), ';' ORDER BY oid) FROM pg_extension),
        (SELECT string_agg(concat(oid, defaclacl), ';' ORDER BY oid) FROM pg_default_acl),
        (SELECT string_agg(concat(datacl, datconnlimit, datallowconn), ';') FROM pg_database
         WHERE datname = current_database()),
        (SELECT string_agg(concat(setrole, setconfig), ';' ORDER BY setrole) FROM pg_db_role_setting
         WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())),
        (SELECT count(*) FROM pg_statistic JOIN pg_class ON pg_class.oid = starelid
         WHERE relnamespace = 'public'::regnamespace)
    ))
""")
"""Everything in a database that a test could change, but for its rows: objects, privileges, settings, statistics. Views
and indexes are relations, and are never altered but replaced, which gives them another oid or other attributes."""

DISCONNECT_OTHERS = text(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
FILLED = text(
    "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
    "AND pg_relation_size(oid) > 0 ORDER BY relname"
)
RESTART_NUMBERS = text("SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence")

MAX_LEFT = 64 * 1024
"""Bytes of deleted rows that a table may keep. Truncating is slower than deleting, and for more than this it is done."""


class ReusedDatabases:
    """The databases of one server. Lends each to one test at a time."""

    def __init__(self, server: str, template: str) -> None:
        self._server, self._template = server, template
        self._clean: list[str] = []
        template_url = named(server, template)
        self._kept = on_connection(template_url, filled)
        """The tables that the migrations fill."""
        self._state = on_connection(template_url, self._state_of)

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Yield the URL of a migrated database without rows."""
        name = self._clean.pop() if self._clean else self._copy()
        try:
            yield named(self._server, name)
        finally:
            if self._empty(name):
                self._clean.append(name)
            else:
                administer(self._server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _copy(self) -> str:
        name = f"bot_{uuid4().hex[:12]}"
        administer(self._server, f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return name

    def _empty(self, name: str) -> bool:
        """Delete all rows. Return whether the database is now as it was when it was copied."""

        async def empty(connection: AsyncConnection) -> bool:
            await connection.execute(DISCONNECT_OTHERS)
            await connection.execute(text("SET lock_timeout = 5000"))
            # The audit log refuses to be emptied, by a trigger.
            await connection.execute(text("SET session_replication_role = replica"))
            for table, size in (await filled(connection)).items():
                if table not in self._kept:
                    empty_it = f"DELETE FROM {table}" if size <= MAX_LEFT else f"TRUNCATE {table} CASCADE"
                    await connection.execute(text(empty_it))
            await connection.execute(RESTART_NUMBERS)
            return await self._state_of(connection) == self._state

        try:
            return on_connection(named(self._server, name), empty)
        except (DBAPIError, PostgresError, OSError):
            return False

    async def _state_of(self, connection: AsyncConnection) -> object:
        """Return what a test could have changed: everything but the rows of the bot."""
        kept = [
            (await connection.execute(text(f"SELECT * FROM {table} ORDER BY 1"))).all()
            for table in self._kept
        ]
        return (await connection.execute(STATE)).scalar_one(), kept


async def filled(connection: AsyncConnection) -> dict[str, int]:
    """Return the sizes of the tables that have rows, or have had some."""
    return {name: size for name, size in await connection.execute(FILLED)}


def named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def administer(url: str, statement: str) -> None:
    """Run a statement that cannot be in a transaction."""

    async def run(connection: AsyncConnection) -> Any:
        await connection.execute(text(statement))

    on_connection(url, run)


def on_connection(url: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run `work` on a new connection, where each statement commits by itself."""

    async def run() -> T:
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        try:
            async with engine.connect() as connection:
                return await work(connection)
        finally:
            await engine.dispose()

    # In another thread, because a test may already have an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()
