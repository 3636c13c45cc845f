"""Clicks on the controls of cards: checks who clicked, carries out the control, and answers with a toast and a card.

A click has to be answered within 3 seconds and is never delivered again. The answer replaces the card, and would undo
an update that is sent before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from bot.core.api import Json
from bot.core.calls import CallStatus, DeferredCall, WaitsFor
from bot.core.cards import Action, Card, ConfirmationCard, PageError, UnusedCard
from bot.core.events import CardClicked
from bot.core.language import Words
from bot.core.lifecycle import is_live
from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.core.times import find_zone
from bot.core.words import cards as card_words
from bot.flows import administrators, cards, correlation, observations
from bot.flows.account import unused_scopes
from bot.flows.authorize import device
from bot.flows.authorize.end import cancel_and_answer, cancel_for_administrator, decline
from bot.flows.authorize.page_errors import report_page_error
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import deliver_all, typed_in_full
from bot.store import calls, inbox, requests, seen_events, users
from bot.store.cards import change_of_app, move, show
from bot.store.ids import new_id
from bot.store.inbox import NewCall
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

Handler = Callable[[Bot, UserKey, str], Awaitable[Json]]
"""Carries out one control for the user who clicked it. The string is the id of the card's subject."""

CLICK_TIMEOUT = 2.0
"""Seconds for requests to the platform. The click itself has to be answered within 3."""


async def answer_click(bot: Bot, click: CardClicked) -> Json:
    """Carry out a card's control if the user is allowed to use it, and return what the client shows."""
    now = utc_now()

    def note_click(c: Connection) -> correlation.bind | None:
        users.seen(c, click.user, language=None, union_id=None, now=now)
        if click.time_zone and find_zone(click.time_zone):
            users.set_time_zone(c, click.user, click.time_zone)
        if not seen_events.record(c, click.user.platform, click.user.app_id, click.event_id, now):
            return None
        return correlation.asker_of(c, bot, click.subject)

    asker = await bot.database.write(note_click)
    if asker is None:
        observations.event_repeated(bot, click)
        return {}
    with asker:
        observations.event_accepted(bot, click)
    handler = HANDLERS.get(click.action)
    if handler is None:
        return await say(bot, click.user, card_words.CLICK_UNKNOWN, "error")
    return await handler(bot, click.user, click.subject or "")


async def say(bot: Bot, user: UserKey, words: Words, kind: str, card: Card | None = None) -> Json:
    """Return an answer in the user's language, with a card to replace the clicked one, if any."""
    platform = bot.platform_of(user)
    language = await cards.language_for(bot, user) if platform.monolingual else "en"
    content = None if card is None else platform.render_card(card, language)
    return platform.click_answer(words, language, kind, content)


async def own_request(bot: Bot, user: UserKey, request_id: str) -> AuthorizationRequest | None:
    request = await bot.database.read(lambda c: requests.get(c, request_id))
    return request if request is not None and request.user == user else None


async def decline_request(bot: Bot, user: UserKey, request_id: str) -> Json:
    if await own_request(bot, user, request_id) is None:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    messages = await bot.database.write(lambda c: decline(c, bot, request_id, "not_now", utc_now()))
    bot.background(deliver_all(bot, messages))
    return await answer_with_card(bot, request_id)


async def fetch_device_link(bot: Bot, user: UserKey, request_id: str) -> Json:
    """Start a device authorization. The card shows the verification URI now, or as soon as the platform returns it."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    if not bot.by_device or request.status is not RequestStatus.OPEN or request.expires_at <= utc_now():
        return await answer_with_card(bot, request_id)
    if request.ticket is None:
        # The seal of the request cannot be verified: a new card replaces this one.
        await bot.database.write(lambda c: show(c, request_id, utc_now()))
        bot.signals.upkeep.set()
        return await say(bot, user, card_words.CLICK_LINK_LATER, "warning")
    if not await device.start_device_authorization(bot, request, CLICK_TIMEOUT):
        return await say(bot, user, card_words.CLICK_LINK_LATER, "warning")
    return await answer_with_card(bot, request_id, card_words.CLICK_LINK)


async def answer_with_card(bot: Bot, request_id: str, when_open: Words = card_words.CLICK_CHANGED) -> Json:
    """Return an answer that shows the card in its current state."""
    request = await bot.database.read(lambda c: requests.get(c, request_id))
    assert request is not None
    card = await cards.card_of(bot, request)
    toasts = {RequestStatus.DECLINED: card_words.CLICK_DECLINED, RequestStatus.OPEN: card.notice or when_open}
    toast = toasts.get(request.status, card_words.CLICK_SETTLED)
    return await say(bot, request.user, toast, "warning" if card.notice else "info", card)


async def ask_which_error(bot: Bot, user: UserKey, request_id: str) -> Json:
    """Make the card ask which error the platform's page shows."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    if request.status is not RequestStatus.OPEN:
        return await answer_with_card(bot, request_id)
    card = await cards.card_of(bot, request)
    if not card.opened:
        return await say(bot, user, card_words.CLICK_OPEN_FIRST, "info", card)
    return await say(bot, user, card_words.CLICK_WHICH_ERROR, "info", replace(card, asks_which_error=True))


