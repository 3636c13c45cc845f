"""Attempts: openings of a request's link, and sign-ins that came back.

Each has a one-shot state. The state of an opening is consumed by compare-and-set, that of a sign-in by inserting its row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, literal_column, null, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.people import UserKey
from bot.core.requests import Attempt, AttemptKind, AttemptStatus
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.store import audit, queue, requests, sealed
from bot.store.keyring import Keyring
from bot.store.queue import BEFORE, UNTIL, Claim, Queue, pruning
from bot.store.schema import authorization_attempts
from bot.store.statements import (
    LIMIT,
    bind,
    changed,
    in_each_app,
    literal,
    may_become,
    of_app_or_unknown,
    require_move,
    status_is,
)
from bot.store.transaction import keyring_of

attempts = authorization_attempts


@dataclass(frozen=True, slots=True)
class NewAttempt:
    id: str
    kind: AttemptKind
    request_id: str | None
    user: UserKey | None
    state_digest: str
    verifier: Secret | None
    scopes: ScopeSet
    redirect_uri: str | None
    expires_at: datetime


COLUMNS = (
    attempts.c.id,
    attempts.c.kind,
    attempts.c.request_id,
    attempts.c.user_key,
    attempts.c.scopes,
    attempts.c.redirect_uri,
    attempts.c.verifier,
    attempts.c.expires_at,
    attempts.c.code,
    attempts.c.state_digest,
    attempts.c.browser_digest,
    attempts.c.seal,
)


def _genuine(connection: Connection, row: Row[Any], now: datetime) -> Row[Any] | None:
    """Return a claimed attempt if it is genuine. Otherwise end it, so that it counts as unknown.

    Raises `CannotOpenSecret` if only another replica knows.
    """
    if sealed.ATTEMPT.check_genuine(keyring_of(connection), row._mapping):
        return row
    values = {"attempt": row.id, "ending": AttemptStatus.FAILED.value, "how": audit.FORGED}
    connection.execute(FINISH, values)
    audit.reject(connection, "attempt", row.id, now)
    return None


def _attempt(row: Row[Any], keyring: Keyring) -> tuple[Attempt, Secret | None]:
    verifier = sealed.VERIFIER.open_unless_lost(keyring, row._mapping)
    code = sealed.CODE.open_unless_lost(keyring, row._mapping)
    found = Attempt(
        id=row.id,
        kind=AttemptKind(row.kind),
        request_id=row.request_id,
        user=row.user_key,
        scopes=row.scopes,
        redirect_uri=row.redirect_uri,
        verifier=verifier,
        expires_at=row.expires_at,
    )
    return found, code


DAY = timedelta(days=1)
BEGIN = insert(attempts).inline()
_is_live = status_is(attempts, AttemptStatus.LIVE) & (
    attempts.c.expires_at > bind("now", attempts.c.expires_at)
)
_is_recent = attempts.c.created_at > bind("since", attempts.c.created_at)
OPENINGS = select(
    func.count().filter(_is_live).label("live"), func.count().filter(_is_recent).label("today")
).where(attempts.c.request_id == bind("request", attempts.c.request_id))


@dataclass(frozen=True, slots=True)
class Openings:
    """How many times a request's link was opened."""

    live: int
    """Openings from which the browser has not come back."""
    today: int
    """Openings within a day, in any state."""


def openings(connection: Connection, request: str, now: datetime) -> Openings:
    values = {"request": request, "now": now, "since": now - DAY}
    return Openings(*connection.execute(OPENINGS, values).one())


WAS_OPENED = (
    select(attempts.c.id)
    .where(
        attempts.c.request_id == bind("request", attempts.c.request_id),
        attempts.c.scopes == bind("asked", attempts.c.scopes),
    )
    .limit(1)
)


def was_opened(connection: Connection, request: str, scopes: ScopeSet) -> bool:
    """Return whether a request's link was opened while it asked for exactly these scopes."""
    return connection.execute(WAS_OPENED, {"request": request, "asked": scopes}).scalar() is not None


