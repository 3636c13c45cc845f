"""Deferred calls. Their status changes only here and in `claims`, by compare-and-set as `core.lifecycle` allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Row,
    bindparam,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from bot.core.calls import CallStatus, DeferredCall, Wait, WaitsFor
from bot.core.messages import DirectChat, MessageStatus
from bot.core.people import UserKey
from bot.core.scopes import clauses
from bot.core.secrets import Secret
from bot.core.unseen_characters import one_line
from bot.store import audit, call_steps, claims, queue, reactions, scope_waits, sealed
from bot.store.call_rows import COLUMNS, NOT_RECALLED, QUEUE, STILL_HELD, call_of
from bot.store.queue import pruning, settled_before
from bot.store.schema import call_steps as steps
from bot.store.schema import deferred_calls as calls
from bot.store.schema import outgoing_messages as messages
from bot.store.statements import (
    LIMIT,
    bind,
    changed,
    in_each_app,
    literal,
    may_become,
    of_app,
    require_move,
    status_in,
    status_is,
)
from bot.store.transaction import announce, keyring_of

# --- status ----------------------------------------------------------------------------------------

_free = {"worker": null()}
_audited = (
    calls.c.id,
    calls.c.user_key,
    calls.c.command,
    calls.c.asked_at,
    calls.c.attempts,
    calls.c.consents,
    calls.c.message_id,
)
_ended_row = (*_audited, *(each for each in sealed.CALL.parts if each not in _audited))
"""What the audit entry of a call's end needs, and the erasure of what its user wrote."""


def _entry(action: str, row: Row[Any], now: datetime, **detail: audit.Detail | None) -> audit.Entry:
    """Make an audit entry about a call."""
    subject = ("call", row.id)
    entry = audit.entry(action, user=row.user_key, subject=subject, now=now, command=row.command, **detail)
    return replace(entry, message_id=row.message_id)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


SET_TIME_ZONE = update(calls).where(*STILL_HELD).values(time_zone=bind("zone", calls.c.time_zone))


def set_time_zone(connection: Connection, call_id: str, claim: int, time_zone: str) -> None:
    """Record the time zone in which a running call is answered, so that a replay uses the same one."""
    connection.execute(SET_TIME_ZONE, {"call": call_id, "held_claim": claim, "zone": time_zone})


SUSPEND = (
    update(calls)
    .where(*STILL_HELD, NOT_RECALLED)
    .values(
        status=literal(CallStatus.SUSPENDED),
        waits_for=bind("reason", calls.c.waits_for),
        needs=bind("lacking", calls.c.needs),
        run_seal=bind("new_seal", calls.c.run_seal),
        request_id=bind("request", calls.c.request_id),
        suspended_at=bind("now", calls.c.suspended_at),
        runs_after=bind("again", calls.c.runs_after),
        attempts=literal_column("0"),
        takeovers=literal_column("0"),
        first_failed_at=null(),
        interim_at=null(),
        **_free,
    )
    .returning(*_audited)
)
SUSPEND_AGAIN = SUSPEND.values(attempts=calls.c.attempts)


def suspend(connection: Connection, call: DeferredCall, wait: Wait, now: datetime) -> bool:
    """running → suspended; False if the claim is lost or the message was recalled. Resets failures and attempts.

    The call's proof covers `needs`, and whether the user has confirmed the call. A call that is `retried_at` a time
    returns to its previous wait and keeps its attempts.
    """
    proven = {"id": call.id, "confirmed": call.confirmed, "needs": wait.needs}
    values = {
        "call": call.id,
        "held_claim": call.claim,
        "reason": wait.kind.value,
        "lacking": wait.needs,
        "new_seal": sealed.RUN.seal(keyring_of(connection), proven),
        "request": wait.request_id,
        "now": now,
        "again": wait.retried_at or now,
    }
    row = connection.execute(SUSPEND_AGAIN if wait.retried_at else SUSPEND, values).one_or_none()
    if row is not None and not _is_retried(row):
        detail = {
            "waits_for": wait.kind.value,
            "needs": clauses(wait.needs),
            "request": wait.request_id,
        }
        entry = _entry("call_suspended", row, now, **detail, asked_at=_iso(row.asked_at))
        audit.write_all(connection, [entry])
    return row is not None


