"""The OAuth 2.0 client: code exchange, refresh, narrowing, device authorization, revocation."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote, urlencode

from bot.core.api import Unreachable
from bot.core.oauth import DeviceAnswer, DeviceCode, TokenProblem, TokenRefused, TokenSet
from bot.core.scopes import ScopeSet, join_scopes
from bot.core.secrets import Secret
from bot.lark.app_token import AppToken
from bot.lark.http_client import HttpClient, HttpResponse
from bot.lark.response_values import parse_json_object
from bot.lark.token_endpoints import (
    TOKEN_ENDPOINTS,
    TokenEndpoint,
    TokenEndpointVersion,
    code_exchange_parameters,
    refresh_parameters,
)
from bot.lark.token_problems import PROBLEMS, Purpose
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

AUTHORIZE_PATH = "/open-apis/authen/v1/authorize"


REVOKE_PATH = "/oauth/v1/revoke"


DEVICE_AUTHORIZATION_PATH = "/oauth/v1/device_authorization"


DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


ADDED_BY_PLATFORM = frozenset({"auth:user.id:read", "user_profile"})
"""What the platform puts into tokens by itself. It need not be named, and perhaps may not."""


class OAuthClient:
    """The authorization server, as this app talks to it. No method raises for what the network does."""

    def __init__(
        self,
        http: HttpClient,
        *,
        open_url: str,
        accounts_url: str,
        app_id: str,
        app_secret: Secret,
        generation: TokenEndpointVersion,
    ) -> None:
        self._http = http
        self._open_url, self._accounts_url = open_url, accounts_url
        self._app_id, self._app_secret = app_id, app_secret
        self._generation = TOKEN_ENDPOINTS[generation]
        self._app_token = AppToken(http, open_url, app_id, app_secret, "app_access_token")
        self._strict = V3TokenEndpoint(http, accounts_url, app_id, app_secret)

    @property
    def uses_pkce(self) -> bool:
        return self._generation.pkce

    @property
    def signs_in_with_pkce(self) -> bool:
        return self._generation.pkce or not self._strict.known_absent

    async def close(self) -> None:
        await self._app_token.close()

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt_consent: bool
    ) -> str:
        query = {
            "client_id": self._app_id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": join_scopes(scopes),
            "state": state,
            "code_challenge": challenge or "",
            "code_challenge_method": "S256" if challenge else "",
            "prompt": "consent" if prompt_consent else "",
        }
        filled = {name: value for name, value in query.items() if value}
        return f"{self._accounts_url}{AUTHORIZE_PATH}?{urlencode(filled, quote_via=quote, safe='')}"

    async def exchange_code(
        self,
        code: Secret,
        *,
        redirect_uri: str | None,
        verifier: Secret | None,
        scopes: ScopeSet | None,
        strict: bool = False,
    ) -> TokenSet | TokenRefused:
        parameters = code_exchange_parameters(self._generation, code, redirect_uri, verifier)
        if not scopes:
            return await self._token("exchange", self._generation.exchange_path, parameters)
        answer = await self._token_for("exchange", parameters, scopes)
        if not lacks_permitted_scopes(answer):
            return answer
        # Less was consented to than the link asked for, or the platform has forgotten what it gave before.
        wide = await self._token("exchange", self._generation.exchange_path, parameters)
        if isinstance(wide, TokenSet):
            return await self.narrow(wide, scopes, strict=strict)
        return replace(answer, problem=TokenProblem.SCOPE) if wide.problem is TokenProblem.CODE else wide

    async def _token_for(
        self, purpose: Purpose, parameters: dict[str, str], scopes: ScopeSet
    ) -> TokenSet | TokenRefused:
        """Names the scopes where the generation has a place for that; else only notes no more than these."""
        path = self._generation.exchange_path if purpose == "exchange" else self._generation.refresh_path
        if self._generation.narrows and (named := scopes - ADDED_BY_PLATFORM):
            return await self._token(purpose, path, parameters | {"scope": join_scopes(named)})
        answer = await self._token(purpose, path, parameters)
        return limit_scopes(answer, scopes) if isinstance(answer, TokenSet) else answer

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        """At v3 where the app has it, whatever generation is configured."""
        generation = self._generation if await self._strict.is_absent() else TOKEN_ENDPOINTS["v3"]
        parameters = code_exchange_parameters(generation, code, redirect_uri, verifier)
        answer = await self._token("exchange", generation.exchange_path, parameters, generation)
        if isinstance(answer, TokenRefused) and answer.code not in PROBLEMS:
            self._strict.forget()
        return answer

    async def request_device_authorization(self, scopes: ScopeSet) -> DeviceCode | TokenRefused:
        """With HTTP Basic; if that did not identify the app, once more with the secret in the form.

        A proxy may drop the Authorization header. RFC 6749, 2.3.1 allows either, and never both at once.
        """
        url, form = (
            f"{self._accounts_url}{DEVICE_AUTHORIZATION_PATH}",
            {"client_id": self._app_id, "scope": join_scopes(scopes)},
        )
        answer = await self._http.fetch("POST", url, credentials=(self._app_id, self._app_secret), form=form)
        if isinstance(answer, HttpResponse) and may_lack_client_authentication(answer):
            form["client_secret"] = self._app_secret.reveal()
            answer = await self._http.fetch("POST", url, form=form)
        if isinstance(answer, Unreachable):
            return refused_unreachable(answer)
        fields = parse_fields(answer, wanted="device_code")
        if isinstance(fields, TokenRefused):
            return fields
        if is_refusal(fields):
            return parse_refusal(fields, "device", (self._app_secret.reveal(),), answer)
        minted = parse_device_code(fields)
        return minted or TokenRefused(
            TokenProblem.IN_DOUBT, 0, "an answer without a device code or a usable link"
        )

    async def poll_device(self, device_code: Secret) -> TokenSet | DeviceAnswer | TokenRefused:
        parameters = {"grant_type": DEVICE_CODE_GRANT, "device_code": device_code.reveal()}
        answer = await self._token("device", self._generation.exchange_path, parameters)
        if isinstance(answer, TokenRefused) and answer.error in set(DeviceAnswer):
            return DeviceAnswer(answer.error)
        return answer

    async def narrow(
        self, tokens: TokenSet, scopes: ScopeSet, *, strict: bool = False
    ) -> TokenSet | TokenRefused:
        if tokens.scopes is None or tokens.scopes <= scopes | ADDED_BY_PLATFORM:
            return tokens
        if tokens.refresh_token is None or not self._generation.narrows:
            return limit_scopes(tokens, scopes)
        narrow = await self._token_for(
            "refresh", refresh_parameters(tokens.refresh_token), tokens.scopes & scopes
        )
        return narrow if strict or isinstance(narrow, TokenSet) else limit_scopes(tokens, scopes)

    async def refresh(self, refresh_token: Secret, scopes: ScopeSet | None = None) -> TokenSet | TokenRefused:
        parameters = refresh_parameters(refresh_token)
        if not scopes:
            return await self._token("refresh", self._generation.refresh_path, parameters)
        answer = await self._token_for("refresh", parameters, scopes)
        if not lacks_permitted_scopes(answer):
            return answer
        # One of them was withdrawn, or the app no longer has it.
        wide = await self._token("refresh", self._generation.refresh_path, parameters)
        if isinstance(wide, TokenSet):
            return await self.narrow(wide, scopes)
        return replace(wide, problem=TokenProblem.SCOPE) if lacks_permitted_scopes(wide) else wide

    async def revoke(self, token: Secret) -> TokenRefused | None:
        """A token that the platform does not know (any more) counts as revoked."""
        form = {
            "client_id": self._app_id,
            "client_secret": self._app_secret.reveal(),
            "token": token.reveal(),
            "token_type_hint": "access_token" if token.reveal().startswith("u-") else "refresh_token",
        }
        answer = await self._http.fetch("POST", f"{self._accounts_url}{REVOKE_PATH}", form=form)
        if isinstance(answer, Unreachable):
            return refused_unreachable(answer)
        if answer.status < 300 and answer.body is not None and not answer.body.strip():
            return None  # RFC 7009, 2.2
        fields = parse_fields(answer)
        if isinstance(fields, TokenRefused):
            return fields
        if not is_refusal(fields) or fields.get("error") == "invalid_token":
            return None
        refusal = parse_refusal(fields, "refresh", form.values(), answer)
        return None if refusal.problem is TokenProblem.OVER else refusal

    async def _token(
        self, purpose: Purpose, path: str, parameters: dict[str, str], generation: TokenEndpoint | None = None
    ) -> TokenSet | TokenRefused:
        generation = generation or self._generation
        app_token: Secret | None = None
        if generation.app_token:
            found = await self._app_token.get()
            if not isinstance(found, Secret):
                return refused_without_app_token(found)
            app_token = found
        else:
            parameters = parameters | {"client_id": self._app_id, "client_secret": self._app_secret.reveal()}
        url = (self._accounts_url if generation.on_accounts else self._open_url) + path
        # RFC 8628 knows forms only, and so does whoever polls v2 today.
        as_form = generation.on_accounts or purpose == "device"
        answer = await self._http.fetch(
            "POST",
            url,
            token=app_token,
            body=None if as_form else parameters,
            form=parameters if as_form else None,
        )
        if isinstance(answer, Unreachable):
            return refused_unreachable(answer)
        fields = parse_fields(answer)
        if isinstance(fields, TokenRefused):
            return fields
        if not is_refusal(fields):
            inner = fields.get("data") if generation.app_token else fields
            tokens = parse_token_set(inner if isinstance(inner, dict) else {}, generation.refresh_expires_in)
            return tokens or TokenRefused(TokenProblem.IN_DOUBT, 0, "an answer without a token")
        if code_of(fields) == 20014 and app_token is not None:
            self._app_token.invalidate(app_token)
        shown = [*parameters.values(), *([app_token.reveal()] if app_token else [])]
        return parse_refusal(fields, purpose, shown, answer)


def may_lack_client_authentication(answer: HttpResponse) -> bool:
    """Whether a refusal may come from missing client authentication: by OAuth's words, or from something in between."""
    error = (parse_json_object(answer.body) or {}).get("error")
    return error in {"invalid_client", "invalid_request"} or (answer.status in {401, 403} and error is None)


def limit_scopes(tokens: TokenSet, scopes: ScopeSet) -> TokenSet:
    """The tokens as if they had no more than these and what the platform adds: more is neither used nor shown."""
    return (
        tokens
        if tokens.scopes is None
        else replace(tokens, scopes=tokens.scopes & (scopes | ADDED_BY_PLATFORM))
    )
