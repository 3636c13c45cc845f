"""Grants: what users have authorized, and the tokens. Every change of the tokens increments the generation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, literal_column, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.grants import REVOKED, USE_INTERVAL, Grant, GrantStatus, refresh_window
from bot.core.oauth import TokenSet
from bot.core.people import UserKey
from bot.core.scopes import ScopeSet
from bot.store import audit, granted_scopes, queue, sealed
from bot.store.keyring import Keyring
from bot.store.queue import NOW, Claim, Queue
from bot.store.schema import grants
from bot.store.statements import bind, changed, may_become, status_is
from bot.store.transaction import keyring_of

# --- rows ------------------------------------------------------------------------------------------

COLUMNS = (
    grants.c.user_key,
    grants.c.status,
    grants.c.generation,
    grants.c.access_token,
    grants.c.access_expires_at,
    grants.c.refresh_token,
    grants.c.refresh_expires_at,
    grants.c.scopes,
    grants.c.scopes_ever,
    grants.c.authorized_at,
    grants.c.issued_at,
    grants.c.last_used_at,
    grants.c.refresh_failures,
    grants.c.refresh_after,
    grants.c.refresh_lease_until,
    grants.c.end_reason,
    grants.c.memory_seal,
)


def _grant(row: Row[Any], keyring: Keyring) -> Grant:
    # Without a proof `scopes_ever` does not count. Rows of earlier releases have none.
    is_proven = row.memory_seal is not None and sealed.MEMORY.is_genuine(keyring, row._mapping)
    return Grant(
        user=row.user_key,
        status=GrantStatus(row.status),
        generation=row.generation,
        access_token=sealed.ACCESS_TOKEN.open_unless_lost(keyring, row._mapping),
        access_expires_at=row.access_expires_at,
        refresh_token=sealed.REFRESH_TOKEN.open_unless_lost(keyring, row._mapping),
        refresh_expires_at=row.refresh_expires_at,
        scopes=row.scopes,
        scopes_ever=row.scopes_ever if is_proven else frozenset(),
        authorized_at=row.authorized_at,
        issued_at=row.issued_at,
        last_used_at=row.last_used_at,
        refresh_failures=row.refresh_failures,
        refresh_after=row.refresh_after,
        refresh_lease_until=row.refresh_lease_until,
        end_reason=row.end_reason,
    )


def _tokens(keyring: Keyring, user: UserKey, tokens: TokenSet, now: datetime) -> dict[str, Any]:
    refresh, lifetime, whose = tokens.refresh_token, tokens.refresh_expires_in, {"user_key": user}
    return {
        "access_token": sealed.ACCESS_TOKEN.seal(keyring, whose, tokens.access_token),
        "access_expires_at": now + timedelta(seconds=tokens.expires_in),
        "refresh_token": sealed.REFRESH_TOKEN.seal_if_any(keyring, whose, refresh),
        "refresh_expires_at": now + timedelta(seconds=lifetime) if refresh and lifetime is not None else None,
        "issued_at": now,
    }


def _remembered(keyring: Keyring, user: UserKey, scopes: ScopeSet, ever: ScopeSet) -> dict[str, Any]:
    values = {"scopes": scopes, "scopes_ever": ever}
    return values | {"memory_seal": sealed.MEMORY.seal(keyring, values | {"user_key": user})}


_of_user = grants.c.user_key == bind("user", grants.c.user_key)
_same = (
    _of_user,
    grants.c.generation == bind("known", grants.c.generation),
    status_is(grants, GrantStatus.ACTIVE),
)
FIND = select(*COLUMNS).where(_of_user)
FIND_LOCKED = FIND.with_for_update()


def find(connection: Connection, user: UserKey) -> Grant | None:
    """Return the user's latest grant, active or ended."""
    return _find(connection, FIND, user)


def _find(connection: Connection, statement: Any, user: UserKey) -> Grant | None:
    row = connection.execute(statement, {"user": user}).one_or_none()
    return None if row is None else _grant(row, keyring_of(connection))


