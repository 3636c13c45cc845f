"""Deferred calls and their recorded steps. A status changes only here, by compare-and-set along `core.lifecycle`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Row,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    null,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from bot.core.lifecycle import calls_that_may_become
from bot.core.model import CallStatus, Chat, DeferredCall, Secret, Step, UserKey, WaitsFor
from bot.core.scopes import Requirement, named
from bot.store import audit, scope_waits
from bot.store.database import announce, seal_of
from bot.store.schema import call_steps, deferred_calls
from bot.store.schema import users as people
from bot.store.sql import LIMIT, bind, status_in, status_is

calls = deferred_calls


# --- rows ------------------------------------------------------------------------------------------

COLUMNS = (
    calls.c.id,
    calls.c.user_key,
    calls.c.chat_id,
    calls.c.chat_kind,
    calls.c.message_id,
    calls.c.command,
    calls.c.arguments,
    calls.c.asked_at,
    calls.c.language,
    calls.c.time_zone,
    calls.c.status,
    calls.c.waits_for,
    calls.c.needs,
    calls.c.request_id,
    calls.c.consents,
    calls.c.attempts,
    calls.c.first_failed_at,
    calls.c.expires_at,
    calls.c.claim,
    calls.c.runs_after,
    calls.c.suspended_at,
    calls.c.confirmed,
)


def _call(row: Row[Any]) -> DeferredCall:
    values = {column.name: getattr(row, column.name) for column in COLUMNS}
    values["user"] = values.pop("user_key")
    values["chat"] = Chat(values.pop("chat_id"), values.pop("chat_kind"))
    values["status"] = CallStatus(values["status"])
    values["waits_for"] = WaitsFor(values["waits_for"]) if values["waits_for"] else None
    return DeferredCall(**values)


def _changed(connection: Connection, statement: Any, values: dict[str, Any]) -> bool:
    """Whether a compare-and-set found its row."""
    return bool(connection.execute(statement, values).rowcount)


# --- claiming --------------------------------------------------------------------------------------


# A person with thousands of queued calls must not cost every claim a look at each of them. So a call that is asked
# while another is due stands `behind`, out of the index that claims read; and whenever a call is taken, the first of
# those behind it steps forward. One that is overlooked (what stood before it was cancelled, or taken in the same
# moment) is called up by `call_up`.


def _claim_next(dialect: str) -> Any:
    call, running, ahead = calls.alias("call"), calls.alias("running"), calls.alias("ahead")
    now = bind("now", calls.c.runs_after)
    busy: ColumnElement[bool] = exists().where(
        running.c.user_key == call.c.user_key, status_is(running, "running")
    )
    if dialect == "sqlite":
        # Left to itself, after an ANALYZE that saw nothing running, it would go through all that a person ever asked.
        busy = literal_column(
            "EXISTS (SELECT 1 FROM deferred_calls AS running INDEXED BY ix_deferred_calls_one_running "
            "WHERE running.user_key = call.user_key AND running.status = 'running')",
            Boolean,
        )
    asked_before = exists().where(
        ahead.c.user_key == call.c.user_key,
        status_is(ahead, "queued"),
        ahead.c.runs_after <= now,
        tuple_(ahead.c.asked_at, ahead.c.id) < tuple_(call.c.asked_at, call.c.id),
    )
    next_one = (
        select(call.c.id)
        .where(
            literal_column("(call.status = 'running' OR (call.status = 'queued' AND NOT call.behind))"),
            call.c.runs_after <= now,
            status_is(call, "running") | (~busy & ~asked_before),
        )
        .order_by(call.c.runs_after, call.c.id)
        .limit(1)
    )
    if dialect == "postgresql":
        next_one = next_one.with_for_update(skip_locked=True, of=call)
    claim = (
        update(calls)
        .where(calls.c.id == next_one.scalar_subquery())
        .values(
            status=literal_column("'running'"),
            worker=bind("new_worker", calls.c.worker),
            runs_after=bind("lease_until", calls.c.runs_after),
            claim=calls.c.claim + 1,
            attempts=calls.c.attempts + 1,
            behind=literal_column("false"),
        )
    )
    if dialect == "sqlite":
        # Asked along, because a second statement for each claim would cost more than this.
        others = (
            "EXISTS (SELECT 1 FROM deferred_calls AS other INDEXED BY ix_deferred_calls_behind "
            "WHERE other.user_key = deferred_calls.user_key AND other.status = 'queued' AND other.behind)"
        )
        return claim.returning(*COLUMNS, literal_column(others, Boolean).label("others_behind"))
    claimed = claim.returning(*COLUMNS).cte("claimed")
    person = select(claimed.c.user_key).scalar_subquery()
    return select(claimed).add_cte(_step_forward(person).cte("forward"))


def _step_forward(person: ColumnElement[UserKey]) -> Any:
    """The first of a person's calls that stand behind does so no longer."""
    call = calls.alias("behind")
    first = (
        select(call.c.id)
        .where(call.c.user_key == person, literal_column("behind.status = 'queued' AND behind.behind"))
        .order_by(call.c.asked_at, call.c.id)
        .limit(1)
    )
    return update(calls).where(calls.c.id == first.scalar_subquery()).values(behind=literal_column("false"))


