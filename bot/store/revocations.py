"""Tokens of ended grants that the platform still has to revoke. Each revocation is retried until it succeeds or fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, null, update

from bot.core.grants import RevocationStatus
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.store import audit, queue, sealed
from bot.store.ids import new_id
from bot.store.queue import Claim, Queue, pruning, settled_before
from bot.store.schema import revocations
from bot.store.statements import bind, changed, is_live, may_become
from bot.store.transaction import keyring_of


@dataclass(frozen=True, slots=True)
class Revocation:
    id: str
    user: UserKey
    token: Secret | None
    """None if the stored token cannot be opened."""
    attempts: int
    """Counts the claims: a worker with an older number has lost this one."""


ADD = insert(revocations).inline()


def add(connection: Connection, user: UserKey, token: Secret, now: datetime) -> str:
    """Queue the revocation of a token; return its id."""
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
    return revocation


_is_queued = is_live(revocations, RevocationStatus)
QUEUE = Queue(
    table=revocations,
    this=revocations.c.id == bind("revocation", revocations.c.id),
    is_open=[_is_queued],
    is_claimed=[_is_queued],
    due_at=revocations.c.runs_after,
    worker=revocations.c.worker,
    number=revocations.c.attempts,
)
CLAIM_DUE = QUEUE.claim_due(
    revocations.c.id, revocations.c.user_key, revocations.c.token, revocations.c.attempts
)


def claim_due(connection: Connection, claim: Claim, limit: int) -> list[Revocation]:
    """Claim revocations that are due. Revoking a token twice is harmless."""
    keyring = keyring_of(connection)
    return [
        Revocation(
            row.id,
            row.user_key,
            sealed.REVOCATION_TOKEN.open_unless_lost(keyring, row._mapping),
            row.attempts,
        )
        for row in queue.claim_due(connection, CLAIM_DUE, claim, limit)
    ]


SETTLE = {
    status: update(revocations)
    .where(QUEUE.this, may_become(revocations, status))
    .values(
        status=status.value,
        reason=bind("why", revocations.c.reason),
        settled_at=bind("now", revocations.c.settled_at),
        token=null(),
    )
    .returning(revocations.c.user_key)
    for status in (RevocationStatus.DONE, RevocationStatus.FAILED)
}


def done(connection: Connection, revocation: str, now: datetime) -> bool:
    """queued → done: the platform has revoked the token or does not know it. Erases the token; False if not queued."""
    return _settle(connection, revocation, RevocationStatus.DONE, None, now)


def failed(connection: Connection, revocation: str, reason: str, now: datetime) -> bool:
    """queued → failed: the platform will never revoke the token. Erases the token; False if not queued."""
    return _settle(connection, revocation, RevocationStatus.FAILED, reason, now)


def _settle(
    connection: Connection, revocation: str, status: RevocationStatus, reason: str | None, now: datetime
) -> bool:
    values = {"revocation": revocation, "why": reason, "now": now}
    user = connection.execute(SETTLE[status], values).scalar()
    if user is not None:
        subject = ("revocation", revocation)
        audit.write(connection, f"revocation_{status}", user=user, subject=subject, now=now, reason=reason)
    return user is not None


POSTPONE = QUEUE.postpone()


def postpone(connection: Connection, claimed: Revocation, until: datetime) -> bool:
    """Make a claimed revocation due again at `until`; False if another worker has claimed it."""
    values = {"revocation": claimed.id, "held_claim": claimed.attempts, "until": until}
    return changed(connection, POSTPONE, values)


PRUNE = pruning(revocations, *settled_before(revocations), order_by=revocations.c.settled_at)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete revocations that settled before; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
