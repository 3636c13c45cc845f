"""The webhook: events and card clicks. Verified, recorded, and only then acknowledged."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from aiohttp import web

from bot.core.model import Challenge, Unauthentic
from bot.flows.events import accept_event
from bot.web.bodies import body_of
from bot.web.keys import BOT

log = logging.getLogger(__name__)

TOLD_AGAIN_AFTER = 600.0
"""Seconds, in which the same advice is only counted: a wrong setting in the console refuses every event."""


@dataclass(slots=True)
class Advice:
    """Tells operators what to change, once for all requests that are refused for the same reason meanwhile."""

    told: dict[str, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """How many were refused since it was last told."""

    def give(self, words: str, reason: str) -> None:
        moment = time.monotonic()
        self.refused[words] = self.refused.get(words, 0) + 1
        if moment - self.told.get(words, -TOLD_AGAIN_AFTER) >= TOLD_AGAIN_AFTER:
            log.error(words, extra={"reason": reason, "refused": self.refused.pop(words)})
            self.told[words] = moment


ADVICE = web.AppKey("advice", Advice)


async def receive(request: web.Request) -> web.Response:
    """`POST /lark/events`. An unauthentic request changes nothing and is answered with a 4xx."""
    bot = request.app[BOT]
    received = bot.platform.receive(request.headers, await body_of(request))
    match received:
        case Unauthentic(reason=reason, status=status, advice=advice) if advice:
            request.app[ADVICE].give(advice, reason)
            return web.json_response({"msg": "refused"}, status=status)
        case Unauthentic(reason=reason, status=status):
            bot.refusals.note("webhook refused", reason, logging.WARNING)
            return web.json_response({"msg": "refused"}, status=status)
        case Challenge(value=value):
            return web.json_response({"challenge": value})
        case event:
            return web.json_response(await accept_event(bot, event))
