"""Replicas that serve this database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from bot.store import queue
from bot.store.queue import BEFORE, pruning
from bot.store.schema import replicas
from bot.store.statements import app_of, bind, of_app_or_unknown


@dataclass(frozen=True, slots=True)
class Replica:
    id: str
    host: str
    started_at: datetime
    heartbeat_at: datetime
    key_ids: tuple[str, ...]


_new = insert(replicas)
HEARTBEAT = _new.on_conflict_do_update(
    index_elements=[replicas.c.id],
    set_={name: _new.excluded[name] for name in ("heartbeat_at", "key_ids", "app", "presence_lock")},
)


def heartbeat(
    connection: Connection,
    replica: str,
    host: str,
    key_ids: Sequence[str],
    now: datetime,
    presence_lock: int | None = None,
) -> None:
    values = {
        "id": replica,
        "app": app_of(connection),
        "host": host,
        "started_at": now,
        "heartbeat_at": now,
        "key_ids": tuple(key_ids),
        "presence_lock": presence_lock,
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


PRUNE = pruning(replicas, replicas.c.heartbeat_at < BEFORE, of_app=of_app_or_unknown)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete replicas whose last heartbeat was before then; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
