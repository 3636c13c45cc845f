"""The parts of docs/database.md that are generated: `python -m tests.database_page` writes them into the page."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql, sqlite

from bot.store.open_database import upgrade
from bot.store.schema import MOVED, metadata

PAGE = Path(__file__).resolve().parents[1] / "docs" / "database.md"
LOOSE = {
    "api_calls": {"call_id": "deferred_calls", "user_key": "users"},
    "audit_log": {"user_key": "users"},
    "outgoing_messages": {"user_key": "users"},
}
"""References that are no foreign keys, because their rows outlive what they refer to."""


def columns_of(table: Table) -> list[Column[object]]:
    """The columns in use."""
    return [column for column in table.columns if column.comment != MOVED]


def diagram() -> str:
    """The tables with their keys and statuses, and what refers to what, for Mermaid."""
    lines = ["```mermaid", "erDiagram"]
    for table in metadata.sorted_tables:
        for column in columns_of(table):
            for key in column.foreign_keys:
                one = "||" if not column.nullable else "|o"
                many = "o|" if column.primary_key and len(table.primary_key) == 1 else "o{"
                lines.append(f"    {key.column.table.name} {one}--{many} {table.name} : {column.name}")
    for name, references in LOOSE.items():
        lines += [f"    {other} |o..o{{ {name} : {column}" for column, other in references.items()]
    for table in metadata.sorted_tables:
        lines.append(f"    {table.name} {{")
        for column in columns_of(table):
            roles = ["PK"] * column.primary_key + ["FK"] * bool(column.foreign_keys)
            if roles or column.name in {"status", *LOOSE.get(table.name, ())}:
                kind = str(column.type.compile(postgresql.dialect())).split(" ")[0].lower()  # type: ignore[no-untyped-call]
                lines.append(f"        {kind} {column.name} {', '.join(roles)}".rstrip())
        lines.append("    }")
    return "\n".join([*lines, "```"])


def tables() -> str:
    """Each table with its columns."""
    parts = []
    for table in sorted(metadata.tables.values(), key=lambda each: each.name):
        rows = [
            f"| `{column.name}` | {kind_of(column)} | {cell(column.comment)} |"
            for column in columns_of(table)
        ]
        parts.append(
            f"### {table.name}\n\n{table.comment}.\n\n| column | type | meaning |\n|---|---|---|\n"
            + "\n".join(rows)
        )
    return "\n\n".join(parts)


def kind_of(column: Column[object]) -> str:
    on_postgresql = str(column.type.compile(postgresql.dialect())).lower()  # type: ignore[no-untyped-call]
    on_sqlite = str(column.type.compile(sqlite.dialect())).lower()  # type: ignore[no-untyped-call]
    kind = "time" if on_sqlite == "datetime" else on_postgresql
    return kind if not column.nullable else f"{kind}, may be NULL"


def cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def views() -> str:
    """Each view with its columns, as the newest migration leaves them."""
    parts = []
    for name, comment, columns in described_views():
        rows = [f"| `{column}` | {cell(meaning)} |" for column, meaning in columns]
        parts.append(f"### {name}\n\n{comment}.\n\n| column | meaning |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts)


def described_views() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """The name, comment and commented columns of each view of a SQLite database."""
    with tempfile.TemporaryDirectory() as directory:
        upgrade(f"sqlite+aiosqlite:///{directory}/bot.db")
        with closing(sqlite3.connect(f"{directory}/bot.db")) as connection:
            found = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY name"
            )
            for name, sql in found.fetchall():
                comment = re.search(r"AS /\* (.*?) \*/", sql)
                yield name, comment[1] if comment else "", re.findall(r"AS (\w+) /\* (.*?) \*/", sql)


PARTS = {"diagram": diagram, "views": views, "tables": tables}


def generated(page: str) -> str:
    """The page with its generated parts as they should be."""
    for name, make in PARTS.items():
        marks = rf"(<!-- generated: {name} -->\n).*?(\n<!-- /generated -->)"
        page, count = re.subn(
            marks, lambda found, make=make: f"{found[1]}{make()}{found[2]}", page, flags=re.DOTALL
        )
        assert count == 1, name
    return page


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
