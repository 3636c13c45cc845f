"""Finds out whether the app has the v3 token endpoint.

Only v3 rejects a PKCE verifier for a code that was issued without a challenge. Sign-ins rely on that: otherwise a code
from a link that an attacker made could be used to sign in. v3 is documented for Feishu; on Lark and on private
deployments it may be absent. The probe contains nothing from a visitor, because an attacker who could influence it
would choose the endpoint that does not reject such a code.
"""

from __future__ import annotations

import asyncio
import logging
import time

from bot.core.api import Unreachable
from bot.core.response_values import parse_json_object
from bot.lark.app import LarkApp
from bot.lark.rate_limits import is_limit
from bot.transport.http_client import HttpClient, HttpResponse

log = logging.getLogger(__name__)

V3_ENDPOINT_PATH = "/oauth/v3/token"

ABSENT_STATUSES = {404, 405, 410, 501}
"""Statuses that say that nothing is there, or nothing that accepts POST."""
INTERMEDIARY_STATUSES = {401, 403, 407, 408, 425}
"""Statuses of proxies, which say nothing about the endpoint."""
UNAVAILABLE_ERRORS = {"unsupported_grant_type", "unauthorized_client"}

TOKEN_ENDPOINT_CODES = range(20000, 22000)

PRESENT_LIFETIME = 3600.0
ABSENT_LIFETIME = 600.0
"""Seconds for which a result is cached."""


class V3TokenEndpoint:
    """Probes for the endpoint, and caches the result."""

    def __init__(self, http: HttpClient, app: LarkApp) -> None:
        self._http, self._app = http, app
        self._url = app.accounts_url + V3_ENDPOINT_PATH
        self._found: bool | None = None
        self._valid_until = 0.0
        self._seen = False
        self._logged_absent = False
        self._lock = asyncio.Lock()

    @property
    def known_absent(self) -> bool:
        return self._found is False and time.monotonic() < self._valid_until

    async def is_absent(self) -> bool:
        """Whether the platform says that the endpoint is absent. Network problems do not count as that."""
        async with self._lock:
            if self._found is None or time.monotonic() >= self._valid_until:
                self._remember(await self.probe())
            return self._found is False

    async def probe(self) -> bool | None:
        """Send a request with an invalid code, and return whether the endpoint exists; None if that is unclear."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self._app.id,
            "client_secret": self._app.secret.reveal(),
            "code": "is-this-endpoint-there",
        }
        response = await self._http.fetch("POST", self._url, form=form)
        if isinstance(response, Unreachable):
            return None
        found = is_token_endpoint(response)
        self._seen = self._seen or found is True
        # A proxy that now responds in place of an endpoint that was found does not make it absent.
        return None if found is False and self._seen and response.status not in ABSENT_STATUSES else found

    def forget(self) -> None:
        """Discard the cached result: something answered that may not be the endpoint."""
        self._found = None

    def _remember(self, found: bool | None) -> None:
        if found is False and not self._logged_absent:
            log.warning(
                "no v3 token endpoint: anyone who learns the code of another person's link can sign in with it",
                extra={"url": self._url},
            )
        if found is not None:
            # Visitors can cause further probes, which must not cause further log lines.
            self._logged_absent = found is False
        self._found = found
        self._valid_until = time.monotonic() + (PRESENT_LIFETIME if found else ABSENT_LIFETIME)


def is_token_endpoint(response: HttpResponse) -> bool | None:
    """Whether a response is from the token endpoint, which rejects the code with an error of OAuth or the platform."""
    fields = parse_json_object(response.body) or {}
    error, code = fields.get("error"), fields.get("code")
    if error in UNAVAILABLE_ERRORS or response.status in ABSENT_STATUSES:
        return False
    if isinstance(error, str) or (type(code) is int and code in TOKEN_ENDPOINT_CODES):
        return True
    if response.status >= 500 or response.status in INTERMEDIARY_STATUSES or is_limit(response.status, code):
        return None
    return False
