"""Read models for operators: plain rows without secrets. The bot's own logic must not use them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
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
from bot.store.ids import first_id
from bot.store.schema import audit_log, deferred_calls, grants, outgoing_messages, revocations, scope_waits
from bot.store.statements import is_live, status_is

Row = dict[str, Any]
"""Column names and plain values: text, numbers, booleans, times, lists."""

# Aliases, because some functions below have the names of tables: they are named after the operators' commands.
known, asked = schema.users, schema.authorization_requests

HEARTBEAT_LIFETIME = timedelta(seconds=60)


def rows_of(connection: Connection, query: Select[Any]) -> list[Row]:
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
        for row in rows_of(connection, query)
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


def with_app(connection: Connection, rows: list[Row]) -> list[Row]:
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
        "replicas": with_app(connection, replicas),
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


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of a list are wanted. A value that is None, or empty, excludes nothing."""

    since: datetime | None = None
    until: datetime | None = None
    """The first moment that is not wanted."""
    user: UserKey | None = None
    statuses: tuple[str, ...] = ()
    limit: int = 100
    """The largest number of rows, the latest first."""
    scope: str | None = None
    """One that the user's grant has. Only for lists of users."""

    def within(self, at: ColumnElement[datetime]) -> list[ColumnElement[bool]]:
        """The condition that a time is in the period."""
        conditions: list[ColumnElement[bool]] = []
        if self.since is not None:
            conditions.append(at >= self.since)
        if self.until is not None:
            conditions.append(at < self.until)
        return conditions

    def of_user(self, table: FromClause) -> list[ColumnElement[bool]]:
        return [] if self.user is None else [table.c.user_key == self.user]

    def in_status(self, column: ColumnElement[str]) -> list[ColumnElement[bool]]:
        return [column.in_(self.statuses)] if self.statuses else []

    def with_scope(self) -> list[ColumnElement[bool]]:
        if self.scope is None:
            return []
        return [type_coerce(grants.c.scopes, Text).contains(json.dumps(self.scope), autoescape=True)]

    def since_id(self, row_id: Column[str]) -> list[ColumnElement[bool]]:
        """The condition, by the ids that sort by time, that a row is not older than what it records.

        It spares the database from reading older rows.
        """
        return [] if self.since is None else [row_id >= first_id(self.since - CLOCK_DIFFERENCE)]


ALL = Filter()

CLOCK_DIFFERENCE = timedelta(minutes=10)
"""By how much the clocks of replicas may differ."""


