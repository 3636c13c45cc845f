"""What comes in from the platform: recorded in one transaction, then acknowledged. The work is done later.

Both doors, the webhook and the long connection, end in `accept_event`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.core import replies, texts
from bot.core.cards import Action
from bot.core.commands import parse_message
from bot.core.model import (
    AuthorizationRequest,
    CardClicked,
    ChatEntered,
    Event,
    GrantRevoked,
    Ignored,
    Json,
    MessageRecalled,
    MessageReceived,
    RequestStatus,
    UserKey,
    Words,
)
from bot.flows import administrators, alternatives, authorization, cards, device
from bot.flows.bot import Bot, language_of, now
from bot.flows.delivery import deliver_all, draft, insert_all
from bot.store import audit, authorizations, calls, events, grants, users
from bot.store.calls import NewCall
from bot.store.database import Connection
from bot.store.ids import new_id
from bot.store.outbox import OutgoingMessage

log = logging.getLogger(__name__)

CLICK_PATIENCE = 2.0
"""Seconds for the platform's part in answering a click; the click itself has 3."""


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
        case CardClicked():
            return await answer_click(bot, event)
        case Ignored(why=why):
            log.debug("event ignored", extra={"why": why})
    return {}


async def accept_message(bot: Bot, event: MessageReceived) -> None:
    name, arguments = parse_message(event.text, bot.commands)
    moment = now()
    call = NewCall(
        id=new_id(moment),
        user=event.user,
        chat=event.chat,
        message_id=event.message_id,
        command=name,
        arguments=arguments,
        asked_at=event.sent_at,
        language=language_of(event.text, event.language, None),
        time_zone=None,
        expires_at=event.sent_at + bot.deferred_ttl,
    )
    recorded = await bot.database.write_one(
        lambda c: calls.record(
            c, event.event_id, call, language=event.language, union_id=event.union_id, now=moment
        )
    )
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
            calls.record(c, event.event_id, call, language=None, union_id=None, now=moment)

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
    """A recalled question is not answered, and what waits for it waits no longer."""
    moment = now()

    def work(c: Connection) -> None:
        if not events.record(c, event.platform, event.app_id, event.event_id, moment):
            return
        call = calls.find_by_message(c, event.platform, event.app_id, event.message_id)
        if call is None or not calls.cancel(c, call.id, "recalled", moment):
            return
        audit.write(
            c, "call_cancelled", user=call.user, subject=("call", call.id), now=moment, reason="recalled"
        )
        authorization.close_if_nobody_waits(c, call.user, "recalled", moment)

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


# --- card clicks -----------------------------------------------------------------------------------------------


async def answer_click(bot: Bot, click: CardClicked) -> Json:
    """Carries out a card's control and returns what the client shows. Only for the person whom the card concerns."""
    moment = now()

    def note_click(c: Connection) -> bool:
        users.seen(c, click.user, language=None, union_id=None, now=moment)
        if click.time_zone:
            users.set_time_zone(c, click.user, click.time_zone)
        return events.record(c, click.user.platform, click.user.app_id, click.event_id, moment)

    if not await bot.database.write(note_click):
        return {}
    subject = click.subject or ""
    match click.action:
        case Action.AUTHORIZE:
            return await fetch_device_link(bot, click.user, subject)
        case Action.NOT_NOW:
            return await not_now(bot, click.user, subject)
        case Action.PAGE_ERROR:
            return await page_error(bot, click.user, subject)
        case Action.CONFIRM | Action.DISCARD:
            return await decide_write(bot, click.user, subject, confirmed=click.action == Action.CONFIRM)
        case Action.CANCEL:
            return await cancel(bot, click.user, subject)
        case Action.CHECK_AGAIN:
            return await for_administrators(bot, click.user, check_again)
        case Action.APPLY:
            return await for_administrators(bot, click.user, apply)
        case _:
            return bot.platform.click_answer(texts.CLICK_UNKNOWN, "error")


async def own_request(bot: Bot, user: UserKey, request_id: str) -> AuthorizationRequest | None:
    request = await bot.database.read(lambda c: authorizations.get(c, request_id))
    return request if request is not None and request.user == user else None


async def not_now(bot: Bot, user: UserKey, request_id: str) -> Json:
    if await own_request(bot, user, request_id) is None:
        return bot.platform.click_answer(texts.CLICK_NOT_YOURS, "error")
    messages = await bot.database.write(lambda c: authorization.decline(c, bot, request_id, "not_now", now()))
    bot.background(deliver_all(bot, messages))
    return await answer_with_card(bot, request_id)


