"""Read models for operators: plain rows without secrets. The bot's own logic must not use them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
    type_coerce,
)

from bot.core.calls import CallStatus
from bot.core.grants import GrantStatus, RevocationStatus
from bot.core.lifecycle import live
from bot.core.messages import MessageStatus
from bot.core.people import UserKey
from bot.core.requests import RequestStatus
from bot.core.scopes import ScopeWaitStatus
from bot.store import replicas as replica_rows
from bot.store import schema
from bot.store.schema import audit_log, deferred_calls, grants, outgoing_messages, revocations, scope_waits
from bot.store.statements import is_live, status_is

Row = dict[str, Any]
"""Column names and plain values: text, numbers, booleans, times, lists."""

# Aliases, because some functions below have the names of tables: they are named after the operators' commands.
known, asked = schema.users, schema.authorization_requests

HEARTBEAT_LIFETIME = timedelta(seconds=60)


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [
        {name: _plain(value) for name, value in row._mapping.items()} for row in connection.execute(query)
    ]


def _plain(value: Any) -> Any:
    match value:
        case UserKey():
            return str(value)
        case frozenset():
            return sorted(value)
        case tuple():
            return [list(each) if isinstance(each, tuple) else each for each in value]
    return value


# --- numbers ---------------------------------------------------------------------------------------


def counts(
    connection: Connection, now: datetime, apps: Collection[str] | None = None
) -> dict[str, tuple[str, dict[str, int]]]:
    """Return for each gauge its help text, and the numbers of unsettled rows by status, of some apps or of all."""

    def by_status(table: Any, condition: Any) -> dict[str, int]:
        return _by_status(connection, table, condition & _of(table, apps))

    return {
        "calls": ("Calls that are not settled", _live_calls(connection, apps)),
        "authorization_requests": (
            "Authorization requests that are not settled",
            by_status(asked, LIVE_REQUEST),
        ),
        "messages": ("Messages that are not sent", by_status(outgoing_messages, UNSENT)),
        "revocations": (
            "Revocations that the platform has not confirmed",
            by_status(revocations, is_live(revocations, RevocationStatus)),
        ),
        "scope_waits": (
            "Scope sets that wait for an administrator",
            by_status(scope_waits, is_live(scope_waits, ScopeWaitStatus)),
        ),
        "replicas": (
            "Replicas that serve this database",
            {"live": len(_replicas(connection, now, apps))},
        ),
    }


def _of(table: Any, apps: Collection[str] | None) -> ColumnElement[bool]:
    return true() if apps is None else table.c.app.in_(apps)


def _replicas(connection: Connection, now: datetime, apps: Collection[str] | None = None) -> list[Row]:
    """Return the running replicas with their apps."""
    live = [each.id for each in replica_rows.live(connection, now - HEARTBEAT_LIFETIME)]
    served = schema.replicas.c
    columns = (served.id, served.app, served.host, served.version, served.revision)
    query = (
        select(*columns, served.started_at, served.heartbeat_at)
        .where(served.id.in_(live))
        .order_by(served.started_at)
    )
    return [
        row
        for row in _rows(connection, query)
        if apps is None or not replica_rows.apps_in(row["app"]).isdisjoint(apps)
    ]


def apps(connection: Connection) -> list[str]:
    """Return the apps that have users in this database, each as platform and app id joined by a colon."""
    found: list[str] = []
    after = select(func.min(known.c.app))
    # Steps from app to app in the index, instead of reading all users.
    while (app := connection.execute(after.where(known.c.app > (found or [""])[-1])).scalar()) is not None:
        found.append(app)
    return found


def _with_app(connection: Connection, rows: list[Row]) -> list[Row]:
    """Put the app first in each row if the database has several apps; otherwise leave it out."""
    if len(apps(connection)) < 2:
        return [{name: value for name, value in row.items() if name != "app"} for row in rows]
    return [{"app": row["app"]} | row for row in rows]


LIVE_CALL = is_live(deferred_calls, CallStatus)
LIVE_REQUEST = is_live(asked, RequestStatus)
UNSENT = is_live(outgoing_messages, MessageStatus)


def _live_calls(connection: Connection, apps: Collection[str] | None) -> dict[str, int]:
    """Count the live calls by status. One query for each, because there is an index for each, but none for all."""
    count = select(func.count()).select_from(deferred_calls)
    found = {
        status.value: connection.execute(
            count.where(status_is(deferred_calls, status), _of(deferred_calls, apps))
        ).scalar_one()
        for status in live(CallStatus)
    }
    return {status: number for status, number in found.items() if number}


def _by_status(connection: Connection, table: Any, condition: Any) -> dict[str, int]:
    query = select(table.c.status, func.count()).where(condition).group_by(table.c.status)
    rows: Sequence[tuple[str, int]] = connection.execute(query).all()
    return dict(rows)


def status(connection: Connection, now: datetime) -> Row:
    """Return the state of the whole database."""
    oldest = select(func.min(deferred_calls.c.asked_at)).where(status_is(deferred_calls, CallStatus.QUEUED))
    replicas = _replicas(connection, now)
    return {
        **{name: values for name, (_, values) in counts(connection, now).items()},
        "users": connection.execute(select(func.count()).select_from(known)).scalar_one(),
        "grants": _by_status(connection, grants, literal_column("true")),
        "oldest_queued_call_asked_at": connection.execute(oldest).scalar(),
        **_each_app(connection),
        "replicas": _with_app(connection, replicas),
        "mixed_versions": len({(row["version"], row["revision"]) for row in replicas}) > 1,
        "trouble": [dict(row._mapping) for row in connection.execute(TROUBLE)],
    }


def _each_app(connection: Connection) -> Row:
    """Return counts for each app if several share the database."""
    several = apps(connection)
    if len(several) < 2:
        return {}

    def number(table: Any, condition: Any, app: str) -> int:
        query = select(func.count()).select_from(table).where(condition, table.c.app == app)
        found: int = connection.execute(query).scalar_one()
        return found

    return {
        "apps": [
            {
                "app": app,
                "users": number(known, true(), app),
                "active_grants": number(grants, status_is(grants, GrantStatus.ACTIVE), app),
                "live_calls": number(deferred_calls, LIVE_CALL, app),
                "live_requests": number(asked, LIVE_REQUEST, app),
            }
            for app in several
        ]
    }


TROUBLE = text(
    "SELECT what, status, count(*) AS count FROM recent_trouble GROUP BY what, status ORDER BY what, status"
)


# --- lists -----------------------------------------------------------------------------------------


def users(connection: Connection, *, limit: int = 100) -> list[Row]:
    """Return the users, most recently seen first, and what they have granted."""
    waiting = (
        select(func.count())
        .where(deferred_calls.c.user_key == known.c.user_key, status_is(deferred_calls, CallStatus.SUSPENDED))
        .scalar_subquery()
    )
    query = (
        select(
            known.c.app,
            known.c.user_key,
            known.c.name,
            known.c.seen_at,
            grants.c.status.label("grant"),
            grants.c.scopes,
            grants.c.last_used_at,
            waiting.label("suspended_calls"),
        )
        .outerjoin(grants, grants.c.user_key == known.c.user_key)
        .order_by(known.c.seen_at.desc(), known.c.user_key)
        .limit(limit)
    )
    return _with_app(connection, _rows(connection, query))


REQUEST_COLUMNS = (
    asked.c.id,
    asked.c.user_key,
    asked.c.status,
    asked.c.scopes,
    asked.c.granted,
    asked.c.refused,
    asked.c.avoided,
    asked.c.reasons,
    asked.c.created_at,
    asked.c.opened_at,
    asked.c.expires_at,
    asked.c.settled_at,
    asked.c.failure,
    schema.cards.c.wanted.label("card_wanted"),
    schema.cards.c.shown.label("card_shown"),
    schema.cards.c.attempts.label("card_attempts"),
    schema.cards.c.sent_at.label("card_sent_at"),
)
REQUESTS = select(*REQUEST_COLUMNS).outerjoin(schema.cards, schema.cards.c.id == asked.c.id)


def requests(connection: Connection, user: UserKey | None = None, *, limit: int = 100) -> list[Row]:
    """Return requests, newest first: all, or those of one user."""
    query = REQUESTS.add_columns(asked.c.app).order_by(asked.c.id.desc()).limit(limit)
    rows = _rows(connection, query if user is None else query.where(asked.c.user_key == user))
    return _with_app(connection, rows)


CALL_COLUMNS = (
    deferred_calls.c.id,
    deferred_calls.c.user_key,
    deferred_calls.c.command,
    deferred_calls.c.status,
    deferred_calls.c.waits_for,
    deferred_calls.c.needs,
    deferred_calls.c.request_id,
    deferred_calls.c.asked_at,
    deferred_calls.c.suspended_at,
    deferred_calls.c.first_failed_at,
    deferred_calls.c.runs_after,
    deferred_calls.c.expires_at,
    deferred_calls.c.attempts,
    deferred_calls.c.consents,
    deferred_calls.c.worker,
    deferred_calls.c.outcome,
    deferred_calls.c.settled_at,
)


def calls(connection: Connection, user: UserKey | None = None, *, limit: int = 100) -> list[Row]:
    """Return calls, newest first: all, or those of one user. Leaves out the arguments."""
    query = select(*CALL_COLUMNS, deferred_calls.c.app).order_by(deferred_calls.c.id.desc()).limit(limit)
    rows = _rows(connection, query if user is None else query.where(deferred_calls.c.user_key == user))
    return _with_app(connection, rows)


def audit(connection: Connection, user: UserKey | None = None, *, limit: int = 100) -> list[Row]:
    """Return audit entries, newest first: all, or those of one user."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
    rows = _rows(connection, query if user is None else query.where(audit_log.c.user_key == user))
    return _with_app(connection, [row | {"detail": _detail(row["detail"])} for row in rows])


