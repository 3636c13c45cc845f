"""What the application hands to its routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from bot.core.events import Outage
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
    integrity: str
    """What browsers compare it with; empty: nothing."""

    @classmethod
    def of(cls, setting: str) -> ClientScript:
        url, _, integrity = setting.partition("#")
        return cls(url, integrity)

    @property
    def source(self) -> str:
        """It alone, in the form of a Content-Security-Policy, which knows no query."""
        return self.url.partition("?")[0]


BOT = web.AppKey("bot", Bot)
CLIENT_SCRIPT = web.AppKey("client_script", ClientScript)
INGRESS = web.AppKey("ingress", Ingress)
