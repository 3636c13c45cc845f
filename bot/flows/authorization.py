"""Asking a person for scopes, and everything that follows: the card, the link, the consent, the release.

One open request a person: a second need widens it, on the same card. A call waits for scopes and not for a link, so
whichever road the grant comes by, it wakes.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.core import replies
from bot.core.cards import AuthorizationCard, ConfirmationCard, Face
from bot.core.errors import LeaseLost
from bot.core.model import (
    Attempt,
    AttemptKind,
    AuthorizationRequest,
    CallStatus,
    DeferredCall,
    Destination,
    Grant,
    GrantStatus,
    Identity,
    InsufficientScope,
    NotSent,
    Outcome,
    Refused,
    RequestStatus,
    Secret,
    Step,
    TokenProblem,
    TokenRefused,
    TokenSet,
    Unreachable,
    UserKey,
    WaitsFor,
)
from bot.core.oauth import STATE_BYTES, VERIFIER_BYTES, Approved, Denied, digest, is_owner, new_attempt, urlsafe
from bot.core.scopes import (
    MAX_SCOPES_PER_LINK,
    OFFLINE_ACCESS,
    Choice,
    Requirement,
    ScopeSet,
    choose_scopes,
    is_met,
    join_scopes,
    missing,
    with_offline_access,
)
from bot.flows import administrators
from bot.flows.bot import LEASE, Bot, now
from bot.flows.delivery import answer, deliver_all, draft, insert_all, later, note, typed
from bot.store import audit, authorizations, calls, grants, revocations, users
from bot.store.authorizations import NewAttempt
from bot.store.database import Connection
from bot.store.ids import new_id
from bot.store.outbox import OutgoingMessage

log = logging.getLogger(__name__)

MAX_LIVE_ATTEMPTS = 20
"""Openings of one link that can be under way at once."""


# --- asking ---------------------------------------------------------------------------------------------


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
    formerly = lost_scopes(grant, refused)
    live = await bot.database.read(lambda c: authorizations.live_of(c, call.user))
    wanted = live.scopes if live else frozenset()
    avoided = live.avoided if live else frozenset()
    choice, enabled = await choose(bot, needs, held, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        await administrators.wait_for(bot, call, needs, steps)
        return
    again = formerly if enabled is None else formerly & enabled
    scopes = with_offline_access(choice.scopes | again, enabled, avoided)
    request = await suspend(bot, call, needs, scopes, steps)
    await show_card(bot, request.id)


async def choose(
    bot: Bot, needs: Requirement, held: ScopeSet, *, wanted: ScopeSet, avoided: ScopeSet
) -> tuple[Choice, ScopeSet | None]:
    """What to ask for. A cached list may say that a scope is enabled, never that it is not."""
    enabled = await bot.platform.enabled_scopes()
    choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    if choice.unavailable:
        enabled = await bot.platform.enabled_scopes(fresh=True)
        choice = choose_scopes(needs, held, enabled, wanted=wanted, avoided=avoided)
    return choice, enabled


def lost_scopes(grant: Grant | None, refused: Outcome | None) -> ScopeSet:
    """When a scope that was held before is refused now, the next link asks for everything that was lost."""
    if grant is None or not isinstance(refused, InsufficientScope):
        return frozenset()
    if grant.scopes_ever.isdisjoint(refused.alternatives):
        return frozenset()
    return grant.scopes_ever - grant.scopes - {OFFLINE_ACCESS}


async def suspend(
    bot: Bot, call: DeferredCall, needs: Requirement, scopes: ScopeSet, steps: Sequence[Step]
) -> AuthorizationRequest:
    """One transaction: the request is opened or widened, the call waits; in a group, a note says so."""
    ticket = Secret(urlsafe(secrets.token_bytes(32)))
    moment = now()
    first_ask = call.consents == 0 and call.chat.kind == "group"
    told = note(bot, call, replies.asked_privately(typed(call)), "note")

    def work(c: Connection) -> tuple[AuthorizationRequest, list[OutgoingMessage]]:
        request = authorizations.open_request(
            c,
            call.user,
            scopes=scopes,
            command=call.command,
            ticket=ticket,
            expires_at=call.expires_at,
            now=moment,
            new_id=new_id(moment),
        )
        if not calls.record_results(c, call.id, call.claim, done(steps)):
            raise LeaseLost
        calls.suspend(c, call.id, call.claim, WaitsFor.AUTHORIZATION, needs, request.id, moment)
        audit.write(
            c,
            "authorization_requested",
            user=call.user,
            subject=("request", request.id),
            now=moment,
            call=call.id,
            command=call.command,
            scopes=sorted(scopes),
        )
        profile = users.profile(c, call.user)
        quiet = profile is not None and profile.quiet_since is not None
        return request, insert_all(c, bot, [told] if first_ask and not quiet else [])

    request, messages = await bot.database.write(work)
    await deliver_all(bot, messages)
    return request


def done(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.result is not None]


async def ask_to_confirm(bot: Bot, call: DeferredCall, steps: Sequence[Step]) -> None:
    """Suspends an old write until its person says that it is still wanted."""
    moment = now()
    card = bot.platform.render_card(ConfirmationCard(call.id, typed(call), call.asked_at))
    question = draft(
        bot,
        call.user,
        card,
        kind="confirmation_card",
        key=f"{call.id}-confirm",
        chat=call.chat,
        private=True,
        call_id=call.id,
    )

    def work(c: Connection) -> list[OutgoingMessage]:
        if not calls.record_results(c, call.id, call.claim, done(steps)):
            raise LeaseLost
        calls.suspend(c, call.id, call.claim, WaitsFor.CONFIRMATION, (), None, moment)
        return insert_all(c, bot, [question])

    await deliver_all(bot, await bot.database.write(work))


# --- the card ---------------------------------------------------------------------------------------------

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
    if request.failure == "administrator":
        return Face.ADMINISTRATOR
    if request.status is RequestStatus.GRANTED and request.refused:
        return Face.PARTLY
    return FACES[request.status]


async def card_of(bot: Bot, request: AuthorizationRequest) -> AuthorizationCard:
    """The card as the request wants it now. It has a link only while there is something to follow it for."""
    face = face_of(request)
    waiting = face in {Face.WAITING, Face.REDEEMING}
    return AuthorizationCard(
        request_id=request.id,
        face=face,
        scopes=await bot.platform.describe_scopes(request.scopes | request.granted | request.refused),
        granted=request.granted,
        refused=request.refused,
        commands=tuple(f"/{name}" for name in request.reasons),
        link=bot.ticket_url(request.ticket.reveal()) if waiting else None,
        expires_at=request.expires_at,
    )


async def show_card(bot: Bot, request_id: str) -> None:
    """Makes the card's face true. One worker at a time does so for a request, hence no old face comes back."""
    while True:
        moment = now()
        request = await bot.database.write(
            lambda c, at=moment: authorizations.claim_card(c, request_id, bot.worker, at, at + LEASE)
        )
        if request is None:
            return
        if not await draw(bot, request):
            return


