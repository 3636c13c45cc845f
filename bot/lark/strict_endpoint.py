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
from bot.lark.api import Answer, Http, parse_object
from bot.lark.rate_limits import is_limit

log = logging.getLogger(__name__)

STRICT_PATH = "/oauth/v3/token"

ABSENT = {404, 405, 410, 501}
"""Statuses by which a server says that nothing is there, or nothing that takes a POST."""
SAYS_NOTHING = {401, 403, 407, 408, 425}
"""Statuses of something in between, which would say the same whether the endpoint is there or not."""
NOT_FOR_THIS_APP = {"unsupported_grant_type", "unauthorized_client"}

ITS_CODES = range(20000, 22000)

PRESENT_FOR = 3600.0
ABSENT_FOR = 600.0
"""Seconds for which a finding counts."""


class StrictEndpoint:
    """Looks for the endpoint, and remembers for a while what was found."""

    def __init__(self, http: Http, accounts_url: str, app_id: str, app_secret: Secret) -> None:
        self._http, self._url = http, accounts_url + STRICT_PATH
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
        found = verdict(answer)
        self._seen = self._seen or found is True
        # An endpoint that was there is not gone because something in between has begun to answer in its place.
        return None if found is False and self._seen and answer.status not in ABSENT else found

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
        self._counts_until = time.monotonic() + (PRESENT_FOR if found else ABSENT_FOR)


def verdict(answer: Answer) -> bool | None:
    """Whether the token endpoint answered: it refuses the unknown code with an error of OAuth or of the platform."""
    fields = parse_object(answer.body) or {}
    error, code = fields.get("error"), fields.get("code")
    if error in NOT_FOR_THIS_APP or answer.status in ABSENT:
        return False
    if isinstance(error, str) or (type(code) is int and code in ITS_CODES):
        return True
    if answer.status >= 500 or answer.status in SAYS_NOTHING or is_limit(answer.status, code):
        return None
    return False
