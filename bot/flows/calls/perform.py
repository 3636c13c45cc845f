"""Makes one API call as the user, and carries out the decision on its outcome."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never

from bot.core.api import (
    ApiCall,
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
)
from bot.core.calls import Step
from bot.core.commands import fingerprint
from bot.core.decisions import (
    AwaitAdministrator,
    Continue,
    Decision,
    GiveUp,
    GiveUpReason,
    OutcomeUnknown,
    Refresh,
    RetryAt,
    Situation,
    Suspend,
    after_call,
    is_certainly_not_done,
    may_send,
    needs_confirmation,
)
from bot.core.errors import LeaseLost
from bot.core.grants import Grant
from bot.core.messages import Reply
from bot.core.scopes import named
from bot.core.secrets import Secret
from bot.core.words import replies
from bot.core.words.refusals import app_misconfigured, blocked, gave_up
from bot.flows import administrators, observations, tokens
from bot.flows.account import unused_scopes
from bot.flows.authorize.ask import ask_for_scopes, ask_to_confirm
from bot.flows.bot import Bot, utc_now
from bot.flows.calls import api_calls
from bot.flows.calls.finish import failed, finish, finish_unknown
from bot.flows.calls.run_state import Run
from bot.flows.calls.suspend import finished
from bot.flows.outbox import typed
from bot.store import call_steps, calls, scope_waits
from bot.store.transaction import Connection

OTHER_REPLICA_DELAY = timedelta(seconds=2)
"""The time for another replica, which has the key, to claim the call."""


@dataclass(frozen=True, slots=True)
class CallAttempt:
    """One attempt of an API call."""

    move: ApiCall
    outcome: Outcome | NoToken
    grant: Grant | None
    """The grant that the call used, or the ended one."""
    refreshed: bool
    """Whether the token was refreshed because the platform had rejected it."""


async def call_as_user(bot: Bot, run: Run, move: ApiCall) -> bool:
    """Make an API call and carry out the decision on its outcome. Returns whether the call may continue."""
    sent_before = run.pending.first_sent_at if run.pending else None
    if sent_before is not None and run.call.takeovers:
        api_calls.note_lost(bot, run.call, len(run.results), move, sent_before)
    if move.write is not None and not may_send(move.write, sent_before, utc_now()):
        await finish_unknown(bot, run)
        return False
    rejected: Secret | None = None
    while True:
        usable = await tokens.usable_token(bot, run.call.user, rejected=rejected)
        if isinstance(usable, tokens.Unusable):
            outcome: Outcome | NoToken = usable.outcome
        elif is_unconfirmed(run, move, sent_before):
            await ask_to_confirm(bot, run)
            return False
        else:
            run.used_grant = True
            observations.grant_used(bot, run.call, usable.grant)
            run.first_in_a_day = unused_scopes.is_first_use_today(usable.grant)
            outcome = await send(bot, run, move, usable.token)
            if run.pending and sent_before is None and is_certainly_not_done(outcome):
                await forget_sending(bot, run)
        attempt = CallAttempt(move, outcome, usable.grant, refreshed=rejected is not None)
        enabled_at = await last_enabled(bot, run, outcome)
        decision = after_call(outcome, situation(run, attempt, enabled_at))
        if not isinstance(decision, Refresh):
            return await carry_out(bot, run, attempt, decision)
        assert isinstance(usable, tokens.Usable)
        rejected = usable.token


def is_unconfirmed(run: Run, move: ApiCall, sent_before: datetime | None) -> bool:
    """Return whether the user has to confirm a write before it is first sent."""
    if sent_before is not None or run.call.confirmed:
        return False
    return needs_confirmation(move.write, run.call.asked_at, utc_now())


async def send(bot: Bot, run: Run, move: ApiCall, token: Secret) -> Outcome:
    """Send the API call. A write is recorded before it is sent.

    Raises LeaseLost if another worker has claimed the call.
    """
    number, digest, now = len(run.results), fingerprint(move), utc_now()
    observe = partial(api_calls.note, bot, run.call, number)
    if move.write is None:
        return await bot.platform_of(run.call.user).call(move, token, observe)

    def record(c: Connection) -> datetime | None:
        if not call_steps.record_results(c, run.call.id, run.call.claim, run.steps[:number]):
            return None
        return call_steps.record_sending(c, run.call.id, run.call.claim, number, digest, now)

    sent_at = await bot.database.write(record)
    # Checked again, because this process may have been paused for longer than the idempotency key is valid.
    if sent_at is None or (move.write.keyed_for and not may_send(move.write, sent_at, utc_now())):
        raise LeaseLost
    if not run.pending:
        run.steps.append(Step(number, digest, True, now, None))
    run.unsafe = move.write.keyed_for is None
    # Not in a `finally`, because a write whose request is cancelled has to stay marked.
    outcome = await bot.platform_of(run.call.user).call(move, token, observe)
    run.unsafe = False
    return outcome


async def last_enabled(bot: Bot, run: Run, outcome: Outcome | NoToken) -> datetime | None:
    """Return when an administrator last stated that a scope is enabled which is refused nevertheless."""
    if not isinstance(outcome, InsufficientScope) or outcome.user_must_grant or not run.call.consents:
        return None
    user, scopes = run.call.user, named(outcome.requirement)
    return await bot.database.read(lambda c: scope_waits.last_enabled(c, user.platform, user.app_id, scopes))


def situation(run: Run, attempt: CallAttempt, enabled_at: datetime | None) -> Situation:
    call = run.call
    return Situation(
        now=utc_now(),
        declared=run.command.needs(call.arguments),
        held=attempt.grant.scopes if attempt.grant else frozenset(),
        authorized_at=attempt.grant.authorized_at if attempt.grant else None,
        enabled_at=enabled_at,
        write=attempt.move.write,
        first_sent_at=run.pending.first_sent_at if run.pending else None,
        refreshed=attempt.refreshed,
        first_failed_at=call.first_failed_at,
        attempts=call.attempts,
        consents=call.consents,
        jitter=random.random(),  # noqa: S311 - jitter, not a secret
    )


async def carry_out(bot: Bot, run: Run, attempt: CallAttempt, decision: Decision) -> bool:
    """Carry out a decision. Returns whether the call may continue."""
    call, outcome = run.call, attempt.outcome
    match decision:
        case Continue(result):
            run.add(attempt.move, result)
            if attempt.move.write is not None:
                await record(bot, run)
            return True
        case Suspend(needs):
            refused = outcome if isinstance(outcome, InsufficientScope | Refused) else None
            await ask_for_scopes(bot, run, needs, attempt.grant, refused=refused)
        case AwaitAdministrator(needs):
            certain = (
                named(outcome.requirement)
                if isinstance(outcome, AppScopeMissing | InsufficientScope)
                else frozenset()
            )
            guess = isinstance(outcome, InsufficientScope)
            await administrators.suspend_for_administrator(
                bot, run, needs, named_by_platform=certain, guess=guess
            )
        case RetryAt(at):
            await requeue(bot, run, at, failed=True)
        case GiveUp(reason, last):
            await finish(bot, call, failed(reason.value, reply_to(run, reason, last), detail_of(last)))
        case OutcomeUnknown():
            await finish_unknown(bot, run)
        case Refresh():
            raise AssertionError("Only `call_as_user` can refresh the token.")
        case _:
            assert_never(decision)
    return False


def reply_to(run: Run, reason: GiveUpReason, outcome: Outcome | NoToken) -> Reply:
    """Return the reply to a call that is given up, with a button to retry if that may help."""
    command = typed(run.call)
    match reason:
        case GiveUpReason.APP_REJECTED:
            reply = app_misconfigured(command)
        case GiveUpReason.BLOCKED_BY_POLICY:
            reply = blocked(command, detail_of(outcome))
        case GiveUpReason.PLATFORM_FAILED | GiveUpReason.BUSY:
            reply = gave_up(reason, command, detail_of(outcome))
        case GiveUpReason.STILL_REFUSED | GiveUpReason.TOKEN_REFUSED:
            return gave_up(reason, command, detail_of(outcome))
        case _:
            assert_never(reason)
    return replies.with_retry(reply, run.call.id)


def detail_of(outcome: Outcome | NoToken) -> str:
    match outcome:
        case InsufficientScope(requirement=requirement) | AppScopeMissing(requirement=requirement):
            return ", ".join(scope for clause in requirement for scope in clause)
        case Unreachable(reason=reason):
            return reason
        case RateLimited(retry_after=seconds):
            return f"{seconds:.0f} s" if seconds else "429"
        case TokenRejected(code=code, log_id=log_id) | Refused(code=code, log_id=log_id):
            return f"{code}, log id {log_id}" if log_id else str(code)
        case BlockedByPolicy(hint=hint):
            return hint
        case Succeeded() | NotAuthorized() | AppRejected():
            return ""
        case _:
            assert_never(outcome)


# --- what is recorded ------------------------------------------------------------------------------


async def forget_sending(bot: Bot, run: Run) -> None:
    """Record that the platform did not process the write, which may therefore be sent again at any time."""
    number = len(run.results)
    await bot.database.write(lambda c: call_steps.forget_sending(c, run.call.id, run.call.claim, number))
    run.steps.pop()


async def record(bot: Bot, run: Run) -> None:
    """Record the results so far. Raises LeaseLost if another worker has claimed the call."""

    def work(c: Connection) -> bool:
        recorded = call_steps.record_results(c, run.call.id, run.call.claim, run.steps)
        if recorded and run.call.takeovers:
            calls.made_step(c, run.call.id, run.call.claim)
        return recorded

    if not await api_calls.write(bot, run.call, work):
        raise LeaseLost


async def requeue(bot: Bot, run: Run, at: datetime, *, failed: bool) -> None:
    """Put the call back into the queue. After a failure it runs after the user's calls that failed earlier."""
    call = run.call
    first_failed_at = (call.first_failed_at or utc_now()) if failed else call.first_failed_at
    results = finished(run.steps)

    def work(c: Connection) -> None:
        if call_steps.record_results(c, call.id, call.claim, results):
            due_at = calls.schedule_in_order(c, call, at, utc_now()) if failed else at
            calls.requeue(c, call, due_at, first_failed_at, made_step=failed)

    await api_calls.write(bot, call, work)


async def put_back(bot: Bot, run: Run, runs_after: datetime) -> None:
    """Put the call back into the queue, or end it if a write without an idempotency key may have been sent."""
    if run.unsafe:
        await finish_unknown(bot, run)
    else:
        await requeue(bot, run, runs_after, failed=False)
