"""Parses responses of the authorization server: token sets, device codes, and refusals."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from bot.core.api import Outcome, RateLimited, Refused, Unreachable
from bot.core.oauth import DeviceCode, TokenProblem, TokenRefused, TokenSet
from bot.core.response_values import (
    DEFAULT_TOKEN_LIFETIME,
    clean_message,
    parse_json_object,
    read_lifetime,
    read_secret,
)
from bot.core.scopes import parse_scopes
from bot.lark.outcomes import OTHER_BRAND
from bot.lark.rate_limits import is_limit, looks_like_limit, retry_after
from bot.lark.refusal_messages import valid_scopes
from bot.lark.token_problems import (
    INCONSISTENT_BRAND,
    KNOWN_OAUTH_ERRORS,
    PROBLEMS,
    SCOPES_NOT_PERMITTED,
    Purpose,
    problem_of,
)
from bot.transport.http_client import HttpResponse

log = logging.getLogger(__name__)


def parse_token_set(fields: Mapping[str, Any], refresh_expires_in: str) -> TokenSet | None:
    """Return the token set, or None if there is no usable access token. Everything else may be missing."""
    access_token = read_secret(fields, "access_token")
    if access_token is None:
        return None
    refresh_token = read_secret(fields, "refresh_token")
    scope = fields.get("scope")
    # An empty list means that the platform did not state the scopes: a token without any scope is useless.
    scopes = (frozenset(valid_scopes(parse_scopes(scope))) or None) if isinstance(scope, str) else None
    return TokenSet(
        access_token=access_token,
        expires_in=read_lifetime(fields, "expires_in") or DEFAULT_TOKEN_LIFETIME,
        refresh_token=refresh_token,
        refresh_expires_in=read_lifetime(fields, refresh_expires_in) if refresh_token else None,
        scopes=scopes,
    )


DEFAULT_DEVICE_CODE_LIFETIME = 240
DEFAULT_POLL_INTERVAL = 5
"""Seconds, if the platform gives no value."""

MAX_POLL_INTERVAL = 60

MAX_URI_LENGTH = 2048


def parse_device_code(fields: Mapping[str, Any]) -> DeviceCode | None:
    """Return the device code, or None if it or a usable verification URI is missing."""
    device_code, user_code = read_secret(fields, "device_code"), read_secret(fields, "user_code")
    uri = read_secret(fields, "verification_uri_complete") or read_secret(fields, "verification_uri")
    if device_code is None or user_code is None or uri is None:
        return None
    if not uri.reveal().startswith(("https://", "http://")) or len(uri.reveal()) > MAX_URI_LENGTH:
        return None
    return DeviceCode(
        device_code,
        user_code,
        uri,
        expires_in=read_lifetime(fields, "expires_in") or DEFAULT_DEVICE_CODE_LIFETIME,
        interval=min(read_lifetime(fields, "interval") or DEFAULT_POLL_INTERVAL, MAX_POLL_INTERVAL),
    )


def lacks_permitted_scopes(result: TokenSet | TokenRefused) -> TypeGuard[TokenRefused]:
    return isinstance(result, TokenRefused) and result.code == SCOPES_NOT_PERMITTED


def refused_unreachable(outcome: Unreachable) -> TokenRefused:
    problem = TokenProblem.IN_DOUBT if outcome.may_have_arrived else TokenProblem.TRANSIENT
    return TokenRefused(problem, 0, outcome.reason)


def parse_fields(response: HttpResponse, wanted: str = "access_token") -> dict[str, Any] | TokenRefused:
    """Return the JSON object of a response, or, if it has no usable one, whether the request may have been executed."""
    fields = parse_json_object(response.body)
    if is_limit(response.status, (fields or {}).get("code")):
        error = clean_message((fields or {}).get("error"))
        wait = retry_after(response.headers)
        return TokenRefused(TokenProblem.TRANSIENT, 0, "too many requests", error[:100], wait)
    if fields is None or not is_readable(fields, wanted):
        return TokenRefused(TokenProblem.IN_DOUBT, 0, f"no usable response (HTTP {response.status})")
    if response.status >= 300 and not is_refusal(fields):
        return TokenRefused(TokenProblem.IN_DOUBT, 0, f"no usable response (HTTP {response.status})")
    if response.status >= 500 and code_of(fields) not in PROBLEMS:
        return TokenRefused(
            TokenProblem.IN_DOUBT, code_of(fields), f"the platform failed (HTTP {response.status})"
        )
    return fields


def is_readable(fields: Mapping[str, Any], wanted: str) -> bool:
    """Whether a response is a success or a refusal. RFC 6749 has no `code`; the platform's own format always has one."""
    if "code" in fields:
        return type(fields["code"]) is int
    return wanted in fields or isinstance(fields.get("error"), str)


def is_refusal(fields: Mapping[str, Any]) -> bool:
    error = fields.get("error")
    return code_of(fields) != 0 or (isinstance(error, str) and error != "")


def code_of(fields: Mapping[str, Any]) -> int:
    code: int = fields.get("code", 0)
    return code


def parse_refusal(
    fields: Mapping[str, Any], purpose: Purpose, sent: Iterable[str], response: HttpResponse
) -> TokenRefused:
    """Return the refusal in a response. Values that were `sent` are masked in its message, which is logged."""
    code, error = code_of(fields), fields.get("error")
    message = next(
        (
            clean_message(fields[name])
            for name in ("cli_hint", "error_description", "msg")
            if isinstance(fields.get(name), str)
        ),
        "",
    )
    for value in sent:
        message = message.replace(value, "***") if len(value) >= 12 else message
    error = clean_message(error)
    problem = problem_of(code, error, purpose)
    if code == INCONSISTENT_BRAND:
        log.error(OTHER_BRAND, extra={"code": code})
    if (
        code not in PROBLEMS
        and error not in KNOWN_OAUTH_ERRORS
        and looks_like_limit(response.headers, message)
    ):
        problem = TokenProblem.TRANSIENT
    wait = retry_after(response.headers) if problem is TokenProblem.TRANSIENT else None
    return TokenRefused(problem, code, message[:300], error[:100], wait)


def refused_without_app_token(outcome: Outcome) -> TokenRefused:
    match outcome:
        case Refused(code=code, message=message):
            return TokenRefused(problem_of(code, "", "refresh"), code, message[:300])
        case RateLimited(retry_after=seconds):
            return TokenRefused(TokenProblem.TRANSIENT, 0, "too many requests", retry_after=seconds)
        case _:
            return TokenRefused(TokenProblem.TRANSIENT, 0, "no app token: the platform did not respond")
