"""The OAuth 2.0 client: code exchange, refresh, narrowing, device authorization, and revocation.

No method raises for network errors. `token_problems` says what the error codes mean, and `token_endpoints` how the
versions of the token endpoint differ.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote, urlencode

from bot.core.api import Unreachable
from bot.core.oauth import DeviceAnswer, DeviceCode, TokenProblem, TokenRefused, TokenSet
from bot.core.response_values import parse_json_object
from bot.core.scopes import ScopeSet, join_scopes
from bot.core.secrets import Secret
from bot.lark.app import LarkApp
from bot.lark.app_token import AppToken
from bot.lark.token_endpoints import (
    TOKEN_ENDPOINTS,
    TokenEndpoint,
    TokenEndpointVersion,
    code_exchange_parameters,
    refresh_parameters,
)
from bot.lark.token_problems import INVALID_APP_ACCESS_TOKEN, PROBLEMS, Purpose
from bot.lark.token_responses import (
    code_of,
    is_refusal,
    lacks_permitted_scopes,
    parse_device_code,
    parse_fields,
    parse_refusal,
    parse_token_set,
    refused_unreachable,
    refused_without_app_token,
)
from bot.lark.v3_token_endpoint import V3TokenEndpoint
from bot.transport.http_client import BasicCredentials, HttpClient, HttpResponse

AUTHORIZE_PATH = "/open-apis/authen/v1/authorize"

REVOKE_PATH = "/oauth/v1/revoke"

DEVICE_AUTHORIZATION_PATH = "/oauth/v1/device_authorization"

DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

ADDED_BY_PLATFORM = frozenset({"auth:user.id:read", "user_profile"})
"""Scopes that the platform adds to every token. They are not requested, because that may be refused."""


class OAuthClient:
    """Talks to the authorization server as this app."""

    def __init__(self, http: HttpClient, app: LarkApp, version: TokenEndpointVersion) -> None:
        self._http, self._app = http, app
        self._endpoint = TOKEN_ENDPOINTS[version]
        self._app_token = AppToken(http, app, "app_access_token")
        self._v3_endpoint = V3TokenEndpoint(http, app)

    @property
    def uses_pkce(self) -> bool:
        return self._endpoint.pkce

    @property
    def signs_in_with_pkce(self) -> bool:
        return self._endpoint.pkce or not self._v3_endpoint.known_absent

    async def close(self) -> None:
        await self._app_token.close()

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt: bool
    ) -> str:
        query = {
            "client_id": self._app.id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": join_scopes(scopes),
            "state": state,
            "code_challenge": challenge or "",
            "code_challenge_method": "S256" if challenge else "",
            "prompt": "consent" if prompt else "",
        }
        filled = {name: value for name, value in query.items() if value}
        return f"{self._app.accounts_url}{AUTHORIZE_PATH}?{urlencode(filled, quote_via=quote, safe='')}"

    async def exchange_code(
        self,
        code: Secret,
        *,
        redirect_uri: str | None,
        verifier: Secret | None,
        scopes: ScopeSet | None,
        strict: bool = False,
    ) -> TokenSet | TokenRefused:
        parameters = code_exchange_parameters(self._endpoint, code, redirect_uri, verifier)
        if not scopes:
            return await self._request_token("exchange", parameters)
        result = await self._request_narrow_token("exchange", parameters, scopes)
        if not lacks_permitted_scopes(result):
            return result
        # The user granted less than the link asked for, or the platform has lost earlier grants.
        wide = await self._request_token("exchange", parameters)
        if isinstance(wide, TokenSet):
            return await self.narrow(wide, scopes, strict=strict)
        return replace(result, problem=TokenProblem.SCOPE) if wide.problem is TokenProblem.CODE else wide

    async def _request_narrow_token(
        self, purpose: Purpose, parameters: dict[str, str], scopes: ScopeSet
    ) -> TokenSet | TokenRefused:
        """Request a token with only these scopes. If the endpoint cannot narrow tokens, only these are recorded."""
        if self._endpoint.narrows and (named := scopes - ADDED_BY_PLATFORM):
            return await self._request_token(purpose, parameters | {"scope": join_scopes(named)})
        result = await self._request_token(purpose, parameters)
        return limit_scopes(result, scopes) if isinstance(result, TokenSet) else result

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        """Exchange the code of a sign-in: at v3 if the app has that endpoint, else at the configured version."""
        endpoint = self._endpoint if await self._v3_endpoint.is_absent() else TOKEN_ENDPOINTS["v3"]
        parameters = code_exchange_parameters(endpoint, code, redirect_uri, verifier)
        result = await self._request_token("exchange", parameters, endpoint)
        if isinstance(result, TokenRefused) and result.code not in PROBLEMS:
            self._v3_endpoint.forget()
        return result

    async def request_device_authorization(self, scopes: ScopeSet) -> DeviceCode | TokenRefused:
        """Request a device code. Authenticate with HTTP Basic or, if that fails, with the secret in the form.

        A proxy may drop the Authorization header. RFC 6749, 2.3.1 allows either way, but not both at once.
        """
        url = f"{self._app.accounts_url}{DEVICE_AUTHORIZATION_PATH}"
        form = {"client_id": self._app.id, "scope": join_scopes(scopes)}
        response = await self._http.fetch(
            "POST", url, auth=BasicCredentials(self._app.id, self._app.secret), form=form
        )
        if isinstance(response, HttpResponse) and may_lack_client_authentication(response):
            form["client_secret"] = self._app.secret.reveal()
            response = await self._http.fetch("POST", url, form=form)
        if isinstance(response, Unreachable):
            return refused_unreachable(response)
        fields = parse_fields(response, wanted="device_code")
        if isinstance(fields, TokenRefused):
            return fields
        if is_refusal(fields):
            return parse_refusal(fields, "device", (self._app.secret.reveal(),), response)
        return parse_device_code(fields) or TokenRefused(
            TokenProblem.IN_DOUBT, 0, "a response without a device code or a usable link"
        )

    async def poll_device(self, device_code: Secret) -> TokenSet | DeviceAnswer | TokenRefused:
        parameters = {"grant_type": DEVICE_CODE_GRANT, "device_code": device_code.reveal()}
        result = await self._request_token("device", parameters)
        if isinstance(result, TokenRefused) and result.error in set(DeviceAnswer):
            return DeviceAnswer(result.error)
        return result

    async def narrow(
        self, tokens: TokenSet, scopes: ScopeSet, *, strict: bool = False
    ) -> TokenSet | TokenRefused:
        if tokens.scopes is None or tokens.scopes <= scopes | ADDED_BY_PLATFORM:
            return tokens
        if tokens.refresh_token is None or not self._endpoint.narrows:
            return limit_scopes(tokens, scopes)
        narrow = await self._request_narrow_token(
            "refresh", refresh_parameters(tokens.refresh_token), tokens.scopes & scopes
        )
        return narrow if strict or isinstance(narrow, TokenSet) else limit_scopes(tokens, scopes)

    async def refresh(self, refresh_token: Secret, scopes: ScopeSet | None = None) -> TokenSet | TokenRefused:
        parameters = refresh_parameters(refresh_token)
        if not scopes:
            return await self._request_token("refresh", parameters)
        result = await self._request_narrow_token("refresh", parameters, scopes)
        if not lacks_permitted_scopes(result):
            return result
        # The user withdrew one of the scopes, or the app no longer has it.
        wide = await self._request_token("refresh", parameters)
        if isinstance(wide, TokenSet):
            return await self.narrow(wide, scopes)
        return replace(wide, problem=TokenProblem.SCOPE) if lacks_permitted_scopes(wide) else wide

    async def revoke(self, token: Secret) -> TokenRefused | None:
        """Revoke a token. Return why that failed, or None. A token that the platform does not know counts as revoked."""
        form = {
            "client_id": self._app.id,
            "client_secret": self._app.secret.reveal(),
            "token": token.reveal(),
            "token_type_hint": "access_token" if token.reveal().startswith("u-") else "refresh_token",
        }
        response = await self._http.fetch("POST", f"{self._app.accounts_url}{REVOKE_PATH}", form=form)
        if isinstance(response, Unreachable):
            return refused_unreachable(response)
        if response.status < 300 and response.body is not None and not response.body.strip():
            return None  # RFC 7009, 2.2
        fields = parse_fields(response)
        if isinstance(fields, TokenRefused):
            return fields
        if not is_refusal(fields) or fields.get("error") == "invalid_token":
            return None
        refusal = parse_refusal(fields, "refresh", form.values(), response)
        return None if refusal.problem is TokenProblem.OVER else refusal

    async def _request_token(
        self, purpose: Purpose, parameters: dict[str, str], endpoint: TokenEndpoint | None = None
    ) -> TokenSet | TokenRefused:
        """Send a request to the token endpoint, by default that of the configured version."""
        endpoint = endpoint or self._endpoint
        app_token: Secret | None = None
        if endpoint.app_token:
            found = await self._app_token.get()
            if not isinstance(found, Secret):
                return refused_without_app_token(found)
            app_token = found
        else:
            parameters = parameters | {"client_id": self._app.id, "client_secret": self._app.secret.reveal()}
        origin = self._app.accounts_url if endpoint.on_accounts else self._app.open_url
        path = endpoint.refresh_path if purpose == "refresh" else endpoint.exchange_path
        # RFC 8628 defines forms only, and v2 accepts one for device codes.
        as_form = endpoint.on_accounts or purpose == "device"
        response = await self._http.fetch(
            "POST",
            origin + path,
            auth=app_token,
            body=None if as_form else parameters,
            form=parameters if as_form else None,
        )
        if isinstance(response, Unreachable):
            return refused_unreachable(response)
        fields = parse_fields(response)
        if isinstance(fields, TokenRefused):
            return fields
        if not is_refusal(fields):
            inner = fields.get("data") if endpoint.app_token else fields
            tokens = parse_token_set(inner if isinstance(inner, dict) else {}, endpoint.refresh_expires_in)
            return tokens or TokenRefused(TokenProblem.IN_DOUBT, 0, "a response without a token")
        if code_of(fields) == INVALID_APP_ACCESS_TOKEN and app_token is not None:
            self._app_token.invalidate(app_token)
        sent = [*parameters.values(), *([app_token.reveal()] if app_token else [])]
        return parse_refusal(fields, purpose, sent, response)


def may_lack_client_authentication(response: HttpResponse) -> bool:
    """Whether the server, or a proxy before it, may have rejected a request for lack of client authentication."""
    error = (parse_json_object(response.body) or {}).get("error")
    return error in {"invalid_client", "invalid_request"} or (response.status in {401, 403} and error is None)


def limit_scopes(tokens: TokenSet, scopes: ScopeSet) -> TokenSet:
    """Record only these scopes, and those that the platform adds, for the tokens. Others are neither used nor shown."""
    if tokens.scopes is None:
        return tokens
    return replace(tokens, scopes=tokens.scopes & (scopes | ADDED_BY_PLATFORM))
