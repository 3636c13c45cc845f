"""Faults as Lark's gateway shows them: its error bodies, and the Authorization header that a fault can hide."""

from typing import Any

from aiohttp import web

from bot.sandbox.faults import LOST_AUTHORIZATION, ErrorBodies, Fault, Faults

__all__ = ["ERROR_BODIES", "Fault", "Faults", "authorization"]


def authorization(request: web.Request) -> str:
    """Return the Authorization header, or an empty string."""
    return "" if LOST_AUTHORIZATION in request else request.headers.get("Authorization", "")


def _status(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "code": options.get("code", options.get("status", 500)),
        "msg": options.get("msg", "internal error"),
    }


def _rate_limit(options: dict[str, Any]) -> web.Response:
    reset = options.get("reset")
    headers = {} if reset is None else {"x-ogw-ratelimit-limit": "100", "x-ogw-ratelimit-reset": str(reset)}
    body = {"code": 99991400, "msg": "request trigger frequency limit"}
    return web.json_response(body, status=429, headers=headers)


ERROR_BODIES = ErrorBodies(_status, _rate_limit)
