"""Runs a claimed call: replays what is recorded, makes the next step, and carries out the decision on its outcome.

A call that leaves this function is settled with its answer, suspended, or back in the queue; never half of it. What a
crash interrupts is claimed again when the lease ends, and starts from what was recorded.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn, assert_never

from bot.core import replies
from bot.core.commands import (
    ApiRefused,
    Ask,
    BotCall,
    CancelWaiting,
    Command,
    EndGrant,
    ReadGrant,
    RequireScopes,
    Result,
    advance,
    fingerprint,
)
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
from bot.core.errors import CannotOpenSecret, CommandMistake, LeaseLost
from bot.core.explain import explain_refusal
from bot.core.model import (
    ApiCall,
    AppScopeMissing,
    CallStatus,
    DeferredCall,
    Grant,
    GrantStatus,
    InsufficientScope,
    Json,
    Outcome,
    RateLimited,
    Refused,
    Reply,
    Secret,
    Step,
    Succeeded,
    TokenProblem,
    TokenRefused,
    TokenRejected,
    Unreachable,
)
from bot.core.scopes import ScopeSet, is_met, named
from bot.core.times import find_zone
from bot.flows import administrators, authorization, tokens, unused
from bot.flows.bot import Bot, now
from bot.flows.delivery import (
    answer,
    answer_alone,
    deliver_all,
    expired_before_start,
    insert_all,
    typed,
)
from bot.flows.waiting import finished
from bot.store import call_steps, calls, granted_scopes, grants, users
from bot.store.database import Connection
from bot.store.outbox import OutgoingMessage

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Run:
    """One claimed call under way, as far as this process has come with it."""

    call: DeferredCall
    command: Command
    default_time_zone: str
    steps: list[Step] = field(default_factory=list)
    """Contiguous from 0; only the last may lack a result: a write that may have left."""
    unsafe: bool = False
    """A write without an idempotency key is on its way: better awaited than interrupted."""
    used_grant: bool = False
    first_in_a_day: bool = False
    """The first call in a day that used the person's grant: an occasion to look for what is not used."""

    @property
    def used_scopes(self) -> ScopeSet | None:
        """The scopes by which this call acts in its person's name, as far as that is known; None when it did not."""
        needs = (*self.command.needs(self.call.arguments), *self.call.needs)
        return named(needs) if self.used_grant else None

    @property
    def ask(self) -> Ask:
        call = self.call
        return Ask(
            call.id,
            call.user,
            call.chat,
            call.arguments,
            call.asked_at,
            call.language,
            call.time_zone,
            self.default_time_zone,
        )

    @property
    def results(self) -> list[Result]:
        return [decode(step.result) for step in self.steps if step.result is not None]

    @property
    def pending(self) -> Step | None:
        """A write that may have left, and whose answer is not known."""
        return self.steps[-1] if self.steps and self.steps[-1].result is None else None

    @property
    def has_acted(self) -> bool:
        """Whether the answer is what this person may see, or what was done in their name."""
        return self.used_grant or (self.has_written and not self.command.urgent)

    @property
    def has_written(self) -> bool:
        return any(step.write and step.first_sent_at is not None for step in self.steps)

    def with_result(self, move: ApiCall | BotCall, result: Result) -> list[Step]:
        """The steps with one more result; a write that was recorded as sent has its result now."""
        before = self.steps[:-1] if self.pending else self.steps
        sent_at = self.pending.first_sent_at if self.pending else None
        match move:
            case ApiCall(write=write):
                is_write = write is not None
            case CancelWaiting() | EndGrant():
                # Done in the transaction that records it.
                is_write, sent_at = True, now()
            case _:
                is_write = False
        return [*before, Step(len(before), fingerprint(move), is_write, sent_at, encode(result))]

    def add(self, move: ApiCall | BotCall, result: Result) -> None:
        self.steps = self.with_result(move, result)


def encode(result: Result) -> Json:
    if result.refused is None:
        return {"value": result.value}
    refused = result.refused
    return {"refused": [refused.code, refused.message, refused.log_id, refused.data]}


def decode(stored: Json) -> Result:
    if "refused" in stored:
        return Result(refused=Refused(*stored["refused"]))
    return Result(value=stored["value"])


