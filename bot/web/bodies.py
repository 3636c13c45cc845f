"""Reading what was posted, within bounds: neither much nor slowly."""

from __future__ import annotations

import asyncio

from aiohttp import web

LARGEST_BODY = 1024 * 1024
"""Bytes, unpacked. An event: a message's content has 150 KB at most, and encryption adds a third."""

BODY_WITHIN = 5.0
"""Seconds. The platform gives up on an event after 3."""


async def body_of(request: web.Request) -> bytes:
    """The body of a request; 413 when it is too large, 408 when it does not come."""
    if request.content.is_eof():
        # It came along with the head, as nearly all do: a clock would cost more than reading it.
        return await request.read()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not come in time.") from None
