"""Acknowledges messages that take longer than a moment: within two seconds their sender sees something.

An answer, a note or a new card is enough. Where none has come, a reaction is added to the message, and removed when
the message is answered; where the app may not add reactions, a line says that the command is being worked on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from bot.core.calls import CallStatus, DeferredCall, WaitsFor
from bot.core.people import UserKey
from bot.core.words import replies
from bot.flows.bot import Bot, now
from bot.flows.hints import Unanswered
from bot.flows.outbox import Draft, deliver_all, insert_all, note, note_key, typed
from bot.flows.reactions import react
from bot.store import calls, outbox, reactions
from bot.store.ids import time_of
from bot.store.inbox import NewCall
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


REACT_AFTER = timedelta(seconds=0.9)
"""What is answered sooner costs no reaction."""


SAY_AFTER = timedelta(seconds=1.5)
"""What has no reaction by then gets a word: two seconds are promised."""


POLL_INTERVAL = 0.1
"""Seconds between looks at what is watched, while something is."""


MAX_CONCURRENT_REACTIONS = 10
"""Reactions that are added at the same time."""


MAX_NOTES_PER_USER = 5
"""Said to one person at once: a chat takes five messages a second, and the answers come by the same way."""


def watch(bot: Bot, call: NewCall | DeferredCall) -> None:
    """Sees to it that the asker of this call sees something in time."""
    if call.message_id is None:
        return
    due_at = time_of(call.id) + REACT_AFTER
    bot.watch.expect(Unanswered(call.id, call.user, call.message_id, call.expires_at, due_at))


async def acknowledge_forever(bot: Bot) -> None:
    """Acknowledges what is not answered in time, as long as the bot runs."""
    while True:
        await bot.watch.some.wait()
        await asyncio.sleep(POLL_INTERVAL)
        if due := bot.watch.take_due(now()):
            bot.background(acknowledge(bot, due))


async def acknowledge(bot: Bot, due: Sequence[Unanswered]) -> None:
    try:
        unseen = await bot.database.read(lambda c: reactions.unseen(c, [each.call_id for each in due]))
        late = [each for each in due if each.call_id in unseen]
        first = [each for each in late if not each.reacted]
        for each in first:
            # Whatever becomes of the reaction: it is looked at once more.
            bot.watch.expect(replace(each, reacted=True, due_at=time_of(each.call_id) + SAY_AFTER))
        await react_to_all(bot, [each for each in first if can_react(bot, each.user)])
        await say_to_all(bot, [each.call_id for each in late if each.reacted])
    except Exception:
        # They will see the answer; nothing else depends on this.
        log.exception("messages not acknowledged")


def can_react(bot: Bot, user: UserKey) -> bool:
    reactions = bot.platform_of(user).reactions
    return reactions is not None and reactions.can_react


async def react_to_all(bot: Bot, messages: Sequence[Unanswered]) -> None:
    room = asyncio.Semaphore(MAX_CONCURRENT_REACTIONS)

    async def one(message: Unanswered) -> None:
        async with room:
            await react(bot, message)

    await asyncio.gather(*(one(message) for message in messages))


async def say_to_all(bot: Bot, call_ids: Sequence[str]) -> None:
    if not call_ids:
        return

    def work(c: Connection) -> list[OutgoingMessage]:
        told = Counter[UserKey]()
        said: list[OutgoingMessage] = []
        for call_id in call_ids:
            call = calls.get(c, call_id)
            word = acknowledgement(c, bot, call) if call is not None else None
            if call is None or word is None or told[call.user] == MAX_NOTES_PER_USER:
                continue
            told[call.user] += 1
            said += insert_all(c, bot, [word])
        return said

    await deliver_all(bot, await bot.database.write(work))


def acknowledgement(c: Connection, bot: Bot, call: DeferredCall) -> Draft | None:
    """A line that acknowledges a call. None if its answer, a note or a card is being sent already."""
    match call.status:
        case CallStatus.QUEUED | CallStatus.RUNNING:
            return note(bot, call, replies.received(typed(call)), "received", kind="interim")
        case CallStatus.SUSPENDED if (
            call.waits_for is WaitsFor.AUTHORIZATION and call.request_id and call.chat.kind == "direct"
        ):
            return note(bot, call, replies.added_to_earlier_card(typed(call), call.request_id), "note")
        case CallStatus.SUSPENDED if (
            call.waits_for is WaitsFor.AUTHORIZATION and outbox.find(c, note_key(call, "note")) is None
        ):
            # In a group the note waits for the card.
            return note(bot, call, replies.received(typed(call)), "received", kind="interim")
        case _:
            return None