async def begin(bot: Bot, call: DeferredCall) -> Run | None:
    """Makes a claimed call ready to run. None when it had to be settled without being run, or cannot run here."""
    moment = now()
    if call.genuine is None:
        log.warning("another replica has the key", extra={"call": call.id})
        again = moment + FOR_ANOTHER_REPLICA
        await bot.database.write(lambda c: calls.requeue(c, call.id, call.claim, again, call.first_failed_at))
        return None
    if not call.genuine:
        # Without a word to anybody: it may name whom it likes.
        await bot.database.write(lambda c: calls.reject(c, call, moment))
        return None
    if call.takeovers >= MOST_TAKEOVERS:
        await give_up_stuck(bot, call)
        return None
    command = bot.commands.get(call.command)
    if command is None:
        await finish(bot, call, CallStatus.FAILED, "unknown_command", replies.crashed(typed(call)))
        return None
    return Run(call, command, bot.time_zone)


MOST_TAKEOVERS = 5
"""Claims without a step of progress, each lost with its worker: the call may be what takes workers down."""


async def give_up_stuck(bot: Bot, call: DeferredCall) -> None:
    """Ends a call that was claimed over and over and never came any further."""
    told = {"call": call.id, "command": call.command, "claims": call.takeovers}
    log.error("call given up: it was claimed again and again without making a step", extra=told)
    if await bot.database.read(lambda c: call_steps.has_written(c, call.id)):
        status, outcome, reply = CallStatus.OUTCOME_UNKNOWN, "outcome_unknown", replies.outcome_unknown
    else:
        status, outcome, reply = CallStatus.FAILED, "no_progress", replies.no_progress
    await finish(bot, call, status, outcome, reply(typed(call)))


async def load(bot: Bot, run: Run) -> bool:
    """Loads what is recorded of a call that was claimed before. False when it cannot go on from there."""
    call = run.call
    try:
        run.steps, profile = await bot.database.read(
            lambda c: (call_steps.steps_of(c, call.id), users.profile(c, call.user))
        )
    except CannotOpenSecret:
        log.exception("recorded steps cannot be opened", extra={"call": call.id})
        await finish_unknown(bot, run)
        return False
    if profile is not None and profile.time_zone is not None and not run.has_written:
        await use_time_zone(bot, run, profile.time_zone)
    if replays(run):
        return True
    if run.has_written:
        await finish_unknown(bot, run)
        return False
    run.steps = []
    return True


async def use_time_zone(bot: Bot, run: Run, zone: str) -> None:
    """The person's time zone as it is known by now: it may have been told while the call waited.

    Once the call has written something, its replay keeps the zone that it was begun in.
    """
    call = run.call
    if zone == call.time_zone:
        return
    await bot.database.write_one(
        partial(calls.set_time_zone, call_id=call.id, claim=call.claim, time_zone=zone)
    )
    run.call = replace(call, time_zone=zone)


def replays(run: Run) -> bool:
    """Whether the command still makes the moves that were recorded: a deploy may have changed it in between."""
    for number, step in enumerate(run.steps):
        try:
            with within_time(run.command):
                move = advance(run.command, run.ask, run.results[:number])
        except ApiRefused:
            return False
        if isinstance(move, Reply) or fingerprint(move) != step.digest:
            return False
    return True


async def run_call(bot: Bot, run: Run) -> None:
    """Takes a call as far as it goes."""
    try:
        if run.call.claim > 1 and not await load(bot, run):
            return
        if run.call.expires_at <= now() and not run.has_written:
            await expire(bot, run.call)
            return
        if run.call.recalled_at is not None and not run.pending and not is_done(run):
            raise LeaseLost
        while await move_on(bot, run):
            pass
    except LeaseLost:
        if not await stop_if_recalled(bot, run.call):
            log.warning("lease lost", extra={"call": run.call.id})
    except CannotOpenSecret as error:
        log.warning("another replica has the key", extra={"call": run.call.id, "reason": str(error)})
        await put_back(bot, run, now() + FOR_ANOTHER_REPLICA)
    except ApiRefused as refusal:
        code = refusal.outcome.code
        reply = explain_refusal(refusal.outcome, typed(run.call))
        await finish(bot, run.call, CallStatus.FAILED, f"refused_{code}", reply, used=frozenset())
    except asyncio.CancelledError:
        await asyncio.shield(put_back(bot, run, now()))
        raise
    except CommandMistake as mistake:
        log.error(str(mistake), extra={"call": run.call.id, "command": run.call.command})
        await give_up_crashed(bot, run)
    except Exception as error:
        # Without the exception's words: a command may have put into them what somebody wrote.
        told = {"error": type(error).__name__, "where": where_raised(error)}
        log.error("call crashed", extra={"call": run.call.id, "command": run.call.command, **told})
        await give_up_crashed(bot, run)


