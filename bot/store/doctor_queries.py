"""What `bot doctor` reads from the database: who serves it, and when events last arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select, text

from bot.core.people import UserKey
from bot.store import schema
from bot.store.replicas import MAX_CLOCK_SKEW, apps_in

HEARTBEAT_LIFETIME = timedelta(seconds=15)
"""Heartbeats follow each other within a second. An older one is of a replica that has ended, or hangs."""


@dataclass(frozen=True, slots=True)
class SeenReplica:
    id: str
    host: str
    apps: frozenset[str]
    key_ids: tuple[str, ...]
    age: timedelta
    """The age of its latest heartbeat, by the database's clock. Negative if the replica's clock is ahead."""

    @property
    def is_live(self) -> bool:
        return -MAX_CLOCK_SKEW <= self.age < HEARTBEAT_LIFETIME


@dataclass(frozen=True, slots=True)
class Facts:
    replicas: Sequence[SeenReplica]
    last_heard: Mapping[str, timedelta]
    """How long ago an app last received an event, by app. Apps that never have are missing."""
    last_sender: Mapping[str, UserKey]
    """The user who last wrote to an app, by app."""
    clock_ahead: timedelta | None
    """How far this machine's clock is ahead of the database's. None if the database is on this machine."""
    is_read_only: bool
    """Whether the database accepts no writes, as a standby does."""


def read_facts(connection: Connection, apps: Sequence[str]) -> Facts:
    now, ahead, read_only = datetime.now(UTC), None, False
    if connection.dialect.name == "postgresql":
        row = connection.execute(
            text("SELECT clock_timestamp(), pg_is_in_recovery(), current_setting('transaction_read_only')")
        ).one()
        here = datetime.now(UTC)
        now, ahead, read_only = row[0], now + (here - now) / 2 - row[0], bool(row[1]) or row[2] == "on"
    found = connection.execute(select(schema.replicas)).all()
    replicas = [
        SeenReplica(
            row.id, row.host, apps_in(row.app), tuple(row.key_ids), now - row.heartbeat_at.astimezone(UTC)
        )
        for row in found
    ]
    heard = {app: now - at for app in apps if (at := last_heard(connection, app)) is not None}
    senders = {app: user for app in apps if (user := last_sender(connection, app)) is not None}
    return Facts(replicas, heard, senders, ahead, read_only)


def last_sender(connection: Connection, app: str) -> UserKey | None:
    users = schema.users.c
    latest = select(users.user_key).where(users.app == app).order_by(users.seen_at.desc()).limit(1)
    found: UserKey | None = connection.execute(latest).scalar()
    return found


def last_heard(connection: Connection, app: str) -> datetime | None:
    """Return when an app last received an event, or None. Events are forgotten after a while, users are not."""
    events, users = schema.events.c, schema.users.c
    latest = (
        connection.execute(select(func.max(events.received_at)).where(events.app == app)).scalar(),
        connection.execute(select(func.max(users.seen_at)).where(users.app == app)).scalar(),
    )
    return max((each for each in latest if each is not None), default=None)