def _is_retried(row: Row[Any]) -> bool:
    """Whether the call returned to its previous wait with its attempts (see `Wait.retried_at`)."""
    return bool(row.attempts > 1)


REQUEUE = QUEUE.postpone(
    status=literal(CallStatus.QUEUED),
    first_failed_at=func.coalesce(calls.c.first_failed_at, bind("failed_at", calls.c.first_failed_at)),
    **_free,
)
REQUEUE_AFTER_STEP = REQUEUE.values(takeovers=literal_column("0"))


def requeue(
    connection: Connection,
    call: DeferredCall,
    runs_after: datetime,
    first_failed_at: datetime | None,
    *,
    made_step: bool = False,
) -> bool:
    """running → queued, due at `runs_after`. Keeps the time of an earlier first failure.

    `made_step` resets its takeovers, because a call that makes progress does not crash its workers.
    """
    announce(connection)
    values = {"call": call.id, "held_claim": call.claim, "until": runs_after, "failed_at": first_failed_at}
    return changed(connection, REQUEUE_AFTER_STEP if made_step else REQUEUE, values)


MADE_STEP = update(calls).where(*STILL_HELD).values(takeovers=literal_column("0"))


def made_step(connection: Connection, call_id: str, claim: int) -> bool:
    """Reset the takeovers of a running call that has recorded a step."""
    return changed(connection, MADE_STEP, {"call": call_id, "held_claim": claim})


_retried = (
    calls.c.user_key == bind("user", calls.c.user_key),
    status_is(calls, CallStatus.QUEUED),
    calls.c.first_failed_at.is_not(None),
)
_asked = tuple_(calls.c.asked_at, calls.c.id)
_asked_this = tuple_(bind("asked", calls.c.asked_at), bind("call", calls.c.id))
RETRIED_BEFORE = select(func.max(calls.c.runs_after)).where(*_retried, _asked < _asked_this)
DELAY_LATER_CALLS = (
    update(calls)
    .where(
        *_retried,
        _asked > _asked_this,
        calls.c.runs_after > bind("now", calls.c.runs_after),
        calls.c.runs_after < bind("at", calls.c.runs_after),
    )
    .values(runs_after=bind("at", calls.c.runs_after))
)


def schedule_in_order(connection: Connection, call: DeferredCall, at: datetime, now: datetime) -> datetime:
    """Return when to retry a failed call so that the user's failed calls are answered in the order asked.

    A call is not retried before failed calls that were asked earlier. Those that were asked later are postponed to the
    same time, except those already due, so that a call that keeps failing does not delay them forever.
    """
    values = {"user": call.user, "asked": call.asked_at, "call": call.id}
    before: datetime | None = connection.execute(RETRIED_BEFORE, values).scalar()
    at = max(at, before or at)
    connection.execute(DELAY_LATER_CALLS, values | {"at": at, "now": now})
    return at


_end = {
    "status": bind("ending", calls.c.status),
    "outcome": bind("how", calls.c.outcome),
    "settled_at": bind("now", calls.c.settled_at),
    "waits_for": null(),
    "run_seal": null(),
    **_free,
}
_this = calls.c.id == bind("call", calls.c.id)
_waits = may_become(calls, CallStatus.EXPIRED, CallStatus.QUEUED, CallStatus.SUSPENDED)
SETTLE = update(calls).where(*STILL_HELD, NOT_RECALLED).values(_end).returning(*_ended_row)
SETTLE_RECALLED = update(calls).where(*STILL_HELD, ~NOT_RECALLED).values(_end).returning(*_ended_row)
WITHDRAW = update(calls).where(_this, _waits).values(_end).returning(*_ended_row, calls.c.needs)


MAX_REASON_LENGTH = 300


def settle(
    connection: Connection,
    call: DeferredCall,
    status: CallStatus,
    outcome: str,
    now: datetime,
    *,
    reason: str = "",
    repeatable: bool = False,
) -> bool:
    """running → `status`; False if the claim is lost or the message was recalled.

    Erases the call's results and what its user wrote. `reason`: what the platform said, for the audit log. `repeatable`:
    its answer offers to try it again (see `take_arguments`).
    """
    end = _ending(call, status, outcome, now)
    return _ended(connection, SETTLE, end, reason=reason, repeatable=repeatable) is not None


