"""Events seen before: by their id, and by the message that they brought."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete
from sqlalchemy.dialects.postgresql import insert

from bot.store.schema import events
from bot.store.sql import bind

RECORD = insert(events).on_conflict_do_nothing().returning(events.c.event_id)


def record(connection: Connection, platform: str, app_id: str, event_id: str, now: datetime) -> bool:
    """False when this event was seen before."""
    values = {
        "platform": platform,
        "app_id": app_id,
        "event_id": event_id,
        "received_at": now,
        "message_id": None,
    }
    return connection.execute(RECORD, values).first() is not None


PRUNE = delete(events).where(events.c.received_at < bind("before", events.c.received_at))


def prune(connection: Connection, before: datetime) -> int:
    return connection.execute(PRUNE, {"before": before}).rowcount
