"""The outbox: messages are stored before they are sent, so that none is lost and none is sent twice.

A message is written in the transaction that makes it due, already claimed by this worker, and sent after the commit. If
that fails, or this process crashes, `deliver_due` of any replica sends it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.core.calls import CallStatus, DeferredCall
from bot.core.lifecycle import is_live
from bot.core.messages import Chat, Content, Destination, MessageStatus, NotSent, Reply, Sent
from bot.core.people import UserKey
from bot.core.platform import Platform, PlatformLimits
from bot.core.requests import AuthorizationRequest
from bot.core.retry import pause
from bot.core.words import replies
from bot.core.words.refusals import answer_refused, card_refused
from bot.flows import correlation, observations
from bot.flows.bot import Bot, utc_now
from bot.flows.calls.genuine import only_genuine
from bot.flows.reactions import remove
from bot.store import audit, call_steps, calls, outbox, reactions
from bot.store.ids import new_id, time_of
from bot.store.outbox import NewMessage, OutgoingMessage
from bot.store.reactions import Reaction
from bot.store.transaction import Connection

DELIVERY_TIMEOUT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is rendered before the transaction, inserted in it, and sent after it."""

    message: NewMessage

    def insert(self, connection: Connection, bot: Bot) -> OutgoingMessage | None:
        """Insert the message. Returns None if one with the same key exists, which another worker sends or has sent."""
        claim = bot.claim(self.message.user.app)
        if not outbox.add(connection, self.message, now=claim.now, claim=claim):
            return None
        return outbox.claimed(self.message, claim.now)


def draft(to: Destination, content: Content, *, kind: str, key: str, call_id: str | None = None) -> Draft:
    return Draft(NewMessage(new_id(utc_now()), to.user, kind, key, to, content, call_id))


def in_chat(user: UserKey, chat: Chat, *, reply_to: str | None = None, private: bool = False) -> Destination:
    """Return the destination of a message to a chat. In a group, only the user sees it if it is `private`."""
    in_group = chat.kind == "group"
    # No message to the group if a reply in a topic is refused, because it would open another topic.
    reply_only = in_group and chat.thread_id is not None and not private
    return Destination(user, None if reply_only else chat.chat_id, reply_to, private and in_group)


def note_key(call: DeferredCall, name: str) -> str:
    return f"{call.id}-{name}"


def answer(bot: Bot, call: DeferredCall, reply: Reply, *, public: bool = False) -> Draft:
    """Return the only answer to a call. In a group only the user sees it, unless it is `public`."""
    return note(bot, call, reply, "answer", "answer", private=not public)


def private_answer(bot: Bot, call: DeferredCall, reply: Reply) -> Draft:
    """Return the answer to a call whose message was recalled: a direct message, even if the call is from a group."""
    content = bot.platform_of(call.user).render_reply(reply, call.language)
    return draft(Destination(call.user), content, kind="answer", key=f"{call.id}-answer", call_id=call.id)


def note(
    bot: Bot, call: DeferredCall, reply: Reply, name: str, kind: str = "note", *, private: bool = False
) -> Draft:
    """Return a message about a call, in the chat where it was asked. A call has at most one message of each name."""
    only_user = private and call.chat.kind == "group"
    reply_to = None if only_user else call.message_id
    return draft(
        in_chat(call.user, call.chat, reply_to=reply_to, private=only_user),
        bot.platform_of(call.user).render_reply(reply, call.language),
        kind=kind,
        key=note_key(call, name),
        call_id=call.id,
    )


def declined(call: DeferredCall) -> Reply:
    return replies.declined(typed(call))


def expired(call: DeferredCall) -> Reply:
    """Return the answer to a call that waited too long."""
    return replies.with_retry(replies.expired(typed(call)), call.id)


def expired_before_start(call: DeferredCall) -> Reply:
    return replies.with_retry(replies.expired_before_start(typed(call)), call.id)


