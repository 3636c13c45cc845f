"""What a consent brings: codes, the owner check, the grant, and the calls that it releases."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TypeVar

from bot.core import replies
from bot.core.model import (
    Attempt,
    AuthorizationRequest,
    DeferredCall,
    Grant,
    GrantStatus,
    Identity,
    RequestStatus,
    Secret,
    TokenProblem,
    TokenRefused,
    TokenSet,
    Unreachable,
    UserKey,
    WaitsFor,
)
from bot.core.oauth import Approved, Denied, digest, is_owner
from bot.core.scopes import (
    OFFLINE_ACCESS,
    Requirement,
    Scope,
    ScopeSet,
    choose_scopes,
    is_met,
    join_scopes,
    missing,
    named,
)
from bot.flows import authorization, cards
from bot.flows.bot import Bot, now
from bot.flows.delivery import Draft, answer, deliver_all, draft, insert_all, typed
from bot.flows.links import was_revoked
from bot.store import attempts, audit, authorizations, calls, granted_scopes, grants, users
from bot.store.database import Connection
from bot.store.outbox import OutgoingMessage

log = logging.getLogger(__name__)


# --- coming back ---------------------------------------------------------------------------------------------


class Landing(StrEnum):
    """How an attempt ended, for the page that the person sees."""

    AUTHORIZED = "authorized"
    STORED = "stored"
    """All was granted, and nothing waited for it (any more)."""
    PARTLY = "partly"
    MORE_NEEDED = "more_needed"
    """All was granted, but the card asks for more by now."""
    DECLINED = "declined"
    """Declined on the page. The request still waits: nobody knows who declined."""
    CLOSED = "closed"
    """Nothing was stored, because the request had come to its end meanwhile."""
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


ACCESS_DENIED = "access_denied"
"""The one `error` by which the page says that the person refused."""

LANDED_BEFORE = {"live": Landing.LATE, "expired": Landing.LATE}


async def complete(bot: Bot, came: Approved | Denied) -> Landing:
    """Takes what the authorization page sent back. The state is consumed by whoever comes first."""
    state_digest, moment = digest(came.state.reveal()), now()
    code = came.code if isinstance(came, Approved) else None

    def work(c: Connection) -> tuple[Attempt, Basis] | Landed:
        attempt = attempts.consume(
            c, state_digest, code=code, worker=bot.worker, lease_until=moment + bot.lease, now=moment
        )
        if attempt is None:
            return Landed(reject(c, state_digest, moment))
        if isinstance(came, Denied):
            return Landed(deny(c, attempt, came.error, moment))
        return attempt, basis_of(c, attempt)

    taken = await bot.database.write(work)
    if isinstance(taken, Landed):
        if taken.landing is Landing.UNKNOWN:
            bot.refusals.note("callback refused", "not a state of ours")
        return await land(bot, taken)
    assert isinstance(came, Approved)
    attempt, basis = taken
    return await bot.carry_through(redeem(bot, attempt, came.code, basis, moment))


@dataclass(frozen=True, slots=True)
class Basis:
    """What the exchange of a code goes by."""

    grant: Grant | None
    """What the person gave before, at the time when the attempt was taken."""
    scopes: ScopeSet
    """What the tokens are to have at most: the platform may hold more, granted through links that are not ours."""
    named: bool
    """Whether the exchange names them. Not after the platform has refused that, or no attempt would succeed."""


def basis_of(c: Connection, attempt: Attempt) -> Basis:
    grant = grants.find(c, attempt.user) if attempt.user else None
    refused = attempt.request_id is not None and attempts.scopes_were_refused(c, attempt.request_id)
    return Basis(grant, allowed_scopes(c, attempt.scopes, grant), named=not refused)


def allowed_scopes(c: Connection, asked: ScopeSet, grant: Grant | None) -> ScopeSet:
    """What is asked for now, and what was asked for before and is held, or was until the grant ended by itself."""
    if grant is None:
        return asked
    before = grant.scopes if grant.status is GrantStatus.ACTIVE else grant.scopes_ever
    # Whether there is to be a refresh token is for this link to say.
    return asked | (before - granted_scopes.unasked(c, grant.user) - {OFFLINE_ACCESS})


@dataclass(frozen=True, slots=True)
class Landed:
    """What an attempt came to inside a transaction, and what is to be said about it."""

    landing: Landing
    messages: Sequence[OutgoingMessage] = ()
    card: AuthorizationRequest | None = None
    """Whose card is claimed, to show it."""


async def land(bot: Bot, landed: Landed) -> Landing:
    if landed.card is not None:
        bot.background(cards.show_claimed(bot, landed.card))
    else:
        bot.wake.upkeep.set()
    bot.background(deliver_all(bot, landed.messages))
    return landed.landing


def reject(c: Connection, state_digest: str, moment: datetime) -> Landing:
    """Inside a transaction: nothing came of a state that is unknown, used or late."""
    before = attempts.consumed_before(c, state_digest)
    if before is None:
        # Anybody can send this, as often as they like: logged, and not kept for as long as the audit log is.
        return Landing.UNKNOWN
    landing = LANDED_BEFORE.get(before, Landing.USED)
    attempts.reject(c, state_digest, landing.value, moment)
    return landing


def deny(c: Connection, attempt: Attempt, error: str, moment: datetime) -> Landing:
    """Inside the transaction that consumes the state, so that a refusal cannot be half heard."""
    if error != ACCESS_DENIED:
        # The page failed. The person has decided nothing, and can try again.
        fail_attempt(c, attempt, "error_on_page", moment)
        return Landing.CODE_REFUSED
    attempts.finish(c, attempt.id, "denied", ACCESS_DENIED, moment)
    waits = attempt.request_id is not None and authorization.decline_on_page(c, attempt.request_id, moment)
    return Landing.DECLINED if waits else Landing.CLOSED


async def redeem(bot: Bot, attempt: Attempt, code: Secret, basis: Basis, taken_at: datetime) -> Landing:
    """Exchanges the code, asks whose token it is, and stores the grant only if that is the person who was asked."""
    user = attempt.user
    assert user is not None
    exchange = partial(
        bot.platform.exchange_code,
        code,
        redirect_uri=attempt.redirect_uri,
        verifier=attempt.verifier,
        scopes=basis.scopes if basis.named else None,
        strict=was_revoked(basis.grant),
    )
    tokens = await persistently(exchange, is_unanswered)
    if isinstance(tokens, TokenRefused):
        return await exchange_failed(bot, attempt, tokens)
    if now() - taken_at > bot.lease / 8:
        # The code is spent: whoever took the attempt over now could only have it refused, and the tokens with it. And
        # asking whose they are may take most of a lease.
        await extend_lease(bot, attempt)
    identify = partial(bot.platform.identify, tokens.access_token)
    identity = await persistently(identify, is_unanswered)
    if not isinstance(identity, Identity):
        return await attempt_failed(bot, attempt, "identity_unknown", Landing.CODE_REFUSED)
    if not is_owner(user, identity):
        # The token is dropped here, and not revoked: that might end that other person's own grant.
        return await other_account(bot, attempt)
    if not basis.named:
        # Asking whose the tokens are may have taken most of the lease, and narrowing them spends the refresh token.
        await extend_lease(bot, attempt)
        narrowed = await bot.platform.narrow(tokens, basis.scopes)
        tokens = narrowed if isinstance(narrowed, TokenSet) else tokens
    return await store_grant(bot, consented(attempt, basis.grant), tokens, identity)


async def extend_lease(bot: Bot, attempt: Attempt) -> None:
    until = now() + bot.lease
    await bot.database.write_one(partial(attempts.extend, attempt=attempt.id, lease_until=until))


def consented(attempt: Attempt, before: Grant | None) -> Consented:
    """The consent that an attempt's browser brought back; `before`: the grant when its code was exchanged."""
    user = attempt.user
    assert user is not None

    def complete(c: Connection, current: Grant | None, moment: datetime) -> Completion:
        overtaken = consented_at(current) != consented_at(before)
        if not overtaken and attempts.finish(c, attempt.id, "completed", "granted", moment):
            return Completion.COMPLETED
        if attempts.is_withdrawn(c, attempt.id):
            return Completion.WITHDRAWN
        if overtaken:
            # Another consent came in between: these tokens are the older ones, and may be dead by now.
            fail_attempt(c, attempt, "overtaken", moment)
        return Completion.LOST

    return Consented(user, attempt.scopes, ("attempt", attempt.id), complete)


