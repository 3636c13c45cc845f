"""What `bot errors` and `bot stats` tell: what failed, and numbers over a period."""

from __future__ import annotations

import re
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, func, select

from bot.core.api import ApiOutcome
from bot.core.calls import CallStatus
from bot.core.grants import GrantStatus, RevocationStatus
from bot.core.messages import MessageStatus
from bot.core.people import UserKey
from bot.core.requests import RequestStatus
from bot.store.operator_queries import Filter, Row, asked, known
from bot.store.schema import api_calls, audit_log, deferred_calls, grants, outgoing_messages, revocations
from bot.store.views import CONSENT_STAGES, consent_funnel

DEFAULT_PERIOD = timedelta(days=7)
"""What errors and numbers cover unless told otherwise."""

# --- errors ----------------------------------------------------------------------------------------

EXPECTED = (ApiOutcome.SUCCEEDED, ApiOutcome.INSUFFICIENT_SCOPE)
"""Outcomes of API calls that are no errors: for the second, the bot asks."""


def errors(connection: Connection, chosen: Filter, now: datetime) -> list[Row]:
    """Return what failed, one row for each kind of failure, the latest first. The status may be any of a row's codes."""
    chosen = _with_period(chosen, now)
    found = _by_kind(
        [
            *_api_errors(connection, chosen),
            *_ended(connection, chosen, "call", deferred_calls, deferred_calls.c.outcome, FAILED_CALLS),
            *_ended(
                connection, chosen, "message", outgoing_messages, outgoing_messages.c.reason, FAILED_MESSAGES
            ),
            *_ended(connection, chosen, "request", asked, asked.c.failure, FAILED_REQUESTS),
            *_ended(connection, chosen, "revocation", revocations, revocations.c.reason, FAILED_REVOCATIONS),
            *_audited(connection, chosen),
        ]
    )
    if chosen.statuses:
        wanted = set(chosen.statuses)
        found = [each for each in found if wanted & {each.status, each.code}]
    found.sort(key=lambda each: each.last_at, reverse=True)
    found = found[: chosen.limit]
    names = _names(connection, {user for each in found for user in each.affected})
    return [_error_row(connection, each, names) for each in found]


AFFECTED = 20
"""The number of users that an error names, those who were affected last."""

FAILED_CALLS = (CallStatus.FAILED, CallStatus.OUTCOME_UNKNOWN)
FAILED_MESSAGES = (MessageStatus.UNDELIVERABLE, MessageStatus.OUTCOME_UNKNOWN)
FAILED_REQUESTS = (RequestStatus.FAILED,)
FAILED_REVOCATIONS = (RevocationStatus.FAILED,)
FAILED_ACTIONS = ("refresh_failed", "sign_in_failed", "callback_rejected", "page_error_reported")
"""Entries of the audit log about failures that no table keeps. Those that end with `_rejected` are added."""


def _with_period(chosen: Filter, now: datetime) -> Filter:
    return (
        chosen if chosen.since is not None else replace(chosen, since=(chosen.until or now) - DEFAULT_PERIOD)
    )


@dataclass(slots=True)
class _Failures:
    """Failures of one kind: of one user as they are read, then of all users."""

    what: str
    status: str
    code: str | None
    count: int
    first_at: datetime
    last_at: datetime
    users: dict[UserKey, datetime]
    """When each user was last affected. Empty if it is unknown who was."""
    api_call: str | None = None
    """The latest API call, if they are API calls."""
    call: str | None = None
    """The latest call, if they are calls."""

    def add(self, other: _Failures) -> None:
        self.count += other.count
        self.first_at = min(self.first_at, other.first_at)
        self.last_at = max(self.last_at, other.last_at)
        for user, at in other.users.items():
            self.users[user] = max(at, self.users.get(user, at))
        self.api_call = max(filter(None, (self.api_call, other.api_call)), default=None)
        self.call = max(filter(None, (self.call, other.call)), default=None)

    @property
    def affected(self) -> list[UserKey]:
        latest = sorted(self.users.items(), key=lambda each: (each[1], str(each[0])), reverse=True)
        return [user for user, _ in latest[:AFFECTED]]


def _by_kind(parts: Iterable[_Failures]) -> list[_Failures]:
    found: dict[tuple[str, str, str | None], _Failures] = {}
    for part in parts:
        kind = (part.what, part.status, part.code)
        if kind in found:
            found[kind].add(part)
        else:
            found[kind] = part
    return list(found.values())


def _names(connection: Connection, users: Collection[UserKey]) -> dict[UserKey, str | None]:
    query = select(known.c.user_key, known.c.name).where(known.c.user_key.in_(users))
    return {row.user_key: row.name for row in connection.execute(query)}


