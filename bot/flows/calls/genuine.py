"""Rejects calls that the bot did not write itself: rows that were forged in the database."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.calls import DeferredCall
from bot.flows.bot import Bot, utc_now
from bot.store import calls


async def only_genuine(bot: Bot, rows: Sequence[DeferredCall]) -> list[DeferredCall]:
    """Return the calls that the bot wrote, and reject forged ones, so that they are not found again."""
    forged, now = [call for call in rows if call.genuine is False], utc_now()
    if forged:
        await bot.database.write(lambda c: [calls.reject(c, call, now) for call in forged])
    return [call for call in rows if call.genuine]
