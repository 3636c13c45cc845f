"""Suspending a claimed call: its results are recorded and its claim given up in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.core.calls import DeferredCall, Step, WaitsFor
from bot.core.errors import LeaseLost
from bot.core.scopes import Requirement
from bot.flows.bot import Bot, now
from bot.store import call_steps, calls
from bot.store.transaction import Connection


async def only_genuine(bot: Bot, found: Sequence[DeferredCall]) -> list[DeferredCall]:
    """Those that the bot wrote itself. The others are rejected, so that nobody comes upon them again."""
    forged, moment = [call for call in found if call.genuine is False], now()
    if forged:
        await bot.database.write(lambda c: [calls.reject(c, call, moment) for call in forged])
    return [call for call in found if call.genuine]


def finished(steps: Sequence[Step]) -> list[Step]:
    """The steps that have a result: all but a write that may have left."""
    return [step for step in steps if step.result is not None]


def keep_results(c: Connection, call: DeferredCall, steps: Sequence[Step]) -> None:
    """Inside a transaction that goes on to check the claim: records what the call has done so far."""
    begun_anew = call.claim == 1 and not steps
    if not begun_anew and not call_steps.record_results(c, call.id, call.claim, finished(steps)):
        raise LeaseLost


def suspend(
    c: Connection,
    call: DeferredCall,
    steps: Sequence[Step],
    waits_for: WaitsFor,
    needs: Requirement,
    request_id: str | None,
    moment: datetime,
    again: datetime | None = None,
) -> None:
    """Inside a transaction, which is undone when the claim is lost."""
    keep_results(c, call, steps)
    suspended = calls.suspend(
        c, call.id, call.claim, waits_for, needs, request_id, moment, confirmed=call.confirmed, again=again
    )
    if not suspended:
        raise LeaseLost
