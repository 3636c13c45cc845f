"""The time zone of a person who has told none: from the organization's address book, if the app may read it."""

from __future__ import annotations

from bot.core.model import DeferredCall
from bot.core.times import find_zone
from bot.flows.bot import Bot
from bot.store import users


async def look_up(bot: Bot, call: DeferredCall) -> None:
    """Learns it while the person looks at a card, so that it is known when their command goes on."""
    if call.time_zone is not None:
        return
    zone = await bot.platform.time_zone_of(call.user)
    if zone is not None and find_zone(zone):
        await bot.database.write(lambda c: users.learn_time_zone(c, call.user, zone))
