"""Sends what the bot has to say: rows first, then the network, so that no answer is lost and none is sent twice.

A message is written in the transaction that makes it due, already leased to this worker, and sent right after.
If that fails, or this process dies, `deliver_due` (of any replica) goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.core.calls import CallStatus, DeferredCall
from bot.core.messages import Chat, Content, Destination, MessageStatus, NotSent, Reply, Sent
from bot.core.people import UserKey
from bot.core.platform import Platform
from bot.core.requests import AuthorizationRequest
from bot.core.retry import pause
from bot.core.words import replies
from bot.core.words.refusals import answer_refused, card_refused
from bot.flows.bot import Bot, now
from bot.flows.calls.suspend import only_genuine
from bot.flows.reactions import remove
from bot.store import audit, call_steps, calls, outbox, reactions
from bot.store.ids import new_id, time_of
from bot.store.outbox import NewMessage, OutgoingMessage
from bot.store.reactions import Reaction
from bot.store.transaction import Connection

log = logging.getLogger(__name__)

SAME_MESSAGE_FOR = timedelta(minutes=55)
"""The platform sends at most one message for a key within an hour; beyond that a repeat would be a second message."""

TRIED_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be: rendered before the transaction, inserted in it, sent after it."""

    message: NewMessage

    def insert(self, connection: Connection, bot: Bot) -> OutgoingMessage | None:
        """Inside a transaction. None when this message was due before (another worker's, or already sent)."""
        claim = bot.claim()
        if not outbox.add(connection, self.message, now=claim.now, claim=claim):
            return None
        return outbox.claimed(self.message, claim.now)


def draft(
    bot: Bot,
    user: UserKey,
    content: Content,
    *,
    kind: str,
    key: str,
    chat: Chat | None = None,
    reply_to: str | None = None,
    private: bool = False,
    call_id: str | None = None,
) -> Draft:
    in_group = chat is not None and chat.kind == "group"
    # A message to the group, when that to a topic of it is refused, would open another topic.
    reply_only = in_group and chat is not None and chat.thread_id is not None and not private
    chat_id = chat.chat_id if chat is not None and not reply_only else None
    destination = Destination(user, chat_id, reply_to, private and in_group)
    return Draft(NewMessage(new_id(now()), user, kind, key, destination, content, call_id))


def note_key(call: DeferredCall, name: str) -> str:
    return f"{call.id}-{name}"


def answer(bot: Bot, call: DeferredCall, reply: Reply, *, public: bool = False) -> Draft:
    """The one answer to a call. In a group it is for the asker alone, unless it is `public`."""
    return note(bot, call, reply, "answer", "answer", private=not public)


def answer_alone(bot: Bot, call: DeferredCall, reply: Reply) -> Draft:
    """The answer to a call whose question was recalled: for the asker alone, and nothing where it was asked."""
    content = bot.platform_of(call.user).render_reply(reply)
    return draft(bot, call.user, content, kind="answer", key=f"{call.id}-answer", call_id=call.id)


def note(
    bot: Bot, call: DeferredCall, reply: Reply, name: str, kind: str = "note", *, private: bool = False
) -> Draft:
    """A word about a call, where it was asked. At most one of a name."""
    alone = private and call.chat.kind == "group"
    return draft(
        bot,
        call.user,
        bot.platform_of(call.user).render_reply(reply),
        kind=kind,
        key=note_key(call, name),
        chat=call.chat,
        reply_to=None if alone else call.message_id,
        private=alone,
        call_id=call.id,
    )


def declined(call: DeferredCall) -> Reply:
    return replies.declined(typed(call))


def expired(call: DeferredCall) -> Reply:
    """The end of a call that waited too long."""
    return replies.with_retry(replies.expired(typed(call)), call.id)


def expired_before_start(call: DeferredCall) -> Reply:
    return replies.with_retry(replies.expired_before_start(typed(call)), call.id)


def is_told_by_card(call: DeferredCall, request: AuthorizationRequest, moment: datetime) -> bool:
    """Whether the card of a request tells the asker of a call how it ended, so that no message does.

    Not a card that cannot be changed. A question in a group is answered there while an answer for its asker alone
    can be shown there; later such an answer would come to the direct chat, below the card.
    """
    if request.card_message_id is None or request.card_ephemeral or request.ticket is None:
        return False
    return call.chat.kind == "direct" or not is_fresh(call.id, moment)


def typed(call: DeferredCall) -> str:
    """The command as its asker reads it."""
    return f"/{call.command}"