async def draw(bot: Bot, request: AuthorizationRequest) -> bool:
    """Sends or changes a claimed card. True when it was shown, and may have to be shown again already."""
    live = request.status in {RequestStatus.OPEN, RequestStatus.REDEEMING}
    if request.card_message_id is None and not live:
        return await shown(bot, request, None, ephemeral=False)
    content = bot.platform.render_card(await card_of(bot, request))
    if request.card_message_id is None:
        destination = Destination(request.user, await chat_for(bot, request), None, private=True)
        sent = await bot.platform.send(destination, content, f"card-{request.id}")
        if not isinstance(sent, NotSent):
            return await shown(bot, request, sent.message_id, ephemeral=sent.ephemeral)
        problem = sent
    else:
        if request.card_ephemeral:
            failed = None if live else await bot.platform.withdraw(request.card_message_id)
        else:
            failed = await bot.platform.update_card(request.card_message_id, content)
        if failed is None:
            return await shown(bot, request, request.card_message_id, ephemeral=request.card_ephemeral)
        problem = failed
    return await not_shown(bot, request, problem, live=live)


async def shown(bot: Bot, request: AuthorizationRequest, message_id: str | None, *, ephemeral: bool) -> bool:
    return await bot.database.write(
        lambda c: authorizations.card_shown(
            c,
            request.id,
            bot.worker,
            request.card_wanted,
            message_id=message_id,
            ephemeral=ephemeral,
            now=now(),
        )
    )


