"""Errors on the platform's authorization page, which does not redirect back when it shows one.

No link asks for a scope that the app is known not to have enabled. Users report other errors on the card. The bot then
asks for other alternatives, and finally leaves out `offline_access`. Only what the platform confirms is reported to
administrators as a fact; everything else is forwarded as a user's report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime

from bot.core.calls import DeferredCall, WaitsFor
from bot.core.cards import PageError
from bot.core.language import Words
from bot.core.messages import Destination, Reply
from bot.core.platform import Platform
from bot.core.requests import FOR_ADMINISTRATOR, AuthorizationRequest, RequestStatus
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet, choose_scopes, named, with_always_asked
from bot.core.words.administrators import (
    PAGE_ERROR_CHECK,
    page_error_reported,
    redirects_missing,
    redirects_registered,
    redirects_unknown,
    scopes_enabled,
    scopes_unknown,
)
from bot.flows import administrators
from bot.flows.administrators import to_enable
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import Draft, deliver_all, draft, insert_all
from bot.store import audit, calls, device_authorizations, requests, scope_waits, seen_events, users
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

SCOPE_LIST_TIMEOUT = 1.0
"""Seconds that a click or a page waits for the list of the app's scopes."""


async def within_timeout(reading: Awaitable[ScopeSet | None]) -> ScopeSet | None:
    """Return the awaited list, or None if reading it takes too long."""
    try:
        async with asyncio.timeout(SCOPE_LIST_TIMEOUT):
            return await reading
    except TimeoutError:
        return None


async def without_disabled_scopes(bot: Bot, request: AuthorizationRequest) -> AuthorizationRequest:
    """Return the request, changed to ask for nothing that the app is known not to have enabled."""
    enabled = await within_timeout(bot.platform_of(request.user).enabled_scopes_for_visitors())
    if not is_explained(request, enabled) or request.status is not RequestStatus.OPEN:
        return request
    await ask_for_other_scopes_now(bot, request, enabled, "scope_disabled")
    return await bot.database.read(lambda c: requests.get(c, request.id)) or request


async def ask_for_other_scopes_now(
    bot: Bot, request: AuthorizationRequest, enabled: ScopeSet | None, reason: str
) -> bool:
    """Run `ask_for_other_scopes` in its own transaction, unless the request has changed.

    `reason` is the action in the audit log. Returns False if nothing else can be asked for, and the platform's list does
    not show that anything is missing.
    """
    now = utc_now()

    def work(c: Connection) -> bool:
        users.lock(c, request.user)
        current = requests.get(c, request.id)
        if current is None or (current.status, current.scopes) != (request.status, request.scopes):
            return True
        waiting = calls.suspended_for_consent(c, current.user)
        always = bot.platform_of(current.user).always_asked
        _, other = next_choice(current, waiting, enabled, always)
        if other is None and not is_explained(current, enabled):
            return False
        subject = ("request", request.id)
        audit.write(c, reason, user=request.user, subject=subject, now=now, scopes=sorted(request.scopes))
        ask_for_other_scopes(c, bot, current, enabled, now)
        return True

    changed = await bot.database.write(work)
    bot.signals.upkeep.set()
    return changed


def ask_for_other_scopes(
    c: Connection, bot: Bot, request: AuthorizationRequest, enabled: ScopeSet | None, now: datetime
) -> None:
    """Make a live request ask for other scopes, or wait for an administrator if there are none.

    `enabled` are the app's scopes, if they can be read. A request for scopes that do not exist fails.
    """
    user = request.user
    device_authorizations.close(c, user, now)
    waiting = calls.suspended_for_consent(c, user)
    avoided, scopes = next_choice(request, waiting, enabled, bot.platform_of(user).always_asked)
    if scopes is not None:
        requests.avoid(c, request.id, avoided, scopes, now)
        return
    has_waiting = False
    for call in waiting:
        missing, unknown = to_enable(call.needs, enabled, bot.platform_of(user).knows_scope)
        if unknown and (enabled is not None or not missing):
            calls.cancel(c, call.id, "unknown_scope", now)
            continue
        has_waiting = True
        # A call that keeps its request waits until an administrator confirms: the list alone would release it now.
        kept_request = None if is_explained(request, enabled) else request.id
        calls.change_wait(c, call.id, WaitsFor.ADMINISTRATOR, kept_request, now)
        scope_waits.open(c, (user.platform, user.app_id), missing, now)
    failure = FOR_ADMINISTRATOR if has_waiting else "unknown_scope"
    requests.settle(c, request.id, requests.End(RequestStatus.FAILED, failure=failure), now)


