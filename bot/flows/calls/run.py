"""Runs a claimed call: replays its recorded steps, then makes the next ones."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import assert_never

from bot.core.api import ApiCall
from bot.core.calls import CallStatus, DeferredCall
from bot.core.commands import (
    ApiRefused,
    CancelWaiting,
    CheckScopes,
    ConfirmWrite,
    EndGrant,
    ReadGrant,
    RequireScopes,
    Result,
    advance,
    fingerprint,
)
from bot.core.errors import CannotOpenSecret, CommandMistake, LeaseLost
from bot.core.messages import Reply
from bot.core.words import replies
from bot.core.words.refusals import explain_refusal
from bot.flows import observations
from bot.flows.account import unused_scopes
from bot.flows.bot import Bot, utc_now
from bot.flows.calls import api_calls
from bot.flows.calls.botcalls import (
    cancel_or_end,
    check_scopes,
    confirm_write,
    describe_grant,
    require_scopes,
)
from bot.flows.calls.finish import (
    End,
    failed,
    finish,
    finish_answered,
    finish_unknown,
    outcome_unknown,
    stop_if_recalled,
)
from bot.flows.calls.perform import OTHER_REPLICA_DELAY, call_as_user, detail_of, put_back
from bot.flows.calls.run_state import Run
from bot.flows.clock import expiry_time
from bot.flows.command_timeout import TimeLimit
from bot.flows.outbox import expired_before_start, typed
from bot.store import call_steps, calls, users

log = logging.getLogger(__name__)

MAX_TAKEOVERS = 5
"""Claims without a new step, each lost when its worker ended. The call itself may be crashing the workers."""

FRAMES_LOGGED = 8
"""The number of stack frames that are logged for an exception."""


async def prepare(bot: Bot, call: DeferredCall) -> Run | None:
    """Prepare a claimed call. Returns None if it was settled without running, or cannot run in this process."""
    now = utc_now()
    if call.genuine is None:
        observations.key_missing(bot, call)
        due_at = now + OTHER_REPLICA_DELAY
        await bot.database.write(lambda c: calls.requeue(c, call, due_at, call.first_failed_at))
        return None
    if not call.genuine:
        # Rejected without a reply, because a forged row may name any user.
        await bot.database.write(lambda c: calls.reject(c, call, now))
        return None
    if call.takeovers >= MAX_TAKEOVERS:
        await give_up_stuck(bot, call)
        return None
    command = bot.commands_of(call.user).get(call.command)
    if command is None:
        await finish(bot, call, failed("unknown_command", replies.crashed(typed(call))))
        return None
    return Run(call, command, bot.time_zone)


async def give_up_stuck(bot: Bot, call: DeferredCall) -> None:
    """End a call that was claimed repeatedly without making a step."""
    context = {"call": call.id, "command": call.command, "claims": call.takeovers}
    log.error("call given up: it was claimed repeatedly without making a step", extra=context)
    if await bot.database.read(lambda c: call_steps.has_written(c, call.id)):
        await finish(bot, call, outcome_unknown(call))
    else:
        await finish(bot, call, failed("no_progress", replies.no_progress(typed(call))))


async def load(bot: Bot, run: Run) -> bool:
    """Load the recorded steps of a call that was claimed before. Returns False if it was settled instead."""
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
    if can_replay(run):
        return True
    if run.has_written:
        await finish_unknown(bot, run)
        return False
    run.steps = []
    return True


async def use_time_zone(bot: Bot, run: Run, zone: str) -> None:
    """Use the user's current time zone, which may have become known while the call waited.

    Must not be called for a call that has written something, because its replay needs the zone that it started with.
    """
    call = run.call
    if zone == call.time_zone:
        return
    await bot.database.write_one(
        partial(calls.set_time_zone, call_id=call.id, claim=call.claim, time_zone=zone)
    )
    run.call = replace(call, time_zone=zone)


def can_replay(run: Run) -> bool:
    """Return whether the command still makes the recorded moves, which a deploy may have changed."""
    for number, step in enumerate(run.steps):
        try:
            with TimeLimit(run.command.typed):
                move = advance(run.command, run.ask, run.results[:number])
        except ApiRefused:
            return False
        if isinstance(move, Reply) or fingerprint(move) != step.digest:
            return False
    return True


def is_done(run: Run) -> bool:
    """Return whether the command's next move is its reply."""
    with TimeLimit(run.command.typed):
        return isinstance(advance(run.command, run.ask, run.results), Reply)


