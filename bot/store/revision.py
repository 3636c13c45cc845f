"""The revision of the schema that this program needs, and the upgrade to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from bot.core.errors import DatabaseNotReady
from bot.store.database_url import dialect_of, parse_url
from bot.store.transaction import T, Work

if TYPE_CHECKING:
    from alembic.config import Config

    from bot.store.keyring import Keyring

REVISION = "0022"
"""The newest migration. A constant, so that startup does not have to import Alembic."""


def require(connection: Connection) -> None:
    """Raise `DatabaseNotReady` unless the database is at this program's revision."""
    found = _current(connection)
    if found == REVISION:
        return
    if found is None:
        raise DatabaseNotReady("There are no tables yet. Run `bot db upgrade`.")
    if found > REVISION:
        raise DatabaseNotReady(
            f"The database is at revision {found}, but this program needs the older revision {REVISION}.",
            hint="Run the newer program; `bot db upgrade` cannot downgrade.",
        )
    raise DatabaseNotReady(
        f"The database is at revision {found}, but this program needs {REVISION}. Run `bot db upgrade`."
    )


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def upgrade(url: str, keyring: Keyring | None = None) -> None:
    """Migrate the database to this program's revision, in one transaction. Replicas that start together take turns.

    A migration may have to seal rows of earlier releases. Raises `ConfigurationError` if there are such rows but no keys,
    and `DatabaseNotReady` if the database cannot be upgraded.
    """
    from alembic import command  # noqa: PLC0415 - slow to import, and only needed here

    def seal_rows(connection: Connection) -> None:
        from bot.store.upgrade_sealing import seal_unsealed_rows  # noqa: PLC0415 - only needed here

        seal_unsealed_rows(connection, keyring)

    def migrate(connection: Connection) -> None:
        found = _current(connection)
        if found is not None and found > REVISION:
            require(connection)
        config = _config()
        config.attributes |= {"connection": connection, "seal_rows": seal_rows}
        command.upgrade(config, "head")

    if dialect_of(url) == "sqlite" and not _sqlite_file(url).exists():
        with reporting_unreachable(url):
            # SQLite would create the file with the umask's permissions, which other users may be able to read.
            _sqlite_file(url).touch(mode=0o600)
    try:
        _in_transaction(url, migrate, writing=True)
    except ProgrammingError as error:
        reason = " ".join(str(error.orig).split())[:200]
        raise DatabaseNotReady(
            f"The database cannot be upgraded: {reason}. Nothing was changed.",
            hint="Run `bot db upgrade` as the role that owns the tables, or may create them.",
        ) from error


def check(url: str) -> None:
    """Raise `DatabaseNotReady` unless the database exists and is at this program's revision."""
    run_read_only(url, lambda connection: None)


def run_read_only(url: str, work: Work[T]) -> T:
    """Run a unit of work that changes nothing and opens no secret. Raises `DatabaseNotReady`."""
    if dialect_of(url) == "sqlite" and not _sqlite_file(url).exists():
        raise DatabaseNotReady(f"There is no database at {_sqlite_file(url)}. Run `bot db upgrade`.")

    def check_and_run(connection: Connection) -> T:
        require(connection)
        return work(connection)

    return _in_transaction(url, check_and_run)


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def migrations_folder() -> Path:
    """Return the folder of the migrations: inside the package if installed from a wheel, else beside the package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _sqlite_file(url: str) -> Path:
    return Path(parse_url(url).database or "")


@contextlib.contextmanager
def reporting_unreachable(url: str) -> Iterator[None]:
    """Convert a driver's error while connecting into `DatabaseNotReady`."""
    try:
        yield
    except (DBAPIError, OSError) as error:
        where = parse_url(url).render_as_string(hide_password=True)
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseNotReady(
            f"The database {where} cannot be reached: {reason or type(reason).__name__}.",
            hint="Start the database, or fix BOT_DATABASE_URL.",
        ) from error


def _in_transaction(url: str, work: Work[T], *, writing: bool = False) -> T:
    if dialect_of(url) == "sqlite":
        return _in_sqlite_transaction(url, work, writing=writing)
    return asyncio.run(_in_postgresql_transaction(url, work))


def _in_sqlite_transaction(url: str, work: Work[T], *, writing: bool) -> T:
    """Run a unit of work in a transaction. One that only reads neither waits for the bot's writes nor delays them.

    Foreign keys are not enforced while writing, because a migration may rebuild tables. It checks them itself.
    """
    from bot.store.sqlite import make_engine  # noqa: PLC0415

    engine = make_engine(url)
    try:
        with reporting_unreachable(url):
            connection = engine.connect()
        with connection:
            connection.exec_driver_sql(f"PRAGMA foreign_keys = {'OFF' if writing else 'ON'}")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
            try:
                found = work(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
            return found
    finally:
        engine.dispose()


UPGRADE_LOCK = 0x626F745F6462
"""An arbitrary number that every replica uses: `bot_db` in ASCII."""


async def _in_postgresql_transaction(url: str, work: Work[T]) -> T:
    from bot.store.postgresql import make_engine  # noqa: PLC0415

    engine = make_engine(url)
    try:
        with reporting_unreachable(url):
            connection = await engine.connect()
        async with contextlib.aclosing(connection), connection.begin():
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"))
            return await connection.run_sync(work)
    finally:
        await engine.dispose()