def settle_recalled(
    connection: Connection, call: DeferredCall, status: CallStatus, outcome: str, now: datetime
) -> bool:
    """Like `settle`, for a call whose message was recalled; False also if it was not recalled."""
    return _ended(connection, SETTLE_RECALLED, _ending(call, status, outcome, now)) is not None


def _ending(call: DeferredCall, status: CallStatus, outcome: str, now: datetime) -> dict[str, Any]:
    require_move(CallStatus.RUNNING, status)
    return {"call": call.id, "held_claim": call.claim, "ending": status.value, "how": outcome, "now": now}


def cancel(connection: Connection, call_id: str, outcome: str, now: datetime) -> bool:
    """queued or suspended → cancelled."""
    values = {"call": call_id, "ending": CallStatus.CANCELLED.value, "how": outcome, "now": now}
    return _withdrawn(connection, values)


def expire(connection: Connection, call_id: str, now: datetime) -> bool:
    """queued or suspended → expired. Its answer, or its card, offers to try it again."""
    values = {"call": call_id, "ending": CallStatus.EXPIRED.value, "how": "expired", "now": now}
    return _withdrawn(connection, values, repeatable=True)


RUNNING_BEFORE = (
    select(*COLUMNS)
    .where(
        calls.c.user_key == bind("user", calls.c.user_key),
        literal_column("(deferred_calls.status = 'running' AND NOT deferred_calls.urgent)"),
        NOT_RECALLED,
        tuple_(calls.c.asked_at, calls.c.id)
        < tuple_(bind("asked", calls.c.asked_at), bind("call", calls.c.id)),
    )
    .with_for_update()
)
STOP = (
    update(calls)
    .where(
        *STILL_HELD,
        ~exists().where(steps.c.call_id == calls.c.id, steps.c.first_sent_at.is_not(None)),
    )
    .values(_end)
    .returning(*_ended_row)
)


def stop_running(
    connection: Connection, before: DeferredCall, outcome: str, now: datetime
) -> list[DeferredCall]:
    """running → cancelled, for calls that the user asked before this one, except those that may have sent a write.

    Returns the cancelled calls. Locks the rows first: a worker that is about to send a write either records it under the
    same lock or loses its claim.
    """
    values = {"user": before.user, "asked": before.asked_at, "call": before.id}
    stopped = []
    for call in _all(connection, RUNNING_BEFORE, values):
        end = _ending(call, CallStatus.CANCELLED, outcome, now)
        if _ended(connection, STOP, end) is not None:
            stopped.append(call)
    return stopped


REJECT = (
    update(calls)
    .where(_this, calls.c.claim == bind("held_claim", calls.c.claim), may_become(calls, CallStatus.FAILED))
    .values(_end | {"arguments": literal_column("''"), "seal": null(), "repeat_arguments": null()})
    .returning(calls.c.id)
)


def reject(connection: Connection, call: DeferredCall, now: datetime) -> bool:
    """Fail a call that is not genuine. Nobody is informed, because its row may name any user."""
    values = _ending(call, CallStatus.FAILED, audit.FORGED, now)
    rejected = connection.execute(REJECT, values).first() is not None
    if rejected:
        call_steps.erase(connection, call.id)
        audit.reject(connection, "call", call.id, now)
    return rejected


def _withdrawn(connection: Connection, values: dict[str, Any], *, repeatable: bool = False) -> bool:
    row = _ended(connection, WITHDRAW, values, repeatable=repeatable)
    if row is not None:
        scope_waits.make_cards_due(connection, row.user_key, row.needs, values["now"])
        reactions.make_due(connection, row.id, values["now"])
    return row is not None


def _ended(
    connection: Connection,
    statement: Any,
    values: dict[str, Any],
    *,
    reason: str = "",
    repeatable: bool = False,
) -> Row[Any] | None:
    row = connection.execute(statement, values).one_or_none()
    if row is None:
        return None
    _erase_written(connection, row, repeatable=repeatable)
    detail: dict[str, audit.Detail | None] = {"outcome": values["how"], "asked_at": _iso(row.asked_at)}
    if reason:
        detail |= {"reason": one_line(reason, MAX_REASON_LENGTH), "attempts": row.attempts}
    entry = _entry(f"call_{values['ending']}", row, values["now"], **detail)
    audit.write_all(connection, [entry])
    return row