def can_change_cards(platform: Platform) -> bool:
    """Return whether cards of the platform can be changed after they were sent."""
    return platform.limits.card_edit_window > timedelta(0)


def is_shown_by_card(bot: Bot, call: DeferredCall, request: AuthorizationRequest, now: datetime) -> bool:
    """Return whether the card of a request shows how a call ended, so that no message is needed.

    An ephemeral card cannot be changed. A call from a group gets an ephemeral answer in the group while that is possible.
    Later its answer would be a direct message below the card, and is unnecessary.
    """
    if request.card.message_id is None or request.card.ephemeral or request.ticket is None:
        return False
    if not can_change_cards(bot.platform_of(request.user)):
        return False
    return call.chat.kind == "direct" or not is_fresh(call.id, now)


def typed(call: DeferredCall) -> str:
    """Return the command as the user typed it, without arguments."""
    return f"/{call.command}"


def typed_in_full(call: DeferredCall) -> str:
    """Return the command with its arguments, only for messages that no one but the user sees."""
    return f"{typed(call)} {call.arguments}".rstrip()


def insert_all(connection: Connection, bot: Bot, drafts: Iterable[Draft]) -> list[OutgoingMessage]:
    return [message for each in drafts if (message := each.insert(connection, bot)) is not None]


async def deliver_all(bot: Bot, messages: Sequence[OutgoingMessage]) -> None:
    for message in messages:
        await deliver(bot, message)


async def deliver(bot: Bot, message: OutgoingMessage) -> None:
    """Send one claimed message and record the result."""
    with correlation.of_message(message):
        await attempt(bot, message)


async def attempt(bot: Bot, message: OutgoingMessage) -> None:
    now, limits = utc_now(), bot.platform_of(message.user).limits
    if not may_repeat(message, limits, now):
        await give_up(
            bot,
            message,
            MessageStatus.OUTCOME_UNKNOWN,
            "an earlier attempt is too old to repeat safely",
            now,
        )
        return
    if message.kind == "interim" and message.attempts > 1 and await is_answered(bot, message):
        observations.message_not_needed(bot, message)
        await settle_unsent(bot, message, MessageStatus.UNDELIVERABLE, OVERTAKEN, now)
        return
    if message.attempts == 1 and (
        slot := bot.pacing.reserve_slot(message.user, now, limits.message_interval)
    ):
        await postpone(bot, message, slot, may_have_arrived=False)
        return
    if message.content is None:
        await deliver_all(bot, await replace_unreadable(bot, message, now))
        return
    result = await send(bot, message, message.content)
    now = utc_now()
    if not isinstance(result, NotSent):
        await deliver_all(bot, await record_sent(bot, message, result, now))
    elif result.recalled:
        await give_up(
            bot,
            message,
            MessageStatus.UNDELIVERABLE,
            f"the message to answer was recalled: {result.reason}",
            now,
        )
        bot.note_recall(message.call_id, message.user)
    elif not result.retry:
        await deliver_all(bot, await replace_refused(bot, message, result, now))
    elif now - message.created_at > DELIVERY_TIMEOUT:
        await give_up(bot, message, MessageStatus.UNDELIVERABLE, result.reason, now)
    else:
        until = retry_time(now, message.attempts, result.retry_after)
        if result.rate_limited:
            bot.pacing.start(message.user, min(until, now + MAX_PACING_DELAY))
        await postpone(bot, message, until, may_have_arrived=result.may_have_arrived)


OVERTAKEN = "the answer was sent first"
"""The reason of an interim word that is no longer needed. It is no trouble."""

MAX_ATTEMPTS_WITHOUT_KEY = 3
"""How often a message that may have arrived is sent, on a platform that does not recognize repeated messages."""


def may_repeat(message: OutgoingMessage, limits: PlatformLimits, now: datetime) -> bool:
    """Whether a message may be sent, given when it may first have been sent."""
    if message.first_tried_at is None:
        return True
    if not limits.idempotency_window:
        return message.attempts <= MAX_ATTEMPTS_WITHOUT_KEY
    return now - message.first_tried_at <= limits.idempotency_window


