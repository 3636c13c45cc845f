"""Which revision of the schema this program needs, and how a database gets there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from bot.core.errors import DatabaseNotReady
from bot.store.database import dialect_of

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0001"
"""The newest migration: written down, because asking Alembic would cost every start its import."""


def require(connection: Connection) -> None:
    """Raises `DatabaseNotReady` unless the database is at this program's revision."""
    found = _current(connection)
    if found == REVISION:
        return
    if found is None:
        raise DatabaseNotReady("There are no tables yet. Run `bot db upgrade`.")
    if found > REVISION:
        raise DatabaseNotReady(
            f"The database is at revision {found}, newer than this program, which needs {REVISION}.",
            hint="Run the newer program; `bot db upgrade` does not go back.",
        )
    raise DatabaseNotReady(
        f"The database is at revision {found} and has to be at {REVISION}. Run `bot db upgrade`."
    )


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def upgrade(url: str) -> None:
    """Brings the database to this program's revision, in one transaction; replicas that start together take turns."""
    from alembic import command  # noqa: PLC0415 - slow to import, and only needed here

    def migrate(connection: Connection) -> None:
        found = _current(connection)
        if found is not None and found > REVISION:
            require(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    _in_transaction(url, migrate)


def check(url: str) -> None:
    """Raises `DatabaseNotReady` unless the database is there and at this program's revision."""
    if dialect_of(url) == "sqlite" and not _sqlite_file(url).exists():
        raise DatabaseNotReady(f"There is no database at {_sqlite_file(url)}. Run `bot db upgrade`.")
    _in_transaction(url, require)


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def migrations_folder() -> Path:
    """Inside the package when it was installed from a wheel, else beside it."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _sqlite_file(url: str) -> Path:
    from bot.store.database import parse_url  # noqa: PLC0415

    return Path(parse_url(url).database or "")


def _in_transaction(url: str, work: Callable[[Connection], None]) -> None:
    if dialect_of(url) == "sqlite":
        _in_sqlite_transaction(url, work)
    else:
        asyncio.run(_in_postgresql_transaction(url, work))


def _in_sqlite_transaction(url: str, work: Callable[[Connection], None]) -> None:
    from bot.store.sqlite import make_engine  # noqa: PLC0415

    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                work(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


UPGRADE_LOCK = 0x626F745F6462
"""Any number will do, as long as every replica takes the same: `bot_db` in ASCII."""


async def _in_postgresql_transaction(url: str, work: Callable[[Connection], None]) -> None:
    from bot.store.postgresql import make_engine  # noqa: PLC0415

    engine = make_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"))
            await connection.run_sync(work)
    finally:
        await engine.dispose()
