"""Read models for the console: bounded reads of one app's rows, without secrets and without what users wrote.

Each query walks an index of the app or of the user, and looks at a limited number of rows, however many there are. A
count that reaches its limit says so (`Count.capped`). A list that filters examines `WINDOW` rows for a page; if more rows
follow, the page has a cursor, even if it found nothing.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)

from bot.core.calls import CallStatus, WaitsFor
from bot.core.grants import GrantStatus, RevocationStatus
from bot.core.messages import MessageStatus
from bot.core.people import UserKey
from bot.core.scopes import Requirement, ScopeSet, ScopeWaitStatus, named
from bot.store.ids import EPOCH, first_id
from bot.store.operator_stories import ID, find_by_id
from bot.store.schema import (
    api_calls,
    audit_log,
    authorization_requests,
    deferred_calls,
    granted_scopes,
    grants,
    outgoing_messages,
    revocations,
    scope_waits,
    users,
)
from bot.store.statements import is_live, status_is
from bot.store.views import CONSENT_STAGES, call_story, consent_funnel

PAGE = 50
"""Rows of a list on one page."""
WINDOW = 5_000
"""Rows that a filtered list examines for one page."""
COUNTED = 1_000
"""Rows of one kind that a count of what waits looks at."""
PEOPLE_COUNTED = 20_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Count:
    number: int
    capped: bool = False
    """Whether there may be more."""


def _count(connection: Connection, rows: Select[Any], limit: int = COUNTED) -> Count:
    found: int = connection.execute(
        select(func.count()).select_from(rows.limit(limit + 1).subquery())
    ).scalar_one()
    return Count(min(found, limit), found > limit)


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list."""

    rows: tuple[Any, ...]
    older: str | None
    """The cursor of the next page; None on the last."""
    complete: bool = True
    """False if the filter has examined as many rows as it may for one page, and found fewer than a page."""


# --- the overview: people and grants ---------------------------------------------------------------------

GRANTS_EXAMINED = 10_000
SCOPE_SETS = 2_000


@dataclass(frozen=True, slots=True)
class GrantFigures:
    people: Count
    active: int
    """Grants that can be used, of those examined."""
    examined: Count
    scopes: tuple[tuple[str, int], ...]
    """How many of them have each scope, the most frequent first."""


def grant_figures(connection: Connection, app: str, now: datetime) -> GrantFigures:
    """Count the people and, among the first 10,000 grants, those that can be used, by scope."""
    sample = (
        select(grants.c.scopes, _usable(now).label("usable"))
        .where(grants.c.app == app)
        .order_by(grants.c.user_key)
        .limit(GRANTS_EXAMINED + 1)
        .subquery()
    )
    query = (
        select(sample.c.scopes, sample.c.usable, func.count())
        .group_by(sample.c.scopes, sample.c.usable)
        .order_by(func.count().desc())
        .limit(SCOPE_SETS)
    )
    counted: dict[str, int] = {}
    active = examined = 0
    for scopes, usable, number in connection.execute(query):
        examined += number
        if usable:
            active += number
            for scope in scopes:
                counted[scope] = counted.get(scope, 0) + number
    people = _count(connection, select(users.c.app).where(users.c.app == app), PEOPLE_COUNTED)
    return GrantFigures(
        people,
        active,
        Count(min(examined, GRANTS_EXAMINED), examined > GRANTS_EXAMINED),
        tuple(sorted(counted.items(), key=lambda each: (-each[1], each[0]))),
    )


def _usable(now: datetime) -> ColumnElement[bool]:
    can_refresh = and_(
        grants.c.refresh_token.is_not(None),
        or_(grants.c.refresh_expires_at.is_(None), grants.c.refresh_expires_at > now),
    )
    return and_(status_is(grants, GrantStatus.ACTIVE), or_(grants.c.access_expires_at > now, can_refresh))


# --- the overview: consents ------------------------------------------------------------------------------

REQUESTS_EXAMINED = 2_000


@dataclass(frozen=True, slots=True)
class ConsentFigures:
    examined: Count
    reached: tuple[int, ...]
    """How many requests reached each of `CONSENT_STAGES`, or a later one."""
    outcomes: Mapping[str, int]
    seconds: tuple[float, ...]
    """From asking to the consent, of each request that was granted, the shortest first."""


