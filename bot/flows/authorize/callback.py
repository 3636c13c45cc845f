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
from bot.core.platform import Platform
from bot.core.requests import Attempt, AttemptStatus
from bot.core.retry import spread
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet
from bot.core.secrets import Secret
from bot.core.words import replies
from bot.flows.authorize.end import decline_on_page
from bot.flows.authorize.grant import (
    AttemptEnd,
    CallbackResult,
    Completion,
    Consented,
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
"""The `error` for a refusal by the user (RFC 6749, section 4.1.2.1). Every other one is a failure."""


RESULT_OF_EARLIER = {AttemptStatus.LIVE: CallbackResult.LATE, AttemptStatus.EXPIRED: CallbackResult.LATE}


async def complete(bot: Bot, platform: Platform, came: Approved | Denied) -> CallbackResult:
    """Complete an attempt with what a platform's page sent back. Its state is consumed by the first request.

    A state of another platform is unknown: nobody but the platform that a browser was sent to may answer for it.
    """
    state_digest, moment = digest(came.state.reveal()), now()
    code = came.code if isinstance(came, Approved) else None

    def work(c: Connection) -> tuple[Attempt, ExchangeBasis] | AttemptEnd:
        attempt = attempts.consume(c, state_digest, bot.claim(platform.app, moment), code=code)
        if attempt is None:
            return AttemptEnd(reject(c, platform.app, state_digest, moment))
        if isinstance(came, Denied):
            return AttemptEnd(deny(c, attempt, came.error, moment))
        return attempt, basis_of(c, attempt)

    taken = await bot.database.write(work)
    if isinstance(taken, AttemptEnd):
        if taken.result is CallbackResult.UNKNOWN:
            bot.refusals.note("callback refused", "not a state of ours")
        return await deliver_result(bot, taken)
    assert isinstance(came, Approved)
    attempt, basis = taken
    return await bot.run_to_completion(redeem(bot, attempt, came.code, basis, moment))


@dataclass(frozen=True, slots=True)
class ExchangeBasis:
    """What the exchange of a code depends on."""

    grant: Grant | None
    """The grant when the attempt was claimed."""
    scopes: ScopeSet
    """The most that the tokens may have: the platform may hold more, granted through foreign links."""
    named: bool
    """Whether the exchange names the scopes. Not after the platform has rejected that, or no attempt would succeed."""


def basis_of(c: Connection, attempt: Attempt) -> ExchangeBasis:
    grant = grants.find(c, attempt.user) if attempt.user else None
    refused = attempt.request_id is not None and attempts.scopes_were_refused(c, attempt.request_id)
    return ExchangeBasis(grant, allowed_scopes(c, attempt.scopes, grant), named=not refused)


def allowed_scopes(c: Connection, asked: ScopeSet, grant: Grant | None) -> ScopeSet:
    """Return what is asked for now, and what was asked for before and is held, or was held until the grant expired."""
    if grant is None:
        return asked
    before = grant.scopes if grant.status is GrantStatus.ACTIVE else grant.scopes_ever
    # This link alone decides whether there is a refresh token.
    return asked | (before - granted_scopes.unrequested(c, grant.user) - {OFFLINE_ACCESS})


def reject(c: Connection, app: str, state_digest: str, moment: datetime) -> CallbackResult:
    """Reject a state that is unknown, used or late."""
    before = attempts.consumed_before(c, app, state_digest)
    if before is None:
        # Anyone can send this at any rate: it is logged, but not stored in the audit log.
        return CallbackResult.UNKNOWN
    result = RESULT_OF_EARLIER.get(before, CallbackResult.USED)
    attempts.reject(c, app, state_digest, result.value, moment)
    return result


def deny(c: Connection, attempt: Attempt, error: str, moment: datetime) -> CallbackResult:
    """Record a refusal, in the transaction that consumes the state."""
    if error != ACCESS_DENIED:
        # The page failed. The user has decided nothing, and can try again.
        fail_attempt(c, attempt, "error_on_page", moment)
        return CallbackResult.CODE_REFUSED
    attempts.finish(c, attempt.id, AttemptStatus.DENIED, ACCESS_DENIED, moment)
    waits = attempt.request_id is not None and decline_on_page(c, attempt.request_id, moment)
    return CallbackResult.DECLINED if waits else CallbackResult.CLOSED


async def redeem(
    bot: Bot, attempt: Attempt, code: Secret, basis: ExchangeBasis, taken_at: datetime
) -> CallbackResult:
    """Exchange the code, check whose token it is, and store the grant if it is the user who was asked."""
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
        # The code is spent: a worker that took over now would be refused, and the tokens would be lost. Identifying the
        # user may take most of a lease.
        await extend_lease(bot, attempt)
    identify = partial(platform.identify, tokens.access_token)
    identity = await with_retries(identify, is_unanswered)
    if not isinstance(identity, Identity):
        return await attempt_failed(bot, attempt, "identity_unknown", CallbackResult.CODE_REFUSED)
    if not is_owner(user, identity):
        # The token is dropped, not revoked: revoking it might end the other user's own grant.
        return await reject_other_account(bot, attempt)
    if not basis.named and platform.narrowing is not None:
        # Identifying the user may have taken most of the lease, and narrowing spends the refresh token.
        await extend_lease(bot, attempt)
        narrowed = await platform.narrowing.narrow(tokens, basis.scopes)
        tokens = narrowed if isinstance(narrowed, TokenSet) else tokens
    return await store_grant(bot, consented(attempt, basis.grant), tokens, identity)


async def extend_lease(bot: Bot, attempt: Attempt) -> None:
    until = now() + bot.lease
    await bot.database.write_one(partial(attempts.extend, attempt=attempt.id, lease_until=until))


def consented(attempt: Attempt, before: Grant | None) -> Consented:
    """Return the consent of an attempt. `before` is the grant when its code was exchanged."""
    user = attempt.user
    assert user is not None

    def complete(c: Connection, current: Grant | None, moment: datetime) -> Completion:
        overtaken = consented_at(current) != consented_at(before)
        if not overtaken and attempts.finish(c, attempt.id, AttemptStatus.COMPLETED, "granted", moment):
            return Completion.COMPLETED
        if attempts.is_withdrawn(c, attempt.id):
            return Completion.WITHDRAWN
        if overtaken:
            # Another consent came in between: these tokens are the older ones, and may be invalid by now.
            fail_attempt(c, attempt, "overtaken", moment)
        return Completion.LOST

    return Consented(user, attempt.scopes, ("attempt", attempt.id), complete)


def consented_at(grant: Grant | None) -> datetime | None:
    return grant.authorized_at if grant else None


Answer = TypeVar("Answer")


RETRY_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0.3, 1.0, 2.5))
"""Between tries while a person looks at the page."""


