"""What comes in from the platform: recorded in one transaction, then acknowledged. The work is done later.

Both doors, the webhook and the long connection, end in `accept_event`.
"""

from __future__ import annotations

import logging

from bot.core import replies
from bot.core.commands import parse_message
from bot.core.model import (
    AppStopped,
    CardClicked,
    ChatEntered,
    Event,
    GrantRevoked,
    Ignored,
    Json,
    MessageRecalled,
    MessageReceived,
    PersonLeft,
)
from bot.flows import authorization
from bot.flows.bot import Bot, language_of, now
from bot.flows.clicks import answer_click
from bot.flows.delivery import deliver_all, draft, insert_all
from bot.store import arrivals, audit, calls, events, grants, sessions, users
from bot.store.arrivals import Arrival, NewCall
from bot.store.database import Connection
from bot.store.ids import new_id
from bot.store.outbox import OutgoingMessage

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
        case PersonLeft():
            await forget_person(bot, event)
        case AppStopped():
            await forget_organization(bot, event)
        case CardClicked():
            return await answer_click(bot, event)
        case Ignored(why=why):
            log.debug("event ignored", extra={"why": why})
    return {}


async def accept_message(bot: Bot, event: MessageReceived) -> None:
    name, written = parse_message(event.text, bot.commands)
    moment = now()
    call = NewCall(
        id=new_id(moment),
        user=event.user,
        chat=event.chat,
        message_id=event.message_id,
        command=name,
        arguments=bot.commands[name].keep(written, event.mentions),
        asked_at=event.sent_at,
        language=language_of(event.text, event.language, None),
        time_zone=None,
        expires_at=event.sent_at + bot.deferred_ttl,
    )
    arrival = Arrival(event.event_id, call, event.language, event.union_id, moment)
    recorded = await bot.database.write_together(arrivals.record_all, arrival)
    if not recorded:
        log.info("event seen before", extra={"event": event.event_id})


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
            arrivals.record(c, event.event_id, call, language=None, union_id=None, now=moment)

    await bot.database.write(work)


async def refuse_foreigner(bot: Bot, event: MessageReceived) -> None:
    """Somebody of another organization is told, once, that the bot is not for them."""
    word = draft(
        bot,
        event.user,
        bot.platform.render_reply(replies.not_for_you()),
        kind="notice",
        key=f"{new_id(now())}-foreign",
        chat=event.chat,
        reply_to=event.message_id,
    )

    def work(c: Connection) -> list[OutgoingMessage]:
        moment = now()
        if not events.record(c, event.user.platform, event.user.app_id, event.event_id, moment):
            return []
        users.seen(c, event.user, language=event.language, union_id=event.union_id, now=moment)
        return insert_all(c, bot, [word]) if users.welcome(c, event.user, moment) else []

    messages = await bot.database.write(work)
    if messages:
        bot.background(deliver_all(bot, messages))


async def withdraw_question(bot: Bot, event: MessageRecalled) -> None:
    """A recalled question is not answered, and what waits for it waits no longer.

    Events may overtake each other: a question that comes after its recall counts as seen.
    """
    moment = now()
    platform, app_id, message_id = event.platform, event.app_id, event.message_id

    def work(c: Connection) -> None:
        if not events.record(c, platform, app_id, event.event_id, moment):
            return
        if events.record(c, platform, app_id, f"recalled-{message_id}", moment, message_id=message_id):
            return
        call = calls.find_by_message(c, platform, app_id, message_id)
        if call is None:
            return
        users.lock(c, call.user)
        if calls.cancel(c, call.id, "recalled", moment):
            authorization.close_if_nobody_waits(c, call.user, "recalled", moment)
            authorization.ask_for_less(c, call.user, [call], moment)

    await bot.database.write(work)
    bot.wake.upkeep.set()


async def end_revoked_grant(bot: Bot, event: GrantRevoked) -> None:
    """The event may be hours old: it ends a grant only if that was authorized before it."""
    moment = now()

    def work(c: Connection) -> None:
        if not events.record(c, event.user.platform, event.user.app_id, event.event_id, moment):
            return
        ended = grants.end(c, event.user, "revoked_at_platform", moment, authorized_before=event.at)
        audit.write(
            c,
            "grant_revoked_at_platform",
            user=event.user,
            now=moment,
            ended=int(ended is not None),
        )

    await bot.database.write(work)


async def forget_person(bot: Bot, event: PersonLeft) -> None:
    """Who has left the organization can consent to nothing any more: their tokens go, and nobody is there to tell."""
    moment = now()

    def work(c: Connection) -> None:
        if not events.record(c, event.user.platform, event.user.app_id, event.event_id, moment):
            return
        for call in calls.waiting_of(c, event.user):
            calls.cancel(c, call.id, "person_left", moment)
        authorization.close_request(c, event.user, "person_left", moment)
        authorization.end_grant(c, event.user, "person_left", moment)
        sessions.end_all(c, event.user, "person_left", moment)

    await bot.database.write(work)
    bot.wake.upkeep.set()


async def forget_organization(bot: Bot, event: AppStopped) -> None:
    """The app is no longer available in an organization. The platform has revoked its tokens with that."""
    moment = now()

    def work(c: Connection) -> None:
        if not events.record(c, event.platform, event.app_id, event.event_id, moment):
            return
        for user in grants.active_of_tenant(c, event.platform, event.app_id, event.tenant_key):
            for call in calls.waiting_of(c, user):
                calls.cancel(c, call.id, "app_stopped", moment)
            authorization.close_request(c, user, "app_stopped", moment)
            grants.end(c, user, "app_stopped", moment)

    await bot.database.write(work)