def consented_at(grant: Grant | None) -> datetime | None:
    return grant.authorized_at if grant else None


Answer = TypeVar("Answer")

PAUSES = (0.3, 1.0, 2.5)
"""Seconds between tries while a person looks at the page."""
PATIENCE = 6.0
"""Seconds after which no further try is begun; one takes 10 at most, and the attempt's lease is 20."""


async def persistently(
    ask: Callable[[], Awaitable[Answer]], is_worth_repeating: Callable[[Answer], bool]
) -> Answer:
    """The answer of a platform that may stumble for a moment."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answer = await ask()
    for pause in PAUSES:
        if not is_worth_repeating(answer) or loop.time() - begun > PATIENCE:
            break
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
        answer = await ask()
    return answer


def is_unanswered(answer: object) -> bool:
    if isinstance(answer, TokenRefused):
        # A limit that the platform names is not tried against while somebody looks at the page.
        return answer.problem in {TokenProblem.TRANSIENT, TokenProblem.IN_DOUBT} and not answer.retry_after
    return isinstance(answer, Unreachable)


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
        case TokenProblem.SCOPE:
            return await attempt_failed(bot, attempt, attempts.SCOPES_REFUSED, Landing.CODE_REFUSED)
        case TokenProblem.USER:
            return await attempt_failed(bot, attempt, outcome, Landing.NOT_ALLOWED)
        case TokenProblem.APP | TokenProblem.BLOCKED:
            return await attempt_failed(bot, attempt, outcome, Landing.MISCONFIGURED)
        case _:
            return await attempt_failed(bot, attempt, outcome, Landing.CODE_REFUSED)


async def attempt_failed(bot: Bot, attempt: Attempt, outcome: str, landing: Landing) -> Landing:
    await bot.database.write(lambda c: fail_attempt(c, attempt, outcome, now()))
    bot.wake.upkeep.set()
    return landing


async def other_account(bot: Bot, attempt: Attempt) -> Landing:
    """Ends an attempt with another person's token. Its asker is told in the chat, once for each request."""
    user, moment = attempt.user, now()
    assert user is not None
    content = bot.platform.render_reply(replies.other_account())
    word = draft(bot, user, content, kind="notice", key=f"{attempt.request_id}-other-account")

    def work(c: Connection) -> list[OutgoingMessage]:
        fail_attempt(c, attempt, attempts.WRONG_PERSON, moment)
        request = authorizations.live_of(c, user)
        asks = request is not None and request.id == attempt.request_id
        return insert_all(c, bot, [word]) if asks else []

    messages = await bot.database.write(work)
    bot.wake.upkeep.set()
    bot.background(deliver_all(bot, messages))
    return Landing.WRONG_PERSON


