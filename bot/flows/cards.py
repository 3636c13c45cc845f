"""Sends the cards of authorization requests and updates them.

A card's face follows from its request, which counts the version that the card should show and the one that it shows.
Only one worker at a time updates a request's card, so that an old face cannot replace a newer one. A card whose update a
crash interrupts is due again when its lease expires.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from bot.core.calls import DeferredCall, WaitsFor
from bot.core.cards import AuthorizationCard, DeviceLink, Face
from bot.core.grants import REVOKED_AT_PLATFORM, REVOKED_BY_OPERATOR, REVOKED_BY_USER, Grant, GrantStatus
from bot.core.language import Language, Words
from bot.core.lifecycle import is_live
from bot.core.messages import Content, Destination, DirectChat, NotSent
from bot.core.oauth import urlsafe
from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest, DeviceAuthorization, DeviceStatus, RequestStatus
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet, choose_scopes, is_met, named
from bot.core.secrets import Secret
from bot.core.words import cards as card_words
from bot.core.words import replies
from bot.core.words.refusals import card_refused
from bot.flows import correlation, observations
from bot.flows.authorize.open import link_scopes
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import (
    Draft,
    answer,
    can_change_cards,
    declined,
    deliver_all,
    draft,
    expired,
    insert_all,
    no_route_reply,
    note,
    retry_time,
    send_by_any_route,
    typed,
    withdraw,
)
from bot.store import attempts, calls, device_authorizations, grants, requests, scope_waits, users
from bot.store import cards as deliveries
from bot.store.cards import RenderedCard
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

FACES = {
    RequestStatus.OPEN: Face.WAITING,
    RequestStatus.REDEEMING: Face.REDEEMING,
    RequestStatus.GRANTED: Face.AUTHORIZED,
    RequestStatus.DECLINED: Face.DECLINED,
    RequestStatus.EXPIRED: Face.EXPIRED,
    RequestStatus.SUPERSEDED: Face.SUPERSEDED,
    RequestStatus.FAILED: Face.FAILED,
}


def face_of(request: AuthorizationRequest) -> Face:
    if request.waits_for_administrator:
        return Face.ADMINISTRATOR
    if request.status is RequestStatus.GRANTED and request.refused:
        return Face.PARTLY
    return FACES[request.status]


async def card_of(bot: Bot, request: AuthorizationRequest) -> AuthorizationCard:
    """Return the card of a request in its current state. It has a link only while the request can be answered."""
    face, platform = face_of(request), bot.platform_of(request.user)
    waiting = face in {Face.WAITING, Face.REDEEMING}

    def read(c: Connection) -> tuple[DeviceAuthorization | None, Grant | None, bool, datetime | None]:
        device = device_authorizations.latest_of(c, request.id) if bot.by_device else None
        opened = was_opened(c, bot, request, device)
        grant = grants.find(c, request.user)
        again = grant is not None and not request.scopes.isdisjoint(grant.scopes_ever)
        app = (platform.name, platform.app_id)
        enabled = scope_waits.last_enabled(c, *app, request.scopes) if again else None
        return device, grant, opened, enabled

    device, grant, opened, enabled = await bot.database.read(read) if waiting else (None, None, False, None)
    known = (
        platform.always_asked & grant.scopes if grant and grant.status is GrantStatus.ACTIVE else frozenset()
    )
    shown = request.scopes - known or request.scopes
    return AuthorizationCard(
        request_id=request.id,
        face=face,
        scopes=await platform.describe_scopes(shown | request.granted | request.refused),
        granted=request.granted,
        refused=request.refused,
        commands=tuple(f"/{name}" for name in request.reasons),
        link=bot.ticket_url(request.user, request.ticket.reveal())
        if request.ticket and waiting and not bot.by_device
        else None,
        expires_at=request.expires_at,
        device_link=device_link(device) if device else None,
        notice=notice(device) if device else None,
        declined_on_page=request.declined_on_page_at is not None,
        stays_signed_in=OFFLINE_ACCESS in request.scopes
        and (grant is None or OFFLINE_ACCESS not in grant.scopes),
        why_again=why_again(shown, grant, enabled) if grant else None,
        opened=opened,
    )


WHY_AGAIN = {
    "expired": card_words.AGAIN_EXPIRED,
    REVOKED_BY_USER: card_words.AGAIN_REVOKED,
    REVOKED_BY_OPERATOR: card_words.AGAIN_REVOKED_BY_OPERATOR,
    REVOKED_AT_PLATFORM: card_words.AGAIN_REVOKED_AT_PLATFORM,
}
"""Keyed by the reason for which the previous grant ended."""


def why_again(asked: ScopeSet, grant: Grant, enabled_at: datetime | None) -> Words | None:
    """Return why the user is asked again, or None if the scopes are new.

    `enabled_at` is when an administrator last enabled one of them.
    """
    if grant.status is GrantStatus.ACTIVE:
        if asked.isdisjoint(grant.scopes_ever - {OFFLINE_ACCESS}):
            return None
        is_newer = (
            enabled_at is not None and grant.authorized_at is not None and enabled_at > grant.authorized_at
        )
        return card_words.AGAIN_ENABLED if is_newer else card_words.AGAIN_LOST
    reason = grant.end_reason or ""
    over = card_words.AGAIN_OVER if reason.startswith("refresh_refused") else card_words.AGAIN_ENDED
    return WHY_AGAIN.get(reason, over)


def was_opened(
    c: Connection, bot: Bot, request: AuthorizationRequest, device: DeviceAuthorization | None
) -> bool:
    """Return whether the user may have seen the platform's page for the scopes that the request asks for now."""
    asked = link_scopes(bot, request)
    if bot.by_device:
        return device is not None and device.link is not None and device.scopes == asked
    return request.opened_at is not None and attempts.was_opened(c, request.id, asked)