async def send(bot: Bot, message: OutgoingMessage, content: Content) -> Sent | NotSent:
    """Send a message. If the message that it answers was recalled, send it only where no one else sees it."""
    group_first = is_shown_in_group_first(message, utc_now())
    destination = replace(message.destination, unless_recalled=True, group_first=group_first)
    sent = await send_by_any_route(bot, destination, content, message.delivery_key)
    if isinstance(sent, NotSent) and sent.recalled:
        other = await destination_after_recall(bot, message)
        if other is not None:
            return await send_by_any_route(bot, other, content, message.delivery_key)
    return sent


async def send_by_any_route(bot: Bot, destination: Destination, content: Content, key: str) -> Sent | NotSent:
    """Send to a destination. If no route to it works, try the chats of the user's earlier commands."""
    platform = bot.platform_of(destination.user)
    if destination.private and destination.direct is None and not destination.group_first:
        destination = await add_other_routes(bot, destination)
        return await platform.send(destination, content, key)
    sent = await platform.send(destination, content, key)
    if isinstance(sent, NotSent) and sent.no_route:
        extended = await add_other_routes(bot, destination)
        if extended != destination:
            return await platform.send(replace(extended, group_first=False), content, key)
    return sent


async def withdraw(platform: Platform, message_id: str) -> NotSent | None:
    """Delete an ephemeral message. Returns the reason if that fails."""
    if platform.ephemeral is None:
        return NotSent("the platform has no ephemeral messages", retry=False, gone=True)
    return await platform.ephemeral.withdraw(message_id)


async def add_other_routes(bot: Bot, destination: Destination) -> Destination:
    """Return the destination with the user's direct chat, and for a private message their latest group as well."""
    user, has_no_chat = destination.user, destination.chat_id is None and destination.reply_to is None

    def read(c: Connection) -> Destination:
        direct = destination.direct or calls.direct_chat_of(c, user)
        group = calls.latest_group_of(c, user) if has_no_chat else None
        if group is None:
            return replace(destination, direct=direct)
        return replace(destination, direct=direct, chat_id=group, private=True)

    return await bot.database.read(read)


async def destination_after_recall(bot: Bot, message: OutgoingMessage) -> Destination | None:
    """Return where to send the answer to a recalled message, or None to drop it.

    In the direct chat it is sent, because only the user reads it. For a message in a group, the result of a write is sent
    to the user alone, and the result of a read is dropped. A note about a live call is dropped, because the recall ends
    the call.
    """
    call_id = message.call_id
    if call_id is None:
        return None

    def read(c: Connection) -> tuple[DeferredCall | None, bool]:
        return calls.get(c, call_id), call_steps.has_written(c, call_id)

    call, wrote = await bot.database.read(read)
    if call is None or call.user != message.user:
        # The call id of a message is not sealed, and must not lead to another user's chat.
        return None
    if message.kind != "answer" and is_live(call.status):
        return None
    if call.chat.kind == "direct":
        return Destination(message.user, call.chat.chat_id)
    return Destination(message.user) if wrote and message.kind == "answer" else None


KINDS_ABOUT_A_CALL = {"answer", "note"}
"""Kinds that belong in the group where a call was asked. If they are sent elsewhere, a note in the group says so."""

SHOWN_IN_GROUP_FOR = timedelta(minutes=10)
"""How long after the user's message an answer may be ephemeral. Later the client may be offline, and never show it."""


def is_fresh(call_id: str, now: datetime) -> bool:
    return now - time_of(call_id) < SHOWN_IN_GROUP_FOR


def is_shown_in_group_first(message: OutgoingMessage, now: datetime) -> bool:
    """Return whether a private message about a call is first tried as an ephemeral one in the group of the call."""
    return (
        message.call_id is not None
        and message.destination.private
        and is_fresh(message.call_id, now)
        and message.kind in KINDS_ABOUT_A_CALL
    )


