"""Suspends a claimed call: records its results and releases its claim in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.core.calls import Step, Wait
from bot.core.errors import LeaseLost
from bot.flows.calls.run_state import Run
from bot.store import call_steps, calls
from bot.store.transaction import Connection


def suspend(c: Connection, run: Run, wait: Wait, now: datetime) -> None:
    """Suspend a claimed call. Raises LeaseLost if another worker has claimed the call."""
    keep_results(c, run)
    if not calls.suspend(c, run.call, wait, now):
        raise LeaseLost


def keep_results(c: Connection, run: Run) -> None:
    """Record the results of a call, in a transaction that then checks the claim itself.

    Raises LeaseLost if another worker has claimed the call.
    """
    call, is_new = run.call, run.call.claim == 1 and not run.steps
    if not is_new and not call_steps.record_results(c, call.id, call.claim, finished(run.steps)):
        raise LeaseLost


def finished(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that have a result: all but a write that may have been sent."""
    return [step for step in steps if step.result is not None]