def device_link(device: DeviceAuthorization) -> DeviceLink | None:
    """Return the link of a device code that has not expired, or None."""
    if device.link is None or device.user_code is None or device.expires_at is None:
        return None
    return (
        DeviceLink(device.link, device.user_code, device.expires_at)
        if device.expires_at > utc_now()
        else None
    )


NOTICES = {
    device_authorizations.WRONG_PERSON: card_words.DEVICE_WRONG_PERSON,
    "not_allowed": card_words.DEVICE_NOT_ALLOWED,
    "misconfigured": card_words.DEVICE_MISCONFIGURED,
    "other_scopes": card_words.DEVICE_OTHER_SCOPES,
    device_authorizations.CLOSED: None,
}


def notice(device: DeviceAuthorization) -> Words | None:
    """Return how the last device authorization ended, or None unless the user has to start another one."""
    match device.status:
        case DeviceStatus.FAILED:
            return NOTICES.get(device.outcome or "", card_words.DEVICE_FAILED)
        case DeviceStatus.EXPIRED | DeviceStatus.POLLING if device_link(device) is None:
            return card_words.DEVICE_EXPIRED
        case _:
            return None


async def show_card(bot: Bot, app: str, request_id: str) -> None:
    """Claim a request's card, and send or update it until it shows the current version."""
    while True:
        claim = partial(requests.claim_card, request=request_id, claim=bot.claim(app))
        request = await bot.database.write(claim)
        if request is None:
            return
        if not await send_or_update(bot, request):
            return


async def show_claimed(bot: Bot, request: AuthorizationRequest, asked: DeferredCall | None = None) -> None:
    """Send or update a claimed card. `asked` is the call that has just asked for it, if any."""
    if await send_or_update(bot, request, asked):
        await show_card(bot, request.user.app, request.id)


async def send_or_update(bot: Bot, request: AuthorizationRequest, asked: DeferredCall | None = None) -> bool:
    """Send or update a claimed card. Returns whether it has to be updated again."""
    with correlation.of_call(asked) if asked else await correlation.of_request(bot, request.id, request.user):
        return await bring_up_to_date(bot, request, asked)