def consent_figures(connection: Connection, app: str, since: datetime) -> ConsentFigures:
    """Count what became of the latest requests."""
    latest = (
        select(authorization_requests.c.id, authorization_requests.c.app)
        .where(authorization_requests.c.id >= first_id(since))
        .order_by(authorization_requests.c.id.desc())
        .limit(WINDOW)
        .subquery()
    )
    own = select(latest.c.id).where(latest.c.app == app).order_by(latest.c.id.desc())
    ids = list(connection.execute(own.limit(REQUESTS_EXAMINED + 1)).scalars())
    stages = select(consent_funnel.c.outcome, *(consent_funnel.c[stage] for stage in CONSENT_STAGES))
    found = connection.execute(stages.where(consent_funnel.c.request_id.in_(ids))).all() if ids else []
    rows = found[:REQUESTS_EXAMINED]
    reached = [0] * len(CONSENT_STAGES)
    outcomes: dict[str, int] = {}
    seconds: list[float] = []
    for outcome, *moments in rows:
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        last = max(number for number, moment in enumerate(moments) if moment is not None)
        for number in range(last + 1):
            reached[number] += 1
        asked_at, granted_at = moments[0], moments[CONSENT_STAGES.index("granted_at")]
        if granted_at is not None:
            seconds.append(max(0.0, (granted_at - asked_at).total_seconds()))
    return ConsentFigures(
        Count(len(rows), len(found) > REQUESTS_EXAMINED), tuple(reached), outcomes, tuple(sorted(seconds))
    )


# --- the overview: outcomes, what waits, errors ----------------------------------------------------------

CALLS_A_DAY = 5_000
"""Calls of one day that the outcomes count."""
ERRORS_EXAMINED = 2_000

SETTLED = deferred_calls.c.settled_at.is_not(None)


@dataclass(frozen=True, slots=True)
class DayOutcomes:
    begins_at: datetime
    numbers: Mapping[str, int]
    capped: bool


