"""What the store's statements are made of. They are built once, when a module is imported, and only bound afterwards.

`sqlalchemy.dialects.postgresql.insert` serves both databases: SQLite took its ON CONFLICT from PostgreSQL, and
SQLAlchemy compiles the one construct for either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.types import TypeEngine

LIMIT = bindparam("limit", type_=Integer)
"""How many rows at most."""


def bind(name: str, column: Column[Any], *, expanding: bool = False) -> BindParameter[Any]:
    """A parameter that is stored the way the column is."""
    return bindparam(name, type_=column.type, expanding=expanding)


APP = "bot_app"
"""The execution option of a connection that names the app."""


def app_of(connection: Connection) -> str:
    """The app whose rows this connection may claim, expire and delete: every statement that does so names it."""
    app: str = connection.get_execution_options().get(APP, "")
    if not app:
        raise RuntimeError("This database was opened for no app.")
    return app


def of_app(table: FromClause) -> ColumnElement[bool]:
    """The condition on everything that claims, expires or deletes: the row is the app's own (see `app_of`)."""
    return table.c.app == bindparam("own_app", type_=Text)


def of_app_or_untold(table: FromClause) -> ColumnElement[bool]:
    """The same, where an earlier release may have written the row without telling its app."""
    return table.c.app.in_([bindparam("own_app", type_=Text), literal_column("''")])


def status_is(table: FromClause, status: str) -> ColumnElement[bool]:
    """A condition on the status that stands literally in the SQL, so that it matches that of a partial index."""
    return table.c.status == literal_column(f"'{status}'")


def status_in(table: FromClause, *statuses: str) -> ColumnElement[bool]:
    """The same for one of several."""
    return table.c.status.in_([literal_column(f"'{status}'") for status in statuses])


# --- rows as a parameter ---------------------------------------------------------------------------


def rows_given(dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> FromClause:
    """A table of rows that are handed over as one parameter, `given`, in the form of `as_rows`."""
    given = bindparam("given", type_=Text)
    if dialect == "postgresql":
        listed = (column(name, kind) for name, kind in columns.items())
        records = func.json_to_recordset(cast(given, JSON)).table_valued(*listed, name="given")
        return records.render_derived(with_types=True)
    each = func.json_each(given).table_valued("value", name="given").c.value
    parts = {
        name: func.json_extract(each, literal_column(f"'$.{name}'"), type_=kind)
        for name, kind in columns.items()
    }
    return select(*(part.label(name) for name, part in parts.items())).subquery("rows")


def as_rows(dialect: str, rows: Iterable[Mapping[str, str | int | datetime | None]]) -> str:
    """Rows as `rows_given` reads them."""

    def in_text(moment: datetime) -> str:
        if moment.tzinfo is None:
            raise ValueError("A time without a time zone was to be stored.")
        text = moment.astimezone(UTC).isoformat(" ", "microseconds")
        return text.removesuffix("+00:00") if dialect == "sqlite" else text

    return json.dumps(list(rows), default=in_text, ensure_ascii=False)