def users(connection: Connection, chosen: Filter = ALL) -> list[Row]:
    """Return the users, most recently seen first, what they have granted, and until when.

    The chat is that in which a user without a name was last heard.
    """
    waiting = (
        select(func.count())
        .where(deferred_calls.c.user_key == known.c.user_key, status_is(deferred_calls, CallStatus.SUSPENDED))
        .scalar_subquery()
    )
    latest = (
        select(deferred_calls.c.id)
        .where(deferred_calls.c.user_key == known.c.user_key, known.c.name.is_(None))
        .order_by(deferred_calls.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    heard = deferred_calls.alias("heard")
    query = (
        select(
            known.c.app,
            known.c.user_key,
            known.c.name,
            heard.c.chat_id.label("last_chat_id"),
            heard.c.chat_kind.label("last_chat_kind"),
            known.c.created_at,
            known.c.seen_at,
            grants.c.status.label("grant"),
            grants.c.scopes,
            grants.c.access_expires_at,
            grants.c.refresh_expires_at,
            func.coalesce(grants.c.refresh_expires_at, grants.c.access_expires_at).label("grant_expires_at"),
            grants.c.last_used_at,
            waiting.label("suspended_calls"),
        )
        .outerjoin(grants, grants.c.user_key == known.c.user_key)
        .outerjoin(heard, heard.c.id == latest)
        .where(
            *chosen.within(known.c.seen_at),
            *chosen.of_user(known),
            *chosen.in_status(func.coalesce(grants.c.status, literal_column("'none'"))),
            *chosen.with_scope(),
        )
        .order_by(known.c.seen_at.desc(), known.c.user_key)
        .limit(chosen.limit)
    )
    return with_app(connection, rows_of(connection, query))


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
    asked.c.declined_on_page_at,
    asked.c.expires_at,
    asked.c.settled_at,
    asked.c.failure,
    schema.cards.c.wanted.label("card_wanted"),
    schema.cards.c.shown.label("card_shown"),
    schema.cards.c.attempts.label("card_attempts"),
    schema.cards.c.sent_at.label("card_sent_at"),
)
REQUESTS = select(*REQUEST_COLUMNS).outerjoin(schema.cards, schema.cards.c.id == asked.c.id)


def requests(connection: Connection, chosen: Filter = ALL) -> list[Row]:
    """Return authorization requests, newest first."""
    query = (
        REQUESTS.add_columns(asked.c.app, known.c.name)
        .outerjoin(known, known.c.user_key == asked.c.user_key)
        .where(
            *chosen.within(asked.c.created_at),
            *chosen.since_id(asked.c.id),
            *chosen.of_user(asked),
            *chosen.in_status(asked.c.status),
        )
        .order_by(asked.c.id.desc())
        .limit(chosen.limit)
    )
    return with_app(connection, rows_of(connection, query))


CALL_COLUMNS = (
    deferred_calls.c.id,
    deferred_calls.c.user_key,
    deferred_calls.c.command,
    deferred_calls.c.status,
    deferred_calls.c.waits_for,
    deferred_calls.c.needs,
    deferred_calls.c.request_id,
    deferred_calls.c.message_id,
    deferred_calls.c.chat_id,
    deferred_calls.c.chat_kind,
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


def calls(connection: Connection, chosen: Filter = ALL) -> list[Row]:
    """Return calls, newest first. Leaves out the arguments."""
    query = (
        select(*CALL_COLUMNS, deferred_calls.c.app, known.c.name)
        .outerjoin(known, known.c.user_key == deferred_calls.c.user_key)
        .where(
            *chosen.within(deferred_calls.c.asked_at),
            *chosen.since_id(deferred_calls.c.id),
            *chosen.of_user(deferred_calls),
            *chosen.in_status(deferred_calls.c.status),
        )
        .order_by(deferred_calls.c.id.desc())
        .limit(chosen.limit)
    )
    return with_app(connection, rows_of(connection, query))


def audit(connection: Connection, chosen: Filter = ALL) -> list[Row]:
    """Return audit entries, newest first. Their status is the action."""
    query = (
        select(audit_log, known.c.name)
        .outerjoin(known, known.c.user_key == audit_log.c.user_key)
        .where(
            *chosen.within(audit_log.c.at),
            *chosen.of_user(audit_log),
            *chosen.in_status(audit_log.c.action),
        )
        .order_by(audit_log.c.id.desc())
        .limit(chosen.limit)
    )
    rows = rows_of(connection, query)
    return with_app(connection, [row | {"detail": parsed_detail(row["detail"])} for row in rows])


def parsed_detail(stored: Any) -> Any:
    """Parse an entry's detail. If it is not JSON, which only another writer can have caused, return its text."""
    try:
        return json.loads(stored)
    except (ValueError, TypeError, RecursionError):
        return {"unreadable": str(stored)[:MAX_UNREADABLE_LENGTH]}


MAX_UNREADABLE_LENGTH = 200


# --- people ----------------------------------------------------------------------------------------

MOST_CANDIDATES = 20


def find_user(connection: Connection, wanted: str, *, by_part: bool = False) -> list[UserKey]:
    """Find the users that an operator may mean: by user key, open_id or union_id, else by name or prefix of an open_id.

    Names and prefixes are looked up together, because a user can choose a name that is a prefix of another's open_id.
    `by_part` also finds parts of names, in any case and with or without accents.
    """
    # Compared as text, because the input need not be a user key.
    exactly = or_(
        type_coerce(known.c.user_key, Text) == wanted,
        known.c.open_id == wanted,
        known.c.union_id == wanted,
    )
    begins = known.c.open_id.startswith(wanted, autoescape=True)
    roughly = begins if by_part else or_(known.c.name == wanted, begins)
    query = select(known.c.user_key).order_by(known.c.user_key).limit(MOST_CANDIDATES)
    if found := list(connection.execute(query.where(exactly)).scalars()):
        return found
    found = list(connection.execute(query.where(roughly)).scalars())
    if by_part:
        found += [each for each in _named_like(connection, wanted) if each not in found]
    return found[:MOST_CANDIDATES]


NAMES = select(known.c.user_key, known.c.name).where(known.c.name.is_not(None)).order_by(known.c.user_key)


def _named_like(connection: Connection, part: str) -> list[UserKey]:
    """Return the users whose name contains this. Compared here: a database folds only letters of its locale."""
    folded = fold(part)
    if not folded:
        return []
    found: list[UserKey] = []
    for key, name in connection.execute(NAMES):
        if folded in fold(name):
            found.append(key)
            if len(found) == MOST_CANDIDATES:
                break
    return found


def fold(text: str) -> str:
    """Return a text as names are compared: without case, accents, and differences of width or spaces."""
    if text.isascii():
        return " ".join(text.lower().split())
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return " ".join("".join(each for each in decomposed if not unicodedata.combining(each)).split())


def candidates(connection: Connection, found: Sequence[UserKey]) -> list[str]:
    """Return who these users are, for an operator to choose from."""
    query = select(known.c.user_key, known.c.name).where(known.c.user_key.in_(found))
    names = {row.user_key: row.name for row in connection.execute(query)}
    alike = len({each.open_id for each in found}) < len(found)
    return [
        (str(each) if alike else each.open_id) + (f" ({names[each]})" if names.get(each) else "")
        for each in found
    ]
