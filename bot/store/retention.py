"""What is deleted, and when. Everything that still matters to somebody stays."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from bot.store import attempts, audit, calls, outbox, replicas, requests, revocations, seen_events, sessions

EVENTS = timedelta(hours=24)
"""The platform delivers an event again for some seven hours."""
ATTEMPTS_AND_REQUESTS = timedelta(days=30)
SIGN_INS = timedelta(hours=1)
"""After it, a page that is come back to no longer knows why it is too late."""
CALLS_AND_MESSAGES = timedelta(days=30)
AUDIT = timedelta(days=90)
"""The database itself refuses to delete younger rows."""
REPLICAS = timedelta(days=1)

AT_A_TIME = 500
"""Rows of a large table in one transaction: others want to write, too."""


def prune(connection: Connection, now: datetime) -> int:
    """Deletes a portion of what nobody asks for any more, and lets attempts expire; returns how many rows.

    As long as it returns `AT_A_TIME` or more there is, or may be, more to delete.
    """
    return (
        attempts.expire(connection, now, AT_A_TIME)
        + outbox.prune(connection, now - CALLS_AND_MESSAGES, AT_A_TIME)
        + calls.prune(connection, now - CALLS_AND_MESSAGES, AT_A_TIME)
        # After the calls: what was pressed under the answer of one is remembered as long as it is kept.
        + seen_events.prune(connection, now - EVENTS, AT_A_TIME)
        + attempts.prune(connection, now - ATTEMPTS_AND_REQUESTS, AT_A_TIME)
        + requests.prune(connection, now - ATTEMPTS_AND_REQUESTS, AT_A_TIME)
        + attempts.prune_sign_ins(connection, now - SIGN_INS, AT_A_TIME)
        + sessions.prune(connection, now, AT_A_TIME)
        + revocations.prune(connection, now - CALLS_AND_MESSAGES, AT_A_TIME)
        + replicas.prune(connection, now - REPLICAS, AT_A_TIME)
        + audit.prune(connection, now - AUDIT - timedelta(hours=1), AT_A_TIME)
    )
