"""Requests the address of a long connection and validates it."""

from __future__ import annotations

from typing import Any

import aiohttp
from yarl import URL

from bot.core.api import Unreachable
from bot.core.response_values import parse_json_object, read_secret
from bot.core.secrets import Secret
from bot.dingtalk.frames import SUBSCRIPTIONS
from bot.dingtalk.outcomes import code_of
from bot.transport.http_client import HttpClient, HttpResponse

ENDPOINT = "/v1.0/gateway/connections/open"

DOMAINS = ("dingtalk.com", "dingtalk.io")

UA = "bot-that-asks/1"

REFUSED = frozenset({400, 401, 403})
"""HTTP statuses of refusals that only the app's developers or operators can resolve."""

MAX_REASON_LENGTH = 200


class CannotConnect(Exception):
    """No connection; the text is for operators. `refused`: an early retry will not help."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason[:MAX_REASON_LENGTH])
        self.refused = refused


async def request_address(http: HttpClient, api_url: str, app_id: str, app_secret: Secret) -> URL:
    """Return the address of one connection, with its ticket. Raises `CannotConnect`."""
    body = {
        "clientId": app_id,
        "clientSecret": app_secret.reveal(),
        "subscriptions": list(SUBSCRIPTIONS),
        "ua": UA,
    }
    response = await http.fetch("POST", api_url + ENDPOINT, body=body, accept="application/json")
    if isinstance(response, Unreachable):
        raise CannotConnect(response.reason)
    fields = parse_json_object(response.body) or {}
    if response.status >= 300:
        raise refusal(response, code_of(fields), app_secret)
    ticket = read_secret(fields, "ticket")
    url = parse_url(fields.get("endpoint"))
    if ticket is None:
        raise CannotConnect("the platform returned no ticket")
    if not is_platform_address(url, URL(api_url)):
        raise CannotConnect(f"the platform returned an address that is not its own: {url.host}")
    return url.update_query({"ticket": ticket.reveal()})


def refusal(response: HttpResponse, code: str, app_secret: Secret) -> CannotConnect:
    if response.status in REFUSED:
        detail = f"HTTP {response.status} {code}".strip().replace(app_secret.reveal(), "***")
        return CannotConnect(
            f"the platform does not accept DINGTALK_CLIENT_ID with DINGTALK_CLIENT_SECRET: {detail}",
            refused=True,
        )
    return CannotConnect(f"the platform returned no address: HTTP {response.status}")


def parse_url(value: Any) -> URL:
    """Return the URL of a WebSocket. Raises `CannotConnect`."""
    if not isinstance(value, str) or not value.startswith(("wss://", "ws://")):
        raise CannotConnect("the platform returned no address")
    try:
        return URL(value)
    except ValueError:
        raise CannotConnect("the platform returned an invalid address") from None


def is_platform_address(url: URL, api_url: URL) -> bool:
    """Whether an address belongs to the platform. Its server reads the app's events and can forge others."""
    host, api_host = url.host or "", api_url.host or ""
    if url.user is not None or url.password is not None or not host:
        return False
    if url.scheme == "ws":
        # Without TLS only at the API's own host, and only if that has none either: a loopback host.
        return api_url.scheme == "http" and host == api_host
    return host == api_host or any(host == each or host.endswith(f".{each}") for each in DOMAINS)


async def reject_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Raise `CannotConnect` on a redirect.

    aiohttp follows redirects of a WebSocket handshake, to any host and from wss to ws, and has no option to disable that.
    """
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise CannotConnect(f"the platform redirects the connection elsewhere: HTTP {response.status}")
    return response
