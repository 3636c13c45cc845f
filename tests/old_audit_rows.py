"""Rows of the past in the audit log, which takes only rows of the moment: for tests of what becomes of old ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, text


@contextlib.contextmanager
def past_allowed(connection: Connection) -> Iterator[None]:
    """As the owner of the tables can, and nobody else: without the trigger that looks at the time of a new row."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_dated"))
        yield
        connection.execute(text("ALTER TABLE audit_log ENABLE TRIGGER audit_log_is_dated"))
        return
    trigger = "SELECT sql FROM sqlite_master WHERE name = 'audit_log_is_dated'"
    statement = connection.execute(text(trigger)).scalar_one()
    connection.exec_driver_sql("DROP TRIGGER audit_log_is_dated")
    yield
    connection.exec_driver_sql(statement)