# --- consent ---------------------------------------------------------------------------------------

_new = insert(grants)
_SAVED = (
    *(
        "status",
        "access_token",
        "access_expires_at",
        "refresh_token",
        "refresh_expires_at",
        "scopes",
        "scopes_ever",
        "memory_seal",
    ),
    *("authorized_at", "issued_at", "oauth", "refresh_worker", "refresh_lease_until", "refresh_started_at"),
    *("narrowed", "refresh_failures", "refresh_after", "ended_at", "end_reason"),
)
SAVE = _new.on_conflict_do_update(
    index_elements=[grants.c.user_key],
    set_={name: _new.excluded[name] for name in _SAVED} | {"generation": grants.c.generation + 1},
).returning(*COLUMNS)
_FRESH: dict[str, Any] = {
    "status": GrantStatus.ACTIVE.value,
    "refresh_worker": None,
    "refresh_lease_until": None,
    "refresh_started_at": None,
    "narrowed": False,
    "refresh_failures": 0,
    "refresh_after": None,
    "ended_at": None,
    "end_reason": None,
}


@dataclass(frozen=True, slots=True)
class NewTokens:
    """Tokens that the platform has issued, and what they allow."""

    tokens: TokenSet
    scopes: ScopeSet
    unrequested: ScopeSet = frozenset()
    """Scopes that are remembered only if the tokens have them, so that lost ones are not asked for again."""


def save(
    connection: Connection,
    user: UserKey,
    before: Grant | None,
    new: NewTokens,
    *,
    endpoint: str,
    now: datetime,
) -> Grant:
    """Store the tokens of a code exchange in place of the grant `before`. A refresh in progress loses its lease.

    The caller has locked the user (see `users.lock`), so that afterwards it sees every call that waits for these scopes.
    """
    ever = new.scopes | (before.scopes_ever - new.unrequested) if before else new.scopes
    values = _FRESH | _tokens(keyring_of(connection), user, new.tokens, now)
    values |= _remembered(keyring_of(connection), user, new.scopes, ever)
    values |= {"user_key": user, "generation": 1, "authorized_at": now, "oauth": endpoint}
    return _grant(connection.execute(SAVE, values).one(), keyring_of(connection))


# --- refreshing ------------------------------------------------------------------------------------

QUEUE = Queue(
    table=grants,
    this=and_(_of_user, grants.c.generation == bind("known", grants.c.generation)),
    is_open=[status_is(grants, GrantStatus.ACTIVE)],
    is_claimed=[status_is(grants, GrantStatus.ACTIVE)],
    due_at=grants.c.access_expires_at,
    lease=grants.c.refresh_lease_until,
    worker=grants.c.refresh_worker,
    retry_at=grants.c.refresh_after,
)
"""The worker that has claimed a grant may use its refresh token."""
_not_paused = or_(grants.c.refresh_after.is_(None), grants.c.refresh_after <= NOW)
LEASE_REFRESH = (
    update(grants)
    .where(*_same, *QUEUE.is_free, _not_paused)
    .values({**QUEUE.claimed, grants.c.refresh_started_at: NOW})
    .returning(*COLUMNS)
)


def lease_refresh(connection: Connection, user: UserKey, generation: int, claim: Claim) -> Grant | None:
    """Claim the right to use this generation's refresh token, and record that the refresh begins. One statement.

    Returns None if the tokens have changed, another worker has the lease, or the pause after a failure is not over.
    """
    row = connection.execute(LEASE_REFRESH, claim.values | {"user": user, "known": generation}).one_or_none()
    return None if row is None else _grant(row, keyring_of(connection))


