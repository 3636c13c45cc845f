"""The webhook: events and card clicks. Verified, recorded, and only then acknowledged."""

from __future__ import annotations

import logging

from aiohttp import web

from bot.core.events import Unauthentic, UrlVerification
from bot.flows.intake import accept_event
from bot.flows.limits import RepeatedLogs
from bot.web.bodies import body_of
from bot.web.keys import BOT

ADVICE_EVERY = 600.0
"""Seconds between two lines of the same advice: a wrong setting in the console refuses every event."""
ADVICE = web.AppKey("advice", RepeatedLogs)
"""What operators have to change, once for all requests that are refused for it meanwhile."""


async def receive(request: web.Request) -> web.Response:
    """`POST /lark/events`. An unauthentic request changes nothing and is answered with a 4xx."""
    bot = request.app[BOT]
    received = bot.platform.receive(request.headers, await body_of(request))
    match received:
        case Unauthentic(reason=reason, status=status, advice=advice) if advice:
            request.app[ADVICE].note(advice, reason, logging.ERROR)
            return web.json_response({"msg": "refused"}, status=status)
        case Unauthentic(reason=reason, status=status):
            bot.refusals.note("webhook refused", reason, logging.WARNING)
            return web.json_response({"msg": "refused"}, status=status)
        case UrlVerification(value=value):
            return web.json_response({"challenge": value})
        case event:
            return web.json_response(await accept_event(bot, event))
