"""The token endpoint in its three generations, device authorization, revocation, and whom a token belongs to.

Requests and answers differ little between generations; the differences are `GENERATIONS`. What an error code
means for the person and for what is stored is `PROBLEMS`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeGuard
from urllib.parse import quote, urlencode

from bot.core.api import Outcome, RateLimited, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.oauth import DeviceAnswer, DeviceCode, TokenProblem, TokenRefused, TokenSet
from bot.core.people import Identity
from bot.core.scopes import ScopeSet, join_scopes, parse_scopes
from bot.core.secrets import Secret
from bot.core.unseen_characters import one_line
from bot.lark.api import (
    OTHER_BRAND,
    Answer,
    Http,
    parse_object,
    scopes_among,
    seconds_in,
    secret_in,
    text_of,
)
from bot.lark.app_token import ASSUMED_LIFE, AppToken
from bot.lark.events import is_id
from bot.lark.rate_limits import is_limit, reads_like_limit, seconds_to_wait
from bot.lark.strict_endpoint import STRICT_PATH, StrictEndpoint

log = logging.getLogger(__name__)

GenerationName = Literal["v3", "v2", "v1"]
Purpose = Literal["exchange", "refresh", "device"]

AUTHORIZE_PATH = "/open-apis/authen/v1/authorize"
REVOKE_PATH = "/oauth/v1/revoke"
DEVICE_PATH = "/oauth/v1/device_authorization"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Generation:
    """How one generation of the token endpoint differs from the others."""

    exchange_path: str
    refresh_path: str
    on_accounts: bool = False
    """Lives on the accounts origin, and takes a form."""
    pkce: bool = True
    narrows: bool = True
    """Takes `scope`, to shrink the token."""
    app_token: bool = False
    """The app shows a token of its own, instead of its secret; the answer is wrapped in `data`."""
    refresh_expires_in: str = "refresh_token_expires_in"


GENERATIONS: Mapping[GenerationName, Generation] = {
    "v3": Generation(STRICT_PATH, STRICT_PATH, on_accounts=True),
    "v2": Generation("/open-apis/authen/v2/oauth/token", "/open-apis/authen/v2/oauth/token"),
    "v1": Generation(
        "/open-apis/authen/v1/oidc/access_token",
        "/open-apis/authen/v1/oidc/refresh_access_token",
        pkce=False,
        narrows=False,
        app_token=True,
        refresh_expires_in="refresh_expires_in",
    ),
}

SCOPES_NOT_PERMITTED = 20068
BRAND_INCONSISTENT = 20046

ADDED = frozenset({"auth:user.id:read", "user_profile"})
"""What the platform puts into tokens by itself. It need not be named, and perhaps may not."""

PROBLEMS: Mapping[int, TokenProblem] = {
    # the app's own matter: an operator must act
    20001: TokenProblem.APP,  # a parameter is missing
    20002: TokenProblem.APP,  # the client secret is invalid
    20013: TokenProblem.APP,  # v1: the tenant access token
    20014: TokenProblem.APP,  # v1: the app access token
    20025: TokenProblem.APP,  # v1: no app id or secret
    20028: TokenProblem.APP,  # v1: the app id
    20029: TokenProblem.APP,  # v1: the redirect URI
    20035: TokenProblem.APP,  # v1: app id or secret
    20036: TokenProblem.APP,  # the grant type
    20042: TokenProblem.APP,  # v1: the app is disabled
    BRAND_INCONSISTENT: TokenProblem.APP,  # Lark's app used at Feishu, or the reverse
    20048: TokenProblem.APP,  # the app does not exist
    20063: TokenProblem.APP,  # the request is malformed
    20067: TokenProblem.APP,  # duplicate scopes
    20069: TokenProblem.APP,  # the app is not enabled
    20070: TokenProblem.APP,  # authenticated in two ways
    10003: TokenProblem.APP,  # getting the app token, for v1
    10014: TokenProblem.APP,
    99991401: TokenProblem.APP,  # our address is not on the app's list
    99991543: TokenProblem.APP,
    99991662: TokenProblem.APP,
    99991673: TokenProblem.APP,
    # the person's
    20009: TokenProblem.USER,  # the app is not installed
    20010: TokenProblem.USER,  # may not use this app
    20022: TokenProblem.USER,  # v1: frozen
    20066: TokenProblem.USER,  # the user's status
    20008: TokenProblem.OVER,  # no such user
    20021: TokenProblem.OVER,  # v1: resigned
    20023: TokenProblem.OVER,  # v1: not registered
    # the code's
    20003: TokenProblem.CODE,
    20004: TokenProblem.CODE,
    20049: TokenProblem.CODE,  # PKCE
    20065: TokenProblem.CODE,
    SCOPES_NOT_PERMITTED: TokenProblem.CODE,  # the consent has less than the exchange narrows to
    20071: TokenProblem.CODE,  # another redirect URI: ours has changed since the link was opened
    # the refresh token's
    20026: TokenProblem.OVER,
    20037: TokenProblem.OVER,
    20038: TokenProblem.OVER,  # v1: not found, or used
    20039: TokenProblem.OVER,  # v1: user access token not found
    20064: TokenProblem.OVER,
    20073: TokenProblem.OVER,
    20074: TokenProblem.OVER,  # the app may not refresh, by a switch in the console: consenting anew helps at once
    99991669: TokenProblem.OVER,
    # a security policy's
    21000: TokenProblem.BLOCKED,
    21001: TokenProblem.BLOCKED,
    # nobody's: again later
    1: TokenProblem.TRANSIENT,
    20007: TokenProblem.TRANSIENT,
    20050: TokenProblem.TRANSIENT,
    20072: TokenProblem.TRANSIENT,
}

GRANT_REFUSED: Mapping[Purpose, TokenProblem] = {
    "exchange": TokenProblem.CODE,
    "refresh": TokenProblem.OVER,
    "device": TokenProblem.CODE,
}
NOT_MATCHING = 20024
"""The code or the refresh token belongs to another app."""

ERRORS: Mapping[str, TokenProblem] = {
    "invalid_client": TokenProblem.APP,
    "unauthorized_client": TokenProblem.APP,
    "server_error": TokenProblem.TRANSIENT,
    "temporarily_unavailable": TokenProblem.TRANSIENT,
}
"""RFC 6749's words, for a code that nobody documented."""
KNOWN_ERRORS = ERRORS.keys() | {"invalid_grant", "invalid_scope"}


