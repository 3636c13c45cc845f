"""Decides what to do with the outcome of an API call. `flows.calls` carries out the decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from bot.core.api import (
    AppRejected,
    AppScopeMissing,
    BlockedByPolicy,
    InsufficientScope,
    NotAuthorized,
    NoToken,
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
from bot.core.scopes import Requirement, ScopeSet, is_met, named, needs_after_refusal

RETRIED_FOR = timedelta(minutes=15)
"""How long a call is retried while the platform fails, from the first failure."""


MAX_CONSENTS = 3
"""The number of consents for one call. If the platform still refuses it after these, the call is given up."""


CONFIRM_AFTER = timedelta(hours=1)
"""A write that was asked for longer ago than this needs the user's confirmation."""


class GiveUpReason(StrEnum):
    """Why a call is given up. The value is stored with the call as its outcome."""

    STILL_REFUSED = "still_refused"
    """The platform still refuses after `MAX_CONSENTS` consents, or although every alternative is granted."""
    PLATFORM_FAILED = "platform_failed"
    BUSY = "busy"
    """The rate limit lasts longer than the bot waits."""
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - an outcome, not a token
    APP_REJECTED = "app_misconfigured"
    BLOCKED_BY_POLICY = "blocked_by_policy"


@dataclass(frozen=True, slots=True)
class Continue:
    """Record the result of the step, and continue with the next step."""

    result: Result


@dataclass(frozen=True, slots=True)
class Suspend:
    """Ask the user for scopes."""

    needs: Requirement


@dataclass(frozen=True, slots=True)
class AwaitAdministrator:
    """Wait until an administrator has enabled scopes."""

    needs: Requirement


@dataclass(frozen=True, slots=True)
class Refresh:
    """Refresh the rejected token, and make the same call again."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Put the call back into the queue until this time."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the call, and explain why to the user."""

    reason: GiveUpReason
    outcome: Outcome | NoToken


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """End the call: a write may have been carried out, and cannot be sent again safely."""


