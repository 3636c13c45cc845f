"""Makes API calls with an access token. What their outcomes mean for a command is decided in `core.decisions`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bot.core.api import ApiCall, Observe, Outcome, Unreachable, ignore
from bot.core.secrets import Secret
from bot.dingtalk.outcomes import code_and_log_id, legacy_outcome_of, outcome_of
from bot.transport.api_exchange import Reading, exchange, send_while_reachable
from bot.transport.http_client import HttpClient

TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - the name of a header

CallAsApp = Callable[[ApiCall], Awaitable[Outcome]]
"""Makes an API call with the app's own token."""

USERS_ME = ApiCall("GET", "/v1.0/contact/users/me")

ROOT = "/v1.0/"

LEGACY_ROOT = "/topapi/"


async def call(
    http: HttpClient, origin: str, api_call: ApiCall, token: Secret, observe: Observe = ignore
) -> Outcome:
    """Make one API call. A write may be probed for first: see `send_while_reachable`."""
    return await send_while_reachable(
        http, api_call, USERS_ME, lambda each: send(http, origin, each, token, observe)
    )


READING = Reading(outcome_of, code_and_log_id)


async def send(
    http: HttpClient, origin: str, api_call: ApiCall, token: Secret, observe: Observe = ignore
) -> Outcome:
    if not api_call.path.startswith(ROOT):
        # Without this, a path such as `@elsewhere.example/` would carry the token to another host.
        raise ValueError(f"Not the path of an API: {api_call.path!r}")
    return await exchange(http, origin, api_call, token, READING, observe)


async def call_legacy(http: HttpClient, origin: str, api_call: ApiCall, token: Secret) -> Outcome:
    """Call an older API, which takes the app's token as a parameter."""
    if not api_call.path.startswith(LEGACY_ROOT):
        raise ValueError(f"Not the path of an older API: {api_call.path!r}")
    query = {**api_call.query, "access_token": token.reveal()}
    response = await http.fetch(api_call.method, origin + api_call.path, query=query, body=api_call.body)
    return response if isinstance(response, Unreachable) else legacy_outcome_of(response)
