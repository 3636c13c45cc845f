"""Sends API calls, and tells an observer what was sent and what came back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.core.api import ApiCall, Exchange, Observe, Outcome, Unreachable
from bot.core.secrets import Secret
from bot.transport.http_client import HttpClient, HttpResponse


@dataclass(frozen=True, slots=True)
class Reading:
    """How a platform's responses are read."""

    outcome_of: Callable[[HttpResponse, str], Outcome]
    """Classifies the response to a request with this method."""
    code_and_log_id: Callable[[HttpResponse, Outcome], tuple[str | None, str | None]]


async def exchange(
    http: HttpClient, origin: str, api_call: ApiCall, token: Secret, reading: Reading, observe: Observe
) -> Outcome:
    """Send one API call with an access token, and return its outcome. `observe` is told of it in any case."""
    started = time.monotonic()
    status = code = log_id = None
    outcome: Outcome | None = None
    try:
        response = await http.fetch(
            api_call.method, origin + api_call.path, auth=token, query=api_call.query, body=api_call.body
        )
        if isinstance(response, Unreachable):
            outcome = response
        else:
            status, outcome = response.status, reading.outcome_of(response, api_call.method)
            code, log_id = reading.code_and_log_id(response, outcome)
        http.last_call_failed = isinstance(outcome, Unreachable)
        return outcome
    finally:
        seconds = time.monotonic() - started
        observe(Exchange(api_call.method, api_call.path, status, code, log_id, outcome, seconds))


async def send_while_reachable(
    http: HttpClient, api_call: ApiCall, probe: ApiCall, send: Callable[[ApiCall], Awaitable[Outcome]]
) -> Outcome:
    """Make one API call.

    After a call that got no usable response, a write is sent only if a harmless probe succeeds: otherwise its outcome
    could not be known.
    """
    if api_call.write is not None and http.last_call_failed:
        probed = await send(probe)
        if isinstance(probed, Unreachable):
            return Unreachable(probed.reason, may_have_arrived=False)
    return await send(api_call)
