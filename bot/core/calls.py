"""Deferred calls: commands that were recorded, and the steps they have made."""

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
    """Waits for a worker, perhaps until `runs_after`."""
    RUNNING = "running"
    """A worker holds its lease."""
    SUSPENDED = "suspended"
    """Waits for what `waits_for` names."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUTCOME_UNKNOWN = "outcome_unknown"
    """A write may or may not have been carried out; its user was told what to check."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class WaitsFor(StrEnum):
    """What a suspended call waits for."""

    AUTHORIZATION = "authorization"
    ADMINISTRATOR = "administrator"
    CONFIRMATION = "confirmation"


@dataclass(frozen=True, slots=True)
class DeferredCall:
    """A command as it was asked: a row, so that it survives whoever works on it."""

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
    """What a suspended call waits to see granted."""
    request_id: str | None
    consents: int
    """How many consents it has taken so far."""
    attempts: int
    first_failed_at: datetime | None
    expires_at: datetime
    claim: int
    """Counts the claims; a worker whose number is no longer the row's has lost it (fencing)."""
    runs_after: datetime
    """When it is due; of a running one, when its lease ends; of a suspended one, until when it is left alone."""
    suspended_at: datetime | None
    confirmed: bool
    takeovers: int = 0
    """How often a worker lost it since it last made a step."""
    recalled_at: datetime | None = None
    """When its question was recalled, if that was while it was under way."""
    genuine: bool | None = True
    """Whether the bot wrote it as it is. None: only another replica has the key that can tell."""


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded move of a command. `result` is None for a write whose answer is not known (yet)."""

    number: int
    digest: str
    """Of the API call, so that a replay after a deploy notices that the command has changed."""
    write: bool
    first_sent_at: datetime | None
    result: Json | None
