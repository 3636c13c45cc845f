"""Whether the app has the v3 token endpoint, the only one that refuses a PKCE verifier without a challenge.

A sign-in needs that refusal: without it, a code from a link that a stranger made signs in anyone who presents it. v3 is
documented for Feishu; on Lark and on private deployments it may not be there. What decides is a request that holds
nothing of a visitor's, because a visitor who could decide it would choose the endpoint that does not refuse.
"""

from __future__ import annotations

import asyncio
import logging
import time

from bot.core.api import Unreachable
from bot.core.secrets import Secret
from bot.lark.http_client import HttpClient, HttpResponse
from bot.lark.rate_limits import is_limit
from bot.lark.response_values import parse_json_object

log = logging.getLogger(__name__)

V3_ENDPOINT_PATH = "/oauth/v3/token"

ABSENT_STATUSES = {404, 405, 410, 501}
"""Statuses by which a server says that nothing is there, or nothing that takes a POST."""
INTERMEDIARY_STATUSES = {401, 403, 407, 408, 425}
"""Statuses of something in between, which would say the same whether the endpoint is there or not."""
UNAVAILABLE_ERRORS = {"unsupported_grant_type", "unauthorized_client"}

TOKEN_ENDPOINT_CODES = range(20000, 22000)

PRESENT_LIFETIME = 3600.0
ABSENT_LIFETIME = 600.0
"""Seconds for which a finding counts."""


class V3TokenEndpoint:
    """Looks for the endpoint, and remembers for a while what was found."""

    def __init__(self, http: HttpClient, accounts_url: str, app_id: str, app_secret: Secret) -> None:
        self._http, self._url = http, accounts_url + V3_ENDPOINT_PATH
        self._app_id, self._app_secret = app_id, app_secret
        self._found: bool | None = None
        self._counts_until = 0.0
        self._seen = False
        self._said_absent = False
        self._looking = asyncio.Lock()

    @property
    def known_absent(self) -> bool:
        return self._found is False and time.monotonic() < self._counts_until

    async def is_absent(self) -> bool:
        """True only when the platform says so: trouble on the way is no reason to do without."""
        async with self._looking:
            if self._found is None or time.monotonic() >= self._counts_until:
                self._remember(await self.look())
            return self._found is False

    async def look(self) -> bool | None:
        """Asks with a code that nobody was given. None when the answer does not tell."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self._app_id,
            "client_secret": self._app_secret.reveal(),
            "code": "is-this-endpoint-there",
        }
        answer = await self._http.fetch("POST", self._url, form=form)
        if isinstance(answer, Unreachable):
            return None
        found = is_token_endpoint(answer)
        self._seen = self._seen or found is True
        # An endpoint that was there is not gone because something in between has begun to answer in its place.
        return None if found is False and self._seen and answer.status not in ABSENT_STATUSES else found

    def forget(self) -> None:
        """Something answered that may not be the endpoint: the next one looks again."""
        self._found = None

    def _remember(self, found: bool | None) -> None:
        if found is False and not self._said_absent:
            log.warning(
                "no v3 token endpoint: whoever learns the code of another person's link can sign in with it",
                extra={"url": self._url},
            )
        if found is not None:
            # What visitors bring can make it look again, but not say again what it has said.
            self._said_absent = found is False
        self._found = found
        self._counts_until = time.monotonic() + (PRESENT_LIFETIME if found else ABSENT_LIFETIME)


def is_token_endpoint(answer: HttpResponse) -> bool | None:
    """Whether the token endpoint answered: it refuses the unknown code with an error of OAuth or of the platform."""
    fields = parse_json_object(answer.body) or {}
    error, code = fields.get("error"), fields.get("code")
    if error in UNAVAILABLE_ERRORS or answer.status in ABSENT_STATUSES:
        return False
    if isinstance(error, str) or (type(code) is int and code in TOKEN_ENDPOINT_CODES):
        return True
    if answer.status >= 500 or answer.status in INTERMEDIARY_STATUSES or is_limit(answer.status, code):
        return None
    return False
