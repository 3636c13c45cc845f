"""The app's own access token, cached and renewed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bot.core.api import Outcome, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.response_values import DEFAULT_TOKEN_LIFETIME, read_lifetime, read_secret
from bot.core.secrets import Secret
from bot.dingtalk.app import DingTalkApp
from bot.dingtalk.outcomes import outcome_of
from bot.transport.http_client import HttpClient

PATH = "/v1.0/oauth2/accessToken"

RENEWAL_MARGIN = 5 * 60
"""Seconds before expiry, as the platform's own client does."""

RENEWAL_RETRY_INTERVAL = 5.0
"""Seconds between attempts to renew a token that is still valid."""


class AppToken:
    """The token for the app's own credentials. Safe for concurrent use: callers share one request."""

    def __init__(self, http: HttpClient, app: DingTalkApp) -> None:
        self._http, self._app = http, app
        self._token: Secret | None = None
        self._expires_at = 0.0
        self._renew_at = 0.0
        self._fetch_task: asyncio.Task[Secret | Outcome] | None = None

    async def get(self) -> Secret | Outcome:
        """Return a valid token, or why there is none. Waits for the network only if there is no valid token."""
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
        secret = self._app.secret.reveal()
        response = await self._http.fetch(
            "POST", self._app.api_url + PATH, body={"appKey": self._app.id, "appSecret": secret}
        )
        outcome = response if isinstance(response, Unreachable) else outcome_of(response, "POST")
        if isinstance(outcome, Refused):
            # The message may quote the request.
            return replace(outcome, message=outcome.message.replace(secret, "***"), data=None)
        if not isinstance(outcome, Succeeded):
            return never_arrived(outcome)
        fields = outcome.data if isinstance(outcome.data, dict) else {}
        token = read_secret(fields, "accessToken")
        if token is None:
            return Unreachable("a response without a token", may_have_arrived=False)
        seconds = read_lifetime(fields, "expireIn") or DEFAULT_TOKEN_LIFETIME
        now = time.monotonic()
        self._token, self._expires_at = token, now + seconds
        self._renew_at = now + max(seconds - RENEWAL_MARGIN, seconds / 2)
        return token


async def with_token(token: AppToken, attempt: Callable[[Secret], Awaitable[Outcome]]) -> Outcome:
    """Make a call as the app, and a second time with a new token if the first was rejected."""
    for last in (False, True):
        secret = await token.get()
        if not isinstance(secret, Secret):
            # The request for the token failed, so the call itself was never sent.
            return never_arrived(secret)
        outcome = await attempt(secret)
        if last or not isinstance(outcome, TokenRejected):
            return outcome
        token.invalidate(secret)
    raise AssertionError("unreachable")


def never_arrived(outcome: Outcome) -> Outcome:
    """Mark an `Unreachable` outcome as certainly not executed; return any other outcome unchanged."""
    if isinstance(outcome, Unreachable):
        return Unreachable(outcome.reason, may_have_arrived=False)
    return outcome
