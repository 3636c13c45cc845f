"""Replicas that serve this database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.build import Build
from bot.store.schema import replicas
from bot.store.statements import apps_of, bind


@dataclass(frozen=True, slots=True)
class Replica:
    id: str
    host: str
    started_at: datetime
    heartbeat_at: datetime
    key_ids: tuple[str, ...]


SEPARATOR = " "
"""Separates the apps in the column `app`, for a replica that serves several."""


def apps_in(column: str) -> frozenset[str]:
    """Return the apps that a replica serves. Empty if an earlier release wrote the row."""
    return frozenset(column.split(SEPARATOR)) - {""}


CHANGING = ("heartbeat_at", "key_ids", "app", "presence_lock", "version", "revision")
"""The columns that later heartbeats write again."""
_new = insert(replicas)
HEARTBEAT = _new.on_conflict_do_update(
    index_elements=[replicas.c.id],
    set_={name: _new.excluded[name] for name in CHANGING},
)


def heartbeat(
    connection: Connection,
    replica: str,
    host: str,
    key_ids: Sequence[str],
    now: datetime,
    presence_lock: int | None = None,
    build: Build | None = None,
) -> None:
    values = {
        "id": replica,
        "app": SEPARATOR.join(apps_of(connection)),
        "host": host,
        "started_at": now,
        "heartbeat_at": now,
        "key_ids": tuple(key_ids),
        "presence_lock": presence_lock,
        "version": build.version if build else None,
        "revision": build.revision if build else None,
    }
    connection.execute(HEARTBEAT, values)


MAX_CLOCK_SKEW = timedelta(minutes=10)
"""How far a heartbeat may be ahead of this clock. Clocks differ by minutes at most; a later heartbeat is not genuine."""
COLUMNS = (
    *(replicas.c.id, replicas.c.host, replicas.c.started_at, replicas.c.heartbeat_at, replicas.c.key_ids),
)
"""The columns of the first release with sealed rows: an upgrade reads replicas before it adds later columns."""
LIVE = (
    select(*COLUMNS)
    .where(
        replicas.c.heartbeat_at >= bind("since", replicas.c.heartbeat_at),
        replicas.c.heartbeat_at <= bind("until", replicas.c.heartbeat_at),
    )
    .order_by(replicas.c.started_at)
)


def live(connection: Connection, since: datetime) -> list[Replica]:
    """Return the running replicas of all apps in this database, because they share its keys."""
    return [
        Replica(**found._mapping)
        for found in connection.execute(LIVE, {"since": since, "until": since + MAX_CLOCK_SKEW})
    ]


REMOVE = delete(replicas).where(replicas.c.id == bind("replica", replicas.c.id))


def remove(connection: Connection, replica: str) -> None:
    connection.execute(REMOVE, {"replica": replica})


# --- replicas that have ended -------------------------------------------------------------------------

GONE = bind("gone", replicas.c.id)
SEEN = bind("seen", replicas.c.heartbeat_at)
_unchanged = (replicas.c.id == GONE, replicas.c.heartbeat_at == SEEN)
FORGET = delete(replicas).where(*_unchanged).returning(replicas.c.id)
LEAVE_OTHERS = (
    update(replicas)
    .where(*_unchanged)
    .values(app=bind("other_apps", replicas.c.app))
    .returning(replicas.c.id)
)


def forget(connection: Connection, row: Any) -> bool:
    """Remove this process's apps from the row of a replica that has ended, and delete the row if no others are left.

    Returns False if the replica has updated its heartbeat since the row was read.
    """
    others = apps_in(row.app) - set(apps_of(connection))
    values: dict[str, Any] = {"gone": row.id, "seen": row.heartbeat_at}
    if not others:
        return connection.execute(FORGET, values).first() is not None
    values["other_apps"] = SEPARATOR.join(sorted(others))
    return connection.execute(LEAVE_OTHERS, values).first() is not None


def that_serve_own_apps(connection: Connection, statement: Any, values: Mapping[str, Any]) -> list[Row[Any]]:
    """Execute a query; return the replicas that serve any of this process's apps."""
    own = set(apps_of(connection))
    return [row for row in connection.execute(statement, values).all() if own & apps_in(row.app)]


OLD = select(replicas.c.id, replicas.c.heartbeat_at, replicas.c.app).where(
    replicas.c.heartbeat_at < bind("before", replicas.c.heartbeat_at)
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete replicas whose last heartbeat was before then; return how many."""
    own = set(apps_of(connection))
    rows = connection.execute(OLD, {"before": before}).all()
    old = [row for row in rows if not row.app or own & apps_in(row.app)]
    return sum(forget(connection, row) for row in old[:limit])
