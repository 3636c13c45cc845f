"""Which rows are deleted, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from bot.store import (
    api_calls,
    attempts,
    audit,
    calls,
    outbox,
    replicas,
    requests,
    revocations,
    seen_events,
    sessions,
)

EVENTS = timedelta(hours=24)
"""The platform redelivers an event for about seven hours. Not a setting: a forgotten event would be carried out again."""
SIGN_INS = timedelta(hours=1)
"""After that, a page that is opened again can no longer say why it is too late."""
REPLICAS = timedelta(days=1)

BATCH_SIZE = 500
"""Rows of a table that one transaction deletes, so that others can write in between."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The periods that operators set, in whole days."""

    settled: timedelta = timedelta(days=30)
    """Of calls, messages, requests and revocations after they are settled, and of attempts."""
    audit: timedelta = audit.DEFAULT_RETENTION
    """Of entries of the audit log, and of the calls that were made in a user's name."""


DEFAULT = Retention()


def prune(connection: Connection, now: datetime, retention: Retention = DEFAULT) -> int:
    """Delete a batch of old rows, expire attempts, and erase what users wrote; return how many rows.

    If it returns `BATCH_SIZE` or more, there may be more to delete.
    """
    settled_before = now - retention.settled
    return (
        attempts.expire(connection, now, BATCH_SIZE)
        + outbox.prune(connection, settled_before, BATCH_SIZE)
        + calls.prune(connection, settled_before, BATCH_SIZE)
        + calls.erase_written(connection, now, BATCH_SIZE)
        # After the calls, because an event that records "Try again" is kept as long as its call is stored.
        + seen_events.prune(connection, now - EVENTS, BATCH_SIZE)
        + attempts.prune(connection, settled_before, BATCH_SIZE)
        + requests.prune(connection, settled_before, BATCH_SIZE)
        + attempts.prune_sign_ins(connection, now - SIGN_INS, BATCH_SIZE)
        + sessions.prune(connection, now, BATCH_SIZE)
        + revocations.prune(connection, settled_before, BATCH_SIZE)
        + replicas.prune(connection, now - REPLICAS, BATCH_SIZE)
        + audit.prune(connection, now, retention.audit, BATCH_SIZE)
        + api_calls.prune(connection, now, retention.audit, BATCH_SIZE)
    )