CLAIM_NEXT = {dialect: _claim_next(dialect) for dialect in ("sqlite", "postgresql")}
STEP_FORWARD = _step_forward(bind("user", calls.c.user_key))


def claim_next(
    connection: Connection, worker: str, now: datetime, lease_until: datetime
) -> DeferredCall | None:
    """Takes the next runnable call: a queued one that is due, or a running one whose lease has run out.

    A person's calls are taken in the order asked, one at a time. Nothing of another replica's can be taken, and
    None may also mean that a race was lost. One statement on PostgreSQL: fit for `Database.write_one`.
    """
    values = {"new_worker": worker, "now": now, "lease_until": lease_until}
    row = connection.execute(CLAIM_NEXT[connection.dialect.name], values).one_or_none()
    if row is None:
        return None
    call = _call(row)
    if connection.dialect.name == "sqlite" and row.others_behind:
        connection.execute(STEP_FORWARD, {"user": call.user})
    return call


_OVERLOOKED = """
    WITH RECURSIVE people (user_key) AS (
        SELECT (SELECT call.user_key FROM deferred_calls AS call {index}
                WHERE call.status = 'queued' AND call.behind
                ORDER BY call.user_key LIMIT 1)
        UNION ALL
        SELECT (SELECT call.user_key FROM deferred_calls AS call {index}
                WHERE call.status = 'queued' AND call.behind AND call.user_key > people.user_key
                ORDER BY call.user_key LIMIT 1)
        FROM people WHERE people.user_key IS NOT NULL
    ), first (id) AS (
        SELECT (SELECT call.id FROM deferred_calls AS call {index}
                WHERE call.user_key = people.user_key AND call.status = 'queued' AND call.behind
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
OVERLOOKED = {
    # SQLite tells indexes apart by their statistics, and has none of one that was empty when it looked.
    dialect: text(_OVERLOOKED.format(index=index)).bindparams(bindparam("now", type_=calls.c.runs_after.type))
    for dialect, index in {"sqlite": "INDEXED BY ix_deferred_calls_behind", "postgresql": ""}.items()
}
"""Goes from person to person through the index of those who have calls behind: however many each has."""
CALL_UP = (
    update(calls)
    .where(calls.c.id.in_(bind("calls", calls.c.id, expanding=True)), status_is(calls, "queued"))
    .values(behind=literal_column("false"))
)


def call_up(connection: Connection, now: datetime) -> int:
    """Of each person's calls that stand behind nothing any more, the first can be claimed; returns how many."""
    overlooked = list(connection.execute(OVERLOOKED[connection.dialect.name], {"now": now}).scalars())
    if not overlooked:
        return 0
    announce(connection)
    return connection.execute(CALL_UP, {"calls": overlooked}).rowcount


