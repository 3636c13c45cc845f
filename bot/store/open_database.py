"""Opens a database: for the bot, for an upgrade, and for operators' read-only commands."""

from __future__ import annotations

from bot.store import key_rotation, revision
from bot.store.database_url import dialect_of
from bot.store.keyring import Keyring
from bot.store.postgresql import PostgresqlDatabase, refuse_pooler
from bot.store.sqlite import SqliteDatabase
from bot.store.transaction import Database, T, Work


async def open_database(url: str, keyring: Keyring, *apps: str) -> Database:
    """Open a database. It must exist, be at a revision that this program can use, and match these keys.

    `apps` are those whose rows it may find, claim, expire and delete: see `statements.apps_of`.

    Raises `DatabaseNotReady` or `ConfigurationError`.
    """
    if dialect_of(url) == "postgresql":
        await refuse_pooler(url)
    database = _driver(url, keyring, apps)
    try:
        with revision.reporting_unreachable(url):
            await database.read(revision.require)
        await key_rotation.check_keys(database)
    except BaseException:
        await database.close()
        raise
    return database


def _driver(url: str, keyring: Keyring, apps: tuple[str, ...]) -> Database:
    driver = SqliteDatabase if dialect_of(url) == "sqlite" else PostgresqlDatabase
    return driver(url, keyring, apps)


def upgrade(url: str, keyring: Keyring | None = None) -> str | None:
    """Migrate a database to this program's revision, and create it if necessary. Not for use inside an event loop.

    Returns a note if the database is at a newer revision that this program can use.

    Raises `ConfigurationError` if keys are needed but missing. A new database needs none.
    """
    return revision.newer_note(revision.upgrade(url, keyring))


def check_schema(url: str) -> str | None:
    """Raise `DatabaseNotReady` unless the database exists and this program can use its schema.

    Returns a note if the database is at a newer revision.
    """
    return revision.newer_note(revision.check(url))


def read_without_keys(url: str, work: Work[T]) -> T:
    """Run a unit of work that changes nothing and opens no secret. Raises `DatabaseNotReady` like `check_schema`.

    For operators' commands. Not for use inside an event loop.
    """
    return revision.run_read_only(url, work)
