"""What `bot explain` tells: all that is recorded about a user, a message, an event, a call or a request, in one timeline.

A story is put together from the audit log, the API calls, the calls, the requests and the messages. The audit log and the
API calls are kept longer than a call, and still tell of it when it is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, or_, select

from bot.core.people import UserKey
from bot.core.requests import RequestStatus
from bot.store.operator_queries import (
    CALL_COLUMNS,
    LIVE_CALL,
    REQUESTS,
    Filter,
    Row,
    apps,
    asked,
    calls,
    candidates,
    find_user,
    known,
    parsed_detail,
    requests,
    rows_of,
)
from bot.store.schema import (
    api_calls,
    audit_log,
    authorization_attempts,
    cards,
    deferred_calls,
    device_authorizations,
    events,
    grants,
    outgoing_messages,
)
from bot.store.statements import is_live
from bot.store.views import who_is_waiting

LIVE_REQUEST = is_live(asked, RequestStatus)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a story is about."""

    kind: str
    """user, message, event, call, request, log_id, or another kind of subject of the audit log."""
    user: UserKey | None
    calls: frozenset[str] = frozenset()
    """Their ids. Of a user: all, and this is empty."""
    requests: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    """Ids of further subjects of the audit log."""
    event: tuple[str, str, str] | None = None
    """The primary key of an event."""

    @property
    def is_user(self) -> bool:
        return self.kind == "user"


# --- finding it ------------------------------------------------------------------------------------

ID = re.compile(r"[!-~]{4,200}", re.ASCII)
"""What can be the id of something other than a user: no name with a space, and no Chinese one."""
MANY = 500
"""How many rows with one id are looked at."""


def find(connection: Connection, what: str) -> list[Subject]:
    """Find what an operator may mean: a user by an exact id, something else by its id, or a user by less than that."""
    people = [Subject("user", each) for each in find_user(connection, what, by_part=True)]
    if len(people) == 1 and what in {str(people[0].user), people[0].user.open_id if people[0].user else ""}:
        return people
    if ID.fullmatch(what) and (found := find_by_id(connection, what)):
        return found
    return people


def find_by_id(connection: Connection, what: str, app: str | None = None) -> list[Subject]:
    """Find something other than a user by its id, of one app or of all. Each look-up is by an index."""
    own_apps = apps(connection) if app is None else [app]
    finders: tuple[Callable[[], list[Subject]], ...] = (
        lambda: _calls_where(connection, "call", deferred_calls.c.id == what),
        lambda: _requests_where(connection, asked.c.id == what),
        lambda: [each for app in own_apps for each in _event(connection, app, what)],
        lambda: _message(connection, own_apps, what),
        lambda: _api_calls_where(connection, "log_id", api_calls.c.log_id == what),
        lambda: _api_calls_where(connection, "api_call", api_calls.c.id == what),
        lambda: _api_calls_where(connection, "call", api_calls.c.call_id == what),
        lambda: _opening(connection, "attempt", authorization_attempts, what),
        lambda: _opening(connection, "device_authorization", device_authorizations, what),
        lambda: _audited(connection, what),
    )
    found = ([each for each in finder() if _is_of(each, app)] for finder in finders)
    return next((each for each in found if each), [])


def _is_of(subject: Subject, app: str | None) -> bool:
    return app is None or (subject.user is not None and subject.user.app == app)


def _calls_where(connection: Connection, kind: str, *conditions: ColumnElement[bool]) -> list[Subject]:
    """Return the calls as one subject for each user."""
    columns = (deferred_calls.c.user_key, deferred_calls.c.id, deferred_calls.c.request_id)
    rows = connection.execute(
        select(*columns).where(*conditions).order_by(deferred_calls.c.id).limit(MANY)
    ).all()
    return [
        Subject(
            kind,
            user,
            frozenset(row.id for row in rows if row.user_key == user),
            frozenset(row.request_id for row in rows if row.user_key == user and row.request_id),
        )
        for user in dict.fromkeys(row.user_key for row in rows)
    ]


def _requests_where(
    connection: Connection, *conditions: ColumnElement[bool], kind: str = "request"
) -> list[Subject]:
    query = select(asked.c.id, asked.c.user_key).where(*conditions)
    subjects = []
    for row in connection.execute(query).all():
        of_request = select(deferred_calls.c.id).where(deferred_calls.c.request_id == row.id).limit(MANY)
        found = frozenset(connection.execute(of_request).scalars())
        subjects.append(Subject(kind, row.user_key, found, frozenset({row.id})))
    return subjects