async def bring_up_to_date(bot: Bot, request: AuthorizationRequest, asked: DeferredCall | None) -> bool:
    live, platform = is_live(request.status), bot.platform_of(request.user)
    age = utc_now() - request.created_at
    # Never sent, or its sender crashed before recording it. The idempotency key has expired, so which is unknown.
    is_lost = request.card.message_id is None and not live and age > platform.limits.idempotency_window
    if is_lost and can_change_cards(platform):
        return await record_shown(bot, request, None, ephemeral=False)
    if request.ticket is None:
        return await replace_unauthenticated(bot, request)
    card = await card_of(bot, request)
    if request.card.lease_until is None or utc_now() >= request.card.lease_until:
        return False  # another worker has claimed it, and may have shown a newer face
    waiting = await waiting_calls(bot, request, asked) if live else []
    calls_of_card = [*waiting, *([asked] if asked else [])]
    language = await language_for(bot, request.user, calls_of_card) if platform.monolingual else "en"
    content = platform.render_card(card, language)
    if is_lost:
        return await announce_change(bot, request, card, content, waiting)
    if request.card.message_id is None:
        if card.face is Face.REDEEMING and not can_change_cards(platform):
            # The consent may still fail, and this message would stay without a link.
            content = platform.render_card(replace(card, face=Face.WAITING), language)
        destination = card_destination(request, [asked] if asked else waiting)
        sent = await send_by_any_route(bot, destination, content, card_key(request))
        if not isinstance(sent, NotSent):
            # A repeated request returns the message of the first, which may show an older version: update it again.
            version = request.card.wanted if sent.ephemeral else max(1, request.card.wanted - 1)
            notes = group_notes(bot, waiting, in_group=sent.ephemeral)
            return await record_shown(
                bot, request, sent.message_id, ephemeral=sent.ephemeral, version=version, notes=notes
            )
        problem = sent
    elif request.card.ephemeral:
        return await replace_ephemeral(bot, request, request.card.message_id)
    elif not can_change_cards(platform):
        return await announce_change(bot, request, card, content, waiting)
    else:
        failed = await platform.update_card(request.card.message_id, content)
        if failed is None:
            notes = group_notes(bot, waiting, in_group=False)
            return await record_shown(bot, request, request.card.message_id, ephemeral=False, notes=notes)
        problem = failed
    return await record_failure(bot, request, problem, live=live)


ANNOUNCED_FACES = frozenset({Face.AUTHORIZED, Face.PARTLY, Face.FAILED})
"""Faces that are announced by a message where cards cannot be updated, because no other message reports them."""


async def announce_change(
    bot: Bot,
    request: AuthorizationRequest,
    card: AuthorizationCard,
    content: Content,
    waiting: Sequence[DeferredCall],
) -> bool:
    """Record the new face of a card that cannot be updated. A message and the card's link show how its request ended."""
    notes = group_notes(bot, waiting, in_group=False)
    if card.face in ANNOUNCED_FACES:
        notes.append(
            draft(
                Destination(request.user),
                content,
                kind="notice",
                key=f"{card_key(request)}-{card.face.value}"[:50],
            )
        )
    return await record_shown(bot, request, request.card.message_id, ephemeral=False, notes=notes)


async def language_for(bot: Bot, user: UserKey, asked: Sequence[DeferredCall] = ()) -> Language:
    """Return the language for a user: of the call that asks, else the client's, else of their latest call."""
    if asked:
        return asked[-1].language
    return await bot.database.read(lambda c: users.language(c, user))


def card_key(request: AuthorizationRequest) -> str:
    """Return the idempotency key under which this card is sent."""
    return f"card-{request.id}-{request.card.moves}" if request.card.moves else f"card-{request.id}"


async def supersede_message(bot: Bot, request: AuthorizationRequest, message_id: str) -> None:
    """Mark the old message of a card that was sent again. If this fails, the old link still works."""
    platform = bot.platform_of(request.user)
    if request.card.ephemeral:
        await withdraw(platform, message_id)
        return
    card = replace(await card_of(bot, request), face=Face.SUPERSEDED, link=None)
    language = await language_for(bot, request.user)
    await platform.update_card(message_id, platform.render_card(card, language))


async def replace_ephemeral(bot: Bot, request: AuthorizationRequest, message_id: str) -> bool:
    """Delete an ephemeral card, which cannot be changed. Replaces it while its request is open."""
    if request.status is RequestStatus.REDEEMING:
        return await record_shown(bot, request, message_id, ephemeral=True)
    failed = await withdraw(bot.platform_of(request.user), message_id)
    if failed is not None:
        return await record_failure(bot, request, failed, live=request.status is RequestStatus.OPEN)
    if request.status is RequestStatus.OPEN:
        await replace_card(bot, request)
        return False
    return await record_shown(bot, request, message_id, ephemeral=True)


