"""Asks a user for scopes: what to ask for, the request, the suspended call, the card."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from bot.core.api import InsufficientScope, Refused
from bot.core.calls import DeferredCall, Wait, WaitsFor
from bot.core.cards import ConfirmationCard
from bot.core.grants import Grant, GrantStatus
from bot.core.oauth import urlsafe
from bot.core.platform import Platform
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.core.scopes import (
    OFFLINE_ACCESS,
    Choice,
    Requirement,
    Scope,
    ScopeSet,
    choose_scopes,
    is_met,
    missing,
    named,
    with_always_asked,
)
from bot.core.secrets import Secret
from bot.core.times import find_zone
from bot.core.words import replies
from bot.flows import administrators, cards
from bot.flows.bot import Bot, utc_now
from bot.flows.calls import api_calls
from bot.flows.calls.run_state import Run
from bot.flows.calls.suspend import keep_results, suspend
from bot.flows.outbox import (
    Draft,
    can_change_cards,
    deliver_all,
    draft,
    in_chat,
    insert_all,
    note,
    typed,
    typed_in_full,
)
from bot.store import calls, granted_scopes, grants, requests, users
from bot.store import cards as deliveries
from bot.store.granted_scopes import GrantedScope
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


async def ask_for_scopes(
    bot: Bot,
    run: Run,
    needs: Requirement,
    grant: Grant | None,
    *,
    refused: InsufficientScope | Refused | None = None,
) -> None:
    """Suspend a claimed call until `needs` are granted, and show the user the card that asks for them."""
    call = run.call
    active = grant is not None and grant.status is GrantStatus.ACTIVE
    held = grant.scopes if grant and active else frozenset()
    live, records = await bot.database.read(
        lambda c: (requests.live_of(c, call.user), granted_scopes.of_user(c, call.user))
    )
    wanted = live.scopes if live else frozenset()
    avoided = live.avoided if live else frozenset()
    formerly = formerly_granted(grant, needs, refused, records)
    platform = bot.platform_of(call.user)
    choice, enabled = await choose(platform, needs, held, wanted=wanted | formerly.keys(), avoided=avoided)
    if choice.unavailable:
        certain = named(refused.requirement) if isinstance(refused, InsufficientScope) else frozenset()
        await administrators.suspend_for_administrator(bot, run, needs, named_by_platform=certain)
        return
    always = platform.always_asked
    room = platform.limits.scopes_per_link - len(always) - len((choice.scopes | wanted) - always)
    again = fit_into_link(formerly, choice.scopes | wanted | avoided, enabled, max(0, room))
    scopes = with_always_asked(choice.scopes | again, always, enabled, avoided)
    claimed = await suspend_for_consent(bot, run, needs, scopes, grant, live)
    if claimed is not None:
        bot.background(learn_time_zone(bot, call))
        await cards.show_claimed(bot, claimed, call)


async def choose(
    platform: Platform, needs: Requirement, held: ScopeSet, *, wanted: ScopeSet, avoided: ScopeSet
) -> tuple[Choice, ScopeSet | None]:
    """Return what to ask for, and the enabled scopes. A cached list can prove a scope enabled, but not missing."""
    enabled = await platform.enabled_scopes()
    choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        enabled = await platform.enabled_scopes(fresh=True)
        choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        # An avoided scope is better than none.
        choice = choose_scopes(needs, held, enabled, wanted=wanted)
    return choice, enabled


def formerly_granted(
    grant: Grant | None,
    needs: Requirement,
    refused: InsufficientScope | Refused | None,
    records: Mapping[Scope, GrantedScope],
) -> dict[Scope, GrantedScope | None]:
    """Return the earlier scopes that the next link also asks for, if the user has granted a needed scope before.

    The platform narrows the tokens to what the last link asked for. The link therefore asks for everything that was ever
    granted and not revoked, including held scopes, except for scopes that no command has asked for.
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
        scope: record
        for scope in grant.scopes_ever - {OFFLINE_ACCESS}
        if (record := records.get(scope)) is None or record.asked_by
    }


def fit_into_link(
    formerly: Mapping[Scope, GrantedScope | None],
    left_out: ScopeSet,
    enabled: ScopeSet | None,
    room: int,
) -> ScopeSet:
    """Return as much of `formerly` as fits into the link, the last used first.

    A second link for the rest would lose the scopes of the first. If the list of enabled scopes cannot be read, only
    scopes that commands have asked for count as enabled.
    """
    usable = [
        (scope, record)
        for scope, record in formerly.items()
        if scope not in left_out and (scope in enabled if enabled is not None else record is not None)
    ]
    usable.sort(
        key=lambda each: (each[1].used_at or each[1].granted_at) if each[1] else EARLIEST, reverse=True
    )
    return frozenset(scope for scope, _ in usable[:room])


EARLIEST = datetime.min.replace(tzinfo=UTC)