async def not_shown(bot: Bot, request: AuthorizationRequest, problem: NotSent, *, live: bool) -> bool:
    log.warning(
        "card not shown",
        extra={"request": request.id, "reason": problem.reason, "retry": problem.retry, "gone": problem.gone},
    )
    if problem.retry:
        until = later(now(), request.card_attempts, problem.retry_after)
        await bot.database.write(lambda c: authorizations.postpone_card(c, request.id, bot.worker, until))
    elif live and problem.gone and request.card_message_id is not None:
        await replace_card(bot, request)
    else:
        # Nobody can be shown this card any more; what waits behind it runs out at its own time.
        await shown(bot, request, request.card_message_id, ephemeral=request.card_ephemeral)
    return False


async def replace_card(bot: Bot, request: AuthorizationRequest) -> None:
    """The card was recalled or is too old to be changed: another request, with a card of its own, takes its place."""
    ticket, moment = Secret(urlsafe(secrets.token_bytes(32))), now()

    def work(c: Connection) -> AuthorizationRequest | None:
        shown_last = authorizations.card_shown(
            c, request.id, bot.worker, request.card_wanted, message_id=request.card_message_id,
            ephemeral=request.card_ephemeral, now=moment,
        )  # fmt: skip
        if not shown_last or not authorizations.supersede(c, request.id, moment):
            return None
        fresh: AuthorizationRequest | None = None
        for name in request.reasons:
            fresh = authorizations.open_request(
                c,
                request.user,
                scopes=request.scopes,
                command=name,
                ticket=ticket,
                expires_at=request.expires_at,
                now=moment,
                new_id=new_id(moment),
            )
        return fresh

    fresh = await bot.database.write(work)
    if fresh is not None:
        await show_card(bot, fresh.id)


async def chat_for(bot: Bot, request: AuthorizationRequest) -> str | None:
    """The group where the person asked: a direct message that is refused can be shown there, to them alone."""
    waiting = await bot.database.read(lambda c: calls.suspended_of(c, request.user))
    return next((call.chat.chat_id for call in waiting if call.chat.kind == "group"), None)


# --- opening the link -----------------------------------------------------------------------------------------


class Closed(StrEnum):
    """Why a link leads nowhere (any more)."""

    UNKNOWN = "unknown"
    GRANTED = "granted"
    DECLINED = "declined"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    TOO_MANY = "too_many"
    WAITING_FOR_ADMINISTRATOR = "waiting_for_administrator"


async def look_up(bot: Bot, ticket: str) -> AuthorizationRequest | Closed:
    """The request behind a ticket, if its link can still be followed. Changes nothing."""
    request = await bot.database.read(lambda c: authorizations.find_by_ticket(c, digest(ticket)))
    if request is None:
        return Closed.UNKNOWN
    if request.failure == "administrator":
        return Closed.WAITING_FOR_ADMINISTRATOR
    if request.status not in {RequestStatus.OPEN, RequestStatus.REDEEMING}:
        return Closed(request.status.value)
    if request.expires_at <= now():
        return Closed.EXPIRED
    return request


async def open_link(bot: Bot, request: AuthorizationRequest) -> str | Closed:
    """Begins an attempt: a fresh state and PKCE pair. Returns the URL of the platform's authorization page."""
    fresh = new_attempt(secrets.token_bytes(STATE_BYTES + VERIFIER_BYTES), pkce=bot.platform.uses_pkce)
    grant = await bot.database.read(lambda c: grants.find(c, request.user))
    scopes = one_link(request.scopes)
    moment = now()
    attempt = NewAttempt(
        new_id(moment),
        AttemptKind.AUTHORIZATION,
        request.id,
        request.user,
        fresh.state_digest,
        fresh.verifier,
        scopes,
        bot.callback_url,
        moment + bot.authorization_ttl,
    )

    def work(c: Connection) -> bool:
        authorizations.stamp_opened(c, request.id, moment)
        begun = authorizations.begin_attempt(c, attempt, now=moment, limit=MAX_LIVE_ATTEMPTS)
        if begun:
            audit.write(
                c,
                "link_opened",
                user=request.user,
                subject=("request", request.id),
                now=moment,
                attempt=attempt.id,
            )
        return begun

    if not await bot.database.write(work):
        return Closed.TOO_MANY
    return bot.platform.authorize_url(
        redirect_uri=bot.callback_url,
        scopes=scopes,
        state=fresh.state.reveal(),
        challenge=fresh.challenge,
        consent=was_revoked(grant),
    )