def fail_attempt(c: Connection, attempt: Attempt, outcome: str, moment: datetime) -> None:
    """Inside a transaction, unless somebody else has come to an end with it. The request opens again: the rightful
    person can still go on, by the same link."""
    if not attempts.finish(c, attempt.id, "failed", outcome, moment):
        return
    if attempt.request_id is not None:
        authorizations.give_up_redeeming(c, attempt.request_id, moment)


class Completion(StrEnum):
    """Whether what a consent brought may be stored."""

    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    """The person has taken it back meanwhile: it is revoked."""
    LOST = "lost"
    """Somebody else goes on with it, or nobody waits for it any more: it is dropped."""


@dataclass(frozen=True, slots=True)
class Consented:
    """A consent of the person who was asked, by whichever road it came."""

    user: UserKey
    scopes: ScopeSet
    """What it was asked for."""
    subject: tuple[str, str]
    """What the audit log names."""
    complete: Callable[[Connection, Grant | None, datetime], Completion]
    """Inside the transaction that stores the grant: ends what brought the consent, in view of the grant so far."""


async def store_grant(bot: Bot, consent: Consented, tokens: TokenSet, identity: Identity) -> Landing:
    """One transaction: the grant, the calls it releases, the request, the card's next face.

    What the person has taken back meanwhile is not stored, but revoked; what comes late is dropped.
    """
    user, asked, moment = consent.user, consent.scopes, now()

    def work(c: Connection) -> Landed:
        users.lock(c, user)
        before = grants.find(c, user)
        match consent.complete(c, before, moment):
            case Completion.WITHDRAWN:
                authorization.revoke_tokens(c, user, tokens.access_token, tokens.refresh_token, moment)
                audit.write(c, "consent_withdrawn", user=user, subject=consent.subject, now=moment)
                return Landed(Landing.CLOSED)
            case Completion.LOST:
                audit.write(c, "consent_dropped", user=user, subject=consent.subject, now=moment)
                return Landed(Landing.USED)
        held = before.scopes if before and before.status is GrantStatus.ACTIVE else frozenset()
        unasked = granted_scopes.unasked(c, user) - asked
        # An answer without scopes: the exchange named what was asked for and what is held, and left out the rest.
        given = tokens.scopes if tokens.scopes is not None else asked | (held - unasked)
        grant = grants.save(
            c, user, before, tokens, scopes=given, unasked=unasked, oauth=bot.oauth, now=moment
        )
        users.consented(c, user, identity, moment)
        audit.write(
            c,
            "grant_stored",
            user=user,
            subject=consent.subject,
            now=moment,
            gained=sorted(given - held),
            lost=sorted(held - given),
            scopes=sorted(given),
            generation=grant.generation,
        )
        waiting = [each for each in calls.suspended_of(c, user) if each.waits_for is WaitsFor.AUTHORIZATION]
        granted_scopes.add(c, user, given, asked_by(c, consent, waiting), moment)
        # `offline_access` comes along with every link; without it a call goes on, unless it was asked for by name.
        refused = asked - given - {OFFLINE_ACCESS}
        woken = wake_calls(c, bot, waiting, grant, asked - given, moment)
        settled = settle_request(c, grant, refused, woken.rest, moment)
        lost = held - given - unasked - {OFFLINE_ACCESS}
        told = [told_of_loss(bot, consent, lost)] if lost else []
        messages = woken.messages + insert_all(c, bot, told)
        lease_until = moment + bot.lease
        card = settled and authorizations.claim_card(c, settled, bot.worker, moment, lease_until)
        return Landed(landing_of(refused, woken, settled=bool(settled)), messages, card or None)

    landed = await bot.insist(work)
    bot.wake.calls.set()
    return await land(bot, landed)


