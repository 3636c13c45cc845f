"""Parts of the store's statements, which are built once, when a module is imported, and later only get parameters.

`sqlalchemy.dialects.postgresql.insert` serves both databases: SQLite took ON CONFLICT from PostgreSQL, and SQLAlchemy
compiles the same construct for either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Row,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.types import TypeEngine

from bot.core import lifecycle

LIMIT = bindparam("limit", type_=Integer)
"""The largest number of rows to read or change."""


def bind(name: str, column: Column[Any], *, expanding: bool = False) -> BindParameter[Any]:
    """Return a parameter with the type of a column."""
    return bindparam(name, type_=column.type, expanding=expanding)


APPS = "bot_apps"
"""The execution option of a connection that contains the apps of the process."""


def apps_of(connection: Connection) -> tuple[str, ...]:
    """Return the apps whose rows this connection may find, claim, expire and delete. Raises RuntimeError if none."""
    apps: tuple[str, ...] = connection.get_execution_options().get(APPS, ())
    if not apps:
        raise RuntimeError("This database was opened without an app.")
    return apps


def of_app(table: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row belongs to the app `own_app`. Statements that claim, expire or delete must have it.

    It binds a single app even if the process serves several: the indexes of due rows begin with the app, so that rows of
    several apps would not be in order (see `in_each_app`).
    """
    return table.c.app == bindparam("own_app", type_=Text)


def of_own_apps(table: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row belongs to any app of the process. For lookups by a secret, which names no app."""
    return table.c.app.in_(bindparam("own_apps", type_=Text, expanding=True))


def in_each_app(connection: Connection, statement: Any, values: Mapping[str, Any]) -> list[Row[Any]]:
    """Execute a statement with the condition `of_app` for each of the process's apps; return the rows of all."""
    return [
        row
        for app in apps_of(connection)
        for row in connection.execute(statement, {**values, "own_app": app}).all()
    ]


def of_app_or_unknown(table: FromClause) -> ColumnElement[bool]:
    """Like `of_app`, for tables in which earlier releases wrote rows without their app."""
    return table.c.app.in_([bindparam("own_app", type_=Text), literal_column("''")])


# --- statuses ----------------------------------------------------------------------------------------


def literal(value: StrEnum) -> ColumnElement[str]:
    """Return a value as a literal in the SQL, so that a condition matches that of a partial index."""
    return literal_column(f"'{value.value}'")


def status_is(table: FromClause, status: StrEnum) -> ColumnElement[bool]:
    return table.c.status == literal(status)


def status_in(table: FromClause, *statuses: StrEnum) -> ColumnElement[bool]:
    if len(statuses) == 1:
        return status_is(table, *statuses)
    return table.c.status.in_([literal(status) for status in statuses])


def is_live(table: FromClause, kind: type[StrEnum]) -> ColumnElement[bool]:
    """Return the condition that a row is not settled."""
    return status_in(table, *lifecycle.live(kind))


def may_become(table: FromClause, target: StrEnum, *sources: StrEnum) -> ColumnElement[bool]:
    """Return the condition of a compare-and-set that changes the status to `target`, built from `core.lifecycle`.

    With `sources`, only rows in one of these are changed. Raises ValueError if the lifecycle lacks such a move.
    """
    allowed = lifecycle.may_become(target)
    if not allowed or not set(sources) <= set(allowed):
        raise ValueError(f"core.lifecycle lets no row go from {sources or 'anywhere'} to {target!r}.")
    return status_in(table, *(sources or allowed))


def require_move(source: StrEnum, target: StrEnum) -> str:
    """Return the value of `target` to bind. Raises ValueError if the lifecycle lacks the move."""
    if source not in lifecycle.may_become(target):
        raise ValueError(f"core.lifecycle lets no row go from {source!r} to {target!r}.")
    return target.value


def changed(connection: Connection, statement: Any, values: Mapping[str, Any]) -> bool:
    """Execute a compare-and-set; return whether it found its row."""
    return bool(connection.execute(statement, values).rowcount)


# --- rows as a parameter ---------------------------------------------------------------------------


def rows_given(dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> FromClause:
    """Return a table of the rows that are passed as one parameter, `given`, in the format of `as_rows`."""
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
    """Serialize rows in the format that `rows_given` reads."""

    def in_text(moment: datetime) -> str:
        if moment.tzinfo is None:
            raise ValueError("A time without a time zone cannot be stored.")
        text = moment.astimezone(UTC).isoformat(" ", "microseconds")
        return text.removesuffix("+00:00") if dialect == "sqlite" else text

    return json.dumps(list(rows), default=in_text, ensure_ascii=False)
