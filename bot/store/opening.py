"""Opening a database: for the bot, for an upgrade, for an operator's look."""

from __future__ import annotations

from bot.store import key_rotation, revision
from bot.store.database_url import dialect_of
from bot.store.keyring import Keyring
from bot.store.postgresql import PostgresqlDatabase
from bot.store.sqlite import SqliteDatabase
from bot.store.transaction import Database, T, Work


async def open_database(url: str, seal: Keyring, app: str = "") -> Database:
    """Opens a database that is there, at this program's revision, and whose secrets open with these keys.

    `app` is needed to claim, expire or delete rows: see `statements.app_of`.

    Raises `DatabaseNotReady` or `ConfigurationError` otherwise.
    """

    database = _driver(url, seal, app)
    try:
        with revision.reaching(url):
            await database.read(revision.require)
        await key_rotation.check_keys(database)
    except BaseException:
        await database.close()
        raise
    return database


def _driver(url: str, seal: Keyring, app: str) -> Database:

    driver = SqliteDatabase if dialect_of(url) == "sqlite" else PostgresqlDatabase
    return driver(url, seal, app)


def upgrade(url: str, seal: Keyring | None = None) -> None:
    """Brings a database to the newest migration, making it where there is none. Not for use inside an event loop.

    Raises `ConfigurationError` when the keys are needed and missing, which they are not for a new database.
    """

    revision.upgrade(url, seal)


def check_schema(url: str) -> None:
    """Raises `DatabaseNotReady` unless the database is there and at this program's revision."""

    revision.check(url)


def read_without_keys(url: str, work: Work[T]) -> T:
    """What a work finds that changes nothing and opens no secret: this needs no keys. Raises like `check`.

    For operators' commands; not for use inside an event loop.
    """

    return revision.look(url, work)