def problem_of(code: int, error: str, purpose: Purpose) -> TokenProblem:
    """Who can fix it. A code nobody knows never costs a stored grant: only what means "over" ends one."""
    if code in PROBLEMS:
        return PROBLEMS[code]
    if purpose == "device" and error == "invalid_scope":
        return TokenProblem.SCOPE
    if code == NOT_MATCHING or error == "invalid_grant":
        return GRANT_REFUSED[purpose]
    return ERRORS.get(error, TokenProblem.APP if purpose == "refresh" else TokenProblem.CODE)


def parse_token_set(fields: Mapping[str, Any], refresh_expires_in: str) -> TokenSet | None:
    """None when there is no usable access token in it. Everything else may be missing."""
    access_token = secret_in(fields, "access_token")
    if access_token is None:
        return None
    refresh_token = secret_in(fields, "refresh_token")
    scope = fields.get("scope")
    # A token for nothing at all makes no sense: the platform did not say what it is for.
    scopes = (frozenset(scopes_among(parse_scopes(scope))) or None) if isinstance(scope, str) else None
    return TokenSet(
        access_token=access_token,
        expires_in=seconds_in(fields, "expires_in") or ASSUMED_LIFE,
        refresh_token=refresh_token,
        refresh_expires_in=seconds_in(fields, refresh_expires_in) if refresh_token else None,
        scopes=scopes,
    )


DEVICE_CODE_LIVES = 240
DEVICE_INTERVAL = 5
"""Seconds, when the platform does not say."""
LONGEST_INTERVAL = 60
LONGEST_LINK = 2048


def parse_device_code(fields: Mapping[str, Any]) -> DeviceCode | None:
    """None without a device code, or without a page that a person can go to."""
    device_code, user_code = secret_in(fields, "device_code"), secret_in(fields, "user_code")
    link = secret_in(fields, "verification_uri_complete") or secret_in(fields, "verification_uri")
    if device_code is None or user_code is None or link is None:
        return None
    if not link.reveal().startswith(("https://", "http://")) or len(link.reveal()) > LONGEST_LINK:
        return None
    return DeviceCode(
        device_code,
        user_code,
        link,
        expires_in=seconds_in(fields, "expires_in") or DEVICE_CODE_LIVES,
        interval=min(seconds_in(fields, "interval") or DEVICE_INTERVAL, LONGEST_INTERVAL),
    )