# --- what users wrote ------------------------------------------------------------------------------

REPEATABLE_FOR = timedelta(days=3)
"""How long after a call expired or failed the button that tries it again works."""

ERASE_WRITTEN = (
    update(calls)
    .where(_this)
    .values(
        arguments=literal_column("''"),
        seal=bind("new_seal", calls.c.seal),
        repeat_arguments=bind("repeat", calls.c.repeat_arguments),
    )
)
ERASE_WITH_STEPS = ERASE_WRITTEN.add_cte(call_steps.ERASE.cte("steps"))


def _erase_written(connection: Connection, row: Row[Any], *, repeatable: bool) -> None:
    """Erase what the user wrote with a settled call, and what followed from it.

    The call is sealed again without it, unless its row was changed in the database. `repeatable`: what followed the
    command is kept encrypted, until `take_arguments` or `erase_written`.
    """
    if not row.arguments and not repeatable:
        call_steps.erase(connection, row.id)
        return
    keyring, seal, kept = keyring_of(connection), None, None
    if row.seal is not None and sealed.CALL.is_genuine(keyring, row._mapping):
        seal = sealed.CALL.seal(keyring, {**row._mapping, "arguments": ""})
        kept = sealed.REPEAT.seal(keyring, row._mapping, Secret(row.arguments)) if repeatable else None
    values = {"call": row.id, "new_seal": seal, "repeat": kept}
    if connection.dialect.name == "postgresql":
        connection.execute(ERASE_WITH_STEPS, values)
    else:
        connection.execute(ERASE_WRITTEN, values)
        call_steps.erase(connection, row.id)


KEPT = select(*sealed.REPEAT.parts).where(_this, calls.c.repeat_arguments.is_not(None)).with_for_update()
DROP_KEPT = update(calls).where(_this).values(repeat_arguments=null())


def take_arguments(connection: Connection, call_id: str) -> str | None:
    """Return what followed the command of a call that is tried again, and erase it. None if it is erased already."""
    row = connection.execute(KEPT, {"call": call_id}).one_or_none()
    if row is None:
        return None
    kept = sealed.REPEAT.open_unless_lost(keyring_of(connection), row._mapping)
    connection.execute(DROP_KEPT, {"call": call_id})
    return None if kept is None else kept.reveal()


_is_old = calls.c.settled_at < bind("before", calls.c.settled_at)
WRITTEN = (
    select(*_ended_row, calls.c.status, calls.c.settled_at)
    .where(
        of_app(calls),
        literal_column(
            "(deferred_calls.settled_at IS NOT NULL "
            "AND (deferred_calls.arguments <> '' OR deferred_calls.repeat_arguments IS NOT NULL))"
        ),
        or_(calls.c.arguments != literal_column("''"), _is_old),
    )
    .limit(LIMIT)
)
OFFERED_AGAIN = frozenset({CallStatus.EXPIRED, CallStatus.FAILED})


def erase_written(connection: Connection, now: datetime, limit: int) -> int:
    """Erase what can no longer be tried again, and what the previous release left behind; return of how many calls."""
    before = now - REPEATABLE_FOR
    found = in_each_app(connection, WRITTEN, {"before": before, "limit": limit})
    for row in found:
        repeatable = row.status in OFFERED_AGAIN and row.settled_at >= before
        if row.arguments:
            _erase_written(connection, row, repeatable=repeatable)
        else:
            connection.execute(DROP_KEPT, {"call": row.id})
    return len(found)


# --- release ---------------------------------------------------------------------------------------

_awake = {
    "status": literal(CallStatus.QUEUED),
    "waits_for": null(),
    "runs_after": bind("now", calls.c.runs_after),
    "released_at": bind("now", calls.c.released_at),
}
RELEASE = (
    update(calls)
    .where(
        calls.c.id.in_(bind("calls", calls.c.id, expanding=True)),
        may_become(calls, CallStatus.QUEUED, CallStatus.SUSPENDED),
    )
    .values(
        consents=calls.c.consents + bind("more", calls.c.consents),
        behind=bind("is_behind", calls.c.behind),
        **_awake,
    )
    .returning(*_audited)
)