def one_link(scopes: ScopeSet) -> ScopeSet:
    """At most as many as one link takes; the rest is asked for by the next."""
    if len(scopes) <= MAX_SCOPES_PER_LINK:
        return scopes
    first = sorted(scopes - {OFFLINE_ACCESS})[: MAX_SCOPES_PER_LINK - 1]
    return frozenset(first) | (scopes & {OFFLINE_ACCESS}) if OFFLINE_ACCESS in scopes else frozenset(first)


def was_revoked(grant: Grant | None) -> bool:
    """After a revocation the platform may still hold the old grants: consent is made visible, and narrowed."""
    return grant is not None and grant.status is GrantStatus.ENDED and grant.end_reason == "revoked_by_user"


# --- coming back ------------------------------------------------------------------------------------------------


class Landing(StrEnum):
    """How an attempt ended, for the page that the person sees."""

    AUTHORIZED = "authorized"
    PARTLY = "partly"
    MORE_NEEDED = "more_needed"
    """All was granted, but the card asks for more by now."""
    DECLINED = "declined"
    WRONG_PERSON = "wrong_person"
    USED = "used"
    LATE = "late"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    CODE_REFUSED = "code_refused"
    NOT_ALLOWED = "not_allowed"
    """The person may not use this app."""
    MISCONFIGURED = "misconfigured"
    STILL_TRYING = "still_trying"
    """The platform did not answer; a worker goes on while the code lives."""


LANDED_BEFORE = {"live": Landing.LATE, "expired": Landing.LATE}


async def complete(bot: Bot, came: Approved | Denied) -> Landing:
    """Takes what the authorization page sent back. The state is consumed by whoever comes first."""
    state_digest, moment = digest(came.state.reveal()), now()
    code = came.code if isinstance(came, Approved) else None

    def work(c: Connection) -> Attempt | str | None:
        attempt = authorizations.consume(
            c, state_digest, code=code, worker=bot.worker, lease_until=moment + LEASE, now=moment
        )
        return attempt or authorizations.consumed_before(c, state_digest)

    attempt = await bot.database.write(work)
    if not isinstance(attempt, Attempt):
        landing = Landing.UNKNOWN if attempt is None else LANDED_BEFORE.get(attempt, Landing.USED)
        await note_audit(bot, "callback_rejected", reason=landing.value)
        return landing
    if isinstance(came, Denied):
        return await deny(bot, attempt, came.error)
    return await redeem(bot, attempt, came.code)


async def note_audit(bot: Bot, action: str, reason: str) -> None:
    await bot.database.write(lambda c: audit.write(c, action, user=None, now=now(), reason=reason))


async def deny(bot: Bot, attempt: Attempt, error: str) -> Landing:
    """The person refused on the platform's page."""
    moment = now()

    def work(c: Connection) -> list[OutgoingMessage]:
        authorizations.finish_attempt(c, attempt.id, "denied", "access_denied", moment)
        if attempt.request_id is None:
            return []
        return decline(c, bot, attempt.request_id, "refused_on_page", moment)

    messages = await bot.database.write(work)
    bot.wake.upkeep.set()
    await deliver_all(bot, messages)
    return Landing.DECLINED