def is_done(run: Run) -> bool:
    """Whether nothing is left to do but to answer."""
    with within_time(run.command):
        return isinstance(advance(run.command, run.ask, run.results), Reply)


async def expire(bot: Bot, call: DeferredCall) -> None:
    """Ends a call that comes to its turn too late: it was delivered late, or nothing ran for that long."""
    await finish(bot, call, CallStatus.EXPIRED, "expired", expired_before_start(call))


def where_raised(error: BaseException) -> str:
    """The last frames of an exception, the innermost first."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_TOLD:]
    return ", ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames))


FRAMES_TOLD = 8


async def give_up_crashed(bot: Bot, run: Run) -> None:
    if run.has_written:
        await finish_unknown(bot, run)
    else:
        await finish(bot, run.call, CallStatus.FAILED, "crashed", replies.crashed(typed(run.call)))


FOR_ANOTHER_REPLICA = timedelta(seconds=2)
"""Which may take the call meanwhile."""


LONGEST_MOVE = 3.0
"""Seconds for a command to come to its next step. It computes on the event loop: meanwhile nobody else is served."""


@contextmanager
def within_time(command: Command) -> Iterator[None]:
    """Raises `CommandMistake` in a command that goes on computing, by a signal: nothing else interrupts a loop."""

    def interrupt(*_: object) -> NoReturn:
        raise CommandMistake(f"{command.typed} went on for {LONGEST_MOVE:.0f} seconds without a step.")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_MOVE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def move_on(bot: Bot, run: Run) -> bool:
    """Makes one step. False when the call has left this worker's hands."""
    with within_time(run.command):
        move = advance(run.command, run.ask, run.results)
    match move:
        case Reply():
            await finish_answered(bot, run, move)
            if run.first_in_a_day:
                bot.background(unused.offer(bot, run.call.user))
            return False
        case ApiCall():
            return await call_as_user(bot, run, move)
        case ReadGrant():
            run.add(move, Result(value=await describe_grant(bot, run.call)))
            return True
        case RequireScopes():
            return await require_scopes(bot, run, move)
        case CancelWaiting() | EndGrant():
            await drop(bot, run, move)
            return True
        case _:
            assert_never(move)


# --- API calls ------------------------------------------------------------------------------------------


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
                await authorization.ask_for_scopes(bot, call, needs, grant, run.steps)
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
                await authorization.ask_to_confirm(bot, call, run.steps)
                return False
            case tokens.Usable(token=token, grant=grant):
                run.used_grant = True
                run.first_in_a_day = unused.worth_a_look(grant)
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
            await authorization.ask_for_scopes(bot, call, needs, grant, run.steps, refused=outcome)
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


# --- requests to the bot itself ------------------------------------------------------------------------------


async def describe_grant(bot: Bot, call: DeferredCall) -> Json:
    def read(c: Connection) -> tuple[Grant | None, list[DeferredCall]]:
        return grants.find(c, call.user), calls.waiting_of(c, call.user)

    grant, waiting = await bot.database.read(read)
    active = grant is not None and grant.status is GrantStatus.ACTIVE
    return {
        "scopes": await in_words(bot, grant.scopes) if grant and active else None,
        "access_until": iso(grant.access_expires_at) if grant and active else None,
        "refresh_until": iso(grant.refresh_expires_at) if grant and active else None,
        "waiting": [typed(each) for each in waiting if each.id != call.id],
    }


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


async def in_words(bot: Bot, scopes: ScopeSet) -> Json:
    described = await bot.platform.describe_scopes(scopes)
    return {scope: {"en": words.en, "zh": words.zh} for scope, words in sorted(described.items())}


async def require_scopes(bot: Bot, run: Run, move: RequireScopes) -> bool:
    grant = await bot.database.read(lambda c: grants.find(c, run.call.user))
    active = grant is not None and grant.status is GrantStatus.ACTIVE
    if grant and active and is_met(move.requirement, grant.scopes):
        asked = named(move.requirement)
        run.add(move, Result(value={"scopes": await in_words(bot, asked & grant.scopes)}))
        return True
    await authorization.ask_for_scopes(bot, run.call, move.requirement, grant, run.steps)
    return False