def outcomes(connection: Connection, app: str, midnights: Sequence[datetime]) -> tuple[DayOutcomes, ...]:
    """Count how calls ended on each day. `midnights`: where the days begin, and where the last one ends."""
    days = []
    for begin, end in itertools.pairwise(midnights):
        some = (
            select(deferred_calls.c.status)
            .where(
                deferred_calls.c.app == app,
                SETTLED,
                deferred_calls.c.settled_at >= begin,
                deferred_calls.c.settled_at < end,
            )
            .order_by(deferred_calls.c.settled_at)
            .limit(CALLS_A_DAY + 1)
            .subquery()
        )
        query = select(some.c.status, func.count()).group_by(some.c.status)
        numbers = {status: number for status, number in connection.execute(query)}
        days.append(DayOutcomes(begin, numbers, sum(numbers.values()) > CALLS_A_DAY))
    return tuple(days)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not ended, by what it waits for."""

    suspended: Mapping[WaitsFor, Count]
    oldest: Mapping[WaitsFor, datetime | None]
    """When the oldest call that waits was asked."""
    queued: Count
    running: Count
    messages: Count
    """Messages that are not sent yet."""
    revocations: Count
    """Revocations that the platform has not confirmed."""
    scope_waits: Count


_next: ColumnElement[bool] = literal_column("(status = 'running' OR (status = 'queued' AND NOT behind))")
_behind: ColumnElement[bool] = literal_column("(status = 'queued' AND behind)")
"""The literal conditions of the indexes of claimable calls, and of those behind another one."""


def waiting(connection: Connection, app: str) -> Waiting:
    of_app = deferred_calls.c.app == app

    def suspended(kind: WaitsFor) -> Select[Any]:
        return select(deferred_calls.c.asked_at).where(
            of_app, deferred_calls.c.waits_for == kind.value, status_is(deferred_calls, CallStatus.SUSPENDED)
        )

    next_ones = select(deferred_calls.c.status).where(of_app, _next).limit(COUNTED + 1).subquery()
    found: dict[str, int] = {
        status: number
        for status, number in connection.execute(
            select(next_ones.c.status, func.count()).group_by(next_ones.c.status)
        )
    }
    behind = _count(connection, select(deferred_calls.c.id).where(of_app, _behind))
    queued = found.get(CallStatus.QUEUED, 0) + behind.number
    capped = behind.capped or sum(found.values()) > COUNTED
    platform, _, app_id = app.partition(":")
    return Waiting(
        {kind: _count(connection, suspended(kind)) for kind in WaitsFor},
        {
            kind: connection.execute(suspended(kind).order_by(deferred_calls.c.asked_at).limit(1)).scalar()
            for kind in WaitsFor
        },
        Count(min(queued, COUNTED), capped or queued > COUNTED),
        Count(found.get(CallStatus.RUNNING, 0)),
        _count(
            connection,
            select(outgoing_messages.c.id).where(
                outgoing_messages.c.app == app, is_live(outgoing_messages, MessageStatus)
            ),
        ),
        _count(
            connection,
            select(revocations.c.id).where(revocations.c.app == app, is_live(revocations, RevocationStatus)),
        ),
        _count(
            connection,
            select(scope_waits.c.id).where(
                scope_waits.c.platform == platform,
                scope_waits.c.app_id == app_id,
                is_live(scope_waits, ScopeWaitStatus),
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class PlatformError:
    """Calls to the platform that failed in the same way."""

    method: str
    path: str
    status: int | None
    code: str | None
    outcome: str
    number: int
    latest: datetime


@dataclass(frozen=True, slots=True)
class FailedCommands:
    command: str
    status: str
    outcome: str | None
    number: int
    latest: datetime


@dataclass(frozen=True, slots=True)
class ErrorFigures:
    platform: tuple[PlatformError, ...]
    platform_examined: Count
    commands: tuple[FailedCommands, ...]
    commands_examined: Count


_made = api_calls.c
FAILED: ColumnElement[bool] = literal_column("outcome <> 'succeeded'")
"""The literal condition of the index of failed calls."""


def error_figures(connection: Connection, app: str, since: datetime) -> ErrorFigures:
    """Count the platform's refusals and the failed commands since then, by reason, the most frequent first."""
    some = (
        select(_made.method, _made.path, _made.status, _made.code, _made.outcome, _made.at)
        .where(_made.app == app, FAILED, _made.at >= since)
        .order_by(_made.at.desc())
        .limit(ERRORS_EXAMINED + 1)
        .subquery()
    )
    reason = (some.c.method, some.c.path, some.c.status, some.c.code, some.c.outcome)
    query = select(*reason, func.count(), func.max(some.c.at)).group_by(*reason)
    refused = [PlatformError(*row) for row in connection.execute(query)]
    examined = sum(each.number for each in refused)
    ended = (
        select(
            deferred_calls.c.command,
            deferred_calls.c.status,
            deferred_calls.c.outcome,
            deferred_calls.c.settled_at,
        )
        .where(deferred_calls.c.app == app, SETTLED, deferred_calls.c.settled_at >= since)
        .order_by(deferred_calls.c.settled_at.desc())
        .limit(WINDOW + 1)
        .subquery()
    )
    kind = (ended.c.command, ended.c.status, ended.c.outcome)
    by_kind = select(*kind, func.count(), func.max(ended.c.settled_at)).group_by(*kind)
    all_ended = [FailedCommands(*row) for row in connection.execute(by_kind)]
    number = sum(each.number for each in all_ended)
    return ErrorFigures(
        tuple(
            sorted(
                (each for each in refused if each.outcome != "insufficient_scope"),
                key=lambda each: (-each.number, each.path),
            )
        ),
        Count(min(examined, ERRORS_EXAMINED), examined > ERRORS_EXAMINED),
        tuple(
            sorted(
                (
                    each
                    for each in all_ended
                    if each.status in {CallStatus.FAILED, CallStatus.OUTCOME_UNKNOWN}
                ),
                key=lambda each: (-each.number, each.command),
            )
        ),
        Count(min(number, WINDOW), number > WINDOW),
    )


# --- people ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PersonRow:
    user: UserKey
    name: str | None
    created_at: datetime
    seen_at: datetime
    grant: str | None
    """The status of the grant; None if there never was one."""
    scopes: ScopeSet
    waiting: int


_waiting_of_user = (
    select(func.count())
    .where(deferred_calls.c.user_key == users.c.user_key, status_is(deferred_calls, CallStatus.SUSPENDED))
    .scalar_subquery()
)
PEOPLE: Any = select(
    users.c.user_key,
    users.c.name,
    users.c.created_at,
    users.c.seen_at,
    grants.c.status,
    grants.c.scopes,
    _waiting_of_user,
).outerjoin(grants, grants.c.user_key == users.c.user_key)


def _person(row: Any) -> PersonRow:
    user, name, created_at, seen_at, grant, scopes, waiting_calls = row
    return PersonRow(user, name, created_at, seen_at, grant, scopes or frozenset(), waiting_calls)


