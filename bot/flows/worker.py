"""The worker: claims calls and runs them, and looks after everything that falls due. One in each replica.

`work` runs until it is told to drain; then it claims nothing more, interrupts what can be repeated, and waits a
little for what cannot.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from bot.core.errors import LeaseLost
from bot.core.model import DeferredCall
from bot.flows import (
    administrators,
    authorization,
    cards,
    consent,
    delivery,
    device,
    reactions,
    signs,
    succession,
    tokens,
)
from bot.flows.bot import Bot, now
from bot.flows.calls import Run, begin, run_call
from bot.store import claims, keys, replicas, retention
from bot.store.database import Connection

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Calls that one replica works on at the same time: they mostly wait for the platform."""

URGENT_BESIDE = 8
"""Urgent calls beyond that: they are short, and wait for none of the others."""

LOOK_AGAIN = 1.0
"""Seconds between looks at the queue when nobody has told that there is work."""

DRAIN_PATIENCE = 8.0
"""Seconds for what is on its way, and cannot be repeated, when the process is told to stop: a write without an
idempotency key, a refresh, the exchange of a code."""


PUT_BACK_PATIENCE = 0.5
"""Seconds for the last writes to the database. A message that they make due is sent by whoever comes next."""


@dataclass(slots=True)
class Worker:
    """What is under way in this process."""

    bot: Bot
    runs: dict[asyncio.Task[None], Run | None] = field(default_factory=dict)
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self) -> None:
        """Claims and runs calls until `drain`."""
        while not self.draining.is_set():
            self.bot.wake.calls.clear()
            room = AT_ONCE - len(self.runs)
            call = await self.claim(urgent_only=room <= 0) if room > -URGENT_BESIDE else None
            if call is not None:
                task = asyncio.create_task(self.run(call))
                self.runs[task] = None
                task.add_done_callback(self.forget)
            else:
                await self.wait_for_work()

    async def claim(self, *, urgent_only: bool) -> DeferredCall | None:
        moment = now()
        try:
            return await self.bot.database.write_one(
                lambda c: claims.claim_next(
                    c, self.bot.worker, moment, moment + self.bot.lease, urgent_only=urgent_only
                )
            )
        except Exception:
            log.exception("claim failed")
            await asyncio.sleep(LOOK_AGAIN)
            return None

    async def wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(LOOK_AGAIN):
                await self.bot.wake.calls.wait()
        except TimeoutError:
            pass

    def forget(self, task: asyncio.Task[None]) -> None:
        self.runs.pop(task, None)
        # A person's next call may have waited for this one.
        self.bot.wake.calls.set()

    async def run(self, call: DeferredCall) -> None:
        if call.suspended_at is None and call.genuine:
            # Another replica may have heard of it, or this one before it was restarted.
            signs.watch(self.bot, call)
        task = asyncio.current_task()
        assert task is not None
        keeper = asyncio.create_task(self.keep_lease(call, task))
        try:
            run = await begin(self.bot, call)
            if run is not None:
                self.runs[task] = run
                await run_call(self.bot, run)
        except LeaseLost:
            log.warning("lease lost", extra={"call": call.id})
        except Exception:
            # The database failed: the lease runs out, and the call is taken up again.
            log.exception("call interrupted", extra={"call": call.id})
        finally:
            keeper.cancel()

    async def keep_lease(self, call: DeferredCall, task: asyncio.Task[None]) -> None:
        while True:
            await asyncio.sleep(self.bot.lease.total_seconds() / 3)
            until = now() + self.bot.lease
            try:
                held = await self.bot.database.write(
                    partial(claims.extend, call_id=call.id, claim=call.claim, lease_until=until)
                )
            except Exception:
                log.exception("lease not extended", extra={"call": call.id})
                continue
            if not held:
                log.warning("lease lost", extra={"call": call.id})
                return

    async def drain(self) -> None:
        """Stops claiming; interrupts what can be repeated, and waits for what cannot."""
        until = asyncio.get_running_loop().time() + DRAIN_PATIENCE
        self.draining.set()
        self.bot.wake.calls.set()
        for task, run in list(self.runs.items()):
            if run is None or not run.unsafe:
                task.cancel()
        while under_way := {*self.runs, *self.bot.transfers}:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(under_way, timeout=left)
        for task in list(self.runs):
            task.cancel()
        if self.runs:
            await asyncio.wait(self.runs, timeout=PUT_BACK_PATIENCE)


# --- what falls due -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to look after regularly; `every` in seconds."""

    name: str
    every: float
    do: Callable[[Bot], Awaitable[object]]


async def look_after(bot: Bot, chore: Chore) -> None:
    """Does one chore for ever. A failure is logged, and the chore comes round again."""
    while True:
        try:
            await chore.do(bot)
        except Exception:
            log.exception("chore failed", extra={"chore": chore.name})
        # Not in step with the other replicas, which may have been started together.
        await asyncio.sleep(chore.every * random.uniform(0.75, 1.0))  # noqa: S311


async def show_cards_when_woken(bot: Bot) -> None:
    """What changes a card, or adds a message or revocation, need not wait for the next look."""
    while True:
        await bot.wake.upkeep.wait()
        bot.wake.upkeep.clear()
        try:
            await authorization.drop_recalled(bot)
            await cards.show_due_cards(bot)
            await administrators.show_due_cards(bot)
            await authorization.revoke_due(bot)
        except Exception:
            log.exception("upkeep failed")


async def call_up(bot: Bot) -> None:
    """A call whose turn in its person's line was overlooked waits for a second, and not for ever."""
    moment = now()
    await bot.database.write(lambda c: claims.call_up(c, moment))


async def heartbeat(bot: Bot) -> None:
    host, moment = socket.gethostname(), now()

    def work(c: Connection) -> None:
        replicas.heartbeat(c, bot.worker, host, bot.key_ids, moment, bot.database.presence_lock)
        keys.learn_of_others(c, moment)

    await bot.database.write(work)
    bot.pulse.beat()


async def prune(bot: Bot) -> None:
    """Deletes what nobody asks for any more. What is kept, and for how long, is in docs/operating.md."""
    moment = now()
    more = True
    while more:
        deleted = await bot.database.write(lambda c: retention.prune(c, moment))
        more = deleted >= retention.AT_A_TIME
        await asyncio.sleep(BREATH)


BREATH = 0.05
"""Seconds between two portions of what is deleted: those who wait for the database come first."""


CHORES = (
    Chore("lines", 1.0, call_up),
    Chore("messages", 1.0, delivery.deliver_due),
    Chore("cards", 1.0, cards.show_due_cards),
    Chore("interim words", 1.0, delivery.send_interim_words),
    Chore("stranded consents", 2.0, consent.finish_stranded),
    Chore("device authorizations", 1.0, device.go_on_due),
    Chore("expiry", 2.0, authorization.expire_overdue),
    Chore("administrators' cards", 1.0, administrators.show_due_cards),
    Chore("administrator", 4.0, administrators.look_again),
    Chore("revocations", 2.0, authorization.revoke_due),
    Chore("renewal", 5.0, tokens.renew_ahead),
    Chore("heartbeat", 5.0, heartbeat),
    Chore("other replicas", 0.6, succession.look_after_others),
    Chore("reactions", 2.0, reactions.take_away_due),
    Chore("retention", 600.0, prune),
)