class OAuth:
    """The authorization server, as this app talks to it. No method raises for what the network does."""

    def __init__(
        self,
        http: Http,
        *,
        open_url: str,
        accounts_url: str,
        app_id: str,
        app_secret: Secret,
        generation: GenerationName,
    ) -> None:
        self._http = http
        self._open_url, self._accounts_url = open_url, accounts_url
        self._app_id, self._app_secret = app_id, app_secret
        self._generation = GENERATIONS[generation]
        self._app_token = AppToken(http, open_url, app_id, app_secret, "app_access_token")
        self._strict = StrictEndpoint(http, accounts_url, app_id, app_secret)

    @property
    def uses_pkce(self) -> bool:
        return self._generation.pkce

    @property
    def signs_in_with_pkce(self) -> bool:
        return self._generation.pkce or not self._strict.known_absent

    async def close(self) -> None:
        await self._app_token.close()

    def authorize_url(
        self, *, redirect_uri: str, scopes: ScopeSet, state: str, challenge: str | None, prompt: bool
    ) -> str:
        query = {
            "client_id": self._app_id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": join_scopes(scopes),
            "state": state,
            "code_challenge": challenge or "",
            "code_challenge_method": "S256" if challenge else "",
            "prompt": "consent" if prompt else "",
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
        parameters = exchange_of(self._generation, code, redirect_uri, verifier)
        if not scopes:
            return await self._token("exchange", self._generation.exchange_path, parameters)
        answer = await self._token_for("exchange", parameters, scopes)
        if not is_not_permitted(answer):
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
        if self._generation.narrows and (named := scopes - ADDED):
            return await self._token(purpose, path, parameters | {"scope": join_scopes(named)})
        answer = await self._token(purpose, path, parameters)
        return limited(answer, scopes) if isinstance(answer, TokenSet) else answer

    async def exchange_sign_in(
        self, code: Secret, *, redirect_uri: str | None, verifier: Secret | None
    ) -> TokenSet | TokenRefused:
        """At v3 where the app has it, whatever generation is configured."""
        generation = self._generation if await self._strict.is_absent() else GENERATIONS["v3"]
        parameters = exchange_of(generation, code, redirect_uri, verifier)
        answer = await self._token("exchange", generation.exchange_path, parameters, generation)
        if isinstance(answer, TokenRefused) and answer.code not in PROBLEMS:
            self._strict.forget()
        return answer

    async def request_device_authorization(self, scopes: ScopeSet) -> DeviceCode | TokenRefused:
        """With HTTP Basic; if that did not identify the app, once more with the secret in the form.

        A proxy may drop the Authorization header. RFC 6749, 2.3.1 allows either, and never both at once.
        """
        url, form = (
            f"{self._accounts_url}{DEVICE_PATH}",
            {"client_id": self._app_id, "scope": join_scopes(scopes)},
        )
        answer = await self._http.fetch("POST", url, credentials=(self._app_id, self._app_secret), form=form)
        if isinstance(answer, Answer) and is_not_identified(answer):
            form["client_secret"] = self._app_secret.reveal()
            answer = await self._http.fetch("POST", url, form=form)
        if isinstance(answer, Unreachable):
            return unanswered(answer)
        fields = fields_of(answer, wanted="device_code")
        if isinstance(fields, TokenRefused):
            return fields
        if is_refusal(fields):
            return refused(fields, "device", (self._app_secret.reveal(),), answer)
        minted = parse_device_code(fields)
        return minted or TokenRefused(
            TokenProblem.IN_DOUBT, 0, "an answer without a device code or a usable link"
        )

    async def poll_device(self, device_code: Secret) -> TokenSet | DeviceAnswer | TokenRefused:
        parameters = {"grant_type": DEVICE_GRANT, "device_code": device_code.reveal()}
        answer = await self._token("device", self._generation.exchange_path, parameters)
        if isinstance(answer, TokenRefused) and answer.error in set(DeviceAnswer):
            return DeviceAnswer(answer.error)
        return answer

    async def narrow(
        self, tokens: TokenSet, scopes: ScopeSet, *, strict: bool = False
    ) -> TokenSet | TokenRefused:
        if tokens.scopes is None or tokens.scopes <= scopes | ADDED:
            return tokens
        if tokens.refresh_token is None or not self._generation.narrows:
            return limited(tokens, scopes)
        narrow = await self._token_for("refresh", refresh_of(tokens.refresh_token), tokens.scopes & scopes)
        return narrow if strict or isinstance(narrow, TokenSet) else limited(tokens, scopes)

    async def refresh(self, refresh_token: Secret, scopes: ScopeSet | None = None) -> TokenSet | TokenRefused:
        parameters = refresh_of(refresh_token)
        if not scopes:
            return await self._token("refresh", self._generation.refresh_path, parameters)
        answer = await self._token_for("refresh", parameters, scopes)
        if not is_not_permitted(answer):
            return answer
        # One of them was withdrawn, or the app no longer has it.
        wide = await self._token("refresh", self._generation.refresh_path, parameters)
        if isinstance(wide, TokenSet):
            return await self.narrow(wide, scopes)
        return replace(wide, problem=TokenProblem.SCOPE) if is_not_permitted(wide) else wide

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
            return unanswered(answer)
        if answer.status < 300 and answer.body is not None and not answer.body.strip():
            return None  # RFC 7009, 2.2
        fields = fields_of(answer)
        if isinstance(fields, TokenRefused):
            return fields
        if not is_refusal(fields) or fields.get("error") == "invalid_token":
            return None
        refusal = refused(fields, "refresh", form.values(), answer)
        return None if refusal.problem is TokenProblem.OVER else refusal

    async def _token(
        self, purpose: Purpose, path: str, parameters: dict[str, str], generation: Generation | None = None
    ) -> TokenSet | TokenRefused:
        generation = generation or self._generation
        app_token: Secret | None = None
        if generation.app_token:
            found = await self._app_token.get()
            if not isinstance(found, Secret):
                return no_app_token(found)
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
            return unanswered(answer)
        fields = fields_of(answer)
        if isinstance(fields, TokenRefused):
            return fields
        if not is_refusal(fields):
            inner = fields.get("data") if generation.app_token else fields
            tokens = parse_token_set(inner if isinstance(inner, dict) else {}, generation.refresh_expires_in)
            return tokens or TokenRefused(TokenProblem.IN_DOUBT, 0, "an answer without a token")
        if code_of(fields) == 20014 and app_token is not None:
            self._app_token.invalidate(app_token)
        shown = [*parameters.values(), *([app_token.reveal()] if app_token else [])]
        return refused(fields, purpose, shown, answer)


def is_not_identified(answer: Answer) -> bool:
    """Whether a refusal may come from missing client authentication: by OAuth's words, or from something in between."""
    error = (parse_object(answer.body) or {}).get("error")
    return error in {"invalid_client", "invalid_request"} or (answer.status in {401, 403} and error is None)


def exchange_of(
    generation: Generation, code: Secret, redirect_uri: str | None, verifier: Secret | None
) -> dict[str, str]:
    """The parameters of a code exchange, as far as the generation has a place for them."""
    parameters = {"grant_type": "authorization_code", "code": code.reveal()}
    if redirect_uri is not None and not generation.app_token:
        parameters["redirect_uri"] = redirect_uri
    if verifier is not None and generation.pkce:
        parameters["code_verifier"] = verifier.reveal()
    return parameters


def refresh_of(refresh_token: Secret) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}