def people(connection: Connection, app: str, cursor: str | None = None) -> Listing:
    """Return the people who use the bot, the newest first."""
    query = PEOPLE.where(users.c.app == app).order_by(users.c.created_at.desc(), users.c.user_key.desc())
    query = _after(query, users.c.created_at, users.c.user_key, cursor)
    found = [_person(row) for row in connection.execute(query.limit(PAGE + 1))]
    return _listing(found, lambda each: cursor_of(each.created_at, str(each.user)))


def find_people(connection: Connection, app: str, wanted: str, cursor: str | None = None) -> Listing:
    """Return the people whose name contains `wanted`, the newest first, after those whose id begins with it."""
    newest = select(users.c.user_key, users.c.name, users.c.created_at).where(users.c.app == app)
    newest = newest.order_by(users.c.created_at.desc(), users.c.user_key.desc())
    newest = _after(newest, users.c.created_at, users.c.user_key, cursor)
    window = newest.limit(WINDOW).subquery()
    matches = (
        select(window.c.user_key, window.c.created_at)
        .where(
            or_(*(func.lower(window.c.name).contains(each, autoescape=True) for each in spellings(wanted)))
        )
        .order_by(window.c.created_at.desc(), window.c.user_key.desc())
        .limit(PAGE + 1)
    )
    named_so = connection.execute(matches).all()
    by_id = _people_by_id(connection, app, wanted) if cursor is None else []
    keys = list(dict.fromkeys([*by_id, *(key for key, _ in named_so[:PAGE])]))
    known = (
        {row.user_key: _person(row) for row in connection.execute(PEOPLE.where(users.c.user_key.in_(keys)))}
        if keys
        else {}
    )
    rows = tuple(known[key] for key in keys if key in known)
    if len(named_so) > PAGE:
        key, created_at = named_so[PAGE - 1]
        return Listing(rows, cursor_of(created_at, str(key)))
    last = connection.execute(
        select(window.c.created_at, window.c.user_key)
        .order_by(window.c.created_at, window.c.user_key)
        .limit(1)
    ).one_or_none()
    number: int = connection.execute(select(func.count()).select_from(window)).scalar_one()
    if last is None or number < WINDOW:
        return Listing(rows, None)
    return Listing(rows, cursor_of(last.created_at, str(last.user_key)), complete=False)


def spellings(wanted: str) -> list[str]:
    """Return the spellings to look for in a name in lower case: SQLite knows only the lower case of ASCII letters."""
    return sorted(
        {wanted.lower(), lower_ascii(wanted), lower_ascii(wanted.title()), lower_ascii(wanted.upper())}
    )


def lower_ascii(text: str) -> str:
    return "".join(each.lower() if each.isascii() else each for each in text)


def _people_by_id(connection: Connection, app: str, wanted: str) -> list[UserKey]:
    """Return the people with this user key, or whose id begins so."""
    if len(wanted) < MIN_ID_LENGTH:
        return []
    by_key = select(users.c.user_key).where(type_coerce(users.c.user_key, Text) == wanted, users.c.app == app)
    # Not by LIKE, for which there is no index. Of all apps, because the index begins with the id.
    next_ids = (
        select(users.c.user_key, users.c.open_id, users.c.app)
        .where(users.c.open_id >= wanted)
        .order_by(users.c.open_id)
        .limit(IDS_EXAMINED)
    )
    found = list(connection.execute(by_key).scalars())
    found += [
        row.user_key
        for row in connection.execute(next_ids)
        if row.app == app and row.open_id.startswith(wanted)
    ]
    return list(dict.fromkeys(found))[:PAGE]


MIN_ID_LENGTH = 4
IDS_EXAMINED = 200


@dataclass(frozen=True, slots=True)
class Profile:
    user: UserKey
    name: str | None
    union_id: str | None
    language: str | None
    time_zone: str | None
    created_at: datetime
    seen_at: datetime
    quiet_since: datetime | None


@dataclass(frozen=True, slots=True)
class GrantRow:
    status: str
    scopes: ScopeSet
    authorized_at: datetime
    refreshed_at: datetime | None
    last_used_at: datetime | None
    access_expires_at: datetime | None
    refresh_expires_at: datetime | None
    can_refresh: bool
    refresh_failures: int
    ended_at: datetime | None
    end_reason: str | None


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    scope: str
    asked_by: tuple[str, ...]
    granted_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditRow:
    at: datetime
    action: str
    subject_kind: str | None
    subject_id: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Person:
    """What the console shows of one user."""

    profile: Profile
    grant: GrantRow | None
    records: Mapping[str, ScopeRecord]
    waiting: tuple[CallRow, ...]
    requests: tuple[RequestRow, ...]
    calls: tuple[CallRow, ...]
    audit: tuple[AuditRow, ...]
    operators: Mapping[str, str | None]
    """Names of the operators who are mentioned in the audit entries, by user key."""