async def fetch_device_link(bot: Bot, user: UserKey, request_id: str) -> Json:
    """No page of ours can be reached: the card gets the platform's own link, at once or as soon as there is one."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return bot.platform.click_answer(texts.CLICK_NOT_YOURS, "error")
    if not bot.by_device or request.status is not RequestStatus.OPEN or request.expires_at <= now():
        return await answer_with_card(bot, request_id)
    if not await device.start(bot, request, CLICK_PATIENCE):
        return bot.platform.click_answer(texts.CLICK_LINK_LATER, "warning")
    return await answer_with_card(bot, request_id, texts.CLICK_LINK)


async def answer_with_card(bot: Bot, request_id: str, when_open: Words = texts.CLICK_CHANGED) -> Json:
    """The card's face of this moment, in the answer itself: a separate update sent before it would be undone."""
    request = await bot.database.read(lambda c: authorizations.get(c, request_id))
    assert request is not None
    card = await cards.card_of(bot, request)
    words = {RequestStatus.DECLINED: texts.CLICK_DECLINED, RequestStatus.OPEN: card.notice or when_open}
    toast = words.get(request.status, texts.CLICK_SETTLED)
    kind = "warning" if card.notice else "info"
    return bot.platform.click_answer(toast, kind, bot.platform.render_card(card))


async def page_error(bot: Bot, user: UserKey, request_id: str) -> Json:
    """The platform's page refused what the link asked for, and it never calls back: ask for something else."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return bot.platform.click_answer(texts.CLICK_NOT_YOURS, "error")
    if request.status is RequestStatus.OPEN:
        enabled = await alternatives.enabled_scopes_in_time(bot)
        await alternatives.ask_otherwise_now(bot, request, enabled, "page_error_reported")
    return await answer_with_card(bot, request_id)


async def decide_write(bot: Bot, user: UserKey, call_id: str, *, confirmed: bool) -> Json:
    """An old write is carried out, or dropped, as its person says."""
    call = await bot.database.read(lambda c: calls.get(c, call_id))
    if call is None or call.user != user:
        return bot.platform.click_answer(texts.CLICK_NOT_YOURS, "error")
    moment = now()
    if confirmed:
        changed = await bot.database.write(lambda c: calls.confirm(c, call_id, moment))
        bot.wake.calls.set()
    else:
        changed, messages = await bot.database.write(
            lambda c: authorization.cancel_with_word(c, bot, call, moment)
        )
        bot.background(deliver_all(bot, messages))
    return bot.platform.click_answer(texts.CLICK_DONE if changed else texts.CLICK_SETTLED, "info")


async def cancel(bot: Bot, user: UserKey, request_id: str) -> Json:
    """What waits for the administrator waits no longer."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return bot.platform.click_answer(texts.CLICK_NOT_YOURS, "error")
    if request.waits_for_administrator:
        messages = await bot.database.write(
            lambda c: authorization.cancel_for_administrator(c, bot, user, now())
        )
        bot.background(deliver_all(bot, messages))
    return await answer_with_card(bot, request_id)


# --- administrators ----------------------------------------------------------------------------------------------


async def for_administrators(bot: Bot, user: UserKey, do: Callable[[Bot, UserKey], Awaitable[Json]]) -> Json:
    """Administrators' controls: who is one is looked up at each click."""
    try:
        async with asyncio.timeout(CLICK_PATIENCE):
            if not await bot.is_administrator(user):
                return bot.platform.click_answer(texts.CLICK_ADMINISTRATORS_ONLY, "error")
            return await do(bot, user)
    except TimeoutError:
        return bot.platform.click_answer(texts.CLICK_LATER, "warning")


async def check_again(bot: Bot, user: UserKey) -> Json:
    """An administrator says that the scopes are enabled now."""
    if await administrators.look_again(bot, asked_by_administrator=True):
        return bot.platform.click_answer(texts.CLICK_ENABLED, "success")
    return bot.platform.click_answer(texts.CLICK_NOT_ENABLED, "warning")


async def apply(bot: Bot, user: UserKey) -> Json:
    """An administrator of the bot has the platform ask the organization's administrators."""
    words, kind = texts.CLICK_APPLIED[await administrators.apply(bot, user)]
    return bot.platform.click_answer(words, kind)
