"""`/call`: calls any API under /v1.0/ as the user."""

from __future__ import annotations

from bot.core.api import Json
from bot.core.api_command import call_command
from bot.core.api_requests import CallableApis


def handles_tokens(path: str) -> bool:
    """Whether an API issues tokens, or connections and signatures for the app."""
    area = path.partition("/")[0]
    return area in {"oauth2", "gateway"}


def status_of(_: Json) -> str:
    return "200"


APIS = CallableApis("/v1.0/", handles_tokens)

EXAMPLES = (
    "/call GET /v1.0/contact/users/me",
    '/call POST /v1.0/todo/users/me/personalTasks {"subject": "…", "executorIds": ["…"]}',
)

call = call_command(APIS, EXAMPLES, status_of)