def told_of_loss(bot: Bot, consent: Consented, lost: ScopeSet) -> Draft:
    """A word to the person alone: nothing waits for what they no longer allow, so no card speaks of it."""
    content = bot.platform.render_reply(replies.lost_scopes(join_scopes(lost)))
    return draft(bot, consent.user, content, kind="notice", key=f"{consent.subject[1]}-lost")


@dataclass(frozen=True, slots=True)
class Woken:
    rest: Requirement
    """What still has to be asked for."""
    released: int
    messages: list[OutgoingMessage]


def landing_of(refused: ScopeSet, woken: Woken, *, settled: bool) -> Landing:
    if woken.rest:
        return Landing.MORE_NEEDED
    if refused:
        return Landing.PARTLY
    return Landing.AUTHORIZED if settled or woken.released else Landing.STORED


def asked_by(
    c: Connection, consent: Consented, waiting: Sequence[DeferredCall]
) -> Mapping[Scope, tuple[str, ...]]:
    """For each scope that was asked for, the commands that wait for it; what none of them names, all of them need."""
    everybody = tuple(dict.fromkeys(call.command for call in waiting))
    if not everybody:
        request = authorizations.latest_of(c, consent.user)
        everybody = request.reasons if request is not None else ()
    waiting_for = {
        scope: tuple(
            dict.fromkeys(call.command for call in waiting if any(scope in clause for clause in call.needs))
        )
        for scope in consent.scopes
    }
    return {scope: commands or everybody for scope, commands in waiting_for.items()}