SAVE_REFRESHED = (
    update(grants)
    .where(*_same)
    .values(
        generation=grants.c.generation + 1,
        access_token=bind("access_token", grants.c.access_token),
        access_expires_at=bind("access_expires_at", grants.c.access_expires_at),
        refresh_token=bind("refresh_token", grants.c.refresh_token),
        refresh_expires_at=bind("refresh_expires_at", grants.c.refresh_expires_at),
        issued_at=bind("issued_at", grants.c.issued_at),
        refreshed_at=bind("issued_at", grants.c.refreshed_at),
        scopes=bind("scopes", grants.c.scopes),
        scopes_ever=bind("scopes_ever", grants.c.scopes_ever),
        memory_seal=bind("memory_seal", grants.c.memory_seal),
        refresh_worker=None,
        refresh_lease_until=None,
        refresh_started_at=None,
        refresh_failures=0,
        refresh_after=None,
    )
    .returning(*COLUMNS)
)


def save_refreshed(connection: Connection, known: Grant, new: NewTokens, now: datetime) -> Grant | None:
    """Store refreshed tokens in place of the grant's; None if the grant was replaced or has ended.

    A worker whose lease has expired may still store them if the generation is unchanged: only its tokens are valid.
    """
    user, before = known.user, _find(connection, FIND_LOCKED, known.user)
    if before is None:
        return None
    values = _tokens(keyring_of(connection), user, new.tokens, now)
    ever = new.scopes | (before.scopes_ever - new.unrequested)
    values |= _remembered(keyring_of(connection), user, new.scopes, ever)
    values |= {"user": user, "known": known.generation}
    row = connection.execute(SAVE_REFRESHED, values).one_or_none()
    return None if row is None else _grant(row, keyring_of(connection))


NARROW = (
    update(grants)
    .where(*_same)
    .values(
        scopes=bind("scopes", grants.c.scopes),
        scopes_ever=bind("scopes_ever", grants.c.scopes_ever),
        memory_seal=bind("memory_seal", grants.c.memory_seal),
        narrowed=literal_column("true"),
    )
)


def forget_scopes(connection: Connection, narrowed: Grant, scopes: ScopeSet) -> bool:
    """Forget scopes that the user revoked, so that they do not count as lost. Earlier releases read `narrowed`.

    False if the tokens have changed since: a newer consent may have granted these scopes again.
    """
    remembered = narrowed.scopes_ever - scopes
    values = _remembered(keyring_of(connection), narrowed.user, narrowed.scopes, remembered)
    values |= {"user": narrowed.user, "known": narrowed.generation}
    return changed(connection, NARROW, values)


_one_failure_more = {"refresh_failures": grants.c.refresh_failures + 1}
REFRESH_IN_DOUBT = QUEUE.postpone(**_one_failure_more)
REFRESH_FAILED = QUEUE.postpone(**_one_failure_more, refresh_started_at=null())
REFRESH_OVER = QUEUE.postpone(
    **_one_failure_more, refresh_started_at=null(), refresh_token=null(), refresh_expires_at=null()
)


def _held(leased: Grant, worker: str, until: datetime) -> dict[str, Any]:
    """Return the parameters that identify a lease: its generation, its worker and its end."""
    return {
        "user": leased.user,
        "known": leased.generation,
        "held_by": worker,
        "held_until": leased.refresh_lease_until,
        "until": until,
    }


def refresh_failed(
    connection: Connection, leased: Grant, worker: str, *, after: datetime, in_doubt: bool
) -> bool:
    """Release the lease, keep the tokens, and allow no refresh before `after`. False if the lease is lost.

    `in_doubt`: the start of the refresh stays recorded, because the platform may have used up the refresh token.
    """
    statement = REFRESH_IN_DOUBT if in_doubt else REFRESH_FAILED
    return changed(connection, statement, _held(leased, worker, after))


def refresh_over(connection: Connection, leased: Grant, worker: str, now: datetime) -> bool:
    """Erase a refresh token that is no longer valid, and keep the access token. False if the lease is lost."""
    return changed(connection, REFRESH_OVER, _held(leased, worker, now))


