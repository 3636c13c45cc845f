"""The OAuth callback: consumes the state, exchanges the code, and checks the owner."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from bot.core.api import Unreachable
from bot.core.grants import Grant, GrantStatus, is_overtaken
from bot.core.messages import Destination
from bot.core.oauth import Approved, Denied, TokenProblem, TokenRefused, TokenSet, digest, is_owner
from bot.core.people import Identity, UserKey
from bot.core.platform import Platform
from bot.core.requests import Attempt, AttemptStatus
from bot.core.retry import spread
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet
from bot.core.secrets import Secret
from bot.core.words import replies
from bot.flows import correlation, observations
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
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import deliver_all, draft, insert_all
from bot.store import attempts, granted_scopes, grants, requests, users
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

ACCESS_DENIED = "access_denied"
"""The `error` if the user declines (RFC 6749, section 4.1.2.1). Every other one is a failure."""


RESULT_OF_EARLIER = {AttemptStatus.LIVE: CallbackResult.LATE, AttemptStatus.EXPIRED: CallbackResult.LATE}
"""The result for a state that cannot be consumed, by the status of its attempt. For every other status it is USED."""


async def complete(bot: Bot, platform: Platform, response: Approved | Denied) -> CallbackResult:
    """Complete an attempt with the authorization response of a platform. The first request consumes its state.

    A state of another platform is unknown: only the platform to which the browser was sent may answer it.
    """
    state_digest, now = digest(response.state.reveal()), utc_now()
    code = response.code if isinstance(response, Approved) else None

    def work(c: Connection) -> tuple[Attempt, ExchangeBasis] | AttemptEnd:
        attempt = attempts.consume(c, state_digest, bot.claim(platform.app, now), code=code)
        if attempt is None:
            return AttemptEnd(reject(c, platform.app, state_digest, now))
        if isinstance(response, Denied):
            return AttemptEnd(deny(c, bot, attempt, response.error, now))
        return attempt, basis_of(c, attempt)

    consumed = await bot.database.write(work)
    if isinstance(consumed, AttemptEnd):
        if consumed.result is CallbackResult.UNKNOWN:
            bot.refusals.note("callback refused", "unknown state")
        return await deliver_result(bot, consumed)
    assert isinstance(response, Approved)
    attempt, basis = consumed
    return await bot.run_to_completion(redeem(bot, attempt, response.code, basis, now))


@dataclass(frozen=True, slots=True)
class ExchangeBasis:
    """What the exchange of a code depends on."""

    grant: Grant | None
    """The grant when the attempt was claimed."""
    scopes: ScopeSet
    """The scopes that the tokens may have at most. The user may have granted more through links of another origin."""
    named: bool
    """Whether the exchange names the scopes. False once the platform has rejected them, or no attempt would succeed."""


def basis_of(c: Connection, attempt: Attempt) -> ExchangeBasis:
    grant = grants.find(c, attempt.user) if attempt.user else None
    refused = attempt.request_id is not None and attempts.scopes_were_refused(c, attempt.request_id)
    return ExchangeBasis(grant, allowed_scopes(c, attempt.scopes, grant), named=not refused)


def allowed_scopes(c: Connection, asked: ScopeSet, grant: Grant | None) -> ScopeSet:
    """Return the scopes asked for now, and those asked for earlier that the grant has, or had until it expired."""
    if grant is None:
        return asked
    before = grant.scopes if grant.status is GrantStatus.ACTIVE else grant.scopes_ever
    # Only the current link decides whether there is a refresh token.
    return asked | (before - granted_scopes.unrequested(c, grant.user) - {OFFLINE_ACCESS})


def reject(c: Connection, app: str, state_digest: str, now: datetime) -> CallbackResult:
    """Reject a state that is unknown, used or expired. Returns which."""
    before = attempts.consumed_before(c, app, state_digest)
    if before is None:
        # Anyone can send this at any rate: it is logged, but not stored in the audit log.
        return CallbackResult.UNKNOWN
    result = RESULT_OF_EARLIER.get(before, CallbackResult.USED)
    attempts.reject(c, app, state_digest, result.value, now)
    return result


def deny(c: Connection, bot: Bot, attempt: Attempt, error: str, now: datetime) -> CallbackResult:
    """Record an error response, in the transaction that consumes the state."""
    correlation.learn(c, bot, attempt.request_id)
    if error != ACCESS_DENIED:
        # The page failed. The user has decided nothing, and can try again.
        fail_attempt(c, attempt, "error_on_page", now)
        return CallbackResult.CODE_REFUSED
    attempts.finish(c, attempt.id, AttemptStatus.DENIED, ACCESS_DENIED, now)
    waits = attempt.request_id is not None and decline_on_page(c, attempt.request_id, now)
    return CallbackResult.DECLINED if waits else CallbackResult.CLOSED


async def redeem(
    bot: Bot, attempt: Attempt, code: Secret, basis: ExchangeBasis, claimed_at: datetime
) -> CallbackResult:
    """Exchange the code, check the owner of the token, and store the grant if that is the user who was asked."""
    user = attempt.user
    assert user is not None
    with (
        await correlation.of_request(bot, attempt.request_id, user),
        bot.tracer.span("consent", is_arrival=True, platform=user.platform, attempt=attempt.id),
    ):
        return await exchange(bot, attempt, user, code, basis, claimed_at)


async def exchange(
    bot: Bot, attempt: Attempt, user: UserKey, code: Secret, basis: ExchangeBasis, claimed_at: datetime
) -> CallbackResult:
    platform = bot.platform_of(user)
    requested_at = claimed_at

    async def request_tokens() -> TokenSet | TokenRefused:
        nonlocal requested_at
        requested_at = utc_now()
        return await platform.exchange_code(
            code,
            redirect_uri=attempt.redirect_uri,
            verifier=attempt.verifier,
            scopes=basis.scopes if basis.named else None,
            strict=was_revoked(basis.grant),
        )

    tokens = await with_retries(request_tokens, is_unanswered)
    received_at = utc_now()
    if isinstance(tokens, TokenRefused):
        return await exchange_failed(bot, attempt, tokens)
    if received_at - claimed_at > bot.lease / 8:
        # The code is used up: another worker that claimed the attempt now would be refused, and the tokens would be lost.
        # Identifying the user may take most of a lease.
        await extend_lease(bot, attempt)
    identify = partial(platform.identify, tokens.access_token)
    identity = await with_retries(identify, is_unanswered)
    if not isinstance(identity, Identity):
        return await attempt_failed(bot, attempt, "identity_unknown", CallbackResult.CODE_REFUSED)
    if not is_owner(user, identity, tokens):
        # The token is dropped, not revoked: revoking it might end the other user's own grant.
        return await reject_other_account(bot, attempt)
    if not basis.named and platform.narrowing is not None:
        # Identifying the user may have taken most of the lease, and narrowing uses up the refresh token.
        await extend_lease(bot, attempt)
        narrowed = await platform.narrowing.narrow(tokens, basis.scopes)
        tokens = narrowed if isinstance(narrowed, TokenSet) else tokens
    gives_way = partial(is_overtaken, basis.grant, requested_at=requested_at, scopes=tokens.scopes)
    return await store_grant(bot, consented(attempt, received_at, gives_way), tokens, identity)


async def extend_lease(bot: Bot, attempt: Attempt) -> None:
    until = utc_now() + bot.lease
    await bot.database.write_one(partial(attempts.extend, attempt=attempt.id, lease_until=until))


def consented(
    attempt: Attempt, received_at: datetime, gives_way: Callable[[Grant | None], bool]
) -> Consented:
    """Return the consent of an attempt. `gives_way` says whether the current grant is kept instead."""
    user = attempt.user
    assert user is not None

    def complete(c: Connection, current: Grant | None, now: datetime) -> Completion:
        overtaken = gives_way(current)
        if not overtaken and attempts.finish(c, attempt.id, AttemptStatus.COMPLETED, "granted", now):
            return Completion.COMPLETED
        if attempts.is_withdrawn(c, attempt.id):
            return Completion.WITHDRAWN
        if overtaken:
            fail_attempt(c, attempt, "overtaken", now)
        return Completion.LOST

    subject = ("attempt", attempt.id)
    return Consented(user, attempt.scopes, subject, attempt.request_id, received_at, complete)


Result = TypeVar("Result")


RETRY_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0.3, 1.0, 2.5))
"""Pauses between attempts while a user looks at the page."""


RETRY_TIMEOUT = 6.0
"""Seconds after which no further attempt starts. An attempt takes at most 10, and the lease lasts 20."""


async def with_retries(
    ask: Callable[[], Awaitable[Result]], is_retryable: Callable[[Result], bool]
) -> Result:
    """Return the result of a request to the platform, which is repeated briefly while `is_retryable` returns True."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    result = await ask()
    for pause in RETRY_PAUSES:
        if not is_retryable(result) or loop.time() - started > RETRY_TIMEOUT:
            break
        await asyncio.sleep(spread(pause, random.random()).total_seconds())  # noqa: S311 - jitter
        result = await ask()
    return result


