"""Which rows are deleted, and when."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from bot.store import attempts, audit, calls, outbox, replicas, requests, revocations, seen_events, sessions

EVENTS = timedelta(hours=24)
"""The platform repeats the delivery of an event for about seven hours."""
ATTEMPTS_AND_REQUESTS = timedelta(days=30)
SIGN_INS = timedelta(hours=1)
"""After that, a page that is opened again cannot say why it is too late."""
CALLS_AND_MESSAGES = timedelta(days=30)
AUDIT = timedelta(days=90)
"""The database itself refuses to delete younger rows."""
REPLICAS = timedelta(days=1)

AT_A_TIME = 500
"""Rows of a table that one transaction deletes, so that others can write between."""


def prune(connection: Connection, now: datetime) -> int:
    """Delete a portion of old rows, and expire attempts; return how many rows.

    If it returns `AT_A_TIME` or more, there may be more to delete.
    """
    return (
        attempts.expire(connection, now, AT_A_TIME)
        + outbox.prune(connection, now - CALLS_AND_MESSAGES, AT_A_TIME)
        + calls.prune(connection, now - CALLS_AND_MESSAGES, AT_A_TIME)
        # After the calls: the press of a button under an answer is remembered as long as its call is stored.
        + seen_events.prune(connection, now - EVENTS, AT_A_TIME)
        + attempts.prune(connection, now - ATTEMPTS_AND_REQUESTS, AT_A_TIME)
        + requests.prune(connection, now - ATTEMPTS_AND_REQUESTS, AT_A_TIME)
        + attempts.prune_sign_ins(connection, now - SIGN_INS, AT_A_TIME)
        + sessions.prune(connection, now, AT_A_TIME)
        + revocations.prune(connection, now - CALLS_AND_MESSAGES, AT_A_TIME)
        + replicas.prune(connection, now - REPLICAS, AT_A_TIME)
        + audit.prune(connection, now - AUDIT - timedelta(hours=1), AT_A_TIME)
    )
