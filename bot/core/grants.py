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
    """Where the revocation of an ended grant's token at the platform stands."""

    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user granted. A token that cannot be opened with any key counts as none."""

    user: UserKey
    status: GrantStatus
    generation: int
    """Counts the changes of the tokens, so that a late refresh cannot replace newer ones (compare-and-set)."""
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
    """Until when one worker alone may use the refresh token."""
    end_reason: str | None = None


# --- revoked grants --------------------------------------------------------------------------------

REVOKED_BY_USER = "revoked_by_user"
REVOKED_BY_OPERATOR = "revoked_by_operator"
REVOKED_AT_PLATFORM = "revoked_at_platform"

REVOKED_HERE = frozenset({REVOKED_BY_USER, REVOKED_BY_OPERATOR})
REVOKED = REVOKED_HERE | {REVOKED_AT_PLATFORM}
"""The reasons for the end of a grant after which the bot forgets which scopes were ever granted."""


# --- refreshing ------------------------------------------------------------------------------------

USE_INTERVAL = timedelta(minutes=1)
"""A use of a grant or scope is recorded at most once in this time, to save writes."""

REFRESH_AHEAD = timedelta(minutes=5)
"""How long before it expires an access token is refreshed. For a short-lived one, a third of its lifetime."""

BUSY_FOR = timedelta(hours=1)
"""How long after its last use a token is refreshed ahead of need, so that the next call does not wait for it."""

KEEP_ALIVE_AHEAD = timedelta(days=1)
"""How long before a refresh token expires, after which the user would have to authorize again, it is used to renew
itself."""

IN_USE_FOR = timedelta(days=14)
"""How long after its last use a grant is kept alive. Others are left to expire."""


@dataclass(frozen=True, slots=True)
class RefreshWindow:
    """Which tokens to refresh ahead of need: those of busy grants, and refresh tokens of grants in use."""

    access_expires_by: datetime
    busy_since: datetime
    refresh_expires_by: datetime
    used_since: datetime


def refresh_window(now: datetime) -> RefreshWindow:
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
