"""Following a card's link, and coming back from the platform's page."""

from __future__ import annotations

import logging
import re

from aiohttp import web

from bot.core.model import AttemptKind, AuthorizationRequest
from bot.core.oauth import Malformed, kind_of, parse_callback
from bot.flows import consent, links
from bot.flows.bot import Bot
from bot.flows.consent import Landing
from bot.flows.links import Closed
from bot.web import login
from bot.web.headers import is_in_client, is_sent_by_another_site, only_looks
from bot.web.keys import BOT
from bot.web.pages import CLOSED, LANDINGS, ROBOT_PAGE, sent_here, show

log = logging.getLogger(__name__)

TICKET = re.compile(r"[A-Za-z0-9_-]{43}")


async def start(request: web.Request) -> web.Response:
    """`GET /authorize/{ticket}`: each opening by a person makes a fresh attempt and goes on to the platform."""
    bot = request.app[BOT]
    if only_looks(request):
        return show(request, ROBOT_PAGE)
    found = await look_up(bot, request.match_info["ticket"])
    if isinstance(found, Closed):
        return show(request, CLOSED[found])
    if is_in_client(request) and "browser" not in request.query:
        # In the fragment the ticket stays out of logs on the way, and the page's URL is the registered one.
        ticket = request.match_info["ticket"]
        return web.Response(status=302, headers={"Location": f"/oauth/{bot.platform.name}/client#{ticket}"})
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
    """`GET /oauth/lark/callback`: the end of an attempt, whatever it was."""
    bot = request.app[BOT]
    query = request.query
    repeated = any(len(query.getall(name)) > 1 for name in set(query))
    came = Malformed() if repeated else parse_callback(query)
    if isinstance(came, Malformed):
        log.info("callback refused", extra={"reason": "malformed"})
        return show(request, LANDINGS[Landing.MALFORMED])
    if kind_of(came.state) is AttemptKind.SIGN_IN:
        return await login.land(request, came)
    return show(request, LANDINGS[await consent.complete(bot, came)])