Decision = Continue | Suspend | AwaitAdministrator | Refresh | RetryAt | GiveUp | OutcomeUnknown


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision depends on besides the outcome."""

    now: datetime
    declared: Requirement
    """The scopes that the command declares."""
    held: ScopeSet
    write: Write | None
    first_sent_at: datetime | None
    """When this write may first have been sent."""
    refreshed: bool
    """Whether the token was refreshed for this call."""
    first_failed_at: datetime | None
    attempts: int
    """How many times the call was claimed. The backoff grows with it."""
    consents: int
    jitter: float
    """A random number between 0 and 1, chosen by the caller."""
    authorized_at: datetime | None = None
    """When the user last consented, if the grant is active."""
    enabled_at: datetime | None = None
    """When an administrator last stated that a refused scope is enabled, on a platform that does not say who must act."""


def after_call(outcome: Outcome | NoToken, facts: Situation) -> Decision:
    """Return what to do after an API call, or after none could be made."""
    match outcome:
        case Succeeded(data=data):
            return Continue(Result(value=data))
        case NotAuthorized():
            return Suspend(facts.declared)
        case Refused(unnamed_scope=True) if facts.declared and not facts.consents:
            # A consent to everything that the command declares should include the scope. If it does not help, the
            # next refusal is explained to the user.
            return Suspend(facts.declared)
        case Refused():
            return Continue(Result(refused=outcome))
        case InsufficientScope(requirement=refused):
            return ask_for(refused, outcome, facts)
        case AppScopeMissing(requirement=refused):
            reading = facts.write is None
            return AwaitAdministrator(
                needs_after_refusal(facts.declared, refused, facts.held, reading=reading)
            )
        case TokenRejected():
            return GiveUp(GiveUpReason.TOKEN_REFUSED, outcome) if facts.refreshed else Refresh()
        case AppRejected():
            return GiveUp(GiveUpReason.APP_REJECTED, outcome)
        case BlockedByPolicy():
            return GiveUp(GiveUpReason.BLOCKED_BY_POLICY, outcome)
        case RateLimited():
            return after_rate_limit(outcome, facts)
        case Unreachable():
            return after_failure(outcome, facts)
        case _:
            assert_never(outcome)


PROPAGATION_TIME = timedelta(seconds=10)
"""How long a consent may take to reach every server of a platform that does not say who must act."""

PROPAGATION_RETRIES = 3
"""Retries within that time, after pauses of 1, 2 and 4 seconds."""


def ask_for(refused: Requirement, outcome: InsufficientScope, facts: Situation) -> Decision:
    """Suspend the call for the refused scopes, unless they were granted for this call and did not help.

    If the platform does not say who must act, the user is asked first. If their consent does not help, the call is
    retried for a few seconds, and then suspended for an administrator. A consent that is older than the administrator's
    change may not include the scope, so the user is asked again.
    """
    if not outcome.user_must_grant and may_be_propagating(refused, facts):
        return RetryAt(facts.now + timedelta(seconds=2 ** max(0, facts.attempts - 1)))
    if facts.consents >= MAX_CONSENTS and outcome.user_must_grant:
        return GiveUp(GiveUpReason.STILL_REFUSED, outcome)
    has_helped_nothing = facts.consents > 0 and not is_older_than_change(facts)
    exhausted = facts.held & named(refused) if has_helped_nothing else frozenset()
    needs = needs_after_refusal(
        facts.declared, refused, facts.held, reading=facts.write is None, exhausted=exhausted
    )
    if not outcome.user_must_grant and (facts.consents >= MAX_CONSENTS or not all(needs)):
        reading = facts.write is None
        return AwaitAdministrator(needs_after_refusal(facts.declared, refused, facts.held, reading=reading))
    return Suspend(needs) if all(needs) else GiveUp(GiveUpReason.STILL_REFUSED, outcome)


def may_be_propagating(refused: Requirement, facts: Situation) -> bool:
    """Return whether the user granted the refused scopes so recently that some servers may not know it yet."""
    if facts.authorized_at is None or facts.attempts > PROPAGATION_RETRIES:
        return False
    return is_met(refused, facts.held) and facts.now - facts.authorized_at < PROPAGATION_TIME


def is_older_than_change(facts: Situation) -> bool:
    """Return whether the user consented before an administrator enabled a refused scope."""
    return (
        facts.enabled_at is not None
        and facts.authorized_at is not None
        and facts.authorized_at < facts.enabled_at
    )


def after_rate_limit(outcome: RateLimited, facts: Situation) -> Decision:
    seconds = outcome.retry_after
    if seconds is not None and seconds > LONGEST_RATE_LIMIT:
        return GiveUp(GiveUpReason.BUSY, outcome)
    at = facts.now + pause(facts.attempts, facts.jitter, seconds)
    return RetryAt(at) if at <= retried_until(facts) else GiveUp(GiveUpReason.BUSY, outcome)


def after_failure(outcome: Unreachable, facts: Situation) -> Decision:
    """Return when to retry. A write that may have arrived is retried only while its idempotency key is valid."""
    at = facts.now + backoff(facts.attempts, facts.jitter)
    if outcome.may_have_arrived and facts.write is not None:
        window = facts.write.keyed_for
        if window is None or facts.first_sent_at is None or at >= facts.first_sent_at + window:
            return OutcomeUnknown()
        return RetryAt(at)
    return RetryAt(at) if at <= retried_until(facts) else GiveUp(GiveUpReason.PLATFORM_FAILED, outcome)


def retried_until(facts: Situation) -> datetime:
    return (facts.first_failed_at or facts.now) + RETRIED_FOR


def is_certainly_not_done(outcome: Outcome | NoToken) -> bool:
    """Return whether the call may be sent again even if it is a write without a key.

    Returns False also for a success and a final refusal, which need no retry.
    """
    match outcome:
        case Unreachable(may_have_arrived=may_have_arrived):
            return not may_have_arrived
        case Refused(unnamed_scope=unnamed_scope):
            return unnamed_scope
        case Succeeded():
            return False
        case InsufficientScope() | AppScopeMissing() | TokenRejected() | RateLimited():
            return True
        case NotAuthorized() | AppRejected() | BlockedByPolicy():
            return True
        case _:
            assert_never(outcome)


def may_send(write: Write, first_sent_at: datetime | None, now: datetime) -> bool:
    """Return whether a write may be sent, given when it may first have been sent."""
    if first_sent_at is None:
        return True
    return write.keyed_for is not None and now < first_sent_at + write.keyed_for


def needs_confirmation(write: Write | None, asked_at: datetime, now: datetime) -> bool:
    """Return whether a write is so old that the user may no longer want it."""
    return write is not None and now - asked_at > CONFIRM_AFTER
