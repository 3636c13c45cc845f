"""`bot db backup`: a consistent copy of a SQLite database, while the bot writes to it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

from bot.core.errors import ConfigurationError, DatabaseNotReady
from bot.store.database_url import dialect_of, parse_url
from bot.store.presence_lock import SUFFIX

OWN_FILES = ("", "-wal", "-shm", "-journal", SUFFIX)
"""What SQLite and the bot append to the database's name for their own files."""
BUSY_SECONDS = 30.0


def copy_database(url: str, target: Path) -> None:
    """Copy the SQLite database to a new file that only its owner can read. Any revision of the schema can be copied.

    Raises `ConfigurationError` for PostgreSQL, `DatabaseNotReady` if there is no database to copy, and OSError if the
    copy cannot be written. The file has its name only when it is complete.
    """
    if dialect_of(url) != "sqlite":
        raise ConfigurationError(
            "BOT_DATABASE_URL: `bot db backup` copies SQLite databases only. For PostgreSQL use pg_dump."
        )
    source = Path(parse_url(url).database or "")
    if not source.is_file():
        raise DatabaseNotReady(f"There is no database at {source}.", hint="Fix BOT_DATABASE_URL.")
    _require_free(target, source)
    # In the same folder, so that it can be linked to its name.
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        _copy(source, partial)
        _flush(partial)
        _publish(partial, target)
    finally:
        for end in OWN_FILES:
            Path(f"{partial}{end}").unlink(missing_ok=True)
    _flush(target.parent)


def _require_free(target: Path, source: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists already. Choose another name, or remove it first.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {target.parent}. Make it first.")
    # SQLite would take a copy with one of these names for a part of the database.
    for path in (source.absolute(), source.resolve()):
        if (target.parent.resolve() / target.name) in {Path(f"{path}{end}") for end in OWN_FILES}:
            raise FileExistsError(f"{target} is a name for the database's own files. Choose another name.")


def _copy(source: Path, target: Path) -> None:
    try:
        with (
            contextlib.closing(_open(source)) as original,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            # In one step, which reads one snapshot. Smaller steps would start again after each write of the bot's.
            original.backup(copy)
            # A single file: a copy in WAL mode needs a second one to be read.
            copy.execute("PRAGMA journal_mode = DELETE")
            (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise OSError(f"The database {source} cannot be copied: {error}.") from error
    if verdict != "ok":
        problem = " ".join(verdict.split())
        raise OSError(f"{source} is damaged, and so would be the copy: {problem}.")


def _open(source: Path) -> sqlite3.Connection:
    # By URI, because a plain name would create the file if it has disappeared.
    return sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)


def _publish(partial: Path, target: Path) -> None:
    """Give the complete copy its name. Unlike renaming, linking never replaces a file."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise FileExistsError(f"{target} exists already. Choose another name, or remove it first.") from None
    except OSError:
        # Some file systems have no links.
        _require_free(target, partial)
        partial.rename(target)


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