def begin(
    connection: Connection, attempt: NewAttempt, *, now: datetime, limit: int, limit_a_day: int
) -> Openings | None:
    """Record an opening of a link and return None.

    Records nothing and returns the existing openings if `limit` of the request's are live, or if there were
    `limit_a_day` within a day.
    """
    request = attempt.request_id
    assert request is not None
    requests.stamp_opened(connection, request, now)
    before = openings(connection, request, now)
    if before.live >= limit or before.today >= limit_a_day:
        return before
    assert attempt.user is not None
    connection.execute(BEGIN, _values(connection, attempt, attempt.user.app, now))
    return None


def _values(connection: Connection, attempt: NewAttempt, app: str, now: datetime) -> dict[str, Any]:
    """Return the row of a live attempt, with its seals."""
    keyring = keyring_of(connection)
    values: dict[str, Any] = {
        "id": attempt.id,
        "app": app,
        "kind": attempt.kind.value,
        "request_id": attempt.request_id,
        "user_key": attempt.user,
        "state_digest": attempt.state_digest,
        "browser_digest": None,
        "scopes": attempt.scopes,
        "redirect_uri": attempt.redirect_uri,
        "status": AttemptStatus.LIVE.value,
        "created_at": now,
        "expires_at": attempt.expires_at,
    }
    return values | {
        "verifier": sealed.VERIFIER.seal_if_any(keyring, values, attempt.verifier),
        "seal": sealed.ATTEMPT.seal(keyring, values),
    }


_by_state = and_(
    of_app_or_unknown(attempts), attempts.c.state_digest == bind("state", attempts.c.state_digest)
)
_is_kind = {kind: attempts.c.kind == literal(kind) for kind in AttemptKind}
CONSUME = (
    update(attempts)
    .where(
        _by_state,
        _is_kind[AttemptKind.AUTHORIZATION],
        may_become(attempts, AttemptStatus.REDEEMING),
        attempts.c.expires_at > bind("now", attempts.c.expires_at),
    )
    .values(
        status=literal(AttemptStatus.REDEEMING),
        worker=bind("new_worker", attempts.c.worker),
        lease_until=bind("lease_until", attempts.c.lease_until),
        consumed_at=bind("now", attempts.c.consumed_at),
        code=bind("sealed_code", attempts.c.code),
    )
    .returning(*COLUMNS)
)


def consume(
    connection: Connection, state_digest: str, claim: Claim, *, code: Secret | None
) -> Attempt | None:
    """live → redeeming, and store the sealed code. Return None if the state is unknown, was used or has expired.

    With a code, an open request becomes `redeeming` too, which its card shows.
    """
    keyring = keyring_of(connection)
    sealed_code = sealed.CODE.seal_if_any(keyring, {"state_digest": state_digest}, code)
    values = claim.values | {"state": state_digest, "sealed_code": sealed_code}
    claimed = connection.execute(CONSUME, values).one_or_none()
    row = claimed and _genuine(connection, claimed, claim.now)
    if row is None:
        return None
    if row.request_id is not None and code is not None:
        requests.redeem(connection, row.request_id, claim.now)
    return _attempt(row, keyring)[0]


_sign_in = insert(attempts)
RECORD_SIGN_IN = _sign_in.on_conflict_do_nothing(index_elements=[attempts.c.state_digest]).returning(
    attempts.c.id
)


def record_sign_in(connection: Connection, sign_in: NewAttempt, claim: Claim) -> bool:
    """Record that a sign-in came back; return False if its state was used before. One statement.

    The row makes the state one-shot. Neither verifier nor code is stored: if this worker dies, the browser that could
    have received the session is gone.
    """
    values = _values(connection, sign_in, claim.app, claim.now) | {
        "status": AttemptStatus.REDEEMING.value,
        "verifier": None,
        "consumed_at": claim.now,
        "worker": claim.worker,
        "lease_until": claim.lease_until,
    }
    return connection.execute(RECORD_SIGN_IN, values).one_or_none() is not None


_this = attempts.c.id == bind("attempt", attempts.c.id)
_is_redeeming = status_is(attempts, AttemptStatus.REDEEMING)
FORGET_SIGN_IN = delete(attempts).where(
    _this,
    _is_kind[AttemptKind.SIGN_IN],
    _is_redeeming,
)