_held = (
    calls.c.id == bind("call", calls.c.id),
    calls.c.claim == bind("held_claim", calls.c.claim),
    status_is(calls, "running"),
)
EXTEND = update(calls).where(*_held).values(runs_after=bind("until", calls.c.runs_after))


def extend(connection: Connection, call_id: str, claim: int, lease_until: datetime) -> bool:
    """False when the claim is lost. One statement."""
    return _changed(connection, EXTEND, {"call": call_id, "held_claim": claim, "until": lease_until})


# --- steps -----------------------------------------------------------------------------------------

STEPS = select(call_steps).where(call_steps.c.call_id == bind("call", call_steps.c.call_id))
STEPS = STEPS.order_by(call_steps.c.number)


def steps_of(connection: Connection, call_id: str) -> list[Step]:
    """What is recorded of a call, in order."""
    seal = seal_of(connection)
    steps = []
    for row in connection.execute(STEPS, {"call": call_id}):
        result = row.result and json.loads(seal.open(row.result, bound_to(call_id, row.number)).reveal())
        steps.append(Step(row.number, row.digest, row.is_write, row.first_sent_at, result))
    return steps


def bound_to(call_id: str, number: int) -> str:
    return f"call_steps:result:{call_id}:{number}"


def _step(**values: Any) -> Any:
    """Inserts a step if the claim still holds, and keeps it held until the transaction ends."""
    names = {"call_id": calls.c.id, **values}
    chosen = select(*names.values()).where(*_held).with_for_update()
    return insert(call_steps).from_select(list(names), chosen)


_result = _step(
    number=bind("number", call_steps.c.number),
    digest=bind("digest", call_steps.c.digest),
    is_write=cast(bind("is_write", call_steps.c.is_write), Boolean),
    first_sent_at=bind("first_sent_at", call_steps.c.first_sent_at),
    result=bind("result", call_steps.c.result),
)
RECORD_RESULT = _result.on_conflict_do_update(
    index_elements=[call_steps.c.call_id, call_steps.c.number],
    set_={
        "digest": _result.excluded.digest,
        "is_write": _result.excluded.is_write,
        "first_sent_at": func.coalesce(call_steps.c.first_sent_at, _result.excluded.first_sent_at),
        "result": func.coalesce(_result.excluded.result, call_steps.c.result),
    },
).returning(call_steps.c.number)
HELD = select(calls.c.id).where(*_held).with_for_update()
FORGET_BEYOND = delete(call_steps).where(
    call_steps.c.call_id == bind("call", call_steps.c.call_id),
    call_steps.c.number >= bind("count", call_steps.c.number),
    call_steps.c.first_sent_at.is_(None),
)


def record_results(connection: Connection, call_id: str, claim: int, steps: Sequence[Step]) -> bool:
    """Records these steps, which are all that the call has done; False, and nothing, when the claim is lost.

    Steps beyond them are forgotten (a deploy has changed the command, and it was begun anew), except writes that
    were sent.
    """
    held = {"call": call_id, "held_claim": claim}
    if connection.execute(HELD, held).first() is None:
        return False
    seal = seal_of(connection)
    for step in steps:
        sealed = None
        if step.result is not None:
            text_ = json.dumps(step.result, ensure_ascii=False, separators=(",", ":"))
            sealed = seal.seal(Secret(text_), bound_to(call_id, step.number))
        values = {
            "number": step.number,
            "digest": step.digest,
            "is_write": step.write,
            "first_sent_at": step.first_sent_at,
            "result": sealed,
        }
        connection.execute(RECORD_RESULT, held | values)
    connection.execute(FORGET_BEYOND, {"call": call_id, "count": len(steps)})
    return True


