"""Revokes the tokens of ended grants at the platform, with retries."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from functools import partial

from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import retry_time
from bot.store import revocations
from bot.store.revocations import Revocation
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


def revoke_tokens(
    c: Connection, user: UserKey, access: Secret | None, refresh: Secret | None, now: datetime
) -> None:
    """Queue the revocation of both tokens, because the platform may not revoke one with the other."""
    for token in (refresh, access):
        if token is not None:
            revocations.add(c, user, token, now)


async def revoke_due(bot: Bot) -> None:
    """Revoke the tokens of ended grants that are due."""
    due = await bot.claim_due(revocations.claim_due, limit=10)
    # Concurrently, because in sequence the last leases would expire while the platform is slow.
    await asyncio.gather(*(revoke(bot, revocation) for revocation in due))


async def revoke(bot: Bot, revocation: Revocation) -> None:
    if revocation.token is None:
        await give_up_revoking(bot, revocation, "token_lost")
        return
    capability = bot.platform_of(revocation.user).revocation
    refusal = await capability.revoke(revocation.token) if capability is not None else None
    if refusal is None:
        await bot.database.write(partial(revocations.done, revocation=revocation.id, now=utc_now()))
    elif revocation.attempts >= MAX_ATTEMPTS:
        await give_up_revoking(bot, revocation, f"{refusal.problem.value} {refusal.code}")
    else:
        factor = 1 if revocation.attempts < FAST_ATTEMPTS else 60
        now = utc_now()
        until = now + (retry_time(now, revocation.attempts, refusal.retry_after) - now) * factor
        await bot.database.write(partial(revocations.postpone, claimed=revocation, until=until))


async def give_up_revoking(bot: Bot, revocation: Revocation, reason: str) -> None:
    await bot.database.write(
        partial(revocations.failed, revocation=revocation.id, reason=reason, now=utc_now())
    )
    log.error("a token could not be revoked at the platform", extra={"user": str(revocation.user)})


FAST_ATTEMPTS = 12
"""The number of attempts within some minutes, before the pauses grow from a minute to an hour."""


MAX_ATTEMPTS = 1000
"""Attempts for more than a month, after which every token has expired."""
