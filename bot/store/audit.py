"""The audit log: what happened to which user. Triggers ensure that rows are only added.

The function that changes the status of a call, request, attempt, device authorization, grant or revocation writes the
entry, in the same transaction. Two kinds of change have no entry: claims and retries (`running`, `redeeming`, back to the
queue), because the end has one; and the recording of a call, which must be quick because the acknowledgement of its event
waits for it. The entry of its first wait, or of its end, says when it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, insert, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert as dialect_insert

from bot.core.people import UserKey
from bot.store.queue import BEFORE, pruning
from bot.store.schema import audit_log, audit_retention
from bot.store.statements import APPS, apps_of, bind, of_app

_moment = bind("moment", audit_log.c.at)


def _write(
    clock: ColumnElement[datetime], earliest: ColumnElement[datetime], latest: ColumnElement[datetime]
) -> Any:
    """Build the INSERT. It uses the database's time if the process's is too far off: it waited, or its clock is wrong.

    Inline, because fetching the id, which is not needed, would keep drivers from inserting many rows at once.
    """
    at = case((_moment.between(earliest, latest), _moment), else_=clock)
    return insert(audit_log).values(at=at).inline()


def _sqlite_clock(minutes: int) -> ColumnElement[datetime]:
    text = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{minutes:+d} minutes')"
    return literal_column(text, audit_log.c.at.type)


def _postgresql_clock(minutes: int) -> ColumnElement[datetime]:
    return literal_column(f"(now() + interval '{minutes} minutes')", audit_log.c.at.type)


MAX_CLOCK_SKEW = 5
"""Minutes. The database rejects a row whose time differs from its clock by ten, so this stays well below that."""
WRITE = {
    dialect: _write(clock(0), clock(-MAX_CLOCK_SKEW), clock(MAX_CLOCK_SKEW))
    for dialect, clock in {"sqlite": _sqlite_clock, "postgresql": _postgresql_clock}.items()
}

PENDING = "bot_audit_entries"
"""The key of `Connection.info` with the entries of the running unit of work, which are not yet written."""

Detail = str | int | list[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the audit log."""

    at: datetime
    action: str
    user: UserKey | None
    app: str | None
    """None for the app of the user, or else that of the process."""
    subject_kind: str | None
    subject_id: str | None
    detail: Mapping[str, Detail]
    message_id: str | None = None
    """The message that asked for the call which the entry is about. Not stored: it is for the log."""


DECLINED_ON_PAGE = {"where": "page", "by": "unidentified"}
"""Detail of a refusal on the platform's page: the entry names the user who was asked, not the visitor who declined."""

NOTHING_GRANTED = "nothing_granted"
"""The reason of a consent to none of the scopes that were asked for, and of the request that it declines."""

TOKEN_DROPPED = {"token": "dropped, not stored"}
"""Detail of a consent by a user other than the one who was asked."""


def entry(
    action: str,
    *,
    user: UserKey | None,
    subject: tuple[str, str] | None = None,
    now: datetime,
    **detail: Detail | None,
) -> Entry:
    """Build an entry for `write_all`.

    `detail` contains codes, scopes and numbers, never text that users wrote. Empty values are left out.
    """
    kind, subject_id = subject or (None, None)
    app = user.app if user is not None else None
    given = {name: value for name, value in detail.items() if value is not None and value != []}
    return Entry(now, action, user, app, kind, subject_id, given)


def _row(entry: Entry, own_app: str) -> dict[str, Any]:
    return {
        "moment": entry.at,
        "action": entry.action,
        "user_key": entry.user,
        "app": entry.app or own_app,
        "subject_kind": entry.subject_kind,
        "subject_id": entry.subject_id,
        "detail": json.dumps(entry.detail, ensure_ascii=False),
    }


def write(
    connection: Connection,
    action: str,
    *,
    user: UserKey | None,
    subject: tuple[str, str] | None = None,
    now: datetime,
    app: str | None = None,
    **detail: Detail | None,
) -> None:
    """Add an entry (see `entry`). All entries of a unit of work are written together at its end (see `api_calls.end`).

    `app` is for an entry about no user.
    """
    written = entry(action, user=user, subject=subject, now=now, **detail)
    write_all(connection, [written if app is None else replace(written, app=app)])