_sending = _step(
    number=bind("number", call_steps.c.number),
    digest=bind("digest", call_steps.c.digest),
    is_write=literal_column("true"),
    first_sent_at=bind("now", call_steps.c.first_sent_at),
)
_unsent = call_steps.c.first_sent_at.is_(None)
RECORD_SENDING = _sending.on_conflict_do_update(
    index_elements=[call_steps.c.call_id, call_steps.c.number],
    set_={
        "digest": case((_unsent, _sending.excluded.digest), else_=call_steps.c.digest),
        "is_write": literal_column("true"),
        "first_sent_at": func.coalesce(call_steps.c.first_sent_at, _sending.excluded.first_sent_at),
    },
).returning(call_steps.c.first_sent_at)


def record_sending(
    connection: Connection, call_id: str, claim: int, number: int, digest: str, now: datetime
) -> datetime | None:
    """Notes that a write leaves now, before it does. Returns when it first left; None when the claim is lost."""
    values = {"call": call_id, "held_claim": claim, "number": number, "digest": digest, "now": now}
    first_sent_at: datetime | None = connection.execute(RECORD_SENDING, values).scalar()
    return first_sent_at


FORGET_SENDING = delete(call_steps).where(
    call_steps.c.call_id == bind("call", call_steps.c.call_id),
    call_steps.c.number == bind("number", call_steps.c.number),
    call_steps.c.result.is_(None),
    exists().where(*_held),
)


def forget_sending(connection: Connection, call_id: str, claim: int, number: int) -> bool:
    """The write was certainly not carried out: it counts as never sent."""
    return _changed(connection, FORGET_SENDING, {"call": call_id, "held_claim": claim, "number": number})


# --- status ----------------------------------------------------------------------------------------

_free = {"worker": null()}
_audited = (
    calls.c.id,
    calls.c.user_key,
    calls.c.command,
    calls.c.asked_at,
    calls.c.attempts,
    calls.c.consents,
)


def _entry(action: str, row: Row[Any], now: datetime, **detail: str | int | list[str] | None) -> audit.Entry:
    """What the audit log keeps of a call beyond its row."""
    subject = ("call", row.id)
    return audit.entry(action, user=row.user_key, subject=subject, now=now, command=row.command, **detail)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


SUSPEND = (
    update(calls)
    .where(*_held)
    .values(
        status=literal_column("'suspended'"),
        waits_for=bind("reason", calls.c.waits_for),
        needs=bind("lacking", calls.c.needs),
        request_id=bind("request", calls.c.request_id),
        suspended_at=bind("now", calls.c.suspended_at),
        runs_after=bind("again", calls.c.runs_after),
        attempts=literal_column("0"),
        first_failed_at=null(),
        interim_at=null(),
        **_free,
    )
    .returning(*_audited)
)
SUSPEND_AGAIN = SUSPEND.values(attempts=calls.c.attempts)


def suspend(
    connection: Connection,
    call_id: str,
    claim: int,
    waits_for: WaitsFor,
    needs: Requirement,
    request_id: str | None,
    now: datetime,
    *,
    again: datetime | None = None,
) -> bool:
    """running → suspended; False when the claim is lost. Its failures and attempts count anew from here.

    With `again` it is the same wait as before, its attempts count on, and it is not worth another one until then.
    """
    values = {
        "call": call_id,
        "held_claim": claim,
        "reason": waits_for.value,
        "lacking": needs,
        "request": request_id,
        "now": now,
        "again": again or now,
    }
    row = connection.execute(SUSPEND_AGAIN if again else SUSPEND, values).one_or_none()
    if row is not None and not _is_retried(row):
        detail = {"waits_for": waits_for.value, "needs": sorted(named(needs)), "request": request_id}
        entry = _entry("call_suspended", row, now, **detail, asked_at=_iso(row.asked_at))
        audit.write_all(connection, [entry])
    return row is not None


