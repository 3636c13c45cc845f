"""Adds the reaction that acknowledges a message, and removes it once the message is answered."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

from bot.core.messages import NotSent
from bot.core.platform import Platform
from bot.flows import observations
from bot.flows.bot import Bot, utc_now
from bot.flows.replica_memory import UnacknowledgedMessage
from bot.store import reactions
from bot.store.reactions import Reaction

MAX_REMOVAL_ATTEMPTS = 10
"""The number of failed removals after which the reaction is left on the message."""


REMOVE_AFTER_EXPIRY = timedelta(minutes=1)
"""How long after the expiry of its call a reaction is removed regardless of the call's status."""


async def react(bot: Bot, message: UnacknowledgedMessage) -> None:
    """Add the reaction to a message. A crash before its id is stored leaves it on the message permanently."""
    platform = bot.platform_of(message.user)
    if platform.reactions is None:
        return
    now = utc_now()
    due_at = message.expires_at + REMOVE_AFTER_EXPIRY
    if not await bot.database.write_one(
        lambda c: reactions.reserve(
            c, message.user, message.call_id, message.message_id, now=now, due_at=due_at
        )
    ):
        return
    reaction = await platform.reactions.react(message.message_id)
    if isinstance(reaction, NotSent):
        observations.reaction_failed(bot, "reaction not added", reaction, message.call_id, message.message_id)
        await bot.database.write_one(lambda c: reactions.drop(c, message.call_id))
        if reaction.recalled:
            bot.note_recall(message.call_id, message.user)
        return
    bot.unacknowledged.remove(message.call_id)
    due = await bot.database.write_one(lambda c: reactions.placed(c, message.call_id, reaction))
    if due != due_at:
        # The message was answered before the reaction was added.
        await remove(bot, platform, Reaction(message.call_id, message.message_id, reaction, 1))


async def remove(bot: Bot, platform: Platform, reaction: Reaction) -> None:
    """Remove a claimed reaction. It is due again later if the platform cannot remove it now."""
    if reaction.reaction_id is not None and platform.reactions is not None:
        problem = await platform.reactions.unreact(reaction.message_id, reaction.reaction_id)
        if problem is not None:
            observations.reaction_failed(
                bot, "reaction not removed", problem, reaction.call_id, reaction.message_id
            )
        if problem is not None and problem.retry and reaction.attempts < MAX_REMOVAL_ATTEMPTS:
            return
    await bot.database.write_one(lambda c: reactions.drop(c, reaction.call_id))


async def remove_due(bot: Bot) -> None:
    """Remove reactions that remained on answered messages after a crash or a failure of the platform."""
    for platform in bot.platforms.values():
        claim = bot.claim(platform.app)
        due = await bot.database.write_one(partial(reactions.claim_due, claim=claim, limit=20))
        await asyncio.gather(*(remove(bot, platform, reaction) for reaction in due))