SHORT = 10
"""Rows of each list on a person's page."""
AUDIT_ROWS = 30

PROFILE: Any = select(
    users.c.user_key,
    users.c.name,
    users.c.union_id,
    users.c.language,
    users.c.time_zone,
    users.c.created_at,
    users.c.seen_at,
    users.c.quiet_since,
)
GRANT: Any = select(
    grants.c.status,
    grants.c.scopes,
    grants.c.authorized_at,
    grants.c.refreshed_at,
    grants.c.last_used_at,
    grants.c.access_expires_at,
    grants.c.refresh_expires_at,
    grants.c.refresh_token.is_not(None),
    grants.c.refresh_failures,
    grants.c.ended_at,
    grants.c.end_reason,
)
RECORDS: Any = select(
    granted_scopes.c.scope, granted_scopes.c.asked_by, granted_scopes.c.granted_at, granted_scopes.c.used_at
)
AUDIT: Any = select(
    audit_log.c.at, audit_log.c.action, audit_log.c.subject_kind, audit_log.c.subject_id, audit_log.c.detail
)


def profile(connection: Connection, app: str, user_text: str) -> Profile | None:
    """Return the profile of a user of the app by their user key, or None."""
    of_user = (type_coerce(users.c.user_key, Text) == user_text, users.c.app == app)
    found = connection.execute(PROFILE.where(*of_user)).one_or_none()
    return None if found is None else Profile(*found)


def person(connection: Connection, app: str, user_text: str) -> Person | None:
    """Return one user of the app by their user key, or None."""
    found = profile(connection, app, user_text)
    if found is None:
        return None
    user = found.user
    grant = connection.execute(GRANT.where(grants.c.user_key == user)).one_or_none()
    records = connection.execute(RECORDS.where(granted_scopes.c.user_key == user).limit(SCOPES_SHOWN))
    live = CALLS.where(deferred_calls.c.user_key == user)
    waiting_calls: list[CallRow] = []
    for status in (CallStatus.SUSPENDED, CallStatus.QUEUED):
        query = live.where(status_is(deferred_calls, status)).order_by(deferred_calls.c.asked_at)
        waiting_calls += [CallRow(*row) for row in connection.execute(query.limit(PAGE))]
    entries = AUDIT.where(audit_log.c.user_key == user).order_by(audit_log.c.id.desc()).limit(AUDIT_ROWS)
    entries_found = tuple(AuditRow(*row) for row in connection.execute(entries))
    return Person(
        found,
        GrantRow(*grant) if grant is not None else None,
        {row.scope: ScopeRecord(*row) for row in records},
        tuple(waiting_calls),
        requests(connection, app, Filter(user=user), limit=SHORT).rows,
        calls(connection, app, Filter(user=user), limit=SHORT).rows,
        entries_found,
        names_of(connection, app, (each.detail for each in entries_found)),
    )


SCOPES_SHOWN = 500


def names_of(connection: Connection, app: str, details: Iterable[str]) -> dict[str, str | None]:
    """Return the names of the operators in these details of audit entries, by user key."""
    keys = {key for each in details if (key := operator_in(each)) is not None}
    if not keys:
        return {}
    text_of_key = type_coerce(users.c.user_key, Text)
    query = select(text_of_key, users.c.name).where(text_of_key.in_(sorted(keys)), users.c.app == app)
    return {key: name for key, name in connection.execute(query)}


def operator_in(detail: str) -> str | None:
    """Return the user key of the operator whom an audit entry names, or None."""
    try:
        found = json.loads(detail)
    except (ValueError, RecursionError):
        return None
    operator = found.get("operator") if isinstance(found, dict) else None
    return operator if isinstance(operator, str) else None


# --- requests and calls ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    status: str | None = None
    user: UserKey | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class CallRow:
    id: str
    user: UserKey
    name: str | None
    command: str
    status: str
    waits_for: str | None
    needs: Requirement
    request_id: str | None
    asked_at: datetime
    suspended_at: datetime | None
    first_failed_at: datetime | None
    expires_at: datetime
    settled_at: datetime | None
    outcome: str | None
    attempts: int
    consents: int
    chat_kind: str
    message_id: str | None