def _is_retried(row: Row[Any]) -> bool:
    """Whether the wait is an old one that goes on after one more try: its attempts count on (see `suspend`)."""
    return bool(row.attempts > 1)


REQUEUE = (
    update(calls)
    .where(*_held)
    .values(
        status=literal_column("'queued'"),
        runs_after=bind("at", calls.c.runs_after),
        first_failed_at=func.coalesce(calls.c.first_failed_at, bind("failed_at", calls.c.first_failed_at)),
        **_free,
    )
)


def requeue(
    connection: Connection, call_id: str, claim: int, runs_after: datetime, first_failed_at: datetime | None
) -> bool:
    """running → queued; a first failure that is known already is kept. Whoever is woken early looks again later."""
    announce(connection)
    values = {"call": call_id, "held_claim": claim, "at": runs_after, "failed_at": first_failed_at}
    return _changed(connection, REQUEUE, values)


_retried = (
    calls.c.user_key == bind("user", calls.c.user_key),
    status_is(calls, "queued"),
    calls.c.first_failed_at.is_not(None),
)
_asked = tuple_(calls.c.asked_at, calls.c.id)
_asked_this = tuple_(bind("asked", calls.c.asked_at), bind("call", calls.c.id))
RETRIED_BEFORE = select(func.max(calls.c.runs_after)).where(*_retried, _asked < _asked_this)
LINE_UP = (
    update(calls)
    .where(
        *_retried,
        _asked > _asked_this,
        calls.c.runs_after > bind("now", calls.c.runs_after),
        calls.c.runs_after < bind("at", calls.c.runs_after),
    )
    .values(runs_after=bind("at", calls.c.runs_after))
)


def line_up(connection: Connection, call: DeferredCall, at: datetime, now: datetime) -> datetime:
    """When a call that has failed is tried again: with what its person asked before it and has failed too, so that
    they are answered in the order asked. What was asked after it, and is to be tried before it, waits for it; but
    not what is due already, so that a call that goes on failing holds up nothing else.
    """
    values = {"user": call.user, "asked": call.asked_at, "call": call.id}
    before: datetime | None = connection.execute(RETRIED_BEFORE, values).scalar()
    at = max(at, before or at)
    connection.execute(LINE_UP, values | {"at": at, "now": now})
    return at


_end = {
    "status": bind("ending", calls.c.status),
    "outcome": bind("how", calls.c.outcome),
    "settled_at": bind("now", calls.c.settled_at),
    "waits_for": null(),
    **_free,
}
_this = calls.c.id == bind("call", calls.c.id)
SETTLE = update(calls).where(*_held).values(_end).returning(*_audited)
WITHDRAW = (
    update(calls)
    .where(_this, status_in(calls, "queued", "suspended"))
    .values(_end)
    .returning(*_audited, calls.c.needs)
)
ERASE_RESULTS = (
    update(call_steps)
    .where(call_steps.c.call_id == bind("call", call_steps.c.call_id), call_steps.c.result.is_not(None))
    .values(result=null())
)


def settle(
    connection: Connection, call_id: str, claim: int, status: CallStatus, outcome: str, now: datetime
) -> bool:
    """running → an end; False when the claim is lost. Its results are erased."""
    assert CallStatus.RUNNING in calls_that_may_become(status)
    values = {"call": call_id, "held_claim": claim, "ending": status.value, "how": outcome, "now": now}
    return _ended(connection, SETTLE, values) is not None


def cancel(connection: Connection, call_id: str, outcome: str, now: datetime) -> bool:
    """queued or suspended → cancelled."""
    values = {"call": call_id, "ending": "cancelled", "how": outcome, "now": now}
    return _withdrawn(connection, values)


def expire(connection: Connection, call_id: str, now: datetime) -> bool:
    """queued or suspended → expired."""
    return _withdrawn(connection, {"call": call_id, "ending": "expired", "how": "expired", "now": now})


