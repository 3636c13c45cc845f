"""Decides which URLs may be shown as links: those of the platform and of the bot.

URLs come from colleagues' calendar events and from what users type, and users trust a link that the bot shows. A bare
path (`/docx/TOKEN`) is a URL of the platform, whose host a command does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

DOMAINS = ("feishu.cn", "larksuite.com", "larkoffice.com")
"""Domains of both brands, whose organizations share documents. Every organization has a subdomain of one."""

WEB_ORIGINS = {"open.feishu.cn": "https://www.feishu.cn", "open.larksuite.com": "https://www.larksuite.com"}
"""Where documents can be opened without knowing the organization's host, by the host of the OpenAPI."""

MAX_URL_LENGTH = 4000
HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
LOOPBACK = re.compile(r"http://(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")
FOREIGN_ADDRESS = re.compile(r"//|\\|^\s*[A-Za-z][A-Za-z0-9+.-]*:")
"""Matches what a browser may interpret as a URL on another host."""
FOREIGN_PATH = re.compile(r"//|\\|:/")
MAX_DECODINGS = 4
MAX_NESTING = 3
"""Levels of URLs within URLs. The bot's own page is one inside an AppLink."""


class TrustedLinks:
    """The URLs that may be links, for an app whose OpenAPI is at `open_url`. `origins` are further trusted origins."""

    def __init__(self, open_url: str = "", origins: Iterable[str | None] = ()) -> None:
        self._origins = frozenset(origin for origin in (open_url, *origins) if origin)
        host = urlsplit(open_url).hostname or ""
        self._web = WEB_ORIGINS.get(host) or (open_url if LOOPBACK.fullmatch(open_url) else None)

    def resolve(self, url: str) -> str | None:
        """Return the URL to link to, or None if it must not be a link."""
        if url.startswith("/") and not url.startswith("//"):
            url = f"{self._web}{url}" if self._web else ""
        return url if self._is_trusted(url) else None

    def _is_trusted(self, url: str, depth: int = 0) -> bool:
        if (
            not (url.isascii() and url.isprintable() and len(url) <= MAX_URL_LENGTH)
            or " " in url
            or "\\" in url
        ):
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        if not (is_platform_url(url) or f"{parts.scheme}://{parts.netloc}" in self._origins):
            return False
        # A URL of the platform that redirects to another URL must be trusted no more than that one.
        parameters = [*parse_qsl(parts.query, keep_blank_values=True), ("", parts.fragment)]
        return not FOREIGN_PATH.search(fully_unquote(parts.path)) and all(
            self._is_safe_parameter(name, value, depth) for name, value in parameters
        )

    def _is_safe_parameter(self, name: str, value: str, depth: int) -> bool:
        """Whether a parameter is not a URL, or is a trusted one."""
        meant = fully_unquote(value)
        if FOREIGN_ADDRESS.search(fully_unquote(name)):
            return False
        if not FOREIGN_ADDRESS.search(meant) and not (meant and name.lower().endswith(("url", "uri"))):
            return True
        return depth < MAX_NESTING and self._is_trusted(meant, depth + 1)


PLATFORM_LINKS = TrustedLinks()
"""Trusts the platform's hosts only."""


def is_platform_url(url: str) -> bool:
    """Whether a URL is on a host of the platform: https, no user name, no port, no look-alike."""
    if not url.startswith("https://"):
        return False
    host = re.split(r"[/?#]", url.removeprefix("https://"), maxsplit=1)[0].lower()
    return bool(HOST.fullmatch(host)) and any(host == each or host.endswith(f".{each}") for each in DOMAINS)


def fully_unquote(value: str) -> str:
    """Percent-decode repeatedly, because each server on the way may decode once more."""
    for _ in range(MAX_DECODINGS):
        decoded = unquote(value)
        if decoded == value:
            return value
        value = decoded
    return value


MAX_HOST_LENGTH = 60


def host_of(url: str) -> str:
    """Return the host of a URL for display, or an empty string if it has none that can be shown."""
    try:
        host = urlsplit(url).hostname or ""
        shown = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        return ""
    return shown if HOST.fullmatch(shown) and len(shown) <= MAX_HOST_LENGTH else ""
