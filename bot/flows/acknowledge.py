"""Acknowledges messages within two seconds.

An answer, a note or a new card is an acknowledgement. Without one in time, the bot adds a reaction to the message, and
removes it when the message is answered. If the app may not add reactions, a note says that the command is being run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from bot.core.calls import CallStatus, DeferredCall, WaitsFor
from bot.core.people import UserKey
from bot.core.words import replies
from bot.flows import observations
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import Draft, can_change_cards, deliver_all, insert_all, note, note_key, typed
from bot.flows.reactions import react
from bot.flows.replica_memory import UnacknowledgedMessage
from bot.store import calls, outbox, reactions, requests
from bot.store.ids import time_of
from bot.store.inbox import NewCall
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

REACT_AFTER = timedelta(seconds=0.9)
"""How long after its arrival a message without an answer gets a reaction."""


NOTE_AFTER = timedelta(seconds=1.5)
"""How long after its arrival a message without a reaction gets a note. The limit is two seconds."""


POLL_INTERVAL = 0.1
"""Seconds between two checks while messages wait to be acknowledged."""


MAX_CONCURRENT_REACTIONS = 10
"""The number of reactions that one batch adds at a time."""


MAX_NOTES_PER_USER = 5
"""The number of notes to one user in one batch, because answers share the platform's limit of messages to a chat."""


def expect_acknowledgement(bot: Bot, call: NewCall | DeferredCall) -> None:
    """Schedule the acknowledgement of the message of this call."""
    if call.message_id is None:
        return
    due_at = time_of(call.id) + REACT_AFTER
    bot.unacknowledged.add(
        UnacknowledgedMessage(call.id, call.user, call.message_id, call.expires_at, due_at)
    )


async def acknowledge_forever(bot: Bot) -> None:
    """Acknowledge messages that are not answered in time, until cancelled."""
    while True:
        await bot.unacknowledged.added.wait()
        await asyncio.sleep(POLL_INTERVAL)
        if due := bot.unacknowledged.take_due(utc_now()):
            bot.background(acknowledge(bot, due))


async def acknowledge(bot: Bot, due: Sequence[UnacknowledgedMessage]) -> None:
    try:
        unseen = await bot.database.read(lambda c: reactions.unseen(c, [each.call_id for each in due]))
        late = [each for each in due if each.call_id in unseen]
        first = [each for each in late if not each.reacted]
        for each in first:
            # Checked once more, whether or not the reaction succeeds.
            bot.unacknowledged.add(replace(each, reacted=True, due_at=time_of(each.call_id) + NOTE_AFTER))
        await react_to_all(bot, [each for each in first if can_react(bot, each.user)])
        await send_notes(bot, [each.call_id for each in late if each.reacted])
    except Exception as error:
        # Not fatal, because the answer follows in any case.
        observations.failed(bot, "messages not acknowledged", error)


def can_react(bot: Bot, user: UserKey) -> bool:
    reactions = bot.platform_of(user).reactions
    return reactions is not None and reactions.can_react


async def react_to_all(bot: Bot, messages: Sequence[UnacknowledgedMessage]) -> None:
    slots = asyncio.Semaphore(MAX_CONCURRENT_REACTIONS)

    async def one(message: UnacknowledgedMessage) -> None:
        async with slots:
            await react(bot, message)

    await asyncio.gather(*(one(message) for message in messages))


async def send_notes(bot: Bot, call_ids: Sequence[str]) -> None:
    if not call_ids:
        return

    def work(c: Connection) -> list[OutgoingMessage]:
        counts = Counter[UserKey]()
        messages: list[OutgoingMessage] = []
        for call_id in call_ids:
            call = calls.get(c, call_id)
            draft = acknowledgement(c, bot, call) if call is not None else None
            if call is None or draft is None or counts[call.user] == MAX_NOTES_PER_USER:
                continue
            counts[call.user] += 1
            messages += insert_all(c, bot, [draft])
        return messages

    await deliver_all(bot, await bot.database.write(work))


def acknowledgement(c: Connection, bot: Bot, call: DeferredCall) -> Draft | None:
    """Return a note that acknowledges a call, or None if its answer, a note or a card is being sent."""
    match call.status:
        case CallStatus.QUEUED | CallStatus.RUNNING:
            return note(bot, call, replies.received(typed(call)), "received", kind="interim")
        case CallStatus.SUSPENDED if (
            call.waits_for is WaitsFor.AUTHORIZATION and call.request_id and call.chat.kind == "direct"
        ):
            if is_on_newer_card(c, bot, call, call.request_id):
                return None
            return note(bot, call, replies.added_to_earlier_card(typed(call), call.request_id), "note")
        case CallStatus.SUSPENDED if (
            call.waits_for is WaitsFor.AUTHORIZATION
            and outbox.find(c, call.user.app, note_key(call, "note")) is None
        ):
            # In a group, the note that says where the card is follows the card.
            return note(bot, call, replies.received(typed(call)), "received", kind="interim")
        case _:
            return None


def is_on_newer_card(c: Connection, bot: Bot, call: DeferredCall, request_id: str) -> bool:
    """Return whether the card was sent again for this call, because the earlier one cannot be changed."""
    request = requests.get(c, request_id)
    if request is None or call.suspended_at is None or can_change_cards(bot.platform_of(call.user)):
        return False
    return request.card.moves > 0 and request.card.due_at >= call.suspended_at
