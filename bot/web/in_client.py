"""Authorizing and signing in inside the client: a page on a static path, and the posts that its script makes.

A platform may require the URL of the calling page on the app's redirect list, so the page's subject travels in the
fragment: a ticket, or `sign-in`. The platform's script asks for an attempt, has the client authorize it, and posts the
code; from there on it is handled like a callback. Where the client cannot do it, the script continues on the platform's
page in the browser.

The SDK is a foreign script that runs on this bot's origin, so the page is kept apart from sessions: its policy allows
that one script and the posts below, and nothing else; a window that it opens on another page of the bot is severed
from it; and routes that depend on a session reject requests of scripts (`routes.navigation_only`).
"""

from __future__ import annotations

from aiohttp import web

from bot.core.api import Json
from bot.core.oauth import Approved, Denied, Malformed, kind_of
from bot.core.platform import InClientPage
from bot.core.requests import AttemptKind
from bot.core.strict_json import decode
from bot.flows.account import sign_in
from bot.flows.account.sign_in import SignInFailure
from bot.flows.authorize.callback import complete as complete_attempt
from bot.flows.authorize.grant import CallbackResult
from bot.flows.authorize.open import LinkUnavailable, open_in_client
from bot.web import login
from bot.web.app_keys import BOT, ClientScript, require_platform
from bot.web.authorize import find_request, has_code_or_state, reject_malformed
from bot.web.pages import (
    CALLBACK_PAGES,
    LINK_PREVIEW_PAGE,
    SIGN_IN_PAGES,
    UNAVAILABLE_LINK_PAGES,
    Page,
    show,
)
from bot.web.rendering import client_page, render
from bot.web.request_headers import is_cross_site_without_click, is_in_client, language_of
from bot.web.security import CONTENT_SECURITY_POLICY, read_body

MAX_POST_SIZE = 16 * 1024
"""Bytes."""


async def page(request: web.Request) -> web.Response:
    """`GET /oauth/{platform}/client`: the same for everyone; only its script knows the subject."""
    if has_code_or_state(request):
        # The page is on the list of redirect URLs, so a link can lead here with a code, which no script may see.
        return reject_malformed(request)
    if is_cross_site_without_click(request) and not is_in_client(request):
        # Without this, the page's script would open the link.
        return show(request, LINK_PREVIEW_PAGE)
    platform, script = require_platform(request), ClientScript.parse(page_of(request).client_script)
    # With the slash at its end, the source stands for the paths below it, none of which redirects.
    posts = f"{request.app[BOT].public_url}{request.path}/"
    headers = {
        "Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; script-src 'self' {script.csp_source}; "
        f"connect-src {posts}; worker-src 'none'",
        # Differs from the `same-origin` of all other pages, so that the browser severs a window that opens one.
        "Cross-Origin-Opener-Policy": "unsafe-none",
    }
    return render(request, client_page(platform), headers=headers, client_script=script)


def page_of(request: web.Request) -> InClientPage:
    page = require_platform(request).in_client
    assert page is not None
    return page


async def start_attempt(request: web.Request) -> web.Response:
    """Start an attempt for a ticket; return the settings of the script, or the page of an unavailable link."""
    fields = await read_fields(request)
    bot = request.app[BOT]
    found = await find_request(bot, fields.get("ticket", ""))
    if not isinstance(found, LinkUnavailable) and bot.platform_of(found.user) is not require_platform(
        request
    ):
        found = LinkUnavailable.UNKNOWN
    started = found if isinstance(found, LinkUnavailable) else await open_in_client(bot, found)
    if isinstance(started, LinkUnavailable):
        return page_as_json(request, UNAVAILABLE_LINK_PAGES[started])
    return web.json_response(page_of(request).script_settings(started.scopes, started.state))


async def start_sign_in(request: web.Request) -> web.Response:
    """Start a sign-in; return the settings of the script, without scopes, and set the cookie of the attempt."""
    await read_fields(request)
    bot = request.app[BOT]
    started = sign_in.start_in_client(bot, require_platform(request))
    response = web.json_response(page_of(request).script_settings(frozenset(), started.state))
    login.set_attempt_cookie(response, bot, started)
    return response


async def complete(request: web.Request) -> web.Response:
    """Complete an attempt with `{state, code}` or `{state, error}`; return the page to show, or where to go."""
    platform = require_platform(request)
    authorization = platform.parse_callback(await read_fields(request))
    if isinstance(authorization, Malformed):
        return page_as_json(request, CALLBACK_PAGES[CallbackResult.MALFORMED])
    if kind_of(authorization.state) is AttemptKind.SIGN_IN:
        return await complete_sign_in(request, authorization)
    result = await complete_attempt(request.app[BOT], platform, authorization)
    return page_as_json(request, CALLBACK_PAGES[result])


async def complete_sign_in(request: web.Request, authorization: Approved | Denied) -> web.Response:
    result = await login.complete(request, require_platform(request), authorization)
    if isinstance(result, SignInFailure):
        return page_as_json(request, SIGN_IN_PAGES[result])
    response = web.json_response({"location": login.signed_in_at(request)})
    login.set_session_cookie(request, response, result)
    return response


async def read_fields(request: web.Request) -> dict[str, str]:
    """Return the string fields of a POST of the in-client page. Raises 403, 413 or 400 for other requests."""
    if (
        request.headers.get("Origin") != request.app[BOT].public_url
        or request.content_type != "application/json"
    ):
        raise web.HTTPForbidden(text="Only the bot's own page may send this request.")
    body = await read_body(request)
    if len(body) > MAX_POST_SIZE:
        raise web.HTTPRequestEntityTooLarge(MAX_POST_SIZE, len(body))
    try:
        fields: Json = decode(body.decode())
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise web.HTTPBadRequest(text="The body is not an object.")
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def page_as_json(request: web.Request, shown: Page) -> web.Response:
    """Return a page for the script to show, with its status."""
    language = language_of(request)
    return web.json_response(
        {
            "tone": shown.tone,
            "title": shown.words.title.to(language),
            "text": shown.words.text.to(language),
            "again": shown.retry_in_client,
        },
        status=shown.status,
    )
