"""Asking a person for scopes, and everything that follows: the card, the link, the consent, the release.

One open request a person: a second need widens it, on the same card. A call waits for scopes and not for a link, so
whichever road the grant comes by, it wakes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from bot.core import replies
from bot.core.cards import ConfirmationCard
from bot.core.lifecycle import LIVE_REQUESTS
from bot.core.model import (
    AuthorizationRequest,
    CallStatus,
    DeferredCall,
    Grant,
    GrantStatus,
    InsufficientScope,
    Outcome,
    RequestStatus,
    Secret,
    Step,
    UserKey,
    WaitsFor,
)
from bot.core.oauth import urlsafe
from bot.core.scopes import (
    MAX_SCOPES_PER_LINK,
    OFFLINE_ACCESS,
    Choice,
    Requirement,
    Scope,
    ScopeSet,
    choose_scopes,
    is_met,
    missing,
    named,
    with_offline_access,
)
from bot.flows import administrators, cards, time_zones, waiting
from bot.flows.bot import Bot, now
from bot.flows.delivery import (
    Draft,
    answer,
    answer_alone,
    declined,
    deliver_all,
    draft,
    expired,
    expired_before_start,
    insert_all,
    is_told_by_card,
    later,
    note,
    typed,
    typed_in_full,
)
from bot.store import (
    attempts,
    authorizations,
    call_steps,
    calls,
    device_authorizations,
    granted_scopes,
    grants,
    revocations,
    users,
)
from bot.store.database import Connection
from bot.store.granted_scopes import GrantedScope
from bot.store.ids import new_id
from bot.store.outbox import OutgoingMessage
from bot.store.revocations import Revocation

log = logging.getLogger(__name__)


async def ask_for_scopes(
    bot: Bot,
    call: DeferredCall,
    needs: Requirement,
    grant: Grant | None,
    steps: Sequence[Step],
    *,
    refused: Outcome | None = None,
) -> None:
    """Suspends a claimed call until `needs` are granted, and shows its person the card that asks for them."""
    active = grant is not None and grant.status is GrantStatus.ACTIVE
    held = grant.scopes if grant and active else frozenset()
    live, stories = await bot.database.read(
        lambda c: (authorizations.live_of(c, call.user), granted_scopes.of_user(c, call.user))
    )
    wanted = live.scopes if live else frozenset()
    avoided = live.avoided if live else frozenset()
    formerly = lost_scopes(grant, needs, refused, stories)
    choice, enabled = await choose(bot, needs, held, wanted=wanted | formerly.keys(), avoided=avoided)
    if choice.unavailable:
        certain = refused.alternatives if isinstance(refused, InsufficientScope) else ()
        await administrators.wait_for(bot, call, needs, steps, named_by_platform=certain)
        return
    again = fitting(formerly, choice.scopes | wanted, enabled, avoided)
    scopes = with_offline_access(choice.scopes | again, enabled, avoided)
    claimed = await suspend(bot, call, needs, scopes, grant, steps, live)
    if claimed is not None:
        bot.background(time_zones.look_up(bot, call))
        await cards.show_claimed(bot, claimed, call)


async def choose(
    bot: Bot, needs: Requirement, held: ScopeSet, *, wanted: ScopeSet, avoided: ScopeSet
) -> tuple[Choice, ScopeSet | None]:
    """What to ask for. A cached list may say that a scope is enabled, never that it is not."""
    enabled = await bot.platform.enabled_scopes()
    choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        enabled = await bot.platform.enabled_scopes(fresh=True)
        choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        # What was left out for another alternative is asked for after all where there is no other.
        choice = choose_scopes(needs, held, enabled, wanted=wanted)
    return choice, enabled


def lost_scopes(
    grant: Grant | None, needs: Requirement, refused: Outcome | None, stories: Mapping[Scope, GrantedScope]
) -> dict[Scope, GrantedScope | None]:
    """What the next link asks for besides what is needed, when something is needed again that was granted before.

    Then the platform has narrowed the tokens to what the last link asked for, and would do it again: the link asks for
    everything that was ever granted and not revoked, what is held now included. What came along unasked is no part.
    """
    if grant is None or grant.status is not GrantStatus.ACTIVE:
        return {}
    match refused:
        case None:
            needed = named(missing(needs, grant.scopes))
        case InsufficientScope(alternatives=alternatives):
            needed = frozenset(alternatives)
        case _:
            needed = named(needs)
    if grant.scopes_ever.isdisjoint(needed):
        return {}
    return {
        scope: story
        for scope in grant.scopes_ever - {OFFLINE_ACCESS}
        if (story := stories.get(scope)) is None or story.asked_by
    }


def fitting(
    formerly: Mapping[Scope, GrantedScope | None],
    needed: ScopeSet,
    enabled: ScopeSet | None,
    avoided: ScopeSet,
) -> ScopeSet:
    """As much of `formerly` as the link has room for beside what is needed, the last used first.

    More would be split over two links, the second of which would lose what the first has brought. Without the app's
    list only what commands have asked for is believed to be enabled.
    """
    usable = [
        (scope, story)
        for scope, story in formerly.items()
        if scope not in needed | avoided and (scope in enabled if enabled is not None else story is not None)
    ]
    usable.sort(
        key=lambda each: (each[1].used_at or each[1].granted_at) if each[1] else EARLIEST, reverse=True
    )
    room = max(0, MAX_SCOPES_PER_LINK - 1 - len(needed - {OFFLINE_ACCESS}))
    return frozenset(scope for scope, _ in usable[:room])


EARLIEST = datetime.min.replace(tzinfo=UTC)


async def suspend(
    bot: Bot,
    call: DeferredCall,
    needs: Requirement,
    scopes: ScopeSet,
    grant: Grant | None,
    steps: Sequence[Step],
    live: AuthorizationRequest | None,
) -> AuthorizationRequest | None:
    """One transaction: the request is opened or widened, the call waits; a note says so where the card may not be seen.
    In a group the note waits for the card: only then it is known which way that went.

    Returns the request with its card claimed for this worker. None when there is nothing to show: the card says it
    already, another worker has it, or a grant has come that is worth another try, for which the call is queued again.
    """
    ticket = Secret(urlsafe(secrets.token_bytes(32)))
    moment = now()
    told = await where_to_look(bot, call, live, moment)

    def work(c: Connection) -> tuple[AuthorizationRequest | None, list[OutgoingMessage]]:
        users.lock(c, call.user)
        if granted_since(grant, grants.find(c, call.user), needs):
            waiting.keep_results(c, call, steps)
            calls.requeue(c, call.id, call.claim, moment, call.first_failed_at)
            return None, []
        request = ask_again(c, call, scopes, moment) or authorizations.open_request(
            c,
            call.user,
            scopes=scopes,
            command=call.command,
            ticket=ticket,
            expires_at=call.expires_at,
            now=moment,
            new_id=new_id(moment),
        )
        waiting.suspend(c, call, steps, WaitsFor.AUTHORIZATION, needs, request.id, moment)
        claimed = authorizations.claim_card(c, request.id, bot.worker, moment, moment + bot.lease)
        if claimed is not None or call.chat.kind == "direct":
            return claimed, insert_all(c, bot, told)
        if request.card_shown < request.card_wanted:
            # Another worker is drawing it, and may not know of this call.
            authorizations.show(c, request.id, moment)
            return None, []
        return None, insert_all(c, bot, cards.where_it_is(bot, [call], in_group=False))

    claimed, messages = await bot.database.write(work)
    await deliver_all(bot, messages)
    return claimed


REMIND_AFTER = timedelta(minutes=1)
"""A card that was sent before may be far up in the chat by now. In a burst of questions it is not."""


async def where_to_look(
    bot: Bot, call: DeferredCall, live: AuthorizationRequest | None, moment: datetime
) -> list[Draft]:
    """The first time that a call of the direct chat waits: a word on where its card is, if that is not right below the
    question."""
    if call.consents or call.suspended_at is not None or call.chat.kind == "group":
        return []
    if live is None or not live.card_message_id or live.card_ephemeral:
        return []
    elsewhere = in_direct_topic(call) and not await was_asked_in_topic(bot, call)
    if elsewhere or live.declined_on_page_at or moment - live.created_at > REMIND_AFTER:
        return [note(bot, call, replies.asked_above(typed(call), live.id, elsewhere=elsewhere), "note")]
    return []


def in_direct_topic(call: DeferredCall) -> bool:
    """Whether it was asked in a topic of the direct chat: what goes to the chat is not seen there."""
    return call.chat.kind == "direct" and call.chat.thread_id is not None


async def was_asked_in_topic(bot: Bot, call: DeferredCall) -> bool:
    """Whether something else waits that was asked in the same topic: what there is to see was shown there."""
    waiting = await bot.database.read(lambda c: calls.suspended_of(c, call.user))
    return any(other.chat == call.chat for other in waiting)


def ask_again(
    c: Connection, call: DeferredCall, scopes: ScopeSet, moment: datetime
) -> AuthorizationRequest | None:
    """Inside a transaction: goes on with a card whose story is not at its end, if there is one.

    That of a consent for this very call, when the platform still refuses; or one that says that it waits for the
    administrator, who has done their part by now. A new command gets a card of its own, where it is seen.
    """
    before = authorizations.latest_of(c, call.user)
    if before is None:
        return None
    own = before.status is RequestStatus.GRANTED and call.consents > 0 and call.request_id == before.id
    failed = before.status is RequestStatus.FAILED and call.suspended_at is not None
    if not own and not failed:
        return None
    return authorizations.ask_again(
        c, before, scopes=scopes, command=call.command, expires_at=call.expires_at, now=moment
    )


def granted_since(before: Grant | None, current: Grant | None, needs: Requirement) -> bool:
    """Whether a consent that came while the call ran gives what it would wait for."""
    if current is None or current.status is not GrantStatus.ACTIVE:
        return False
    return (before is None or current.generation != before.generation) and is_met(needs, current.scopes)


async def ask_to_confirm(bot: Bot, call: DeferredCall, steps: Sequence[Step]) -> None:
    """Suspends an old write until its person says that it is still wanted."""
    moment = now()
    card = bot.platform.render_card(ConfirmationCard(call.id, typed_in_full(call), call.asked_at))
    question = draft(
        bot,
        call.user,
        card,
        kind="confirmation_card",
        key=f"{call.id}-confirm",
        chat=call.chat,
        reply_to=call.message_id if in_direct_topic(call) else None,
        private=True,
        call_id=call.id,
    )

    def work(c: Connection) -> list[OutgoingMessage]:
        waiting.suspend(c, call, steps, WaitsFor.CONFIRMATION, (), None, moment)
        return insert_all(c, bot, [question])

    await deliver_all(bot, await bot.database.write(work))


# --- ending ----------------------------------------------------------------------------------------------


def decline_on_page(c: Connection, request_id: str, moment: datetime) -> bool:
    """Inside a transaction: notes that a visitor declined on the platform's page. False when nothing waits any more.

    A refusal there carries no identity, and the link may have been passed on: it cancels nothing. The card says it
    once, and the request waits until its person decides or its time is up.
    """
    request = authorizations.get(c, request_id)
    if request is not None and request.status is RequestStatus.SUPERSEDED:
        request = authorizations.live_of(c, request.user)
    if request is None or request.status not in LIVE_REQUESTS:
        return False
    authorizations.decline_on_page(c, request.id, moment)
    return True


def decline(c: Connection, bot: Bot, request_id: str, reason: str, moment: datetime) -> list[OutgoingMessage]:
    """Inside a transaction: the person declines. Settles an open request as declined, cancels what waited for it, and
    mutes what they have not asked for. The card says so; see `is_told_by_card` for what a message says."""
    request = authorizations.get_locked(c, request_id)
    if request is None or request.status is not RequestStatus.OPEN:
        # One that is being redeemed has a consent of the same person, which decides.
        return []
    device_authorizations.close(c, request.user, moment)
    authorizations.settle(c, request_id, RequestStatus.DECLINED, now=moment, reason=reason)
    users.set_quiet(c, request.user, moment)
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, request.user):
        if call.waits_for is not WaitsFor.AUTHORIZATION or not calls.cancel(c, call.id, reason, moment):
            continue
        if not is_told_by_card(call, request, moment):
            messages += insert_all(c, bot, [answer(bot, call, declined(call))])
    return messages


PORTION = 20
"""Calls that one transaction cancels: others write in between."""


async def drop_all_but_a_portion(
    bot: Bot, user: UserKey, *, before: DeferredCall | None = None
) -> list[DeferredCall]:
    """Cancels most of what waits for a person, in transactions of their own; `drop_waiting` cancels the rest."""
    dropped: list[DeferredCall] = []

    def work(c: Connection) -> tuple[list[DeferredCall], list[OutgoingMessage], bool]:
        users.lock(c, user)
        waiting = waiting_before(c, user, before)
        gone, messages = cancel_each(c, bot, waiting[:PORTION], now())
        return gone, messages, len(waiting) > 2 * PORTION

    more = len(await bot.database.read(lambda c: waiting_before(c, user, before))) > PORTION
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


def drop_waiting(
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
        cancelled, words = cancel_with_word(c, bot, call, moment)
        if cancelled:
            dropped.append(call)
            messages += words
    return dropped, messages


def cancel_with_word(
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
    live = authorizations.live_of(c, user)
    waiting = [call for call in calls.suspended_of(c, user) if call.waits_for is WaitsFor.AUTHORIZATION]
    if live is None or not waiting:
        return
    unwanted = named(*(call.needs for call in gone)) - named(*(call.needs for call in waiting))
    scopes = live.scopes - (unwanted - {OFFLINE_ACCESS})
    names = {call.command for call in waiting}
    commands = tuple(name for name in live.reasons if name in names)
    if (scopes, commands) != (live.scopes, live.reasons):
        authorizations.narrow(c, live.id, scopes=scopes, commands=commands, now=moment)


def close_request(
    c: Connection,
    user: UserKey,
    reason: str,
    moment: datetime,
    status: RequestStatus = RequestStatus.DECLINED,
) -> None:
    """Inside a transaction: nothing waits any more for what a card asks for, or for the administrator. It says so."""
    device_authorizations.close(c, user, moment)
    request = authorizations.live_of(c, user) or authorizations.latest_of(c, user)
    if request is None or not (request.status in LIVE_REQUESTS or request.waits_for_administrator):
        return
    authorizations.settle(c, request.id, status, now=moment, reason=reason)


def cancel_for_administrator(
    c: Connection, bot: Bot, user: UserKey, moment: datetime
) -> list[OutgoingMessage]:
    """Inside a transaction: drops what of a person waits for the administrator."""
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, user):
        if call.waits_for is WaitsFor.ADMINISTRATOR:
            messages += cancel_with_word(c, bot, call, moment)[1]
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


def revoke_tokens(
    c: Connection, user: UserKey, access: Secret | None, refresh: Secret | None, moment: datetime
) -> None:
    """Inside a transaction: queues the revocation of both. Whether the platform ends one with the other is unknown."""
    for token in (refresh, access):
        if token is not None:
            revocations.add(c, user, token, moment)


async def revoke_due(bot: Bot) -> None:
    """Revokes ended grants at the platform, until it is done or the token is unknown there."""
    moment = now()
    due = await bot.database.write(
        lambda c: revocations.claim_due(c, bot.worker, moment, moment + bot.lease, limit=10)
    )
    # Side by side: one after another, the leases of the last would run out while the platform is slow.
    await asyncio.gather(*(revoke(bot, revocation) for revocation in due))


async def revoke(bot: Bot, revocation: Revocation) -> None:
    if revocation.token is None:
        await give_up_revoking(bot, revocation, "token_lost")
        return
    refusal = await bot.platform.revoke(revocation.token)
    if refusal is None:
        await bot.database.write(partial(revocations.done, revocation=revocation.id, now=now()))
    elif revocation.attempts >= MAX_REVOCATION_TRIES:
        await give_up_revoking(bot, revocation, f"{refusal.problem.value} {refusal.code}")
    else:
        slower = 1 if revocation.attempts < TRIED_OFTEN else 60
        moment = now()
        until = moment + (later(moment, revocation.attempts, refusal.retry_after) - moment) * slower
        await bot.database.write(partial(revocations.postpone, claimed=revocation, until=until))


async def give_up_revoking(bot: Bot, revocation: Revocation, reason: str) -> None:
    await bot.database.write(partial(revocations.failed, revocation=revocation.id, reason=reason, now=now()))
    log.error("a token could not be revoked at the platform", extra={"user": str(revocation.user)})


TRIED_OFTEN = 12
"""Tries, over some minutes, before the pauses grow from a minute to an hour."""
MAX_REVOCATION_TRIES = 1000
"""A month and more: by then every token has died by itself."""


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
        for request in authorizations.expired(c, moment, limit=50):
            authorizations.settle(c, request.id, RequestStatus.EXPIRED, now=moment)
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
            request = authorizations.get(c, call.request_id)
            if request and request.status is RequestStatus.OPEN and request.expires_at <= moment:
                authorizations.settle(c, request.id, RequestStatus.EXPIRED, now=moment)
                request = authorizations.get(c, call.request_id)
        case WaitsFor.ADMINISTRATOR:
            close_if_nobody_waits(c, call.user, "expired", moment, RequestStatus.EXPIRED)
            request = authorizations.latest_of(c, call.user)
            if request and request.status is RequestStatus.EXPIRED and call.command in request.reasons:
                calls.attach(c, call.id, request.id)
        case _:
            return None
    return request if request and request.status is RequestStatus.EXPIRED else None


def forget_need(c: Connection, call: DeferredCall, moment: datetime) -> None:
    """Inside a transaction: `ask_for_less` after one call."""
    users.lock(c, call.user)
    ask_for_less(c, call.user, [call], moment)
