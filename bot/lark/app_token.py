"""The app's own tokens, fetched by ourselves because the SDK blocks the event loop for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bot.core.api import Outcome, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.secrets import Secret
from bot.lark.api import TENANT_TOKEN_REJECTED, Http, meaning_of, seconds_in, secret_in

RENEW_BEFORE = 20 * 60
"""Seconds. With under half an hour left the platform gives a new token, and the old one stays good."""

ASSUMED_LIFE = 7200
"""Seconds, when the platform does not say anything sensible. A token that dies earlier is refused, and replaced."""

PAUSE_AFTER_FAILURE = 5.0
"""Seconds between attempts to renew ahead; a token that still works is not worth a storm."""


class AppToken:
    """A token that the app gets for its own credentials: `tenant_access_token` or `app_access_token`."""

    def __init__(self, http: Http, open_url: str, app_id: str, app_secret: Secret, name: str) -> None:
        self._http = http
        self._url = f"{open_url}/open-apis/auth/v3/{name}/internal"
        self._app_id, self._app_secret, self._name = app_id, app_secret, name
        self._token: Secret | None = None
        self._expires_at = 0.0
        self._renew_at = 0.0
        self._flight: asyncio.Task[Secret | Outcome] | None = None

    async def get(self) -> Secret | Outcome:
        """A token that should still work, or why there is none. Waits only when there is no token at all."""
        now = time.monotonic()
        if self._token is None or now >= self._expires_at:
            return await asyncio.shield(self._fetching())
        if now >= self._renew_at:
            self._renew_at = now + PAUSE_AFTER_FAILURE
            self._fetching()
        return self._token

    def invalidate(self, rejected: Secret) -> None:
        """Forgets a token that the platform refused, unless there is a newer one already."""
        if self._token is rejected:
            self._token = None

    async def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    def _fetching(self) -> asyncio.Task[Secret | Outcome]:
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fetch())
        return self._flight

    async def _fetch(self) -> Secret | Outcome:
        credentials = {"app_id": self._app_id, "app_secret": self._app_secret.reveal()}
        answer = await self._http.fetch("POST", self._url, body=credentials)
        if isinstance(answer, Unreachable):
            # Asking for a token has no effect that could be repeated.
            return Unreachable(answer.reason, may_have_arrived=False)
        outcome = meaning_of(answer, "POST")
        if isinstance(outcome, Refused):
            # It may quote what it was sent.
            return replace(
                outcome, message=outcome.message.replace(self._app_secret.reveal(), "***"), data=None
            )
        if not isinstance(outcome, Succeeded):
            return without_arrival(outcome)
        token = secret_in(outcome.data, self._name)
        if token is None:
            return Unreachable("an answer without a token", may_have_arrived=False)
        seconds = seconds_in(outcome.data, "expire") or ASSUMED_LIFE
        now = time.monotonic()
        self._token = token
        self._expires_at = now + seconds
        self._renew_at = now + max(seconds - RENEW_BEFORE, seconds / 2)
        return self._token


async def with_token(token: AppToken, attempt: Callable[[Secret], Awaitable[Outcome]]) -> Outcome:
    """Makes a call as the app; once more, with a fresh token, when the token as such was refused."""
    for last in (False, True):
        secret = await token.get()
        if not isinstance(secret, Secret):
            # Nothing left for the API itself, however its token failed.
            return without_arrival(secret)
        outcome = await attempt(secret)
        if last or not refuses_token(outcome):
            return outcome
        token.invalidate(secret)
    raise AssertionError("unreachable")


def refuses_token(outcome: Outcome) -> bool:
    match outcome:
        case TokenRejected():
            return True
        case Refused(code=code):
            return code in TENANT_TOKEN_REJECTED
        case _:
            return False


def without_arrival(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Unreachable):
        return Unreachable(outcome.reason, may_have_arrived=False)
    return outcome
