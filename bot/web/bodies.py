"""Reading what was posted, within bounds: neither much, nor slowly, nor in crumbs."""

from __future__ import annotations

import asyncio

from aiohttp import web

LARGEST_BODY = 1024 * 1024
"""Bytes. An event: a message's content has 150 KB at most, and encryption adds a third."""

BODY_WITHIN = 5.0
"""Seconds. The platform gives up on an event after 3."""

MOST_PIECES = 1000
"""Chunks, or reads of a few kilobytes. A megabyte in chunks of one byte each would take seconds to parse."""


async def body_of(request: web.Request, largest: int = LARGEST_BODY) -> bytes:
    """The body of a request; 413 when it is too large, 408 when it does not come, 400 when it breaks off."""
    announced = request.content_length or 0
    if announced > largest:
        raise web.HTTPRequestEntityTooLarge(largest, announced)
    if request.content.is_eof():
        # It came along with the head, as nearly all do: a clock would cost more than reading it.
        return await read(request, largest)
    try:
        async with asyncio.timeout(BODY_WITHIN):
            return await read(request, largest)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not come in time.") from None
    except (ConnectionError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="The body broke off.") from None


async def read(request: web.Request, largest: int) -> bytes:
    body, pieces = bytearray(), 0
    async for piece, _ in request.content.iter_chunks():
        body += piece
        pieces += 1
        if len(body) > largest:
            raise web.HTTPRequestEntityTooLarge(largest, len(body))
        if pieces > MOST_PIECES:
            raise web.HTTPBadRequest(text="The body came in too many pieces.")
    return bytes(body)
