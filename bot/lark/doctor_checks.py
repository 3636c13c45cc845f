"""What `bot doctor` asks of the platform beyond what the bot needs to serve. Decides nothing about good or bad."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from bot.core.api import ApiCall, Outcome, Refused, Succeeded, Unreachable
from bot.core.secrets import Secret
from bot.lark.api import Http, parse_object
from bot.lark.app_info import BOT, text_in
from bot.lark.app_token import AppToken
from bot.lark.strict_endpoint import StrictEndpoint

CallAsApp = Callable[[ApiCall], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Reached:
    """The platform answered. `clock_ahead` is how far our clock is ahead of its; None when it did not say."""

    clock_ahead: timedelta | None


async def reach(http: Http, open_url: str) -> Reached | Unreachable:
    """Whether anything answers at the OpenAPI origin, and what it says the time is."""
    before = time.time()
    answer = await http.fetch("GET", f"{open_url}/")
    if isinstance(answer, Unreachable):
        return answer
    middle = datetime.fromtimestamp((before + time.time()) / 2, UTC)
    try:
        said = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return Reached(None)
    return Reached(middle - (said if said.tzinfo else said.replace(tzinfo=UTC)))


async def sign_in(http: Http, open_url: str, app_id: str, app_secret: Secret) -> Outcome | None:
    """None when the app's credentials give a token, else why not."""
    token = AppToken(http, open_url, app_id, app_secret, "tenant_access_token")
    try:
        found = await token.get()
    finally:
        await token.close()
    return None if isinstance(found, Secret) else found


async def strict_endpoint(http: Http, accounts_url: str, app_id: str, app_secret: Secret) -> bool | None:
    """Whether the app has the v3 token endpoint; None when that cannot be told."""
    return await StrictEndpoint(http, accounts_url, app_id, app_secret).look()


async def bot_open_id(call_as_app: CallAsApp) -> str | Outcome:
    """The bot's own open_id: it has none until the bot ability is added and a version published."""
    outcome = await call_as_app(BOT)
    if not isinstance(outcome, Succeeded):
        return outcome
    return text_in(outcome.data.get("bot"), "open_id") or Refused(0, "no bot in the answer")


NOT_OF_THIS_APP = range(99992351, 99992365)
"""Codes for an open_id that is made up, or another app's or tenant's."""
CONTENT_REFUSED = frozenset({230001, 230025, 230099, 99992402})


async def can_be_told(call_as_app: CallAsApp, open_id: str) -> Outcome | None:
    """None when a message would reach this person, else why not.

    Reading contacts takes a scope that few apps have. Instead a message is sent whose content is none, so that the
    platform refuses it in any case: for its content only if it knows the recipient.
    """
    body = {"receive_id": open_id, "msg_type": "text", "content": "no JSON, so that it cannot be sent"}
    outcome = await call_as_app(
        ApiCall("POST", "/open-apis/im/v1/messages", {"receive_id_type": "open_id"}, body)
    )
    refused_for_content = isinstance(outcome, Refused) and outcome.code in CONTENT_REFUSED
    return None if refused_for_content else outcome


async def redirect_urls(call_as_app: CallAsApp, app_id: str) -> frozenset[str] | Outcome:
    """The redirect URLs in the developer console, if the app may read its own record."""
    path = f"/open-apis/application/v6/applications/{app_id}"
    outcome = await call_as_app(ApiCall("GET", path, {"lang": "en_us"}))
    if not isinstance(outcome, Succeeded):
        return outcome
    data = outcome.data.get("data")
    app = data.get("app") if isinstance(data, dict) else None
    urls = app.get("redirect_urls") if isinstance(app, dict) else None
    if not isinstance(urls, list):
        return Refused(0, "no redirect_urls in the answer")
    return frozenset(url for url in urls if isinstance(url, str))


async def long_connection(http: Http, open_url: str, app_id: str, app_secret: Secret) -> Outcome | None:
    """None when the platform would open a long connection for these credentials, else why not."""
    credentials = {"AppID": app_id, "AppSecret": app_secret.reveal()}
    answer = await http.fetch("POST", f"{open_url}/callback/ws/endpoint", body=credentials)
    if isinstance(answer, Unreachable):
        return answer
    parsed = parse_object(answer.body) or {}
    code = parsed.get("code")
    if code == 0 and text_in(parsed.get("data"), "URL"):
        return None
    return Refused(code if type(code) is int else answer.status, str(parsed.get("msg", "")))