def typed_in_full(call: DeferredCall) -> str:
    """With its arguments: only for what nobody but its asker sees."""
    return f"{typed(call)} {call.arguments}".rstrip()


def insert_all(connection: Connection, bot: Bot, drafts: Iterable[Draft]) -> list[OutgoingMessage]:
    return [message for each in drafts if (message := each.insert(connection, bot)) is not None]


async def deliver_all(bot: Bot, messages: Sequence[OutgoingMessage]) -> None:
    for message in messages:
        await deliver(bot, message)


async def deliver(bot: Bot, message: OutgoingMessage) -> None:
    """Sends one claimed message and records what came of it."""
    moment = now()
    if message.first_tried_at is not None and moment - message.first_tried_at > SAME_MESSAGE_FOR:
        await settle(
            bot, message, MessageStatus.OUTCOME_UNKNOWN, "tried before, too long ago to repeat safely", moment
        )
        return
    if message.kind == "interim" and message.attempts > 1 and await is_answered(bot, message):
        await settle(bot, message, MessageStatus.UNDELIVERABLE, "the answer was quicker", moment)
        return
    if message.attempts == 1 and (turn := bot.lines.turn(message.user, moment)):
        await postpone(bot, message, turn, arrived_possible=False)
        return
    if message.content is None:
        await deliver_all(bot, await lost(bot, message, moment))
        return
    result = await send(bot, message, message.content)
    moment = now()
    if not isinstance(result, NotSent):
        await deliver_all(bot, await arrived(bot, message, result, moment))
    elif result.recalled:
        await settle(
            bot, message, MessageStatus.UNDELIVERABLE, f"the question was recalled: {result.reason}", moment
        )
        bot.note_recall(message.call_id, message.user)
    elif not result.retry:
        await deliver_all(bot, await refused(bot, message, result, moment))
    elif moment - message.created_at > TRIED_FOR:
        await settle(bot, message, MessageStatus.UNDELIVERABLE, result.reason, moment)
    else:
        until = later(moment, message.attempts, result.retry_after)
        if result.one_too_many:
            bot.lines.begin(message.user, min(until, moment + LINE_BEGINS_WITHIN))
        await postpone(bot, message, until, arrived_possible=result.may_have_arrived)


async def send(bot: Bot, message: OutgoingMessage, content: Content) -> Sent | NotSent:
    """Sends a message; when its question was recalled, only where nobody sees it who could no longer see that."""
    here = is_for_the_group(message, now())
    destination = replace(message.destination, unless_recalled=True, group_first=here)
    sent = await reach(bot, destination, content, message.delivery_key)
    if isinstance(sent, NotSent) and sent.recalled:
        elsewhere = await without_question(bot, message)
        if elsewhere is not None:
            return await reach(bot, elsewhere, content, message.delivery_key)
    return sent


async def reach(bot: Bot, destination: Destination, content: Content, key: str) -> Sent | NotSent:
    """Sends to a destination; where its ways are closed, by those that the person's earlier commands tell of."""
    platform = bot.platform_of(destination.user)
    if destination.private and destination.direct is None and not destination.group_first:
        destination = await by_other_ways(bot, destination)
        return await platform.send(destination, content, key)
    sent = await platform.send(destination, content, key)
    if isinstance(sent, NotSent) and sent.no_way:
        more = await by_other_ways(bot, destination)
        if more != destination:
            return await platform.send(replace(more, group_first=False), content, key)
    return sent


async def withdraw(platform: Platform, message_id: str) -> NotSent | None:
    """Delete an ephemeral card, which cannot be changed."""
    if platform.ephemeral is None:
        return NotSent("the platform has no ephemeral messages", retry=False, gone=True)
    return await platform.ephemeral.withdraw(message_id)


async def by_other_ways(bot: Bot, destination: Destination) -> Destination:
    """With the person's chat with the bot; what is for them alone may also be shown to them in a group they asked in."""
    user, alone = destination.user, destination.chat_id is None and destination.reply_to is None

    def read(c: Connection) -> Destination:
        direct = destination.direct or calls.direct_chat_of(c, user)
        group = calls.latest_group_of(c, user) if alone else None
        if group is None:
            return replace(destination, direct=direct)
        return replace(destination, direct=direct, chat_id=group, private=True)

    return await bot.database.read(read)


