"""The outbox: messages are stored before they are sent, so that none is lost and none is sent twice.

A message is written in the transaction that makes it due, already claimed by this worker, and sent right after. If that
fails, or this process dies, `deliver_due` of any replica continues.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.core.calls import CallStatus, DeferredCall
from bot.core.lifecycle import is_live
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

DELIVERY_TIMEOUT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is rendered before the transaction, inserted in it, and sent after it."""

    message: NewMessage

    def insert(self, connection: Connection, bot: Bot) -> OutgoingMessage | None:
        """Insert the message. Returns None if a message with its key exists: another worker sends it, or has sent it."""
        claim = bot.claim(self.message.user.app)
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
    # If a reply in a topic is refused, a message to the group would open another topic.
    reply_only = in_group and chat is not None and chat.thread_id is not None and not private
    chat_id = chat.chat_id if chat is not None and not reply_only else None
    destination = Destination(user, chat_id, reply_to, private and in_group)
    return Draft(NewMessage(new_id(now()), user, kind, key, destination, content, call_id))


def note_key(call: DeferredCall, name: str) -> str:
    return f"{call.id}-{name}"


def answer(bot: Bot, call: DeferredCall, reply: Reply, *, public: bool = False) -> Draft:
    """The only answer to a call. In a group the user alone sees it, unless it is `public`."""
    return note(bot, call, reply, "answer", "answer", private=not public)


def private_answer(bot: Bot, call: DeferredCall, reply: Reply) -> Draft:
    """The answer to a call whose message was recalled: a direct message, and nothing in the chat of the recalled one."""
    content = bot.platform_of(call.user).render_reply(reply)
    return draft(bot, call.user, content, kind="answer", key=f"{call.id}-answer", call_id=call.id)


def note(
    bot: Bot, call: DeferredCall, reply: Reply, name: str, kind: str = "note", *, private: bool = False
) -> Draft:
    """A message about a call, in the chat where it was asked. At most one of each name."""
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
    """The answer to a call that waited too long."""
    return replies.with_retry(replies.expired(typed(call)), call.id)


def expired_before_start(call: DeferredCall) -> Reply:
    return replies.with_retry(replies.expired_before_start(typed(call)), call.id)


def is_told_by_card(call: DeferredCall, request: AuthorizationRequest, moment: datetime) -> bool:
    """Whether the card of a request shows how a call ended, so that no message is needed.

    An ephemeral card cannot be changed. A call from a group is answered in the group while an ephemeral answer can be
    shown there; later the answer would be a direct message below the card.
    """
    if request.card.message_id is None or request.card.ephemeral or request.ticket is None:
        return False
    return call.chat.kind == "direct" or not is_fresh(call.id, moment)


def typed(call: DeferredCall) -> str:
    """The command as the user typed it, without arguments."""
    return f"/{call.command}"


def typed_in_full(call: DeferredCall) -> str:
    """The command with its arguments. Only for messages that the user alone sees."""
    return f"{typed(call)} {call.arguments}".rstrip()


def insert_all(connection: Connection, bot: Bot, drafts: Iterable[Draft]) -> list[OutgoingMessage]:
    return [message for each in drafts if (message := each.insert(connection, bot)) is not None]


async def deliver_all(bot: Bot, messages: Sequence[OutgoingMessage]) -> None:
    for message in messages:
        await deliver(bot, message)


async def deliver(bot: Bot, message: OutgoingMessage) -> None:
    """Send one claimed message and record the result."""
    moment, limits = now(), bot.platform_of(message.user).limits
    if message.first_tried_at is not None and moment - message.first_tried_at > limits.idempotency_window:
        await give_up(
            bot, message, MessageStatus.OUTCOME_UNKNOWN, "tried before, too long ago to repeat safely", moment
        )
        return
    if message.kind == "interim" and message.attempts > 1 and await is_answered(bot, message):
        await give_up(bot, message, MessageStatus.UNDELIVERABLE, "the answer was quicker", moment)
        return
    if message.attempts == 1 and (
        turn := bot.pacing.reserve_slot(message.user, moment, limits.message_interval)
    ):
        await postpone(bot, message, turn, arrived_possible=False)
        return
    if message.content is None:
        await deliver_all(bot, await replace_unreadable(bot, message, moment))
        return
    result = await send(bot, message, message.content)
    moment = now()
    if not isinstance(result, NotSent):
        await deliver_all(bot, await record_sent(bot, message, result, moment))
    elif result.recalled:
        await give_up(
            bot, message, MessageStatus.UNDELIVERABLE, f"the question was recalled: {result.reason}", moment
        )
        bot.note_recall(message.call_id, message.user)
    elif not result.retry:
        await deliver_all(bot, await replace_refused(bot, message, result, moment))
    elif moment - message.created_at > DELIVERY_TIMEOUT:
        await give_up(bot, message, MessageStatus.UNDELIVERABLE, result.reason, moment)
    else:
        until = retry_time(moment, message.attempts, result.retry_after)
        if result.rate_limited:
            bot.pacing.start(message.user, min(until, moment + MAX_PACING_DELAY))
        await postpone(bot, message, until, arrived_possible=result.may_have_arrived)


