"""Going on with the work of processes that are gone, without waiting for their leases to end.

On SQLite a process that starts alone knows that whatever is claimed belongs to nobody. On PostgreSQL each replica holds
an advisory lock for as long as it is connected, and gives signs of life besides: one that does neither for a while is
gone. A replica that has lost its connection but lives goes on giving them; one that hangs keeps its connection. The
leases remain for whatever neither tells.
"""

from __future__ import annotations

import logging
from datetime import datetime

from bot.flows.bot import Bot, now
from bot.store import takeover
from bot.store.transaction import Connection

log = logging.getLogger(__name__)

GONE_AFTER = 2.5
"""Seconds without lock and sign of life, in which this replica has its own lock and looks all the time. A live one gives
a sign twice in that, and is connected again after a second."""


async def enter(bot: Bot) -> None:
    """Shows that this process serves the database, and takes over what nobody has any more."""
    taken: dict[str, int] = {}

    def take_over(c: Connection) -> bool:
        found = takeover.from_everyone(c, now(), bot.lease)
        taken.update(found or {})
        return found is not None

    try:
        alone = await bot.database.enter(bot.worker, take_over)
    except OSError as error:
        log.warning(
            "no lock beside the database file: interrupted work waits for its leases",
            extra={"reason": str(error)},
        )
        return
    if not alone:
        log.warning(
            "another process uses this database file: SQLite is for one `bot run`; interrupted work waits for its leases"
        )
    if taken:
        log.info("took over what was interrupted", extra={"taken": str(taken)})


async def look_after_others(bot: Bot) -> None:
    """Gives a sign of life, and takes over from replicas that give none: see `GONE_AFTER`. PostgreSQL only."""
    if bot.database.dialect != "postgresql":
        return
    moment, lock = now(), bot.database.presence_lock
    await bot.database.write_one(lambda c: takeover.touch(c, bot.worker, lock, moment))
    if lock is None:
        # Who has lost its own lock cannot tell a replica that is gone from a server that was away.
        bot.silent.forget()
        return
    without = await bot.database.read(lambda c: takeover.without_lock(c, bot.worker))
    silent = bot.silent.for_seconds(without)
    for name, seconds in silent.items():
        if seconds >= GONE_AFTER:
            await take_over_from(bot, name, without[name])


async def take_over_from(bot: Bot, gone: str, seen: datetime) -> None:
    moment = now()
    taken = await bot.database.write(lambda c: takeover.from_replica(c, gone, seen, moment, bot.lease))
    if taken is not None:
        log.warning("took over from a replica that is gone", extra={"replica": gone, "taken": str(taken)})
        bot.wake.upkeep.set()
