"""Learns the names of users who have not consented, for operators: from what the platform tells the app about them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from bot.core.people import UserKey
from bot.core.platform import Directory
from bot.flows.bot import Bot, utc_now
from bot.store import users

INTERVAL = timedelta(days=1)
"""How often the platform is asked for the name of one user at most, by all replicas together."""
AT_ONCE = 20
"""The number of names that one run of the chore reads."""


async def learn_names(bot: Bot) -> None:
    """Read the names of users who were heard since the last time, if they are unknown."""
    for app, platform in bot.platforms.items():
        if platform.directory is None or not platform.directory.is_readable:
            continue
        before = utc_now() - INTERVAL
        heard = bot.unnamed.take(app)
        unknown = await bot.database.read(partial(users.unnamed, some=heard, before=before)) if heard else []
        for user in unknown[:AT_ONCE]:
            await learn_name(bot, platform.directory, user)
        for user in unknown[AT_ONCE:]:
            bot.unnamed.note(user)


async def learn_name(bot: Bot, directory: Directory, user: UserKey) -> None:
    now = utc_now()
    ask = partial(users.ask_name, user=user, now=now, before=now - INTERVAL)
    if not await bot.database.write_one(ask):
        return
    name = await directory.name_of(user)
    if name is not None:
        await bot.database.write_one(partial(users.learn_name, user=user, name=name))
