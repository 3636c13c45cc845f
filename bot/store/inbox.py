"""Arriving messages: records event, user and call together, for all messages that arrive at the same time.

A statement costs far more than a row. So all rows are passed as one parameter, and the statements are the same for one
message and for a hundred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Text,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from bot.core.calls import CallStatus
from bot.core.language import Language
from bot.core.messages import Chat
from bot.core.people import UserKey
from bot.store import sealed
from bot.store.claims import first_ahead
from bot.store.keyring import Keyring
from bot.store.schema import deferred_calls as calls
from bot.store.schema import events
from bot.store.schema import users as people
from bot.store.statements import as_rows, literal, rows_given, status_is
from bot.store.transaction import announce, keyring_of


@dataclass(frozen=True, slots=True)
class NewCall:
    id: str
    user: UserKey
    chat: Chat
    message_id: str | None
    command: str
    arguments: str
    asked_at: datetime
    language: Language
    time_zone: str | None
    expires_at: datetime


MAX_WAITING = 100
"""The largest number of a user's calls that are queued or suspended."""
MAX_URGENT = 20
"""Urgent calls that are accepted in addition."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event with a call, and what it says about its user."""

    event_id: str
    call: NewCall
    language: Language | None
    union_id: str | None
    received_at: datetime
    urgent: bool = False
    """The call is accepted even if `MAX_WAITING` others of the user are waiting, and does not wait for them."""


class Recorded(StrEnum):
    """The result of recording an arrival."""

    QUEUED = "queued"
    SEEN_BEFORE = "seen_before"
    """Its event or message was seen before: nothing is recorded."""
    TOO_MANY = "too_many"
    """The event is recorded, the call is not: its user has too many calls waiting."""


# --- statements ------------------------------------------------------------------------------------

_GIVEN = {
    column.name: column.type
    for column in (
        *(events.c.event_id, people.c.platform, people.c.app_id, people.c.tenant_key, people.c.open_id),
        *(people.c.union_id, people.c.language),
        *(calls.c.id, calls.c.user_key, calls.c.chat_id, calls.c.chat_kind, calls.c.message_id),
        calls.c.thread_id,
        *(calls.c.command, calls.c.arguments, calls.c.time_zone),
        *(calls.c.asked_at, calls.c.received_at, calls.c.expires_at, calls.c.seal, calls.c.run_seal),
    )
} | {"answer_language": Text(), "room": Integer(), "urgent": Boolean()}
_ALL = literal_column("true", Boolean)
"""A WHERE clause for SQLite, which without one would parse the ON of ON CONFLICT as that of a join."""
_EVENT = ("platform", "app_id", "event_id", "message_id", "received_at")
_COPIED = (
    *("id", "user_key", "chat_id", "chat_kind", "thread_id", "message_id", "command", "arguments"),
    *("asked_at", "received_at", "expires_at", "seal", "run_seal"),
)


def _insert_events(given: FromClause) -> Any:
    rows = select(*(given.c[name] for name in _EVENT)).where(_ALL)
    return insert(events).from_select(_EVENT, rows).on_conflict_do_nothing().returning(events.c.event_id)


def _insert_people(given: FromClause) -> Any:
    """Insert or update users. A value that an event does not state stays as it was.

    There is one row per user, and rows are sorted, so that two replicas cannot deadlock.
    """
    key = given.c.user_key
    values = {
        "user_key": key,
        **{name: func.min(given.c[name]) for name in ("platform", "app_id", "tenant_key", "open_id")},
        **{name: func.max(given.c[name]) for name in ("union_id", "language")},
        **{name: func.max(given.c.received_at) for name in ("created_at", "seen_at")},
    }
    rows = select(*values.values()).where(_ALL).group_by(key).order_by(key)
    person = insert(people).from_select(list(values), rows)
    return person.on_conflict_do_update(
        index_elements=[people.c.user_key],
        set_={
            "seen_at": person.excluded.seen_at,
            "language": func.coalesce(person.excluded.language, people.c.language),
            "union_id": func.coalesce(person.excluded.union_id, people.c.union_id),
        },
    )


def _waiting(given: FromClause) -> ColumnElement[int]:
    """Select how many calls of a user are queued or suspended. Reads each index only up to the limit."""
    counts = []
    for status in (CallStatus.QUEUED, CallStatus.SUSPENDED):
        call = calls.alias(status)
        theirs = select(call.c.id).where(call.c.user_key == given.c.user_key, status_is(call, status))
        some = theirs.limit(literal_column(str(MAX_WAITING + MAX_URGENT))).correlate(given)
        counts.append(select(func.count()).select_from(some.subquery(f"some_{status}")).scalar_subquery())
    return counts[0] + counts[1]


def _insert_calls(given: FromClause) -> Any:
    ahead = calls.alias("ahead")
    zone = select(people.c.time_zone).where(people.c.user_key == given.c.user_key).scalar_subquery()
    values: dict[str, Any] = {name: given.c[name] for name in _COPIED} | {
        "language": given.c.answer_language,
        # If the message does not state a time zone, that of the user's last card click is used.
        "time_zone": func.coalesce(given.c.time_zone, zone),
        "runs_after": given.c.received_at,
        "status": literal(CallStatus.QUEUED),
        "needs": literal_column("'[]'"),
        "consents": literal_column("0"),
        "attempts": literal_column("0"),
        "claim": literal_column("0"),
        "confirmed": literal_column("false"),
        # Behind an earlier call that is due and still queued: see `claims`, which also keeps the order of calls that are
        # recorded together and do not see each other here.
        "behind": ~given.c.urgent
        & first_ahead(ahead, given.c.user_key, given.c.received_at, given.c.asked_at, given.c.id).is_not(
            None
        ),
        "urgent": given.c.urgent,
    }
    rows = select(*values.values()).where(_waiting(given) < given.c.room)
    return insert(calls).from_select(list(values), rows).returning(calls.c.id)


