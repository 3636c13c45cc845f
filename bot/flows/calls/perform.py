"""Makes one API call as the user, and carries out the decision on its outcome."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from bot.core.api import (
    ApiCall,
    AppScopeMissing,
    InsufficientScope,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
)
from bot.core.calls import CallStatus, Step
from bot.core.commands import fingerprint
from bot.core.decisions import (
    AwaitAdministrator,
    Continue,
    GiveUp,
    OutcomeUnknown,
    Refresh,
    RetryAt,
    Situation,
    Suspend,
    Why,
    after_call,
    may_send,
    wants_confirmation,
)
from bot.core.errors import LeaseLost
from bot.core.grants import Grant
from bot.core.oauth import TokenProblem, TokenRefused
from bot.core.secrets import Secret
from bot.core.words import replies
from bot.flows import administrators, tokens
from bot.flows.account import unused_scopes
from bot.flows.authorize.ask import ask_for_scopes, ask_to_confirm
from bot.flows.bot import Bot, now
from bot.flows.calls.finish import finish, finish_unknown
from bot.flows.calls.progress import Run
from bot.flows.calls.suspend import finished
from bot.flows.outbox import typed
from bot.store import call_steps, calls
from bot.store.transaction import Connection

OTHER_REPLICA_DELAY = timedelta(seconds=2)
"""Which may take the call meanwhile."""


async def call_as_user(bot: Bot, run: Run, move: ApiCall) -> bool:
    call, write = run.call, move.write
    first_sent_at = run.pending.first_sent_at if run.pending else None
    if write is not None and not may_send(write, first_sent_at, now()):
        await finish_unknown(bot, run)
        return False
    usable = await tokens.usable_token(bot, call.user)
    rejected = False
    while True:
        match usable:
            case tokens.NoGrant(grant):
                needs = run.command.needs(call.arguments)
                await ask_for_scopes(bot, call, needs, grant, run.steps)
                return False
            case tokens.NotNow(outcome=why):
                outcome: Outcome = why
                return await carry_out(bot, run, move, outcome, None, first_sent_at, refreshed=False)
            case tokens.Misconfigured(
                refusal=TokenRefused(problem=TokenProblem.BLOCKED, code=code, message=hint)
            ):
                reply = replies.blocked(typed(call), hint or str(code))
                await finish(
                    bot, call, CallStatus.FAILED, "blocked_by_policy", replies.with_retry(reply, call.id)
                )
                return False
            case tokens.Misconfigured():
                reply = replies.with_retry(replies.app_misconfigured(typed(call)), call.id)
                await finish(bot, call, CallStatus.FAILED, "app_misconfigured", reply)
                return False
            case tokens.Usable() if (
                first_sent_at is None
                and not call.confirmed
                and wants_confirmation(write, call.asked_at, now())
            ):
                await ask_to_confirm(bot, call, run.steps)
                return False
            case tokens.Usable(token=token, grant=grant):
                run.used_grant = True
                run.first_in_a_day = unused_scopes.worth_a_look(grant)
                outcome = await send(bot, run, move, token)
                if isinstance(outcome, TokenRejected) and not rejected:
                    rejected = True
                    if run.pending and first_sent_at is None:
                        await forget_sending(bot, run)
                    usable = await tokens.usable_token(bot, call.user, rejected=token)
                    continue
                return await carry_out(bot, run, move, outcome, grant, first_sent_at, refreshed=rejected)


async def send(bot: Bot, run: Run, move: ApiCall, token: Secret) -> Outcome:
    """Makes the call; a write is recorded as sent before it leaves."""
    if move.write is None:
        return await bot.platform.call(move, token)
    number, digest, moment = len(run.results), fingerprint(move), now()

    def record(c: Connection) -> datetime | None:
        if not call_steps.record_results(c, run.call.id, run.call.claim, run.steps[:number]):
            return None
        return call_steps.record_sending(c, run.call.id, run.call.claim, number, digest, moment)

    sent_at = await bot.database.write(record)
    if sent_at is None or (move.write.keyed_for and not may_send(move.write, sent_at, now())):
        # The second: this process slept meanwhile, for longer than its idempotency key would hold.
        raise LeaseLost
    if not run.pending:
        run.steps.append(Step(number, digest, True, moment, None))
    run.unsafe = move.write.keyed_for is None
    # Not in a `finally`: whoever interrupts the call has to find it marked.
    outcome = await bot.platform.call(move, token)
    run.unsafe = False
    return outcome


async def carry_out(
    bot: Bot,
    run: Run,
    move: ApiCall,
    outcome: Outcome,
    grant: Grant | None,
    sent_before: datetime | None,
    *,
    refreshed: bool,
) -> bool:
    """Does what `core.decisions` says follows from the outcome. False when the call has left this worker's hands.

    `sent_before`: when the write first left in an earlier attempt, whose answer this outcome says nothing about.
    """
    call = run.call
    facts = Situation(
        now=now(),
        declared=run.command.needs(call.arguments),
        held=grant.scopes if grant else frozenset(),
        write=move.write,
        first_sent_at=run.pending.first_sent_at if run.pending else None,
        refreshed=refreshed,
        first_failed_at=call.first_failed_at,
        attempts=call.attempts,
        consents=call.consents,
        jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
    )
    if run.pending and sent_before is None and certainly_not_done(outcome):
        await forget_sending(bot, run)
    match after_call(outcome, facts):
        case Continue(result):
            run.add(move, result)
            if move.write is not None:
                await record(bot, run)
            return True
        case Suspend(needs):
            await ask_for_scopes(bot, call, needs, grant, run.steps, refused=outcome)
        case AwaitAdministrator(needs):
            certain = outcome.alternatives if isinstance(outcome, AppScopeMissing) else ()
            await administrators.wait_for(bot, call, needs, run.steps, named_by_platform=certain)
        case RetryAt(at):
            await requeue(bot, run, at, failed=True)
        case GiveUp(why, last):
            reply = replies.gave_up(why, typed(call), detail_of(last))
            if why in {Why.PLATFORM_FAILED, Why.BUSY}:
                reply = replies.with_retry(reply, call.id)
            await finish(bot, call, CallStatus.FAILED, why.value, reply)
        case OutcomeUnknown():
            await finish_unknown(bot, run)
        case Refresh():
            raise AssertionError("A rejected token was renewed before the decision.")
    return False


def certainly_not_done(outcome: Outcome) -> bool:
    """Whether a write may leave again after this. What was done, or refused for good, never does: it has its result."""
    match outcome:
        case Unreachable(may_have_arrived=may_have_arrived):
            return not may_have_arrived
        case Refused(unnamed_scope=unnamed_scope):
            return unnamed_scope
        case Succeeded():
            return False
        case _:
            return True


def detail_of(outcome: Outcome) -> str:
    match outcome:
        case InsufficientScope(alternatives=scopes) | AppScopeMissing(alternatives=scopes):
            return ", ".join(scopes)
        case Unreachable(reason=reason):
            return reason
        case RateLimited(retry_after=seconds):
            return f"{seconds:.0f} s" if seconds else "429"
        case _:
            code, log_id = getattr(outcome, "code", ""), getattr(outcome, "log_id", None)
            return f"{code}, log id {log_id}" if log_id else str(code)


async def forget_sending(bot: Bot, run: Run) -> None:
    """The platform answered that it did not do it: the write may leave again, whenever that will be."""
    number = len(run.results)
    await bot.database.write(lambda c: call_steps.forget_sending(c, run.call.id, run.call.claim, number))
    run.steps.pop()


async def record(bot: Bot, run: Run) -> None:
    def work(c: Connection) -> bool:
        held = call_steps.record_results(c, run.call.id, run.call.claim, run.steps)
        if held and run.call.takeovers:
            calls.made_step(c, run.call.id, run.call.claim)
        return held

    if not await bot.database.write(work):
        raise LeaseLost


async def requeue(bot: Bot, run: Run, at: datetime, *, failed: bool) -> None:
    """Back to the queue. One that has failed lines up with those of its person that have."""
    call = run.call
    first_failed_at = (call.first_failed_at or now()) if failed else call.first_failed_at
    results = finished(run.steps)

    def work(c: Connection) -> None:
        if call_steps.record_results(c, call.id, call.claim, results):
            again = calls.line_up(c, call, at, now()) if failed else at
            calls.requeue(c, call.id, call.claim, again, first_failed_at, made_step=failed)

    await bot.database.write(work)


async def put_back(bot: Bot, run: Run, runs_after: datetime) -> None:
    """The call goes back to the queue, unless a write without a key may have left."""
    if run.unsafe:
        await finish_unknown(bot, run)
    else:
        await requeue(bot, run, runs_after, failed=False)