def release(connection: Connection, call_ids: Sequence[str], now: datetime, *, consents: int = 0) -> int:
    """suspended → queued; return how many."""
    if not call_ids:
        return 0
    announce(connection)
    is_behind = len(call_ids) > 1
    values = {"calls": list(call_ids), "more": consents, "now": now, "is_behind": is_behind}
    released = connection.execute(RELEASE, values).all()
    entries = [
        _entry("call_released", row, now, consents=row.consents or None)
        for row in released
        if not row.attempts
    ]
    audit.write_all(connection, entries)
    if is_behind:
        claims.promote_missed(connection, now)
    return len(released)


CONFIRM = (
    update(calls)
    .where(
        _this,
        may_become(calls, CallStatus.QUEUED, CallStatus.SUSPENDED),
        calls.c.waits_for == literal(WaitsFor.CONFIRMATION),
    )
    .values(
        confirmed=literal_column("true"),
        needs=literal_column("'[]'"),
        run_seal=bind("confirmed_seal", calls.c.run_seal),
        behind=literal_column("false"),
        **_awake,
    )
    .returning(*_audited)
)


def confirm(connection: Connection, call_id: str, now: datetime) -> bool:
    """suspended → queued, for a call that waits for confirmation, and mark it confirmed."""
    announce(connection)
    seal = sealed.RUN.seal(keyring_of(connection), {"id": call_id, "confirmed": True, "needs": ()})
    row = connection.execute(CONFIRM, {"call": call_id, "now": now, "confirmed_seal": seal}).one_or_none()
    if row is not None:
        audit.write_all(connection, [_entry("call_confirmed", row, now)])
    return row is not None


CHANGE_WAIT = (
    update(calls)
    .where(_this, status_is(calls, CallStatus.SUSPENDED))
    .values(waits_for=bind("reason", calls.c.waits_for), request_id=bind("request", calls.c.request_id))
    .returning(*_audited)
)


def change_wait(
    connection: Connection, call_id: str, waits_for: WaitsFor, request_id: str | None, now: datetime
) -> bool:
    """Change what a suspended call waits for."""
    values = {"call": call_id, "reason": waits_for.value, "request": request_id}
    row = connection.execute(CHANGE_WAIT, values).one_or_none()
    if row is not None:
        entry = _entry("call_waits_otherwise", row, now, waits_for=waits_for.value, request=request_id)
        audit.write_all(connection, [entry])
    return row is not None


FOLLOW = (
    update(calls)
    .where(calls.c.request_id == bind("request", calls.c.request_id), status_is(calls, CallStatus.SUSPENDED))
    .values(request_id=bind("new_request", calls.c.request_id))
)


def follow(connection: Connection, request_id: str, successor: str) -> None:
    """Make the calls that wait for a request wait for its successor."""
    connection.execute(FOLLOW, {"request": request_id, "new_request": successor})


ATTACH = update(calls).where(_this).values(request_id=bind("new_request", calls.c.request_id))


def attach(connection: Connection, call_id: str, request_id: str) -> None:
    """Record which request's card shows how a call ended."""
    connection.execute(ATTACH, {"call": call_id, "new_request": request_id})


MARK_RECALLED = (
    update(calls)
    .where(_this, calls.c.settled_at.is_(None), NOT_RECALLED)
    .values(recalled_at=bind("now", calls.c.recalled_at))
)


def mark_recalled(connection: Connection, call_id: str, now: datetime) -> bool:
    """Record that the user recalled the message before its call ended."""
    return changed(connection, MARK_RECALLED, {"call": call_id, "now": now})


MARK_INTERIM = (
    update(calls)
    .where(
        _this,
        status_in(calls, CallStatus.QUEUED, CallStatus.RUNNING),
        calls.c.first_failed_at.is_not(None),
        calls.c.interim_at.is_(None),
    )
    .values(interim_at=bind("now", calls.c.interim_at))
)


def mark_interim(connection: Connection, call_id: str, now: datetime) -> bool:
    """Record that the user is informed of the retries; False if another worker has recorded it."""
    return changed(connection, MARK_INTERIM, {"call": call_id, "now": now})


# --- reading ---------------------------------------------------------------------------------------

