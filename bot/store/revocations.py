"""Ended grants that the platform still has to revoke: tried until it is done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, null, select, update

from bot.core.grants import RevocationStatus
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.store import audit, sealed
from bot.store.ids import new_id
from bot.store.schema import revocations
from bot.store.statements import LIMIT, app_of, bind, of_app, status_is
from bot.store.transaction import announce, keyring_of


@dataclass(frozen=True, slots=True)
class Revocation:
    id: str
    user: UserKey
    token: Secret | None
    """None: lost."""
    attempts: int
    """Counts the claims: a worker with an older number has lost it (fencing)."""


ADD = insert(revocations).inline()


def add(connection: Connection, user: UserKey, token: Secret, now: datetime) -> str:
    """Has the token revoked at the platform."""
    revocation = new_id(now)
    values: dict[str, Any] = {
        "id": revocation,
        "user_key": user,
        "status": RevocationStatus.QUEUED.value,
        "attempts": 0,
        "runs_after": now,
        "created_at": now,
    }
    values["token"] = sealed.REVOCATION_TOKEN.seal(keyring_of(connection), values, token)
    connection.execute(ADD, values)
    announce(connection)
    return revocation


_due = (
    select(revocations.c.id)
    .where(
        of_app(revocations),
        status_is(revocations, "queued"),
        revocations.c.runs_after <= bind("now", revocations.c.runs_after),
    )
    .order_by(revocations.c.runs_after)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
CLAIM_DUE = (
    update(revocations)
    .where(revocations.c.id.in_(_due))
    .values(
        worker=bind("new_worker", revocations.c.worker),
        runs_after=bind("lease_until", revocations.c.runs_after),
        attempts=revocations.c.attempts + 1,
    )
    .returning(revocations.c.id, revocations.c.user_key, revocations.c.token, revocations.c.attempts)
)


def claim_due(
    connection: Connection, worker: str, now: datetime, lease_until: datetime, limit: int
) -> list[Revocation]:
    """Takes what is due, for the time of the lease. Revoking twice does no harm."""
    values = {"own_app": app_of(connection), "new_worker": worker, "now": now, "lease_until": lease_until}
    values |= {"limit": limit}
    seal = keyring_of(connection)
    return [
        Revocation(
            row.id, row.user_key, sealed.REVOCATION_TOKEN.open_unless_lost(seal, row._mapping), row.attempts
        )
        for row in connection.execute(CLAIM_DUE, values).all()
    ]


_this = (revocations.c.id == bind("revocation", revocations.c.id), status_is(revocations, "queued"))
SETTLE = (
    update(revocations)
    .where(*_this)
    .values(
        status=bind("ending", revocations.c.status),
        reason=bind("why", revocations.c.reason),
        settled_at=bind("now", revocations.c.settled_at),
        token=null(),
    )
    .returning(revocations.c.user_key)
)


def done(connection: Connection, revocation: str, now: datetime) -> bool:
    """The platform has revoked it, or does not know it. The token is erased."""
    return _settle(connection, revocation, RevocationStatus.DONE, None, now)


def failed(connection: Connection, revocation: str, reason: str, now: datetime) -> bool:
    """The platform will never revoke it. The token is erased."""
    return _settle(connection, revocation, RevocationStatus.FAILED, reason, now)


def _settle(
    connection: Connection, revocation: str, status: RevocationStatus, reason: str | None, now: datetime
) -> bool:
    values = {"revocation": revocation, "ending": status.value, "why": reason, "now": now}
    user = connection.execute(SETTLE, values).scalar()
    if user is not None:
        subject = ("revocation", revocation)
        audit.write(
            connection, f"revocation_{status.value}", user=user, subject=subject, now=now, reason=reason
        )
    return user is not None


POSTPONE = (
    update(revocations)
    .where(*_this, revocations.c.attempts == bind("held", revocations.c.attempts))
    .values(runs_after=bind("until", revocations.c.runs_after))
)


def postpone(connection: Connection, claimed: Revocation, until: datetime) -> bool:
    """Tried again later; False when another worker has it by now."""
    values = {"revocation": claimed.id, "held": claimed.attempts, "until": until}
    return bool(connection.execute(POSTPONE, values).rowcount)


PRUNE = delete(revocations).where(
    revocations.c.id.in_(
        select(revocations.c.id)
        .where(
            of_app(revocations),
            revocations.c.settled_at.is_not(None),
            revocations.c.settled_at < bind("before", revocations.c.settled_at),
        )
        .order_by(revocations.c.settled_at)
        .limit(LIMIT)
    )
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    values = {"own_app": app_of(connection), "before": before, "limit": limit}
    return connection.execute(PRUNE, values).rowcount