async def send(bot: Bot, message: OutgoingMessage, content: Content) -> Sent | NotSent:
    """Send a message. If the message that it answers was recalled, send it only where the user alone sees it."""
    here = is_shown_in_group_first(message, now())
    destination = replace(message.destination, unless_recalled=True, group_first=here)
    sent = await send_by_any_route(bot, destination, content, message.delivery_key)
    if isinstance(sent, NotSent) and sent.recalled:
        elsewhere = await destination_after_recall(bot, message)
        if elsewhere is not None:
            return await send_by_any_route(bot, elsewhere, content, message.delivery_key)
    return sent


async def send_by_any_route(bot: Bot, destination: Destination, content: Content, key: str) -> Sent | NotSent:
    """Send to a destination. If no route to it works, use the routes of the user's earlier commands."""
    platform = bot.platform_of(destination.user)
    if destination.private and destination.direct is None and not destination.group_first:
        destination = await add_other_routes(bot, destination)
        return await platform.send(destination, content, key)
    sent = await platform.send(destination, content, key)
    if isinstance(sent, NotSent) and sent.no_route:
        more = await add_other_routes(bot, destination)
        if more != destination:
            return await platform.send(replace(more, group_first=False), content, key)
    return sent


async def withdraw(platform: Platform, message_id: str) -> NotSent | None:
    """Delete an ephemeral card, which cannot be changed."""
    if platform.ephemeral is None:
        return NotSent("the platform has no ephemeral messages", retry=False, gone=True)
    return await platform.ephemeral.withdraw(message_id)


async def add_other_routes(bot: Bot, destination: Destination) -> Destination:
    """Add the user's direct chat. A private message may also be shown as an ephemeral one in a group of theirs."""
    user, alone = destination.user, destination.chat_id is None and destination.reply_to is None

    def read(c: Connection) -> Destination:
        direct = destination.direct or calls.direct_chat_of(c, user)
        group = calls.latest_group_of(c, user) if alone else None
        if group is None:
            return replace(destination, direct=direct)
        return replace(destination, direct=direct, chat_id=group, private=True)

    return await bot.database.read(read)


async def destination_after_recall(bot: Bot, message: OutgoingMessage) -> Destination | None:
    """Return where to send a message whose question was recalled, or None to drop it.

    In the direct chat only the user reads it, so it is sent there. For a question in a group, the result of a write goes
    to the user alone, and the result of a read is dropped. So is a note about a live call, because the recall ends it.
    """
    call_id = message.call_id
    if call_id is None:
        return None

    def read(c: Connection) -> tuple[DeferredCall | None, bool]:
        return calls.get(c, call_id), call_steps.has_written(c, call_id)

    call, wrote = await bot.database.read(read)
    if call is None or call.user != message.user:
        # The call id of a message is not authenticated: it must not lead to another user's chat.
        return None
    if message.kind != "answer" and is_live(call.status):
        return None
    if call.chat.kind == "direct":
        return Destination(message.user, call.chat.chat_id)
    return Destination(message.user) if wrote and message.kind == "answer" else None


KINDS_ABOUT_A_CALL = {"answer", "note"}
"""Kinds that belong into the group where a call was asked. If they are sent elsewhere, a note in the group says so."""

SHOWN_IN_GROUP_FOR = timedelta(minutes=10)
"""After the question. Only clients that are online show an ephemeral message, so later it may go unseen."""


def is_fresh(call_id: str, moment: datetime) -> bool:
    return moment - time_of(call_id) < SHOWN_IN_GROUP_FOR


def is_shown_in_group_first(message: OutgoingMessage, moment: datetime) -> bool:
    """Whether a private message about a call is first tried as an ephemeral one in the group where it was asked."""
    return (
        message.call_id is not None
        and message.destination.private
        and is_fresh(message.call_id, moment)
        and message.kind in KINDS_ABOUT_A_CALL
    )


async def record_sent(
    bot: Bot, message: OutgoingMessage, sent: Sent, moment: datetime
) -> list[OutgoingMessage]:
    """Record that a message was sent. Returns the note for the group, if a private message went elsewhere."""
    about = message.call_id
    if about is not None:
        bot.unacknowledged.remove(about)
    told = about is not None and message.kind in KINDS_ABOUT_A_CALL
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
        more = [] if call is None else insert_all(c, bot, [group_note(bot, call)])
        return more, take_reaction(c, bot, message, moment)

    more, reaction = await bot.database.write(work)
    if reaction is not None:
        bot.background(remove(bot, bot.platform_of(message.user), reaction))
    return more


