"""Signing in and out in a browser. `in_client` starts sign-ins inside the client, and completes them as here."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from dataclasses import replace
from urllib.parse import quote

from aiohttp import web

from bot.core.oauth import Approved, Denied, urlsafe
from bot.core.platform import Platform
from bot.core.secrets import Secret
from bot.flows.account import sign_in
from bot.flows.account.sign_in import SignedIn, SignInFailure, StartedSignIn
from bot.flows.bot import Bot
from bot.web.app_keys import BOT, client_platform, platform_of, with_platform
from bot.web.pages import (
    CONSOLE_SIGN_IN_PAGE,
    LINK_PREVIEW_PAGE,
    LOGIN_PATH,
    SIGN_IN_PAGE,
    SIGN_IN_PAGES_BY_OUTCOME,
    Button,
    show,
    show_outcome,
)
from bot.web.request_headers import is_preview
from bot.web.session import (
    DESTINATION,
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

DESTINATION_PARAMETER = "to"
DESTINATION_PATTERN = re.compile(r"/console(/[a-z]{1,20})?(\?[A-Za-z0-9_.~%&=+:@*-]{0,300})?")
"""The pages to which a sign-in may lead: never another site."""

IN_CLIENT_FRAGMENT = "sign-in"
"""In place of a ticket: tells the in-client page to sign in."""


async def start(request: web.Request) -> web.Response:
    """`GET /login`: redirects to the platform's page, or to the in-client page."""
    if is_preview(request):
        return show(request, LINK_PREVIEW_PAGE)
    bot = request.app[BOT]
    client = client_platform(request)
    if client is not None and client.in_client is not None and "browser" not in request.query:
        response = redirect(f"{client.in_client.page_path}#{IN_CLIENT_FRAGMENT}")
        remember_destination(request, response)
        return response
    platform = platform_of(request)
    if platform is None:
        wanted = request.query.get(DESTINATION_PARAMETER, "")
        return show(request, CONSOLE_SIGN_IN_PAGE if DESTINATION_PATTERN.fullmatch(wanted) else SIGN_IN_PAGE)
    started, url = sign_in.start_in_browser(bot, platform)
    response = redirect(url)
    set_attempt_cookie(response, bot, started)
    remember_destination(request, response)
    return response


def login_path(destination: str) -> str:
    """Return the path that signs in and then leads to a page of the console."""
    return f"{LOGIN_PATH}?{DESTINATION_PARAMETER}={quote(destination, safe='/')}"


def remember_destination(request: web.Request, response: web.StreamResponse) -> None:
    """Set the cookie that says where the sign-in leads, or delete that of an earlier sign-in."""
    bot, wanted = request.app[BOT], request.query.get(DESTINATION_PARAMETER, "")
    if DESTINATION_PATTERN.fullmatch(wanted):
        lifetime = int(bot.authorization_ttl.total_seconds())
        set_cookie(response, bot, DESTINATION, Secret(urlsafe(wanted.encode())), lifetime)
    elif "browser" not in request.query and read_cookie(request, DESTINATION) is not None:
        delete_cookie(response, bot, DESTINATION)


def destination(request: web.Request) -> str | None:
    """Return the page of the console that the sign-in of this browser leads to; None for My permissions."""
    cookie = read_cookie(request, DESTINATION)
    if cookie is None:
        return None
    encoded = cookie.reveal()
    try:
        wanted = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return None
    return wanted if DESTINATION_PATTERN.fullmatch(wanted) else None


def signed_in_at(request: web.Request) -> str:
    """Return where a browser that has just signed in goes on."""
    wanted = destination(request) or ACCOUNT_PATH
    return f"{wanted}{'&' if '?' in wanted else '?'}{SIGNED_IN}"


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


def set_session_cookie(request: web.Request, response: web.StreamResponse, signed_in: SignedIn) -> None:
    bot = request.app[BOT]
    set_cookie(response, bot, SESSION, signed_in.session)
    delete_cookie(response, bot, SIGN_IN_ATTEMPT)
    if read_cookie(request, DESTINATION) is not None:
        delete_cookie(response, bot, DESTINATION)


async def callback(
    request: web.Request, platform: Platform, authorization: Approved | Denied
) -> web.Response:
    """Handle the callback of a sign-in. Redirects to a page whose address contains neither code nor state."""
    result = await complete(request, platform, authorization)
    if isinstance(result, SignInFailure):
        return redirect(with_platform(request, f"/login/{result.value}", platform))
    response = redirect(signed_in_at(request))
    set_session_cookie(request, response, result)
    return response


async def failure(request: web.Request) -> web.Response:
    """`GET /login/{outcome}`: why a sign-in failed. Trying again leads to the same page."""
    wanted, page = destination(request), SIGN_IN_PAGES_BY_OUTCOME.get(request.match_info["outcome"])
    if wanted is None or page is None or page.button is None:
        return show_outcome(request, SIGN_IN_PAGES_BY_OUTCOME)
    return show(request, replace(page, button=Button(page.button.label, login_path(wanted))))


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
