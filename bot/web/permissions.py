"""My permissions: what the signed-in person has granted and what waits for them; to take it back, and to drop it.

Every route acts for the person whose session it is. There is no way to name another.
"""

from __future__ import annotations

from aiohttp import web

from bot.core.grants import REVOKED_BY_USER
from bot.flows.account import permissions
from bot.web import login
from bot.web.headers import is_in_client, language_of, only_looks
from bot.web.keys import BOT
from bot.web.pages import SESSION_ENDED, SIGN_IN_PAGE, SIGNED_OUT, show
from bot.web.permissions_page import HELD_PAGE, WAITING_PAGE, render
from bot.web.session import (
    DONE,
    SESSION,
    Visitor,
    cookie,
    drop_cookie,
    note_done,
    posted_by,
    visitor_of,
    was_done,
)

ENDED = "ended"
"""In the place of what was done: nothing, because nobody is signed in any more."""


async def page(request: web.Request) -> web.Response:
    """`GET /permissions`: the page, or the way to sign in. Inside the client that needs no click."""
    bot, visitor = request.app[BOT], await visitor_of(request)
    done = was_done(request, visitor)
    if visitor is not None:
        waiting, held = (page_number(request, each) for each in (WAITING_PAGE, HELD_PAGE))
        found = await permissions.of(bot, visitor.user, waiting_page=waiting, held_page=held)
        response = render(found, language_of(request), visitor.proof, bot.platform.chat_link, done)
    elif done == login.SIGNED_OUT:
        response = show(request, SIGNED_OUT)
    elif done == ENDED:
        response = show(request, SESSION_ENDED)
    elif goes_on_to_login(request):
        return login.redirect("/login")
    elif cookie(request, SESSION) is not None:
        # The cookie stays: it may be that only another replica has the key for its session.
        response = show(request, SESSION_ENDED)
    else:
        response = show(request, SIGN_IN_PAGE)
    if cookie(request, DONE) is not None:
        # Said once: by the next time that this address is opened, it may no longer be so.
        drop_cookie(response, bot, DONE)
    return response


def page_number(request: web.Request, name: str) -> int:
    """The page of a list that the address asks for; the first for what is no number."""
    number = request.query.get(name, "")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1


def goes_on_to_login(request: web.Request) -> bool:
    """Whether the client says who it is without being asked. Not right after a sign-in or sign-out: it would
    loop, or sign a person in who has just signed out."""
    came_from_login = not request.query.keys().isdisjoint({login.SIGNED_IN, login.SIGNED_OUT})
    return is_in_client(request) and not came_from_login and not only_looks(request)


async def go_on(request: web.Request) -> web.Response:
    """`GET /permissions/continue`: where the card's button leads, for whoever the open request asks."""
    visitor = await visitor_of(request)
    if visitor is None:
        return back(request, None, ENDED)
    ticket = await permissions.ticket_of(request.app[BOT], visitor.user)
    return login.redirect(f"/authorize/{ticket.reveal()}" if ticket else login.HOME)


async def revoke(request: web.Request) -> web.Response:
    """`POST /permissions/revoke`: as `/revoke` in the chat."""
    visitor = await posted_by(request)
    if visitor is None:
        return back(request, None, ENDED)
    ended = await permissions.take_back(request.app[BOT], visitor.user, REVOKED_BY_USER)
    return back(request, visitor, "revoked" if ended.had_grant else "cancelled" if ended.cancelled else None)


async def cancel(request: web.Request) -> web.Response:
    """`POST /permissions/cancel`: as `/cancel` in the chat."""
    visitor = await posted_by(request)
    if visitor is None:
        return back(request, None, ENDED)
    cancelled = await permissions.cancel(request.app[BOT], visitor.user)
    return back(request, visitor, "cancelled" if cancelled else None)


def back(request: web.Request, visitor: Visitor | None, done: str | None) -> web.Response:
    """To the page again, which says what was done, if anything was."""
    if done is None:
        return login.redirect(login.HOME)
    response = login.redirect(f"{login.HOME}?{done}")
    note_done(response, request.app[BOT], done, visitor)
    return response
