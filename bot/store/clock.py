"""The database's clock."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from bot.store.column_types import UtcDateTime

READ = text("SELECT clock_timestamp() AS now").columns(now=UtcDateTime)


def read(connection: Connection) -> datetime:
    """Return the time by the clock of a PostgreSQL server."""
    now: datetime = connection.execute(READ).scalar_one()
    return now