def is_unanswered(result: object) -> bool:
    if isinstance(result, TokenRefused):
        # A rate limit with a stated wait is not retried while the user waits for the page.
        return result.problem in {TokenProblem.TRANSIENT, TokenProblem.IN_DOUBT} and not result.retry_after
    return isinstance(result, Unreachable)


async def exchange_failed(bot: Bot, attempt: Attempt, refusal: TokenRefused) -> CallbackResult:
    observations.exchange_failed(bot, attempt, refusal)
    outcome = f"exchange_{refusal.problem.value}_{refusal.code}"
    match refusal.problem:
        case TokenProblem.TRANSIENT | TokenProblem.IN_DOUBT:
            # The code is valid for minutes and stored with the attempt, sealed: a chore retries soon.
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
    """Fail an attempt in its own transaction. Returns `result`."""
    await bot.database.write(lambda c: fail_attempt(c, attempt, outcome, utc_now()))
    bot.signals.upkeep.set()
    return result


async def reject_other_account(bot: Bot, attempt: Attempt) -> CallbackResult:
    """End an attempt with another user's token. Informs the user who was asked, once for each request."""
    user, now = attempt.user, utc_now()
    assert user is not None

    def work(c: Connection) -> list[OutgoingMessage]:
        content = bot.platform_of(user).render_reply(replies.wrong_account(), users.language(c, user))
        notice = draft(Destination(user), content, kind="notice", key=f"{attempt.request_id}-other-account")
        fail_attempt(c, attempt, attempts.WRONG_PERSON, now)
        request = requests.live_of(c, user)
        is_live = request is not None and request.id == attempt.request_id
        return insert_all(c, bot, [notice]) if is_live else []

    messages = await bot.database.write(work)
    bot.signals.upkeep.set()
    bot.background(deliver_all(bot, messages))
    return CallbackResult.WRONG_PERSON