_select = select(*COLUMNS)
_in_order = (calls.c.asked_at, calls.c.id)
_of_user = calls.c.user_key == bind("user", calls.c.user_key)
GET = _select.where(_this)
SUSPENDED_OF = _select.where(_of_user, status_is(calls, CallStatus.SUSPENDED)).order_by(*_in_order)
QUEUED_OF = _select.where(_of_user, status_is(calls, CallStatus.QUEUED)).order_by(*_in_order)
_waiting = [
    select(calls.c.id, calls.c.asked_at).where(_of_user, status_is(calls, status))
    for status in (CallStatus.SUSPENDED, CallStatus.QUEUED)
]
_ids_waiting = union_all(*_waiting).subquery()
COUNT_WAITING = select(func.count()).select_from(_ids_waiting)
WAITING_PAGE = _select.where(
    calls.c.id.in_(
        select(_ids_waiting.c.id)
        .order_by(_ids_waiting.c.asked_at, _ids_waiting.c.id)
        .limit(LIMIT)
        .offset(bindparam("skipped", type_=Integer))
    )
).order_by(*_in_order)
WAITING_FOR = (
    _select.where(
        of_app(calls),
        status_is(calls, CallStatus.SUSPENDED),
        calls.c.waits_for == bind("reason", calls.c.waits_for),
    )
    .order_by(*_in_order)
    .limit(LIMIT)
)
OVERDUE = (
    _select.where(
        of_app(calls),
        _waits,
        calls.c.expires_at <= bind("now", calls.c.expires_at),
    )
    .order_by(calls.c.expires_at)
    .limit(LIMIT)
)
DUE_FOR_INTERIM = (
    _select.where(
        of_app(calls),
        calls.c.settled_at.is_(None),
        calls.c.first_failed_at.is_not(None),
        calls.c.interim_at.is_(None),
        calls.c.first_failed_at <= bind("before", calls.c.first_failed_at),
    )
    .order_by(calls.c.first_failed_at)
    .limit(LIMIT)
)
BY_MESSAGE = _select.where(of_app(calls), calls.c.message_id == bind("message_id", calls.c.message_id))


def _all(connection: Connection, statement: Any, values: dict[str, Any]) -> list[DeferredCall]:
    """Return the genuine calls. Others must not be shown, released or answered."""
    return [call for call in _found(connection, statement, values) if call.genuine]


def _found(connection: Connection, statement: Any, values: dict[str, Any]) -> list[DeferredCall]:
    keyring = keyring_of(connection)
    return [call_of(row, keyring) for row in connection.execute(statement, values)]


def _found_in_each_app(connection: Connection, statement: Any, values: dict[str, Any]) -> list[DeferredCall]:
    keyring = keyring_of(connection)
    return [call_of(row, keyring) for row in in_each_app(connection, statement, values)]


def _all_and_reject(
    connection: Connection, statement: Any, values: dict[str, Any], now: datetime
) -> list[DeferredCall]:
    """Return the genuine calls of each app. Reject the others, so that they do not use up the limit."""
    found = _found_in_each_app(connection, statement, values)
    for call in found:
        if call.genuine is False:
            reject(connection, call, now)
    return [call for call in found if call.genuine]


def get(connection: Connection, call_id: str) -> DeferredCall | None:
    return next(iter(_all(connection, GET, {"call": call_id})), None)


def suspended_of(connection: Connection, user: UserKey) -> list[DeferredCall]:
    """Return a user's suspended calls, in the order asked."""
    return _all(connection, SUSPENDED_OF, {"user": user})


def suspended_for_consent(connection: Connection, user: UserKey) -> list[DeferredCall]:
    """Return a user's suspended calls that wait for that user's consent."""
    return [call for call in suspended_of(connection, user) if call.waits_for is WaitsFor.AUTHORIZATION]


def waiting_of(connection: Connection, user: UserKey) -> list[DeferredCall]:
    """Return a user's queued and suspended calls, in the order asked."""
    found = suspended_of(connection, user) + _all(connection, QUEUED_OF, {"user": user})
    return sorted(found, key=lambda call: (call.asked_at, call.id))


def count_waiting(connection: Connection, user: UserKey) -> int:
    """Return how many of a user's calls are queued or suspended."""
    count: int = connection.execute(COUNT_WAITING, {"user": user}).scalar_one()
    return count


def some_waiting_of(connection: Connection, user: UserKey, *, skipped: int, limit: int) -> list[DeferredCall]:
    """Return a page of `waiting_of`."""
    return _all(connection, WAITING_PAGE, {"user": user, "skipped": skipped, "limit": limit})


