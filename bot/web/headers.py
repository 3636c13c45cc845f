"""What every response carries, and what may be learned from a request's headers."""

from __future__ import annotations

import re

from aiohttp import web
from aiohttp.typedefs import Handler

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


@web.middleware
async def secure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Adds the headers to every response, errors included."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(SECURITY_HEADERS)
        raise
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


IN_CLIENT = re.compile(r"\b(Lark|Feishu)/")
LARK_LOCALE = re.compile(r"LarkLocale/([A-Za-z]{2})")
PREFETCH = re.compile(r"prefetch|prerender|preview", re.IGNORECASE)
ROBOT = re.compile(
    r"(?<!cu)bot\b|crawler|spider|preview|facebookexternalhit|slurp|embedly|whatsapp", re.IGNORECASE
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
    """Whether this is no person following a link: a HEAD, a prefetching browser, or a link-preview robot."""
    if request.method == "HEAD":
        return True
    purpose = request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", "")
    return bool(PREFETCH.search(purpose) or ROBOT.search(request.headers.get("User-Agent", "")))