def limited(tokens: TokenSet, scopes: ScopeSet) -> TokenSet:
    """The tokens as if they had no more than these and what the platform adds: more is neither used nor shown."""
    return tokens if tokens.scopes is None else replace(tokens, scopes=tokens.scopes & (scopes | ADDED))


def is_not_permitted(answer: TokenSet | TokenRefused) -> TypeGuard[TokenRefused]:
    return isinstance(answer, TokenRefused) and answer.code == SCOPES_NOT_PERMITTED


def unanswered(trouble: Unreachable) -> TokenRefused:
    problem = TokenProblem.IN_DOUBT if trouble.may_have_arrived else TokenProblem.TRANSIENT
    return TokenRefused(problem, 0, trouble.reason)


def fields_of(answer: Answer, wanted: str = "access_token") -> dict[str, Any] | TokenRefused:
    """The JSON object that came back; without a usable one, whether the request may have been carried out."""
    fields = parse_object(answer.body)
    if is_limit(answer.status, (fields or {}).get("code")):
        error = text_of((fields or {}).get("error"))
        wait = seconds_to_wait(answer.headers)
        return TokenRefused(TokenProblem.TRANSIENT, 0, "too many requests", error[:100], wait)
    if fields is None or not is_readable(fields, wanted):
        return TokenRefused(TokenProblem.IN_DOUBT, 0, f"not a usable answer (HTTP {answer.status})")
    if answer.status >= 300 and not is_refusal(fields):
        return TokenRefused(TokenProblem.IN_DOUBT, 0, f"not a usable answer (HTTP {answer.status})")
    if answer.status >= 500 and code_of(fields) not in PROBLEMS:
        return TokenRefused(
            TokenProblem.IN_DOUBT, code_of(fields), f"the platform failed (HTTP {answer.status})"
        )
    return fields


