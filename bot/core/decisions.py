"""What to do with the outcome of an API call. Pure: facts in, one decision out; `flows.calls` carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.core.api import (
    AppScopeMissing,
    InsufficientScope,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
    Write,
)
from bot.core.commands import Result
from bot.core.retry import LONGEST_RATE_LIMIT, backoff, pause
from bot.core.scopes import Requirement, ScopeSet, needs_after_refusal

RETRIED_FOR = timedelta(minutes=15)
"""A platform that fails is asked again for so long, counted from the first failure."""


MAX_CONSENTS = 3
"""For one call; then what is still refused is explained."""


CONFIRM_AFTER = timedelta(hours=1)
"""A write that was asked for longer ago than this is confirmed by the person before it runs."""


class Why(StrEnum):
    """Why a call is given up: names its explanation."""

    STILL_REFUSED = "still_refused"
    """The consents are used up, or every alternative was granted, and the platform still refuses."""
    PLATFORM_FAILED = "platform_failed"
    BUSY = "busy"
    """Rate limited for longer than is worth waiting for."""
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a word, not a token


@dataclass(frozen=True, slots=True)
class Continue:
    """The step has its result; go on to the next."""

    result: Result


@dataclass(frozen=True, slots=True)
class Suspend:
    """Ask the user for scopes."""

    needs: Requirement


@dataclass(frozen=True, slots=True)
class AwaitAdministrator:
    needs: Requirement


@dataclass(frozen=True, slots=True)
class Refresh:
    """The token was rejected; renew it and make the same call again."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    why: Why
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """A write may have been carried out, and cannot be sent again safely."""


Decision = Continue | Suspend | AwaitAdministrator | Refresh | RetryAt | GiveUp | OutcomeUnknown


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts besides the outcome."""

    now: datetime
    declared: Requirement
    """What the command says it needs."""
    held: ScopeSet
    write: Write | None
    first_sent_at: datetime | None
    """Of this write, the first time it may have left."""
    refreshed: bool
    """The token was renewed for this very attempt."""
    first_failed_at: datetime | None
    attempts: int
    """How often the call was claimed: what the back-off grows with."""
    consents: int
    jitter: float
    """Between 0 and 1, drawn by the caller."""


def after_call(outcome: Outcome, facts: Situation) -> Decision:
    """Decides what follows from the outcome of one API call."""
    match outcome:
        case Succeeded(data=data):
            return Continue(Result(value=data))
        case Refused(unnamed_scope=True) if facts.declared and not facts.consents:
            # Whichever it is, a consent to all that the command needs gives it; if not, it is explained.
            return Suspend(facts.declared)
        case Refused():
            return Continue(Result(refused=outcome))
        case InsufficientScope(alternatives=alternatives):
            return ask_for(alternatives, outcome, facts)
        case AppScopeMissing(alternatives=alternatives):
            reading = facts.write is None
            return AwaitAdministrator(
                needs_after_refusal(facts.declared, alternatives, facts.held, reading=reading)
            )
        case TokenRejected():
            return GiveUp(Why.TOKEN_REFUSED, outcome) if facts.refreshed else Refresh()
        case RateLimited(retry_after=seconds):
            if seconds is not None and seconds > LONGEST_RATE_LIMIT:
                return GiveUp(Why.BUSY, outcome)
            return retry(outcome, facts, retry_after=seconds)
        case Unreachable(may_have_arrived=may_have_arrived):
            if may_have_arrived and facts.write is not None:
                return retry_write(outcome, facts)
            return retry(outcome, facts)


def ask_for(alternatives: tuple[str, ...], outcome: Outcome, facts: Situation) -> Decision:
    """An alternative that was granted by a consent for this very call, and is refused all the same, is exhausted."""
    if facts.consents >= MAX_CONSENTS:
        return GiveUp(Why.STILL_REFUSED, outcome)
    exhausted = facts.held & frozenset(alternatives) if facts.consents else frozenset()
    needs = needs_after_refusal(
        facts.declared, alternatives, facts.held, reading=facts.write is None, exhausted=exhausted
    )
    return Suspend(needs) if all(needs) else GiveUp(Why.STILL_REFUSED, outcome)


def retry(outcome: Outcome, facts: Situation, *, retry_after: float | None = None) -> Decision:
    at = facts.now + pause(facts.attempts, facts.jitter, retry_after)
    if at > (facts.first_failed_at or facts.now) + RETRIED_FOR:
        why = Why.BUSY if isinstance(outcome, RateLimited) else Why.PLATFORM_FAILED
        return GiveUp(why, outcome)
    return RetryAt(at)


def retry_write(outcome: Outcome, facts: Situation) -> Decision:
    """A write that may have arrived is sent again only while its idempotency key is known to hold."""
    window = facts.write.keyed_for if facts.write else None
    if window is None or facts.first_sent_at is None:
        return OutcomeUnknown()
    at = facts.now + backoff(facts.attempts, facts.jitter)
    return RetryAt(at) if at < facts.first_sent_at + window else OutcomeUnknown()


def may_send(write: Write, first_sent_at: datetime | None, now: datetime) -> bool:
    """Whether a write may leave, given that it may have left before."""
    if first_sent_at is None:
        return True
    return write.keyed_for is not None and now < first_sent_at + write.keyed_for


def wants_confirmation(write: Write | None, asked_at: datetime, now: datetime) -> bool:
    """Whether a write may no longer be wanted: it waited, was delayed, or was delivered late."""
    return write is not None and now - asked_at > CONFIRM_AFTER
