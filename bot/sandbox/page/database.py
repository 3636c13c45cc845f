"""Reads the bot's SQLite file for the chat page, as an operator would: read-only, without knowledge of the bot."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from bot.sandbox.json_http import Json

MAX_ROWS = 100
DOCUMENTED_TABLES = ("users", "grants", "authorization_requests", "deferred_calls", "audit_log")
"""The tables and views that the documentation describes to operators; they are listed first."""


def list_tables(path: Path) -> Json:
    """Return the names and numbers of rows of all tables. While the file cannot be read: none, with a note."""
    if not path.exists():
        return {"tables": [], "note": "The bot creates its database when it first starts."}
    try:
        with closing(_connect(path)) as connection:
            names = [name for name, _ in _objects(connection)]
            tables = [
                {"name": name, "count": _count(connection, name), "promised": name in DOCUMENTED_TABLES}
                for name in names
            ]
            return {"tables": tables}
    except sqlite3.Error as problem:
        return {"tables": [], "note": f"The database cannot be read just now: {problem}."}


def read_table(path: Path, name: str) -> Json | None:
    """Return the columns and the newest rows of a table or view, newest first; None if it does not exist."""
    if not path.exists():
        return None
    with closing(_connect(path)) as connection:
        kind = dict(_objects(connection)).get(name)
        if kind is None:
            return None
        columns = [
            {"name": column, "type": declared}
            for _, column, declared, *_ in connection.execute(f"PRAGMA table_info({_quoted(name)})")
        ]
        order = "ORDER BY rowid DESC" if kind == "table" else ""
        rows = connection.execute(f"SELECT * FROM {_quoted(name)} {order} LIMIT {MAX_ROWS}").fetchall()  # noqa: S608
        return {
            "name": name,
            "kind": kind,
            "count": _count(connection, name),
            "columns": columns,
            "rows": [[_shown(value) for value in row] for row in rows],
        }


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)


def _objects(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return tables and views as (name, kind): the documented ones, then other views, then other tables."""
    found = connection.execute(
        "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    ).fetchall()

    def place(entry: tuple[str, str]) -> tuple[int, str]:
        name, kind = entry
        if name in DOCUMENTED_TABLES:
            return DOCUMENTED_TABLES.index(name), name
        return len(DOCUMENTED_TABLES) + (kind != "view"), name

    return sorted(found, key=place)


def _count(connection: sqlite3.Connection, name: str) -> int:
    count: int = connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]  # noqa: S608
    return count


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _shown(value: Any) -> Any:
    """Return the value as JSON: for bytes, their number and the first 12 in hexadecimal."""
    if isinstance(value, bytes):
        return {"bytes": len(value), "hex": value[:12].hex()}
    return value
