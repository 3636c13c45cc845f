"""Following a card's link, and coming back from the platform's page."""

from __future__ import annotations

import re

from aiohttp import web

from bot.core.model import AttemptKind, AuthorizationRequest
from bot.core.oauth import Malformed, kind_of, parse_callback
from bot.flows import consent, links
from bot.flows.bot import Bot
from bot.flows.consent import Landing
from bot.flows.links import Closed
from bot.web import login
from bot.web.failures import note_failure
from bot.web.headers import is_in_client, is_sent_by_another_site, only_looks
from bot.web.keys import BOT
from bot.web.pages import CLOSED, LANDED, ROBOT_PAGE, TROUBLE_OUTCOME, sent_here, show, show_outcome

TICKET = re.compile(r"[A-Za-z0-9_-]{43}")


async def start(request: web.Request) -> web.Response:
    """`GET /authorize/{ticket}`: each opening by a person makes a fresh attempt and goes on to the platform."""
    bot = request.app[BOT]
    if only_looks(request):
        return show(request, ROBOT_PAGE)
    ticket = request.match_info["ticket"]
    found = await look_up(bot, ticket)
    if is_in_client(request) and "browser" not in request.query and found is not Closed.UNKNOWN:
        # In the fragment the ticket stays out of logs on the way, and the page's URL is the registered one. That page
        # also says of a link that was used, or is over, what became of it: it can close itself.
        return web.Response(status=302, headers={"Location": f"/oauth/{bot.platform.name}/client#{ticket}"})
    if isinstance(found, Closed):
        return show(request, CLOSED[found])
    if is_sent_by_another_site(request):
        return show(request, sent_here("browser" in request.query))
    target = await links.open_link(bot, found)
    if isinstance(target, Closed):
        return show(request, CLOSED[target])
    return web.Response(status=302, headers={"Location": target})


async def look_up(bot: Bot, ticket: str) -> AuthorizationRequest | Closed:
    if not TICKET.fullmatch(ticket):
        return Closed.UNKNOWN
    return await links.look_up(bot, ticket)


async def callback(request: web.Request) -> web.Response:
    """`GET /oauth/lark/callback`: the end of an attempt, whatever it was. What is below it, and other methods, too.

    The answer is always a redirect to a page without query: otherwise a state, or an unused code of a
    foreign link, would stay in the address bar and the history.
    """
    try:
        return await end_attempt(request)
    except Exception as error:
        note_failure(request.app[BOT], "callback", error)
        return login.redirect(f"{LANDED_AT}/{TROUBLE_OUTCOME}")


async def end_attempt(request: web.Request) -> web.Response:
    bot = request.app[BOT]
    query = request.query
    repeated = any(len(query.getall(name)) > 1 for name in set(query))
    is_ours = request.method == "GET" and not request.match_info.get("rest")
    came = parse_callback(query) if is_ours and not repeated else Malformed()
    if isinstance(came, Malformed):
        return malformed(request)
    if kind_of(came.state) is AttemptKind.SIGN_IN:
        return await login.land(request, came)
    return login.redirect(f"{LANDED_AT}/{(await consent.complete(bot, came)).value}")


def malformed(request: web.Request) -> web.Response:
    request.app[BOT].refusals.note("callback refused", "malformed")
    return login.redirect(f"{LANDED_AT}/{Landing.MALFORMED.value}")


def brings_a_code(request: web.Request) -> bool:
    """Whether the address holds what only a callback's should."""
    return not request.query.keys().isdisjoint({"code", "state"})


def has_stray_code(request: web.Request) -> bool:
    """Whether a code or state has come to a page of ours that has no use for it. What it redirects to does not show it.

    The callback and the page in the client take them, and answer with a redirect of their own.
    """
    is_page = request.method in {"GET", "HEAD"} and request.match_info.http_exception is None
    return is_page and not request.path.startswith("/oauth/") and brings_a_code(request)


LANDED_AT = "/authorization"


async def landed(request: web.Request) -> web.Response:
    """`GET /authorization/{outcome}`: how an attempt ended."""
    return show_outcome(request, LANDED)