def wake_calls(
    c: Connection,
    bot: Bot,
    waiting: Sequence[DeferredCall],
    grant: Grant,
    refused: ScopeSet,
    moment: datetime,
) -> Woken:
    """Releases what the grant satisfies, and cancels what was refused."""
    rest: list[tuple[str, ...]] = []
    released: list[str] = []
    messages: list[OutgoingMessage] = []
    for call in waiting:
        lacking = missing(call.needs, grant.scopes)
        if not lacking:
            released.append(call.id)
        elif any(not refused.isdisjoint(clause) for clause in lacking):
            if calls.cancel(c, call.id, "partly_refused", moment):
                reply = replies.partly_declined(typed(call), join_scopes(refused & named(lacking)))
                messages += insert_all(c, bot, [answer(bot, call, reply)])
        else:
            rest += lacking
    return Woken(tuple(rest), calls.release(c, released, moment, consents=1), messages)


def settle_request(
    c: Connection, grant: Grant, refused: ScopeSet, rest: Requirement, moment: datetime
) -> str | None:
    """The live request is granted, or open again for what was added while the person consented.

    Returns its id; None when there is none.
    """
    request = authorizations.live_of(c, grant.user)
    if request is None:
        return None
    if rest:
        scopes = request.scopes - grant.scopes - refused
        wanted = scopes if is_met(rest, scopes | grant.scopes) else choose_scopes(rest, scopes, None).scopes
        wanted |= request.scopes & {OFFLINE_ACCESS}
        changed = authorizations.reopen(c, request.id, scopes=wanted, now=moment)
    else:
        changed = authorizations.settle(
            c,
            request.id,
            RequestStatus.GRANTED,
            granted=request.scopes & grant.scopes,
            refused=request.scopes - grant.scopes - {OFFLINE_ACCESS},
            now=moment,
        )
    return request.id if changed else None


async def finish_stranded(bot: Bot) -> None:
    """Goes on with consents whose exchange was cut short by a crash, or by a platform that did not answer."""
    moment = now()
    stranded = await bot.database.write(
        lambda c: attempts.stranded(c, bot.worker, moment, moment + bot.lease, limit=10)
    )
    # Side by side: one after another, the leases of the last would run out while the platform is slow.
    await asyncio.gather(*(finish_one(bot, attempt, code, moment) for attempt, code in stranded))


async def finish_one(bot: Bot, attempt: Attempt, code: Secret | None, moment: datetime) -> Landing:
    # A sign-in has left no code: nobody waits for its session any more.
    if code is None or attempt.expires_at + CODE_LIVES < moment:
        return await attempt_failed(bot, attempt, "exchange_lost", Landing.CODE_REFUSED)
    basis = await bot.database.read(lambda c: basis_of(c, attempt))
    return await bot.carry_through(redeem(bot, attempt, code, basis, moment))


CODE_LIVES = timedelta(minutes=5)
"""The platform's authorization code."""
