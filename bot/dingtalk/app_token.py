"""The app's own access token."""

from __future__ import annotations

from bot.core.api import Outcome, Unreachable
from bot.dingtalk.app import DingTalkApp
from bot.dingtalk.outcomes import outcome_of
from bot.transport import app_token
from bot.transport.http_client import HttpClient

PATH = "/v1.0/oauth2/accessToken"


class AppToken(app_token.AppToken):
    renewal_margin = 5 * 60
    """As the platform's own client does."""

    def __init__(self, http: HttpClient, app: DingTalkApp) -> None:
        super().__init__(app.secret, token_field="accessToken", lifetime_field="expireIn")  # noqa: S106
        self._http, self._app = http, app

    async def _request(self) -> Outcome:
        credentials = {"appKey": self._app.id, "appSecret": self._app.secret.reveal()}
        response = await self._http.fetch("POST", self._app.api_url + PATH, body=credentials)
        return response if isinstance(response, Unreachable) else outcome_of(response, "POST")