async def record_sent(bot: Bot, message: OutgoingMessage, sent: Sent, now: datetime) -> list[OutgoingMessage]:
    """Record that a message was sent. Returns a note for the group if a private message was sent elsewhere."""
    call_id = message.call_id
    observations.message_sent(bot, message, sent)
    if call_id is not None:
        bot.unacknowledged.remove(call_id)
    is_about_call = call_id is not None and message.kind in KINDS_ABOUT_A_CALL
    elsewhere = is_about_call and message.destination.private and not sent.ephemeral
    if call_id is None or not (elsewhere or may_have_reaction(message, now)):
        await bot.database.write_one(
            lambda c: outbox.sent(c, message.id, message.claim, sent.message_id, now)
        )
        return []

    def work(c: Connection) -> tuple[list[OutgoingMessage], Reaction | None]:
        if not outbox.sent(c, message.id, message.claim, sent.message_id, now):
            return [], None
        call = calls.get(c, call_id) if elsewhere else None
        notes = [] if call is None else insert_all(c, bot, [group_note(bot, call)])
        return notes, take_reaction(c, bot, message, now)

    notes, reaction = await bot.database.write(work)
    if reaction is not None:
        bot.background(remove(bot, bot.platform_of(message.user), reaction))
    return notes


def may_have_reaction(message: OutgoingMessage, now: datetime) -> bool:
    """Return whether this answer took so long that the user's message may have a reaction."""
    if message.call_id is None or message.kind != "answer":
        return False
    return now - time_of(message.call_id) >= NO_REACTION_WITHIN


NO_REACTION_WITHIN = timedelta(seconds=0.7)
"""A little less than `acknowledge.REACT_AFTER`, because the clocks of replicas differ."""


def take_reaction(c: Connection, bot: Bot, message: OutgoingMessage, now: datetime) -> Reaction | None:
    """Claim the reaction to the message that was answered, to remove it. Returns None if there is none."""
    if message.call_id is None or not may_have_reaction(message, now):
        return None
    return reactions.claim(c, message.call_id, now + bot.lease)


def group_note(bot: Bot, call: DeferredCall) -> Draft:
    done = call.status is CallStatus.SUCCEEDED
    reply = replies.result_sent_privately() if done else replies.replied_privately()
    return note(bot, call, reply, "told")


MAX_PACING_DELAY = timedelta(seconds=10)
"""Short, because the limit may be one of the whole app. The first message to each user then tests it again."""


async def postpone(bot: Bot, message: OutgoingMessage, until: datetime, *, may_have_arrived: bool) -> None:
    await bot.database.write_one(
        lambda c: outbox.postpone(c, message.id, message.claim, until, may_have_arrived=may_have_arrived)
    )


async def is_answered(bot: Bot, message: OutgoingMessage) -> bool:
    """Return whether the call of an interim note is no longer being retried, so that the note would be wrong."""
    if message.call_id is None:
        return False
    call_id = message.call_id
    call = await bot.database.read(lambda c: calls.get(c, call_id))
    return call is None or call.status not in {CallStatus.QUEUED, CallStatus.RUNNING}


async def replace_unreadable(bot: Bot, message: OutgoingMessage, now: datetime) -> list[OutgoingMessage]:
    """Give up a message that cannot be opened: its key is lost, or its row was changed in the database.

    Returns a short reply to the chat of its call, whose row is sealed separately.
    """
    reason = "it cannot be opened: its key is lost, or it was changed"
    observations.message_given_up(bot, message, MessageStatus.UNDELIVERABLE, reason)

    def work(c: Connection) -> list[OutgoingMessage]:
        if not outbox.give_up(c, message.id, message.claim, MessageStatus.UNDELIVERABLE, reason, now):
            return []
        audit.reject(c, "message", message.id, now)
        waited_for = message.call_id is not None and message.kind in {"answer", "confirmation_card"}
        call = calls.get(c, message.call_id) if waited_for and message.call_id else None
        return (
            []
            if call is None
            else insert_all(c, bot, [note(bot, call, replies.answer_lost(typed(call)), "lost")])
        )

    return await bot.database.write(work)


