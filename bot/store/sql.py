"""What the store's statements are made of. They are built once, when a module is imported, and only bound afterwards.

`sqlalchemy.dialects.postgresql.insert` serves both databases: SQLite took its ON CONFLICT from PostgreSQL, and
SQLAlchemy compiles the one construct for either.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, FromClause, Integer, bindparam, literal_column

LIMIT = bindparam("limit", type_=Integer)
"""How many rows at most."""


def bind(name: str, column: Column[Any], *, expanding: bool = False) -> BindParameter[Any]:
    """A parameter that is stored the way the column is."""
    return bindparam(name, type_=column.type, expanding=expanding)


def status_is(table: FromClause, status: str) -> ColumnElement[bool]:
    """A condition on the status that stands literally in the SQL, so that it matches that of a partial index."""
    return table.c.status == literal_column(f"'{status}'")


def status_in(table: FromClause, *statuses: str) -> ColumnElement[bool]:
    """The same for one of several."""
    return table.c.status.in_([literal_column(f"'{status}'") for status in statuses])