def forget_sign_in(connection: Connection, attempt: str) -> None:
    """Delete a sign-in that failed. Its state can be used again, which fails again."""
    connection.execute(FORGET_SIGN_IN, {"attempt": attempt})


_is_forged = attempts.c.outcome.is_not_distinct_from(literal_column(f"'{audit.FORGED}'"))
STATUS_OF = {
    kind: select(attempts.c.status).where(_by_state, is_kind, ~_is_forged)
    for kind, is_kind in _is_kind.items()
}


def consumed_before(
    connection: Connection, app: str, state_digest: str, kind: AttemptKind = AttemptKind.AUTHORIZATION
) -> AttemptStatus | None:
    """Return the status of an attempt whose state cannot be consumed, for the text of a page. LIVE: it came too late."""
    values = {"own_app": app, "state": state_digest}
    status = connection.execute(STATUS_OF[kind], values).scalar()
    return None if status is None else AttemptStatus(status)


REJECT = (
    update(attempts)
    .where(_by_state, attempts.c.rejected_at.is_(None))
    .values(rejected_at=bind("now", attempts.c.rejected_at))
    .returning(attempts.c.id)
)


def reject(connection: Connection, app: str, state_digest: str, reason: str, now: datetime) -> bool:
    """Audit that an unusable state came back; return False if that was audited before, as anyone can repeat it."""
    values = {"own_app": app, "state": state_digest, "now": now}
    rejected = connection.execute(REJECT, values).scalar()
    if rejected is not None:
        subject = ("attempt", rejected)
        audit.write(
            connection, "callback_rejected", user=None, subject=subject, now=now, app=app, reason=reason
        )
    return rejected is not None


_erased = {"code": null(), "verifier": null(), "seal": null(), "worker": null(), "lease_until": null()}
_audited = (attempts.c.id, attempts.c.kind, attempts.c.request_id, attempts.c.user_key)
FINISH = (
    update(attempts)
    .where(_this, _is_redeeming)
    .values(
        status=bind("ending", attempts.c.status),
        outcome=bind("how", attempts.c.outcome),
        **_erased,
    )
    .returning(*_audited)
)


def _entry(status: AttemptStatus, row: Row[Any], now: datetime, **detail: str) -> audit.Entry:
    subject = ("attempt", row.id)
    return audit.entry(
        f"attempt_{status}", user=row.user_key, subject=subject, now=now, **detail, request=row.request_id
    )


def finish(connection: Connection, attempt: str, status: AttemptStatus, outcome: str, now: datetime) -> bool:
    """End an attempt that is being redeemed, and erase its code and verifier.

    A completed attempt has no audit entry, because the grant or the session has one. A failed sign-in has none either:
    anyone can start one, and it is deleted.
    """
    ending = require_move(AttemptStatus.REDEEMING, status)
    values = {"attempt": attempt, "ending": ending, "how": outcome}
    row = connection.execute(FINISH, values).one_or_none()
    if row is not None and row.kind == AttemptKind.AUTHORIZATION and status is not AttemptStatus.COMPLETED:
        how = audit.DECLINED_ON_PAGE if status is AttemptStatus.DENIED else {}
        if outcome == WRONG_PERSON:
            how = audit.TOKEN_DROPPED
        audit.write_all(connection, [_entry(status, row, now, reason=outcome, **how)])
    return row is not None


WRONG_PERSON = "wrong_person"
"""The outcome of an attempt whose token belongs to another user."""

SCOPES_REFUSED = "scopes_refused"
"""The outcome of an attempt whose code the platform did not exchange for the named scopes."""
WAS_REFUSED = (
    select(attempts.c.id)
    .where(
        attempts.c.request_id == bind("request", attempts.c.request_id),
        attempts.c.outcome == literal_column(f"'{SCOPES_REFUSED}'"),
    )
    .limit(1)
)


def scopes_were_refused(connection: Connection, request: str) -> bool:
    """Return whether an earlier attempt of this request ended with that outcome."""
    return connection.execute(WAS_REFUSED, {"request": request}).scalar() is not None


EXTEND = update(attempts).where(_this, _is_redeeming).values({attempts.c.lease_until: UNTIL})


