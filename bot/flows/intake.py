"""Events from the platform: each is recorded in one transaction, then acknowledged, and processed later.

The webhook and the long connection both call `receive_event`.
"""

from __future__ import annotations

import functools
import logging
import time
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
from bot.flows import correlation, observations
from bot.flows.acknowledge import expect_acknowledgement
from bot.flows.authorize.end import close_request, end_grant
from bot.flows.bot import Bot, language_of, utc_now
from bot.flows.calls.recall import recall
from bot.flows.clicks import answer_click
from bot.flows.outbox import deliver_all, draft, in_chat, insert_all
from bot.store import audit, calls, grants, inbox, seen_events, sessions, users
from bot.store.ids import new_id
from bot.store.inbox import Arrival, NewCall, Recorded
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


async def receive_event(bot: Bot, platform: str, event: Event) -> Json:
    """Accept an authentic event of a platform (see `accept_event`), and observe how that ends."""
    started, kind = time.perf_counter(), observations.kind_of(event)
    try:
        with bot.tracer.span(f"event {kind}", is_arrival=True, platform=platform, event=event.event_id):
            answer = await accept_event(bot, event)
    except Exception:
        observations.event_failed(bot, platform, event)
        raise
    observations.event_acknowledged(bot, platform, event, time.perf_counter() - started, utc_now())
    return answer


async def accept_event(bot: Bot, event: Event) -> Json:
    """Record an event, and return the body of the response. A repeated event has no effect."""
    with correlation.of_event(event):
        match event:
            case MessageReceived(foreign=True):
                is_new = await reject_other_organization(bot, event)
            case MessageReceived():
                await accept_message(bot, event)
                return {}
            case ChatEntered():
                is_new = await welcome(bot, event)
            case MessageRecalled():
                is_new = await recall_message(bot, event)
            case GrantRevoked():
                is_new = await end_revoked_grant(bot, event)
            case UserDeleted():
                is_new = await end_user(bot, event)
            case AppStopped():
                is_new = await end_organization(bot, event)
            case CardClicked():
                return await answer_click(bot, event)
            case Ignored(reason=reason):
                observations.event_ignored(reason)
                return {}
        if is_new:
            observations.event_accepted(bot, event)
        else:
            observations.event_repeated(bot, event)
    return {}


async def accept_message(bot: Bot, event: MessageReceived) -> None:
    commands = bot.commands_of(event.user)
    name, written = parse_message(event.text, commands)
    now = utc_now()
    urgent = commands[name].urgent
    # Not later than now, because the platform's clock may be ahead.
    asked_at = min(event.sent_at, now)
    call = NewCall(
        id=new_id(now),
        user=event.user,
        chat=event.chat,
        message_id=event.message_id,
        command=name,
        arguments=arguments_of(commands[name], written, event.mentions),
        asked_at=asked_at,
        language=language_of(event.text, event.language),
        time_zone=None,
        # Urgent commands, such as help and cancellation, run even if they arrive late.
        expires_at=(now if urgent else asked_at) + bot.deferred_ttl,
    )
    arrival = Arrival(event.event_id, call, event.language, event.union_id, now, urgent)
    match await bot.database.write_together(inbox.record_all, arrival):
        case Recorded.SEEN_BEFORE:
            observations.event_repeated(bot, event)
        case Recorded.TOO_MANY:
            await reject_too_many(bot, call, now)
        case Recorded.QUEUED:
            observations.call_accepted(bot, event, call)
            expect_acknowledgement(bot, call)
            if bot.platform_of(event.user).directory is not None:
                bot.unnamed.note(event.user)


def arguments_of(command: Command, written: str, mentions: Mentions) -> str:
    """Return the arguments as the command's `keep` makes them, or as written if it fails."""
    try:
        arguments = command.keep(written, mentions)
    except Exception as error:
        log.error("keep of a command failed", extra={"command": command.name, "error": type(error).__name__})
        return written
    if isinstance(arguments, str):
        return arguments
    log.error("keep of a command returned something other than a string", extra={"command": command.name})
    return written


async def reject_too_many(bot: Bot, call: NewCall, now: datetime) -> None:
    """Inform a user that too many of their calls are waiting, at most once a minute."""
    observations.too_many_calls(bot, call.user)
    reply_to = None if call.chat.kind == "group" else call.message_id
    notice = draft(
        in_chat(call.user, call.chat, reply_to=reply_to, private=True),
        bot.platform_of(call.user).render_reply(replies.too_many_waiting(inbox.MAX_WAITING), call.language),
        kind="notice",
        key=f"{call.user.open_id[-24:]}-full-{int(now.timestamp() // 60):x}",
    )
    messages = await bot.database.write(lambda c: insert_all(c, bot, [notice]))
    bot.background(deliver_all(bot, messages))


async def welcome(bot: Bot, event: ChatEntered) -> bool:
    """Send the welcome to a user who opens the chat for the first time. Returns whether it is sent."""
    now = utc_now()
    call = NewCall(
        id=new_id(now),
        user=event.user,
        chat=event.chat,
        message_id=None,
        command="welcome",
        arguments="",
        asked_at=now,
        language="en",
        time_zone=None,
        expires_at=now + bot.deferred_ttl,
    )

    def work(c: Connection) -> bool:
        users.seen(c, event.user, language=None, union_id=None, now=now)
        return (
            event.first
            and users.welcome(c, event.user, now)
            and inbox.record(c, event.event_id, call, language=None, union_id=None, now=now)
        )

    return await bot.database.write(work)


