"""What comes in from the platform: recorded in one transaction, then acknowledged. The work is done later.

Both doors, the webhook and the long connection, end in `accept_event`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from datetime import datetime

from bot.core.api import Json
from bot.core.commands import Command, parse_message
from bot.core.events import (
    AppStopped,
    CardClicked,
    ChatEntered,
    Event,
    GrantRevoked,
    Ignored,
    Mentions,
    MessageRecalled,
    MessageReceived,
    UserDeleted,
)
from bot.core.grants import REVOKED_AT_PLATFORM
from bot.core.people import UserKey
from bot.core.words import replies
from bot.flows.acknowledge import watch
from bot.flows.authorize.end import close_request, end_grant, recall
from bot.flows.bot import Bot, language_of, now
from bot.flows.clicks import answer_click
from bot.flows.outbox import deliver_all, draft, insert_all
from bot.store import audit, calls, grants, inbox, seen_events, sessions, users
from bot.store.ids import new_id
from bot.store.inbox import Arrival, NewCall, Recorded
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


async def accept_event(bot: Bot, event: Event) -> Json:
    """Records an event so that it cannot be lost, and returns the body that answers it. A repeat has no effect."""
    match event:
        case MessageReceived(foreign=True):
            await refuse_foreigner(bot, event)
        case MessageReceived():
            await accept_message(bot, event)
        case ChatEntered():
            await welcome(bot, event)
        case MessageRecalled():
            await withdraw_question(bot, event)
        case GrantRevoked():
            await end_revoked_grant(bot, event)
        case UserDeleted():
            await forget_person(bot, event)
        case AppStopped():
            await forget_organization(bot, event)
        case CardClicked():
            return await answer_click(bot, event)
        case Ignored(reason=why):
            log.debug("event ignored", extra={"why": why})
    return {}


async def accept_message(bot: Bot, event: MessageReceived) -> None:
    name, written = parse_message(event.text, bot.commands)
    moment = now()
    urgent = bot.commands[name].urgent
    # The platform's clock may be ahead of ours.
    asked_at = min(event.sent_at, moment)
    call = NewCall(
        id=new_id(moment),
        user=event.user,
        chat=event.chat,
        message_id=event.message_id,
        command=name,
        arguments=kept(bot.commands[name], written, event.mentions),
        asked_at=asked_at,
        language=language_of(event.text, event.language, None),
        time_zone=None,
        # What helps and what ends things is done however late it arrives.
        expires_at=(moment if urgent else asked_at) + bot.deferred_ttl,
    )
    arrival = Arrival(event.event_id, call, event.language, event.union_id, moment, urgent)
    match await bot.database.write_together(inbox.record_all, arrival):
        case Recorded.SEEN_BEFORE:
            bot.refusals.note("event seen before", "message")
        case Recorded.TOO_MANY:
            await refuse_one_more(bot, call, moment)
        case Recorded.QUEUED:
            watch(bot, call)


def kept(command: Command, written: str, mentions: Mentions) -> str:
    """The arguments of a command, as it wants to keep them; as they were written if its function for that fails."""
    try:
        arguments = command.keep(written, mentions)
    except Exception as error:
        log.error("keep of a command failed", extra={"command": command.name, "error": type(error).__name__})
        return written
    if isinstance(arguments, str):
        return arguments
    log.error("keep of a command returned no text", extra={"command": command.name})
    return written


async def refuse_one_more(bot: Bot, call: NewCall, moment: datetime) -> None:
    """Tells a person that they have the most calls waiting already; once a minute, however fast they go on asking."""
    bot.refusals.note("too many calls of one person", str(call.user), logging.WARNING)
    word = draft(
        bot,
        call.user,
        bot.platform_of(call.user).render_reply(replies.too_many_waiting(inbox.MOST_WAITING)),
        kind="notice",
        key=f"{call.user.open_id[-24:]}-full-{int(moment.timestamp() // 60):x}",
        chat=call.chat,
        reply_to=None if call.chat.kind == "group" else call.message_id,
        private=True,
    )
    messages = await bot.database.write(lambda c: insert_all(c, bot, [word]))
    bot.background(deliver_all(bot, messages))


async def welcome(bot: Bot, event: ChatEntered) -> None:
    """A person who opens the chat for the first time is told what the bot can do."""
    moment = now()
    call = NewCall(
        id=new_id(moment),
        user=event.user,
        chat=event.chat,
        message_id=None,
        command="welcome",
        arguments="",
        asked_at=moment,
        language="en",
        time_zone=None,
        expires_at=moment + bot.deferred_ttl,
    )

    def work(c: Connection) -> None:
        users.seen(c, event.user, language=None, union_id=None, now=moment)
        if event.first and users.welcome(c, event.user, moment):
            inbox.record(c, event.event_id, call, language=None, union_id=None, now=moment)

    await bot.database.write(work)


async def refuse_foreigner(bot: Bot, event: MessageReceived) -> None:
    """Somebody of another organization is told, once, that the bot is not for them."""
    word = draft(
        bot,
        event.user,
        bot.platform_of(event.user).render_reply(replies.other_organization()),
        kind="notice",
        key=f"{new_id(now())}-foreign",
        chat=event.chat,
        reply_to=event.message_id,
    )

    def work(c: Connection) -> list[OutgoingMessage]:
        moment = now()
        if not seen_events.record(c, event.user.platform, event.user.app_id, event.event_id, moment):
            return []
        users.seen(c, event.user, language=event.language, union_id=event.union_id, now=moment)
        return insert_all(c, bot, [word]) if users.welcome(c, event.user, moment) else []

    messages = await bot.database.write(work)
    if messages:
        bot.background(deliver_all(bot, messages))


async def withdraw_question(bot: Bot, event: MessageRecalled) -> None:
    """A recalled question is not answered, and what waits for it waits no longer.

    Events may overtake each other: a question that comes after its recall counts as seen. A call that is under way,
    or of which a write has left, ends by itself and knows that its question was recalled.
    """
    moment = now()
    platform, app_id, message_id = event.platform, event.app_id, event.message_id

    def work(c: Connection) -> list[OutgoingMessage]:
        if not seen_events.record(c, platform, app_id, event.event_id, moment):
            return []
        if seen_events.record(c, platform, app_id, f"recalled-{message_id}", moment, message_id=message_id):
            return []
        asked = calls.all_by_message(c, message_id)
        return [message for call in asked for message in recall(c, bot, call, moment)]

    messages = await bot.database.write(work)
    bot.wake.upkeep.set()
    bot.background(deliver_all(bot, messages))


async def end_revoked_grant(bot: Bot, event: GrantRevoked) -> None:
    """The event may be hours old: it ends a grant only if that was authorized before it."""
    moment = now()

    def work(c: Connection) -> None:
        if not seen_events.record(c, event.user.platform, event.user.app_id, event.event_id, moment):
            return
        ended = grants.end(c, event.user, REVOKED_AT_PLATFORM, moment, authorized_before=event.at)
        audit.write(
            c,
            "grant_revoked_at_platform",
            user=event.user,
            now=moment,
            ended=int(ended is not None),
        )

    await bot.database.write(work)


async def forget_person(bot: Bot, event: UserDeleted) -> None:
    """Ends everything of a person who left the organization: they cannot consent, and cannot be told."""
    moment = now()

    def work(c: Connection) -> None:
        if not seen_events.record(c, event.user.platform, event.user.app_id, event.event_id, moment):
            return
        drop_silently(c, event.user, "person_left", moment)
        end_grant(c, event.user, "person_left", moment)

    await bot.database.write(work)
    bot.wake.upkeep.set()


async def forget_organization(bot: Bot, event: AppStopped) -> None:
    """Ends everything of an organization that removed the app, in portions; no message reaches its people any more.

    The event is recorded last: what a crash interrupts goes on when the platform delivers it again.
    """
    moment = now()
    app = (event.platform, event.app_id)
    if await bot.database.read(lambda c: seen_events.is_known(c, *app, event.event_id)):
        return
    before = event.at or moment

    def work(c: Connection, people: Sequence[UserKey]) -> None:
        for user in people:
            drop_silently(c, user, "app_stopped", moment)
            # The platform has revoked the tokens with that.
            grants.end(c, user, "app_stopped", moment, authorized_before=before)

    # Listed once: a row that is not genuine stays, and its person would come up again and again.
    affected = await bot.database.read(
        lambda c: users.unfinished_of_organization(c, *app, event.tenant_key, before=before)
    )
    for start in range(0, len(affected), PORTION):
        portion = affected[start : start + PORTION]
        await bot.database.write(functools.partial(work, people=portion))
    await bot.database.write(lambda c: seen_events.record(c, *app, event.event_id, moment))
    bot.wake.upkeep.set()


PORTION = 20
"""People of an organization in one transaction: others write in between."""


def drop_silently(c: Connection, user: UserKey, reason: str, moment: datetime) -> None:
    """Inside a transaction: cancels what waits for a person, closes their request, and ends their sessions."""
    users.lock(c, user)
    for call in calls.waiting_of(c, user):
        calls.cancel(c, call.id, reason, moment)
    close_request(c, user, reason, moment)
    sessions.end_all(c, user, reason, moment)
