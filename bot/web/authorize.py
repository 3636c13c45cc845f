"""Opening a card's link, and the callback from the platform's authorization page."""

from __future__ import annotations

import re

from aiohttp import web

from bot.core.oauth import Malformed, kind_of
from bot.core.requests import AttemptKind, AuthorizationRequest
from bot.flows import observations
from bot.flows.authorize.callback import complete
from bot.flows.authorize.grant import CallbackResult
from bot.flows.authorize.open import LinkUnavailable, find_open_request, open_link
from bot.flows.bot import Bot
from bot.web import login
from bot.web.app_keys import BOT, client_platform, platform_at, platform_of, require_platform, with_platform
from bot.web.pages import (
    CALLBACK_ERROR,
    CALLBACK_PAGES_BY_OUTCOME,
    LINK_PREVIEW_PAGE,
    UNAVAILABLE_LINK_PAGES,
    confirmation_page,
    show,
    show_outcome,
)
from bot.web.request_headers import is_cross_site_without_click, is_preview

TICKET = re.compile(r"[A-Za-z0-9_-]{43}")

RESULT_PATH = "/authorization"


async def open_ticket(request: web.Request) -> web.Response:
    """`GET /authorize/{ticket}`: starts an attempt each time a user opens it, and redirects to the platform."""
    bot = request.app[BOT]
    if is_preview(request):
        return show(request, LINK_PREVIEW_PAGE)
    ticket = request.match_info["ticket"]
    found = await find_request(bot, ticket)
    platform = platform_of(request) if isinstance(found, LinkUnavailable) else bot.platform_of(found.user)
    page = None if found is LinkUnavailable.UNKNOWN or platform is None else platform.in_client
    if page is not None and platform is client_platform(request) and "browser" not in request.query:
        # The ticket is in the fragment, to keep it out of the logs of proxies and the page's URL equal to the registered
        # one. That page also says why a link is unavailable, because it can close itself.
        return web.Response(status=302, headers={"Location": f"{page.page_path}#{ticket}"})
    if isinstance(found, LinkUnavailable):
        return show(request, UNAVAILABLE_LINK_PAGES[found], platform)
    if is_cross_site_without_click(request):
        return show(request, confirmation_page("browser" in request.query))
    target = await open_link(bot, found)
    if isinstance(target, LinkUnavailable):
        return show(request, UNAVAILABLE_LINK_PAGES[target], platform)
    return web.Response(status=302, headers={"Location": target})


async def find_request(bot: Bot, ticket: str) -> AuthorizationRequest | LinkUnavailable:
    """Return the authorization request of a ticket, or why its link is unavailable."""
    if not TICKET.fullmatch(ticket):
        return LinkUnavailable.UNKNOWN
    return await find_open_request(bot, ticket)


async def callback(request: web.Request) -> web.Response:
    """`/oauth/{platform}/callback`: completes an attempt. Accepts every method, and all paths below.

    Always redirects to a page without a query: otherwise a state, or the unused code of another user's link, would stay
    in the address bar and the history.
    """
    bot = request.app[BOT]
    try:
        return await complete_attempt(request)
    except Exception as error:
        observations.failed(bot, "request failed", error, route="callback")
        return login.redirect(f"{RESULT_PATH}/{CALLBACK_ERROR}")


async def complete_attempt(request: web.Request) -> web.Response:
    bot, platform, query = request.app[BOT], require_platform(request), request.query
    has_duplicates = any(len(query.getall(name)) > 1 for name in set(query))
    is_callback = request.method == "GET" and not request.match_info.get("rest")
    response = platform.parse_callback(query) if is_callback and not has_duplicates else Malformed()
    if isinstance(response, Malformed):
        return reject_malformed(request)
    if kind_of(response.state) is AttemptKind.SIGN_IN:
        return await login.callback(request, platform, response)
    outcome = await complete(bot, platform, response)
    return login.redirect(with_platform(request, f"{RESULT_PATH}/{outcome.value}", platform))


def reject_malformed(request: web.Request) -> web.Response:
    # Without a query, it is only a visit to the address, as by `bot doctor`.
    if request.query:
        request.app[BOT].refusals.note("callback refused", "malformed")
    return login.redirect(f"{RESULT_PATH}/{CallbackResult.MALFORMED.value}")


def has_code_or_state(request: web.Request) -> bool:
    """Whether the query has a code or a state, which only a callback should have."""
    names = {"state"}.union(*(each.code_parameters for each in request.app[BOT].platforms.values()))
    return not request.query.keys().isdisjoint(names)


def has_stray_code(request: web.Request) -> bool:
    """Whether a code or state was sent to a page that does not use it, and that has to remove it from the address.

    The callback and the in-client page remove it themselves.
    """
    is_page = request.method in {"GET", "HEAD"} and request.match_info.http_exception is None
    return is_page and platform_at(request) is None and has_code_or_state(request)


async def result(request: web.Request) -> web.Response:
    """`GET /authorization/{outcome}`: how an attempt ended."""
    return show_outcome(request, CALLBACK_PAGES_BY_OUTCOME)