CALLS: Any = select(
    deferred_calls.c.id,
    deferred_calls.c.user_key,
    users.c.name,
    deferred_calls.c.command,
    deferred_calls.c.status,
    deferred_calls.c.waits_for,
    deferred_calls.c.needs,
    deferred_calls.c.request_id,
    deferred_calls.c.asked_at,
    deferred_calls.c.suspended_at,
    deferred_calls.c.first_failed_at,
    deferred_calls.c.expires_at,
    deferred_calls.c.settled_at,
    deferred_calls.c.outcome,
    deferred_calls.c.attempts,
    deferred_calls.c.consents,
    deferred_calls.c.chat_kind,
    deferred_calls.c.message_id,
).outerjoin(users, users.c.user_key == deferred_calls.c.user_key)


def calls(
    connection: Connection, app: str, wanted: Filter, cursor: str | None = None, limit: int = PAGE
) -> Listing:
    """Return calls, the newest first."""
    return _filtered(connection, CALLS, deferred_calls, app, wanted, cursor, limit, CallRow)


@dataclass(frozen=True, slots=True)
class RequestRow:
    id: str
    user: UserKey
    name: str | None
    status: str
    scopes: ScopeSet
    granted: ScopeSet
    refused: ScopeSet
    reasons: tuple[str, ...]
    created_at: datetime
    opened_at: datetime | None
    expires_at: datetime
    settled_at: datetime | None
    failure: str | None
    declined_on_page_at: datetime | None


REQUESTS: Any = select(
    authorization_requests.c.id,
    authorization_requests.c.user_key,
    users.c.name,
    authorization_requests.c.status,
    authorization_requests.c.scopes,
    authorization_requests.c.granted,
    authorization_requests.c.refused,
    authorization_requests.c.reasons,
    authorization_requests.c.created_at,
    authorization_requests.c.opened_at,
    authorization_requests.c.expires_at,
    authorization_requests.c.settled_at,
    authorization_requests.c.failure,
    authorization_requests.c.declined_on_page_at,
).outerjoin(users, users.c.user_key == authorization_requests.c.user_key)


def requests(
    connection: Connection, app: str, wanted: Filter, cursor: str | None = None, limit: int = PAGE
) -> Listing:
    """Return authorization requests, the newest first."""
    return _filtered(connection, REQUESTS, authorization_requests, app, wanted, cursor, limit, RequestRow)


