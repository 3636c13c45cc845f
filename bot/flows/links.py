"""A card's link: where it leads now, and the attempt that begins when somebody opens it. A look consumes nothing."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from bot.core.model import AttemptKind, AuthorizationRequest, Grant, GrantStatus, RequestStatus, Secret
from bot.core.oauth import STATE_BYTES, VERIFIER_BYTES, digest, new_attempt
from bot.core.scopes import MAX_SCOPES_PER_LINK, OFFLINE_ACCESS, ScopeSet
from bot.flows import alternatives
from bot.flows.bot import Bot, now
from bot.store import attempts, audit, authorizations, grants
from bot.store.attempts import NewAttempt, Openings
from bot.store.database import Connection
from bot.store.ids import new_id

MAX_LIVE_ATTEMPTS = 20
"""Openings of one link that can be under way at once."""

MAX_ATTEMPTS_A_DAY = 100
"""Openings of one link in a day, ended ones included: each leaves rows that are kept for months."""


SHOWN_OPENED_AFTER = timedelta(seconds=2)


class Closed(StrEnum):
    """Why a link leads nowhere (any more)."""

    UNKNOWN = "unknown"
    GRANTED = "granted"
    DECLINED = "declined"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    TOO_MANY = "too_many"
    TOO_MANY_TODAY = "too_many_today"
    WAITING_FOR_ADMINISTRATOR = "waiting_for_administrator"


async def look_up(bot: Bot, ticket: str) -> AuthorizationRequest | Closed:
    """The request behind a ticket, if its link can still be followed. Changes nothing."""
    request = await bot.database.read(lambda c: authorizations.find_by_ticket(c, digest(ticket)))
    if request is None:
        return Closed.UNKNOWN
    if request.waits_for_administrator:
        return Closed.WAITING_FOR_ADMINISTRATOR
    if request.status not in {RequestStatus.OPEN, RequestStatus.REDEEMING}:
        return Closed(request.status.value)
    if request.expires_at <= now():
        return Closed.EXPIRED
    return request


@dataclass(frozen=True, slots=True)
class Begun:
    """One opening of a link: what the platform has to be sent."""

    scopes: ScopeSet
    state: Secret
    challenge: str | None
    insist: bool
    """Consent is to be visible, because an earlier grant was revoked."""


async def open_link(bot: Bot, request: AuthorizationRequest) -> str | Closed:
    """Begins an attempt in a browser. Returns the URL of the platform's authorization page."""
    begun = await begin(bot, request, bot.callback_url, pkce=bot.platform.uses_pkce)
    if isinstance(begun, Closed):
        return begun
    return bot.platform.authorize_url(
        redirect_uri=bot.callback_url,
        scopes=begun.scopes,
        state=begun.state.reveal(),
        challenge=begun.challenge,
        consent=begun.insist,
    )


async def open_in_client(bot: Bot, request: AuthorizationRequest) -> Begun | Closed:
    """Begins an attempt inside the client, whose code is exchanged without redirect URI and without a PKCE pair."""
    return await begin(bot, request, None, pkce=False)


async def begin(
    bot: Bot, request: AuthorizationRequest, redirect_uri: str | None, *, pkce: bool
) -> Begun | Closed:
    """Begins an attempt with a fresh state, and a PKCE pair where there is a place for one."""
    # Before anything is asked of the platform: anybody who has the link can open it without end.
    full = too_many(await bot.database.read(lambda c: attempts.openings(c, request.id, now())))
    if full is not None:
        return full
    request = await alternatives.without_disabled_scopes(bot, request)
    if request.waits_for_administrator:
        return Closed.WAITING_FOR_ADMINISTRATOR
    fresh = new_attempt(secrets.token_bytes(STATE_BYTES + VERIFIER_BYTES), pkce=pkce)
    scopes, moment = one_link(request.scopes), now()
    attempt = NewAttempt(
        new_id(moment),
        AttemptKind.AUTHORIZATION,
        request.id,
        request.user,
        fresh.state_digest,
        fresh.verifier,
        scopes,
        redirect_uri,
        moment + bot.authorization_ttl,
    )

    def work(c: Connection) -> Begun | Closed:
        first = not attempts.was_opened(c, request.id, scopes)
        full = attempts.begin(c, attempt, now=moment, limit=MAX_LIVE_ATTEMPTS, limit_a_day=MAX_ATTEMPTS_A_DAY)
        if full is not None:
            return too_many(full) or Closed.TOO_MANY
        if first and not request.card_ephemeral:
            # The card offers to report an error from now on. Mostly the consent comes first, which changes it as well.
            authorizations.show(c, request.id, moment + SHOWN_OPENED_AFTER)
        subject = ("request", request.id)
        audit.write(c, "link_opened", user=request.user, subject=subject, now=moment, attempt=attempt.id)
        return Begun(scopes, fresh.state, fresh.challenge, was_revoked(grants.find(c, request.user)))

    return await bot.database.write(work)


def too_many(openings: Openings) -> Closed | None:
    """Why the link cannot be opened once more, if it cannot."""
    if openings.today >= MAX_ATTEMPTS_A_DAY:
        return Closed.TOO_MANY_TODAY
    return Closed.TOO_MANY if openings.live >= MAX_LIVE_ATTEMPTS else None


def one_link(scopes: ScopeSet) -> ScopeSet:
    """At most as many as one link takes; the rest is asked for by the next."""
    if len(scopes) <= MAX_SCOPES_PER_LINK:
        return scopes
    first = sorted(scopes - {OFFLINE_ACCESS})[: MAX_SCOPES_PER_LINK - 1]
    return frozenset(first) | (scopes & {OFFLINE_ACCESS})


def was_revoked(grant: Grant | None) -> bool:
    """After a revocation the platform may still hold the old grants: consent is made visible, and narrowed."""
    return (
        grant is not None
        and grant.status is GrantStatus.ENDED
        and (grant.end_reason or "").startswith("revoked_by_")
    )
