"""The app's own access tokens. The SDK's client is not used, because it blocks the event loop."""

from __future__ import annotations

from bot.core.api import Outcome, Refused, Unreachable
from bot.lark.app import LarkApp
from bot.lark.outcomes import TENANT_TOKEN_REJECTED, outcome_of
from bot.transport import app_token
from bot.transport.http_client import HttpClient


class AppToken(app_token.AppToken):
    """A token for the app's own credentials: `tenant_access_token` or `app_access_token`."""

    renewal_margin = 20 * 60
    """In a token's last 30 minutes the platform issues a new one, and the old one stays valid."""

    def __init__(self, http: HttpClient, app: LarkApp, name: str) -> None:
        super().__init__(app.secret, token_field=name, lifetime_field="expire")
        self._http, self._app = http, app
        self._url = f"{app.open_url}/open-apis/auth/v3/{name}/internal"

    async def _request(self) -> Outcome:
        credentials = {"app_id": self._app.id, "app_secret": self._app.secret.reveal()}
        response = await self._http.fetch("POST", self._url, body=credentials)
        return response if isinstance(response, Unreachable) else outcome_of(response, "POST")

    def is_rejected(self, outcome: Outcome) -> bool:
        refused = isinstance(outcome, Refused) and outcome.code in TENANT_TOKEN_REJECTED
        return refused or super().is_rejected(outcome)
