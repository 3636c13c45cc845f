"""The headers of every response, and limits on request bodies."""

from __future__ import annotations

import asyncio

from aiohttp import web

# --- response headers ------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
CONTENT_SECURITY_POLICY_WITH_FORMS = CONTENT_SECURITY_POLICY.replace(
    "form-action 'none'", "form-action 'self'"
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    # aiohttp's default contains its own and Python's version.
    "Server": "bot",
}
TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}
"""Makes browsers use only TLS for this host, for a year."""


def common_headers(public_url: str) -> dict[str, str]:
    """Return the headers of every response, including those that aiohttp itself creates."""
    return SECURITY_HEADERS | (TLS_HEADERS if public_url.startswith("https:") else {})


# --- request bodies --------------------------------------------------------------------------------------

MAX_BODY_SIZE = 1024 * 1024
"""Bytes. The content of a message has 150 KB at most, and encryption adds a third."""

BODY_TIMEOUT = 5.0
"""Seconds. The platform gives up on an event after 3."""

MAX_BODY_CHUNKS = 1000
"""The limit on chunks, because parsing a megabyte in chunks of one byte each takes seconds."""


async def read_body(request: web.Request, max_size: int = MAX_BODY_SIZE) -> bytes:
    """Return the body of a request.

    Raises the response 413 if it is too large, 408 if it does not arrive in time, and 400 if it breaks off.
    """
    announced = request.content_length or 0
    if announced > max_size:
        raise web.HTTPRequestEntityTooLarge(max_size, announced)
    if request.content.is_eof():
        # Nearly every body arrives with the headers. A timeout would then cost more than reading it.
        return await read_chunks(request, max_size)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await read_chunks(request, max_size)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not arrive in time.") from None
    except (ConnectionError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="The body broke off.") from None


async def read_chunks(request: web.Request, max_size: int) -> bytes:
    body, chunks = bytearray(), 0
    async for chunk, _ in request.content.iter_chunks():
        body += chunk
        chunks += 1
        if len(body) > max_size:
            raise web.HTTPRequestEntityTooLarge(max_size, len(body))
        if chunks > MAX_BODY_CHUNKS:
            raise web.HTTPBadRequest(text="The body has too many chunks.")
    return bytes(body)