def _detail(stored: Any) -> Any:
    """Parse an entry's detail. If it is not JSON, which only another writer can have caused, return its text."""
    try:
        return json.loads(stored)
    except (ValueError, TypeError, RecursionError):
        return {"unreadable": str(stored)[:MAX_UNREADABLE_LENGTH]}


MAX_UNREADABLE_LENGTH = 200


# --- one person ------------------------------------------------------------------------------------


def find_user(connection: Connection, wanted: str) -> list[UserKey]:
    """Find the users that an operator may mean: by user key, open_id or union_id, else by name or prefix of an open_id.

    Names and prefixes are looked up together, because a user can choose a name that is a prefix of another's open_id.
    """
    # Compared as text, because the input need not be a user key.
    exactly = or_(
        type_coerce(known.c.user_key, Text) == wanted,
        known.c.open_id == wanted,
        known.c.union_id == wanted,
    )
    roughly = or_(known.c.name == wanted, known.c.open_id.startswith(wanted, autoescape=True))
    for condition in (exactly, roughly):
        query = select(known.c.user_key).where(condition).order_by(known.c.user_key).limit(20)
        if found := list(connection.execute(query).scalars()):
            return found
    return []


GRANT_COLUMNS = (
    grants.c.status,
    grants.c.scopes,
    grants.c.scopes_ever,
    grants.c.generation,
    grants.c.authorized_at,
    grants.c.refreshed_at,
    grants.c.last_used_at,
    grants.c.access_expires_at,
    grants.c.refresh_expires_at,
    grants.c.refresh_token.is_not(None).label("can_refresh"),
    grants.c.refresh_failures,
    grants.c.ended_at,
    grants.c.end_reason,
)
PERSON_COLUMNS = (
    *(known.c.user_key, known.c.name, known.c.union_id, known.c.language, known.c.time_zone),
    *(known.c.created_at, known.c.seen_at, known.c.quiet_since),
)


def explain(connection: Connection, user: UserKey, now: datetime) -> Row:
    """Return everything about one user: profile, grant, open request, waiting calls and their reasons, audit entries."""
    person = _rows(connection, select(*PERSON_COLUMNS).where(known.c.user_key == user))
    grant = _rows(connection, select(*GRANT_COLUMNS).where(grants.c.user_key == user))
    open_request = _rows(connection, REQUESTS.where(asked.c.user_key == user, LIVE_REQUEST))
    waiting = (
        select(*CALL_COLUMNS)
        .where(deferred_calls.c.user_key == user, LIVE_CALL)
        .order_by(deferred_calls.c.asked_at, deferred_calls.c.id)
    )
    return {
        "as_of": now,
        "user": _first(person),
        "grant": _first(grant),
        "open_request": _first(open_request),
        "waiting": _rows(connection, waiting),
        "recent_calls": calls(connection, user, limit=10),
        "audit": audit(connection, user, limit=40),
    }


def _first(rows: Sequence[Row]) -> Row | None:
    return rows[0] if rows else None
