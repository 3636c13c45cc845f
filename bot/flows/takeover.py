"""Takes over the work of processes that have ended, without waiting for their leases to expire.

On SQLite, a process that has the database to itself when it starts knows that every claim is stale. On PostgreSQL each
replica holds an advisory lock while it is connected, and writes heartbeats: a replica that does neither for some time has
ended. Both are checked, because a replica that reconnects has no lock, and one that hangs writes no heartbeats. In all
other cases the leases decide.
"""

from __future__ import annotations

import logging
from datetime import datetime

from bot.flows import observations
from bot.flows.bot import Bot, utc_now
from bot.store import takeover
from bot.store.transaction import Connection

log = logging.getLogger(__name__)

GONE_AFTER = 2.5
"""Seconds without a lock and a heartbeat after which a replica counts as ended. A live replica writes two heartbeats in
that time, and reconnects within a second. Only time in which this replica has held its own lock counts."""


async def enter(bot: Bot) -> None:
    """Register this process with the database, and take over stale claims."""
    counts: dict[str, int] = {}

    def take_over(c: Connection) -> bool:
        taken = takeover.from_everyone(c, utc_now(), bot.lease)
        counts.update(taken or {})
        return taken is not None

    try:
        alone = await bot.database.enter(bot.worker, take_over)
    except OSError as error:
        log.warning(
            "no lock file beside the database: interrupted work continues when its leases expire",
            extra={"reason": str(error)},
        )
        return
    if not alone:
        log.warning(
            "another process uses this database file: SQLite supports one `bot run`; interrupted work continues when its "
            "leases expire"
        )
    if counts:
        observations.work_taken_over(counts)


async def take_over_from_silent(bot: Bot) -> None:
    """Write a heartbeat, and take over from replicas that have ended (see `GONE_AFTER`). PostgreSQL only."""
    if bot.database.dialect != "postgresql":
        return
    now, lock = utc_now(), bot.database.presence_lock
    await bot.database.write_one(lambda c: takeover.touch(c, bot.worker, lock, now))
    if lock is None:
        # Without its own lock, a replica cannot know whether others have ended or the server was unreachable.
        bot.silent_replicas.forget()
        return
    without_lock = await bot.database.read(lambda c: takeover.without_lock(c, bot.worker))
    silent = bot.silent_replicas.seconds_silent(without_lock)
    for name, seconds in silent.items():
        if seconds >= GONE_AFTER:
            await take_over_from(bot, name, without_lock[name])


async def take_over_from(bot: Bot, replica: str, last_heartbeat: datetime) -> None:
    """Take over from a replica, unless it has written a heartbeat since."""
    now = utc_now()
    taken = await bot.database.write(
        lambda c: takeover.from_replica(c, replica, last_heartbeat, now, bot.lease)
    )
    if taken is not None:
        observations.replica_gone(replica, taken)
        bot.signals.upkeep.set()
