"""What metrics tell of the whole database: counts by status, and the ages of the oldest waiting rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal_column, select

from bot.core.calls import CallStatus
from bot.core.grants import RevocationStatus
from bot.core.lifecycle import live
from bot.core.messages import MessageStatus
from bot.core.requests import RequestStatus
from bot.core.scopes import ScopeWaitStatus
from bot.store import clock, operator_queries, replicas
from bot.store.schema import deferred_calls, outgoing_messages, scope_waits
from bot.store.statements import is_live


@dataclass(frozen=True, slots=True)
class Gauges:
    """A snapshot of the database, for some of its apps."""

    counts: Mapping[str, tuple[str, Mapping[str, int]]]
    """Numbers of rows by status, with a description, by the name of what is counted."""
    oldest_due_call: datetime | None
    """Since when the call that waits longest could have run."""
    oldest_unsent_message: datetime | None
    oldest_scope_wait: datetime | None
    other_keys: int
    """Live replicas whose encryption keys are not the same as this one's."""
    clock: datetime | None
    """The server's time. None on SQLite, which has no server."""


def read(connection: Connection, now: datetime, apps: Sequence[str], key_ids: Sequence[str]) -> Gauges:
    oldest = [_oldest(connection, app, now) for app in apps]
    calls, messages = [each[0] for each in oldest if each[0]], [each[1] for each in oldest if each[1]]
    running = replicas.live(connection, now - operator_queries.HEARTBEAT_LIFETIME)
    waits = select(func.min(scope_waits.c.created_at)).where(
        is_live(scope_waits, ScopeWaitStatus), scope_waits.c.app.in_(apps)
    )
    counts = operator_queries.counts(connection, now, apps)
    return Gauges(
        counts={
            name: (description, _with_zeros(name, found)) for name, (description, found) in counts.items()
        },
        oldest_due_call=min(calls, default=None),
        oldest_unsent_message=min(messages, default=None),
        oldest_scope_wait=connection.execute(waits).scalar(),
        other_keys=sum(set(each.key_ids) != set(key_ids) for each in running),
        clock=clock.read(connection) if connection.dialect.name == "postgresql" else None,
    )


KINDS: Mapping[str, type[StrEnum]] = {
    "calls": CallStatus,
    "authorization_requests": RequestStatus,
    "messages": MessageStatus,
    "revocations": RevocationStatus,
    "scope_waits": ScopeWaitStatus,
}


def _with_zeros(name: str, found: Mapping[str, int]) -> Mapping[str, int]:
    """Add the statuses without rows: a series that comes and goes cannot be compared over time."""
    kind = KINDS.get(name)
    return found if kind is None else dict.fromkeys(map(str, live(kind)), 0) | dict(found)


_calls = deferred_calls.c
IN_QUEUE: ColumnElement[bool] = literal_column(
    "(deferred_calls.status = 'running' OR (deferred_calls.status = 'queued' AND NOT deferred_calls.behind))"
)
"""The condition of the index that claims read. A running call whose lease has ended is due, too."""
WAITS_FOR_ITS_USER: ColumnElement[bool] = literal_column(
    "(deferred_calls.status = 'queued' AND NOT deferred_calls.urgent AND EXISTS (SELECT 1 FROM deferred_calls AS ahead "
    "WHERE ahead.user_key = deferred_calls.user_key AND ahead.status = 'running' AND NOT ahead.urgent))"
)
"""A user's calls run one after the other: the next one is not late while another runs."""


def _oldest(connection: Connection, app: str, now: datetime) -> tuple[Any, Any]:
    call = select(_calls.runs_after).where(
        _calls.app == app, IN_QUEUE, ~WAITS_FOR_ITS_USER, _calls.runs_after <= now
    )
    message = select(func.min(outgoing_messages.c.created_at)).where(
        outgoing_messages.c.app == app, is_live(outgoing_messages, MessageStatus)
    )
    due = connection.execute(call.order_by(_calls.runs_after).limit(1)).scalar()
    return due, connection.execute(message).scalar()