HAS_ENTRY = (
    select(audit_log.c.id)
    .where(
        audit_log.c.user_key == bind("user", audit_log.c.user_key),
        audit_log.c.action == bind("the_action", audit_log.c.action),
        audit_log.c.at > bind("since", audit_log.c.at),
    )
    .limit(1)
)


def has_entry(connection: Connection, action: str, user: UserKey, *, since: datetime) -> bool:
    """Return whether an earlier transaction has written an entry of this action about the user since then."""
    values = {"user": user, "the_action": action, "since": since}
    return connection.execute(HAS_ENTRY, values).scalar() is not None


FORGED = "forged"
"""The outcome of a row that is not genuine."""


def reject(connection: Connection, kind: str, subject_id: str, now: datetime) -> None:
    """Audit a row that is not genuine. The entry repeats nothing else of it, because it may contain anything."""
    write(connection, f"{kind}_rejected", user=None, subject=(kind, subject_id[:64]), now=now, reason=FORGED)


def write_all(connection: Connection, entries: Sequence[Entry]) -> None:
    connection.info[PENDING].extend(entries)


def begin(connection: Connection) -> None:
    """Start a unit of work, with no entries."""
    connection.info[PENDING] = []


def pending(connection: Connection) -> list[Entry]:
    """Return the entries of a unit of work that are still to be written."""
    entries: list[Entry] = connection.info[PENDING]
    return entries


def rows_of(connection: Connection, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the parameters of `WRITE` for these entries."""
    own_app = _own_app(connection)
    return [_row(each, own_app) for each in entries]


def insert_all(connection: Connection, entries: Sequence[Entry]) -> None:
    """Write entries with one statement."""
    if entries:
        connection.execute(WRITE[connection.dialect.name], rows_of(connection, entries))


def _own_app(connection: Connection) -> str:
    """Return the app of entries that name none: the process's app, or "" if it serves several."""
    apps: tuple[str, ...] = connection.get_execution_options().get(APPS, ())
    return apps[0] if len(apps) == 1 else ""


# --- retention -------------------------------------------------------------------------------------------

DEFAULT_RETENTION = timedelta(days=365)
"""For apps without a row in `audit_retention`, and for entries without an app."""
CLOCK_DIFFERENCE = timedelta(hours=1)
"""Entries are deleted that much later, because the database decides by its own clock whether they may be."""

RECORDED = select(audit_retention.c.days).where(of_app(audit_retention))
RECORD = dialect_insert(audit_retention).on_conflict_do_nothing()
CHANGE = update(audit_retention).where(of_app(audit_retention))
MAY_CHANGE = text("SELECT has_table_privilege('audit_retention', 'UPDATE')")


def record_retention(connection: Connection, period: timedelta, now: datetime) -> dict[str, int]:
    """Tell the database how long the entries of the process's apps are kept.

    Returns the days that stay in force, by app, if this role may not change them.
    """
    refused: dict[str, int] = {}
    for app in apps_of(connection):
        connection.execute(RECORD, {"app": app, "days": period.days})
        recorded: int = connection.execute(RECORDED, {"own_app": app}).scalar_one()
        if recorded == period.days:
            continue
        if connection.dialect.name == "postgresql" and not connection.execute(MAY_CHANGE).scalar():
            refused[app] = recorded
            continue
        connection.execute(CHANGE, {"own_app": app, "days": period.days})
        write(
            connection,
            "audit_retention_changed",
            user=None,
            app=app,
            now=now,
            days=period.days,
            before=recorded,
        )
    return refused


PRUNE = pruning(audit_log, audit_log.c.at < BEFORE)


def kept_since(connection: Connection, app: str, now: datetime, period: timedelta) -> datetime:
    """Return the time before which an app's entries may be deleted. The longer of `period` and the database's applies."""
    recorded = connection.execute(RECORDED, {"own_app": app}).scalar()
    allowed = DEFAULT_RETENTION if recorded is None else timedelta(days=recorded)
    return now - max(period, allowed) - CLOCK_DIFFERENCE


def prune(connection: Connection, now: datetime, period: timedelta, limit: int) -> int:
    """Delete entries older than `period`, or than the database allows if that is longer; return how many."""
    deleted = 0
    # Earlier releases, and a process that serves several apps, wrote entries without an app.
    for app in (*apps_of(connection), ""):
        before = kept_since(connection, app, now, period)
        deleted += connection.execute(PRUNE, {"own_app": app, "limit": limit, "before": before}).rowcount
    return deleted