def is_readable(fields: Mapping[str, Any], wanted: str) -> bool:
    """Whether it says yes or no. RFC 6749 knows no `code`, and the platform's own answers always have one."""
    if "code" in fields:
        return type(fields["code"]) is int
    return wanted in fields or isinstance(fields.get("error"), str)


def is_refusal(fields: Mapping[str, Any]) -> bool:
    error = fields.get("error")
    return code_of(fields) != 0 or (isinstance(error, str) and error != "")


def code_of(fields: Mapping[str, Any]) -> int:
    code: int = fields.get("code", 0)
    return code


def refused(fields: Mapping[str, Any], purpose: Purpose, secrets: Any, answer: Answer) -> TokenRefused:
    code, error = code_of(fields), fields.get("error")
    words = next(
        (
            text_of(fields[name])
            for name in ("cli_hint", "error_description", "msg")
            if isinstance(fields.get(name), str)
        ),
        "",
    )
    for value in secrets:
        # A platform that quotes what it was sent must not put it into our log.
        words = words.replace(value, "***") if len(value) >= 12 else words
    error = text_of(error)
    problem = problem_of(code, error, purpose)
    if code == BRAND_INCONSISTENT:
        log.error(OTHER_BRAND, extra={"code": code})
    if code not in PROBLEMS and error not in KNOWN_ERRORS and reads_like_limit(answer.headers, words):
        problem = TokenProblem.TRANSIENT
    wait = seconds_to_wait(answer.headers) if problem is TokenProblem.TRANSIENT else None
    return TokenRefused(problem, code, words[:300], error[:100], wait)


def no_app_token(outcome: Outcome) -> TokenRefused:
    match outcome:
        case Refused(code=code, message=message):
            return TokenRefused(problem_of(code, "", "refresh"), code, message[:300])
        case RateLimited(retry_after=seconds):
            return TokenRefused(TokenProblem.TRANSIENT, 0, "too many requests", retry_after=seconds)
        case _:
            return TokenRefused(TokenProblem.TRANSIENT, 0, "no app token: the platform did not answer")


USER_INFO_PATH = "/open-apis/authen/v1/user_info"


def identity_of(outcome: Outcome) -> Identity | Refused | Unreachable:
    """The person whom `user_info` names."""
    match outcome:
        case Succeeded(data=data):
            return parse_identity(data)
        case Refused() | Unreachable():
            return outcome
        case TokenRejected(code=code, log_id=log_id):
            return Refused(code, "the token was rejected", log_id)
        case RateLimited():
            return Unreachable("too many requests", may_have_arrived=False)
        case _:
            return Refused(0, "the platform wants a scope for user_info", outcome.log_id)


def parse_identity(data: Mapping[str, Any]) -> Identity | Unreachable:
    person = data.get("data")
    fields = person if isinstance(person, dict) else {}
    open_id, tenant_key = fields.get("open_id"), fields.get("tenant_key")
    if not (is_id(open_id) and is_id(tenant_key)):
        return Unreachable("user_info without open_id or tenant_key", may_have_arrived=True)
    union_id, name = fields.get("union_id"), fields.get("name")
    return Identity(
        open_id,
        tenant_key,
        union_id if is_id(union_id) else None,
        one_line(name, 200) or None if isinstance(name, str) else None,
    )