def fail_attempt(c: Connection, attempt: Attempt, outcome: str, now: datetime) -> None:
    """Fail an attempt, unless another worker has ended it. Reopens the request, so that its link can be used again."""
    if not attempts.finish(c, attempt.id, AttemptStatus.FAILED, outcome, now):
        return
    if attempt.request_id is not None:
        requests.give_up_redeeming(c, attempt.request_id, now)


async def complete_stranded(bot: Bot) -> None:
    """Complete attempts whose exchange was interrupted by a crash or an unreachable platform."""
    now = utc_now()

    def work(c: Connection) -> list[tuple[Attempt, Secret | None]]:
        return [each for app in bot.platforms for each in attempts.stranded(c, bot.claim(app, now), limit=10)]

    stranded = await bot.database.write(work)
    # Concurrently, because in sequence the last leases would expire while the platform is slow.
    await asyncio.gather(*(complete_one(bot, attempt, code, now) for attempt, code in stranded))


async def complete_one(bot: Bot, attempt: Attempt, code: Secret | None, now: datetime) -> CallbackResult:
    # A sign-in stores no code, because its browser no longer waits.
    if code is None or is_code_expired(bot, attempt, now):
        return await attempt_failed(bot, attempt, "exchange_lost", CallbackResult.CODE_REFUSED)
    basis = await bot.database.read(lambda c: basis_of(c, attempt))
    return await bot.run_to_completion(redeem(bot, attempt, code, basis, now))


def is_code_expired(bot: Bot, attempt: Attempt, now: datetime) -> bool:
    """Return whether the authorization code has expired, even if it was issued just before the attempt expired."""
    assert attempt.user is not None
    return attempt.expires_at + bot.platform_of(attempt.user).limits.code_lifetime < now