def _event(connection: Connection, app: str, event_id: str) -> list[Subject]:
    """An event knows its message, and the message its calls."""
    platform, _, app_id = app.partition(":")
    its_key = and_(events.c.platform == platform, events.c.app_id == app_id, events.c.event_id == event_id)
    event = connection.execute(select(events.c.message_id).where(its_key)).one_or_none()
    if event is None:
        return []
    key = (platform, app_id, event_id)
    of_message = and_(deferred_calls.c.app == app, deferred_calls.c.message_id == event.message_id)
    found = _calls_where(connection, "event", of_message) if event.message_id else []
    return [replace(each, event=key) for each in found] or [Subject("event", None, event=key)]


def _message(connection: Connection, own_apps: list[str], message_id: str) -> list[Subject]:
    """A message that asked, or one that the bot sent: an answer, a note or a card."""
    asking = and_(deferred_calls.c.app.in_(own_apps), deferred_calls.c.message_id == message_id)
    if found := _calls_where(connection, "message", asking):
        return found
    on_card = select(cards.c.request_id).where(cards.c.message_id == message_id, cards.c.app.in_(own_apps))
    if found := _requests_where(connection, asked.c.id.in_(on_card), kind="message"):
        return found
    sent = (outgoing_messages.c.user_key, outgoing_messages.c.call_id, outgoing_messages.c.id)
    row = connection.execute(
        select(*sent)
        .where(outgoing_messages.c.message_id == message_id, outgoing_messages.c.app.in_(own_apps))
        .limit(1)
    ).one_or_none()
    if row is None:
        return []
    if row.call_id is not None:
        return _calls_where(connection, "message", deferred_calls.c.id == row.call_id)
    return [Subject("message", row.user_key, others=frozenset({row.id}))]


def _opening(connection: Connection, kind: str, table: Table, row_id: str) -> list[Subject]:
    """An opening of a request's link, or a device code of it."""
    of_opening = select(table.c.request_id).where(table.c.id == row_id)
    return _requests_where(connection, asked.c.id.in_(of_opening), kind=kind)


def _api_calls_where(connection: Connection, kind: str, *conditions: ColumnElement[bool]) -> list[Subject]:
    rows = connection.execute(
        select(api_calls.c.user_key, api_calls.c.call_id).where(*conditions).distinct().limit(MANY)
    ).all()
    subjects = []
    for row in rows:
        found = _calls_where(connection, kind, deferred_calls.c.id == row.call_id)
        subjects += found or [Subject(kind, row.user_key, frozenset({row.call_id}))]
    return subjects


def _audited(connection: Connection, subject_id: str) -> list[Subject]:
    query = (
        select(audit_log.c.subject_kind, audit_log.c.user_key, audit_log.c.detail)
        .where(audit_log.c.subject_id.is_not(None), audit_log.c.subject_id == subject_id)
        .order_by(audit_log.c.id)
        .limit(MANY)
    )
    rows = connection.execute(query).all()
    if not rows:
        return []
    users = [row.user_key for row in rows if row.user_key is not None]
    details = (parsed_detail(row.detail) for row in rows)
    request = next(
        (each["request"] for each in details if isinstance(each, dict) and "request" in each), None
    )
    if isinstance(request, str) and (found := _requests_where(connection, asked.c.id == request)):
        return [replace(each, kind=rows[0].subject_kind) for each in found]
    kind = rows[0].subject_kind or "subject"
    ids = frozenset({subject_id})
    return [
        Subject(
            kind,
            users[0] if users else None,
            calls=ids if kind == "call" else frozenset(),
            requests=ids if kind == "request" else frozenset(),
            others=ids,
        )
    ]


def named(connection: Connection, subjects: Iterable[Subject]) -> list[str]:
    """Return whose these are, for an operator to choose from."""
    return candidates(connection, [each.user for each in subjects if each.user is not None])


# --- telling it ------------------------------------------------------------------------------------

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
RECENT = 10
"""How many calls and requests of a user are listed. The timeline has its own limit."""


def explain(connection: Connection, what: str, subject: Subject, now: datetime, chosen: Filter) -> Row:
    """Return all about a subject: its user's profile and grant, what waits and why, and one timeline, the latest last.

    The period of `chosen` is that of the timeline; its limit applies to what waits as well.
    """
    user = subject.user
    chosen = replace(chosen, user=user)
    recent = replace(chosen, limit=RECENT)
    waiting = (
        select(*CALL_COLUMNS)
        .where(_of(subject, deferred_calls, deferred_calls.c.id), LIVE_CALL)
        .order_by(deferred_calls.c.asked_at, deferred_calls.c.id)
        .limit(chosen.limit)
    )
    open_request = REQUESTS.where(_requests_of_subject(subject), LIVE_REQUEST)
    return {
        "as_of": now,
        "asked": what,
        "kind": subject.kind,
        "user": _first(connection, select(*PERSON_COLUMNS).where(known.c.user_key == user)),
        "grant": _first(connection, select(*GRANT_COLUMNS).where(grants.c.user_key == user)),
        "open_request": _first(connection, open_request),
        "waiting": _with_reasons(connection, rows_of(connection, waiting)),
        "recent_calls": _calls_of(connection, subject, recent),
        "recent_requests": _requests_of(connection, subject, recent),
        "timeline": timeline(connection, subject, chosen),
    }