def _record_at_once() -> Any:
    """Build the one statement that records events, users and calls. Only PostgreSQL supports INSERT in WITH."""
    given = rows_given("postgresql", _GIVEN)
    event = _insert_events(given).cte("event")
    fresh = select(given).join(event, event.c.event_id == given.c.event_id).cte("fresh")
    call = _insert_calls(fresh).cte("call")
    found = select(fresh.c.id, call.c.id.is_not(None).label("queued"))
    joined = found.select_from(fresh.outerjoin(call, call.c.id == fresh.c.id))
    return joined.add_cte(_insert_people(fresh).cte("person"))


RECORD_AT_ONCE = _record_at_once()
RECORD_EVENTS = _insert_events(rows_given("sqlite", _GIVEN))
RECORD_PEOPLE = _insert_people(rows_given("sqlite", _GIVEN))
RECORD_CALLS = {
    "sqlite": _insert_calls(rows_given("sqlite", _GIVEN)),
    "postgresql": _insert_calls(rows_given("postgresql", _GIVEN)),
}


# --- recording -------------------------------------------------------------------------------------


def record_all(connection: Connection, arrivals: Sequence[Arrival]) -> list[Recorded]:
    """Queue calls together with their events; return the result for each.

    One statement on PostgreSQL, so that `Database.write_one` and `Database.write_together` can run it.
    """
    # An event that is delivered twice at once counts once. Sorted, so that replicas lock rows in the same order.
    first = {arrival.event_id: arrival for arrival in reversed(arrivals)}
    arrived = [first[event_id] for event_id in sorted(first)]
    keyring, before = keyring_of(connection), Counter[UserKey]()
    rows = {}
    for each in arrived:
        row = _row(each.call, each.received_at, _room(each, before), keyring, urgent=each.urgent)
        rows[each.call.id] = row | _user_values(each)
    became = _record(connection, arrived, rows)
    if Recorded.QUEUED in became.values():
        announce(connection)
    return [became.get(arrival.call.id, Recorded.SEEN_BEFORE) for arrival in arrivals]


def _room(arrival: Arrival, before: Counter[UserKey]) -> int:
    """Return how many waiting calls the user may have. Calls that are recorded together do not count each other."""
    user = arrival.call.user
    before[user] += 1
    return MAX_WAITING + (MAX_URGENT if arrival.urgent else 0) - before[user] + 1


def _record(
    connection: Connection, arrived: Sequence[Arrival], rows: dict[str, dict[str, Any]]
) -> dict[str, Recorded]:
    """Return the result for each call that was not seen before, by its id."""
    dialect = connection.dialect.name
    given = {"given": as_rows(dialect, rows.values())}
    if dialect == "postgresql":
        found = connection.execute(RECORD_AT_ONCE, given).all()
        return {row.id: Recorded.QUEUED if row.queued else Recorded.TOO_MANY for row in found}
    fresh = set(connection.execute(RECORD_EVENTS, given).scalars())
    recorded = [each.call.id for each in arrived if each.event_id in fresh]
    if not recorded:
        return {}
    given = {"given": as_rows(dialect, (rows[call] for call in recorded))}
    connection.execute(RECORD_PEOPLE, given)
    queued = set(connection.execute(RECORD_CALLS["sqlite"], given).scalars())
    return {call: Recorded.QUEUED if call in queued else Recorded.TOO_MANY for call in recorded}


def record(
    connection: Connection,
    event_id: str,
    call: NewCall,
    *,
    language: Language | None,
    union_id: str | None,
    now: datetime,
) -> bool:
    """`record_all` for one call; return whether it was queued."""
    return record_all(connection, [Arrival(event_id, call, language, union_id, now)])[0] is Recorded.QUEUED


def add(connection: Connection, call: NewCall, now: datetime) -> bool:
    """Queue a call without an event; False if its user has too many calls waiting."""
    dialect = connection.dialect.name
    row = _row(call, now, MAX_WAITING, keyring_of(connection))
    queued = connection.execute(RECORD_CALLS[dialect], {"given": as_rows(dialect, [row])}).first() is not None
    if queued:
        announce(connection)
    return queued


def _row(
    call: NewCall, now: datetime, room: int, keyring: Keyring, *, urgent: bool = False
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": call.id,
        "user_key": str(call.user),
        "chat_id": call.chat.chat_id,
        "chat_kind": call.chat.kind,
        "thread_id": call.chat.thread_id,
        "message_id": call.message_id,
        "command": call.command,
        "arguments": call.arguments,
        "asked_at": call.asked_at,
        "received_at": now,
        "answer_language": call.language,
        "time_zone": call.time_zone,
        "expires_at": call.expires_at,
        "room": room,
        "urgent": urgent,
    }
    asked = values | {"language": call.language, "confirmed": False, "needs": ()}
    return values | {"seal": sealed.CALL.seal(keyring, asked), "run_seal": sealed.RUN.seal(keyring, asked)}


def _user_values(arrival: Arrival) -> dict[str, Any]:
    user = arrival.call.user
    return {
        "event_id": arrival.event_id,
        "platform": user.platform,
        "app_id": user.app_id,
        "tenant_key": user.tenant_key,
        "open_id": user.open_id,
        "union_id": arrival.union_id,
        "language": arrival.language,
    }
