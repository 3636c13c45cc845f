"""Ends what waits for a consent: declined, cancelled, recalled, expired, revoked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from bot.core.calls import CallStatus, DeferredCall, WaitsFor
from bot.core.lifecycle import is_live
from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.core.scopes import OFFLINE_ACCESS, named
from bot.core.words import replies
from bot.flows.authorize.revoke import revoke_tokens
from bot.flows.bot import Bot, now
from bot.flows.outbox import (
    answer,
    answer_alone,
    declined,
    deliver_all,
    expired,
    expired_before_start,
    insert_all,
    is_told_by_card,
    typed,
)
from bot.store import attempts, call_steps, calls, device_authorizations, grants, requests, users
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


def decline_on_page(c: Connection, request_id: str, moment: datetime) -> bool:
    """Inside a transaction: notes that a visitor declined on the platform's page. False when nothing waits any more.

    A refusal there carries no identity, and the link may have been passed on: it cancels nothing. The card says it
    once, and the request waits until its person decides or its time is up.
    """
    request = requests.get(c, request_id)
    if request is not None and request.status is RequestStatus.SUPERSEDED:
        request = requests.live_of(c, request.user)
    if request is None or not is_live(request.status):
        return False
    requests.decline_on_page(c, request.id, moment)
    return True


def decline(c: Connection, bot: Bot, request_id: str, reason: str, moment: datetime) -> list[OutgoingMessage]:
    """Inside a transaction: the person declines. Settles an open request as declined, cancels what waited for it, and
    mutes what they have not asked for. The card says so; see `is_told_by_card` for what a message says."""
    request = requests.get_locked(c, request_id)
    if request is None or request.status is not RequestStatus.OPEN:
        # One that is being redeemed has a consent of the same person, which decides.
        return []
    device_authorizations.close(c, request.user, moment)
    requests.settle(c, request_id, RequestStatus.DECLINED, now=moment, reason=reason)
    users.set_quiet(c, request.user, moment)
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, request.user):
        if call.waits_for is not WaitsFor.AUTHORIZATION or not calls.cancel(c, call.id, reason, moment):
            continue
        if not is_told_by_card(call, request, moment):
            messages += insert_all(c, bot, [answer(bot, call, declined(call))])
    return messages


CANCEL_BATCH = 20
"""Calls that one transaction cancels: others write in between."""


async def cancel_in_batches(
    bot: Bot, user: UserKey, *, before: DeferredCall | None = None
) -> list[DeferredCall]:
    """Cancels most of what waits for a person, in transactions of their own; `drop_waiting` cancels the rest."""
    dropped: list[DeferredCall] = []

    def work(c: Connection) -> tuple[list[DeferredCall], list[OutgoingMessage], bool]:
        users.lock(c, user)
        waiting = waiting_before(c, user, before)
        gone, messages = cancel_each(c, bot, waiting[:CANCEL_BATCH], now())
        return gone, messages, len(waiting) > 2 * CANCEL_BATCH

    more = len(await bot.database.read(lambda c: waiting_before(c, user, before))) > CANCEL_BATCH
    while more:
        gone, messages, more = await bot.database.write(work)
        dropped += gone
        bot.background(deliver_all(bot, messages))
    return dropped


def waiting_before(c: Connection, user: UserKey, before: DeferredCall | None) -> list[DeferredCall]:
    """What waits for a person; when they asked for something in the chat, only what they had asked before it."""
    return [
        call
        for call in calls.waiting_of(c, user)
        if before is None or (call.asked_at, call.id) < (before.asked_at, before.id)
    ]


def cancel_waiting(
    c: Connection, bot: Bot, user: UserKey, moment: datetime, *, before: DeferredCall | None = None
) -> tuple[list[DeferredCall], list[OutgoingMessage]]:
    """Inside a transaction: cancels everything that waits for a person, and closes the open request.

    When the person asked for it in the chat, only what they had asked `before` that; then also what runs at the moment,
    because it may be about to wait.
    """
    users.lock(c, user)
    dropped, messages = cancel_each(c, bot, waiting_before(c, user, before), moment)
    if before is not None:
        for call in calls.stop_running(c, before, "cancelled_by_user", moment):
            dropped.append(call)
            messages += insert_all(c, bot, [answer(bot, call, replies.cancelled(typed(call)))])
    close_if_nobody_waits(c, user, "cancelled_by_user", moment)
    ask_for_less(c, user, dropped, moment)
    return dropped, messages


def cancel_each(
    c: Connection, bot: Bot, waiting: Sequence[DeferredCall], moment: datetime
) -> tuple[list[DeferredCall], list[OutgoingMessage]]:
    """Inside a transaction: drops these calls and says so; returns those that were still waiting."""
    dropped: list[DeferredCall] = []
    messages: list[OutgoingMessage] = []
    for call in waiting:
        cancelled, words = cancel_and_tell(c, bot, call, moment)
        if cancelled:
            dropped.append(call)
            messages += words
    return dropped, messages


def cancel_and_tell(
    c: Connection, bot: Bot, call: DeferredCall, moment: datetime, outcome: str = "cancelled_by_user"
) -> tuple[bool, list[OutgoingMessage]]:
    """Inside a transaction: drops one call and says so."""
    if not calls.cancel(c, call.id, outcome, moment):
        return False, []
    return True, insert_all(c, bot, [answer(bot, call, replies.cancelled(typed(call)))])


def recall(c: Connection, bot: Bot, call: DeferredCall, moment: datetime) -> list[OutgoingMessage]:
    """Inside a transaction: drops a call whose question was recalled; one that is under way finds a mark instead.

    So does one in the queue of which a write has left: what came of that is still to be found out.
    """
    users.lock(c, call.user)
    wrote = call_steps.has_written(c, call.id)
    in_doubt = wrote and call.status is not CallStatus.SUSPENDED
    if in_doubt or not calls.cancel(c, call.id, "recalled", moment):
        calls.mark_recalled(c, call.id, moment)
        return []
    close_if_nobody_waits(c, call.user, "recalled", moment)
    ask_for_less(c, call.user, [call], moment)
    halfway = [answer_alone(bot, call, replies.stopped_halfway(typed(call)))] if wrote else []
    return insert_all(c, bot, halfway)


async def drop_recalled(bot: Bot) -> None:
    """Ends the calls whose questions the platform has told to be recalled, as the event would."""
    while bot.recalled:
        call_id, user = bot.recalled.pop()

        def work(c: Connection, call_id: str = call_id, user: UserKey = user) -> list[OutgoingMessage]:
            call = calls.get(c, call_id)
            # No seal says which call a message is about.
            return recall(c, bot, call, now()) if call is not None and call.user == user else []

        await deliver_all(bot, await bot.database.write(work))


def close_if_nobody_waits(
    c: Connection,
    user: UserKey,
    reason: str,
    moment: datetime,
    status: RequestStatus = RequestStatus.DECLINED,
) -> None:
    """Inside a transaction, after a call has gone: `close_request`, if that was the last to wait for its scopes."""
    if all(call.waits_for is WaitsFor.CONFIRMATION for call in calls.suspended_of(c, user)):
        close_request(c, user, reason, moment, status)


def ask_for_less(c: Connection, user: UserKey, gone: Sequence[DeferredCall], moment: datetime) -> None:
    """Inside a transaction that has locked the person: what only calls that have gone needed is not asked for."""
    live = requests.live_of(c, user)
    waiting = [call for call in calls.suspended_of(c, user) if call.waits_for is WaitsFor.AUTHORIZATION]
    if live is None or not waiting:
        return
    unwanted = named(*(call.needs for call in gone)) - named(*(call.needs for call in waiting))
    scopes = live.scopes - (unwanted - {OFFLINE_ACCESS})
    names = {call.command for call in waiting}
    commands = tuple(name for name in live.reasons if name in names)
    if (scopes, commands) != (live.scopes, live.reasons):
        requests.narrow(c, live.id, scopes=scopes, commands=commands, now=moment)


def close_request(
    c: Connection,
    user: UserKey,
    reason: str,
    moment: datetime,
    status: RequestStatus = RequestStatus.DECLINED,
) -> None:
    """Inside a transaction: nothing waits any more for what a card asks for, or for the administrator. It says so."""
    device_authorizations.close(c, user, moment)
    request = requests.live_of(c, user) or requests.latest_of(c, user)
    if request is None or not (is_live(request.status) or request.waits_for_administrator):
        return
    requests.settle(c, request.id, status, now=moment, reason=reason)


def cancel_for_administrator(
    c: Connection, bot: Bot, user: UserKey, moment: datetime
) -> list[OutgoingMessage]:
    """Inside a transaction: drops what of a person waits for the administrator."""
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, user):
        if call.waits_for is WaitsFor.ADMINISTRATOR:
            messages += cancel_and_tell(c, bot, call, moment)[1]
    close_if_nobody_waits(c, user, "cancelled_by_user", moment)
    return messages


def end_grant(c: Connection, user: UserKey, reason: str, moment: datetime) -> bool:
    """Inside a transaction: ends a grant here at once, and queues its revocation at the platform.

    A consent whose code is being exchanged is older than this: it ends with it.
    """
    users.lock(c, user)
    attempts.withdraw(c, user, moment)
    device_authorizations.close(c, user, moment)
    ended = grants.end(c, user, reason, moment)
    if ended is None:
        return False
    revoke_tokens(c, user, ended.access_token, ended.refresh_token, moment)
    return True


async def expire_overdue(bot: Bot) -> None:
    """Calls that waited too long end, and so do the requests that nobody waits for any more. The card of such a request
    says so; of a call that has no card, or is outlived by it, a message does."""
    moment = now()

    def work(c: Connection) -> tuple[list[DeferredCall], list[OutgoingMessage]]:
        gone: list[DeferredCall] = []
        messages: list[OutgoingMessage] = []
        for call in calls.overdue(c, moment, limit=50):
            waited = call.status is CallStatus.SUSPENDED
            if not calls.expire(c, call.id, moment):
                continue
            gone.append(call)
            request = expired_with(c, call, moment) if waited else None
            if request is None or not is_told_by_card(call, request, moment):
                words = expired(call) if waited else expired_before_start(call)
                messages += insert_all(c, bot, [answer(bot, call, words)])
        for request in requests.expired(c, moment, limit=50):
            requests.settle(c, request.id, RequestStatus.EXPIRED, now=moment)
        return gone, messages

    gone, messages = await bot.database.write(work)
    for call in gone:
        # Each person in a transaction of their own: two of these that lock many people could wait for each other.
        await bot.database.write(partial(forget_need, call=call, moment=moment))
    await deliver_all(bot, messages)


def expired_with(c: Connection, call: DeferredCall, moment: datetime) -> AuthorizationRequest | None:
    """Inside a transaction: the request that expires with this call. None when others wait for it, or a consent is
    under way."""
    match call.waits_for:
        case WaitsFor.AUTHORIZATION if call.request_id is not None:
            request = requests.get(c, call.request_id)
            if request and request.status is RequestStatus.OPEN and request.expires_at <= moment:
                requests.settle(c, request.id, RequestStatus.EXPIRED, now=moment)
                request = requests.get(c, call.request_id)
        case WaitsFor.ADMINISTRATOR:
            close_if_nobody_waits(c, call.user, "expired", moment, RequestStatus.EXPIRED)
            request = requests.latest_of(c, call.user)
            if request and request.status is RequestStatus.EXPIRED and call.command in request.reasons:
                calls.attach(c, call.id, request.id)
        case _:
            return None
    return request if request and request.status is RequestStatus.EXPIRED else None


def forget_need(c: Connection, call: DeferredCall, moment: datetime) -> None:
    """Inside a transaction: `ask_for_less` after one call."""
    users.lock(c, call.user)
    ask_for_less(c, call.user, [call], moment)