async def reject_other_organization(bot: Bot, event: MessageReceived) -> bool:
    """Inform a user of another organization, once, that the bot does not serve them. Returns whether the event is new."""
    notice = draft(
        in_chat(event.user, event.chat, reply_to=event.message_id),
        bot.platform_of(event.user).render_reply(
            replies.other_organization(), language_of(event.text, event.language)
        ),
        kind="notice",
        key=f"{new_id(utc_now())}-foreign",
    )

    def work(c: Connection) -> list[OutgoingMessage] | None:
        now = utc_now()
        if not seen_events.record(c, event.user.platform, event.user.app_id, event.event_id, now):
            return None
        users.seen(c, event.user, language=event.language, union_id=event.union_id, now=now)
        return insert_all(c, bot, [notice]) if users.welcome(c, event.user, now) else []

    messages = await bot.database.write(work)
    if messages:
        bot.background(deliver_all(bot, messages))
    return messages is not None


async def recall_message(bot: Bot, event: MessageRecalled) -> bool:
    """Cancel the calls of a recalled message. Returns whether the event is new.

    Events may arrive out of order: a message that arrives after its recall is treated as seen. A call that is running or
    has sent a write is marked, and its worker ends it.
    """
    now = utc_now()
    platform, app_id, message_id = event.platform, event.app_id, event.message_id

    def work(c: Connection) -> list[OutgoingMessage] | None:
        if not seen_events.record(c, platform, app_id, event.event_id, now):
            return None
        if seen_events.record(c, platform, app_id, f"recalled-{message_id}", now, message_id=message_id):
            return []
        asked = calls.all_by_message(c, f"{platform}:{app_id}", message_id)
        return [message for call in asked for message in recall(c, bot, call, now)]

    messages = await bot.database.write(work)
    bot.signals.upkeep.set()
    bot.background(deliver_all(bot, messages or []))
    return messages is not None


async def end_revoked_grant(bot: Bot, event: GrantRevoked) -> bool:
    """End a grant that was revoked at the platform. The event may be hours old, so a newer grant is kept.

    Returns whether the event is new.
    """
    now = utc_now()

    def work(c: Connection) -> bool:
        if not seen_events.record(c, event.user.platform, event.user.app_id, event.event_id, now):
            return False
        ended = grants.end(c, event.user, REVOKED_AT_PLATFORM, now, authorized_before=event.at)
        audit.write(
            c,
            "grant_revoked_at_platform",
            user=event.user,
            now=now,
            ended=int(ended is not None),
        )
        return True

    return await bot.database.write(work)


async def end_user(bot: Bot, event: UserDeleted) -> bool:
    """End the calls, sessions and grant of a user who left the organization, without a message.

    Returns whether the event is new.
    """
    now = utc_now()

    def work(c: Connection) -> bool:
        if not seen_events.record(c, event.user.platform, event.user.app_id, event.event_id, now):
            return False
        drop_silently(c, event.user, "person_left", now)
        end_grant(c, event.user, "person_left", now)
        return True

    is_new = await bot.database.write(work)
    bot.signals.upkeep.set()
    return is_new


async def end_organization(bot: Bot, event: AppStopped) -> bool:
    """End the calls, sessions and grants of an organization that removed the app, in batches and without messages.

    Returns whether the event is new. The event is recorded last, so that a repeated delivery continues after a crash.
    """
    now = utc_now()
    app = (event.platform, event.app_id)
    if await bot.database.read(lambda c: seen_events.is_known(c, *app, event.event_id)):
        return False
    before = event.at or now

    def work(c: Connection, people: Sequence[UserKey]) -> None:
        for user in people:
            drop_silently(c, user, "app_stopped", now)
            # The platform has revoked the tokens.
            grants.end(c, user, "app_stopped", now, authorized_before=before)

    # Listed only once, because rows whose seal cannot be verified remain and would be listed again.
    affected = await bot.database.read(
        lambda c: users.unfinished_of_organization(c, *app, event.tenant_key, before=before)
    )
    for start in range(0, len(affected), USERS_PER_TRANSACTION):
        batch = affected[start : start + USERS_PER_TRANSACTION]
        await bot.database.write(functools.partial(work, people=batch))
    await bot.database.write(lambda c: seen_events.record(c, *app, event.event_id, now))
    bot.signals.upkeep.set()
    return True


USERS_PER_TRANSACTION = 20
"""A limit, so that other transactions can write in between."""


def drop_silently(c: Connection, user: UserKey, reason: str, now: datetime) -> None:
    """Cancel a user's waiting calls, close their request and end their sessions. Locks the user."""
    users.lock(c, user)
    for call in calls.waiting_of(c, user):
        calls.cancel(c, call.id, reason, now)
    close_request(c, user, reason, now)
    sessions.end_all(c, user, reason, now)
