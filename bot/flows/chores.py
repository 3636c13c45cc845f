"""Chores: the tasks that each replica repeats at intervals."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.flows import administrators, cards, observations, outbox, takeover, tokens
from bot.flows.authorize import device
from bot.flows.authorize.callback import complete_stranded
from bot.flows.authorize.end import expire_overdue
from bot.flows.authorize.token_revocation import revoke_due
from bot.flows.bot import Bot, utc_now
from bot.flows.calls.recall import drop_recalled
from bot.flows.clock import CLOCK, known_expiry_time
from bot.flows.names import learn_names
from bot.flows.reactions import remove_due
from bot.store import audit, claims, clock, key_rotation, replicas, retention
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """A task that is repeated at an interval."""

    name: str
    interval: float
    """Seconds."""
    do: Callable[[Bot], Awaitable[object]]


async def repeat(bot: Bot, chore: Chore) -> None:
    """Repeat one chore until cancelled. A failure is logged."""
    while True:
        try:
            await chore.do(bot)
        except Exception as error:
            observations.failed(bot, "chore failed", error, chore=chore.name)
        # At a random interval, because replicas that were started together would otherwise run chores simultaneously.
        await asyncio.sleep(chore.interval * random.uniform(0.75, 1.0))  # noqa: S311


async def upkeep_on_signal(bot: Bot) -> None:
    """Update cards and revoke tokens as soon as another part of the process signals it, before the chore is due."""
    while True:
        await bot.signals.upkeep.wait()
        bot.signals.upkeep.clear()
        try:
            await drop_recalled(bot)
            await cards.show_due_cards(bot)
            await administrators.show_due_cards(bot)
            await revoke_due(bot)
        except Exception as error:
            observations.failed(bot, "upkeep failed", error)


async def promote_queued_calls(bot: Bot) -> None:
    """Promote queued calls whose predecessor ended without promoting them."""
    now = utc_now()
    await bot.database.write(lambda c: claims.promote_missed(c, now))


async def release_enabled(bot: Bot) -> None:
    for platform in bot.platforms.values():
        await administrators.release_enabled(bot, platform)


async def heartbeat(bot: Bot) -> None:
    host, now = socket.gethostname(), utc_now()

    def work(c: Connection) -> None:
        replicas.heartbeat(c, bot.worker, host, bot.key_ids, now, bot.database.presence_lock, bot.build)
        key_rotation.learn_of_others(c, now)

    await bot.database.write(work)
    if bot.heartbeat.written_at is None:
        observations.replica_joined(bot.worker)
    bot.heartbeat.record()


async def record_retention(bot: Bot) -> None:
    """Tell the database how long it has to keep the audit log. Once, at startup."""
    now = utc_now()
    in_force = await bot.database.write(lambda c: audit.record_retention(c, bot.retention.audit, now))
    for app, days in in_force.items():
        log.warning(
            "BOT_AUDIT_RETENTION_DAYS has no effect, because this role may not change audit_retention: change the row as "
            "the owner of the tables",
            extra={"app": app, "days": days},
        )


async def prune(bot: Bot) -> None:
    """Delete rows whose retention period is over (see docs/operating.md)."""
    has_more = True
    while has_more:
        now = await known_expiry_time()
        deleted = await bot.database.write(lambda c, now=now: retention.prune(c, now, bot.retention))  # type: ignore[misc]
        has_more = deleted >= retention.BATCH_SIZE
        await asyncio.sleep(PRUNE_PAUSE)


PRUNE_PAUSE = 0.05
"""Seconds between two batches, so that other work reaches the database in between."""


async def check_clock(bot: Bot) -> None:
    """Compare this machine's clock with that of PostgreSQL and those of the platforms."""
    CLOCK.has_database_clock = bot.database.dialect == "postgresql"
    if CLOCK.has_database_clock:
        CLOCK.compare_with_database((await bot.database.read(clock.read)).timestamp())
    for platform in bot.platforms.values():
        if (shown := platform.server_time) is not None:
            CLOCK.compare_with_platform(shown.unix, time.monotonic() - shown.received)


NOTABLE_DIFFERENCE = 30.0
"""Seconds."""
CLOCK_POLL_INTERVAL = 0.5
"""Seconds until it is checked again whether a platform has responded."""


async def warn_of_clock(bot: Bot) -> None:
    """Log once if this machine's clock differs from a platform's, as soon as that has responded."""
    waiting = list(bot.platforms.values())
    while waiting:
        for platform in list(waiting):
            if (shown := platform.server_time) is None:
                continue
            waiting.remove(platform)
            ahead = time.time() - (shown.unix + time.monotonic() - shown.received)
            if abs(ahead) > NOTABLE_DIFFERENCE:
                log.warning(
                    "this machine's clock and the platform's differ: set it by NTP",
                    extra={"platform": platform.name, "seconds": round(ahead)},
                )
        await asyncio.sleep(CLOCK_POLL_INTERVAL)


CHORES = (
    Chore("clock", 2.0, check_clock),
    Chore("queued calls", 1.0, promote_queued_calls),
    Chore("messages", 1.0, outbox.deliver_due),
    Chore("cards", 1.0, cards.show_due_cards),
    Chore("interim notes", 1.0, outbox.send_interim_notes),
    Chore("stranded consents", 2.0, complete_stranded),
    Chore("device authorizations", 1.0, device.continue_due),
    Chore("expiry", 2.0, expire_overdue),
    Chore("administrators' cards", 1.0, administrators.show_due_cards),
    Chore("enabled scopes", 4.0, release_enabled),
    Chore("revocations", 2.0, revoke_due),
    Chore("refresh", 5.0, tokens.refresh_ahead),
    Chore("heartbeat", 5.0, heartbeat),
    Chore("other replicas", 0.6, takeover.take_over_from_silent),
    Chore("reactions", 2.0, remove_due),
    Chore("names", 5.0, learn_names),
    Chore("retention", 600.0, prune),
)
