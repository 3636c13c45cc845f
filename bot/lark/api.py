"""Makes API calls with an access token. What their outcomes mean for a command is decided in `core.decisions`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bot.core.api import ApiCall, InsufficientScope, Observe, Outcome, Refused, ignore
from bot.core.scopes import any_of
from bot.core.secrets import Secret
from bot.lark.outcomes import code_and_log_id, outcome_of
from bot.lark.refusal_messages import scopes_in_message
from bot.transport.api_exchange import Reading, exchange, send_while_reachable
from bot.transport.http_client import HttpClient

CallAsApp = Callable[[ApiCall], Awaitable[Outcome]]
"""Makes an API call with the app's own token."""


async def call(
    http: HttpClient, origin: str, api_call: ApiCall, token: Secret, observe: Observe = ignore
) -> Outcome:
    """Make one API call. A write may be probed for first: see `send_while_reachable`."""
    return await send_while_reachable(
        http, api_call, PROBE, lambda each: send(http, origin, each, token, observe)
    )


async def call_as_user(
    http: HttpClient, origin: str, api_call: ApiCall, token: Secret, observe: Observe = ignore
) -> Outcome:
    """Like `call`, with a user's token. Returns `InsufficientScope` for a refusal whose message names a scope."""
    outcome = await call(http, origin, api_call, token, observe)
    if isinstance(outcome, Refused) and (alternatives := scopes_in_message(outcome.message)):
        return InsufficientScope(any_of(*alternatives), outcome.log_id)
    return outcome


PROBE = ApiCall("GET", "/open-apis/authen/v1/user_info")
"""A call that changes nothing and needs no scope."""


READING = Reading(outcome_of, code_and_log_id)


async def send(
    http: HttpClient, origin: str, api_call: ApiCall, token: Secret, observe: Observe = ignore
) -> Outcome:
    """Send a call without probing. Raises ValueError for a path outside `/open-apis/`."""
    if not api_call.path.startswith("/open-apis/"):
        # Without this, a path such as `@elsewhere.example/` would carry the token to another host.
        raise ValueError(f"Not an OpenAPI path: {api_call.path!r}")
    return await exchange(http, origin, api_call, token, READING, observe)
