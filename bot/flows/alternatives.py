"""What a link asks for instead, when the platform's page would only show an error for what it asks for now.

That page never calls back: nobody is sent there with a scope that the app has not enabled, and people who have met its
error say so on the card. First come other alternatives, then asking without `offline_access`. The administrator is
asked only for what the platform itself says is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime

from bot.core.model import FOR_ADMINISTRATOR, AuthorizationRequest, DeferredCall, RequestStatus, WaitsFor
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet, choose_scopes, named, with_offline_access
from bot.flows.administrators import to_enable
from bot.flows.bot import Bot, now
from bot.store import audit, authorizations, calls, device_authorizations, scope_waits, users
from bot.store.database import Connection

SCOPES_PATIENCE = 1.0
"""Seconds that a click, or a person in front of a page, waits for the list of the app's scopes."""


async def in_time(reading: Awaitable[ScopeSet | None]) -> ScopeSet | None:
    """A list of enabled scopes, unless it takes too long."""
    try:
        async with asyncio.timeout(SCOPES_PATIENCE):
            return await reading
    except TimeoutError:
        return None


async def without_disabled_scopes(bot: Bot, request: AuthorizationRequest) -> AuthorizationRequest:
    """The request before somebody follows its link: it asks for nothing that the app is known not to have enabled."""
    enabled = await in_time(bot.platform.enabled_scopes_for_visitors())
    if not is_explained(request, enabled) or request.status is not RequestStatus.OPEN:
        return request
    await ask_otherwise_now(bot, request, enabled, "scope_disabled")
    return await bot.database.read(lambda c: authorizations.get(c, request.id)) or request


async def ask_otherwise_now(
    bot: Bot, request: AuthorizationRequest, enabled: ScopeSet | None, reason: str
) -> bool:
    """Run `ask_otherwise` in its own transaction, unless the request has changed; `reason` goes into the audit log.

    False when nothing else can be asked for, and the platform's list does not say that anything is missing.
    """
    moment = now()

    def work(c: Connection) -> bool:
        users.lock(c, request.user)
        current = authorizations.get(c, request.id)
        if current is None or (current.status, current.scopes) != (request.status, request.scopes):
            return True
        _, other = other_choice(current, waiting_of(c, current), enabled)
        if other is None and not is_explained(current, enabled):
            return False
        subject = ("request", request.id)
        audit.write(c, reason, user=request.user, subject=subject, now=moment, scopes=sorted(request.scopes))
        ask_otherwise(c, bot, current, enabled, moment)
        return True

    changed = await bot.database.write(work)
    bot.wake.upkeep.set()
    return changed


def waiting_of(c: Connection, request: AuthorizationRequest) -> list[DeferredCall]:
    """What waits for a request's consent."""
    suspended = calls.suspended_of(c, request.user)
    return [each for each in suspended if each.waits_for is WaitsFor.AUTHORIZATION]


def ask_otherwise(
    c: Connection, bot: Bot, request: AuthorizationRequest, enabled: ScopeSet | None, moment: datetime
) -> None:
    """Inside a transaction: a live request asks for something else from now on, or waits for the administrator.

    `enabled` are the app's scopes, if they can be read. A request for what does not exist has failed.
    """
    user = request.user
    device_authorizations.close(c, user, moment)
    waiting = waiting_of(c, request)
    avoided, scopes = other_choice(request, waiting, enabled)
    if scopes is not None:
        authorizations.avoid(c, request.id, avoided, scopes, moment)
        return
    told = False
    for call in waiting:
        missing, unknown = to_enable(call.needs, enabled, bot.platform.knows_scope)
        if unknown and (enabled is not None or not missing):
            calls.cancel(c, call.id, "unknown_scope", moment)
            continue
        told = True
        # With its request it waits for the administrator's word: the list would release it at once.
        kept = None if is_explained(request, enabled) else request.id
        calls.change_wait(c, call.id, WaitsFor.ADMINISTRATOR, kept, moment)
        scope_waits.open(c, user.platform, user.app_id, missing, moment)
    failure = FOR_ADMINISTRATOR if told else "unknown_scope"
    authorizations.settle(c, request.id, RequestStatus.FAILED, failure=failure, now=moment)


def is_explained(request: AuthorizationRequest, enabled: ScopeSet | None) -> bool:
    """Whether the app's list tells why the page shows an error: no link that names such a scope can end otherwise."""
    return enabled is not None and not request.scopes <= enabled


def other_choice(
    request: AuthorizationRequest, waiting: Sequence[DeferredCall], enabled: ScopeSet | None
) -> tuple[ScopeSet, ScopeSet | None]:
    """What to leave out from now on, and what to ask for instead; None when nothing is left to try."""
    needs = tuple(clause for call in waiting for clause in call.needs)
    offline = request.scopes & {OFFLINE_ACCESS}
    extra = request.scopes - named(needs) - offline if needs else frozenset()
    if enabled is not None and is_explained(request, enabled):
        choice = choose_scopes(needs, frozenset(), enabled, avoided=request.avoided)
        scopes = with_offline_access(choice.scopes | (extra & enabled), enabled, request.avoided)
        return request.avoided, None if choice.unavailable else scopes
    if extra:
        return request.avoided | extra, request.scopes - extra
    avoided = request.avoided | (request.scopes - offline)
    choice = choose_scopes(needs, frozenset(), enabled, avoided=avoided)
    if needs and not choice.unavailable:
        return avoided, choice.scopes | offline
    if offline:
        return request.avoided | offline, request.scopes - offline
    return request.avoided, None
