"""Ends calls and requests: declined, cancelled, expired, revoked."""

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
from bot.flows.authorize.token_revocation import revoke_tokens
from bot.flows.bot import Bot, utc_now
from bot.flows.clock import NEVER, expiry_time
from bot.flows.outbox import (
    Draft,
    answer,
    declined,
    deliver_all,
    expired,
    expired_before_start,
    insert_all,
    is_shown_by_card,
    typed,
)
from bot.store import attempts, calls, device_authorizations, grants, requests, users
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


def decline_on_page(c: Connection, request_id: str, now: datetime) -> bool:
    """Record that a visitor declined on the platform's page. Returns False if the request is no longer live.

    Nothing is cancelled, because the visitor is not identified, and the link may have been passed on. The card says so
    once, and the request stays open until its user decides or it expires.
    """
    request = requests.get(c, request_id)
    if request is not None and request.status is RequestStatus.SUPERSEDED:
        request = requests.live_of(c, request.user)
    if request is None or not is_live(request.status):
        return False
    requests.decline_on_page(c, request.id, now)
    return True


def decline(c: Connection, bot: Bot, request_id: str, reason: str, now: datetime) -> list[OutgoingMessage]:
    """Decline an open request for its user: cancel the calls that waited for it, and mute unsolicited messages.

    Returns answers to the calls whose end the card does not show.
    """
    request = requests.get_locked(c, request_id)
    if request is None or request.status is not RequestStatus.OPEN:
        # A request that is being redeemed already has a consent, which takes precedence.
        return []
    device_authorizations.close(c, request.user, now)
    requests.settle(c, request_id, requests.End(RequestStatus.DECLINED, reason=reason), now)
    users.set_quiet(c, request.user, now)
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, request.user):
        if call.waits_for is not WaitsFor.AUTHORIZATION or not calls.cancel(c, call.id, reason, now):
            continue
        if not is_shown_by_card(bot, call, request, now):
            messages += insert_all(c, bot, [answer(bot, call, declined(call))])
    return messages


CANCEL_BATCH = 20
"""The number of calls that one transaction cancels, so that other transactions can write in between."""


async def cancel_in_batches(
    bot: Bot, user: UserKey, *, before: DeferredCall | None = None
) -> list[DeferredCall]:
    """Cancel a user's waiting calls, except for a last batch, in separate transactions. Returns the cancelled calls.

    `cancel_waiting` cancels the last batch.
    """
    dropped: list[DeferredCall] = []

    def work(c: Connection) -> tuple[list[DeferredCall], list[OutgoingMessage], bool]:
        users.lock(c, user)
        waiting = waiting_before(c, user, before)
        ended_calls, answers = cancel_each(c, bot, waiting[:CANCEL_BATCH], utc_now())
        # Each has its own answer, because a crash before the last batch would forget to name them.
        return ended_calls, insert_all(c, bot, answers), len(waiting) > 2 * CANCEL_BATCH

    has_more = len(await bot.database.read(lambda c: waiting_before(c, user, before))) > CANCEL_BATCH
    while has_more:
        ended_calls, messages, has_more = await bot.database.write(work)
        dropped += ended_calls
        bot.background(deliver_all(bot, messages))
    return dropped


def waiting_before(c: Connection, user: UserKey, before: DeferredCall | None) -> list[DeferredCall]:
    """Return the waiting calls of a user. With `before`, only those that were asked before that call."""
    return [
        call
        for call in calls.waiting_of(c, user)
        if before is None or (call.asked_at, call.id) < (before.asked_at, before.id)
    ]


def cancel_waiting(
    c: Connection, bot: Bot, user: UserKey, now: datetime, *, before: DeferredCall | None = None
) -> tuple[list[DeferredCall], list[OutgoingMessage]]:
    """Cancel all waiting calls of a user, and close the open request. Locks the user. Returns the calls and answers.

    With `before`, the call that asks for the cancellation, cancel only calls that were asked before it, including running
    ones, because these may be about to be suspended. Its answer names them, so they get their own only where that shows
    which message it belongs to.
    """
    users.lock(c, user)
    dropped, messages = cancel_each(c, bot, waiting_before(c, user, before), now)
    if before is not None:
        for call in calls.stop_running(c, before, "cancelled_by_user", now):
            dropped.append(call)
            messages.append(answer(bot, call, replies.cancelled(typed(call))))
    narrow_or_close_request(c, user, dropped, "cancelled_by_user", now)
    if before is not None and not bot.platform_of(user).quotes_messages:
        messages = []
    return dropped, insert_all(c, bot, messages)


def cancel_each(
    c: Connection, bot: Bot, waiting: Sequence[DeferredCall], now: datetime
) -> tuple[list[DeferredCall], list[Draft]]:
    """Cancel these calls. Returns those that were still waiting, and their answers."""
    dropped = [call for call in waiting if calls.cancel(c, call.id, "cancelled_by_user", now)]
    return dropped, [answer(bot, call, replies.cancelled(typed(call))) for call in dropped]


def cancel_and_answer(
    c: Connection, bot: Bot, call: DeferredCall, now: datetime, outcome: str = "cancelled_by_user"
) -> tuple[bool, list[OutgoingMessage]]:
    """Cancel one call. Returns whether it was still waiting, and its answer."""
    if not calls.cancel(c, call.id, outcome, now):
        return False, []
    return True, insert_all(c, bot, [answer(bot, call, replies.cancelled(typed(call)))])