RETRY_TIMEOUT = 6.0
"""Seconds after which no further attempt starts. One takes 10 at most, and the lease is 20."""


async def with_retries(
    ask: Callable[[], Awaitable[Answer]], is_worth_repeating: Callable[[Answer], bool]
) -> Answer:
    """Return the platform's answer, repeating a request that failed for a moment."""
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
        # A rate limit with a named wait is not retried while the user waits for the page.
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
            # The code is valid for minutes and stored encrypted with the attempt: a worker retries soon.
            return CallbackResult.STILL_TRYING
        case TokenProblem.SCOPE:
            return await attempt_failed(bot, attempt, attempts.SCOPES_REFUSED, CallbackResult.CODE_REFUSED)
        case TokenProblem.USER:
            return await attempt_failed(bot, attempt, outcome, CallbackResult.NOT_ALLOWED)
        case TokenProblem.APP | TokenProblem.BLOCKED:
            return await attempt_failed(bot, attempt, outcome, CallbackResult.MISCONFIGURED)
        case _:
            return await attempt_failed(bot, attempt, outcome, CallbackResult.CODE_REFUSED)


async def attempt_failed(bot: Bot, attempt: Attempt, outcome: str, result: CallbackResult) -> CallbackResult:
    await bot.database.write(lambda c: fail_attempt(c, attempt, outcome, now()))
    bot.signals.upkeep.set()
    return result


async def reject_other_account(bot: Bot, attempt: Attempt) -> CallbackResult:
    """End an attempt with another user's token. The user who was asked is told in the chat, once for each request."""
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
    bot.signals.upkeep.set()
    bot.background(deliver_all(bot, messages))
    return CallbackResult.WRONG_PERSON


def fail_attempt(c: Connection, attempt: Attempt, outcome: str, moment: datetime) -> None:
    """Fail an attempt, unless another worker has ended it. The request is open again: its user can use the same link."""
    if not attempts.finish(c, attempt.id, AttemptStatus.FAILED, outcome, moment):
        return
    if attempt.request_id is not None:
        requests.give_up_redeeming(c, attempt.request_id, moment)


async def complete_stranded(bot: Bot) -> None:
    """Complete attempts whose exchange was interrupted by a crash or an unreachable platform."""
    moment = now()

    def work(c: Connection) -> list[tuple[Attempt, Secret | None]]:
        return [
            each for app in bot.platforms for each in attempts.stranded(c, bot.claim(app, moment), limit=10)
        ]

    stranded = await bot.database.write(work)
    # Concurrently: in sequence, the leases of the last would expire while the platform is slow.
    await asyncio.gather(*(complete_one(bot, attempt, code, moment) for attempt, code in stranded))


async def complete_one(bot: Bot, attempt: Attempt, code: Secret | None, moment: datetime) -> CallbackResult:
    # A sign-in stores no code: its browser no longer waits.
    if code is None or is_code_expired(bot, attempt, moment):
        return await attempt_failed(bot, attempt, "exchange_lost", CallbackResult.CODE_REFUSED)
    basis = await bot.database.read(lambda c: basis_of(c, attempt))
    return await bot.run_to_completion(redeem(bot, attempt, code, basis, moment))


def is_code_expired(bot: Bot, attempt: Attempt, moment: datetime) -> bool:
    """Whether the attempt's authorization code has expired, however late in the attempt's life it was issued."""
    assert attempt.user is not None
    return attempt.expires_at + bot.platform_of(attempt.user).limits.code_lifetime < moment