def may_have_reaction(message: OutgoingMessage, moment: datetime) -> bool:
    """Whether this answer took so long that its question may have a reaction."""
    if message.call_id is None or message.kind != "answer":
        return False
    return moment - time_of(message.call_id) >= NO_REACTION_WITHIN


NO_REACTION_WITHIN = timedelta(seconds=0.7)
"""A little less than `acknowledge.REACT_AFTER`, because the clocks of replicas differ."""


def take_reaction(c: Connection, bot: Bot, message: OutgoingMessage, moment: datetime) -> Reaction | None:
    """Claim the reaction of the question that a settled message has answered, to remove it. None if there is none."""
    if message.call_id is None or not may_have_reaction(message, moment):
        return None
    return reactions.claim(c, message.call_id, moment + bot.lease)


def group_note(bot: Bot, call: DeferredCall) -> Draft:
    done = call.status is CallStatus.SUCCEEDED
    word = replies.result_sent_privately() if done else replies.replied_privately()
    return note(bot, call, word, "told")


MAX_PACING_DELAY = timedelta(seconds=10)
"""A limit of the whole app may last longer; the first message to each user then tries again."""


async def postpone(bot: Bot, message: OutgoingMessage, until: datetime, *, arrived_possible: bool) -> None:
    await bot.database.write_one(
        lambda c: outbox.postpone(c, message.id, message.claim, until, arrived_possible=arrived_possible)
    )


async def is_answered(bot: Bot, message: OutgoingMessage) -> bool:
    """Whether the call of an interim note is settled, so that "I keep trying" would be wrong."""
    if message.call_id is None:
        return False
    call_id = message.call_id
    call = await bot.database.read(lambda c: calls.get(c, call_id))
    return call is None or call.status not in {CallStatus.QUEUED, CallStatus.RUNNING}


async def replace_unreadable(bot: Bot, message: OutgoingMessage, moment: datetime) -> list[OutgoingMessage]:
    """Give up a message that cannot be decrypted: its key is gone, or its destination was changed in the database.

    Returns a short reply to the chat of its call, which is authenticated by itself.
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


def retry_time(moment: datetime, attempts: int, retry_after: float | None) -> datetime:
    return moment + pause(attempts, random.random(), retry_after)  # noqa: S311 - jitter, not a secret


async def give_up(
    bot: Bot, message: OutgoingMessage, status: MessageStatus, reason: str, moment: datetime
) -> None:
    log.warning(
        "message not delivered", extra={"outgoing": message.id, "status": status.value, "reason": reason}
    )

    def work(c: Connection) -> Reaction | None:
        given_up = outbox.give_up(c, message.id, message.claim, status, reason, moment)
        return take_reaction(c, bot, message, moment) if given_up else None

    reaction = await bot.database.write(work)
    if reaction is not None:
        bot.background(remove(bot, bot.platform_of(message.user), reaction))


async def replace_refused(
    bot: Bot, message: OutgoingMessage, why: NotSent, moment: datetime
) -> list[OutgoingMessage]:
    """Give up a message that the platform refuses for good. Returns a plain one instead, if the user waits for it."""
    log.warning("message refused", extra={"outgoing": message.id, "reason": why.reason})

    def work(c: Connection) -> list[OutgoingMessage]:
        given_up = outbox.give_up(
            c, message.id, message.claim, MessageStatus.UNDELIVERABLE, why.reason, moment
        )
        word = REPLACEMENT_FOR.get(message.kind)
        call = calls.get(c, message.call_id) if given_up and message.call_id else None
        if call is None:
            return []
        if message.kind == "answer":
            reactions.make_due(c, call.id, moment)
        reply = no_route_reply(bot, call, why) if word or message.destination.private else None
        if reply is None and word is not None:
            reply = word(typed(call), why.reason)
        return [] if reply is None else insert_all(c, bot, [note(bot, call, reply, "refused")])

    return await bot.database.write(work)


def no_route_reply(bot: Bot, call: DeferredCall, why: NotSent) -> Reply | None:
    """Return the reply for a group when no private message reaches the user who asked there, or None."""
    if not why.no_route or call.chat.kind != "group" or call.recalled_at is not None:
        return None
    return replies.cannot_reach_privately(typed(call), bot.platform_of(call.user).chat_link)


REPLACEMENT_FOR = {"answer": answer_refused, "confirmation_card": card_refused}


async def deliver_due(bot: Bot) -> None:
    """Send messages that are due: postponed ones, and those of a worker that is gone."""
    due = await bot.claim_due(outbox.claim_due, limit=20)
    # Concurrently: in sequence, the leases of the last would expire while the platform is slow.
    await asyncio.gather(*(deliver(bot, message) for message in due))


async def send_interim_notes(bot: Bot) -> None:
    """Send one note that a call is being retried, if it has no answer 20 seconds after its first failure."""
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
"""Seconds. The promise is 20, and the chore runs about once a second."""
