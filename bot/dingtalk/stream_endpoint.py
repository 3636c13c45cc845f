"""Requests the address of a long connection and validates it."""

from __future__ import annotations

from yarl import URL

from bot.core.api import Unreachable
from bot.core.response_values import parse_json_object, read_secret
from bot.core.secrets import Secret
from bot.dingtalk.frames import SUBSCRIPTIONS
from bot.dingtalk.outcomes import code_of
from bot.transport.http_client import HttpClient, HttpResponse
from bot.transport.long_connection import MAX_REASON_LENGTH, CannotConnect, is_in_domains, parse_url

ENDPOINT = "/v1.0/gateway/connections/open"

DOMAINS = ("dingtalk.com", "dingtalk.io")

UA = "bot-that-asks/1"

REFUSED = frozenset({400, 401, 403})
"""HTTP statuses of refusals that only the app's developers or operators can resolve."""


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
        raise CannotConnect(response.reason[:MAX_REASON_LENGTH])
    fields = parse_json_object(response.body) or {}
    if response.status >= 300:
        raise refusal(response, code_of(fields), app_secret)
    ticket = read_secret(fields, "ticket")
    url = parse_url(fields.get("endpoint"))
    if ticket is None:
        raise CannotConnect("the platform returned no ticket")
    if not is_platform_address(url, URL(api_url)):
        reason = f"the platform returned an address that is not its own: {url.host}"
        raise CannotConnect(reason[:MAX_REASON_LENGTH])
    return url.update_query({"ticket": ticket.reveal()})


def refusal(response: HttpResponse, code: str, app_secret: Secret) -> CannotConnect:
    if response.status in REFUSED:
        detail = f"HTTP {response.status} {code}".strip().replace(app_secret.reveal(), "***")
        reason = f"the platform does not accept DINGTALK_CLIENT_ID with DINGTALK_CLIENT_SECRET: {detail}"
        return CannotConnect(reason[:MAX_REASON_LENGTH], refused=True)
    return CannotConnect(f"the platform returned no address: HTTP {response.status}")


def is_platform_address(url: URL, api_url: URL) -> bool:
    """Whether an address belongs to the platform."""
    return is_in_domains(url, api_url, DOMAINS)
