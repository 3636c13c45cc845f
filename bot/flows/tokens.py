"""Usable access tokens: read from the grant's row, or refreshed by exactly one worker.

A refresh token works only once, so a refresh has three stages: lease this generation of the grant, which records the
intent and proves that the database accepts writes; send the request; store the result only if the generation is
unchanged. Once started, a refresh runs to completion, because a stopping process or an unreachable database must not lose
the new tokens. A late response never replaces a newer grant. Tokens are kept until the platform reports them as invalid.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.core.api import AppRejected, BlockedByPolicy, NotAuthorized, NoToken, RateLimited, Unreachable
from bot.core.grants import Grant, GrantStatus, can_refresh, is_expired, wants_refresh
from bot.core.oauth import TokenProblem, TokenRefused, TokenSet
from bot.core.people import UserKey
from bot.core.retry import asked_to_wait, backoff, spread
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.flows import observations
from bot.flows.bot import Bot, utc_now
from bot.flows.clock import expiry_time
from bot.store import audit, granted_scopes, grants
from bot.store.transaction import Connection

REFRESH_TIMEOUT = 12.0
"""Seconds to wait for another worker's refresh. A request to the platform takes at most 10."""

MAX_PAUSE = timedelta(seconds=8)
"""The longest pause after a failed refresh. Short, so that a call can wait for the token when the platform is back."""
PAUSE_WHEN_REFUSED = timedelta(minutes=1)
"""The pause after a refusal that an operator or administrator has to resolve."""

REFRESH_BATCH = 5
"""Grants that a replica refreshes in advance in one run of the chore: on average one a second, because the token
endpoint's limit of 50 a second for the whole app is reserved for users who wait."""


@dataclass(frozen=True, slots=True)
class Usable:
    token: Secret
    grant: Grant
    refreshed: bool = False


@dataclass(frozen=True, slots=True)
class Unusable:
    """No usable token is available. Unless the outcome is `NotAuthorized`, the grant is kept."""

    outcome: NoToken
    grant: Grant | None = None
    """The ended grant, if the outcome is `NotAuthorized` and there was one."""


async def usable_token(bot: Bot, user: UserKey, *, rejected: Secret | None = None) -> Usable | Unusable:
    """Return a token that should work, refreshed if necessary. `rejected` is one that the platform has just rejected."""
    give_up_at = asyncio.get_running_loop().time() + REFRESH_TIMEOUT
    while True:
        grant = await bot.database.read(lambda c: grants.find(c, user))
        if grant is None or grant.status is GrantStatus.ENDED:
            return Unusable(NotAuthorized(), grant)
        if grant.access_token is None:
            return await end_unrefreshable(bot, grant, "token_lost")
        now = utc_now()
        works = grant.access_token != rejected and not is_expired(grant, now)
        if works and not wants_refresh(grant, now):
            return Usable(grant.access_token, grant, refreshed=rejected is not None)
        if not can_refresh(grant, expiry_time()):
            if works:
                return Usable(grant.access_token, grant)
            return await end_unrefreshable(bot, grant, "expired")
        leased = await lease(bot, grant, now)
        if leased is not None:
            return await bot.run_to_completion(refresh(bot, leased, works=works))
        if works:
            return Usable(grant.access_token, grant)
        if grant.refresh_after is not None and grant.refresh_after > now + MAX_PAUSE:
            return Unusable(Unreachable("the token could not be refreshed", may_have_arrived=False))
        if asyncio.get_running_loop().time() > give_up_at:
            return Unusable(Unreachable("the token is being refreshed", may_have_arrived=False))
        await asyncio.sleep(0.1)


async def lease(bot: Bot, grant: Grant, now: datetime) -> Grant | None:
    return await bot.database.write_one(
        lambda c: grants.lease_refresh(c, grant.user, grant.generation, bot.claim(grant.user.app, now))
    )


async def narrow(bot: Bot, user: UserKey, *, without: ScopeSet) -> Grant | None:
    """Refresh a user's tokens without some of their scopes. Returns the new grant, or None if that failed."""
    grant = await bot.database.read(lambda c: grants.find(c, user))
    now = utc_now()
    if grant is None or not can_refresh(grant, now):
        return None
    leased = await lease(bot, grant, now)
    if leased is None:
        return None
    works = not is_expired(grant, now)
    kept = grant.scopes - without
    result = await bot.run_to_completion(refresh(bot, leased, works=works, scopes=kept))
    return result.grant if isinstance(result, Usable) and result.refreshed else None