def _filtered(
    connection: Connection,
    columns: Select[Any],
    rows: Any,
    app: str,
    wanted: Filter,
    cursor: str | None,
    limit: int,
    build: Callable[..., Any],
) -> Listing:
    """Return a page of the rows of an app, by id: those of the app, and of a status, within a window of the latest."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.user is not None:
        conditions.append(rows.c.user_key == wanted.user)
    if wanted.request is not None:
        conditions.append(rows.c.request_id == wanted.request)
    if cursor is not None:
        conditions.append(rows.c.id < cursor)
    # Of all apps, by the primary key. With an index that begins with the app, SQLite no longer expects the app to select
    # anything, and reads whole tables instead of the small indexes of what is due.
    window = select(rows.c.id, rows.c.status, rows.c.app).where(*conditions).order_by(rows.c.id.desc())
    examined = window.limit(WINDOW).subquery()
    matches = select(examined.c.id).where(examined.c.app == app).order_by(examined.c.id.desc())
    if wanted.status is not None:
        matches = matches.where(examined.c.status == wanted.status)
    ids = list(connection.execute(matches.limit(limit + 1)).scalars())
    query = columns.where(rows.c.id.in_(ids[:limit])).order_by(rows.c.id.desc())
    found = [build(*row) for row in connection.execute(query)] if ids else []
    if len(ids) > limit:
        return Listing(tuple(found), ids[limit - 1])
    last, number = connection.execute(select(func.min(examined.c.id), func.count())).one()
    return Listing(tuple(found), last if number == WINDOW else None, complete=number < WINDOW)


# --- one story -------------------------------------------------------------------------------------------

STORY_ROWS = 400


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime
    what: str
    detail: str | None
    result: str | None
    log_id: str | None


@dataclass(frozen=True, slots=True)
class Story:
    call: CallRow
    events: tuple[Event, ...]
    complete: bool
    operators: Mapping[str, str | None]

    @property
    def api_calls(self) -> Count:
        """Calls to the platform. `call.attempts` counts from 0 again whenever the call waits."""
        return Count(sum(each.what == "api_call" for each in self.events), capped=not self.complete)


def story(connection: Connection, app: str, call_id: str) -> Story | None:
    """Return what happened to a call of the app, the first event first."""
    call = connection.execute(
        CALLS.where(deferred_calls.c.id == call_id, deferred_calls.c.app == app)
    ).one_or_none()
    if call is None:
        return None
    query = (
        select(
            call_story.c.at, call_story.c.what, call_story.c.detail, call_story.c.result, call_story.c.log_id
        )
        .where(call_story.c.call_id == call_id)
        .order_by(call_story.c.at)
        .limit(STORY_ROWS + 1)
    )
    events = [Event(*row) for row in connection.execute(query)]
    complete = len(events) <= STORY_ROWS
    # Of the same moment: the question comes first, and a message last.
    events.sort(key=lambda each: (each.at, each.what != "asked", each.what.startswith("message_")))
    shown = tuple(events[:STORY_ROWS])
    operators = names_of(connection, app, (each.detail or "" for each in shown))
    return Story(CallRow(*call), shown, complete, operators)


# --- what an id names -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Named:
    """What an id in the search leads to: the first of these that is not None."""

    call: str | None = None
    request: str | None = None
    """A request without a call, or with several."""
    api_calls: str | None = None
    """An id of calls to the platform whose command is deleted."""
    user: UserKey | None = None
    """Whom it concerns."""


def named_by(connection: Connection, app: str, wanted: str) -> Named | None:
    """Find what an id of the app names: a call, a request, a message, an event, or a call to the platform."""
    if not ID.fullmatch(wanted):
        return None
    for subject in find_by_id(connection, wanted, app):
        of_app = (deferred_calls.c.id.in_(sorted(subject.calls)), deferred_calls.c.app == app)
        stored = list(connection.execute(select(deferred_calls.c.id).where(*of_app).limit(2)).scalars())
        if len(stored) == 1:
            return Named(call=stored[0])
        if stored and subject.requests:
            return Named(request=min(subject.requests))
        if stored:
            return Named(call=max(subject.calls))
        if api_calls_by_id(connection, app, wanted):
            return Named(api_calls=wanted)
        if subject.user is not None and profile(connection, app, str(subject.user)) is not None:
            return Named(user=subject.user)
    return None


# --- calls to the platform -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiCallRow:
    id: str
    at: datetime
    user: UserKey
    name: str | None
    call_id: str
    method: str
    path: str
    status: int | None
    code: str | None
    log_id: str | None
    milliseconds: int
    outcome: str


API_CALLS: Any = select(
    _made.id,
    _made.at,
    _made.user_key,
    users.c.name,
    _made.call_id,
    _made.method,
    _made.path,
    _made.status,
    _made.code,
    _made.log_id,
    _made.milliseconds,
    _made.outcome,
).outerjoin(users, users.c.user_key == _made.user_key)


def errors(connection: Connection, app: str, cursor: str | None = None) -> Listing:
    """Return the calls to the platform that failed, the latest first."""
    window = select(_made.id, _made.at, _made.outcome).where(_made.app == app, FAILED)
    window = _after(window.order_by(_made.at.desc(), _made.id.desc()), _made.at, _made.id, cursor)
    examined = window.limit(WINDOW).subquery()
    matches = (
        select(examined.c.id, examined.c.at)
        .where(examined.c.outcome != "insufficient_scope")
        .order_by(examined.c.at.desc(), examined.c.id.desc())
    )
    ids = connection.execute(matches.limit(PAGE + 1)).all()
    query = API_CALLS.where(_made.id.in_([each.id for each in ids[:PAGE]]))
    found = [ApiCallRow(*row) for row in connection.execute(query)] if ids else []
    found.sort(key=lambda each: (each.at, each.id), reverse=True)
    if len(ids) > PAGE:
        return Listing(tuple(found), cursor_of(ids[PAGE - 1].at, ids[PAGE - 1].id))
    number: int = connection.execute(select(func.count()).select_from(examined)).scalar_one()
    if number < WINDOW:
        return Listing(tuple(found), None)
    last = connection.execute(
        select(examined.c.at, examined.c.id).order_by(examined.c.at, examined.c.id).limit(1)
    ).one()
    return Listing(tuple(found), cursor_of(last.at, last.id), complete=False)


def api_calls_by_id(connection: Connection, app: str, wanted: str) -> tuple[ApiCallRow, ...]:
    """Return calls to the platform by its log id, by their own id, or by that of their command, the latest first."""
    for column in (_made.log_id, _made.id, _made.call_id):
        query = API_CALLS.where(column == wanted, _made.app == app).order_by(_made.at.desc(), _made.id.desc())
        if found := [ApiCallRow(*row) for row in connection.execute(query.limit(PAGE))]:
            return tuple(found)
    return ()


def done_for(connection: Connection, user: UserKey, cursor: str | None = None) -> Listing:
    """Return the calls to the platform in a user's name, the latest first."""
    query = API_CALLS.where(_made.user_key == user).order_by(_made.at.desc(), _made.id.desc())
    query = _after(query, _made.at, _made.id, cursor).limit(PAGE + 1)
    found = [ApiCallRow(*row) for row in connection.execute(query)]
    return _listing(found, lambda each: cursor_of(each.at, each.id))


