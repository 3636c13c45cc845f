"""Claims of deferred calls: each user's calls run in the order asked, one at a time.

Claims must not read all of a user's thousands of queued calls. So a call that is asked while another one is due is
`behind`, outside the index that claims read. Whenever a call is claimed, the first call behind it is promoted. If its
predecessor ended without promoting it (cancelled, or claimed at the same moment), `promote_missed` promotes it.

Because of that order, and of urgent calls, these statements are not built by `queue.Queue`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    bindparam,
    case,
    exists,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)

from bot.core.calls import CallStatus, DeferredCall
from bot.core.people import UserKey
from bot.store.call_rows import COLUMNS, QUEUE, call_of
from bot.store.queue import Claim
from bot.store.schema import deferred_calls as calls
from bot.store.statements import bind, changed, in_each_app, literal, of_app, status_is
from bot.store.transaction import announce, keyring_of


def first_ahead(
    ahead: FromClause,
    user: ColumnElement[UserKey],
    now: ColumnElement[datetime],
    asked_at: ColumnElement[datetime],
    call: ColumnElement[str],
) -> ColumnElement[datetime]:
    """Select when the first queued and due call was asked that precedes this one; NULL if there is none.

    Ordered, because for EXISTS PostgreSQL uses any index that finds a row, and may read all of a long queue.
    """
    return (
        select(ahead.c.asked_at)
        .where(
            ahead.c.user_key == user,
            status_is(ahead, CallStatus.QUEUED),
            ahead.c.runs_after <= now,
            tuple_(ahead.c.asked_at, ahead.c.id) < tuple_(asked_at, call),
        )
        .order_by(ahead.c.asked_at)
        .limit(1)
        .scalar_subquery()
    )


def _may_be_claimed(name: str) -> ColumnElement[bool]:
    """Return the condition of the index that claims read, for a table of this name."""
    return literal_column(f"({name}.status = 'running' OR ({name}.status = 'queued' AND NOT {name}.behind))")


def _claim_next(dialect: str) -> Any:
    """Build the statement that claims the next call of any user without a running call."""
    call, running, ahead = calls.alias("call"), calls.alias("running"), calls.alias("ahead")
    now = bind("now", calls.c.runs_after)
    busy: ColumnElement[bool] = exists().where(
        running.c.user_key == call.c.user_key,
        literal_column("(running.status = 'running' AND NOT running.urgent)"),
    )
    if dialect == "sqlite":
        # After an ANALYZE that saw no running call, SQLite would otherwise read all calls that a user ever asked.
        busy = literal_column(
            "EXISTS (SELECT 1 FROM deferred_calls AS running INDEXED BY ix_deferred_calls_one_running "
            "WHERE running.user_key = call.user_key AND running.status = 'running' AND NOT running.urgent)",
            Boolean,
        )
    asked_before = first_ahead(ahead, call.c.user_key, now, call.c.asked_at, call.c.id).is_not(None)
    next_one = (
        select(call.c.id)
        .where(
            of_app(call),
            _may_be_claimed("call"),
            call.c.runs_after <= now,
            or_(status_is(call, CallStatus.RUNNING), call.c.urgent, ~busy & ~asked_before),
        )
        .order_by(call.c.runs_after, call.c.id)
        .limit(1)
    )
    if dialect == "postgresql":
        next_one = next_one.with_for_update(skip_locked=True, of=call)
    return _claim(dialect, next_one)


def _claim_urgent(dialect: str) -> Any:
    """Build the statement that claims the next urgent call. `_claim_next` claims those whose lease has expired."""
    call, now = calls.alias("call"), bind("now", calls.c.runs_after)
    next_one = (
        select(call.c.id)
        .where(
            of_app(call), literal_column("(call.status = 'queued' AND call.urgent)"), call.c.runs_after <= now
        )
        .order_by(call.c.runs_after, call.c.id)
        .limit(1)
    )
    if dialect == "postgresql":
        next_one = next_one.with_for_update(skip_locked=True, of=call)
    return _claim(dialect, next_one)


def _claim(dialect: str, next_one: Select[tuple[str]]) -> Any:
    claim = (
        update(calls)
        .where(calls.c.id == next_one.scalar_subquery())
        .values(
            status=literal(CallStatus.RUNNING),
            worker=bind("new_worker", calls.c.worker),
            runs_after=bind("lease_until", calls.c.runs_after),
            claim=calls.c.claim + 1,
            attempts=calls.c.attempts + 1,
            takeovers=case(
                (status_is(calls, CallStatus.RUNNING), calls.c.takeovers + 1), else_=calls.c.takeovers
            ),
            behind=literal_column("false"),
        )
    )
    other = calls.alias("other")
    others_due = (
        exists()
        .where(
            of_app(other),
            _may_be_claimed("other"),
            other.c.runs_after <= bind("now", calls.c.runs_after),
            other.c.id != calls.c.id,
        )
        .label("others_due")
    )
    if dialect == "sqlite":
        # Selected here, because a second statement for each claim would cost more.
        others = (
            "EXISTS (SELECT 1 FROM deferred_calls AS other INDEXED BY ix_deferred_calls_behind "
            "WHERE other.app = deferred_calls.app AND other.user_key = deferred_calls.user_key "
            "AND other.status = 'queued' AND other.behind)"
        )
        return claim.returning(*COLUMNS, others_due, literal_column(others, Boolean).label("others_behind"))
    claimed = claim.returning(*COLUMNS, others_due).cte("claimed")
    user = select(claimed.c.user_key).scalar_subquery()
    return select(claimed).add_cte(_promote(user).cte("forward"))


def _promote(user: ColumnElement[UserKey]) -> Any:
    """Build the statement that promotes the first of a user's calls that are behind."""
    call = calls.alias("behind")
    first = (
        select(call.c.id)
        .where(
            of_app(call),
            call.c.user_key == user,
            literal_column("behind.status = 'queued' AND behind.behind"),
        )
        .order_by(call.c.asked_at, call.c.id)
        .limit(1)
    )
    return update(calls).where(calls.c.id == first.scalar_subquery()).values(behind=literal_column("false"))


