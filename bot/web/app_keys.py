"""What the application provides to its routes: the keys of `request.app`, such as `request.app[BOT]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from bot.core.events import Outage
from bot.core.platform import Platform
from bot.flows.bot import Bot


class Ingress(Protocol):
    """A connection by which the events of a platform arrive."""

    @property
    def outage(self) -> Outage | None:
        """Why no events can arrive at the moment, or None."""

    @property
    def was_up(self) -> bool:
        """Whether events could arrive at any time since the start."""


Ingresses = Mapping[str, Ingress]
"""By the platform's name."""


@dataclass(frozen=True, slots=True)
class ClientScript:
    """The platform's JavaScript SDK, for the page that is opened inside its client."""

    url: str
    integrity: str
    """The hash with which browsers compare it (Subresource Integrity), or an empty string."""

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
INGRESSES: web.AppKey[Ingresses] = web.AppKey("ingresses")


def platform_at(request: web.Request) -> Platform | None:
    """Return the platform to which a path belongs: its webhooks, its callback, and the page inside its client."""
    path = request.path
    for platform in request.app[BOT].platforms.values():
        if path in platform.webhooks:
            return platform
        own_paths = [platform.callback_path]
        if platform.in_client is not None:
            own_paths.append(platform.in_client.page_path)
        if any(path == each or path.startswith(f"{each}/") for each in own_paths):
            return platform
    return None


PLATFORM_PARAMETER = "with"
"""The parameter of the query that names the visitor's platform, where there are several."""


def platform_of(request: web.Request) -> Platform | None:
    """Return the platform of a visitor, or None if it is unknown.

    It is the only one, or the one that the path, the client that opens the page, or the query determines.
    """
    platforms = list(request.app[BOT].platforms.values())
    if len(platforms) == 1:
        return platforms[0]
    named = request.query.get(PLATFORM_PARAMETER)
    chosen = next((each for each in platforms if each.name == named), None)
    return platform_at(request) or client_platform(request) or chosen


def with_platform(request: web.Request, path: str, platform: Platform) -> str:
    """Add the visitor's platform to the path of a page, which may have a query, if there are several."""
    several = len(request.app[BOT].platforms) > 1
    return f"{path}{'&' if '?' in path else '?'}{PLATFORM_PARAMETER}={platform.name}" if several else path


def require_platform(request: web.Request) -> Platform:
    """Like `platform_at`, for the handlers of such a path."""
    platform = platform_at(request)
    assert platform is not None
    return platform


def client_platform(request: web.Request) -> Platform | None:
    """Return the platform whose client opens the page, or None for a browser."""
    user_agent = request.headers.get("User-Agent", "")
    platforms = request.app[BOT].platforms.values()
    return next(
        (each for each in platforms if each.in_client and each.in_client.is_in_client(user_agent)), None
    )
