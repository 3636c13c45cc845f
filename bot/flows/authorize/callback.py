"""The OAuth callback: consumes the state, exchanges the code, and checks the owner."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from bot.core.api import Unreachable
from bot.core.grants import Grant, GrantStatus
from bot.core.oauth import Approved, Denied, TokenProblem, TokenRefused, TokenSet, digest, is_owner
from bot.core.people import Identity
from bot.core.requests import Attempt, AttemptStatus
from bot.core.retry import spread
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet
from bot.core.secrets import Secret
from bot.core.words import replies
from bot.flows.authorize.end import decline_on_page
from bot.flows.authorize.grant import (
    CallbackResult,
    Completion,
    Consented,
    Ended,
    deliver_result,
    store_grant,
)
from bot.flows.authorize.open import was_revoked
from bot.flows.bot import Bot, now
from bot.flows.outbox import deliver_all, draft, insert_all
from bot.store import attempts, granted_scopes, grants, requests
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


ACCESS_DENIED = "access_denied"
"""The one `error` by which the page says that the person refused."""


RESULT_OF_EARLIER = {AttemptStatus.LIVE: CallbackResult.LATE, AttemptStatus.EXPIRED: CallbackResult.LATE}


async def complete(bot: Bot, came: Approved | Denied) -> CallbackResult:
    """Takes what the authorization page sent back. The state is consumed by whoever comes first."""
    state_digest, moment = digest(came.state.reveal()), now()
    code = came.code if isinstance(came, Approved) else None

    def work(c: Connection) -> tuple[Attempt, ExchangeBasis] | Ended:
        attempt = attempts.consume(c, state_digest, bot.claim(moment), code=code)
        if attempt is None:
            return Ended(reject(c, state_digest, moment))
        if isinstance(came, Denied):
            return Ended(deny(c, attempt, came.error, moment))
        return attempt, basis_of(c, attempt)

    taken = await bot.database.write(work)
    if isinstance(taken, Ended):
        if taken.landing is CallbackResult.UNKNOWN:
            bot.refusals.note("callback refused", "not a state of ours")
        return await deliver_result(bot, taken)
    assert isinstance(came, Approved)
    attempt, basis = taken
    return await bot.carry_through(redeem(bot, attempt, came.code, basis, moment))


@dataclass(frozen=True, slots=True)
class ExchangeBasis:
    """What the exchange of a code goes by."""

    grant: Grant | None
    """What the person gave before, at the time when the attempt was taken."""
    scopes: ScopeSet
    """What the tokens are to have at most: the platform may hold more, granted through links that are not ours."""
    named: bool
    """Whether the exchange names them. Not after the platform has refused that, or no attempt would succeed."""


def basis_of(c: Connection, attempt: Attempt) -> ExchangeBasis:
    grant = grants.find(c, attempt.user) if attempt.user else None
    refused = attempt.request_id is not None and attempts.scopes_were_refused(c, attempt.request_id)
    return ExchangeBasis(grant, allowed_scopes(c, attempt.scopes, grant), named=not refused)


def allowed_scopes(c: Connection, asked: ScopeSet, grant: Grant | None) -> ScopeSet:
    """What is asked for now, and what was asked for before and is held, or was until the grant ended by itself."""
    if grant is None:
        return asked
    before = grant.scopes if grant.status is GrantStatus.ACTIVE else grant.scopes_ever
    # Whether there is to be a refresh token is for this link to say.
    return asked | (before - granted_scopes.unasked(c, grant.user) - {OFFLINE_ACCESS})


def reject(c: Connection, state_digest: str, moment: datetime) -> CallbackResult:
    """Inside a transaction: nothing came of a state that is unknown, used or late."""
    before = attempts.consumed_before(c, state_digest)
    if before is None:
        # Anybody can send this, as often as they like: logged, and not kept for as long as the audit log is.
        return CallbackResult.UNKNOWN
    landing = RESULT_OF_EARLIER.get(before, CallbackResult.USED)
    attempts.reject(c, state_digest, landing.value, moment)
    return landing


def deny(c: Connection, attempt: Attempt, error: str, moment: datetime) -> CallbackResult:
    """Inside the transaction that consumes the state, so that a refusal cannot be half heard."""
    if error != ACCESS_DENIED:
        # The page failed. The person has decided nothing, and can try again.
        fail_attempt(c, attempt, "error_on_page", moment)
        return CallbackResult.CODE_REFUSED
    attempts.finish(c, attempt.id, AttemptStatus.DENIED, ACCESS_DENIED, moment)
    waits = attempt.request_id is not None and decline_on_page(c, attempt.request_id, moment)
    return CallbackResult.DECLINED if waits else CallbackResult.CLOSED


async def redeem(
    bot: Bot, attempt: Attempt, code: Secret, basis: ExchangeBasis, taken_at: datetime
) -> CallbackResult:
    """Exchanges the code, asks whose token it is, and stores the grant only if that is the person who was asked."""
    user = attempt.user
    assert user is not None
    platform = bot.platform_of(user)
    exchange = partial(
        platform.exchange_code,
        code,
        redirect_uri=attempt.redirect_uri,
        verifier=attempt.verifier,
        scopes=basis.scopes if basis.named else None,
        strict=was_revoked(basis.grant),
    )
    tokens = await with_retries(exchange, is_unanswered)
    if isinstance(tokens, TokenRefused):
        return await exchange_failed(bot, attempt, tokens)
    if now() - taken_at > bot.lease / 8:
        # The code is spent: whoever took the attempt over now could only have it refused, and the tokens with it. And
        # asking whose they are may take most of a lease.
        await extend_lease(bot, attempt)
    identify = partial(platform.identify, tokens.access_token)
    identity = await with_retries(identify, is_unanswered)
    if not isinstance(identity, Identity):
        return await attempt_failed(bot, attempt, "identity_unknown", CallbackResult.CODE_REFUSED)
    if not is_owner(user, identity):
        # The token is dropped here, and not revoked: that might end that other person's own grant.
        return await other_account(bot, attempt)
    if not basis.named and platform.narrowing is not None:
        # Asking whose the tokens are may have taken most of the lease, and narrowing them spends the refresh token.
        await extend_lease(bot, attempt)
        narrowed = await platform.narrowing.narrow(tokens, basis.scopes)
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
        if not overtaken and attempts.finish(c, attempt.id, AttemptStatus.COMPLETED, "granted", moment):
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


RETRY_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0.3, 1.0, 2.5))
"""Between tries while a person looks at the page."""


RETRY_TIMEOUT = 6.0
"""Seconds after which no further try is begun; one takes 10 at most, and the attempt's lease is 20."""


