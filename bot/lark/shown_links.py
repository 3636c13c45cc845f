"""Which addresses may be shown as links: those of the platform and those of the bot.

Addresses come from events that colleagues created and from what people typed, and people trust a link that the bot
shows. A path alone (`/docx/TOKEN`) is an address at the platform whose host the command does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

DOMAINS = ("feishu.cn", "larksuite.com", "larkoffice.com")
"""Of both brands, whose organizations share documents with each other. Every organization has a host below one."""

WEB = {"open.feishu.cn": "https://www.feishu.cn", "open.larksuite.com": "https://www.larksuite.com"}
"""Where documents are opened without knowing the organization's host, by the host of OpenAPI."""

LONGEST = 4000
HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
LOOPBACK = re.compile(r"http://(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")
ADDRESS = re.compile(r"//|\\|^\s*[A-Za-z][A-Za-z0-9+.-]*:")
"""What a browser could take for an address on another host."""
IN_PATH = re.compile(r"//|\\|:/")
MOST_DECODINGS = 4
DEEPEST = 3
"""Links within links. The bot's own page is one inside an AppLink."""


class Links:
    """The addresses that may be links, for an app whose OpenAPI is at `open_url`. `origins`: the others it is set to."""

    def __init__(self, open_url: str = "", origins: Iterable[str | None] = ()) -> None:
        self._origins = frozenset(origin for origin in (open_url, *origins) if origin)
        host = urlsplit(open_url).hostname or ""
        self._web = WEB.get(host) or (open_url if LOOPBACK.fullmatch(open_url) else None)

    def shown(self, url: str) -> str | None:
        """The address to link to; None when it is to be text."""
        if url.startswith("/") and not url.startswith("//"):
            url = f"{self._web}{url}" if self._web else ""
        return url if self._is_ours(url) else None

    def _is_ours(self, url: str, depth: int = 0) -> bool:
        if not (url.isascii() and url.isprintable() and len(url) <= LONGEST) or " " in url or "\\" in url:
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        if not (is_the_platforms(url) or f"{parts.scheme}://{parts.netloc}" in self._origins):
            return False
        # A link of the platform's that leads on to another address is no better than that one.
        parameters = [*parse_qsl(parts.query, keep_blank_values=True), ("", parts.fragment)]
        return not IN_PATH.search(unquoted(parts.path)) and all(
            self._leads_nowhere_else(name, value, depth) for name, value in parameters
        )

    def _leads_nowhere_else(self, name: str, value: str, depth: int) -> bool:
        meant = unquoted(value)
        if ADDRESS.search(unquoted(name)):
            return False
        if not ADDRESS.search(meant) and not (meant and name.lower().endswith(("url", "uri"))):
            return True
        return depth < DEEPEST and self._is_ours(meant, depth + 1)


KNOWN = Links()
"""The platform's own hosts alone."""


def is_the_platforms(url: str) -> bool:
    """Whether an address is on one of the platform's hosts, exactly: https, no user, no port, no look-alike."""
    if not url.startswith("https://"):
        return False
    host = re.split(r"[/?#]", url.removeprefix("https://"), maxsplit=1)[0].lower()
    return bool(HOST.fullmatch(host)) and any(host == each or host.endswith(f".{each}") for each in DOMAINS)


def unquoted(value: str) -> str:
    """Percent-decoded until nothing is left to decode: who reads it next may do so once more."""
    for _ in range(MOST_DECODINGS):
        decoded = unquote(value)
        if decoded == value:
            return value
        value = decoded
    return value


LONGEST_HOST = 60


def host_of(url: str) -> str:
    """The host of an address, for people to read; empty when it has none that can be shown."""
    try:
        host = urlsplit(url).hostname or ""
        shown = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        return ""
    return shown if HOST.fullmatch(shown) and len(shown) <= LONGEST_HOST else ""
