"""Suspends a claimed call: records its results and releases its claim in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.core.calls import DeferredCall, Step, WaitsFor
from bot.core.errors import LeaseLost
from bot.core.scopes import Requirement
from bot.store import call_steps, calls
from bot.store.transaction import Connection


@dataclass(frozen=True, slots=True)
class Wait:
    """What a suspended call waits for."""

    kind: WaitsFor
    needs: Requirement = ()
    request_id: str | None = None
    """The authorization request that asks for its scopes."""
    retried_at: datetime | None = None
    """The earliest time of the next attempt, if an attempt has failed during the wait."""


def suspend(c: Connection, call: DeferredCall, steps: Sequence[Step], wait: Wait, now: datetime) -> None:
    """Suspend a claimed call. Raises LeaseLost if another worker has claimed the call."""
    keep_results(c, call, steps)
    suspended = calls.suspend(
        c,
        call.id,
        call.claim,
        wait.kind,
        wait.needs,
        wait.request_id,
        now,
        confirmed=call.confirmed,
        again=wait.retried_at,
    )
    if not suspended:
        raise LeaseLost


def keep_results(c: Connection, call: DeferredCall, steps: Sequence[Step]) -> None:
    """Record the results of a call, in a transaction that then checks the claim itself.

    Raises LeaseLost if another worker has claimed the call.
    """
    is_new = call.claim == 1 and not steps
    if not is_new and not call_steps.record_results(c, call.id, call.claim, finished(steps)):
        raise LeaseLost


def finished(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that have a result: all but a write that may have been sent."""
    return [step for step in steps if step.result is not None]
