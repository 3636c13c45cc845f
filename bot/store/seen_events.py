"""Events that were seen, so that a repeated delivery has no second effect."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from bot.core.people import UserKey
from bot.store import queue
from bot.store.queue import BEFORE, pruning
from bot.store.schema import deferred_calls as calls
from bot.store.schema import events
from bot.store.statements import bind

RECORD = insert(events).on_conflict_do_nothing().returning(events.c.event_id)


def record(
    connection: Connection,
    platform: str,
    app_id: str,
    event_id: str,
    now: datetime,
    *,
    message_id: str | None = None,
) -> bool:
    """Record an event; return False if it, or its message, was recorded before."""
    values = {
        "platform": platform,
        "app_id": app_id,
        "event_id": event_id,
        "received_at": now,
        "message_id": message_id,
    }
    return connection.execute(RECORD, values).first() is not None


IS_KNOWN = select(events.c.event_id).where(
    events.c.platform == bind("platform", events.c.platform),
    events.c.app_id == bind("app_id", events.c.app_id),
    events.c.event_id == bind("event_id", events.c.event_id),
)


def is_known(connection: Connection, platform: str, app_id: str, event_id: str) -> bool:
    """Return whether this event was recorded."""
    values = {"platform": platform, "app_id": app_id, "event_id": event_id}
    return connection.execute(IS_KNOWN, values).first() is not None


_RETRY = "retry-"


def record_retry(connection: Connection, user: UserKey, call_id: str, now: datetime) -> bool:
    """Record that the button "Try again" of a call was pressed; return False if it was pressed before.

    The record is kept as long as the call: without its call, the button does nothing.
    """
    return record(connection, user.platform, user.app_id, f"{_RETRY}{call_id}", now)


_guards_a_call = (
    select(calls.c.id)
    .where(
        func.substr(events.c.event_id, 1, len(_RETRY)) == literal_column(f"'{_RETRY}'"),
        calls.c.id == func.substr(events.c.event_id, len(_RETRY) + 1),
    )
    .exists()
)
PRUNE = pruning(events, events.c.received_at < BEFORE, ~_guards_a_call, order_by=events.c.received_at)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete events that were recorded before then, except records of retries of stored calls; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
