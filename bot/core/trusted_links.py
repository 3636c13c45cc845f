"""Decides which URLs may be shown as links: those of the platform and of the bot.

URLs come from colleagues' calendar events and from what users type, and users trust a link that the bot shows. A bare
path (`/docx/TOKEN`) is a URL of the platform, whose host a command does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_URL_LENGTH = 4000
HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
FOREIGN_ADDRESS = re.compile(r"//|\\|^\s*[A-Za-z][A-Za-z0-9+.-]*:")
"""Matches what a browser may interpret as a URL on another host."""
FOREIGN_PATH = re.compile(r"//|\\|:/")
MAX_DECODINGS = 4
MAX_NESTING = 3
"""Levels of URLs within URLs. The bot's own page may be one inside a link that opens the client."""


class TrustedLinks:
    """The URLs that may be links: on the platform's domains and their subdomains, and at `origins`.

    `web` is the origin of bare paths; without it, they are not links.
    """

    def __init__(
        self, domains: Sequence[str], origins: Iterable[str | None] = (), web: str | None = None
    ) -> None:
        self._domains, self._web = tuple(domains), web
        self._origins = frozenset(origin for origin in origins if origin)

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
        if not (is_url_on(self._domains, url) or f"{parts.scheme}://{parts.netloc}" in self._origins):
            return False
        # A URL of the platform that redirects to another URL must be trusted no more than that one.
        parameters = [*parse_qsl(parts.query, keep_blank_values=True), ("", parts.fragment)]
        return not FOREIGN_PATH.search(fully_unquote(parts.path)) and all(
            self._is_safe_parameter(name, value, depth) for name, value in parameters
        )

    def _is_safe_parameter(self, name: str, value: str, depth: int) -> bool:
        """Whether a parameter is not a URL, or is a trusted one."""
        decoded_value = fully_unquote(value)
        if FOREIGN_ADDRESS.search(fully_unquote(name)):
            return False
        if not FOREIGN_ADDRESS.search(decoded_value) and not (
            decoded_value and name.lower().endswith(("url", "uri"))
        ):
            return True
        return depth < MAX_NESTING and self._is_trusted(decoded_value, depth + 1)


def is_url_on(domains: Sequence[str], url: str) -> bool:
    """Whether a URL is on one of the domains or below: https, no user name, no port, no look-alike."""
    if not url.startswith("https://"):
        return False
    host = re.split(r"[/?#]", url.removeprefix("https://"), maxsplit=1)[0].lower()
    return bool(HOST.fullmatch(host)) and any(host == each or host.endswith(f".{each}") for each in domains)


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