async def drop(bot: Bot, run: Run, move: CancelWaiting | EndGrant) -> None:
    """Cancels what waits for the person, and ends the grant if that was asked; its result is recorded with it."""
    call, moment = run.call, now()
    most = await authorization.drop_all_but_a_portion(bot, call.user, before=call)

    def work(c: Connection) -> tuple[list[Step], list[OutgoingMessage]]:
        rest, messages = authorization.drop_waiting(c, bot, call.user, moment, before=call)
        result: Json = {"commands": [typed(each) for each in (*most, *rest)]}
        if isinstance(move, EndGrant):
            result["had_grant"] = authorization.end_grant(c, call.user, "revoked_by_user", moment)
        steps = run.with_result(move, Result(value=result))
        if not call_steps.record_results(c, call.id, call.claim, steps):
            raise LeaseLost
        return steps, messages

    run.steps, messages = await bot.database.write(work)
    bot.wake.upkeep.set()
    await deliver_all(bot, messages)


# --- the end ---------------------------------------------------------------------------------------------------


async def finish_answered(bot: Bot, run: Run, reply: Reply) -> None:
    """Settles a call with its command's answer. A group sees it, and whose it is, unless it is for the asker alone."""
    call = run.call
    refused = bool(run.results) and run.results[-1].refused is not None
    if call.suspended_at is not None and call.request_id is not None and not run.has_written:
        asked = (call.request_id, call.chat.chat_id, call.chat.thread_id, call.command, call.arguments)
        digest = hashlib.sha256(bot.platform.render_reply(reply).body.encode()).digest()
        before = bot.repeats.before(asked, digest, call.id)
        # Another replica may have answered since, or that answer may not have come.
        if before and before == await bot.database.read(lambda c: calls.answered_before(c, call)):
            reply = replies.same_as_above(reply, typed(call))
    public = not (run.command.private or reply.confidential or refused)
    if public and call.chat.kind == "group" and run.has_acted:
        profile = await bot.database.read(lambda c: users.profile(c, call.user))
        reply = replies.on_behalf(reply, profile.name if profile else None)
    await finish(bot, call, CallStatus.SUCCEEDED, "answered", reply, used=run.used_scopes, public=public)


async def finish(
    bot: Bot,
    call: DeferredCall,
    status: CallStatus,
    outcome: str,
    reply: Reply,
    *,
    used: ScopeSet | None = None,
    public: bool = False,
) -> None:
    """Settles a call together with its answer, then sends the answer. `used`: what it needed of the grant."""
    draft, moment = answer(bot, call, reply, public=public), now()

    def work(c: Connection) -> list[OutgoingMessage] | None:
        if not calls.settle(c, call.id, call.claim, status, outcome, moment):
            return finish_recalled(c, bot, call, (status, outcome), reply, moment)
        if used is not None:
            grants.touch(c, call.user, moment)
        if reply.time_zone and find_zone(reply.time_zone):
            users.learn_time_zone(c, call.user, reply.time_zone)
        if used:
            granted_scopes.used(c, call.user, used, call.command, moment)
        return insert_all(c, bot, [draft])

    messages = await bot.database.write(work)
    if messages is None:
        raise LeaseLost
    await deliver_all(bot, messages)


def finish_recalled(
    c: Connection, bot: Bot, call: DeferredCall, end: tuple[CallStatus, str], reply: Reply, moment: datetime
) -> list[OutgoingMessage] | None:
    """Inside a transaction: settles a call whose question was recalled while it was under way. None when it was not.

    What was read for it is dropped; what was written is told to its asker alone.
    """
    wrote = call_steps.has_written(c, call.id)
    status, outcome = end if wrote else (CallStatus.CANCELLED, "recalled")
    if not calls.settle_recalled(c, call.id, call.claim, status, outcome, moment):
        return None
    return insert_all(c, bot, [answer_alone(bot, call, reply)]) if wrote else []


async def stop_if_recalled(bot: Bot, call: DeferredCall) -> bool:
    """Ends a call that was not allowed to go on, if that is because its question was recalled."""
    end = (CallStatus.CANCELLED, "recalled")
    reply, moment = replies.stopped_halfway(typed(call)), now()
    messages = await bot.database.write(lambda c: finish_recalled(c, bot, call, end, reply, moment))
    await deliver_all(bot, messages or [])
    return messages is not None


async def finish_unknown(bot: Bot, run: Run) -> None:
    reply = replies.outcome_unknown(typed(run.call))
    await finish(bot, run.call, CallStatus.OUTCOME_UNKNOWN, "outcome_unknown", reply)
