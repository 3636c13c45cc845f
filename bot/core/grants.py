"""Grants: what a user authorized, with its tokens, and the policy on when they are refreshed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.core.people import UserKey
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret


class GrantStatus(StrEnum):
    ACTIVE = "active"
    ENDED = "ended"


class RevocationStatus(StrEnum):
    """The state of the revocation of an ended grant's token at the platform."""

    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user granted. A token that cannot be opened is None."""

    user: UserKey
    status: GrantStatus
    generation: int
    """Counts the changes of the tokens, so that a late refresh cannot overwrite newer ones (compare-and-set)."""
    access_token: Secret | None
    access_expires_at: datetime | None
    refresh_token: Secret | None
    refresh_expires_at: datetime | None
    scopes: ScopeSet
    scopes_ever: ScopeSet
    """Every scope granted since the grant was last revoked."""
    authorized_at: datetime
    """When the user last consented."""
    issued_at: datetime
    """When these tokens were issued, by a code exchange or a refresh."""
    last_used_at: datetime | None
    refresh_failures: int
    """Failed refreshes since the last successful one."""
    refresh_after: datetime | None
    """The earliest time of the next refresh, after a failed one."""
    refresh_lease_until: datetime | None
    """When the lease expires during which only one worker may use the refresh token."""
    end_reason: str | None = None


def is_overtaken(
    before: Grant | None, current: Grant | None, *, requested_at: datetime, scopes: ScopeSet | None
) -> bool:
    """Return whether the current grant is of another consent, stored since `before`, and is kept.

    `requested_at` and `scopes` are those of the new tokens; None: the platform does not state the scopes. Only tokens
    requested after the other ones were issued are certainly newer, and older ones may no longer be valid. Newer ones that
    lack scopes of the other consent, which the exchange did not know of, do not replace it either.
    """
    if current is None:
        return before is not None
    if before is not None and before.authorized_at == current.authorized_at:
        return False
    loses_scopes = scopes is not None and not current.scopes <= scopes
    return current.authorized_at >= requested_at or loses_scopes


# --- revoked grants --------------------------------------------------------------------------------

REVOKED_BY_USER = "revoked_by_user"
REVOKED_BY_OPERATOR = "revoked_by_operator"
REVOKED_AT_PLATFORM = "revoked_at_platform"

REVOKED_HERE = frozenset({REVOKED_BY_USER, REVOKED_BY_OPERATOR})
REVOKED = REVOKED_HERE | {REVOKED_AT_PLATFORM}
"""End reasons after which the bot forgets which scopes were ever granted."""


# --- refreshing ------------------------------------------------------------------------------------

USE_INTERVAL = timedelta(minutes=1)
"""The minimum time between two recorded uses of a grant or scope, to save writes."""

REFRESH_AHEAD = timedelta(minutes=5)
"""How long before its expiry an access token is refreshed, but at most a third of its lifetime."""

BUSY_FOR = timedelta(hours=1)
"""How long after its last use a grant is busy: its token is refreshed in advance, so that the next call need not wait."""

KEEP_ALIVE_AHEAD = timedelta(days=1)
"""How long before its expiry a refresh token is exchanged for a new one. Once it expires, the user has to authorize
again."""

IN_USE_FOR = timedelta(days=14)
"""How long after its last use a grant is kept alive. Grants that are unused for longer may expire."""


@dataclass(frozen=True, slots=True)
class RefreshWindow:
    """Which tokens to refresh in advance: access tokens of busy grants, and refresh tokens of grants in use."""

    access_expires_by: datetime
    busy_since: datetime
    refresh_expires_by: datetime
    used_since: datetime


def refresh_window(now: datetime) -> RefreshWindow:
    """Return which tokens are due for a refresh in advance."""
    return RefreshWindow(
        access_expires_by=now + REFRESH_AHEAD,
        busy_since=now - BUSY_FOR,
        refresh_expires_by=now + KEEP_ALIVE_AHEAD,
        used_since=now - IN_USE_FOR,
    )


def is_expired(grant: Grant, now: datetime) -> bool:
    """Return whether the access token has expired."""
    return grant.access_expires_at is not None and grant.access_expires_at <= now


def can_refresh(grant: Grant, now: datetime) -> bool:
    """Return whether there is a refresh token that has not expired."""
    return grant.refresh_token is not None and (
        grant.refresh_expires_at is None or grant.refresh_expires_at > now
    )


def wants_refresh(grant: Grant, now: datetime) -> bool:
    """Return whether the access token expires so soon that a call should refresh it first."""
    if grant.access_expires_at is None or grant.refresh_token is None:
        return False
    ahead = min(REFRESH_AHEAD, (grant.access_expires_at - grant.issued_at) / 3)
    return grant.access_expires_at - ahead <= now
