"""The app's own access tokens, cached and renewed."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

from bot.core.api import Outcome, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.events import Outage
from bot.core.response_values import DEFAULT_TOKEN_LIFETIME, read_lifetime, read_secret
from bot.core.secrets import Secret

RENEWAL_RETRY_INTERVAL = 5.0
"""Seconds between attempts to renew a token that is still valid."""


class AppToken(abc.ABC):
    """A token for the app's own credentials. Safe for concurrent use: callers share one request."""

    renewal_margin: ClassVar[int]
    """Seconds before expiry at which a token is renewed."""

    def __init__(self, app_secret: Secret, *, token_field: str, lifetime_field: str) -> None:
        self._app_secret, self._token_field, self._lifetime_field = app_secret, token_field, lifetime_field
        self._token: Secret | None = None
        self._expires_at = 0.0
        self._renew_at = 0.0
        self._fetch_task: asyncio.Task[Secret | Outcome] | None = None
        self.outage: Outage | None = None
        """Since when the platform has refused the app's credentials, or None. Without a token, no call can be made."""

    @abc.abstractmethod
    async def _request(self) -> Outcome:
        """Request a token. The data of a success has the token and its lifetime in seconds."""

    def is_rejected(self, outcome: Outcome) -> bool:
        """Return whether the platform did not accept the token of a call."""
        return isinstance(outcome, TokenRejected)

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
        outcome = await self._request()
        if isinstance(outcome, Refused):
            since = self.outage.since if self.outage else datetime.now(UTC)
            self.outage = Outage(since, f"the platform refuses the app's credentials ({outcome.code})")
            # The message may quote the request, and thus the secret.
            message = outcome.message.replace(self._app_secret.reveal(), "***")
            return replace(outcome, message=message, data=None)
        if not isinstance(outcome, Succeeded):
            return never_arrived(outcome)
        fields = outcome.data if isinstance(outcome.data, dict) else {}
        token = read_secret(fields, self._token_field)
        if token is None:
            return Unreachable("a response without a token", may_have_arrived=False)
        seconds = read_lifetime(fields, self._lifetime_field) or DEFAULT_TOKEN_LIFETIME
        self.outage = None
        now = time.monotonic()
        self._token, self._expires_at = token, now + seconds
        self._renew_at = now + max(seconds - self.renewal_margin, seconds / 2)
        return token


async def with_token(token: AppToken, attempt: Callable[[Secret], Awaitable[Outcome]]) -> Outcome:
    """Make a call as the app. Repeat it once with a new token if the platform rejects the token."""
    for last in (False, True):
        secret = await token.get()
        if not isinstance(secret, Secret):
            # The request for the token failed, so the call itself was never sent.
            return never_arrived(secret)
        outcome = await attempt(secret)
        if last or not token.is_rejected(outcome):
            return outcome
        token.invalidate(secret)
    raise AssertionError("unreachable")


def never_arrived(outcome: Outcome) -> Outcome:
    """Mark an `Unreachable` outcome as certainly not executed; return any other outcome unchanged.

    A repeated request for a token does no harm.
    """
    if isinstance(outcome, Unreachable):
        return Unreachable(outcome.reason, may_have_arrived=False)
    return outcome