def extend(connection: Connection, attempt: str, lease_until: datetime) -> bool:
    """Extend the lease of an attempt that is still being redeemed. One statement."""
    return changed(connection, EXTEND, {"attempt": attempt, "until": lease_until})


WITHDRAWN = "withdrawn"
WITHDRAW = (
    update(attempts)
    .where(
        attempts.c.user_key == bind("user", attempts.c.user_key),
        may_become(attempts, AttemptStatus.FAILED),
    )
    .values(
        status=literal(AttemptStatus.FAILED),
        outcome=literal_column(f"'{WITHDRAWN}'"),
        **_erased,
    )
    .returning(*_audited)
)
OUTCOME_OF = select(attempts.c.outcome).where(attempts.c.id == bind("attempt", attempts.c.id))


def withdraw(connection: Connection, user: UserKey, now: datetime) -> int:
    """Fail the attempts of a user that are being redeemed, because the user revokes their consent; return how many."""
    withdrawn = connection.execute(WITHDRAW, {"user": user}).all()
    audit.write_all(
        connection, [_entry(AttemptStatus.FAILED, row, now, reason=WITHDRAWN) for row in withdrawn]
    )
    return len(withdrawn)


def is_withdrawn(connection: Connection, attempt: str) -> bool:
    return connection.execute(OUTCOME_OF, {"attempt": attempt}).scalar() == WITHDRAWN


QUEUE = Queue(
    table=attempts,
    this=_this,
    is_open=[_is_redeeming],
    due_at=attempts.c.lease_until,
    lease=attempts.c.lease_until,
    worker=attempts.c.worker,
    of_app=of_app_or_unknown,
)
"""Attempts whose redeeming was interrupted are due when their lease ends."""
TAKE_OVER = QUEUE.claim_due(*COLUMNS)


def stranded(connection: Connection, claim: Claim, limit: int) -> list[tuple[Attempt, Secret | None]]:
    """Claim attempts whose redeeming was interrupted; return them with their codes."""
    keyring = keyring_of(connection)
    claimed = queue.claim_due(connection, TAKE_OVER, claim, limit)
    return [_attempt(row, keyring) for row in claimed if _genuine(connection, row, claim.now) is not None]


# --- expiry and pruning ----------------------------------------------------------------------------

EXPIRE = (
    update(attempts)
    .where(
        attempts.c.id.in_(
            select(attempts.c.id)
            .where(
                of_app_or_unknown(attempts),
                status_is(attempts, AttemptStatus.LIVE),
                # Not the bare column: SQLite would read the index of all expired attempts instead of the live ones.
                func.coalesce(attempts.c.expires_at, attempts.c.created_at)
                <= bind("now", attempts.c.expires_at),
            )
            .limit(LIMIT)
            .with_for_update(skip_locked=True)
        )
    )
    .values(status=literal(AttemptStatus.EXPIRED), verifier=null(), seal=null())
    .returning(*_audited)
)
_expired_before = attempts.c.expires_at < BEFORE
_is_not_redeeming = attempts.c.status != literal(AttemptStatus.REDEEMING)
PRUNE = pruning(attempts, _expired_before, _is_not_redeeming, of_app=of_app_or_unknown)
PRUNE_SIGN_INS = pruning(
    attempts,
    _is_kind[AttemptKind.SIGN_IN],
    _expired_before,
    _is_not_redeeming,
    of_app=of_app_or_unknown,
)


def expire(connection: Connection, now: datetime, limit: int) -> int:
    """live → expired, and erase the verifiers; return how many."""
    expired = in_each_app(connection, EXPIRE, {"now": now, "limit": limit})
    asked = [row for row in expired if row.kind == AttemptKind.AUTHORIZATION]
    audit.write_all(connection, [_entry(AttemptStatus.EXPIRED, row, now) for row in asked])
    return len(expired)


def prune_sign_ins(connection: Connection, before: datetime, limit: int) -> int:
    """Delete sign-ins that expired before; return how many. The audit log keeps those that succeeded."""
    return queue.prune(connection, PRUNE_SIGN_INS, limit, before=before)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete attempts that expired before; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
