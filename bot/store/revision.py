"""The revision of the schema that this program needs, the upgrade to it, and the check of what is really there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, ProgrammingError, SQLAlchemyError

from bot.core.errors import DatabaseNotReady
from bot.store import schema_differences
from bot.store.database_url import dialect_of, parse_url
from bot.store.transaction import T, Work

if TYPE_CHECKING:
    from alembic.config import Config

    from bot.store.keyring import Keyring

REVISION = "0022"
"""The newest migration. A constant, so that startup does not have to import Alembic."""


def require(connection: Connection) -> str:
    """Return the database's revision. Raises `DatabaseNotReady` if this program cannot use it.

    That is the program's own revision, or a later one that only added to it.
    """
    found = _current(connection)
    if found == REVISION:
        return found
    if found is None:
        raise DatabaseNotReady("There are no tables yet. Run `bot db upgrade`.")
    if found < REVISION:
        raise DatabaseNotReady(
            f"The database is at revision {found}, but this program needs {REVISION}. Run `bot db upgrade`."
        )
    oldest = _oldest_usable(connection, found)
    if oldest <= REVISION:
        return found
    raise DatabaseNotReady(
        f"The database is at revision {found}, but this program needs the older revision {REVISION}.",
        hint=f"Run a program made for revision {oldest} or later, or restore the backup made before the upgrade; "
        "`bot db upgrade` cannot downgrade.",
    )


def newer_note(found: str) -> str | None:
    """Return what to say of a database that is newer than this program, which can use it; None if it is not newer.

    The first sentence says what was found, the second what to do.
    """
    if found == REVISION:
        return None
    return (
        f"The database is at revision {found}, which only adds to this program's revision {REVISION}, so this program "
        "can use it. Replace the program with the newer one soon."
    )


def _oldest_usable(connection: Connection, found: str) -> str:
    """Return the oldest revision whose program can use the schema at revision `found`."""
    if not inspect(connection).has_table("schema_compatibility"):
        return found
    # Of another revision, if a program that does not know this table has upgraded the database.
    statement = text("SELECT oldest_revision FROM schema_compatibility WHERE revision = :found")
    oldest: str | None = connection.execute(statement, {"found": found}).scalar()
    return oldest or found


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def upgrade(url: str, keyring: Keyring | None = None) -> str:
    """Migrate the database to this program's revision, in one transaction. Replicas that start together take turns.

    Returns the revision, which is later if a newer program has upgraded the database and this one can use it.

    A migration may have to seal rows of earlier releases. Raises `ConfigurationError` if there are such rows but no keys,
    and `DatabaseNotReady` if the database cannot be upgraded, or its schema is not what the migrations leave.
    """

    def seal_rows(connection: Connection) -> None:
        from bot.store.upgrade_sealing import seal_unsealed_rows  # noqa: PLC0415 - only needed here

        seal_unsealed_rows(connection, keyring)

    def migrate(connection: Connection) -> str:
        found = _current(connection)
        if found is None or found < REVISION:
            _migrate_from(connection, found, seal_rows)
        return _require_schema(connection)

    if dialect_of(url) == "sqlite" and not _sqlite_file(url).exists():
        with reporting_unreachable(url):
            # SQLite would create the file with the umask's permissions, which other users may be able to read.
            _sqlite_file(url).touch(mode=0o600)
    return _in_transaction(url, migrate, writing=True)


def _migrate_from(connection: Connection, found: str | None, seal_rows: Callable[[Connection], None]) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and only needed here
    from alembic.util import CommandError  # noqa: PLC0415

    config = _config()
    config.attributes |= {"connection": connection, "seal_rows": seal_rows}
    try:
        command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        at = f" from revision {found}" if found else ""
        if _is_lost(error):
            raise
        hint = SCHEMA_HINT
        if isinstance(error, ProgrammingError) and _is_denied(error):
            hint = "Run `bot db upgrade` as the role that owns the tables, or may create them."
        raise DatabaseNotReady(
            f"The database cannot be upgraded{at}: {reason.rstrip('.')}. Nothing was changed.", hint=hint
        ) from error


def _is_lost(error: Exception) -> bool:
    """Whether the connection broke: nothing is wrong with the schema."""
    if not isinstance(error, DBAPIError):
        return False
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or state.startswith(SHUTTING_DOWN)


SHUTTING_DOWN = ("57P", "08")
"""Classes of PostgreSQL's codes: the server stops or restarts, or the connection failed."""


def _is_denied(error: ProgrammingError) -> bool:
    return getattr(error.orig, "sqlstate", None) == INSUFFICIENT_PRIVILEGE


INSUFFICIENT_PRIVILEGE = "42501"
SCHEMA_HINT = (
    "Restore a backup, or correct the schema as described in docs/operating.md under “A schema that differs”; then run "
    "`bot db upgrade`."
)
SHOWN_DIFFERENCES = 3


def _require_schema(connection: Connection) -> str:
    """Return the database's revision. Raises `DatabaseNotReady` unless the program can use its schema."""
    found = require(connection)
    problems = schema_differences.differences(connection, newer=found != REVISION)
    if problems:
        shown, others = problems[:SHOWN_DIFFERENCES], len(problems) - SHOWN_DIFFERENCES
        more = f" (and {others} more)" if others > 0 else ""
        raise DatabaseNotReady(
            f"The schema of the database is not that of revision {found}: {'; '.join(shown)}{more}.",
            hint=SCHEMA_HINT,
        )
    return found


def check(url: str) -> str:
    """Return the database's revision. Raises `DatabaseNotReady` unless this program can use it, and its schema."""
    return _run_read_only(url, _require_schema)


def run_read_only(url: str, work: Work[T]) -> T:
    """Run a unit of work that changes nothing and opens no secret. Raises `DatabaseNotReady`."""

    def check_and_run(connection: Connection) -> T:
        require(connection)
        return work(connection)

    try:
        return _run_read_only(url, check_and_run)
    except DBAPIError:
        check(url)  # if the schema differs, that is what to report
        raise


def _run_read_only(url: str, work: Work[T]) -> T:
    if dialect_of(url) == "sqlite" and not _sqlite_file(url).exists():
        raise DatabaseNotReady(f"There is no database at {_sqlite_file(url)}. Run `bot db upgrade`.")
    return _in_transaction(url, work)


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
    from bot.store.postgresql import make_engine, refuse_pooler  # noqa: PLC0415

    await refuse_pooler(url)
    engine = make_engine(url)
    try:
        with reporting_unreachable(url):
            connection = await engine.connect()
        async with contextlib.aclosing(connection), connection.begin():
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"))
            return await connection.run_sync(work)
    except DBAPIError as error:
        if not _is_lost(error):
            raise
        with reporting_unreachable(url):
            raise
    finally:
        await engine.dispose()