async def report_error(bot: Bot, user: UserKey, request_id: str, *, error: PageError) -> Json:
    """Handle a reported error, if the user has opened the page for the scopes that the card asks for now."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    if request.status is not RequestStatus.OPEN:
        return await answer_with_card(bot, request_id)
    if not (await cards.card_of(bot, request)).opened:
        return await answer_with_card(bot, request_id, card_words.CLICK_OPEN_FIRST)
    reported = await report_page_error(bot, request, error)
    if reported is None:
        return await answer_with_card(bot, request_id)
    return await answer_with_card(
        bot, request_id, card_words.CLICK_REPORTED if reported else card_words.CLICK_NOT_REPORTED
    )


async def send_again(bot: Bot, user: UserKey, request_id: str) -> Json:
    """Send the card again at the end of the chat, because the user cannot find it."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    moved = await bot.database.write(lambda c: move(c, request_id, utc_now()))
    if not moved:
        return await say(bot, user, card_words.CLICK_SETTLED, "info")
    bot.signals.upkeep.set()
    if request.card.message_id is not None:
        bot.background(cards.supersede_message(bot, request, request.card.message_id))
    return await say(bot, user, card_words.CLICK_SENT_AGAIN, "success")


# --- calls -------------------------------------------------------------------------------------------------------


async def decide_write(bot: Bot, user: UserKey, call_id: str, *, confirmed: bool) -> Json:
    """Release or cancel an old write."""
    call = await bot.database.read(lambda c: calls.get(c, call_id))
    if call is None or call.user != user:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    now = utc_now()
    if confirmed:
        changed = await bot.database.write(lambda c: calls.confirm(c, call_id, now))
    else:
        changed, messages = await bot.database.write(lambda c: discard(c, bot, call_id, now))
        bot.background(deliver_all(bot, messages))
    toast, decided = (
        (card_words.CLICK_DONE, confirmed) if changed else (card_words.CLICK_SETTLED, call.confirmed)
    )
    if not is_live(call.status):
        # What its user wrote is erased, so the card cannot be drawn again.
        return await say(bot, user, toast, "info")
    card = ConfirmationCard(call.id, typed_in_full(call), call.asked_at, decided)
    return await say(bot, user, toast, "info", card)


def discard(c: Connection, bot: Bot, call_id: str, now: datetime) -> tuple[bool, list[OutgoingMessage]]:
    """Cancel a write that waits for confirmation. A confirmed write, which may wait for something else, is kept."""
    call = calls.get(c, call_id)
    if call is None or call.waits_for is not WaitsFor.CONFIRMATION:
        return False, []
    return cancel_and_answer(c, bot, call, now, "discarded")


RETRYABLE = frozenset({CallStatus.EXPIRED, CallStatus.FAILED, CallStatus.CANCELLED})


async def retry(bot: Bot, user: UserKey, call_id: str) -> Json:
    """Repeat a failed call, as if it had been typed again."""
    call = await bot.database.read(lambda c: calls.get(c, call_id))
    if call is None or call.user != user:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    return await repeat_calls(bot, user, [call] if call.status in RETRYABLE else [])


async def retry_expired(bot: Bot, user: UserKey, request_id: str) -> Json:
    """Repeat all calls that expired with a request."""
    if await own_request(bot, user, request_id) is None:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    return await repeat_calls(
        bot, user, await bot.database.read(lambda c: calls.ended_with(c, request_id, "expired"))
    )


async def repeat_calls(bot: Bot, user: UserKey, ended: Sequence[DeferredCall]) -> Json:
    """Repeat those of the calls that were not repeated before, in the same order, if what was asked is not erased."""
    now = utc_now()

    def work(c: Connection) -> tuple[int, int]:
        fresh = [call for call in ended if seen_events.record_retry(c, user, call.id, now)]
        repeated = 0
        for call in fresh:
            arguments = calls.take_arguments(c, call.id)
            if arguments is None:
                continue
            new = repeated_call(bot, call, arguments, now + timedelta(microseconds=repeated))
            if not inbox.add(c, new, now):
                # Roll back the record of the click, so that the button works again later.
                raise TooManyWaiting
            repeated += 1
        return repeated, len(fresh)

    try:
        repeated, fresh = await bot.database.write(work)
    except TooManyWaiting:
        return await say(bot, user, card_words.CLICK_TOO_MANY, "warning")
    if repeated:
        return await say(bot, user, card_words.CLICK_AGAIN, "success")
    if fresh:
        return await say(bot, user, card_words.CLICK_UNKNOWN, "warning")
    return await say(bot, user, card_words.CLICK_SETTLED, "info")


