"""The webhook: events and card clicks. Verified, recorded, and only then acknowledged."""

from __future__ import annotations

import logging

from aiohttp import web

from bot.core.model import Challenge, Unauthentic
from bot.flows.events import accept_event
from bot.web.keys import BOT

log = logging.getLogger(__name__)

LARGEST_EVENT = 1024 * 1024
"""Bytes; a message's content has 150 KB at most, and encryption adds a third."""


async def receive(request: web.Request) -> web.Response:
    """`POST /lark/events`. An unauthentic request changes nothing and is answered with a 4xx."""
    bot = request.app[BOT]
    body = await request.read()
    received = bot.platform.receive(request.headers, body)
    match received:
        case Unauthentic(reason=reason, status=status):
            log.warning("webhook refused", extra={"reason": reason, "status": status})
            return web.json_response({"msg": "refused"}, status=status)
        case Challenge(value=value):
            return web.json_response({"challenge": value})
        case event:
            return web.json_response(await accept_event(bot, event))