def _with_reasons(connection: Connection, waiting: list[Row]) -> list[Row]:
    """Add to each call why it waits, in words."""
    of_these = who_is_waiting.c.call_id.in_([row["id"] for row in waiting])
    why = {row.call_id: row.why for row in connection.execute(select(who_is_waiting).where(of_these))}
    return [row | {"why": why.get(row["id"])} for row in waiting]


def _first(connection: Connection, query: Select[Any]) -> Row | None:
    return next(iter(rows_of(connection, query)), None)


def _calls_of(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    if subject.is_user:
        return [_of_one_user(row) for row in calls(connection, chosen)]
    return rows_of(
        connection,
        select(*CALL_COLUMNS)
        .where(deferred_calls.c.id.in_(subject.calls))
        .order_by(deferred_calls.c.id.desc()),
    )


def _of_one_user(row: Row) -> Row:
    """Leave out what all rows of the story have in common."""
    return {name: value for name, value in row.items() if name not in {"app", "name"}}


def _requests_of(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    if subject.is_user:
        return [_of_one_user(row) for row in requests(connection, chosen)]
    return rows_of(connection, REQUESTS.where(_requests_of_subject(subject)).order_by(asked.c.id.desc()))


def _requests_of_subject(subject: Subject) -> ColumnElement[bool]:
    by_user: ColumnElement[bool] = asked.c.user_key == subject.user
    return by_user if subject.is_user else asked.c.id.in_(subject.requests)


def timeline(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    """Return what happened, in order of time: the latest entries of each source, as many as `chosen` allows.

    Each entry has the same fields: `at`, `source` (a table), `what` happened, `subject_kind` and `subject_id`, `detail`.
    """
    found = [
        *_asked(connection, subject, chosen),
        *_received(connection, subject, chosen),
        *_audit_entries(connection, subject, chosen),
        *_made(connection, subject, chosen),
        *_cards(connection, subject, chosen),
        *_sent(connection, subject, chosen),
    ]
    ordered = sorted(found, key=lambda entry: (entry["at"], ORDER[entry["source"]]))
    return ordered[-chosen.limit :]


ORDER = {
    "events": 1,
    "deferred_calls": 0,
    "api_calls": 2,
    "audit_log": 3,
    "cards": 4,
    "outgoing_messages": 5,
}
"""The order of entries of one moment."""


def _told(source: str, at: datetime, what: str, about: tuple[str | None, str | None], detail: Any) -> Row:
    kind, subject_id = about
    if isinstance(detail, dict):
        detail = {name: value for name, value in detail.items() if value is not None}
    return {
        "at": at,
        "source": source,
        "what": what,
        "subject_kind": kind,
        "subject_id": subject_id,
        "detail": detail,
    }


def _of(subject: Subject, table: Any, ids: ColumnElement[str]) -> ColumnElement[bool]:
    """The condition that a row belongs to the calls of the subject, or to its user."""
    by_user: ColumnElement[bool] = table.c.user_key == subject.user
    return by_user if subject.is_user else ids.in_(subject.calls)


def _asked(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    call = deferred_calls.c
    query = (
        select(
            call.id,
            call.command,
            call.asked_at,
            call.received_at,
            call.chat_id,
            call.chat_kind,
            call.message_id,
        )
        .where(_of(subject, deferred_calls, call.id), *chosen.within(call.asked_at))
        .order_by(call.id.desc())
        .limit(chosen.limit)
    )
    return [
        _told(
            "deferred_calls",
            row.asked_at,
            "asked",
            ("call", row.id),
            {
                "command": row.command,
                "chat": f"{row.chat_kind} {row.chat_id}",
                "message": row.message_id,
                "seconds_late": _late(row.asked_at, row.received_at),
            },
        )
        for row in connection.execute(query)
    ]


def _late(asked_at: datetime, received_at: datetime) -> int | None:
    """Return how late a message arrived, if that is worth mentioning."""
    seconds = round((received_at - asked_at).total_seconds())
    return seconds if seconds >= MIN_LATE_SECONDS else None


MIN_LATE_SECONDS = 5


def _received(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    """The events of the subject's calls, which are kept for a day."""
    of_message = and_(
        deferred_calls.c.app == events.c.app, deferred_calls.c.message_id == events.c.message_id
    )
    query = (
        select(events.c.event_id, events.c.received_at, deferred_calls.c.id)
        .join(deferred_calls, of_message)
        .where(_of(subject, deferred_calls, deferred_calls.c.id), *chosen.within(events.c.received_at))
        .order_by(deferred_calls.c.id.desc())
        .limit(chosen.limit)
    )
    found = [
        _told("events", row.received_at, "event_received", ("call", row.id), {"event": row.event_id})
        for row in connection.execute(query)
    ]
    if found or subject.event is None:
        return found
    platform, app_id, event_id = subject.event
    its_key = and_(events.c.platform == platform, events.c.app_id == app_id, events.c.event_id == event_id)
    alone = select(events.c.event_id, events.c.received_at, events.c.message_id).where(its_key)
    return [
        _told(
            "events", row.received_at, "event_received", ("event", row.event_id), {"message": row.message_id}
        )
        for row in connection.execute(alone)
    ]


def _audit_entries(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    query = (
        select(audit_log)
        .where(_audited_of(connection, subject), *chosen.within(audit_log.c.at))
        .order_by(audit_log.c.id.desc())
        .limit(chosen.limit)
    )
    return [
        _told("audit_log", row.at, row.action, (row.subject_kind, row.subject_id), parsed_detail(row.detail))
        for row in connection.execute(query)
    ]


def _audited_of(connection: Connection, subject: Subject) -> ColumnElement[bool]:
    if subject.is_user:
        return audit_log.c.user_key == subject.user
    ids = {*subject.calls, *subject.requests, *subject.others}
    for table in (authorization_attempts, device_authorizations):
        of_requests = select(table.c.id).where(table.c.request_id.in_(subject.requests))
        ids |= set(connection.execute(of_requests).scalars())
    about = and_(audit_log.c.subject_id.is_not(None), audit_log.c.subject_id.in_(ids))
    period = _period(connection, subject)
    if period is None:
        return about
    # What happened to the user's grant in the meantime is a part of the story.
    meanwhile = and_(
        audit_log.c.user_key == subject.user,
        audit_log.c.subject_id.is_(None),
        audit_log.c.at.between(*period),
    )
    return or_(about, meanwhile)


def _period(connection: Connection, subject: Subject) -> tuple[datetime, datetime] | None:
    """Return when the subject's calls were asked, and when the last ended or last changed."""
    call = deferred_calls.c
    query = select(call.asked_at, call.settled_at, call.runs_after).where(call.id.in_(subject.calls))
    rows = connection.execute(query).all()
    if subject.user is None or not rows:
        return None
    return min(row.asked_at for row in rows), max(row.settled_at or row.runs_after for row in rows)


def _made(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    query = (
        select(api_calls)
        .where(_of(subject, api_calls, api_calls.c.call_id), *chosen.within(api_calls.c.at))
        .order_by(api_calls.c.at.desc())
        .limit(chosen.limit)
    )
    return [
        _told(
            "api_calls",
            row.at,
            "api_call",
            ("call", row.call_id),
            {
                "request": f"{row.method} {row.path}",
                "outcome": row.outcome,
                "status": row.status,
                "code": row.code,
                "log_id": row.log_id,
                "milliseconds": row.milliseconds,
                "step": row.step,
                "attempt": row.attempt,
            },
        )
        for row in connection.execute(query)
    ]


def _cards(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    query = (
        select(asked.c.id, cards.c.sent_at, cards.c.message_id)
        .join(cards, cards.c.id == asked.c.id)
        .where(_requests_of_subject(subject), cards.c.sent_at.is_not(None), *chosen.within(cards.c.sent_at))
        .order_by(asked.c.id.desc())
        .limit(chosen.limit)
    )
    return [
        _told("cards", row.sent_at, "card_shown", ("request", row.id), {"message": row.message_id})
        for row in connection.execute(query)
    ]


def _sent(connection: Connection, subject: Subject, chosen: Filter) -> list[Row]:
    message = outgoing_messages.c
    of_subject = _of(subject, outgoing_messages, message.call_id)
    if subject.others:
        of_subject = or_(of_subject, message.id.in_(subject.others))
    query = (
        select(
            *(message.id, message.call_id, message.kind, message.status, message.reason, message.attempts),
            *(message.created_at, message.settled_at, message.message_id, message.chat_id),
        )
        .where(of_subject, *chosen.within(message.created_at))
        .order_by(message.id.desc())
        .limit(chosen.limit)
    )
    return [
        _told(
            "outgoing_messages",
            row.settled_at or row.created_at,
            f"{row.kind}_{row.status}",
            ("call", row.call_id) if row.call_id else ("message", row.id),
            {
                "message": row.message_id,
                "reason": row.reason,
                "attempts": row.attempts if row.attempts > 1 else None,
                "chat": row.chat_id,
            },
        )
        for row in connection.execute(query)
    ]