def _withdrawn(connection: Connection, values: dict[str, Any]) -> bool:
    row = _ended(connection, WITHDRAW, values)
    if row is not None:
        scope_waits.waits_no_longer(connection, row.user_key, row.needs, values["now"])
    return row is not None


def _ended(connection: Connection, statement: Any, values: dict[str, Any]) -> Row[Any] | None:
    row = connection.execute(statement, values).one_or_none()
    if row is None:
        return None
    connection.execute(ERASE_RESULTS, {"call": row.id})
    detail = {"outcome": values["how"], "asked_at": _iso(row.asked_at)}
    entry = _entry(f"call_{values['ending']}", row, values["now"], **detail)
    audit.write_all(connection, [entry])
    return row


_awake = {
    "status": literal_column("'queued'"),
    "waits_for": null(),
    "runs_after": bind("now", calls.c.runs_after),
}
RELEASE = (
    update(calls)
    .where(calls.c.id.in_(bind("calls", calls.c.id, expanding=True)), status_is(calls, "suspended"))
    .values(
        consents=calls.c.consents + bind("more", calls.c.consents),
        behind=bind("in_line", calls.c.behind),
        **_awake,
    )
    .returning(*_audited)
)


def release(connection: Connection, call_ids: Sequence[str], now: datetime, *, consents: int = 0) -> int:
    """suspended → queued; returns how many."""
    if not call_ids:
        return 0
    announce(connection)
    in_line = len(call_ids) > 1
    values = {"calls": list(call_ids), "more": consents, "now": now, "in_line": in_line}
    released = connection.execute(RELEASE, values).all()
    entries = [
        _entry("call_released", row, now, consents=row.consents or None)
        for row in released
        if not row.attempts
    ]
    audit.write_all(connection, entries)
    if in_line:
        call_up(connection, now)
    return len(released)


CONFIRM = (
    update(calls)
    .where(_this, status_is(calls, "suspended"), calls.c.waits_for == literal_column("'confirmation'"))
    .values(confirmed=literal_column("true"), behind=literal_column("false"), **_awake)
    .returning(*_audited)
)


def confirm(connection: Connection, call_id: str, now: datetime) -> bool:
    """A suspended call that waits for confirmation → queued, and confirmed."""
    announce(connection)
    row = connection.execute(CONFIRM, {"call": call_id, "now": now}).one_or_none()
    if row is not None:
        audit.write_all(connection, [_entry("call_confirmed", row, now)])
    return row is not None


CHANGE_WAIT = (
    update(calls)
    .where(_this, status_is(calls, "suspended"))
    .values(waits_for=bind("reason", calls.c.waits_for), request_id=bind("request", calls.c.request_id))
    .returning(*_audited)
)


def change_wait(
    connection: Connection, call_id: str, waits_for: WaitsFor, request_id: str | None, now: datetime
) -> bool:
    """A suspended call waits for something else from now on."""
    values = {"call": call_id, "reason": waits_for.value, "request": request_id}
    row = connection.execute(CHANGE_WAIT, values).one_or_none()
    if row is not None:
        entry = _entry("call_waits_otherwise", row, now, waits_for=waits_for.value, request=request_id)
        audit.write_all(connection, [entry])
    return row is not None


MARK_INTERIM = (
    update(calls)
    .where(
        _this,
        status_in(calls, "queued", "running"),
        calls.c.first_failed_at.is_not(None),
        calls.c.interim_at.is_(None),
    )
    .values(interim_at=bind("now", calls.c.interim_at))
)


def mark_interim(connection: Connection, call_id: str, now: datetime) -> bool:
    """True for the one who is to say that the call is being retried."""
    return _changed(connection, MARK_INTERIM, {"call": call_id, "now": now})


# --- looking ---------------------------------------------------------------------------------------

