"""Takes over at once what a process had claimed that is gone: it need not wait for the leases to end.

Only the end of a lease moves. Whoever claims next counts up the claim as ever, so that a process that was taken for
gone, and is not, has lost what it had.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Update,
    bindparam,
    delete,
    literal_column,
    null,
    select,
    update,
)

from bot.store.schema import (
    authorization_attempts,
    authorization_requests,
    deferred_calls,
    device_authorizations,
    grants,
    outgoing_messages,
    replicas,
    revocations,
    scope_waits,
)
from bot.store.statements import app_of, bind, of_app, of_app_or_untold, status_in, status_is
from bot.store.transaction import announce

NOW = bind("now", deferred_calls.c.runs_after)
LEASE_END = bind("lease_end", deferred_calls.c.runs_after)
"""The latest that a lease can end which was taken before now."""
UNLOCKED_COUNTS_FOR = timedelta(seconds=60)


def _is_leased(until: Column[Any]) -> ColumnElement[bool]:
    """At most so far ahead it may be the end of a lease, and not when something is tried again."""
    return (until > NOW) & (until <= LEASE_END)


def _is_anybodys(worker: Column[Any]) -> ColumnElement[bool]:
    return worker.is_not(None)


def _is_of_the_gone(worker: Column[Any]) -> ColumnElement[bool]:
    return worker == bindparam("gone", type_=worker.type)


def _statements(whose: Any) -> dict[str, Update]:
    calls, messages, requests = deferred_calls, outgoing_messages, authorization_requests
    attempts, waits = authorization_attempts, scope_waits
    return {
        "calls": update(calls)
        .where(
            of_app(calls), status_is(calls, "running"), _is_leased(calls.c.runs_after), whose(calls.c.worker)
        )
        .values(runs_after=NOW),
        "messages": update(messages)
        .where(
            of_app(messages),
            # The index is of both, which SQLite does not conclude from one.
            status_in(messages, "queued", "sending"),
            status_is(messages, "sending"),
            _is_leased(messages.c.runs_after),
            whose(messages.c.worker),
        )
        .values(runs_after=NOW),
        "cards": update(requests)
        .where(
            of_app(requests),
            requests.c.card_shown < requests.c.card_wanted,
            requests.c.card_lease_until > NOW,
            whose(requests.c.card_worker),
        )
        .values(card_worker=null(), card_lease_until=null()),
        "attempts": update(attempts)
        .where(
            of_app_or_untold(attempts),
            status_is(attempts, "redeeming"),
            attempts.c.lease_until > NOW,
            whose(attempts.c.worker),
        )
        .values(lease_until=NOW),
        "refreshes": update(grants)
        .where(
            of_app(grants),
            status_is(grants, "active"),
            grants.c.refresh_lease_until > NOW,
            whose(grants.c.refresh_worker),
        )
        .values(refresh_worker=null(), refresh_lease_until=null()),
        "revocations": update(revocations)
        .where(
            of_app(revocations),
            status_is(revocations, "queued"),
            _is_leased(revocations.c.runs_after),
            whose(revocations.c.worker),
        )
        .values(runs_after=NOW),
        "administrators' cards": update(waits)
        .where(
            of_app(waits),
            waits.c.cards_shown < waits.c.cards_wanted,
            _is_leased(waits.c.cards_due_at),
            whose(waits.c.cards_worker),
        )
        .values(cards_due_at=NOW),
    }


def _devices(whose: Any) -> Any:
    devices = device_authorizations
    return select(
        devices.c.id, devices.c.claim, devices.c.status, devices.c.runs_after, devices.c.interval_seconds
    ).where(
        of_app(devices),
        status_in(devices, "minting", "polling"),
        _is_leased(devices.c.runs_after),
        whose(devices.c.worker),
    )


FROM_ANYBODY = _statements(_is_anybodys)
FROM_THE_GONE = _statements(_is_of_the_gone)
DEVICES = {"anybody": _devices(_is_anybodys), "the gone": _devices(_is_of_the_gone)}
ADVANCE_DEVICE = (
    update(device_authorizations)
    .where(
        device_authorizations.c.id == bind("device", device_authorizations.c.id),
        device_authorizations.c.claim == bind("held", device_authorizations.c.claim),
        status_in(device_authorizations, "minting", "polling"),
    )
    .values(runs_after=bind("until", device_authorizations.c.runs_after))
)


def _take(
    connection: Connection, statements: dict[str, Update], devices: Any, values: dict[str, Any]
) -> dict[str, int]:
    taken = {name: connection.execute(statement, values).rowcount for name, statement in statements.items()}
    rows = connection.execute(devices, values).all()
    for row in rows:
        # The platform wants its interval between two polls, whoever polls.
        pause = timedelta(seconds=row.interval_seconds if row.status == "polling" else 0)
        until = min(row.runs_after, values["now"] + pause)
        connection.execute(ADVANCE_DEVICE, {"device": row.id, "held": row.claim, "until": until})
    taken["device authorizations"] = len(rows)
    announce(connection)
    return {name: count for name, count in taken.items() if count}


# --- alone -----------------------------------------------------------------------------------------

UNLOCKED = select(replicas.c.id).where(
    replicas.c.app == literal_column("''"), replicas.c.heartbeat_at > bind("since", replicas.c.heartbeat_at)
)
FORGET_OWN = delete(replicas).where(of_app(replicas))


def from_everybody(connection: Connection, now: datetime, lease: timedelta) -> dict[str, int] | None:
    """For a process that is alone: everything that is claimed; returns how much of each kind.

    None when an earlier release may be running, which takes no lock.
    """
    if connection.execute(UNLOCKED, {"since": now - UNLOCKED_COUNTS_FOR}).first() is not None:
        return None
    values = {"own_app": app_of(connection), "now": now, "lease_end": now + lease}
    connection.execute(FORGET_OWN, values)
    return _take(connection, FROM_ANYBODY, DEVICES["anybody"], values)


# --- from a replica that is gone -------------------------------------------------------------------

# As pg_locks shows a lock of one 64-bit number: https://www.postgresql.org/docs/current/view-pg-locks.html
_IS_HELD = (
    "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32) | objid::bigint = replicas.presence_lock)"
)
SILENT = select(replicas.c.id, replicas.c.heartbeat_at).where(
    of_app(replicas),
    replicas.c.id != bind("self", replicas.c.id),
    replicas.c.presence_lock.is_not(None),
    literal_column(f"NOT {_IS_HELD}", Boolean),
)
"""PostgreSQL only."""
IS_GONE = (
    delete(replicas)
    .where(
        of_app(replicas),
        replicas.c.id == bindparam("gone", type_=replicas.c.id.type),
        replicas.c.heartbeat_at == bind("seen", replicas.c.heartbeat_at),
    )
    .returning(replicas.c.id)
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
    """A sign of life between two heartbeats. One statement."""
    connection.execute(TOUCH, {"self": replica, "lock": presence_lock, "now": now})


def without_lock(connection: Connection, replica: str) -> dict[str, datetime]:
    """Other replicas of the app that should hold a lock and do not, with their last heartbeats."""
    values = {"own_app": app_of(connection), "self": replica}
    return {row.id: row.heartbeat_at for row in connection.execute(SILENT, values)}


def from_replica(
    connection: Connection, gone: str, seen: datetime, now: datetime, lease: timedelta
) -> dict[str, int] | None:
    """Everything that a replica had claimed. None when it has given a sign of life since it was `seen`, or another
    replica was quicker."""
    values = {"own_app": app_of(connection), "gone": gone, "seen": seen, "now": now, "lease_end": now + lease}
    if connection.execute(IS_GONE, values).first() is None:
        return None
    return _take(connection, FROM_THE_GONE, DEVICES["the gone"], values)
