"""Opens an authorization link: finds its request, and starts an attempt. Opening a link does not use it up."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from bot.core.grants import REVOKED_HERE, Grant, GrantStatus
from bot.core.oauth import STATE_BYTES, VERIFIER_BYTES, digest, new_attempt
from bot.core.requests import AttemptKind, AuthorizationRequest, RequestStatus
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet
from bot.core.secrets import Secret
from bot.flows import correlation
from bot.flows.authorize.page_errors import without_disabled_scopes
from bot.flows.bot import Bot, utc_now
from bot.store import attempts, audit, grants, requests
from bot.store.attempts import NewAttempt, Openings
from bot.store.cards import show
from bot.store.ids import new_id
from bot.store.transaction import Connection

MAX_LIVE_ATTEMPTS = 20
"""The number of concurrent attempts of one link."""


MAX_ATTEMPTS_PER_DAY = 100
"""The number of attempts of one link in a day, including ended ones: each leaves rows that are kept for months."""


SHOW_OPENED_AFTER = timedelta(seconds=2)


class LinkUnavailable(StrEnum):
    """Why a link cannot be opened."""

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
    """Return the request of a ticket, or why its link cannot be opened. Changes nothing."""

    def read(c: Connection) -> tuple[AuthorizationRequest, Openings] | None:
        found = requests.find_by_ticket(c, digest(ticket))
        return None if found is None else (found, attempts.openings(c, found.id, utc_now()))

    found = await bot.database.read(read)
    if found is None:
        return LinkUnavailable.UNKNOWN
    request, openings = found
    if request.waits_for_administrator:
        return LinkUnavailable.WAITING_FOR_ADMINISTRATOR
    if request.status not in {RequestStatus.OPEN, RequestStatus.REDEEMING}:
        return LinkUnavailable(request.status.value)
    if request.expires_at <= utc_now():
        return LinkUnavailable.EXPIRED
    # Before any request to the platform, because anyone who has the link can open it repeatedly.
    return too_many(openings) or request


@dataclass(frozen=True, slots=True)
class StartedAttempt:
    """One opening of a link: the parameters that are sent to the platform."""

    scopes: ScopeSet
    state: Secret
    challenge: str | None
    prompt: bool
    """Whether the consent screen must be shown, because an earlier grant was revoked."""


async def open_link(bot: Bot, request: AuthorizationRequest) -> str | LinkUnavailable:
    """Start an attempt in a browser. Returns the URL of the platform's authorization page."""
    platform = bot.platform_of(request.user)
    redirect_uri = bot.callback_url(platform)
    started = await start_attempt(bot, request, redirect_uri, pkce=platform.uses_pkce)
    if isinstance(started, LinkUnavailable):
        return started
    return platform.authorize_url(
        redirect_uri=redirect_uri,
        scopes=started.scopes,
        state=started.state.reveal(),
        challenge=started.challenge,
        prompt=started.prompt,
    )


async def open_in_client(bot: Bot, request: AuthorizationRequest) -> StartedAttempt | LinkUnavailable:
    """Start an attempt inside the client, whose code is exchanged without a redirect URI and without PKCE."""
    return await start_attempt(bot, request, None, pkce=False)


async def start_attempt(
    bot: Bot, request: AuthorizationRequest, redirect_uri: str | None, *, pkce: bool
) -> StartedAttempt | LinkUnavailable:
    """Start an attempt with a new state, and with a PKCE pair if `pkce`."""
    with await correlation.of_request(bot, request.id, request.user):
        return await begin_attempt(bot, request, redirect_uri, pkce=pkce)


async def begin_attempt(
    bot: Bot, request: AuthorizationRequest, redirect_uri: str | None, *, pkce: bool
) -> StartedAttempt | LinkUnavailable:
    request = await without_disabled_scopes(bot, request)
    if request.waits_for_administrator:
        return LinkUnavailable.WAITING_FOR_ADMINISTRATOR
    fresh = new_attempt(secrets.token_bytes(STATE_BYTES + VERIFIER_BYTES), pkce=pkce)
    scopes, now = link_scopes(bot, request), utc_now()
    attempt = NewAttempt(
        new_id(now),
        AttemptKind.AUTHORIZATION,
        request.id,
        request.user,
        fresh.state_digest,
        fresh.verifier,
        scopes,
        redirect_uri,
        now + bot.authorization_ttl,
    )

    def work(c: Connection) -> StartedAttempt | LinkUnavailable:
        first = request.opened_at is None or not attempts.was_opened(c, request.id, scopes)
        full = attempts.begin(c, attempt, now=now, limit=MAX_LIVE_ATTEMPTS, limit_a_day=MAX_ATTEMPTS_PER_DAY)
        if full is not None:
            return too_many(full) or LinkUnavailable.TOO_MANY
        if first and not request.card.ephemeral:
            # From now on the card offers to report an error. Delayed, because usually a consent updates it soon anyway.
            show(c, request.id, now + SHOW_OPENED_AFTER)
        subject = ("request", request.id)
        audit.write(c, "link_opened", user=request.user, subject=subject, now=now, attempt=attempt.id)
        return StartedAttempt(scopes, fresh.state, fresh.challenge, was_revoked(grants.find(c, request.user)))

    return await bot.database.write(work)


def too_many(openings: Openings) -> LinkUnavailable | None:
    """Return why the link cannot be opened again, or None."""
    if openings.today >= MAX_ATTEMPTS_PER_DAY:
        return LinkUnavailable.TOO_MANY_TODAY
    return LinkUnavailable.TOO_MANY if openings.live >= MAX_LIVE_ATTEMPTS else None


def link_scopes(bot: Bot, request: AuthorizationRequest) -> ScopeSet:
    """Return the scopes that the link of a request asks for. If there are too many, the next link asks for the rest."""
    limit = bot.platform_of(request.user).limits.scopes_per_link
    if len(request.scopes) <= limit:
        return request.scopes
    first = sorted(request.scopes - {OFFLINE_ACCESS})[: limit - 1]
    return frozenset(first) | (request.scopes & {OFFLINE_ACCESS})


def was_revoked(grant: Grant | None) -> bool:
    """Return whether the user or an operator revoked the last grant. The platform may still consider it valid."""
    return grant is not None and grant.status is GrantStatus.ENDED and grant.end_reason in REVOKED_HERE