def is_explained(request: AuthorizationRequest, enabled: ScopeSet | None) -> bool:
    """Return whether the request asks for a scope that the app has not enabled, which explains an error on the page."""
    return enabled is not None and not request.scopes <= enabled


def next_choice(
    request: AuthorizationRequest,
    waiting: Sequence[DeferredCall],
    enabled: ScopeSet | None,
    always_asked: ScopeSet,
) -> tuple[ScopeSet, ScopeSet | None]:
    """Return the scopes to avoid from now on, and those to ask for instead. The latter are None if nothing is left."""
    needs = tuple(clause for call in waiting for clause in call.needs)
    always = request.scopes & always_asked
    extra = request.scopes - named(needs) - always if needs else frozenset()
    if enabled is not None and is_explained(request, enabled):
        choice = choose_scopes(needs, frozenset(), enabled, avoided=request.avoided)
        scopes = with_always_asked(choice.scopes | (extra & enabled), always_asked, enabled, request.avoided)
        return request.avoided, None if choice.unavailable else scopes
    if extra:
        return request.avoided | extra, request.scopes - extra
    avoided = request.avoided | (request.scopes - always)
    choice = choose_scopes(needs, frozenset(), enabled, avoided=avoided)
    if needs and not choice.unavailable:
        return avoided, choice.scopes | always
    if offline := always & {OFFLINE_ACCESS}:
        return request.avoided | offline, request.scopes - offline
    return request.avoided, None


async def report_page_error(bot: Bot, request: AuthorizationRequest, error: PageError) -> bool | None:
    """Handle a reported error. Returns None if other scopes are asked for, or an administrator has to enable some.

    Otherwise forwards the report to the administrators, and returns whether that was possible.
    """
    platform = bot.platform_of(request.user)
    if error is PageError.SCOPE:
        enabled = await within_timeout(platform.enabled_scopes(fresh=True))
        if await ask_for_other_scopes_now(bot, request, enabled, "page_error_reported"):
            return None
        scopes = request.scopes - {OFFLINE_ACCESS}
        words = administrators.list_scopes(await platform.describe_scopes(scopes))
        finding = scopes_enabled(words) if enabled is not None else scopes_unknown(words)
        return await report_to_administrators(bot, request, error, finding)
    if error is PageError.REDIRECT and not bot.by_device:
        registered = await within_timeout(platform.redirect_urls())
        return await report_to_administrators(bot, request, error, redirects(bot, platform, registered))
    check = PAGE_ERROR_CHECK.get(error, PAGE_ERROR_CHECK[PageError.OTHER])
    return await report_to_administrators(bot, request, error, check)


def redirects(bot: Bot, platform: Platform, registered: frozenset[str] | None) -> Words:
    """Return the result of comparing the app's registered redirect URLs with those that the bot uses."""
    page = platform.in_client
    ours = (bot.callback_url(platform), *([f"{bot.public_url}{page.page_path}"] if page else []))
    missing = [url for url in ours if registered is not None and url not in registered]
    if missing:
        return redirects_missing(missing)
    return redirects_registered(ours) if registered is not None else redirects_unknown(ours)


async def report_to_administrators(
    bot: Bot, request: AuthorizationRequest, error: PageError, finding: Words
) -> bool:
    """Report an error to the administrators, once for each request.

    Returns False if there are none, or the user has reached the daily limit.
    """
    user, now = request.user, utc_now()
    admins = await bot.administrators(bot.platform_of(user))
    profile = await bot.database.read(lambda c: users.profile(c, user))
    name = (profile.name if profile is not None else None) or user.open_id
    commands = tuple(f"/{name}" for name in request.reasons)
    reply = page_error_reported(name, error, commands, finding)

    def work(c: Connection) -> list[OutgoingMessage] | None:
        once = f"{error.value}-{request.id}"
        if seen_events.is_known(c, user.platform, user.app_id, once):
            return []
        if not admins or not administrators.may_report(c, user, now):
            return None
        seen_events.record(c, user.platform, user.app_id, once, now)
        subject = ("request", request.id)
        audit.write(c, "page_error_reported", user=user, subject=subject, now=now, error=error.value)
        return insert_all(c, bot, [notice(c, bot, request, error, admin, reply) for admin in admins])

    messages = await bot.database.write(work)
    if messages:
        bot.background(deliver_all(bot, messages))
    return messages is not None


def notice(
    c: Connection, bot: Bot, request: AuthorizationRequest, error: PageError, admin: str, reply: Reply
) -> Draft:
    key = f"{request.id}-{error.value[0]}/{admin[-12:]}"
    platform = bot.platform_of(request.user)
    user = platform.user_key(admin, request.user.tenant_key)
    content = platform.render_reply(reply, users.language(c, user))
    return draft(Destination(user), content, kind="notice", key=key)