def decline(c: Connection, bot: Bot, request_id: str, reason: str, moment: datetime) -> list[OutgoingMessage]:
    """Inside a transaction: settles the request as declined, cancels what waited for it, and keeps quiet from now on."""
    if not authorizations.settle(
        c,
        request_id,
        RequestStatus.DECLINED,
        granted=frozenset(),
        refused=frozenset(),
        failure=None,
        now=moment,
    ):
        return []
    request = authorizations.get(c, request_id)
    assert request is not None
    users.set_quiet(c, request.user, moment)
    audit.write(
        c,
        "authorization_declined",
        user=request.user,
        subject=("request", request_id),
        now=moment,
        reason=reason,
    )
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, request.user):
        if call.waits_for is WaitsFor.AUTHORIZATION and calls.cancel(c, call.id, reason, moment):
            messages += insert_all(c, bot, answer(bot, call, replies.declined(typed(call))))
    return messages


async def redeem(bot: Bot, attempt: Attempt, code: Secret) -> Landing:
    """Exchanges the code, asks whose token it is, and stores the grant only if that is the person who was asked."""
    assert attempt.user is not None
    grant = await bot.database.read(lambda c: grants.find(c, attempt.user))  # type: ignore[arg-type]
    tokens = await bot.platform.exchange_code(
        code,
        redirect_uri=attempt.redirect_uri,
        verifier=attempt.verifier,
        scopes=attempt.scopes if was_revoked(grant) and attempt.scopes else None,
    )
    if isinstance(tokens, TokenRefused):
        return await exchange_failed(bot, attempt, tokens)
    identity = await who_consented(bot, tokens)
    if not isinstance(identity, Identity):
        return await attempt_failed(bot, attempt, "identity_unknown", Landing.CODE_REFUSED)
    if not is_owner(attempt.user, identity):
        # The token is dropped here, and not revoked: that might end that other person's own grant.
        return await attempt_failed(bot, attempt, "wrong_person", Landing.WRONG_PERSON)
    return await store_grant(bot, attempt, tokens, identity)


async def who_consented(bot: Bot, tokens: TokenSet) -> Identity | Refused | Unreachable:
    """The code is spent by now, so a platform that does not answer is asked a second time."""
    identity = await bot.platform.identify(tokens.access_token)
    if isinstance(identity, Unreachable):
        identity = await bot.platform.identify(tokens.access_token)
    return identity


async def exchange_failed(bot: Bot, attempt: Attempt, refusal: TokenRefused) -> Landing:
    log.warning(
        "code exchange failed",
        extra={"attempt": attempt.id, "problem": refusal.problem.value, "code": refusal.code},
    )
    outcome = f"exchange_{refusal.problem.value}_{refusal.code}"
    match refusal.problem:
        case TokenProblem.TRANSIENT | TokenProblem.IN_DOUBT:
            # The code lives for minutes and is kept sealed with the attempt: a worker tries again soon.
            return Landing.STILL_TRYING
        case TokenProblem.USER:
            return await attempt_failed(bot, attempt, outcome, Landing.NOT_ALLOWED)
        case TokenProblem.APP | TokenProblem.BLOCKED:
            return await attempt_failed(bot, attempt, outcome, Landing.MISCONFIGURED)
        case _:
            return await attempt_failed(bot, attempt, outcome, Landing.CODE_REFUSED)


async def attempt_failed(bot: Bot, attempt: Attempt, outcome: str, landing: Landing) -> Landing:
    """The request opens again: the rightful person can still go on, by the same link."""
    moment = now()

    def work(c: Connection) -> None:
        authorizations.finish_attempt(c, attempt.id, "failed", outcome, moment)
        audit.write(
            c,
            "attempt_failed",
            user=attempt.user,
            subject=("attempt", attempt.id),
            now=moment,
            reason=outcome,
        )
        request = authorizations.get(c, attempt.request_id) if attempt.request_id else None
        if request is not None and request.status is RequestStatus.REDEEMING:
            authorizations.reopen(c, request.id, scopes=request.scopes, now=moment)

    await bot.database.write(work)
    bot.wake.upkeep.set()
    return landing


@dataclass(frozen=True, slots=True)
class Stored:
    landing: Landing
    messages: list[OutgoingMessage]


