"""Ids of rows."""

import secrets
from datetime import datetime


def new_id(now: datetime) -> str:
    """A fresh id: 32 hex characters that sort by time (56 bits of microseconds, then 72 random bits)."""
    return f"{int(now.timestamp() * 1_000_000):014x}{secrets.token_hex(9)}"
