"""The requests that only `bot doctor` makes. `bot.doctor` judges their results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from bot.core.api import ApiCall, Outcome, Refused, Succeeded, Unreachable
from bot.core.response_values import parse_json_object
from bot.core.secrets import Secret
from bot.lark.api import CallAsApp
from bot.lark.app import LarkApp
from bot.lark.app_info import BOT_INFO, read_text
from bot.lark.app_token import AppToken
from bot.lark.v3_token_endpoint import V3TokenEndpoint
from bot.transport.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Reachable:
    """The platform responded. `clock_ahead` is how far the local clock is ahead, or None if that is unknown."""

    clock_ahead: timedelta | None


async def check_reachable(http: HttpClient, open_url: str) -> Reachable | Unreachable:
    """Request the OpenAPI origin, and compare the clocks."""
    before = time.time()
    response = await http.fetch("GET", f"{open_url}/")
    if isinstance(response, Unreachable):
        return response
    middle = datetime.fromtimestamp((before + time.time()) / 2, UTC)
    try:
        server_time = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return Reachable(None)
    return Reachable(middle - (server_time if server_time.tzinfo else server_time.replace(tzinfo=UTC)))


async def check_credentials(
    http: HttpClient, open_url: str, app_id: str, app_secret: Secret
) -> Outcome | None:
    """Return None if the app's credentials are accepted, else the outcome that says why not."""
    token = AppToken(http, LarkApp(app_id, app_secret, open_url), "tenant_access_token")
    try:
        found = await token.get()
    finally:
        await token.close()
    return None if isinstance(found, Secret) else found


async def has_v3_token_endpoint(
    http: HttpClient, accounts_url: str, app_id: str, app_secret: Secret
) -> bool | None:
    """Whether the app has the v3 token endpoint; None if that is unclear."""
    return await V3TokenEndpoint(http, LarkApp(app_id, app_secret, "", accounts_url)).probe()


async def read_bot_open_id(call_as_app: CallAsApp) -> str | Outcome:
    """Return the bot's open_id, or the outcome that says why not. An app has none until the Bot ability is published."""
    outcome = await call_as_app(BOT_INFO)
    if not isinstance(outcome, Succeeded):
        return outcome
    return read_text(outcome.data.get("bot"), "open_id") or Refused(0, "no bot in the response")


UNKNOWN_OPEN_ID_CODES = range(99992351, 99992365)
"""Codes for an open_id that does not exist, or belongs to another app or tenant."""
INVALID_CONTENT_CODES = frozenset({230001, 230025, 230099, 99992402})


async def check_recipient(call_as_app: CallAsApp, open_id: str) -> Outcome | None:
    """Return None if messages can be sent to this user, else the outcome that says why not.

    Reading contacts requires a scope that few apps have, so this sends a message with invalid content instead. It is
    never delivered, and it is refused for its content only if the recipient is valid.
    """
    body = {"receive_id": open_id, "msg_type": "text", "content": "not JSON, so that it cannot be sent"}
    outcome = await call_as_app(
        ApiCall("POST", "/open-apis/im/v1/messages", {"receive_id_type": "open_id"}, body)
    )
    refused_for_content = isinstance(outcome, Refused) and outcome.code in INVALID_CONTENT_CODES
    return None if refused_for_content else outcome


async def read_redirect_urls(call_as_app: CallAsApp, app_id: str) -> frozenset[str] | Outcome:
    """Return the redirect URLs of the developer console, or the outcome that says why they cannot be read."""
    path = f"/open-apis/application/v6/applications/{app_id}"
    outcome = await call_as_app(ApiCall("GET", path, {"lang": "en_us"}))
    if not isinstance(outcome, Succeeded):
        return outcome
    data = outcome.data.get("data")
    app = data.get("app") if isinstance(data, dict) else None
    urls = app.get("redirect_urls") if isinstance(app, dict) else None
    if not isinstance(urls, list):
        return Refused(0, "no redirect_urls in the response")
    return frozenset(url for url in urls if isinstance(url, str))


async def check_long_connection(
    http: HttpClient, open_url: str, app_id: str, app_secret: Secret
) -> Outcome | None:
    """Return None if the platform offers a long connection for these credentials, else the outcome that says why not."""
    credentials = {"AppID": app_id, "AppSecret": app_secret.reveal()}
    response = await http.fetch("POST", f"{open_url}/callback/ws/endpoint", body=credentials)
    if isinstance(response, Unreachable):
        return response
    parsed = parse_json_object(response.body) or {}
    code = parsed.get("code")
    if code == 0 and read_text(parsed.get("data"), "URL"):
        return None
    return Refused(code if type(code) is int else response.status, str(parsed.get("msg", "")))