_busy = grants.c.last_used_at >= bind("busy_since", grants.c.last_used_at)
_expiring = and_(
    grants.c.refresh_expires_at <= bind("kept_alive", grants.c.refresh_expires_at),
    grants.c.last_used_at >= bind("used_since", grants.c.last_used_at),
)
LEASE_DUE = QUEUE.claim_due(
    *COLUMNS,
    where=[
        grants.c.refresh_token.is_not(None),
        # An access token is used only while it is valid, so this range of the index leaves out grants long unused.
        grants.c.access_expires_at > bind("used_since", grants.c.access_expires_at),
        or_(grants.c.refresh_expires_at.is_(None), grants.c.refresh_expires_at > NOW),
        or_(_busy, _expiring),
        _not_paused,
    ],
    due_by=bind("ahead", grants.c.access_expires_at),
    values={"refresh_started_at": NOW},
)


def lease_due(connection: Connection, claim: Claim, limit: int) -> list[Grant]:
    """Like `lease_refresh`, for tokens to refresh ahead of need: busy ones, and used ones whose refresh token expires
    soon. Every other grant is left to expire. One statement.
    """
    keyring, window = keyring_of(connection), refresh_window(claim.now)
    due = queue.claim_due(
        connection,
        LEASE_DUE,
        claim,
        limit,
        ahead=window.access_expires_by,
        busy_since=window.busy_since,
        kept_alive=window.refresh_expires_by,
        used_since=window.used_since,
    )
    return [_grant(row, keyring) for row in due]


# --- use and end -----------------------------------------------------------------------------------

TOUCH = update(grants).where(
    _of_user,
    or_(grants.c.last_used_at.is_(None), grants.c.last_used_at <= bind("before", grants.c.last_used_at)),
).values(last_used_at=bind("now", grants.c.last_used_at))  # fmt: skip


def touch(connection: Connection, user: UserKey, now: datetime) -> None:
    """Record, at most once a minute, that the grant was used."""
    connection.execute(TOUCH, {"user": user, "now": now, "before": now - USE_INTERVAL})


END = update(grants).where(*_same, may_become(grants, GrantStatus.ENDED)).values(
    status=GrantStatus.ENDED.value,
    generation=grants.c.generation + 1,
    access_token=None,
    access_expires_at=None,
    refresh_token=None,
    refresh_expires_at=None,
    scopes=bind("scopes", grants.c.scopes),
    scopes_ever=bind("scopes_ever", grants.c.scopes_ever),
    memory_seal=bind("memory_seal", grants.c.memory_seal),
    refresh_worker=None,
    refresh_lease_until=None,
    refresh_started_at=None,
    refresh_failures=0,
    refresh_after=None,
    ended_at=bind("now", grants.c.ended_at),
    end_reason=bind("reason", grants.c.end_reason),
)  # fmt: skip


def end(
    connection: Connection,
    user: UserKey,
    reason: str,
    now: datetime,
    *,
    generation: int | None = None,
    authorized_before: datetime | None = None,
) -> Grant | None:
    """End an active grant and erase its tokens; return it as it was, with the tokens to revoke.

    Returns None if there is no active grant, if it has another generation, or if its consent is not older than
    `authorized_before`. A reason in `REVOKED` also clears the memory of what was ever granted.
    """
    grant = _find(connection, FIND_LOCKED, user)
    if grant is None or grant.status is GrantStatus.ENDED:
        return None
    if generation is not None and grant.generation != generation:
        return None
    if authorized_before is not None and grant.authorized_at >= authorized_before:
        return None
    remembered: ScopeSet = frozenset() if reason in REVOKED else grant.scopes_ever
    values = _remembered(keyring_of(connection), user, frozenset(), remembered)
    values |= {"user": user, "known": grant.generation, "now": now, "reason": reason}
    if not connection.execute(END, values).rowcount:
        return None
    audit.write(connection, "grant_ended", user=user, now=now, reason=reason)
    if reason in REVOKED:
        granted_scopes.forget_all(connection, user)
    return grant
