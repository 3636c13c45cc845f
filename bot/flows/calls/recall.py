"""Cancels the calls whose message was recalled."""

from __future__ import annotations

from datetime import datetime

from bot.core.calls import CallStatus, DeferredCall
from bot.core.people import UserKey
from bot.core.words import replies
from bot.flows.authorize.end import narrow_or_close_request
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import deliver_all, insert_all, private_answer, typed
from bot.store import call_steps, calls, users
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


def recall(c: Connection, bot: Bot, call: DeferredCall, now: datetime) -> list[OutgoingMessage]:
    """Cancel a call whose message was recalled, or mark it if it is running. Locks the user.

    A queued call that has sent a write is marked too, because the outcome of the write is still unknown.
    """
    users.lock(c, call.user)
    wrote = call_steps.has_written(c, call.id)
    must_continue = wrote and call.status is not CallStatus.SUSPENDED
    if must_continue or not calls.cancel(c, call.id, "recalled", now):
        calls.mark_recalled(c, call.id, now)
        return []
    narrow_or_close_request(c, call.user, [call], "recalled", now)
    answers = [private_answer(bot, call, replies.stopped_halfway(typed(call)))] if wrote else []
    return insert_all(c, bot, answers)


async def drop_recalled(bot: Bot) -> None:
    """Cancel calls in groups whose message turned out to be recalled, as the event would.

    The platform reports deleted messages in the same way. In a direct chat, the answer is sent in any case, because only
    its user reads it.
    """
    while bot.recalled:
        call_id, user = bot.recalled.pop()

        def work(c: Connection, call_id: str = call_id, user: UserKey = user) -> list[OutgoingMessage]:
            call = calls.get(c, call_id)
            # The call id of a message is not sealed.
            if call is None or call.user != user or call.chat.kind != "group":
                return []
            return recall(c, bot, call, utc_now())

        await deliver_all(bot, await bot.database.write(work))
