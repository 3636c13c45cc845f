"""The three versions of the token endpoint, and the parameters of their requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bot.core.secrets import Secret
from bot.lark.v3_token_endpoint import V3_ENDPOINT_PATH

TokenEndpointVersion = Literal["v3", "v2", "v1"]


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """What distinguishes one version of the token endpoint."""

    exchange_path: str
    refresh_path: str
    on_accounts: bool = False
    """It is on the accounts origin and accepts a form. The others are on the open origin and accept JSON."""
    pkce: bool = True
    narrows: bool = True
    """It accepts `scope`, which narrows the token."""
    app_token: bool = False
    """The app authenticates with an app access token instead of its secret. The response is in `data`."""
    refresh_expires_in: str = "refresh_token_expires_in"
    """The field with the lifetime of the refresh token."""


TOKEN_ENDPOINTS: Mapping[TokenEndpointVersion, TokenEndpoint] = {
    "v3": TokenEndpoint(V3_ENDPOINT_PATH, V3_ENDPOINT_PATH, on_accounts=True),
    "v2": TokenEndpoint("/open-apis/authen/v2/oauth/token", "/open-apis/authen/v2/oauth/token"),
    "v1": TokenEndpoint(
        "/open-apis/authen/v1/oidc/access_token",
        "/open-apis/authen/v1/oidc/refresh_access_token",
        pkce=False,
        narrows=False,
        app_token=True,
        refresh_expires_in="refresh_expires_in",
    ),
}


def code_exchange_parameters(
    endpoint: TokenEndpoint, code: Secret, redirect_uri: str | None, verifier: Secret | None
) -> dict[str, str]:
    """Return the parameters of a code exchange that this version accepts."""
    parameters = {"grant_type": "authorization_code", "code": code.reveal()}
    if redirect_uri is not None and not endpoint.app_token:
        parameters["redirect_uri"] = redirect_uri
    if verifier is not None and endpoint.pkce:
        parameters["code_verifier"] = verifier.reveal()
    return parameters


def refresh_parameters(refresh_token: Secret) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
