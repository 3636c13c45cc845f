"""Takes over the claims of a process that has ended, without waiting for their leases to expire.

Only the end of the lease changes. The next claim gets a new number as usual, so that a process that is still alive after
all has lost its claims.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Update,
    bindparam,
    literal_column,
    select,
    update,
)

from bot.core.requests import DeviceStatus
from bot.store import attempts, call_rows, cards, device_authorizations, grants, outbox, revocations
from bot.store import replicas as replica_rows
from bot.store.queue import LAST_LEASE_END, NOW, Queue
from bot.store.schema import device_authorizations as devices
from bot.store.schema import replicas
from bot.store.statements import apps_of, bind, in_each_app, is_live, of_app
from bot.store.transaction import announce

UNLOCKED_HEARTBEAT_LIFETIME = timedelta(seconds=60)
"""How long a replica of an earlier release, which holds no lock, counts as running after its last heartbeat."""

Whose = Callable[[Column[Any]], ColumnElement[bool]]
"""Builds a condition on the worker's column."""


def _of_anyone(worker: Column[Any]) -> ColumnElement[bool]:
    return worker.is_not(None)


def _of_gone_replica(worker: Column[Any]) -> ColumnElement[bool]:
    return worker == bindparam("gone", type_=worker.type)


QUEUES: Mapping[str, Queue] = {
    "calls": call_rows.QUEUE,
    "messages": outbox.QUEUE,
    "cards": cards.QUEUE,
    "attempts": attempts.QUEUE,
    "refreshes": grants.QUEUE,
    "revocations": revocations.QUEUE,
}


def _devices_of(whose: Whose) -> Any:
    """Select the leased device authorizations of some workers, whose leases `_end_leases` ends one by one."""
    columns = (
        devices.c.id,
        devices.c.claim,
        devices.c.status,
        devices.c.runs_after,
        devices.c.interval_seconds,
    )
    leased = (devices.c.runs_after > NOW) & (devices.c.runs_after <= LAST_LEASE_END)
    return select(*columns).where(
        of_app(devices), is_live(devices, DeviceStatus), leased, whose(devices.c.worker)
    )


FROM_ANYONE = {name: queue.end_leases(_of_anyone) for name, queue in QUEUES.items()}
FROM_GONE_REPLICA = {name: queue.end_leases(_of_gone_replica) for name, queue in QUEUES.items()}
DEVICES_OF_ANYONE = _devices_of(_of_anyone)
DEVICES_OF_GONE_REPLICA = _devices_of(_of_gone_replica)
ADVANCE_DEVICE = device_authorizations.QUEUE.extend()


def _end_leases(
    connection: Connection, statements: Mapping[str, Update], leased_devices: Any, values: dict[str, Any]
) -> dict[str, int]:
    """End leases of all apps of the process; return how many rows of each kind were leased."""
    each_app = [values | {"own_app": app} for app in apps_of(connection)]
    ended = {
        name: sum(connection.execute(statement, each).rowcount for each in each_app)
        for name, statement in statements.items()
    }
    rows = in_each_app(connection, leased_devices, values)
    for row in rows:
        # The platform requires its interval between two polls, even from different replicas.
        pause = timedelta(seconds=row.interval_seconds if row.status == DeviceStatus.POLLING else 0)
        until = min(row.runs_after, values["now"] + pause)
        connection.execute(ADVANCE_DEVICE, {"device": row.id, "held_claim": row.claim, "until": until})
    ended["device authorizations"] = len(rows)
    announce(connection)
    return {name: count for name, count in ended.items() if count}


# --- a process that is alone -----------------------------------------------------------------------------------------

UNLOCKED = select(replicas.c.id).where(
    replicas.c.app == literal_column("''"), replicas.c.heartbeat_at > bind("since", replicas.c.heartbeat_at)
)
ALL = select(replicas.c.id, replicas.c.heartbeat_at, replicas.c.app)


def from_everyone(connection: Connection, now: datetime, lease: timedelta) -> dict[str, int] | None:
    """End all leases, for a process that is alone; return how many rows of each kind.

    Returns None, and ends none, if a process of an earlier release may be running, which holds no lock.
    """
    if connection.execute(UNLOCKED, {"since": now - UNLOCKED_HEARTBEAT_LIFETIME}).first() is not None:
        return None
    for row in replica_rows.that_serve_own_apps(connection, ALL, {}):
        replica_rows.forget(connection, row)
    values = {"now": now, "last_lease_end": now + lease}
    return _end_leases(connection, FROM_ANYONE, DEVICES_OF_ANYONE, values)


# --- a replica that is gone -------------------------------------------------------------------

# How pg_locks shows a lock on one 64-bit number: https://www.postgresql.org/docs/current/view-pg-locks.html
_IS_HELD = (
    "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32) | objid::bigint = replicas.presence_lock)"
)
SILENT = ALL.where(
    replicas.c.id != bind("self", replicas.c.id),
    replicas.c.presence_lock.is_not(None),
    literal_column(f"NOT {_IS_HELD}", Boolean),
)
"""PostgreSQL only."""
SEEN = ALL.where(
    replicas.c.id == bindparam("gone", type_=replicas.c.id.type),
    replicas.c.heartbeat_at == bind("seen", replicas.c.heartbeat_at),
)
TOUCH = (
    update(replicas)
    .where(
        replicas.c.id == bind("self", replicas.c.id),
        replicas.c.heartbeat_at < bind("now", replicas.c.heartbeat_at),
    )
    .values(
        heartbeat_at=bind("now", replicas.c.heartbeat_at),
        presence_lock=bind("lock", replicas.c.presence_lock),
    )
)


def touch(connection: Connection, replica: str, presence_lock: int | None, now: datetime) -> None:
    """Update this replica's heartbeat between two full heartbeats. One statement."""
    connection.execute(TOUCH, {"self": replica, "lock": presence_lock, "now": now})


def without_lock(connection: Connection, replica: str) -> dict[str, datetime]:
    """Return the other replicas of these apps that no longer hold their lock, with their last heartbeats."""
    found = replica_rows.that_serve_own_apps(connection, SILENT, {"self": replica})
    return {row.id: row.heartbeat_at for row in found}


def from_replica(
    connection: Connection, gone: str, seen: datetime, now: datetime, lease: timedelta
) -> dict[str, int] | None:
    """End the leases of a replica; return how many rows of each kind.

    Returns None, and ends none, if its heartbeat is no longer the one that was `seen`, or another replica has taken over.
    """
    found = replica_rows.that_serve_own_apps(connection, SEEN, {"gone": gone, "seen": seen})
    if not found or not replica_rows.forget(connection, found[0]):
        return None
    values = {"gone": gone, "now": now, "last_lease_end": now + lease}
    return _end_leases(connection, FROM_GONE_REPLICA, DEVICES_OF_GONE_REPLICA, values)