def _error_row(connection: Connection, failures: _Failures, names: Mapping[UserKey, str | None]) -> Row:
    log_id, call_id = None, failures.call
    if failures.api_call is not None:
        made = api_calls.c
        query = select(made.log_id, made.call_id).where(made.id == failures.api_call)
        log_id, call_id = connection.execute(query).one()
    return {
        "what": failures.what,
        "status": failures.status,
        "code": failures.code,
        "log_id": log_id,
        "call_id": call_id,
        "count": failures.count,
        "users": len(failures.users),
        "affected": [{"user_key": str(user), "name": names.get(user)} for user in failures.affected],
        "first_at": failures.first_at,
        "last_at": failures.last_at,
    }


def _of(user: UserKey | None, last_at: datetime) -> dict[UserKey, datetime]:
    return {} if user is None else {user: last_at}


def _api_errors(connection: Connection, chosen: Filter) -> Iterator[_Failures]:
    made = api_calls.c
    columns = (made.method, made.path, made.status, made.code, made.outcome, made.user_key)
    query = (
        select(*columns, *_figures(made.at), func.max(made.id).label("latest"))
        .where(
            made.outcome.not_in([each.value for each in EXPECTED]),
            *chosen.within(made.at),
            *chosen.of_user(api_calls),
        )
        .group_by(*columns)
    )
    for row in connection.execute(query):
        yield _Failures(
            f"{row.method} {without_ids(row.path)}",
            row.outcome if row.status is None else str(row.status),
            row.outcome if row.code is None and row.status is not None else row.code,
            row.number,
            row.first_at,
            row.last_at,
            _of(row.user_key, row.last_at),
            api_call=row.latest,
        )


def _figures(at: Column[datetime]) -> tuple[ColumnElement[Any], ...]:
    return (
        func.count().label("number"),
        func.min(at, type_=at.type).label("first_at"),
        func.max(at, type_=at.type).label("last_at"),
    )


ID_IN_PATH = re.compile(r"(?<=/)(?=[^/]*\d)(?!v\d+(?:/|$))[^/]{6,}|(?<=/)[^/]{25,}")


def without_ids(path: str) -> str:
    """Return a path with `*` for what looks like an id, so that calls of one API count together."""
    return ID_IN_PATH.sub("*", path)


def _ended(
    connection: Connection,
    chosen: Filter,
    what: str,
    table: Table,
    reason: Column[Any],
    statuses: Sequence[Any],
) -> Iterator[_Failures]:
    """Yield what ended badly in a table, by its status and reason."""
    at = table.c.settled_at
    kinds = [table.c[each] for each in ("command", "kind") if each in table.c]
    columns = [*kinds, table.c.status, reason, table.c.user_key]
    query = (
        select(*columns, *_figures(at), func.max(table.c.id).label("latest"))
        .where(
            at.is_not(None),
            table.c.status.in_([each.value for each in statuses]),
            *chosen.within(at),
            *chosen.of_user(table),
        )
        .group_by(*columns)
    )
    for row in connection.execute(query):
        yield _Failures(
            " ".join([what, *row[: len(kinds)]]),
            row.status,
            row[len(kinds) + 1],
            row.number,
            row.first_at,
            row.last_at,
            _of(row.user_key, row.last_at),
            call=row.latest if table is deferred_calls else None,
        )


def _audited(connection: Connection, chosen: Filter) -> Iterator[_Failures]:
    entry = audit_log.c
    failed: ColumnElement[bool] = entry.action.in_(FAILED_ACTIONS) | entry.action.endswith("_rejected")
    query = (
        select(entry.action, entry.user_key, *_figures(entry.at))
        .where(failed, *chosen.within(entry.at), *chosen.of_user(audit_log))
        .group_by(entry.action, entry.user_key)
    )
    for row in connection.execute(query):
        yield _Failures(
            row.action.replace("_", " "),
            "failed" if row.action.endswith("_failed") else "rejected",
            None,
            row.number,
            row.first_at,
            row.last_at,
            _of(row.user_key, row.last_at),
        )


# --- numbers ---------------------------------------------------------------------------------------


def stats(connection: Connection, chosen: Filter, now: datetime) -> Row:
    """Return numbers over what was asked in a period: by default the last seven days."""
    chosen = _with_period(chosen, now)
    return {
        "since": chosen.since,
        "until": chosen.until or now,
        "users": _active_users(connection, chosen),
        "new_users": _count(connection, known, known.c.created_at, chosen),
        "calls_by_status": _by(connection, deferred_calls.c.status, deferred_calls.c.asked_at, chosen),
        "calls": _calls(connection, chosen),
        **_consents(connection, chosen),
        "asked_to_answered_without_consent": _unasked(connection, chosen),
        "api_calls_by_outcome": _by(connection, api_calls.c.outcome, api_calls.c.at, chosen),
        "api_call_milliseconds": _api_times(connection, chosen),
        "messages_by_status": _by(
            connection, outgoing_messages.c.status, outgoing_messages.c.created_at, chosen
        ),
        "grants_ended_by_reason": _grants_ended(connection, chosen),
    }


