"""Faults as DingTalk's gateway shows them: its error bodies, and the token header that a fault can hide."""

from typing import Any

from aiohttp import web

from bot.sandbox.faults import LOST_AUTHORIZATION, ErrorBodies, Fault, Faults

__all__ = ["ERROR_BODIES", "TOKEN_HEADER", "Fault", "Faults", "access_token_header"]

TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - a header's name
QPS_LIMIT = "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"


def access_token_header(request: web.Request) -> str:
    """Return the access token of a request to the new API, or an empty string."""
    return "" if LOST_AUTHORIZATION in request else request.headers.get(TOKEN_HEADER, "")


def _status(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "code": str(options.get("code", "ServiceUnavailable")),
        "message": str(options.get("message", "internal error")),
        "requestid": "0A1B2C3D-0000-0000-0000-000000000000",
    }


def _rate_limit(_: dict[str, Any]) -> web.Response:
    body = {
        "code": QPS_LIMIT,
        "message": "您的服务器调用钉钉开放平台的频率过高，触发了流量控制",
        "requestid": "0A1B2C3D-0000-0000-0000-000000000001",
    }
    return web.json_response(body, status=403)


ERROR_BODIES = ErrorBodies(_status, _rate_limit)