async def with_retries(
    ask: Callable[[], Awaitable[Answer]], is_worth_repeating: Callable[[Answer], bool]
) -> Answer:
    """The answer of a platform that may stumble for a moment."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answer = await ask()
    for pause in RETRY_PAUSES:
        if not is_worth_repeating(answer) or loop.time() - begun > RETRY_TIMEOUT:
            break
        await asyncio.sleep(spread(pause, random.random()).total_seconds())  # noqa: S311 - jitter
        answer = await ask()
    return answer


def is_unanswered(answer: object) -> bool:
    if isinstance(answer, TokenRefused):
        # A limit that the platform names is not tried against while somebody looks at the page.
        return answer.problem in {TokenProblem.TRANSIENT, TokenProblem.IN_DOUBT} and not answer.retry_after
    return isinstance(answer, Unreachable)


async def exchange_failed(bot: Bot, attempt: Attempt, refusal: TokenRefused) -> CallbackResult:
    log.warning(
        "code exchange failed",
        extra={"attempt": attempt.id, "problem": refusal.problem.value, "code": refusal.code},
    )
    outcome = f"exchange_{refusal.problem.value}_{refusal.code}"
    match refusal.problem:
        case TokenProblem.TRANSIENT | TokenProblem.IN_DOUBT:
            # The code lives for minutes and is kept sealed with the attempt: a worker tries again soon.
            return CallbackResult.STILL_TRYING
        case TokenProblem.SCOPE:
            return await attempt_failed(bot, attempt, attempts.SCOPES_REFUSED, CallbackResult.CODE_REFUSED)
        case TokenProblem.USER:
            return await attempt_failed(bot, attempt, outcome, CallbackResult.NOT_ALLOWED)
        case TokenProblem.APP | TokenProblem.BLOCKED:
            return await attempt_failed(bot, attempt, outcome, CallbackResult.MISCONFIGURED)
        case _:
            return await attempt_failed(bot, attempt, outcome, CallbackResult.CODE_REFUSED)


async def attempt_failed(bot: Bot, attempt: Attempt, outcome: str, landing: CallbackResult) -> CallbackResult:
    await bot.database.write(lambda c: fail_attempt(c, attempt, outcome, now()))
    bot.wake.upkeep.set()
    return landing


async def other_account(bot: Bot, attempt: Attempt) -> CallbackResult:
    """Ends an attempt with another person's token. Its asker is told in the chat, once for each request."""
    user, moment = attempt.user, now()
    assert user is not None
    content = bot.platform_of(user).render_reply(replies.wrong_account())
    word = draft(bot, user, content, kind="notice", key=f"{attempt.request_id}-other-account")

    def work(c: Connection) -> list[OutgoingMessage]:
        fail_attempt(c, attempt, attempts.WRONG_PERSON, moment)
        request = requests.live_of(c, user)
        asks = request is not None and request.id == attempt.request_id
        return insert_all(c, bot, [word]) if asks else []

    messages = await bot.database.write(work)
    bot.wake.upkeep.set()
    bot.background(deliver_all(bot, messages))
    return CallbackResult.WRONG_PERSON


def fail_attempt(c: Connection, attempt: Attempt, outcome: str, moment: datetime) -> None:
    """Inside a transaction, unless somebody else has come to an end with it. The request opens again: the rightful
    person can still go on, by the same link."""
    if not attempts.finish(c, attempt.id, AttemptStatus.FAILED, outcome, moment):
        return
    if attempt.request_id is not None:
        requests.give_up_redeeming(c, attempt.request_id, moment)


async def finish_stranded(bot: Bot) -> None:
    """Goes on with consents whose exchange was cut short by a crash, or by a platform that did not answer."""
    moment = now()
    stranded = await bot.database.write(lambda c: attempts.stranded(c, bot.claim(moment), limit=10))
    # Side by side: one after another, the leases of the last would run out while the platform is slow.
    await asyncio.gather(*(finish_one(bot, attempt, code, moment) for attempt, code in stranded))


async def finish_one(bot: Bot, attempt: Attempt, code: Secret | None, moment: datetime) -> CallbackResult:
    # A sign-in has left no code: nobody waits for its session any more.
    if code is None or attempt.expires_at + CODE_LIFETIME < moment:
        return await attempt_failed(bot, attempt, "exchange_lost", CallbackResult.CODE_REFUSED)
    basis = await bot.database.read(lambda c: basis_of(c, attempt))
    return await bot.carry_through(redeem(bot, attempt, code, basis, moment))


CODE_LIFETIME = timedelta(minutes=5)
"""The platform's authorization code."""
