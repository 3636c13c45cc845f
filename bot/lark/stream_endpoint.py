"""Requests and validates the address of a long connection, and computes the pauses between attempts to connect."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from yarl import URL

from bot.core.api import Unreachable
from bot.core.response_values import parse_json_object
from bot.core.retry import SECOND, backoff, spread
from bot.core.secrets import Secret
from bot.lark.outcomes import OTHER_BRAND, WRONG_BRAND, is_redirect
from bot.transport.http_client import HttpClient
from bot.transport.long_connection import (
    MAX_REASON_LENGTH,
    CannotConnect,
    is_in_domains,
    is_subdomain,
    parse_url,
)

ENDPOINT = "/callback/ws/endpoint"

DOMAINS = (("feishu.cn", "larkoffice.com"), ("larksuite.com",))
"""Domains of each brand. Known hosts are msg-frontier.feishu.cn and msg-frontier-sg.larksuite.com."""

MIN_PAUSE = 0.5
MAX_FIRST_PAUSE = 5.0
MAX_PAUSE = 10.0
REFUSED_PAUSE = 20.0
"""Seconds between attempts. The connection must be up within 30 seconds after the platform is, so the longest pause and
one attempt together take less. Longer pauses in the platform's configuration are therefore shortened."""

MAX_CONFIG_VALUE = 86400
"""Seconds, or attempts, that the platform may set."""

REFUSALS = {
    403: "the app is disabled, or may not open long connections",
    514: "the platform does not accept LARK_APP_ID with LARK_APP_SECRET",
    1000040344: "the platform says that the app's credentials are missing",
    1000040350: "the app has reached its limit of long connections",
    WRONG_BRAND: OTHER_BRAND,
}
"""Refusals that only the app's developers or operators can resolve, by the platform's code."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How clients should ping and reconnect, in seconds. The platform may change it at any time."""

    ping_interval: int = 120
    reconnect_count: int = -1
    reconnect_interval: int = 120
    reconnect_nonce: int = 30
    """The upper limit of the random pause before the first attempt."""

    def updated(self, given: Any) -> ClientConfig:
        """Return the configuration with the given fields that are valid."""
        given = given if isinstance(given, dict) else {}
        fields = {
            name: given[wire_name]
            for name, wire_name, minimum in (
                ("ping_interval", "PingInterval", 1),
                ("reconnect_count", "ReconnectCount", -1),
                ("reconnect_interval", "ReconnectInterval", 0),
                ("reconnect_nonce", "ReconnectNonce", 0),
            )
            if type(given.get(wire_name)) is int and minimum <= given[wire_name] <= MAX_CONFIG_VALUE
        }
        return replace(self, **fields)

    def pause(self, failures: int, *, refused: bool = False) -> float:
        """Return the seconds until the next attempt, by the number of failures since the connection was lost."""
        jitter = random.random()  # noqa: S311 - spreads reconnections; not for security
        if refused:
            pause = spread(timedelta(seconds=REFUSED_PAUSE), jitter)
        elif failures == 0:
            longest = max(MIN_PAUSE, min(self.reconnect_nonce, MAX_FIRST_PAUSE))
            return MIN_PAUSE + jitter * (longest - MIN_PAUSE)
        elif 0 <= self.reconnect_count < failures:
            pause = spread(timedelta(seconds=MAX_PAUSE), jitter)  # the SDK gives up here
        else:
            longest = max(MIN_PAUSE, min(self.reconnect_interval, MAX_PAUSE))
            pause = backoff(failures, jitter, first=2 * SECOND, longest=timedelta(seconds=longest))
        return pause.total_seconds()


@dataclass(frozen=True, slots=True)
class Address:
    """The address of one connection. Anyone who has the URL can receive the app's events."""

    url: URL
    service: int
    """The `service_id` that each frame carries."""
    config: Any
    """The platform's `ClientConfig`, not validated."""


async def request_address(http: HttpClient, open_url: str, app_id: str, app_secret: Secret) -> Address:
    """Request the address of a new connection. Raises `CannotConnect`."""
    credentials = {"AppID": app_id, "AppSecret": app_secret.reveal()}
    response = await http.fetch("POST", open_url + ENDPOINT, body=credentials)
    if isinstance(response, Unreachable):
        raise CannotConnect(response.reason)
    if is_redirect(response.status):
        raise CannotConnect(f"the platform redirects the request for an address: HTTP {response.status}")
    parsed = parse_json_object(response.body) or {}
    code = parsed.get("code")
    if type(code) is not int:
        raise CannotConnect(f"the platform returned no address: HTTP {response.status}")
    if code != 0:
        raise refusal(code, parsed.get("msg"))
    data = parsed.get("data")
    fields = data if isinstance(data, dict) else {}
    url = parse_url(fields.get("URL"))
    service = url.query.get("service_id", "")
    if not (service.isascii() and service.isdigit() and len(service) <= 10):
        raise CannotConnect("the platform returned an address without its parameters")
    if not is_platform_address(url, URL(open_url)):
        reason = f"the platform returned an address that is not its own: {url.host}"
        raise CannotConnect(reason[:MAX_REASON_LENGTH])
    return Address(url, int(service), fields.get("ClientConfig"))


def is_platform_address(url: URL, open_url: URL) -> bool:
    """Whether an address belongs to the platform, and to the brand of `open_url` if that has one."""
    host = open_url.host or ""
    brand = next((domains for domains in DOMAINS if is_subdomain(host, domains)), sum(DOMAINS, ()))
    return is_in_domains(url, open_url, brand)


def refused_handshake(status: int, headers: Mapping[str, str]) -> CannotConnect:
    """Return the refusal in the headers of a handshake's response."""
    for name in ("handshake-autherrcode", "handshake-status"):
        code = headers.get(name, "")
        if code in map(str, REFUSALS):
            return refusal(int(code), headers.get("handshake-msg"))
    return CannotConnect(f"the platform refused the connection: HTTP {status}")


def refusal(code: int, message: Any) -> CannotConnect:
    reason = REFUSALS.get(code, "the platform returned no address")
    detail = f"{code} {message if isinstance(message, str) else ''}".strip()
    return CannotConnect(f"{reason}: {detail[:MAX_REASON_LENGTH]}", refused=code in REFUSALS)
