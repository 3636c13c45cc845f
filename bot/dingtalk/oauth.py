"""The OAuth client: the link to the authorization page, code exchange and refresh.

Tokens can be neither narrowed nor revoked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

from bot.core.api import Unreachable
from bot.core.event_fields import is_id
from bot.core.oauth import TokenProblem, TokenRefused, TokenSet
from bot.core.response_values import (
    DEFAULT_TOKEN_LIFETIME,
    clean_message,
    parse_json_object,
    read_lifetime,
    read_secret,
)
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.dingtalk.app import DingTalkApp
from bot.dingtalk.error_codes import BAN_WAIT, INVALID_CODE, RATE_LIMIT_WAIT, RATE_LIMITED
from bot.dingtalk.outcomes import code_of, is_ban, with_code
from bot.dingtalk.scope_kinds import IDENTITY_SCOPE
from bot.transport.http_client import HttpClient, HttpResponse

AUTHORIZE_PATH = "/oauth2/auth"

TOKEN_PATH = "/v1.0/oauth2/userAccessToken"  # noqa: S105 - a path

REFRESH_LIFETIME = 30 * 86400
"""Seconds. Responses do not include it. A refresh token can be used once."""

Purpose = Literal["authorization_code", "refresh_token"]

APP_PROBLEMS = frozenset(
    {"invalidClientIdOrSecret", "invalid.client", "unauthorized.client", "unsupported.grant.type"}
)


class OAuthClient:
    """Talks to the authorization server as this app."""

    def __init__(self, http: HttpClient, app: DingTalkApp) -> None:
        self._http, self._app = http, app

    def authorize_url(self, *, redirect_uri: str, scopes: ScopeSet, state: str) -> str:
        """Return the URL of the authorization page.

        The platform documents `openid` and `corpid`, and in one of two places that further scopes may follow. It may show
        and grant what the app has registered instead. `corpid` makes the response to the exchange name the organization.
        """
        wanted = sorted(scopes | {IDENTITY_SCOPE})
        query = {
            "client_id": self._app.id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": " ".join(("openid", "corpid", *wanted)),
            "state": state,
            "prompt": "consent",
            "corpId": self._app.corp_id,
        }
        return f"{self._app.login_url}{AUTHORIZE_PATH}?{urlencode(query, quote_via=quote, safe='')}"

    async def exchange_code(self, code: Secret) -> TokenSet | TokenRefused:
        return await self._request_token("authorization_code", {"code": code.reveal()})

    async def refresh(self, refresh_token: Secret) -> TokenSet | TokenRefused:
        return await self._request_token("refresh_token", {"refreshToken": refresh_token.reveal()})

    async def _request_token(self, purpose: Purpose, given: Mapping[str, str]) -> TokenSet | TokenRefused:
        secrets = {"clientSecret": self._app.secret.reveal(), **given}
        body = {"clientId": self._app.id, **secrets, "grantType": purpose}
        response = await self._http.fetch("POST", self._app.api_url + TOKEN_PATH, body=body)
        if isinstance(response, Unreachable):
            problem = TokenProblem.IN_DOUBT if response.may_have_arrived else TokenProblem.TRANSIENT
            return TokenRefused(problem, 0, response.reason)
        return parse_response(response, purpose, tuple(secrets.values()))


def parse_response(
    response: HttpResponse, purpose: Purpose, sent: tuple[str, ...]
) -> TokenSet | TokenRefused:
    """Return the tokens, or the refusal. Values that were `sent` are masked in its message, which is logged."""
    status, fields = response.status, parse_json_object(response.body)
    if response.body is not None and is_ban(response.body):
        return TokenRefused(TokenProblem.TRANSIENT, status, "too many requests", retry_after=BAN_WAIT)
    code = code_of(fields or {})
    if status == 429 or code in RATE_LIMITED:
        return TokenRefused(TokenProblem.TRANSIENT, status, "too many requests", retry_after=RATE_LIMIT_WAIT)
    if fields is None or status >= 500 or status == 408 or 300 <= status < 400:
        return TokenRefused(TokenProblem.IN_DOUBT, status, f"no usable response (HTTP {status})")
    if status < 300:
        return parse_token_set(fields) or TokenRefused(
            TokenProblem.IN_DOUBT, status, "a response without a token"
        )
    message = with_code(code, clean_message(fields.get("message") or fields.get("Message")))
    for value in sent:
        message = message.replace(value, "***") if len(value) >= 8 else message
    return TokenRefused(problem_of(code, purpose), status, message[:300])


def problem_of(code: str, purpose: Purpose) -> TokenProblem:
    """Return the problem behind an error code. An unknown code never ends a grant."""
    if code == INVALID_CODE:
        return TokenProblem.OVER if purpose == "refresh_token" else TokenProblem.CODE
    if purpose == "refresh_token" and code.lower().startswith("invalidparameter.refreshtoken"):
        return TokenProblem.OVER
    if code in APP_PROBLEMS or purpose == "refresh_token":
        return TokenProblem.APP
    return TokenProblem.CODE


def parse_token_set(fields: Mapping[str, Any]) -> TokenSet | None:
    """Return the token set, or None without a usable access token. Responses never name scopes."""
    access_token = read_secret(fields, "accessToken")
    if access_token is None:
        return None
    refresh_token, corp_id = read_secret(fields, "refreshToken"), fields.get("corpId")
    lifetime = read_lifetime(fields, "expireIn") or read_lifetime(fields, "expiresIn")
    return TokenSet(
        access_token=access_token,
        expires_in=lifetime or DEFAULT_TOKEN_LIFETIME,
        refresh_token=refresh_token,
        refresh_expires_in=REFRESH_LIFETIME if refresh_token else None,
        scopes=None,
        tenant_key=corp_id if is_id(corp_id) else None,
    )