async def store_grant(bot: Bot, attempt: Attempt, tokens: TokenSet, identity: Identity) -> Landing:
    """One transaction: the grant, the calls it releases, the request, the card's next face."""
    user, moment = attempt.user, now()
    assert user is not None

    def work(c: Connection) -> Stored:
        before = grants.find(c, user)
        held = before.scopes if before and before.status is GrantStatus.ACTIVE else frozenset()
        given = tokens.scopes if tokens.scopes is not None else attempt.scopes | held
        grant = grants.save(c, user, tokens, scopes=given, oauth=bot.oauth, now=moment)
        users.seen(c, user, language=None, union_id=identity.union_id, now=moment)
        if identity.name:
            users.name_user(c, user, identity.name, moment)
        users.set_quiet(c, user, None)
        authorizations.finish_attempt(c, attempt.id, "completed", "granted", moment)
        audit.write(
            c,
            "grant_stored",
            user=user,
            subject=("attempt", attempt.id),
            now=moment,
            scopes=sorted(given),
            gained=sorted(given - held),
            lost=sorted(held - given),
            generation=grant.generation,
        )
        refused = attempt.scopes - given - {OFFLINE_ACCESS}
        rest, messages = wake_calls(c, bot, user, grant, refused, moment)
        return Stored(settle_request(c, attempt, grant, refused, rest, moment), messages)

    stored = await bot.database.write(work)
    bot.wake.calls.set()
    bot.wake.upkeep.set()
    await deliver_all(bot, stored.messages)
    return stored.landing


def wake_calls(
    c: Connection, bot: Bot, user: UserKey, grant: Grant, refused: ScopeSet, moment: datetime
) -> tuple[Requirement, list[OutgoingMessage]]:
    """Releases what the grant satisfies and cancels what was refused; returns what still has to be asked for."""
    rest: list[tuple[str, ...]] = []
    released: list[str] = []
    messages: list[OutgoingMessage] = []
    for call in calls.suspended_of(c, user):
        if call.waits_for is not WaitsFor.AUTHORIZATION:
            continue
        lacking = missing(call.needs, grant.scopes)
        if not lacking:
            released.append(call.id)
        elif any(not refused.isdisjoint(clause) for clause in lacking):
            if calls.cancel(c, call.id, "partly_refused", moment):
                named = join_scopes(refused & frozenset(scope for clause in lacking for scope in clause))
                reply = replies.partly_declined(typed(call), named)
                messages += insert_all(c, bot, answer(bot, call, reply))
        else:
            rest += lacking
    calls.release(c, released, moment, consents=1)
    return tuple(rest), messages


def settle_request(
    c: Connection, attempt: Attempt, grant: Grant, refused: ScopeSet, rest: Requirement, moment: datetime
) -> Landing:
    """What becomes of the request: granted, or open again for what was added while the person consented."""
    request = authorizations.live_of(c, grant.user)
    if request is not None:
        if rest:
            scopes = request.scopes - grant.scopes - refused
            wanted = scopes if is_met(rest, scopes | grant.scopes) else choose_scopes(rest, scopes, None).scopes
            authorizations.reopen(c, request.id, scopes=wanted | (request.scopes & {OFFLINE_ACCESS}), now=moment)
            return Landing.MORE_NEEDED
        authorizations.settle(
            c,
            request.id,
            RequestStatus.GRANTED,
            granted=request.scopes & grant.scopes,
            refused=request.scopes - grant.scopes - {OFFLINE_ACCESS},
            failure=None,
            now=moment,
        )
    return Landing.PARTLY if refused else Landing.AUTHORIZED


async def finish_stranded(bot: Bot) -> None:
    """Goes on with consents whose exchange was cut short by a crash, or by a platform that did not answer."""
    moment = now()
    stranded = await bot.database.write(
        lambda c: authorizations.stranded_attempts(c, bot.worker, moment, moment + LEASE, limit=10)
    )
    for attempt, code in stranded:
        if code is None or attempt.expires_at + CODE_LIVES < moment:
            await attempt_failed(bot, attempt, "exchange_lost", Landing.CODE_REFUSED)
        else:
            await redeem(bot, attempt, code)


CODE_LIVES = timedelta(minutes=5)
"""The platform's authorization code."""


