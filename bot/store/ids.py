"""Ids of rows."""

import secrets
from datetime import datetime


def new_id(now: datetime) -> str:
    """A fresh id: 32 hex characters that sort by time (48 bits of milliseconds, then 80 random bits)."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"
