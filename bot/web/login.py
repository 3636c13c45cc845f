"""Signing in and out in a browser. `in_client` starts sign-ins inside the client, and completes them as here."""

from __future__ import annotations

from aiohttp import web

from bot.core.oauth import Approved, Denied
from bot.core.platform import Platform
from bot.flows.account import sign_in
from bot.flows.account.sign_in import SignedIn, SignInFailure, StartedSignIn
from bot.flows.bot import Bot
from bot.web.app_keys import BOT, client_platform, platform_of, with_platform
from bot.web.pages import (
    LINK_PREVIEW_PAGE,
    SIGN_IN_PAGE,
    SIGN_IN_PAGES_BY_OUTCOME,
    show,
    show_outcome,
)
from bot.web.request_headers import is_preview
from bot.web.session import (
    SESSION,
    SIGN_IN_ATTEMPT,
    delete_cookie,
    flash,
    read_cookie,
    set_cookie,
    visitor_of_form,
)

ACCOUNT_PATH = "/permissions"
"""Where a user arrives after signing in or out."""

SIGNED_IN, SIGNED_OUT = "signed-in", "signed-out"

IN_CLIENT_FRAGMENT = "sign-in"
"""In place of a ticket: tells the in-client page to sign in."""


async def start(request: web.Request) -> web.Response:
    """`GET /login`: redirects to the platform's page, or to the in-client page."""
    if is_preview(request):
        return show(request, LINK_PREVIEW_PAGE)
    bot = request.app[BOT]
    client = client_platform(request)
    if client is not None and client.in_client is not None and "browser" not in request.query:
        return redirect(f"{client.in_client.page_path}#{IN_CLIENT_FRAGMENT}")
    platform = platform_of(request)
    if platform is None:
        return show(request, SIGN_IN_PAGE)
    started, url = sign_in.start_in_browser(bot, platform)
    response = redirect(url)
    set_attempt_cookie(response, bot, started)
    return response


def redirect(target: str) -> web.Response:
    """Return a 303 response: the browser then sends a GET, whatever the method of this request."""
    return web.Response(status=303, headers={"Location": target})


def set_attempt_cookie(response: web.StreamResponse, bot: Bot, started: StartedSignIn) -> None:
    """Set the cookie that the browser has to send to complete the sign-in."""
    set_cookie(response, bot, SIGN_IN_ATTEMPT, started.cookie, int(bot.authorization_ttl.total_seconds()))


async def complete(
    request: web.Request, platform: Platform, authorization: Approved | Denied
) -> SignedIn | SignInFailure:
    """Complete the sign-in that was started in this browser."""
    return await sign_in.complete(
        request.app[BOT],
        platform,
        authorization,
        cookie=read_cookie(request, SIGN_IN_ATTEMPT),
        previous=read_cookie(request, SESSION),
    )


def set_session_cookie(response: web.StreamResponse, bot: Bot, signed_in: SignedIn) -> None:
    set_cookie(response, bot, SESSION, signed_in.session)
    delete_cookie(response, bot, SIGN_IN_ATTEMPT)


async def callback(
    request: web.Request, platform: Platform, authorization: Approved | Denied
) -> web.Response:
    """Handle the callback of a sign-in. Redirects to a page whose address contains neither code nor state."""
    result = await complete(request, platform, authorization)
    if isinstance(result, SignInFailure):
        return redirect(with_platform(request, f"/login/{result.value}", platform))
    response = redirect(f"{ACCOUNT_PATH}?{SIGNED_IN}")
    set_session_cookie(response, request.app[BOT], result)
    return response


async def failure(request: web.Request) -> web.Response:
    """`GET /login/{outcome}`: why a sign-in failed."""
    return show_outcome(request, SIGN_IN_PAGES_BY_OUTCOME)


async def sign_out(request: web.Request) -> web.Response:
    """`POST /logout`: ends the session in the database, so that copies of its cookie become invalid too."""
    visitor = await visitor_of_form(request)
    bot, response = request.app[BOT], redirect(f"{ACCOUNT_PATH}?{SIGNED_OUT}")
    if visitor is not None:
        await sign_in.sign_out(bot, visitor.session)
        # Only with a visitor: a post from another site arrives without the cookie, and must not delete it.
        delete_cookie(response, bot, SESSION)
        flash(response, bot, SIGNED_OUT, None)
    return response