def _count(connection: Connection, table: Table, at: Column[datetime], chosen: Filter) -> int:
    query = select(func.count()).select_from(table).where(*chosen.within(at), *chosen.of_user(table))
    found: int = connection.execute(query).scalar_one()
    return found


def _by(connection: Connection, which: Column[Any], at: Column[datetime], chosen: Filter) -> dict[str, int]:
    query = (
        select(which, func.count())
        .where(*chosen.within(at), *chosen.of_user(which.table))
        .group_by(which)
        .order_by(which)
    )
    return {str(value): number for value, number in connection.execute(query)}


def _active_users(connection: Connection, chosen: Filter) -> int:
    query = select(func.count(deferred_calls.c.user_key.distinct())).where(
        *chosen.within(deferred_calls.c.asked_at), *chosen.of_user(deferred_calls)
    )
    found: int = connection.execute(query).scalar_one()
    return found


def _calls(connection: Connection, chosen: Filter) -> list[Row]:
    """Count the calls by command and outcome, with the median time from asking to the end."""
    call = deferred_calls.c
    query = select(call.command, call.status, call.outcome, call.asked_at, call.settled_at).where(
        *chosen.within(call.asked_at), *chosen.since_id(call.id), *chosen.of_user(deferred_calls)
    )
    times: dict[tuple[str, str, str | None], list[float]] = {}
    counted: dict[tuple[str, str, str | None], int] = {}
    for row in connection.execute(query):
        key = (row.command, row.status, row.outcome)
        counted[key] = counted.get(key, 0) + 1
        if row.settled_at is not None:
            times.setdefault(key, []).append(_seconds(row.asked_at, row.settled_at))
    return [
        {
            "command": command,
            "status": status,
            "outcome": outcome,
            "count": number,
            "median_seconds": _median(times.get((command, status, outcome), [])),
        }
        for (command, status, outcome), number in sorted(
            counted.items(), key=lambda each: (each[0][0], each[0][1], each[0][2] or "")
        )
    ]


def _consents(connection: Connection, chosen: Filter) -> Row:
    query = select(consent_funnel).where(
        *chosen.within(consent_funnel.c.asked_at),
        *([] if chosen.user is None else [consent_funnel.c.user_key == chosen.user]),
    )
    rows = connection.execute(query).all()
    outcomes: dict[str, int] = {}
    for row in rows:
        outcomes[row.outcome] = outcomes.get(row.outcome, 0) + 1
    reached = {
        stage.removesuffix("_at"): sum(getattr(row, stage) is not None for row in rows)
        for stage in CONSENT_STAGES
    }

    def between(first: str, last: str) -> Row:
        times = ((getattr(row, f"{first}_at"), getattr(row, f"{last}_at")) for row in rows)
        return _times(_seconds(start, end) for start, end in times if start is not None and end is not None)

    return {
        "consents_by_outcome": dict(sorted(outcomes.items())),
        "consents_that_were": reached,
        "asked_to_consented": between("asked", "granted"),
        "consented_to_answered": between("granted", "answered"),
        "asked_to_answered_with_consent": between("asked", "answered"),
    }


def _unasked(connection: Connection, chosen: Filter) -> Row:
    """The times of calls that were answered without waiting for a consent."""
    call = deferred_calls.c
    query = select(call.asked_at, call.settled_at).where(
        call.status == CallStatus.SUCCEEDED.value,
        call.consents == 0,
        call.suspended_at.is_(None),
        *chosen.within(call.asked_at),
        *chosen.since_id(call.id),
        *chosen.of_user(deferred_calls),
    )
    return _times(_seconds(row.asked_at, row.settled_at) for row in connection.execute(query))


def _api_times(connection: Connection, chosen: Filter) -> Row:
    query = select(api_calls.c.milliseconds).where(*chosen.within(api_calls.c.at), *chosen.of_user(api_calls))
    values = list(connection.execute(query).scalars())
    found = _percentiles(values)
    return {"count": len(values), "median": found[0], "p90": found[1]}


def _grants_ended(connection: Connection, chosen: Filter) -> dict[str, int]:
    query = (
        select(grants.c.end_reason, func.count())
        .where(
            grants.c.status == GrantStatus.ENDED.value,
            *chosen.within(grants.c.ended_at),
            *chosen.of_user(grants),
        )
        .group_by(grants.c.end_reason)
        .order_by(grants.c.end_reason)
    )
    return {str(reason): number for reason, number in connection.execute(query)}


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def _times(seconds: Iterable[float]) -> Row:
    values = list(seconds)
    median, p90 = _percentiles(values)
    return {"count": len(values), "median_seconds": median, "p90_seconds": p90}


def _percentiles(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the median and the value that nine of ten do not exceed."""
    if not values:
        return None, None
    ordered = sorted(values)
    return _median(ordered), round(ordered[max(0, -(-len(ordered) * 9 // 10) - 1)], 1)


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 1) if values else None
