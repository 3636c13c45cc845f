"""A usable access token for a person: from the row, or renewed by exactly one of all who want it.

A refresh token works once, so renewing is done like a bank transfer: take the lease of this generation, which also
proves that the database can be written and records the intent; call; write the result only if the generation is still
the same. Once begun it is carried through: a process that stops, or a database that is away, is no reason to lose what
the platform has given. A late answer can never replace a newer grant. What still works is kept until the platform says
that it is over.
"""

from __future__ import annotations

import asyncio
import logging
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
from bot.flows.bot import Bot, now
from bot.store import audit, granted_scopes, grants
from bot.store.transaction import Connection

log = logging.getLogger(__name__)

WAIT_FOR_OTHERS = 12.0
"""Seconds to wait for another worker's refresh: one attempt at the platform takes 10 at most."""

LONGEST_PAUSE = timedelta(seconds=8)
"""After a failure. Short enough to be waited for by whoever needs the token once the platform is back."""
PAUSE_WHEN_REFUSED = timedelta(minutes=1)
"""After an answer that only a person can change: an operator, or the administrator."""

RENEWED_AT_ONCE = 5
"""Grants that a replica renews ahead of need in one go: one a second on the average, because the token endpoint's
limit, 50 a second for the whole app, is for people who wait."""


@dataclass(frozen=True, slots=True)
class Usable:
    token: Secret
    grant: Grant
    refreshed: bool = False


@dataclass(frozen=True, slots=True)
class Unusable:
    """There is no token that works. Unless the outcome is `NotAuthorized`, the grant is kept."""

    outcome: NoToken
    grant: Grant | None = None
    """What the user had granted before, if the outcome is `NotAuthorized`."""


async def usable_token(bot: Bot, user: UserKey, *, rejected: Secret | None = None) -> Usable | Unusable:
    """A token that should work. `rejected` is one that the platform has just refused, however fresh it looks."""
    give_up_at = asyncio.get_running_loop().time() + WAIT_FOR_OTHERS
    while True:
        grant = await bot.database.read(lambda c: grants.find(c, user))
        if grant is None or grant.status is GrantStatus.ENDED:
            return Unusable(NotAuthorized(), grant)
        if grant.access_token is None:
            return await end(bot, grant, "token_lost")
        moment = now()
        works = grant.access_token != rejected and not is_expired(grant, moment)
        if works and not wants_refresh(grant, moment):
            return Usable(grant.access_token, grant, refreshed=rejected is not None)
        if not can_refresh(grant, moment):
            if works:
                return Usable(grant.access_token, grant)
            return await end(bot, grant, "expired")
        leased = await lease(bot, grant, moment)
        if leased is not None:
            return await bot.carry_through(refresh(bot, leased, works=works))
        if works:
            return Usable(grant.access_token, grant)
        if grant.refresh_after is not None and grant.refresh_after > moment + LONGEST_PAUSE:
            return Unusable(Unreachable("the token could not be renewed", may_have_arrived=False))
        if asyncio.get_running_loop().time() > give_up_at:
            return Unusable(Unreachable("the token is being renewed", may_have_arrived=False))
        await asyncio.sleep(0.1)


async def lease(bot: Bot, grant: Grant, moment: datetime) -> Grant | None:
    return await bot.database.write_one(
        lambda c: grants.lease_refresh(c, grant.user, grant.generation, bot.claim(moment))
    )


async def narrow(bot: Bot, user: UserKey, *, without: ScopeSet) -> Grant | None:
    """Renews a person's tokens so that they no longer allow these scopes. None when that did not come about."""
    grant = await bot.database.read(lambda c: grants.find(c, user))
    moment = now()
    if grant is None or not can_refresh(grant, moment):
        return None
    leased = await lease(bot, grant, moment)
    if leased is None:
        return None
    works = not is_expired(grant, moment)
    kept = grant.scopes - without
    renewed = await bot.carry_through(refresh(bot, leased, works=works, scopes=kept))
    return renewed.grant if isinstance(renewed, Usable) and renewed.refreshed else None


