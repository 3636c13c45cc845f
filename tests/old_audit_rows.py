"""Inserts old rows into the audit log, whose trigger accepts only current ones: for tests of retention."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, text


@contextlib.contextmanager
def past_allowed(connection: Connection) -> Iterator[None]:
    """Disable the trigger that checks the time of a new row, as only the owner of the tables can."""
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
