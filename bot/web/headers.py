"""What every response carries, and what may be learned from a request's headers."""

from __future__ import annotations

import re

from aiohttp import web

from bot.core.model import Language

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}


async def secure(_request: web.Request, response: web.StreamResponse) -> None:
    """Adds the headers to a response about to leave; as a signal it sees those, too, that no middleware does."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


IN_CLIENT = re.compile(r"\b(Lark|Feishu)/")
LARK_LOCALE = re.compile(r"LarkLocale/([A-Za-z]{2})")
PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""Headers in which browsers say that nobody has asked for the page yet: one name followed the other."""
PREFETCH = re.compile(r"prefetch|prerender|preview|instant", re.IGNORECASE)
ROBOT = re.compile(
    r"(?<!cu)bot\b|crawler|spider|preview|unfurl|facebookexternalhit|meta-external|slurp|embedly|iframely"
    r"|whatsapp|vkshare|mediapartners|imgproxy",
    re.IGNORECASE,
)


def is_in_client(request: web.Request) -> bool:
    """Whether the page is opened inside the Lark or Feishu client."""
    return bool(IN_CLIENT.search(request.headers.get("User-Agent", "")))


def language_of(request: web.Request) -> Language:
    """The client's locale, else the browser's first language, else English."""
    locales = LARK_LOCALE.findall(request.headers.get("User-Agent", ""))
    wanted = locales[-1] if locales else request.headers.get("Accept-Language", "")
    return "zh" if wanted.strip().lower().startswith("zh") else "en"


def is_navigation(request: web.Request) -> bool:
    """Whether a browser opens the page in a window of its own. Yes for those that do not say (Fetch Metadata)."""
    mode, destination = (request.headers.get(f"Sec-Fetch-{name}") for name in ("Mode", "Dest"))
    return mode in {None, "navigate"} and destination in {None, "document"}


def only_looks(request: web.Request) -> bool:
    """Whether this is no person following a link: a HEAD, a prefetching browser, or a link-preview robot."""
    if request.method == "HEAD":
        return True
    if any(PREFETCH.search(request.headers.get(name, "")) for name in PURPOSES):
        return True
    return bool(ROBOT.search(request.headers.get("User-Agent", "")))
