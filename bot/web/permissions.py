"""My permissions: what the signed-in person has granted and what waits for them; to take it back, and to drop it.

Every route acts for the person whose session it is. There is no way to name another.
"""

from __future__ import annotations

from aiohttp import web

from bot.flows import permissions
from bot.web import login
from bot.web.headers import is_in_client, language_of, only_looks
from bot.web.keys import BOT
from bot.web.pages import NO_COOKIE, SIGN_IN_PAGE, SIGNED_OUT, show
from bot.web.permissions_page import DONE, render
from bot.web.session import posted_by, visitor_of


async def page(request: web.Request) -> web.Response:
    """`GET /permissions`: the page, or the way to sign in. Inside the client that needs no click."""
    visitor = await visitor_of(request)
    if visitor is not None:
        bot = request.app[BOT]
        done = next((each for each in DONE if each in request.query), None)
        found = await permissions.of(bot, visitor.user)
        return render(found, language_of(request), visitor.proof, bot.platform.chat_link, done)
    if "signed-out" in request.query:
        return show(request, SIGNED_OUT)
    if "signed-in" in request.query:
        return show(request, NO_COOKIE)
    if is_in_client(request) and not only_looks(request):
        return login.redirect("/login")
    return show(request, SIGN_IN_PAGE)


async def go_on(request: web.Request) -> web.Response:
    """`GET /permissions/continue`: where the card's button leads, for whoever the open request asks."""
    visitor = await visitor_of(request)
    if visitor is None:
        return login.redirect(login.HOME)
    ticket = await permissions.ticket_of(request.app[BOT], visitor.user)
    return login.redirect(f"/authorize/{ticket.reveal()}" if ticket else login.HOME)


async def revoke(request: web.Request) -> web.Response:
    """`POST /permissions/revoke`: as `/revoke` in the chat."""
    visitor = await posted_by(request)
    if visitor is None:
        return login.redirect(login.HOME)
    await permissions.take_back(request.app[BOT], visitor.user, "revoked_by_user")
    return login.redirect(f"{login.HOME}?revoked")


async def cancel(request: web.Request) -> web.Response:
    """`POST /permissions/cancel`: as `/cancel` in the chat."""
    visitor = await posted_by(request)
    if visitor is None:
        return login.redirect(login.HOME)
    await permissions.cancel(request.app[BOT], visitor.user)
    return login.redirect(f"{login.HOME}?cancelled")
