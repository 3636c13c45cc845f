"""Steps that the bot carries out itself: reading the grant, requiring scopes, cancelling, ending the grant, and what
replaces the buttons of plain cards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.core.api import Json
from bot.core.calls import DeferredCall, Step, WaitsFor
from bot.core.commands import CancelWaiting, ConfirmWrite, EndGrant, RequireScopes, Result
from bot.core.errors import LeaseLost
from bot.core.grants import REVOKED_BY_USER, Grant, GrantStatus
from bot.core.people import UserKey
from bot.core.scopes import ScopeSet, is_met, named
from bot.flows import administrators
from bot.flows.authorize.ask import ask_for_scopes
from bot.flows.authorize.end import cancel_in_batches, cancel_waiting, end_grant, waiting_before
from bot.flows.bot import Bot, utc_now
from bot.flows.calls import api_calls
from bot.flows.calls.run_state import Run
from bot.flows.outbox import deliver_all, typed, typed_in_full
from bot.store import call_steps, calls, grants
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


async def describe_grant(bot: Bot, call: DeferredCall) -> Json:
    """Return the result of `ReadGrant`."""

    def read(c: Connection) -> tuple[Grant | None, list[DeferredCall]]:
        return grants.find(c, call.user), calls.waiting_of(c, call.user)

    grant, waiting = await bot.database.read(read)
    active = grant is not None and grant.status is GrantStatus.ACTIVE
    return {
        "scopes": await describe_scopes(bot, call.user, grant.scopes) if grant and active else None,
        "access_until": iso(grant.access_expires_at) if grant and active else None,
        "refresh_until": iso(grant.refresh_expires_at) if grant and active else None,
        "waiting": [typed(each) for each in waiting if each.id != call.id],
    }


def iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


async def describe_scopes(bot: Bot, user: UserKey, scopes: ScopeSet) -> Json:
    described = await bot.platform_of(user).describe_scopes(scopes)
    return {scope: {"en": words.en, "zh": words.zh} for scope, words in sorted(described.items())}


async def require_scopes(bot: Bot, run: Run, move: RequireScopes) -> bool:
    """Record the result if the scopes are granted, else suspend the call. Returns whether the call may continue."""
    grant = await bot.database.read(lambda c: grants.find(c, run.call.user))
    active = grant is not None and grant.status is GrantStatus.ACTIVE
    if grant and active and is_met(move.requirement, grant.scopes):
        asked = named(move.requirement)
        granted = await describe_scopes(bot, run.call.user, asked & grant.scopes)
        run.add(move, Result(value={"scopes": granted}))
        return True
    await ask_for_scopes(bot, run, move.requirement, grant)
    return False


async def cancel_or_end(bot: Bot, run: Run, move: CancelWaiting | EndGrant) -> None:
    """Cancel the user's waiting calls, end the grant if asked to, and record the result in the same transaction."""
    call, now = run.call, utc_now()
    cancelled = await cancel_in_batches(bot, call.user, before=call)

    def work(c: Connection) -> tuple[list[Step], list[OutgoingMessage]]:
        rest, messages = cancel_waiting(c, bot, call.user, now, before=call)
        result: Json = {"commands": [typed(each) for each in (*cancelled, *rest)]}
        if isinstance(move, EndGrant):
            result["had_grant"] = end_grant(c, call.user, REVOKED_BY_USER, now)
        steps = run.with_result(move, Result(value=result))
        if not call_steps.record_results(c, call.id, call.claim, steps):
            raise LeaseLost
        return steps, messages

    run.steps, messages = await api_calls.write(bot, call, work)
    bot.signals.upkeep.set()
    await deliver_all(bot, messages)


# --- instead of the buttons of cards -----------------------------------------------------------------------


async def confirm_write(bot: Bot, run: Run, move: ConfirmWrite) -> None:
    """Confirm one of the user's old writes, and record the result in the same transaction.

    Only writes that were asked for before this command can be meant by it.
    """
    call, now = run.call, utc_now()

    def work(c: Connection) -> list[Step]:
        waiting = [
            each for each in waiting_before(c, call.user, call) if each.waits_for is WaitsFor.CONFIRMATION
        ]
        codes = codes_of(waiting)
        chosen = [each for each, code in zip(waiting, codes, strict=True) if move.code in {"", code}]
        confirmed = len(chosen) == 1 and calls.confirm(c, chosen[0].id, now)
        result: Json = {
            "confirmed": typed_in_full(chosen[0]) if confirmed else None,
            "waiting": [[code, typed_in_full(each)] for each, code in zip(waiting, codes, strict=True)],
        }
        steps = run.with_result(move, Result(value=result))
        if not call_steps.record_results(c, call.id, call.claim, steps):
            raise LeaseLost
        return steps

    run.steps = await bot.database.write(work)


SHORTEST_CODE = 4


def codes_of(waiting: Sequence[DeferredCall]) -> list[str]:
    """Return a short code for each call: the end of its id, as long as needed to tell them apart."""
    ids = [each.id for each in waiting]
    length = SHORTEST_CODE
    while len({each[-length:] for each in ids}) < len(ids):
        length += 1
    return [each[-length:] for each in ids]


async def check_scopes(bot: Bot, call: DeferredCall) -> Json:
    """Return the result of `CheckScopes`."""
    if not await bot.is_administrator(call.user):
        return {"administrator": False, "released": 0}
    released = await administrators.check(bot, bot.platform_of(call.user))
    return {"administrator": True, "released": released}