# --- the administrators' lane ----------------------------------------------------------------------------

WAITS_SHOWN = 100
WAITING_CALLS_EXAMINED = 500


@dataclass(frozen=True, slots=True)
class ScopeWaitRow:
    id: str
    scopes: ScopeSet
    created_at: datetime
    calls: int = 0
    people: tuple[tuple[UserKey, str | None], ...] = ()
    commands: tuple[str, ...] = ()
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    waits: tuple[ScopeWaitRow, ...]
    more: bool
    calls: Count
    """The calls that wait for an administrator, as far as they were examined."""


def lane(connection: Connection, app: str) -> Lane:
    """Return the scopes that an administrator has to enable, and who waits for them, the longest-waiting first."""
    platform, _, app_id = app.partition(":")
    waits = (
        select(scope_waits.c.id, scope_waits.c.scopes, scope_waits.c.created_at)
        .where(
            scope_waits.c.platform == platform,
            scope_waits.c.app_id == app_id,
            is_live(scope_waits, ScopeWaitStatus),
        )
        .order_by(scope_waits.c.id)
        .limit(WAITS_SHOWN + 1)
    )
    found = [ScopeWaitRow(*row) for row in connection.execute(waits)]
    waiting_calls = (
        CALLS.where(
            deferred_calls.c.app == app,
            deferred_calls.c.waits_for == WaitsFor.ADMINISTRATOR.value,
            status_is(deferred_calls, CallStatus.SUSPENDED),
        )
        .order_by(deferred_calls.c.asked_at)
        .limit(WAITING_CALLS_EXAMINED + 1)
    )
    some = [CallRow(*row) for row in connection.execute(waiting_calls)]
    examined = some[:WAITING_CALLS_EXAMINED]
    rows = tuple(_with_calls(each, examined) for each in found[:WAITS_SHOWN])
    return Lane(rows, len(found) > WAITS_SHOWN, Count(len(examined), len(some) > WAITING_CALLS_EXAMINED))


def _with_calls(wait: ScopeWaitRow, waiting_calls: Sequence[CallRow]) -> ScopeWaitRow:
    own = [each for each in waiting_calls if not wait.scopes.isdisjoint(named(each.needs))]
    return replace(
        wait,
        calls=len(own),
        people=tuple(dict.fromkeys((each.user, each.name) for each in own)),
        commands=tuple(dict.fromkeys(each.command for each in own)),
        oldest=own[0].asked_at if own else None,
    )


# --- cursors ---------------------------------------------------------------------------------------------

SEPARATOR = "~"


def cursor_of(moment: datetime, key: str) -> str:
    """Return the cursor of a row in a list that is ordered by a time and a key."""
    return f"{(moment - EPOCH) // timedelta(microseconds=1)}{SEPARATOR}{key}"


def parse_cursor(cursor: str) -> tuple[datetime, str] | None:
    """Return the time and the key of a cursor, or None if it is not one."""
    microseconds, separator, key = cursor.partition(SEPARATOR)
    if not separator or not key or not re.fullmatch(r"[0-9]{1,16}", microseconds):
        return None
    return EPOCH + timedelta(microseconds=int(microseconds)), key


def _after(query: Select[Any], moment: Any, key: Any, cursor: str | None) -> Select[Any]:
    """Continue a list after the row of the cursor. A cursor that cannot be read begins at the first page."""
    parsed = parse_cursor(cursor) if cursor else None
    if parsed is None:
        return query
    at, last = parsed
    key_text = type_coerce(key, Text)
    return query.where(moment <= at, or_(moment < at, key_text < last))


def _listing(found: Sequence[T], cursor: Callable[[T], str], limit: int = PAGE) -> Listing:
    """Return a page of rows that were read with one row more than the page has."""
    more = len(found) > limit
    return Listing(tuple(found[:limit]), cursor(found[limit - 1]) if more else None)