# --- dropping, revoking, expiring -----------------------------------------------------------------------------------


def drop_waiting(
    c: Connection, bot: Bot, user: UserKey, moment: datetime, *, but: str | None = None
) -> tuple[list[DeferredCall], list[OutgoingMessage]]:
    """Inside a transaction: cancels everything that waits for a person, and closes the open request."""
    dropped: list[DeferredCall] = []
    messages: list[OutgoingMessage] = []
    for call in calls.waiting_of(c, user):
        cancelled, words = (False, []) if call.id == but else cancel_with_word(c, bot, call, moment)
        if cancelled:
            dropped.append(call)
            messages += words
    close_request(c, user, "cancelled_by_user", moment)
    return dropped, messages


def cancel_with_word(
    c: Connection, bot: Bot, call: DeferredCall, moment: datetime
) -> tuple[bool, list[OutgoingMessage]]:
    """Inside a transaction: drops one call and says so."""
    if not calls.cancel(c, call.id, "cancelled_by_user", moment):
        return False, []
    return True, insert_all(c, bot, answer(bot, call, replies.cancelled(typed(call))))


def close_request(c: Connection, user: UserKey, reason: str, moment: datetime) -> None:
    """Inside a transaction: nothing waits for the open request any more, so its card stops asking."""
    request = authorizations.live_of(c, user)
    if request is None:
        return
    authorizations.settle(
        c,
        request.id,
        RequestStatus.DECLINED,
        granted=frozenset(),
        refused=frozenset(),
        failure=None,
        now=moment,
    )
    audit.write(
        c, "request_closed", user=user, subject=("request", request.id), now=moment, reason=reason
    )


def end_grant(c: Connection, user: UserKey, reason: str, moment: datetime) -> bool:
    """Inside a transaction: ends a grant here at once, and queues its revocation at the platform."""
    ended = grants.end(c, user, reason, moment)
    if ended is None:
        return False
    token = ended.refresh_token or ended.access_token
    if token is not None:
        revocations.add(c, user, token, moment)
    audit.write(c, "grant_ended", user=user, now=moment, reason=reason)
    return True


async def revoke_due(bot: Bot) -> None:
    """Revokes ended grants at the platform, until it is done or the token is unknown there."""
    moment = now()
    due = await bot.database.write(
        lambda c: revocations.claim_due(c, bot.worker, moment, moment + LEASE, limit=10)
    )
    for revocation in due:
        refusal = await bot.platform.revoke(revocation.token)
        if refusal is None:
            await bot.database.write(lambda c, r=revocation: revocations.done(c, r.id, now()))
        else:
            until = later(now(), revocation.attempts, None)
            await bot.database.write(lambda c, r=revocation, u=until: revocations.postpone(c, r.id, u))


async def expire_overdue(bot: Bot) -> None:
    """Calls that waited too long are told so; a request nobody waits for any more shows that it expired."""
    moment = now()

    def work(c: Connection) -> list[OutgoingMessage]:
        messages: list[OutgoingMessage] = []
        for call in calls.overdue(c, moment, limit=50):
            waited = call.status is CallStatus.SUSPENDED
            if calls.expire(c, call.id, moment):
                reply = replies.expired if waited else replies.expired_before_start
                messages += insert_all(c, bot, answer(bot, call, reply(typed(call))))
        for request in authorizations.expired(c, moment, limit=50):
            if authorizations.settle(
                c,
                request.id,
                RequestStatus.EXPIRED,
                granted=frozenset(),
                refused=frozenset(),
                failure=None,
                now=moment,
            ):
                audit.write(
                    c, "request_expired", user=request.user, subject=("request", request.id), now=moment
                )
        return messages

    await deliver_all(bot, await bot.database.write(work))


async def show_due_cards(bot: Bot) -> None:
    """Cards whose face is not true: after a crash, a failure of the platform, or a change made elsewhere."""
    moment = now()
    due = await bot.database.write(
        lambda c: authorizations.cards_due(c, bot.worker, moment, moment + LEASE, limit=20)
    )
    for request in due:
        if await draw(bot, request):
            await show_card(bot, request.id)

