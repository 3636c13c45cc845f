"""Signing in and out with a browser. Inside the client this is `client`'s business, apart from how it ends."""

from __future__ import annotations

from aiohttp import web

from bot.core.oauth import Approved, Denied
from bot.flows.account import sign_in
from bot.flows.account.sign_in import Begun, NotSignedIn, SignedIn
from bot.flows.bot import Bot
from bot.web.headers import is_in_client, only_looks
from bot.web.keys import BOT
from bot.web.pages import NOT_LET_IN, ROBOT_PAGE, show, show_outcome
from bot.web.session import BROWSER, SESSION, cookie, drop_cookie, note_done, posted_by, set_cookie

HOME = "/permissions"
"""Where a person comes to who has signed in, or out."""

SIGNED_IN, SIGNED_OUT = "signed-in", "signed-out"

IN_CLIENT = "sign-in"
"""In the place of a ticket: the page inside the client is to sign in."""


async def start(request: web.Request) -> web.Response:
    """`GET /login`: on to the platform's page, or to ours that signs in inside the client."""
    if only_looks(request):
        return show(request, ROBOT_PAGE)
    bot = request.app[BOT]
    if is_in_client(request) and "browser" not in request.query:
        return redirect(f"/oauth/{bot.platform.name}/client#{IN_CLIENT}")
    begun, url = sign_in.begin_in_browser(bot)
    response = redirect(url)
    keep(response, bot, begun)
    return response


def redirect(target: str) -> web.Response:
    """303: whatever was asked, the answer is fetched from there."""
    return web.Response(status=303, headers={"Location": target})


def keep(response: web.StreamResponse, bot: Bot, begun: Begun) -> None:
    """Has the browser keep what it needs to come back with."""
    set_cookie(response, bot, BROWSER, begun.kept, int(bot.authorization_ttl.total_seconds()))


async def complete(request: web.Request, came: Approved | Denied) -> SignedIn | NotSignedIn:
    """Ends a sign-in that came back to this browser."""
    return await sign_in.complete(
        request.app[BOT],
        came,
        kept=cookie(request, BROWSER),
        former=cookie(request, SESSION),
    )


def let_in(response: web.StreamResponse, bot: Bot, signed_in: SignedIn) -> None:
    set_cookie(response, bot, SESSION, signed_in.session)
    drop_cookie(response, bot, BROWSER)


async def land(request: web.Request, came: Approved | Denied) -> web.Response:
    """The callback of a sign-in: on to the page that says how it ended, whose address holds nothing of it."""
    ended = await complete(request, came)
    if isinstance(ended, NotSignedIn):
        return redirect(f"/login/{ended.value}")
    response = redirect(f"{HOME}?{SIGNED_IN}")
    let_in(response, request.app[BOT], ended)
    return response


async def ended(request: web.Request) -> web.Response:
    """`GET /login/{outcome}`: why nobody was signed in."""
    return show_outcome(request, NOT_LET_IN)


async def sign_out(request: web.Request) -> web.Response:
    """`POST /logout`: the session ends here, and its cookie is dead wherever it may have got to."""
    visitor = await posted_by(request)
    bot, response = request.app[BOT], redirect(f"{HOME}?{SIGNED_OUT}")
    if visitor is not None:
        await sign_in.sign_out(bot, visitor.session)
        # Not without a visitor: a post from another site comes without the cookie, but could have it dropped.
        drop_cookie(response, bot, SESSION)
        note_done(response, bot, SIGNED_OUT, None)
    return response