async def without_question(bot: Bot, message: OutgoingMessage) -> Destination | None:
    """Where a message goes whose question was recalled: in the direct chat, where its person alone reads it. Of a
    question in a group, what was written for it is told to them alone; what was read for it is told to nobody. Nor is
    a word about a call that is not at its end: it ends by this.
    """
    call_id = message.call_id
    if call_id is None:
        return None

    def read(c: Connection) -> tuple[DeferredCall | None, bool]:
        return calls.get(c, call_id), call_steps.has_written(c, call_id)

    call, wrote = await bot.database.read(read)
    if call is None or call.user != message.user:
        # No seal says which call a message is about: another person's chat is none to send it to.
        return None
    if message.kind != "answer" and call.status in UNSETTLED:
        return None
    if call.chat.kind == "direct":
        return Destination(message.user, call.chat.chat_id)
    return Destination(message.user) if wrote and message.kind == "answer" else None


UNSETTLED = {CallStatus.QUEUED, CallStatus.RUNNING, CallStatus.SUSPENDED}

WORDS_ABOUT_A_CALL = {"answer", "note"}
"""Kinds of messages that are shown in the group where a call was asked; it is told when they went elsewhere."""

SHOWN_IN_GROUP_FOR = timedelta(minutes=10)
"""From the asking: a message that one member of a group is shown there is seen only by a client that is online."""


def is_fresh(call_id: str, moment: datetime) -> bool:
    return moment - time_of(call_id) < SHOWN_IN_GROUP_FOR


def is_for_the_group(message: OutgoingMessage, moment: datetime) -> bool:
    """Whether a private word about a call is shown in the group where its person has asked, and is still looking."""
    return (
        message.call_id is not None
        and message.destination.private
        and is_fresh(message.call_id, moment)
        and message.kind in WORDS_ABOUT_A_CALL
    )


async def arrived(bot: Bot, message: OutgoingMessage, sent: Sent, moment: datetime) -> list[OutgoingMessage]:
    """Records that a message was sent; returns what the group is told, if it was for one alone and went elsewhere."""
    about = message.call_id
    if about is not None:
        bot.watch.seen(about)
    told = about is not None and message.kind in WORDS_ABOUT_A_CALL
    elsewhere = told and message.destination.private and not sent.ephemeral
    if about is None or not (elsewhere or may_have_reaction(message, moment)):
        await bot.database.write_one(
            lambda c: outbox.sent(c, message.id, message.claim, sent.message_id, moment)
        )
        return []

    def work(c: Connection) -> tuple[list[OutgoingMessage], Reaction | None]:
        if not outbox.sent(c, message.id, message.claim, sent.message_id, moment):
            return [], None
        call = calls.get(c, about) if elsewhere else None
        more = [] if call is None else insert_all(c, bot, [told_in_group(bot, call)])
        return more, answered(c, bot, message, moment)

    more, reaction = await bot.database.write(work)
    if reaction is not None:
        bot.background(remove(bot, bot.platform_of(message.user), reaction))
    return more


def may_have_reaction(message: OutgoingMessage, moment: datetime) -> bool:
    """Whether this is an answer that took so long that its question may have a reaction."""
    if message.call_id is None or message.kind != "answer":
        return False
    return moment - time_of(message.call_id) >= NO_REACTION_WITHIN


NO_REACTION_WITHIN = timedelta(seconds=0.7)
"""Somewhat less than `signs.REACT_AFTER`: replicas' clocks differ."""


def answered(c: Connection, bot: Bot, message: OutgoingMessage, moment: datetime) -> Reaction | None:
    """Inside a transaction that settles a message: the reaction to take away, if that was the answer."""
    if message.call_id is None or not may_have_reaction(message, moment):
        return None
    return reactions.claim(c, message.call_id, moment + bot.lease)


def told_in_group(bot: Bot, call: DeferredCall) -> Draft:
    done = call.status is CallStatus.SUCCEEDED
    word = replies.result_sent_privately() if done else replies.replied_privately()
    return note(bot, call, word, "told")


LINE_BEGINS_WITHIN = timedelta(seconds=10)
"""A limit on the whole app may last longer; whether it still does is tried with the first of each line."""


async def postpone(bot: Bot, message: OutgoingMessage, until: datetime, *, arrived_possible: bool) -> None:
    await bot.database.write_one(
        lambda c: outbox.postpone(c, message.id, message.claim, until, arrived_possible=arrived_possible)
    )


async def is_answered(bot: Bot, message: OutgoingMessage) -> bool:
    """Whether the call that an interim word is about is settled by now: "I keep trying" would be untrue."""
    if message.call_id is None:
        return False
    call_id = message.call_id
    call = await bot.database.read(lambda c: calls.get(c, call_id))
    return call is None or call.status not in {CallStatus.QUEUED, CallStatus.RUNNING}