def repeated_call(bot: Bot, call: DeferredCall, arguments: str, now: datetime) -> NewCall:
    return NewCall(
        id=new_id(now),
        user=call.user,
        chat=call.chat,
        message_id=call.message_id,
        command=call.command,
        arguments=arguments,
        asked_at=now,
        language=call.language,
        time_zone=call.time_zone,
        expires_at=now + bot.deferred_ttl,
    )


class TooManyWaiting(Exception):
    """The user has reached the limit of waiting calls."""


async def cancel(bot: Bot, user: UserKey, request_id: str) -> Json:
    """Cancel the calls that wait for an administrator."""
    request = await own_request(bot, user, request_id)
    if request is None:
        return await say(bot, user, card_words.CLICK_NOT_YOURS, "error")
    if request.waits_for_administrator:
        messages = await bot.database.write(lambda c: cancel_for_administrator(c, bot, user, utc_now()))
        bot.background(deliver_all(bot, messages))
    return await answer_with_card(bot, request_id)


# --- unused scopes -----------------------------------------------------------------------------------------------


async def drop_unused(bot: Bot, user: UserKey, offered: str) -> Json:
    """Drop the unused scopes of the user who clicked, even if the card was sent to another user.

    Only the scopes that the card offered are dropped, even if others are unused by now.
    """
    at = unused_scopes.time_of_offer(offered)
    dropping = bot.background(unused_scopes.drop_unused(bot, user, at))
    await asyncio.wait({dropping}, timeout=CLICK_TIMEOUT)
    remaining = await bot.database.read(lambda c: unused_scopes.unused_scopes_of(c, user, at))
    return await answer_unused(bot, user, card_words.NOT_GIVEN_BACK if remaining else card_words.GIVEN_BACK)


async def keep_unused(bot: Bot, user: UserKey, _: str) -> Json:
    return await answer_unused(bot, user, card_words.KEPT)


async def answer_unused(bot: Bot, user: UserKey, words: Words) -> Json:
    return await say(bot, user, words, "info", UnusedCard({}, words))


# --- administrators ----------------------------------------------------------------------------------------------


def for_administrators(handler: Handler) -> Handler:
    """Restrict a handler to administrators, who are looked up at each click."""

    async def if_administrator(bot: Bot, user: UserKey, subject: str) -> Json:
        return await answer_administrator(bot, user, subject, handler)

    return if_administrator


UPDATE_AFTER_CLICK = timedelta(seconds=3)
"""How long after a click its card is updated again. By then the platform has the answer."""


async def answer_administrator(bot: Bot, user: UserKey, subject: str, handler: Handler) -> Json:
    try:
        async with asyncio.timeout(CLICK_TIMEOUT):
            if not await bot.is_administrator(user):
                return await say(bot, user, card_words.CLICK_ADMINISTRATORS_ONLY, "error")
            answer = await handler(bot, user, subject)
    except TimeoutError:
        answer = await say(bot, user, card_words.CLICK_LATER, "warning")
    # Others update this card as well, and the answer undoes an update that was sent meanwhile.
    due_at = utc_now() + UPDATE_AFTER_CLICK
    await bot.database.write_one(lambda c: change_of_app(c, subject, user.app, due_at))
    return answer


async def check_scopes(bot: Bot, user: UserKey, _: str) -> Json:
    """Check whether the scopes are enabled, at the request of an administrator."""
    if await administrators.check(bot, bot.platform_of(user)):
        return await say(bot, user, card_words.CLICK_ENABLED, "success")
    return await say(bot, user, card_words.CLICK_NOT_ENABLED, "warning")


async def apply(bot: Bot, user: UserKey, _: str) -> Json:
    """Apply for scopes on behalf of an administrator of the bot."""
    words, kind = card_words.CLICK_APPLIED[await administrators.apply(bot, user)]
    return await say(bot, user, words, kind)


HANDLERS: Mapping[str, Handler] = {
    Action.NOT_NOW: decline_request,
    Action.PAGE_ERROR: ask_which_error,
    Action.PAGE_ERROR_SCOPE: partial(report_error, error=PageError.SCOPE),
    Action.PAGE_ERROR_REDIRECT: partial(report_error, error=PageError.REDIRECT),
    Action.PAGE_ERROR_APP: partial(report_error, error=PageError.APP),
    Action.PAGE_ERROR_OTHER: partial(report_error, error=PageError.OTHER),
    Action.AUTHORIZE: fetch_device_link,
    Action.SEND_AGAIN: send_again,
    Action.CANCEL: cancel,
    Action.CONFIRM: partial(decide_write, confirmed=True),
    Action.DISCARD: partial(decide_write, confirmed=False),
    Action.RETRY: retry,
    Action.RETRY_EXPIRED: retry_expired,
    Action.GIVE_BACK: drop_unused,
    Action.KEEP: keep_unused,
    Action.CHECK_AGAIN: for_administrators(check_scopes),
    Action.APPLY: for_administrators(apply),
}
