"""Events seen before: by their id, and by the message that they brought."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from bot.store.schema import events
from bot.store.sql import LIMIT, app_of, bind, of_app

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
    """False when this event, or the message that it is about to take the place of, was seen before."""
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
    """Whether this event was recorded."""
    values = {"platform": platform, "app_id": app_id, "event_id": event_id}
    return connection.execute(IS_KNOWN, values).first() is not None


_key = (events.c.platform, events.c.app_id, events.c.event_id)
PRUNE = delete(events).where(
    tuple_(*_key).in_(
        select(*_key)
        .where(of_app(events), events.c.received_at < bind("before", events.c.received_at))
        .order_by(events.c.received_at)
        .limit(LIMIT)
    )
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    values = {"own_app": app_of(connection), "before": before, "limit": limit}
    return connection.execute(PRUNE, values).rowcount
