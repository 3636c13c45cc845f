"""What the application provides to its routes: `request.app[BOT]` and the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from bot.core.events import Outage
from bot.core.platform import Platform
from bot.flows.bot import Bot


@dataclass(frozen=True, slots=True)
class Ingress:
    """How events arrive."""

    outage: Callable[[], Outage | None]
    """Returns why none can arrive at the moment, or None."""


@dataclass(frozen=True, slots=True)
class ClientScript:
    """The platform's JavaScript SDK, for the page that is opened inside its client."""

    url: str
    integrity: str
    """The hash that browsers compare it with (Subresource Integrity), or empty."""

    @classmethod
    def parse(cls, setting: str) -> ClientScript:
        """Parse `URL` or `URL#INTEGRITY`."""
        url, _, integrity = setting.partition("#")
        return cls(url, integrity)

    @property
    def csp_source(self) -> str:
        """The script as a source of a Content-Security-Policy, which allows no query."""
        return self.url.partition("?")[0]


BOT = web.AppKey("bot", Bot)
CLIENT_SCRIPT = web.AppKey("client_script", ClientScript)
INGRESS = web.AppKey("ingress", Ingress)


def platform_of(request: web.Request) -> Platform:
    """Return the platform that a path belongs to, else the one whose client opens it, else the first one."""
    bot, path = request.app[BOT], request.path
    for platform in bot.platforms.values():
        paths = [platform.webhook_path, platform.callback_path]
        if platform.in_client is not None:
            paths.append(platform.in_client.page_path)
        if any(path == each or path.startswith(f"{each}/") for each in paths):
            return platform
    return client_platform(request) or bot.first_platform


def client_platform(request: web.Request) -> Platform | None:
    """Return the platform whose client opens the page, or None for a browser."""
    user_agent = request.headers.get("User-Agent", "")
    platforms = request.app[BOT].platforms.values()
    return next(
        (each for each in platforms if each.in_client and each.in_client.is_in_client(user_agent)), None
    )
