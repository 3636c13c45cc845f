"""Makes API calls with an access token. What their outcomes mean for a command is decided in `core.decisions`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bot.core.api import ApiCall, Outcome, Unreachable
from bot.core.secrets import Secret
from bot.dingtalk.outcomes import legacy_outcome_of, outcome_of
from bot.transport.http_client import HttpClient

TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - the name of a header

CallAsApp = Callable[[ApiCall], Awaitable[Outcome]]
"""Makes an API call with the app's own token."""

USERS_ME = ApiCall("GET", "/v1.0/contact/users/me")

ROOT = "/v1.0/"

LEGACY_ROOT = "/topapi/"


async def call(http: HttpClient, origin: str, api_call: ApiCall, token: Secret) -> Outcome:
    """Make an API call once. While the platform is down, no write is sent, because its outcome could not be known."""
    if api_call.write is not None and http.last_call_failed:
        probed = await send(http, origin, USERS_ME, token)
        if isinstance(probed, Unreachable):
            return Unreachable(probed.reason, may_have_arrived=False)
    return await send(http, origin, api_call, token)


async def send(http: HttpClient, origin: str, api_call: ApiCall, token: Secret) -> Outcome:
    if not api_call.path.startswith(ROOT):
        # Without this, a path such as `@elsewhere.example/` would carry the token to another host.
        raise ValueError(f"Not the path of an API: {api_call.path!r}")
    response = await http.fetch(
        api_call.method, origin + api_call.path, auth=token, query=api_call.query, body=api_call.body
    )
    outcome = response if isinstance(response, Unreachable) else outcome_of(response, api_call.method)
    http.last_call_failed = isinstance(outcome, Unreachable)
    return outcome


async def call_legacy(http: HttpClient, origin: str, api_call: ApiCall, token: Secret) -> Outcome:
    """Call an older API, which takes the app's token as a parameter."""
    if not api_call.path.startswith(LEGACY_ROOT):
        raise ValueError(f"Not the path of an older API: {api_call.path!r}")
    query = {**api_call.query, "access_token": token.reveal()}
    response = await http.fetch(api_call.method, origin + api_call.path, query=query, body=api_call.body)
    return response if isinstance(response, Unreachable) else legacy_outcome_of(response)
