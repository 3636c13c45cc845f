"""What request headers say about the client, its language, and the reason for the request."""

from __future__ import annotations

import re

from aiohttp import web

from bot.core.language import Language
from bot.web.app_keys import BOT, client_platform

PURPOSE_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""Headers by which browsers mark a prefetch. The name has changed several times."""
PREFETCH = re.compile(r"prefetch|prerender|preview|instant", re.IGNORECASE)
ROBOT = re.compile(
    r"(?<!cu)bot\b|crawler|spider|preview|unfurl|facebookexternalhit|meta-external|slurp|embedly|iframely"
    r"|whatsapp|vkshare|mediapartners|imgproxy",
    re.IGNORECASE,
)
"""Matches the user agents of link-preview robots and crawlers, but not of CUBOT phones."""


TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,63}")


def trace_ids(request: web.Request) -> dict[str, str | None]:
    """Return the ids that the proxy has given a request, for the log. A value of another form is ignored."""
    headers = request.headers
    trace, request_id = headers.get("Traceparent", ""), headers.get("X-Request-Id", "")
    return {
        "traceparent": trace if TRACE_PARENT.fullmatch(trace) else None,
        "x_request_id": request_id if REQUEST_ID.fullmatch(request_id) else None,
    }


def is_in_client(request: web.Request) -> bool:
    """Whether the page is opened inside the platform's client."""
    return client_platform(request) is not None


def language_of(request: web.Request) -> Language:
    """Return the client's language, else the browser's first language, else English."""
    user_agent = request.headers.get("User-Agent", "")
    pages = (each.in_client for each in request.app[BOT].platforms.values())
    locales = [locale for page in pages if page is not None and (locale := page.client_locale(user_agent))]
    wanted = locales[0] if locales else request.headers.get("Accept-Language", "")
    return "zh" if wanted.strip().lower().startswith("zh") else "en"


def is_preview(request: web.Request) -> bool:
    """Whether the link is not followed by a user, but requested by a program.

    True for a HEAD request, a prefetch, a link-preview robot, and a page that embeds or fetches the link.
    """
    if request.method == "HEAD" or not is_navigation(request):
        return True
    if any(PREFETCH.search(request.headers.get(name, "")) for name in PURPOSE_HEADERS):
        return True
    return bool(ROBOT.search(request.headers.get("User-Agent", "")))


def is_navigation(request: web.Request) -> bool:
    """Whether a browser opens the URL as a top-level page. True if the browser does not send these headers.

    https://www.w3.org/TR/fetch-metadata/
    """
    destination = request.headers.get("Sec-Fetch-Dest", "")
    return destination in {"", "document"} and request.headers.get("Sec-Fetch-Mode", "") in {"", "navigate"}


def is_cross_site_without_click(request: web.Request) -> bool:
    """Whether a page of another site sent the browser here without user activation (a click or a key press)."""
    has_activation = request.headers.get("Sec-Fetch-User") == "?1"
    return request.headers.get("Sec-Fetch-Site") == "cross-site" and not has_activation
