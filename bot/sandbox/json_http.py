"""JSON over HTTP, for every API under /sandbox/api: an error is a 4xx with {"error": text}."""

import json
from typing import Any

from aiohttp import web

Json = dict[str, Any]


class BadRequest(web.HTTPBadRequest):
    """HTTP 400 with {"error": text}."""

    def __init__(self, text: str) -> None:
        super().__init__(text=json.dumps({"error": text}), content_type="application/json")


async def read_object(request: web.Request) -> Json:
    """Return the body as a JSON object. Raises BadRequest if it is anything else."""
    try:
        body = await request.json()
    except ValueError:
        raise BadRequest("the body must be JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be an object")
    return body