async def record_shown(
    bot: Bot,
    request: AuthorizationRequest,
    message_id: str | None,
    *,
    ephemeral: bool,
    version: int | None = None,
    notes: Sequence[Draft] = (),
) -> bool:
    """Record that the card shows a version, by default the wanted one. Sends `notes`.

    Returns whether the card has to be updated again.
    """
    version = version or request.card.wanted
    rendered = RenderedCard(request.id, request.card.claim, version, message_id, ephemeral)
    messages: list[OutgoingMessage] = []

    def work(c: Connection) -> int | None:
        wanted = deliveries.record_shown(c, rendered, utc_now())
        messages[:] = insert_all(c, bot, notes) if wanted is not None else []
        return wanted

    wanted = await (bot.database.write(work) if notes else bot.database.write_one(work))
    await deliver_all(bot, messages)
    if wanted is None:
        return await make_due_again(bot, request)
    observations.card_shown(bot, request, face_of(request), message_id)
    return wanted > version


async def make_due_again(bot: Bot, request: AuthorizationRequest) -> bool:
    """Make the card due again, because a late update may have replaced a newer face. Returns whether it is."""
    return await bot.database.write(lambda c: deliveries.render_again(c, request.id, utc_now()))


async def record_failure(bot: Bot, request: AuthorizationRequest, problem: NotSent, *, live: bool) -> bool:
    observations.card_not_shown(bot, request, problem)
    if problem.retry:
        until = retry_time(utc_now(), request.card.attempts, problem.retry_after)
        postponed = await bot.database.write(
            lambda c: deliveries.postpone(c, request.id, request.card.claim, until)
        )
        if not postponed and problem.may_have_arrived:
            await make_due_again(bot, request)
    elif live and problem.gone and request.card.message_id is not None:
        await replace_card(bot, request)
    else:
        # This card can no longer be shown. The calls that wait for it will expire.
        messages = (
            await report_missing_card(bot, request, problem)
            if live
            else await report_by_message(bot, request)
        )
        await record_shown(bot, request, request.card.message_id, ephemeral=request.card.ephemeral)
        await deliver_all(bot, messages)
    return False


async def report_missing_card(
    bot: Bot, request: AuthorizationRequest, problem: NotSent
) -> list[OutgoingMessage]:
    """Return a note for each waiting call that the platform refuses the card, unless an earlier message shows it."""
    if request.card.message_id is not None:
        return []

    def work(c: Connection) -> list[OutgoingMessage]:
        notes = [
            note(
                bot,
                call,
                no_route_reply(bot, call, problem) or card_refused(typed(call), problem.reason),
                # In a group it replaces the note that says where the card is.
                "note" if call.chat.kind == "group" else "no-card",
            )
            for call in calls.suspended_of(c, request.user)
            if call.request_id == request.id
        ]
        return insert_all(c, bot, notes)

    return await bot.database.write(work)


ENDS = {
    RequestStatus.DECLINED: ("not_now", declined),
    RequestStatus.EXPIRED: ("expired", expired),
}


async def report_by_message(bot: Bot, request: AuthorizationRequest) -> list[OutgoingMessage]:
    """Return an answer to each call whose end the card should have shown, but the card can no longer be changed."""
    if request.status not in ENDS:
        return []
    outcome, reply_to = ENDS[request.status]

    def work(c: Connection) -> list[OutgoingMessage]:
        ended = calls.ended_with(c, request.id, outcome)
        return insert_all(c, bot, [answer(bot, call, reply_to(call)) for call in ended])

    return await bot.database.write(work)


async def replace_unauthenticated(bot: Bot, request: AuthorizationRequest) -> bool:
    """Replace a request whose seal cannot be verified, without showing its content.

    A new request asks for what genuine calls wait for, if there are any. The old card says that it was replaced.
    """
    if request.status is not RequestStatus.OPEN:
        return await record_shown(bot, request, request.card.message_id, ephemeral=request.card.ephemeral)
    known = await bot.database.read(lambda c: narrowed_to_waiting(c, request))
    await replace_card(bot, known)
    if known.card.message_id is not None:
        await supersede_message(bot, known, known.card.message_id)
    return False


