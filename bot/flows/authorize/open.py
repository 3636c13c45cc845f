"""Opens an authorization link: where it leads now, and the attempt that starts. A look consumes nothing."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from bot.core.grants import REVOKED_HERE, Grant, GrantStatus
from bot.core.oauth import STATE_BYTES, VERIFIER_BYTES, digest, new_attempt
from bot.core.requests import AttemptKind, AuthorizationRequest, RequestStatus
from bot.core.scopes import MAX_SCOPES_PER_LINK, OFFLINE_ACCESS, ScopeSet
from bot.core.secrets import Secret
from bot.flows.authorize.page_errors import without_disabled_scopes
from bot.flows.bot import Bot, now
from bot.store import attempts, audit, grants, requests
from bot.store.attempts import NewAttempt, Openings
from bot.store.cards import show_card
from bot.store.ids import new_id
from bot.store.transaction import Connection

MAX_LIVE_ATTEMPTS = 20
"""Openings of one link that can be under way at once."""


MAX_ATTEMPTS_PER_DAY = 100
"""Openings of one link in a day, ended ones included: each leaves rows that are kept for months."""


SHOW_OPENED_AFTER = timedelta(seconds=2)


class LinkUnavailable(StrEnum):
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


async def find_open_request(bot: Bot, ticket: str) -> AuthorizationRequest | LinkUnavailable:
    """The request behind a ticket, if its link can still be followed. Changes nothing."""
    request = await bot.database.read(lambda c: requests.find_by_ticket(c, digest(ticket)))
    if request is None:
        return LinkUnavailable.UNKNOWN
    if request.waits_for_administrator:
        return LinkUnavailable.WAITING_FOR_ADMINISTRATOR
    if request.status not in {RequestStatus.OPEN, RequestStatus.REDEEMING}:
        return LinkUnavailable(request.status.value)
    if request.expires_at <= now():
        return LinkUnavailable.EXPIRED
    return request


@dataclass(frozen=True, slots=True)
class StartedAttempt:
    """One opening of a link: what the platform has to be sent."""

    scopes: ScopeSet
    state: Secret
    challenge: str | None
    prompt: bool
    """The page must show its consent screen, because the user or an operator revoked the grant before."""


async def open_link(bot: Bot, request: AuthorizationRequest) -> str | LinkUnavailable:
    """Begins an attempt in a browser. Returns the URL of the platform's authorization page."""
    platform = bot.platform_of(request.user)
    redirect_uri = bot.callback_url(platform)
    begun = await start_attempt(bot, request, redirect_uri, pkce=platform.uses_pkce)
    if isinstance(begun, LinkUnavailable):
        return begun
    return platform.authorize_url(
        redirect_uri=redirect_uri,
        scopes=begun.scopes,
        state=begun.state.reveal(),
        challenge=begun.challenge,
        prompt=begun.prompt,
    )


async def open_in_client(bot: Bot, request: AuthorizationRequest) -> StartedAttempt | LinkUnavailable:
    """Begins an attempt inside the client, whose code is exchanged without redirect URI and without a PKCE pair."""
    return await start_attempt(bot, request, None, pkce=False)


async def start_attempt(
    bot: Bot, request: AuthorizationRequest, redirect_uri: str | None, *, pkce: bool
) -> StartedAttempt | LinkUnavailable:
    """Begins an attempt with a fresh state, and a PKCE pair where there is a place for one."""
    # Before anything is asked of the platform: anybody who has the link can open it without end.
    full = too_many(await bot.database.read(lambda c: attempts.openings(c, request.id, now())))
    if full is not None:
        return full
    request = await without_disabled_scopes(bot, request)
    if request.waits_for_administrator:
        return LinkUnavailable.WAITING_FOR_ADMINISTRATOR
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

    def work(c: Connection) -> StartedAttempt | LinkUnavailable:
        first = not attempts.was_opened(c, request.id, scopes)
        full = attempts.begin(
            c, attempt, now=moment, limit=MAX_LIVE_ATTEMPTS, limit_a_day=MAX_ATTEMPTS_PER_DAY
        )
        if full is not None:
            return too_many(full) or LinkUnavailable.TOO_MANY
        if first and not request.card_ephemeral:
            # The card offers to report an error from now on. Mostly the consent comes first, which changes it as well.
            show_card(c, request.id, moment + SHOW_OPENED_AFTER)
        subject = ("request", request.id)
        audit.write(c, "link_opened", user=request.user, subject=subject, now=moment, attempt=attempt.id)
        return StartedAttempt(scopes, fresh.state, fresh.challenge, was_revoked(grants.find(c, request.user)))

    return await bot.database.write(work)


def too_many(openings: Openings) -> LinkUnavailable | None:
    """Why the link cannot be opened once more, if it cannot."""
    if openings.today >= MAX_ATTEMPTS_PER_DAY:
        return LinkUnavailable.TOO_MANY_TODAY
    return LinkUnavailable.TOO_MANY if openings.live >= MAX_LIVE_ATTEMPTS else None


def one_link(scopes: ScopeSet) -> ScopeSet:
    """At most as many as one link takes; the rest is asked for by the next."""
    if len(scopes) <= MAX_SCOPES_PER_LINK:
        return scopes
    first = sorted(scopes - {OFFLINE_ACCESS})[: MAX_SCOPES_PER_LINK - 1]
    return frozenset(first) | (scopes & {OFFLINE_ACCESS})


def was_revoked(grant: Grant | None) -> bool:
    """After a revocation the platform may still hold the old grants: consent is made visible, and narrowed."""
    return grant is not None and grant.status is GrantStatus.ENDED and grant.end_reason in REVOKED_HERE