_select = select(*COLUMNS)
_in_order = (calls.c.asked_at, calls.c.id)
_of_user = calls.c.user_key == bind("user", calls.c.user_key)
GET = _select.where(_this)
SUSPENDED_OF = _select.where(_of_user, status_is(calls, "suspended")).order_by(*_in_order)
QUEUED_OF = _select.where(_of_user, status_is(calls, "queued")).order_by(*_in_order)
WAITING_FOR = (
    _select.join(people, people.c.user_key == calls.c.user_key)
    .where(
        status_is(calls, "suspended"),
        calls.c.waits_for == bind("reason", calls.c.waits_for),
        people.c.platform == bind("platform", people.c.platform),
        people.c.app_id == bind("app_id", people.c.app_id),
    )
    .order_by(*_in_order)
    .limit(LIMIT)
)
OVERDUE = (
    _select.where(
        status_in(calls, "queued", "suspended"), calls.c.expires_at <= bind("now", calls.c.expires_at)
    )
    .order_by(calls.c.expires_at)
    .limit(LIMIT)
)
DUE_FOR_INTERIM = (
    _select.where(
        calls.c.settled_at.is_(None),
        calls.c.first_failed_at.is_not(None),
        calls.c.interim_at.is_(None),
        calls.c.first_failed_at <= bind("before", calls.c.first_failed_at),
    )
    .order_by(calls.c.first_failed_at)
    .limit(LIMIT)
)
BY_MESSAGE = _select.join(people, people.c.user_key == calls.c.user_key).where(
    calls.c.message_id == bind("message_id", calls.c.message_id),
    people.c.platform == bind("platform", people.c.platform),
    people.c.app_id == bind("app_id", people.c.app_id),
)


def _all(connection: Connection, statement: Any, values: dict[str, Any]) -> list[DeferredCall]:
    return [_call(row) for row in connection.execute(statement, values)]


def get(connection: Connection, call_id: str) -> DeferredCall | None:
    return next(iter(_all(connection, GET, {"call": call_id})), None)


def suspended_of(connection: Connection, user: UserKey) -> list[DeferredCall]:
    """What of a person's is suspended, in the order asked."""
    return _all(connection, SUSPENDED_OF, {"user": user})


def waiting_of(connection: Connection, user: UserKey) -> list[DeferredCall]:
    """What of a person's is queued or suspended, in the order asked."""
    found = suspended_of(connection, user) + _all(connection, QUEUED_OF, {"user": user})
    return sorted(found, key=lambda call: (call.asked_at, call.id))


def waiting_for(
    connection: Connection, waits_for: WaitsFor, platform: str, app_id: str, limit: int
) -> list[DeferredCall]:
    values = {"reason": waits_for.value, "platform": platform, "app_id": app_id, "limit": limit}
    return _all(connection, WAITING_FOR, values)


def overdue(connection: Connection, now: datetime, limit: int) -> list[DeferredCall]:
    """Queued or suspended calls whose time is up."""
    return _all(connection, OVERDUE, {"now": now, "limit": limit})


def due_for_interim(connection: Connection, failed_before: datetime, limit: int) -> list[DeferredCall]:
    """Calls that first failed so long ago, are not answered, and whose asker has not been told."""
    return _all(connection, DUE_FOR_INTERIM, {"before": failed_before, "limit": limit})


def find_by_message(
    connection: Connection, platform: str, app_id: str, message_id: str
) -> DeferredCall | None:
    values = {"message_id": message_id, "platform": platform, "app_id": app_id}
    return next(iter(_all(connection, BY_MESSAGE, values)), None)


PRUNE = delete(calls).where(
    calls.c.id.in_(
        select(calls.c.id)
        .where(calls.c.settled_at.is_not(None), calls.c.settled_at < bind("before", calls.c.settled_at))
        .order_by(calls.c.settled_at)
        .limit(LIMIT)
    )
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Deletes calls that were settled before, with their steps; returns how many."""
    return connection.execute(PRUNE, {"before": before, "limit": limit}).rowcount