async def suspend_for_consent(
    bot: Bot,
    run: Run,
    needs: Requirement,
    scopes: ScopeSet,
    grant: Grant | None,
    live: AuthorizationRequest | None,
) -> AuthorizationRequest | None:
    """Open or widen the request and suspend the call, in one transaction, with a note where the card may not be seen.

    In a group the note follows the card, because it says where the card was sent. Returns the request with its card
    claimed. Returns None if there is nothing to show: the card is up to date, another worker has claimed it, or a new
    grant suffices, in which case the call is queued again.
    """
    call, now = run.call, utc_now()
    ticket = Secret(urlsafe(secrets.token_bytes(32)))
    notes = await notes_on_earlier_card(bot, call, live, now)
    claim = bot.claim(call.user.app, now)

    def work(c: Connection) -> tuple[AuthorizationRequest | None, list[OutgoingMessage]]:
        users.lock(c, call.user)
        if granted_since(grant, grants.find(c, call.user), needs):
            keep_results(c, run)
            calls.requeue(c, call, now, call.first_failed_at)
            return None, []
        ask = requests.Ask(scopes, call.command, call.expires_at)
        request = reopen_request(c, call, ask, now) or requests.open_request(c, call.user, ask, ticket, claim)
        suspend(c, run, Wait(WaitsFor.AUTHORIZATION, needs, request.id), now)
        bot.askers.remember(request.id, call.id, call.message_id)
        is_new = deliveries.is_held(request.card, claim)
        changed = request.card.message_id is not None and asks_more_than_shown(request, live)
        if changed and not can_change_cards(bot.platform_of(call.user)):
            # The earlier card does not name what is asked for now. Its link stays the same.
            deliveries.move(c, request.id, now)
            notes.clear()
            is_new = False
        claimed = request if is_new else requests.claim_card(c, request.id, claim)
        if claimed is not None or call.chat.kind == "direct":
            return claimed, insert_all(c, bot, notes)
        if request.card.is_outdated:
            # Another worker is updating it, and may not know of this call.
            deliveries.show(c, request.id, now)
            return None, []
        return None, insert_all(c, bot, cards.group_notes(bot, [call], in_group=False))

    claimed, messages = await api_calls.write(bot, call, work)
    await deliver_all(bot, messages)
    return claimed


def asks_more_than_shown(request: AuthorizationRequest, live: AuthorizationRequest | None) -> bool:
    """Whether a request asks for other scopes than its card shows. One that was reopened does."""
    return live is None or live.scopes != request.scopes


REMIND_AFTER = timedelta(minutes=1)
"""How long after it was sent a card may no longer be visible in the chat. In a burst of messages it still is."""


async def notes_on_earlier_card(
    bot: Bot, call: DeferredCall, live: AuthorizationRequest | None, now: datetime
) -> list[Draft]:
    """Return a note that says where the card is, if a call of the direct chat waits for the first time and the card does
    not directly follow its message."""
    if call.consents or call.suspended_at is not None or call.chat.kind == "group":
        return []
    if live is None or not live.card.message_id or live.card.ephemeral:
        return []
    elsewhere = in_direct_topic(call) and not await was_asked_in_topic(bot, call)
    shown = can_change_cards(bot.platform_of(call.user))
    if elsewhere or not shown or live.declined_on_page_at or now - live.created_at > REMIND_AFTER:
        return [
            note(bot, call, replies.added_to_earlier_card(typed(call), live.id, elsewhere=elsewhere), "note")
        ]
    return []


def in_direct_topic(call: DeferredCall) -> bool:
    """Return whether the call was asked in a topic of the direct chat, where messages to the chat are not visible."""
    return call.chat.kind == "direct" and call.chat.thread_id is not None


async def was_asked_in_topic(bot: Bot, call: DeferredCall) -> bool:
    """Return whether another call from the same topic waits, so that the card was shown there."""
    waiting = await bot.database.read(lambda c: calls.suspended_of(c, call.user))
    return any(other.chat == call.chat for other in waiting)


def reopen_request(
    c: Connection, call: DeferredCall, ask: requests.Ask, now: datetime
) -> AuthorizationRequest | None:
    """Reopen the latest request for a call that has waited for it, so that the same card is used again.

    Either the platform still refuses the call after the consent, or the request has waited for an administrator. Returns
    None for a new command, which gets a new card at the end of the chat.
    """
    if call.suspended_at is None:
        return None
    before = requests.latest_of(c, call.user)
    if before is None:
        return None
    own = before.status is RequestStatus.GRANTED and call.consents > 0 and call.request_id == before.id
    failed = before.status is RequestStatus.FAILED
    if not own and not failed:
        return None
    return requests.ask_again(c, before, ask, now)


def granted_since(before: Grant | None, current: Grant | None, needs: Requirement) -> bool:
    """Return whether a consent that arrived while the call was running granted what it needs."""
    if current is None or current.status is not GrantStatus.ACTIVE:
        return False
    return (before is None or current.generation != before.generation) and is_met(needs, current.scopes)


async def ask_to_confirm(bot: Bot, run: Run) -> None:
    """Suspend an old write until the user confirms it."""
    call, now = run.call, utc_now()
    card = bot.platform_of(call.user).render_card(
        ConfirmationCard(call.id, typed_in_full(call), call.asked_at), call.language
    )
    reply_to = call.message_id if in_direct_topic(call) else None
    message = draft(
        in_chat(call.user, call.chat, reply_to=reply_to, private=True),
        card,
        kind="confirmation_card",
        key=f"{call.id}-confirm",
        call_id=call.id,
    )

    def work(c: Connection) -> list[OutgoingMessage]:
        suspend(c, run, Wait(WaitsFor.CONFIRMATION), now)
        return insert_all(c, bot, [message])

    await deliver_all(bot, await api_calls.write(bot, call, work))


async def learn_time_zone(bot: Bot, call: DeferredCall) -> None:
    """Store the user's time zone while they look at the card, so that it is known when the command continues."""
    if call.time_zone is not None:
        return
    zone = await bot.platform_of(call.user).time_zone_of(call.user)
    if zone is not None and find_zone(zone):
        await bot.database.write(lambda c: users.learn_time_zone(c, call.user, zone))
