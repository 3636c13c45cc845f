"""Asks the platform for the address of a long connection, and checks it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from yarl import URL

from bot.lark.outcomes import OTHER_BRAND, WRONG_BRAND, is_redirect

ENDPOINT = "/callback/ws/endpoint"


DOMAINS = (("feishu.cn", "larkoffice.com"), ("larksuite.com",))
"""Of each brand. The addresses seen so far are msg-frontier.feishu.cn and msg-frontier-sg.larksuite.com."""


REFUSED_PAUSE = 20.0
"""Seconds between attempts. The longest and one attempt make less than the 30 in which a connection has to be back
after the platform is; so a platform that wishes for longer pauses does not get them."""


MAX_FIRST_PAUSE = 5.0


MAX_PAUSE = 10.0


MIN_PAUSE = 0.5


MAX_CONFIG_VALUE = 86400
"""Seconds, or attempts, that the platform may wish for."""


MAX_REASON_LENGTH = 200


REFUSALS = {
    403: "the app is disabled, or may not have long connections",
    514: "the platform does not accept LARK_APP_ID with LARK_APP_SECRET",
    1000040344: "the platform misses the app's credentials",
    1000040350: "the app has as many long connections as it may",
    WRONG_BRAND: OTHER_BRAND,
}
"""What only the app's developers or operators can change."""


class CannotConnect(Exception):
    """Words for operators. `refused`: trying again soon will not help."""

    def __init__(self, words: str, *, refused: bool = False) -> None:
        super().__init__(words)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How the platform wishes its clients to behave, in seconds. It may change its mind at any time."""

    ping_interval: int = 120
    reconnect_count: int = -1
    reconnect_interval: int = 120
    reconnect_nonce: int = 30
    """The longest of the random waits before the first attempt."""

    def updated(self, given: Any) -> ClientConfig:
        """With the fields that were given and make sense."""
        given = given if isinstance(given, dict) else {}
        fields = {
            name: given[wire]
            for name, wire, least in (
                ("ping_interval", "PingInterval", 1),
                ("reconnect_count", "ReconnectCount", -1),
                ("reconnect_interval", "ReconnectInterval", 0),
                ("reconnect_nonce", "ReconnectNonce", 0),
            )
            if type(given.get(wire)) is int and least <= given[wire] <= MAX_CONFIG_VALUE
        }
        return replace(self, **fields)

    def pause(self, failures: int, *, refused: bool = False) -> float:
        """Seconds until the next attempt, after so many have failed since the connection was lost."""
        if refused:
            longest = REFUSED_PAUSE
        elif failures == 0:
            return random.uniform(MIN_PAUSE, max(MIN_PAUSE, self._first_pause()))  # noqa: S311 - jitter
        elif 0 <= self.reconnect_count < failures:
            longest = MAX_PAUSE  # the SDK ends here
        else:
            longest = max(MIN_PAUSE, min(2.0 ** min(failures, 10), self.reconnect_interval, MAX_PAUSE))
        return longest * random.uniform(0.5, 1)  # noqa: S311

    def _first_pause(self) -> float:
        return min(self.reconnect_nonce, MAX_FIRST_PAUSE)


def is_platform_address(url: URL, open_url: URL) -> bool:
    """Whether an address belongs to the platform. Its server reads our events, and can invent others."""
    host, asked = url.host or "", open_url.host or ""
    if url.user is not None or url.password is not None or not host:
        return False
    if url.scheme == "ws":
        # In the clear only where the question for it was, which only a loopback host may be asked.
        return open_url.scheme == "http" and host == asked
    brand = next((domains for domains in DOMAINS if is_subdomain(asked, domains)), sum(DOMAINS, ()))
    return url.scheme == "wss" and (host == asked or is_subdomain(host, brand))


def is_subdomain(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


async def reject_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp follows them for a WebSocket, to any host and from wss to plain, and cannot be told not to."""
    response = await handler(request)
    if is_redirect(response.status):
        response.close()
        raise CannotConnect(f"the platform redirects the connection elsewhere: HTTP {response.status}")
    return response


def refused_handshake(status: int, headers: Mapping[str, str]) -> CannotConnect:
    """What the platform has to say about a connection that it does not take is in these headers."""
    for name in ("handshake-autherrcode", "handshake-status"):
        code = headers.get(name, "")
        if code in map(str, REFUSALS):
            return refusal(int(code), headers.get("handshake-msg"))
    return CannotConnect(f"the platform did not take the connection: HTTP {status}")


def refusal(code: int, message: Any) -> CannotConnect:
    words = REFUSALS.get(code, "the platform gave no address")
    said = f"{code} {message if isinstance(message, str) else ''}".strip()
    return CannotConnect(f"{words}: {said[:MAX_REASON_LENGTH]}", refused=code in REFUSALS)
