"""Ids of rows."""

import secrets
from datetime import UTC, datetime, timedelta


def new_id(now: datetime) -> str:
    """Return a new id: 32 hex characters that sort by time (56 bits of microseconds, then 72 random bits)."""
    return f"{int(now.timestamp() * 1_000_000):014x}{secrets.token_hex(9)}"


def first_id(now: datetime) -> str:
    """Return a text that sorts before every id of this time and later, and after those of earlier times."""
    return f"{max(0, int(now.timestamp() * 1_000_000)):014x}"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(row_id: str) -> datetime:
    """Return when an id was created, by the clock of the process that created it."""
    return EPOCH + timedelta(microseconds=int(row_id[:14], 16))