async def refresh(
    bot: Bot, grant: Grant, *, works: bool, scopes: ScopeSet | None = None
) -> Usable | Unusable:
    """Renews the tokens under a lease that this worker holds. `works`: the old access token still does.

    `scopes` narrows them to these; without, to what is held and was asked for. The person may have
    consented to more through a link that is not ours; the bot does not take that.
    """
    unasked = await bot.database.read(lambda c: granted_scopes.unasked(c, grant.user))
    scopes = (grant.scopes if scopes is None else scopes) - unasked
    refreshing = bot.platform_of(grant.user).refreshing
    result = (
        await refreshing.refresh(grant.refresh_token, scopes=scopes)
        if refreshing is not None and grant.refresh_token is not None
        else LOST
    )
    if isinstance(result, TokenSet):
        return await keep(bot, grant, result)
    log.warning(
        "refresh failed",
        extra={"user": str(grant.user), "problem": result.problem.value, "code": result.code},
    )
    is_over = result.problem in {TokenProblem.OVER, TokenProblem.CODE}
    if not works and (is_over or result.problem is TokenProblem.USER):
        return await end(bot, grant, f"refresh_refused_{result.code}")
    await record_failure(bot, grant, result, is_over=is_over)
    if works and grant.access_token is not None:
        return Usable(grant.access_token, grant)
    return Unusable(outcome_of(result))


LOST = TokenRefused(TokenProblem.OVER, 0, "the stored refresh token is lost")


def outcome_of(refusal: TokenRefused) -> NoToken:
    """Return what a failed refresh means to the call that needs the token."""
    if refusal.problem is TokenProblem.APP:
        return AppRejected()
    if refusal.problem is TokenProblem.BLOCKED:
        return BlockedByPolicy(refusal.message or str(refusal.code))
    if refusal.retry_after is not None:
        return RateLimited(refusal.retry_after)
    return Unreachable(refusal.message, may_have_arrived=False)


async def keep(bot: Bot, grant: Grant, tokens: TokenSet) -> Usable | Unusable:
    moment = now()

    def work(c: Connection) -> Grant | None:
        saved = grants.save_refreshed(
            c,
            grant.user,
            grant.generation,
            tokens,
            scopes=tokens.scopes or grant.scopes,
            unasked=granted_scopes.unasked(c, grant.user),
            now=moment,
        )
        if saved is not None:
            changed = sorted(saved.scopes) if saved.scopes != grant.scopes else None
            audit.write(
                c, "token_refreshed", user=grant.user, now=moment, generation=saved.generation, scopes=changed
            )
        return saved

    saved = await bot.insist(work)
    if saved is None:
        # A newer consent has replaced the grant while this refresh was under way: it wins.
        return await usable_token(bot, grant.user)
    return Usable(tokens.access_token, saved, refreshed=True)


async def record_failure(bot: Bot, grant: Grant, refusal: TokenRefused, *, is_over: bool) -> None:
    """The tokens stay, and are tried again later; only a refresh token that is over is forgotten."""
    moment = now()
    after = moment + pause_after(grant, refusal)
    in_doubt = refusal.problem is TokenProblem.IN_DOUBT

    def work(c: Connection) -> None:
        recorded = (
            grants.refresh_over(c, grant, bot.worker, moment)
            if is_over
            else grants.refresh_failed(c, grant, bot.worker, after=after, in_doubt=in_doubt)
        )
        if recorded:
            audit.write(
                c,
                "refresh_failed",
                user=grant.user,
                now=moment,
                problem=refusal.problem.value,
                code=refusal.code,
            )

    await bot.database.write(work)


def pause_after(grant: Grant, refusal: TokenRefused) -> timedelta:
    """Grows with each failure, and is never the same for two grants: an outage ends for all of them at once.

    What the platform asks for comes first, up to a minute.
    """
    jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
    if refusal.problem in {TokenProblem.APP, TokenProblem.BLOCKED, TokenProblem.USER}:
        return spread(PAUSE_WHEN_REFUSED, jitter)
    grown = backoff(grant.refresh_failures + 1, jitter, longest=LONGEST_PAUSE)
    return max(grown, asked_to_wait(refusal.retry_after))


async def end(bot: Bot, grant: Grant, reason: str) -> Unusable:
    """Ends a grant that cannot be renewed any more, unless a newer one has taken its place."""
    moment = now()

    def work(c: Connection) -> None:
        grants.end(c, grant.user, reason, moment, generation=grant.generation)

    await bot.database.write(work)
    return Unusable(NotAuthorized(), grant)


async def renew_ahead(bot: Bot) -> None:
    """Renews a handful of the tokens that are due ahead of need: see `grants.lease_due`."""
    moment = now()
    leased = await bot.database.write_one(lambda c: grants.lease_due(c, bot.claim(moment), RENEWED_AT_ONCE))
    renewals = (refresh(bot, grant, works=not is_expired(grant, moment)) for grant in leased)
    await asyncio.gather(*(bot.carry_through(each) for each in renewals))
