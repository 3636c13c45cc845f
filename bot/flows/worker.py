"""The worker, one in each replica, claims calls and runs them.

`work` runs until `drain` is called, which stops claiming, cancels the calls that can be repeated, and waits briefly for
the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from bot.core.calls import DeferredCall
from bot.core.errors import LeaseLost
from bot.flows import correlation, observations
from bot.flows.acknowledge import expect_acknowledgement
from bot.flows.bot import Bot, utc_now
from bot.flows.calls.run import prepare, run_call
from bot.flows.calls.run_state import Run
from bot.store import claims

MAX_CONCURRENT_CALLS = 32
"""The number of calls that one replica runs at a time. They mostly wait for the platform."""


MAX_CONCURRENT_URGENT_CALLS = 8
"""Allowed in addition to `MAX_CONCURRENT_CALLS`: urgent calls are short, and need not wait for others."""


POLL_INTERVAL = 1.0
"""Seconds between two polls of the queue without a signal."""


DRAIN_TIMEOUT = 8.0
"""Seconds that a stopping process waits for requests that cannot be repeated: a write without an idempotency key, a
refresh, the exchange of a code."""


RELEASE_TIMEOUT = 0.5
"""Seconds for the last writes to the database. Another process sends the resulting messages."""


@dataclass(slots=True)
class Worker:
    """Runs the calls that this process has claimed."""

    bot: Bot
    turns: deque[str] = field(init=False)
    """The apps, beginning with the one that is asked next for a call: a busy one does not keep another waiting."""
    runs: dict[asyncio.Task[None], Run | None] = field(default_factory=dict)
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.turns = deque(self.bot.platforms)

    async def work(self) -> None:
        """Claim and run calls until `drain` is called."""
        while not self.draining.is_set():
            self.bot.signals.calls.clear()
            free_slots = MAX_CONCURRENT_CALLS - len(self.runs)
            call = (
                await self.claim(urgent_only=free_slots <= 0)
                if free_slots > -MAX_CONCURRENT_URGENT_CALLS
                else None
            )
            if call is not None:
                task = asyncio.create_task(self.run(call))
                self.runs[task] = None
                task.add_done_callback(self.forget)
            if call is None or not (call.others_due or len(self.turns) > 1):
                await self.wait_for_work()

    async def claim(self, *, urgent_only: bool) -> DeferredCall | None:
        try:
            for _ in range(len(self.turns)):
                claim = self.bot.claim(self.turns[0])
                self.turns.rotate(-1)
                claim_next = partial(claims.claim_next, claim=claim, urgent_only=urgent_only)
                call = await self.bot.database.write_one(claim_next)
                if call is not None:
                    return call
        except Exception as error:
            observations.failed(self.bot, "claim failed", error)
            await asyncio.sleep(POLL_INTERVAL)
        return None

    async def wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(POLL_INTERVAL):
                await self.bot.signals.calls.wait()
        except TimeoutError:
            pass

    def forget(self, task: asyncio.Task[None]) -> None:
        self.runs.pop(task, None)
        # The user's next call may have waited for this one.
        self.bot.signals.calls.set()

    async def run(self, call: DeferredCall) -> None:
        if call.suspended_at is None and call.genuine:
            # Repeated here, because another replica may have accepted the message, or this one before a restart.
            expect_acknowledgement(self.bot, call)
        task = asyncio.current_task()
        assert task is not None
        with (
            correlation.of_call(call),
            self.bot.tracer.span(f"call {call.command}", call=call.id, platform=call.user.platform),
        ):
            keeper = asyncio.create_task(self.keep_lease(call))
            try:
                run = await prepare(self.bot, call)
                if run is not None:
                    observations.call_started(self.bot, call)
                    self.runs[task] = run
                    await run_call(self.bot, run)
            except LeaseLost:
                observations.lease_lost(call)
            except Exception as error:
                # The database failed: the lease expires, and the call is claimed again.
                observations.failed(self.bot, "call interrupted", error)
            finally:
                keeper.cancel()

    async def keep_lease(self, call: DeferredCall) -> None:
        while True:
            await asyncio.sleep(self.bot.lease.total_seconds() / 3)
            until = utc_now() + self.bot.lease
            try:
                extended = await self.bot.database.write(
                    partial(claims.extend, call_id=call.id, claim=call.claim, lease_until=until)
                )
            except Exception as error:
                observations.failed(self.bot, "lease not extended", error)
                continue
            if not extended:
                return

    async def drain(self) -> None:
        """Stop claiming, cancel the calls that can be repeated, and wait for the others."""
        deadline = asyncio.get_running_loop().time() + DRAIN_TIMEOUT
        self.draining.set()
        self.bot.signals.calls.set()
        for task, run in list(self.runs.items()):
            if run is None or not run.unsafe:
                task.cancel()
        while pending := {*self.runs, *self.bot.critical_tasks}:
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                break
            await asyncio.wait(pending, timeout=remaining)
        for task in list(self.runs):
            task.cancel()
        if self.runs:
            await asyncio.wait(self.runs, timeout=RELEASE_TIMEOUT)
