"""Deferred calls: commands that are recorded and then run by a worker, and their recorded steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.core.api import Json
from bot.core.language import Language
from bot.core.messages import Chat
from bot.core.people import UserKey
from bot.core.scopes import Requirement


class CallStatus(StrEnum):
    QUEUED = "queued"
    """It waits for a worker, and does not run before `runs_after`."""
    RUNNING = "running"
    """A worker has claimed it."""
    SUSPENDED = "suspended"
    """It waits for what `waits_for` names."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUTCOME_UNKNOWN = "outcome_unknown"
    """A write may or may not have been carried out. The reply asks the user to check."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class WaitsFor(StrEnum):
    """What a suspended call waits for."""

    AUTHORIZATION = "authorization"
    ADMINISTRATOR = "administrator"
    CONFIRMATION = "confirmation"


@dataclass(frozen=True, slots=True)
class DeferredCall:
    """One use of a command, stored as a row so that it survives the worker that runs it."""

    id: str
    user: UserKey
    chat: Chat
    message_id: str | None
    command: str
    arguments: str
    asked_at: datetime
    language: Language
    time_zone: str | None
    status: CallStatus
    waits_for: WaitsFor | None
    needs: Requirement
    """The scopes that a suspended call waits for."""
    request_id: str | None
    consents: int
    """How many times the user has consented for it so far."""
    attempts: int
    first_failed_at: datetime | None
    expires_at: datetime
    claim: int
    """Counts the claims. A worker with an older number has lost the call (fencing)."""
    runs_after: datetime
    """When it is due. For a running call, when its lease expires; for a suspended one, the earliest time of a retry."""
    suspended_at: datetime | None
    confirmed: bool
    takeovers: int = 0
    """How many workers have lost it since its last step."""
    recalled_at: datetime | None = None
    """When the user recalled its message, if the call was running then."""
    genuine: bool | None = True
    """Whether the bot wrote the row. None if this replica lacks the key to verify that."""
    others_due: bool = True
    """Whether another call of the app may have been due when it was claimed."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a suspended call waits for."""

    kind: WaitsFor
    needs: Requirement = ()
    request_id: str | None = None
    """The authorization request that asks for its scopes."""
    retried_at: datetime | None = None
    """The earliest time of the next attempt, if an attempt has failed during the wait."""


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded move of a command."""

    number: int
    digest: str
    """The fingerprint of the move, by which a replay after a deploy detects that the command has changed."""
    write: bool
    first_sent_at: datetime | None
    """When a write may first have been sent."""
    result: Json | None
    """None for a write whose response is unknown."""