async def run_call(bot: Bot, run: Run) -> None:
    """Run a call until it is settled, suspended or put back into the queue."""
    try:
        if run.call.claim > 1 and not await load(bot, run):
            return
        if run.call.expires_at <= expiry_time() and not run.has_written:
            await expire(bot, run.call)
            return
        if run.call.recalled_at is not None and not run.pending and not is_done(run):
            raise LeaseLost
        while await traced_step(bot, run):
            pass
    except LeaseLost:
        if not await stop_if_recalled(bot, run.call):
            observations.lease_lost(run.call)
    except CannotOpenSecret:
        observations.key_missing(bot, run.call)
        await put_back(bot, run, utc_now() + OTHER_REPLICA_DELAY)
    except ApiRefused as refusal:
        code = refusal.outcome.code
        reply = explain_refusal(refusal.outcome, typed(run.call))
        why = detail_of(refusal.outcome)
        await finish(
            bot, run.call, End(CallStatus.FAILED, f"refused_{code}", reply, used=frozenset(), reason=why)
        )
    except asyncio.CancelledError:
        await asyncio.shield(put_back(bot, run, utc_now()))
        raise
    except CommandMistake as mistake:
        log.error(str(mistake), extra={"call": run.call.id, "command": run.call.command})
        await give_up_crashed(bot, run)
    except Exception as error:
        # Logged without the exception's message, which may contain what the user wrote.
        context = {"error": type(error).__name__, "where": where_raised(error)}
        log.error("call crashed", extra={"call": run.call.id, "command": run.call.command, **context})
        await give_up_crashed(bot, run)
    finally:
        await api_calls.record_rest(bot, run.call)


async def expire(bot: Bot, call: DeferredCall) -> None:
    """End a call that was claimed after its expiry: its message was delivered late, or no worker was running."""
    await finish(bot, call, End(CallStatus.EXPIRED, "expired", expired_before_start(call)))


def where_raised(error: BaseException) -> str:
    """Return the innermost frames of an exception, the innermost first."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_LOGGED:]
    return ", ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames))


async def give_up_crashed(bot: Bot, run: Run) -> None:
    if run.has_written:
        await finish_unknown(bot, run)
    else:
        await finish(bot, run.call, failed("crashed", replies.crashed(typed(run.call))))


async def traced_step(bot: Bot, run: Run) -> bool:
    with bot.tracer.span("call step", step=len(run.results)):
        return await make_step(bot, run)


async def make_step(bot: Bot, run: Run) -> bool:
    """Make one step. Returns whether the call may continue."""
    with TimeLimit(run.command.typed):
        move = advance(run.command, run.ask, run.results)
    match move:
        case Reply():
            await finish_answered(bot, run, move)
            if run.first_in_a_day:
                bot.background(unused_scopes.offer(bot, run.call.user))
            return False
        case ApiCall():
            return await call_as_user(bot, run, move)
        case ReadGrant():
            run.add(move, Result(value=await describe_grant(bot, run.call)))
            return True
        case RequireScopes():
            return await require_scopes(bot, run, move)
        case CancelWaiting() | EndGrant():
            await cancel_or_end(bot, run, move)
            return True
        case ConfirmWrite():
            await confirm_write(bot, run, move)
            return True
        case CheckScopes():
            run.add(move, Result(value=await check_scopes(bot, run.call)))
            return True
        case _:
            assert_never(move)
