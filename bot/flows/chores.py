"""What falls due regularly, in each replica."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.core.platform import Platform
from bot.flows import administrators, cards, outbox, takeover, tokens
from bot.flows.authorize import device
from bot.flows.authorize.callback import finish_stranded
from bot.flows.authorize.end import drop_recalled, expire_overdue
from bot.flows.authorize.revoke import revoke_due
from bot.flows.bot import Bot, now
from bot.flows.reactions import remove_due
from bot.store import claims, key_rotation, replicas, retention
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to look after regularly; `every` in seconds."""

    name: str
    every: float
    do: Callable[[Bot], Awaitable[object]]


def for_each_platform(do: Callable[[Bot, Platform], Awaitable[object]]) -> Callable[[Bot], Awaitable[object]]:
    """Make a chore of one platform a chore of all whose work this replica claims."""

    async def do_each(bot: Bot) -> None:
        for platform in bot.claimed:
            await do(bot, platform)

    return do_each


show_administrators_cards = for_each_platform(administrators.show_due_cards)


async def repeat(bot: Bot, chore: Chore) -> None:
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
            await drop_recalled(bot)
            await cards.show_due_cards(bot)
            await show_administrators_cards(bot)
            await revoke_due(bot)
        except Exception:
            log.exception("upkeep failed")


async def promote_queued_calls(bot: Bot) -> None:
    """A call whose turn in its person's line was overlooked waits for a second, and not for ever."""
    moment = now()
    await bot.database.write(lambda c: claims.call_up(c, moment))


async def heartbeat(bot: Bot) -> None:
    host, moment = socket.gethostname(), now()

    def work(c: Connection) -> None:
        replicas.heartbeat(c, bot.worker, host, bot.key_ids, moment, bot.database.presence_lock)
        key_rotation.learn_of_others(c, moment)

    await bot.database.write(work)
    bot.pulse.beat()


async def prune(bot: Bot) -> None:
    """Deletes what nobody asks for any more. What is kept, and for how long, is in docs/operating.md."""
    moment = now()
    more = True
    while more:
        deleted = await bot.database.write(lambda c: retention.prune(c, moment))
        more = deleted >= retention.AT_A_TIME
        await asyncio.sleep(PRUNE_PAUSE)


PRUNE_PAUSE = 0.05
"""Seconds between two portions of what is deleted: those who wait for the database come first."""


CHORES = (
    Chore("lines", 1.0, promote_queued_calls),
    Chore("messages", 1.0, outbox.deliver_due),
    Chore("cards", 1.0, cards.show_due_cards),
    Chore("interim words", 1.0, outbox.send_interim_words),
    Chore("stranded consents", 2.0, finish_stranded),
    Chore("device authorizations", 1.0, device.go_on_due),
    Chore("expiry", 2.0, expire_overdue),
    Chore("administrators' cards", 1.0, show_administrators_cards),
    Chore("administrator", 4.0, for_each_platform(administrators.look_again)),
    Chore("revocations", 2.0, revoke_due),
    Chore("renewal", 5.0, tokens.renew_ahead),
    Chore("heartbeat", 5.0, heartbeat),
    Chore("other replicas", 0.6, takeover.look_after_others),
    Chore("reactions", 2.0, for_each_platform(remove_due)),
    Chore("retention", 600.0, prune),
)
