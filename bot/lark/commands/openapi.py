"""`/call`: calls any OpenAPI as the user."""

from __future__ import annotations

from bot.core.api import Json
from bot.core.api_command import call_command, status_line
from bot.core.api_requests import CallableApis
from bot.core.response_fields import mapping


def handles_tokens(path: str) -> bool:
    area, _, rest = path.partition("/")
    about_tokens = any(word in rest for word in ("token", "oauth", "oidc"))
    return area in {"auth", "jssdk"} or (area == "authen" and about_tokens)


def status_of(response: Json) -> str:
    envelope = mapping(response)
    return status_line(envelope.get("code"), envelope.get("msg"))


APIS = CallableApis("/open-apis/", handles_tokens)

EXAMPLES = (
    "/call GET /open-apis/authen/v1/user_info",
    '/call POST /open-apis/contact/v3/users/basic_batch {"user_ids": ["ou_…"]}',
)

call = call_command(APIS, EXAMPLES, status_of)