def retry_time(now: datetime, attempts: int, retry_after: float | None) -> datetime:
    return now + pause(attempts, random.random(), retry_after)  # noqa: S311 - jitter, not a secret


async def give_up(
    bot: Bot, message: OutgoingMessage, status: MessageStatus, reason: str, now: datetime
) -> None:
    observations.message_given_up(bot, message, status, reason)
    await settle_unsent(bot, message, status, reason, now)


async def settle_unsent(
    bot: Bot, message: OutgoingMessage, status: MessageStatus, reason: str, now: datetime
) -> None:
    def work(c: Connection) -> Reaction | None:
        given_up = outbox.give_up(c, message.id, message.claim, status, reason, now)
        return take_reaction(c, bot, message, now) if given_up else None

    reaction = await bot.database.write(work)
    if reaction is not None:
        bot.background(remove(bot, bot.platform_of(message.user), reaction))


async def replace_refused(
    bot: Bot, message: OutgoingMessage, problem: NotSent, now: datetime
) -> list[OutgoingMessage]:
    """Give up a message that the platform refuses permanently. Returns a plain replacement if the user waits for it."""
    observations.message_given_up(bot, message, MessageStatus.UNDELIVERABLE, problem.reason)

    def work(c: Connection) -> list[OutgoingMessage]:
        given_up = outbox.give_up(
            c, message.id, message.claim, MessageStatus.UNDELIVERABLE, problem.reason, now
        )
        replacement = REPLACEMENT_FOR.get(message.kind)
        call = calls.get(c, message.call_id) if given_up and message.call_id else None
        if call is None:
            return []
        if message.kind == "answer":
            reactions.make_due(c, call.id, now)
        reply = no_route_reply(bot, call, problem) if replacement or message.destination.private else None
        if reply is None and replacement is not None:
            reply = replacement(typed(call), problem.reason)
        return [] if reply is None else insert_all(c, bot, [note(bot, call, reply, "refused")])

    return await bot.database.write(work)


def no_route_reply(bot: Bot, call: DeferredCall, problem: NotSent) -> Reply | None:
    """Return the reply to a group if no private message reaches the user, or None if the problem is another one."""
    if not problem.no_route or call.chat.kind != "group" or call.recalled_at is not None:
        return None
    return replies.cannot_reach_privately(typed(call), bot.platform_of(call.user).chat_link)


REPLACEMENT_FOR = {"answer": answer_refused, "confirmation_card": card_refused}


async def deliver_due(bot: Bot) -> None:
    """Send messages that are due: postponed ones, and those of a worker that has ended."""
    due = await bot.claim_due(outbox.claim_due, limit=20)
    # Concurrently, because in sequence the last leases would expire while the platform is slow.
    await asyncio.gather(*(deliver(bot, message) for message in due))


async def send_interim_notes(bot: Bot) -> None:
    """Send a note, once for each call, that a call without an answer for 20 seconds is being retried."""
    now = utc_now()
    due = await bot.database.read(
        lambda c: calls.due_for_interim(c, now - timedelta(seconds=INTERIM_AFTER), limit=50)
    )
    for call in await only_genuine(bot, due):
        message = note(bot, call, replies.still_trying(typed(call)), "interim", kind="interim")

        def mark(c: Connection, call: DeferredCall = call, message: Draft = message) -> list[OutgoingMessage]:
            return insert_all(c, bot, [message]) if calls.mark_interim(c, call.id, utc_now()) else []

        await deliver_all(bot, await bot.database.write(mark))


INTERIM_AFTER = 18
"""Seconds after the first failure. The limit is 20, and the chore runs about once a second."""
