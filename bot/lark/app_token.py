"""The app's own access tokens, cached and renewed. The SDK's client is not used, because it blocks the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bot.core.api import Outcome, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.response_values import DEFAULT_TOKEN_LIFETIME, read_lifetime, read_secret
from bot.core.secrets import Secret
from bot.lark.app import LarkApp
from bot.lark.outcomes import TENANT_TOKEN_REJECTED, outcome_of
from bot.transport.http_client import HttpClient

RENEWAL_MARGIN = 20 * 60
"""Seconds before expiry at which a token is renewed. In its last 30 minutes the platform issues a new token, and the old
one stays valid."""

RENEWAL_RETRY_INTERVAL = 5.0
"""Seconds between attempts to renew a token that is still valid."""


class AppToken:
    """A token for the app's own credentials: `tenant_access_token` or `app_access_token`."""

    def __init__(self, http: HttpClient, app: LarkApp, name: str) -> None:
        self._http, self._app, self._name = http, app, name
        self._url = f"{app.open_url}/open-apis/auth/v3/{name}/internal"
        self._token: Secret | None = None
        self._expires_at = 0.0
        self._renew_at = 0.0
        self._fetch_task: asyncio.Task[Secret | Outcome] | None = None

    async def get(self) -> Secret | Outcome:
        """Return a valid token, or the outcome that says why there is none.

        Waits for the network only if there is no valid token.
        """
        now = time.monotonic()
        if self._token is None or now >= self._expires_at:
            return await asyncio.shield(self._start_fetch())
        if now >= self._renew_at:
            self._renew_at = now + RENEWAL_RETRY_INTERVAL
            self._start_fetch()
        return self._token

    def invalidate(self, rejected: Secret) -> None:
        """Discard a token that the platform rejected, unless it has been replaced."""
        if self._token is rejected:
            self._token = None

    async def close(self) -> None:
        if self._fetch_task is not None:
            self._fetch_task.cancel()
            await asyncio.gather(self._fetch_task, return_exceptions=True)

    def _start_fetch(self) -> asyncio.Task[Secret | Outcome]:
        if self._fetch_task is None or self._fetch_task.done():
            self._fetch_task = asyncio.create_task(self._fetch())
        return self._fetch_task

    async def _fetch(self) -> Secret | Outcome:
        credentials = {"app_id": self._app.id, "app_secret": self._app.secret.reveal()}
        response = await self._http.fetch("POST", self._url, body=credentials)
        if isinstance(response, Unreachable):
            # A repeated request for a token does no harm.
            return Unreachable(response.reason, may_have_arrived=False)
        outcome = outcome_of(response, "POST")
        if isinstance(outcome, Refused):
            # The message may quote the request, and thus the secret.
            return replace(
                outcome, message=outcome.message.replace(self._app.secret.reveal(), "***"), data=None
            )
        if not isinstance(outcome, Succeeded):
            return never_arrived(outcome)
        token = read_secret(outcome.data, self._name)
        if token is None:
            return Unreachable("a response without a token", may_have_arrived=False)
        seconds = read_lifetime(outcome.data, "expire") or DEFAULT_TOKEN_LIFETIME
        now = time.monotonic()
        self._token = token
        self._expires_at = now + seconds
        self._renew_at = now + max(seconds - RENEWAL_MARGIN, seconds / 2)
        return self._token


async def with_token(token: AppToken, attempt: Callable[[Secret], Awaitable[Outcome]]) -> Outcome:
    """Make a call as the app. Repeat it once with a new token if the platform rejects the token."""
    for last in (False, True):
        secret = await token.get()
        if not isinstance(secret, Secret):
            # The request for the token failed, so the call itself was never sent.
            return never_arrived(secret)
        outcome = await attempt(secret)
        if last or not is_token_rejected(outcome):
            return outcome
        token.invalidate(secret)
    raise AssertionError("unreachable")


def is_token_rejected(outcome: Outcome) -> bool:
    match outcome:
        case TokenRejected():
            return True
        case Refused(code=code):
            return code in TENANT_TOKEN_REJECTED
        case _:
            return False


def never_arrived(outcome: Outcome) -> Outcome:
    """Mark an `Unreachable` outcome as certainly not executed; return any other outcome unchanged."""
    if isinstance(outcome, Unreachable):
        return Unreachable(outcome.reason, may_have_arrived=False)
    return outcome
