"""The guard before the sandbox's pages and control API, and the headers of their responses.

The control API has no password. Without the guard any web page that the visitor has open could reach it, by posting
across sites or by rebinding its own name to the loopback address.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_sandbox_path(path: str) -> bool:
    """Return whether a path belongs to the sandbox itself rather than to the platform that it emulates."""
    return path == "/" or path.startswith("/sandbox/")


@web.middleware
async def guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Reject requests that a page of another site could have made."""
    if is_sandbox_path(request.path) and (reason := rejection_reason(request)):
        return web.json_response({"error": reason}, status=403)
    return await handler(request)


def rejection_reason(request: web.Request) -> str | None:
    """Return None for a request of the sandbox's own pages or a local tool, otherwise why it is rejected."""
    if urlsplit(f"//{request.host}").hostname not in LOOPBACK:
        return "the sandbox answers to loopback addresses only"
    if request.method in ("GET", "HEAD"):
        # The bot's pages, which are another origin, link to the sandbox's pages. Only the latter may read data.
        site = request.headers.get("Sec-Fetch-Site", "none")
        reads_data = request.path.startswith("/sandbox/api/")
        return "other sites may not read this" if reads_data and site not in ("same-origin", "none") else None
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return "other sites may not do this"
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        return "other sites may not do this"
    return None


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that a handler has not set itself."""
    if not is_sandbox_path(request.path):
        return
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    # Browsers revalidate files (mostly 304), so that an updated sandbox never runs with an old page.
    response.headers.setdefault("Cache-Control", "no-cache" if "/static/" in request.path else "no-store")