CLAIM_NEXT = {dialect: _claim_next(dialect) for dialect in ("sqlite", "postgresql")}
CLAIM_URGENT = {dialect: _claim_urgent(dialect) for dialect in ("sqlite", "postgresql")}
PROMOTE = _promote(bind("user", calls.c.user_key))


def claim_next(connection: Connection, claim: Claim, *, urgent_only: bool = False) -> DeferredCall | None:
    """Claim the next runnable call: a queued one that is due, or a running one whose lease has expired.

    A user's calls are claimed in the order asked, one at a time; urgent ones do not wait for the others. None may also
    mean that another replica was faster. The caller rejects a call that is not genuine. One statement on PostgreSQL, so
    that `Database.write_one` can run it.
    """
    statement = (CLAIM_URGENT if urgent_only else CLAIM_NEXT)[connection.dialect.name]
    row = connection.execute(statement, claim.values).one_or_none()
    if row is None:
        return None
    call = call_of(row, keyring_of(connection), others_due=row.others_due)
    if connection.dialect.name == "sqlite" and row.others_behind:
        connection.execute(PROMOTE, {"own_app": call.user.app, "user": call.user})
    return call


_NOT_PROMOTED = """
    WITH RECURSIVE people (user_key) AS (
        SELECT (SELECT call.user_key FROM deferred_calls AS call {index}
                WHERE call.app = :own_app AND call.status = 'queued' AND call.behind
                ORDER BY call.user_key LIMIT 1)
        UNION ALL
        SELECT (SELECT call.user_key FROM deferred_calls AS call {index}
                WHERE call.app = :own_app AND call.status = 'queued' AND call.behind
                  AND call.user_key > people.user_key
                ORDER BY call.user_key LIMIT 1)
        FROM people WHERE people.user_key IS NOT NULL
    ), first (id) AS (
        SELECT (SELECT call.id FROM deferred_calls AS call {index}
                WHERE call.app = :own_app AND call.user_key = people.user_key AND call.status = 'queued' AND call.behind
                ORDER BY call.asked_at, call.id LIMIT 1)
        FROM people WHERE people.user_key IS NOT NULL
    )
    SELECT call.id FROM first JOIN deferred_calls AS call ON call.id = first.id
    WHERE (
        SELECT 1 FROM deferred_calls AS ahead
        WHERE ahead.user_key = call.user_key AND ahead.status = 'queued' AND NOT ahead.behind
          AND (ahead.asked_at, ahead.id) < (call.asked_at, call.id) AND ahead.runs_after <= :now
        LIMIT 1
    ) IS NULL
"""
NOT_PROMOTED = {
    # SQLite chooses indexes by their statistics, and has none of an index that was empty at the last ANALYZE.
    dialect: text(_NOT_PROMOTED.format(index=index)).bindparams(
        bindparam("now", type_=calls.c.runs_after.type)
    )
    for dialect, index in {"sqlite": "INDEXED BY ix_deferred_calls_behind", "postgresql": ""}.items()
}
"""Skips from user to user in the index of calls that are behind, so that its cost does not depend on their number."""
PROMOTE_MISSED = (
    update(calls)
    .where(calls.c.id.in_(bind("calls", calls.c.id, expanding=True)), status_is(calls, CallStatus.QUEUED))
    .values(behind=literal_column("false"))
)


def promote_missed(connection: Connection, now: datetime) -> int:
    """Promote queued calls whose predecessor ended without promoting them; return how many."""
    found = [row.id for row in in_each_app(connection, NOT_PROMOTED[connection.dialect.name], {"now": now})]
    if not found:
        return 0
    announce(connection)
    return connection.execute(PROMOTE_MISSED, {"calls": found}).rowcount


EXTEND = QUEUE.extend()


def extend(connection: Connection, call_id: str, claim: int, lease_until: datetime) -> bool:
    """Extend the lease of a running call; False if the claim is lost. One statement."""
    return changed(connection, EXTEND, {"call": call_id, "held_claim": claim, "until": lease_until})