def close_unneeded_request(
    c: Connection,
    user: UserKey,
    reason: str,
    now: datetime,
    status: RequestStatus = RequestStatus.DECLINED,
) -> None:
    """Close the request if no call waits for its scopes any longer."""
    if all(call.waits_for is WaitsFor.CONFIRMATION for call in calls.suspended_of(c, user)):
        close_request(c, user, reason, now, status)


def narrow_or_close_request(
    c: Connection, user: UserKey, ended_calls: Sequence[DeferredCall], reason: str, now: datetime
) -> None:
    """Stop asking for what only the ended calls needed, and close the request if no call waits for it.

    The caller has locked the user. `reason` is stored with a closed request.
    """
    suspended = calls.suspended_of(c, user)
    if all(call.waits_for is WaitsFor.CONFIRMATION for call in suspended):
        close_request(c, user, reason, now)
        return
    narrow_request(c, user, ended_calls, suspended, now)


def narrow_request(
    c: Connection,
    user: UserKey,
    ended_calls: Sequence[DeferredCall],
    suspended: Sequence[DeferredCall],
    now: datetime,
) -> None:
    """Narrow the live request to what the suspended calls need, after other calls have ended."""
    waiting = [call for call in suspended if call.waits_for is WaitsFor.AUTHORIZATION]
    live = requests.live_of(c, user) if waiting else None
    if live is None:
        return
    unwanted = named(*(call.needs for call in ended_calls)) - named(*(call.needs for call in waiting))
    scopes = live.scopes - (unwanted - {OFFLINE_ACCESS})
    names = {call.command for call in waiting}
    commands = tuple(name for name in live.reasons if name in names)
    if (scopes, commands) != (live.scopes, live.reasons):
        requests.narrow(c, live.id, scopes=scopes, commands=commands, now=now)


def close_request(
    c: Connection,
    user: UserKey,
    reason: str,
    now: datetime,
    status: RequestStatus = RequestStatus.DECLINED,
) -> None:
    """Settle the live request of a user, or the one that waits for an administrator. Its card says so."""
    device_authorizations.close(c, user, now)
    # A live request is always the latest: another one is opened only when none is live.
    request = requests.latest_of(c, user)
    if request is None or not (is_live(request.status) or request.waits_for_administrator):
        return
    requests.settle(c, request.id, requests.End(status, reason=reason), now)


def cancel_for_administrator(c: Connection, bot: Bot, user: UserKey, now: datetime) -> list[OutgoingMessage]:
    """Cancel the calls of a user that wait for an administrator. Returns their answers."""
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, user):
        if call.waits_for is WaitsFor.ADMINISTRATOR:
            messages += cancel_and_answer(c, bot, call, now)[1]
    close_unneeded_request(c, user, "cancelled_by_user", now)
    return messages


def end_grant(c: Connection, user: UserKey, reason: str, now: datetime) -> bool:
    """End a grant in the database immediately, and queue its revocation at the platform.

    The caller has locked the user. A consent whose code is being exchanged is older than this, and is withdrawn too.
    Returns False if there is no active grant.
    """
    attempts.withdraw(c, user, now)
    device_authorizations.close(c, user, now)
    ended = grants.end(c, user, reason, now)
    if ended is None:
        return False
    revoke_tokens(c, user, ended.access_token, ended.refresh_token, now)
    return True


async def expire_overdue(bot: Bot) -> None:
    """Expire calls that waited too long, and overdue requests. The card says so, or a message if the card cannot."""
    now = expiry_time()
    if now == NEVER:
        return

    def work(c: Connection) -> tuple[list[DeferredCall], list[OutgoingMessage]]:
        ended_calls: list[DeferredCall] = []
        messages: list[OutgoingMessage] = []
        for call in calls.overdue(c, now, limit=50):
            waited = call.status is CallStatus.SUSPENDED
            if not calls.expire(c, call.id, now):
                continue
            ended_calls.append(call)
            request = expired_with(c, call, now) if waited else None
            if request is None or not is_shown_by_card(bot, call, request, now):
                reply = expired(call) if waited else expired_before_start(call)
                messages += insert_all(c, bot, [answer(bot, call, reply)])
        for request in requests.expired(c, now, limit=50):
            requests.settle(c, request.id, requests.End(RequestStatus.EXPIRED), now)
        return ended_calls, messages

    ended_calls, messages = await bot.database.write(work)
    for call in ended_calls:
        # One transaction for each user: two that lock several users could deadlock.
        await bot.database.write(partial(narrow_after_expiry, call=call, now=now))
    await deliver_all(bot, messages)


def expired_with(c: Connection, call: DeferredCall, now: datetime) -> AuthorizationRequest | None:
    """Return the request that expires with this call, or None if other calls or a consent keep it open."""
    match call.waits_for:
        case WaitsFor.AUTHORIZATION if call.request_id is not None:
            request = requests.get(c, call.request_id)
            if request and request.status is RequestStatus.OPEN and request.expires_at <= now:
                requests.settle(c, request.id, requests.End(RequestStatus.EXPIRED), now)
                request = requests.get(c, call.request_id)
        case WaitsFor.ADMINISTRATOR:
            close_unneeded_request(c, call.user, "expired", now, RequestStatus.EXPIRED)
            request = requests.latest_of(c, call.user)
            if request and request.status is RequestStatus.EXPIRED and call.command in request.reasons:
                calls.attach(c, call.id, request.id)
        case _:
            return None
    return request if request and request.status is RequestStatus.EXPIRED else None


def narrow_after_expiry(c: Connection, call: DeferredCall, now: datetime) -> None:
    """Narrow the request of an expired call to what the other calls need. Locks the user."""
    users.lock(c, call.user)
    narrow_request(c, call.user, [call], calls.suspended_of(c, call.user), now)
