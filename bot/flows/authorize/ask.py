"""Asks a user for scopes: what to ask for, the request, the suspended call, the card."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from bot.core.api import InsufficientScope, Refused
from bot.core.calls import DeferredCall, Step, WaitsFor
from bot.core.cards import ConfirmationCard
from bot.core.grants import Grant, GrantStatus
from bot.core.oauth import urlsafe
from bot.core.platform import Platform
from bot.core.requests import AuthorizationRequest, RequestStatus
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
from bot.core.secrets import Secret
from bot.core.times import find_zone
from bot.core.words import replies
from bot.flows import administrators, cards
from bot.flows.bot import Bot, now
from bot.flows.calls.suspend import Wait, keep_results, suspend
from bot.flows.outbox import Draft, deliver_all, draft, insert_all, note, typed, typed_in_full
from bot.store import calls, granted_scopes, grants, requests, users
from bot.store.cards import claim_card, show_card
from bot.store.granted_scopes import GrantedScope
from bot.store.ids import new_id
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


async def ask_for_scopes(
    bot: Bot,
    call: DeferredCall,
    needs: Requirement,
    grant: Grant | None,
    steps: Sequence[Step],
    *,
    refused: InsufficientScope | Refused | None = None,
) -> None:
    """Suspends a claimed call until `needs` are granted, and shows its person the card that asks for them."""
    active = grant is not None and grant.status is GrantStatus.ACTIVE
    held = grant.scopes if grant and active else frozenset()
    live, stories = await bot.database.read(
        lambda c: (requests.live_of(c, call.user), granted_scopes.of_user(c, call.user))
    )
    wanted = live.scopes if live else frozenset()
    avoided = live.avoided if live else frozenset()
    formerly = lost_scopes(grant, needs, refused, stories)
    choice, enabled = await choose(
        bot.platform_of(call.user), needs, held, wanted=wanted | formerly.keys(), avoided=avoided
    )
    if choice.unavailable:
        certain = named(refused.requirement) if isinstance(refused, InsufficientScope) else frozenset()
        await administrators.wait_for(bot, call, needs, steps, named_by_platform=certain)
        return
    again = fitting(formerly, choice.scopes | wanted, enabled, avoided)
    scopes = with_offline_access(choice.scopes | again, enabled, avoided)
    claimed = await suspend_for_consent(bot, call, needs, scopes, grant, steps, live)
    if claimed is not None:
        bot.background(learn_time_zone(bot, call))
        await cards.show_claimed(bot, claimed, call)


async def choose(
    platform: Platform, needs: Requirement, held: ScopeSet, *, wanted: ScopeSet, avoided: ScopeSet
) -> tuple[Choice, ScopeSet | None]:
    """What to ask for. A cached list may say that a scope is enabled, never that it is not."""
    enabled = await platform.enabled_scopes()
    choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        enabled = await platform.enabled_scopes(fresh=True)
        choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        # What was left out for another alternative is asked for after all where there is no other.
        choice = choose_scopes(needs, held, enabled, wanted=wanted)
    return choice, enabled


def lost_scopes(
    grant: Grant | None,
    needs: Requirement,
    refused: InsufficientScope | Refused | None,
    stories: Mapping[Scope, GrantedScope],
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
        case InsufficientScope(requirement=requirement):
            needed = named(requirement)
        case Refused():
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


async def suspend_for_consent(
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
            keep_results(c, call, steps)
            calls.requeue(c, call.id, call.claim, moment, call.first_failed_at)
            return None, []
        request = ask_again(c, call, scopes, moment) or requests.open_request(
            c,
            call.user,
            scopes=scopes,
            command=call.command,
            ticket=ticket,
            expires_at=call.expires_at,
            now=moment,
            new_id=new_id(moment),
        )
        suspend(c, call, steps, Wait(WaitsFor.AUTHORIZATION, needs, request.id), moment)
        claimed = claim_card(c, request.id, bot.claim(moment))
        if claimed is not None or call.chat.kind == "direct":
            return claimed, insert_all(c, bot, told)
        if request.card_shown < request.card_wanted:
            # Another worker is drawing it, and may not know of this call.
            show_card(c, request.id, moment)
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
        return [
            note(bot, call, replies.added_to_earlier_card(typed(call), live.id, elsewhere=elsewhere), "note")
        ]
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
    before = requests.latest_of(c, call.user)
    if before is None:
        return None
    own = before.status is RequestStatus.GRANTED and call.consents > 0 and call.request_id == before.id
    failed = before.status is RequestStatus.FAILED and call.suspended_at is not None
    if not own and not failed:
        return None
    return requests.ask_again(
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
    card = bot.platform_of(call.user).render_card(
        ConfirmationCard(call.id, typed_in_full(call), call.asked_at)
    )
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
        suspend(c, call, steps, Wait(WaitsFor.CONFIRMATION), moment)
        return insert_all(c, bot, [question])

    await deliver_all(bot, await bot.database.write(work))


async def learn_time_zone(bot: Bot, call: DeferredCall) -> None:
    """Learns it while the person looks at a card, so that it is known when their command goes on."""
    if call.time_zone is not None:
        return
    zone = await bot.platform_of(call.user).time_zone_of(call.user)
    if zone is not None and find_zone(zone):
        await bot.database.write(lambda c: users.learn_time_zone(c, call.user, zone))
