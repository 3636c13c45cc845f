"""What every response carries, and what may be learned from a request's headers."""

from __future__ import annotations

import re

from aiohttp import web

from bot.core.language import Language

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
    # Without it aiohttp names itself, Python, and the versions of both.
    "Server": "bot",
}
ONLY_TLS = {"Strict-Transport-Security": "max-age=31536000"}
"""For a year browsers go to this host by TLS alone."""


def common_headers(public_url: str) -> dict[str, str]:
    """The headers of every response, those included that no handler makes."""
    return SECURITY_HEADERS | (ONLY_TLS if public_url.startswith("https:") else {})


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


def only_looks(request: web.Request) -> bool:
    """Whether this is no person following a link: a HEAD, a prefetching browser, a link-preview robot, or a page that
    embeds or fetches the link, an image or a frame for example."""
    if request.method == "HEAD" or not is_navigation(request):
        return True
    if any(PREFETCH.search(request.headers.get(name, "")) for name in PURPOSES):
        return True
    return bool(ROBOT.search(request.headers.get("User-Agent", "")))


def is_navigation(request: web.Request) -> bool:
    """Whether a browser opens this as a page of its own. A browser that does not say what it does it for is believed.

    https://www.w3.org/TR/fetch-metadata/
    """
    destination = request.headers.get("Sec-Fetch-Dest", "")
    return destination in {"", "document"} and request.headers.get("Sec-Fetch-Mode", "") in {"", "navigate"}


def is_sent_by_another_site(request: web.Request) -> bool:
    """Whether a page of another site sent the browser here by itself, without a click or a key press of its person."""
    by_person = request.headers.get("Sec-Fetch-User") == "?1"
    return request.headers.get("Sec-Fetch-Site") == "cross-site" and not by_person