def waiting_for(connection: Connection, app: str, waits_for: WaitsFor, limit: int) -> list[DeferredCall]:
    """Return an app's suspended calls with this wait, in the order asked. The caller rejects those not genuine."""
    values = {"own_app": app, "reason": waits_for.value, "limit": limit}
    return _found(connection, WAITING_FOR, values)


def overdue(connection: Connection, now: datetime, limit: int) -> list[DeferredCall]:
    """Return queued and suspended calls that have expired. Reject those that are not genuine."""
    values = {"now": now, "limit": limit}
    return _all_and_reject(connection, OVERDUE, values, now)


def due_for_interim(connection: Connection, failed_before: datetime, limit: int) -> list[DeferredCall]:
    """Return unsettled calls that first failed before then and whose user was not informed of the retries.

    The caller rejects those that are not genuine.
    """
    values = {"before": failed_before, "limit": limit}
    return _found_in_each_app(connection, DUE_FOR_INTERIM, values)


def all_by_message(connection: Connection, app: str, message_id: str) -> list[DeferredCall]:
    """Return the calls of a message: several if the user retried it."""
    return _all(connection, BY_MESSAGE, {"own_app": app, "message_id": message_id})


ENDED_WITH = _select.where(
    calls.c.request_id == bind("request", calls.c.request_id),
    calls.c.settled_at.is_not(None),
    calls.c.outcome == bind("how", calls.c.outcome),
).order_by(*_in_order)


def ended_with(connection: Connection, request_id: str, outcome: str) -> list[DeferredCall]:
    """Return the calls that waited for a request and ended with this outcome, in the order asked."""
    return _all(connection, ENDED_WITH, {"request": request_id, "how": outcome})


FIRST_OF_REQUEST = (
    select(calls.c.id, calls.c.message_id)
    .where(calls.c.request_id == bind("request", calls.c.request_id))
    .order_by(calls.c.id)
    .limit(1)
)


def first_of_request(connection: Connection, request_id: str) -> tuple[str, str | None] | None:
    """Return the ids of the first call that has waited for a request, and of its message. They are not authenticated."""
    found = connection.execute(FIRST_OF_REQUEST, {"request": request_id}).one_or_none()
    return None if found is None else (found.id, found.message_id)


ANSWERED_WITH = (
    select(calls.c.id)
    .where(
        calls.c.request_id == bind("request", calls.c.request_id),
        calls.c.chat_id == bind("chat", calls.c.chat_id),
        calls.c.thread_id.is_not_distinct_from(bind("thread", calls.c.thread_id)),
        calls.c.command == bind("name", calls.c.command),
        calls.c.settled_at.is_not(None),
        exists().where(
            messages.c.call_id == calls.c.id,
            messages.c.kind == literal_column("'answer'"),
            status_in(messages, MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.SENT),
        ),
    )
    .order_by(calls.c.settled_at.desc(), calls.c.id.desc())
    .limit(LIMIT)
)


def answered_with(connection: Connection, call: DeferredCall, limit: int) -> list[str]:
    """Return the last answered calls with the same command, chat, topic and request, the latest first."""
    values = {
        "request": call.request_id,
        "chat": call.chat.chat_id,
        "thread": call.chat.thread_id,
        "name": call.command,
        "limit": limit,
    }
    return list(connection.execute(ANSWERED_WITH, values).scalars())


LATEST_IN = (
    _select.where(_of_user, calls.c.chat_kind == bind("kind", calls.c.chat_kind))
    .order_by(calls.c.id.desc())
    .limit(LIMIT)
)


def direct_chat_of(connection: Connection, user: UserKey) -> DirectChat | None:
    """Return the user's direct chat, as of their last call there."""
    found = _all(connection, LATEST_IN, {"user": user, "kind": "direct", "limit": 1})
    return DirectChat(found[0].chat.chat_id, found[0].message_id) if found else None


def latest_group_of(connection: Connection, user: UserKey) -> str | None:
    """Return the group of the user's last call in a group."""
    found = _all(connection, LATEST_IN, {"user": user, "kind": "group", "limit": 1})
    return found[0].chat.chat_id if found else None


PRUNE = pruning(calls, *settled_before(calls), order_by=calls.c.settled_at)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete calls that settled before then, with their steps; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
