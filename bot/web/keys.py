"""What the application hands to its routes."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from bot.core.model import Outage
from bot.flows.bot import Bot


@dataclass(frozen=True, slots=True)
class Ingress:
    """How events come in."""

    outage: Callable[[], Outage | None]
    """Why none can at this moment, or None."""


@dataclass(frozen=True, slots=True)
class ClientScript:
    """The client's JavaScript SDK, for pages that are opened inside the client."""

    url: str


BOT = web.AppKey("bot", Bot)
CLIENT_SCRIPT = web.AppKey("client_script", ClientScript)
INGRESS = web.AppKey("ingress", Ingress)
