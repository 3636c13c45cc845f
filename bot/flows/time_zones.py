"""The time zone of a person who has told none: from the organization's address book, if the app may read it."""

from __future__ import annotations

from bot.core.model import UserKey
from bot.core.times import find_zone
from bot.flows.bot import Bot
from bot.store import users


async def look_up(bot: Bot, user: UserKey) -> None:
    """Learns it while the person looks at a card, so that it is known when their command goes on."""
    profile = await bot.database.read(lambda c: users.profile(c, user))
    if profile is None or profile.time_zone is not None:
        return
    zone = await bot.platform.time_zone_of(user)
    if zone is not None and find_zone(zone):
        await bot.database.write(lambda c: users.learn_time_zone(c, user, zone))
