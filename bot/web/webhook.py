"""The webhook: verifies events and card clicks, records them, and only then acknowledges them."""

from __future__ import annotations

import logging

from aiohttp import web

from bot.core.events import Unauthentic, UrlVerification
from bot.flows import observations
from bot.flows.clock import utc_now
from bot.flows.intake import receive_event
from bot.flows.throttling import RepeatedLogs
from bot.web.app_keys import BOT, require_platform
from bot.web.security import read_body

ADVICE_INTERVAL = 600.0
"""Seconds between two log lines with the same advice: with a wrong setting in the console, every event is rejected."""
ADVICE = web.AppKey("advice", RepeatedLogs)
"""Logs what operators have to change, once for all requests that are rejected for the same reason."""


async def receive(request: web.Request) -> web.Response:
    """`POST /{platform}/…`. An unauthentic request changes nothing and is answered with a 4xx status."""
    bot = request.app[BOT]
    platform = require_platform(request)
    receive_from = platform.webhooks[request.path]
    received = receive_from(request.headers, await read_body(request), utc_now().timestamp())
    match received:
        case Unauthentic(reason=reason, status=status, advice=advice) if advice:
            observations.event_refused(bot, platform.name, received, is_logged=False)
            request.app[ADVICE].note(advice, reason, logging.ERROR)
            return web.json_response({"msg": "refused"}, status=status)
        case Unauthentic(status=status):
            observations.event_refused(bot, platform.name, received)
            return web.json_response({"msg": "refused"}, status=status)
        case UrlVerification(answer=answer):
            return web.json_response(answer)
        case event:
            return web.json_response(await receive_event(bot, platform.name, event))
