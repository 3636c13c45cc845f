"""Grants: what a user authorized, with its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
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
    """What a user gave. `generation` counts every change of the tokens: a late refresh compares it and loses.

    A token that nobody can open any more is as good as none.
    """

    user: UserKey
    status: GrantStatus
    generation: int
    access_token: Secret | None
    access_expires_at: datetime | None
    refresh_token: Secret | None
    refresh_expires_at: datetime | None
    scopes: ScopeSet
    scopes_ever: ScopeSet
    """Every scope ever granted, since the grant was last ended."""
    authorized_at: datetime
    """The last code exchange."""
    issued_at: datetime
    """When this token set came, by an exchange or a refresh."""
    last_used_at: datetime | None
    refresh_failures: int
    """Failed refreshes since the last that succeeded."""
    refresh_after: datetime | None
    """No refresh before, after a failure."""
    refresh_lease_until: datetime | None
    """Until when a worker has the refresh token to itself."""
    end_reason: str | None = None