async def lost(bot: Bot, message: OutgoingMessage, moment: datetime) -> list[OutgoingMessage]:
    """Nobody can open this message: it was sealed with a key that is gone, or where it goes was changed since.

    Nothing is sent there. A short reply goes to where its call was asked: the call has its own seal.
    """
    reason = "it cannot be opened: its key is gone, or it was changed"
    log.error("message not delivered", extra={"outgoing": message.id, "reason": reason})

    def work(c: Connection) -> list[OutgoingMessage]:
        if not outbox.give_up(c, message.id, message.claim, MessageStatus.UNDELIVERABLE, reason, moment):
            return []
        audit.reject(c, "message", message.id, moment)
        waited_for = message.call_id is not None and message.kind in {"answer", "confirmation_card"}
        call = calls.get(c, message.call_id) if waited_for and message.call_id else None
        return (
            []
            if call is None
            else insert_all(c, bot, [note(bot, call, replies.answer_lost(typed(call)), "lost")])
        )

    return await bot.database.write(work)


def later(moment: datetime, attempts: int, retry_after: float | None) -> datetime:
    return moment + pause(attempts, random.random(), retry_after)  # noqa: S311 - jitter, not a secret


async def settle(
    bot: Bot, message: OutgoingMessage, status: MessageStatus, reason: str, moment: datetime
) -> None:
    log.warning(
        "message not delivered", extra={"outgoing": message.id, "status": status.value, "reason": reason}
    )

    def work(c: Connection) -> Reaction | None:
        given_up = outbox.give_up(c, message.id, message.claim, status, reason, moment)
        return answered(c, bot, message, moment) if given_up else None

    reaction = await bot.database.write(work)
    if reaction is not None:
        bot.background(remove(bot, bot.platform_of(message.user), reaction))


async def refused(
    bot: Bot, message: OutgoingMessage, why: NotSent, moment: datetime
) -> list[OutgoingMessage]:
    """The platform never takes this message: a plain word takes its place, if somebody waits for it."""
    log.warning("message refused", extra={"outgoing": message.id, "reason": why.reason})

    def work(c: Connection) -> list[OutgoingMessage]:
        given_up = outbox.give_up(
            c, message.id, message.claim, MessageStatus.UNDELIVERABLE, why.reason, moment
        )
        word = WORD_FOR.get(message.kind)
        call = calls.get(c, message.call_id) if given_up and message.call_id else None
        if call is None:
            return []
        if message.kind == "answer":
            reactions.hurry(c, call.id, moment)
        reply = no_way(bot, call, why) if word or message.destination.private else None
        if reply is None and word is not None:
            reply = word(typed(call), why.reason)
        return [] if reply is None else insert_all(c, bot, [note(bot, call, reply, "refused")])

    return await bot.database.write(work)


def no_way(bot: Bot, call: DeferredCall, why: NotSent) -> Reply | None:
    """What a group is told when nothing private reaches the person who asked there."""
    if not why.no_way or call.chat.kind != "group" or call.recalled_at is not None:
        return None
    return replies.cannot_reach_privately(typed(call), bot.platform_of(call.user).chat_link)


WORD_FOR = {"answer": answer_refused, "confirmation_card": card_refused}


async def deliver_due(bot: Bot) -> None:
    """Takes over messages that are due: postponed ones, and those of a worker that is gone."""
    claim = bot.claim()
    due = await bot.database.write_one(lambda c: outbox.claim_due(c, claim, limit=20))
    # Side by side: one after another, the leases of the last would run out while the platform is slow.
    await asyncio.gather(*(deliver(bot, message) for message in due))


async def send_interim_words(bot: Bot) -> None:
    """A call that is not answered 20 seconds after its first failure gets one word that it is being retried."""
    moment = now()
    found = await bot.database.read(
        lambda c: calls.due_for_interim(c, moment - timedelta(seconds=INTERIM_AFTER), limit=50)
    )
    for call in await only_genuine(bot, found):
        word = note(bot, call, replies.still_trying(typed(call)), "interim", kind="interim")

        def mark(c: Connection, call: DeferredCall = call, word: Draft = word) -> list[OutgoingMessage]:
            return insert_all(c, bot, [word]) if calls.mark_interim(c, call.id, now()) else []

        await deliver_all(bot, await bot.database.write(mark))


INTERIM_AFTER = 18
"""Seconds; the promise is 20, and the look-out comes round every second or so."""
