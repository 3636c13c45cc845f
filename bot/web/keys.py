"""What the application hands to its routes."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from bot.flows.bot import Bot


@dataclass(frozen=True, slots=True)
class Ingress:
    """How events come in."""

    is_up: Callable[[], bool]


BOT = web.AppKey("bot", Bot)
INGRESS = web.AppKey("ingress", Ingress)
