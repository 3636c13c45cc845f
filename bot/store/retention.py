"""Which rows are deleted, and when."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from bot.store import attempts, audit, calls, outbox, replicas, requests, revocations, seen_events, sessions

EVENTS = timedelta(hours=24)
"""The platform redelivers an event for about seven hours."""
ATTEMPTS_AND_REQUESTS = timedelta(days=30)
SIGN_INS = timedelta(hours=1)
"""After that, a page that is opened again can no longer say why it is too late."""
CALLS_AND_MESSAGES = timedelta(days=30)
AUDIT = timedelta(days=90)
"""The database itself refuses to delete younger rows."""
REPLICAS = timedelta(days=1)

BATCH_SIZE = 500
"""Rows of a table that one transaction deletes, so that others can write in between."""


def prune(connection: Connection, now: datetime) -> int:
    """Delete a batch of old rows, and expire attempts; return how many rows.

    If it returns `BATCH_SIZE` or more, there may be more to delete.
    """
    return (
        attempts.expire(connection, now, BATCH_SIZE)
        + outbox.prune(connection, now - CALLS_AND_MESSAGES, BATCH_SIZE)
        + calls.prune(connection, now - CALLS_AND_MESSAGES, BATCH_SIZE)
        # After the calls, because an event that records "Try again" is kept as long as its call is stored.
        + seen_events.prune(connection, now - EVENTS, BATCH_SIZE)
        + attempts.prune(connection, now - ATTEMPTS_AND_REQUESTS, BATCH_SIZE)
        + requests.prune(connection, now - ATTEMPTS_AND_REQUESTS, BATCH_SIZE)
        + attempts.prune_sign_ins(connection, now - SIGN_INS, BATCH_SIZE)
        + sessions.prune(connection, now, BATCH_SIZE)
        + revocations.prune(connection, now - CALLS_AND_MESSAGES, BATCH_SIZE)
        + replicas.prune(connection, now - REPLICAS, BATCH_SIZE)
        + audit.prune(connection, now - AUDIT - timedelta(hours=1), BATCH_SIZE)
    )