def narrowed_to_waiting(c: Connection, request: AuthorizationRequest) -> AuthorizationRequest:
    """Return the request with only the scopes that the user's suspended calls need."""
    waiting = calls.suspended_for_consent(c, request.user)
    needs = tuple(clause for call in waiting for clause in call.needs)
    scopes = request.scopes & (named(needs) | {OFFLINE_ACCESS})
    if not is_met(needs, scopes):
        scopes |= choose_scopes(needs, scopes, None).scopes
    return replace(
        request,
        scopes=scopes,
        reasons=tuple(dict.fromkeys(call.command for call in waiting)),
        granted=frozenset(),
        refused=frozenset(),
    )


async def replace_card(bot: Bot, request: AuthorizationRequest) -> None:
    """Supersede a request whose card is gone, cannot be changed or has lost its link, by one with a new card."""
    ticket, now, card = Secret(urlsafe(secrets.token_bytes(32))), utc_now(), request.card
    claim = bot.claim(request.user.app, now)
    rendered = RenderedCard(request.id, card.claim, card.wanted, card.message_id, card.ephemeral)

    def work(c: Connection) -> AuthorizationRequest | None:
        users.lock(c, request.user)
        requests.get_locked(c, request.id)
        if deliveries.record_shown(c, rendered, now) is None or not requests.supersede(c, request.id, now):
            return None
        fresh: AuthorizationRequest | None = None
        for name in request.reasons:
            ask = requests.Ask(request.scopes, name, request.expires_at)
            fresh = requests.open_request(c, request.user, ask, ticket, claim)
        if fresh is not None:
            calls.follow(c, request.id, fresh.id)
            device_authorizations.move(c, request.id, fresh.id)
            if request.declined_on_page_at is not None:
                requests.decline_on_page(c, fresh.id, request.declined_on_page_at)
                # As it is now: of an older version the card would have to be replaced again, without end.
                return requests.get_locked(c, fresh.id)
        return fresh

    fresh = await bot.database.write(work)
    if fresh is None:
        return
    if deliveries.is_held(fresh.card, claim):
        await show_claimed(bot, fresh)
    else:
        await show_card(bot, fresh.user.app, fresh.id)


async def waiting_calls(
    bot: Bot, request: AuthorizationRequest, asked: DeferredCall | None
) -> list[DeferredCall]:
    """Return the calls that wait for a card. For a new card, that is only the call that asked for it."""
    if asked is not None and request.card.wanted == 1:
        return [asked]
    return await bot.database.read(lambda c: calls.suspended_of(c, request.user))


def group_notes(bot: Bot, waiting: Sequence[DeferredCall], *, in_group: bool) -> list[Draft]:
    """Return the notes that say in groups where a card is: one for each call that waits for its first consent."""
    return [
        note(
            bot,
            call,
            replies.card_sent_privately(in_group=in_group, answers_privately=command.private),
            "note",
        )
        for call in waiting
        if call.chat.kind == "group"
        and call.waits_for in {None, WaitsFor.AUTHORIZATION}
        and not call.consents
        and (command := bot.commands_of(call.user).get(call.command)) is not None
    ]


def card_destination(request: AuthorizationRequest, waiting: Sequence[DeferredCall]) -> Destination:
    """Return where to send a card: to the user alone, or as a reply in a topic of the direct chat.

    The latest waiting call decides. If a direct message is refused, the card may be an ephemeral message in a group in
    which the user has asked.
    """
    group = next((call.chat.chat_id for call in reversed(waiting) if call.chat.kind == "group"), None)
    if not waiting or waiting[-1].chat.kind == "group":
        return Destination(request.user, group, private=True)
    chat, message_id = waiting[-1].chat, waiting[-1].message_id
    direct = DirectChat(chat.chat_id, message_id)
    if chat.thread_id is not None:
        return Destination(request.user, None, message_id, direct=direct)
    return Destination(request.user, group, private=True, direct=direct)


async def show_due_cards(bot: Bot) -> None:
    """Send or update cards that are due: after a crash, a failure of the platform, or a change by another process."""
    due: list[AuthorizationRequest] = []
    for app in bot.platforms:
        claim = bot.claim(app)
        due += await bot.database.write(partial(requests.claim_due_cards, claim=claim, limit=20))
    # Concurrently, so that no lease expires while the platform is slow.
    await asyncio.gather(*(show_claimed(bot, request) for request in due))