async def refresh(
    bot: Bot, grant: Grant, *, works: bool, scopes: ScopeSet | None = None
) -> Usable | Unusable:
    """Refresh the tokens under a lease that this worker holds. `works`: the old access token is still usable.

    The new tokens are limited to `scopes`, by default to the held ones, and to scopes that the bot has asked for. The
    user may have consented to more through a link that the bot did not create, which is not used.
    """
    unrequested = await bot.database.read(lambda c: granted_scopes.unrequested(c, grant.user))
    scopes = (grant.scopes if scopes is None else scopes) - unrequested
    refreshing = bot.platform_of(grant.user).refreshing
    result = (
        await refreshing.refresh(grant.refresh_token, scopes=scopes)
        if refreshing is not None and grant.refresh_token is not None
        else TOKEN_LOST
    )
    if isinstance(result, TokenSet):
        return await store_refreshed(bot, grant, result)
    observations.refresh_failed(bot, grant.user, result)
    is_over = result.problem in {TokenProblem.OVER, TokenProblem.CODE}
    if not works and (is_over or result.problem is TokenProblem.USER):
        return await end_unrefreshable(bot, grant, f"refresh_refused_{result.code}")
    await record_failure(bot, grant, result, is_over=is_over)
    if works and grant.access_token is not None:
        return Usable(grant.access_token, grant)
    return Unusable(outcome_of(result))


TOKEN_LOST = TokenRefused(TokenProblem.OVER, 0, "the stored refresh token is lost")


def outcome_of(refusal: TokenRefused) -> NoToken:
    """Return the outcome of a call whose token could not be refreshed."""
    if refusal.problem is TokenProblem.APP:
        return AppRejected()
    if refusal.problem is TokenProblem.BLOCKED:
        return BlockedByPolicy(refusal.message or str(refusal.code))
    if refusal.retry_after is not None:
        return RateLimited(refusal.retry_after)
    return Unreachable(refusal.message, may_have_arrived=False)


async def store_refreshed(bot: Bot, grant: Grant, tokens: TokenSet) -> Usable | Unusable:
    now = utc_now()

    def work(c: Connection) -> Grant | None:
        unrequested = granted_scopes.unrequested(c, grant.user)
        new = grants.NewTokens(tokens, tokens.scopes or grant.scopes, unrequested)
        saved = grants.save_refreshed(c, grant, new, now)
        if saved is not None:
            changed = sorted(saved.scopes) if saved.scopes != grant.scopes else None
            audit.write(
                c, "token_refreshed", user=grant.user, now=now, generation=saved.generation, scopes=changed
            )
        return saved

    saved = await bot.write_until_stored(work)
    if saved is None:
        # A newer consent has replaced the grant during this refresh, and takes precedence.
        return await usable_token(bot, grant.user)
    return Usable(tokens.access_token, saved, refreshed=True)


async def record_failure(bot: Bot, grant: Grant, refusal: TokenRefused, *, is_over: bool) -> None:
    """Record a failed refresh. Deletes the refresh token if it `is_over`; otherwise keeps it for a later attempt."""
    now = utc_now()
    after = now + pause_after(grant, refusal)
    in_doubt = refusal.problem is TokenProblem.IN_DOUBT

    def work(c: Connection) -> None:
        recorded = (
            grants.refresh_over(c, grant, bot.worker, now)
            if is_over
            else grants.refresh_failed(c, grant, bot.worker, after=after, in_doubt=in_doubt)
        )
        if recorded:
            audit.write(
                c,
                "refresh_failed",
                user=grant.user,
                now=now,
                problem=refusal.problem.value,
                code=refusal.code,
            )

    await bot.database.write(work)


def pause_after(grant: Grant, refusal: TokenRefused) -> timedelta:
    """Return the pause after a failed refresh, which grows with each failure. A longer `retry_after` overrides it.

    It has a random part, because an outage ends for all grants at the same time.
    """
    jitter = random.random()  # noqa: S311 - jitter, not a secret
    if refusal.problem in {TokenProblem.APP, TokenProblem.BLOCKED, TokenProblem.USER}:
        return spread(PAUSE_WHEN_REFUSED, jitter)
    delay = backoff(grant.refresh_failures + 1, jitter, longest=MAX_PAUSE)
    return max(delay, asked_to_wait(refusal.retry_after))


async def end_unrefreshable(bot: Bot, grant: Grant, reason: str) -> Unusable:
    """End a grant that can no longer be used, unless a newer one has replaced it."""
    now = utc_now()

    def work(c: Connection) -> None:
        grants.end(c, grant.user, reason, now, generation=grant.generation)

    await bot.database.write(work)
    return Unusable(NotAuthorized(), grant)


async def refresh_ahead(bot: Bot) -> None:
    """Refresh some of the tokens that expire soon (see `grants.lease_due`)."""
    now = utc_now()
    leased = await bot.claim_due(grants.lease_due, limit=REFRESH_BATCH)
    refreshes = (refresh(bot, grant, works=not is_expired(grant, now)) for grant in leased)
    await asyncio.gather(*(bot.run_to_completion(each) for each in refreshes))
