"""What the error codes of the authorization server mean: what the problem is about, and thus who can fix it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bot.core.oauth import TokenProblem

Purpose = Literal["exchange", "refresh", "device"]


SCOPES_NOT_PERMITTED = 20068

INCONSISTENT_BRAND = 20046

INVALID_APP_ACCESS_TOKEN = 20014

PROBLEMS: Mapping[int, TokenProblem] = {
    # the app's: an operator must act
    20001: TokenProblem.APP,  # a parameter is missing
    20002: TokenProblem.APP,  # the client secret is invalid
    20013: TokenProblem.APP,  # v1: tenant access token
    INVALID_APP_ACCESS_TOKEN: TokenProblem.APP,  # v1
    20025: TokenProblem.APP,  # v1: no app id or secret
    20028: TokenProblem.APP,  # v1: the app id
    20029: TokenProblem.APP,  # v1: the redirect URI
    20035: TokenProblem.APP,  # v1: app id or secret
    20036: TokenProblem.APP,  # the grant type
    20042: TokenProblem.APP,  # v1: the app is disabled
    INCONSISTENT_BRAND: TokenProblem.APP,  # a Lark app used at Feishu, or the reverse
    20048: TokenProblem.APP,  # the app does not exist
    20063: TokenProblem.APP,  # the request is malformed
    20067: TokenProblem.APP,  # duplicate scopes
    20069: TokenProblem.APP,  # the app is not enabled
    20070: TokenProblem.APP,  # authenticated in two ways
    10003: TokenProblem.APP,  # v1: the app access token could not be fetched
    10014: TokenProblem.APP,
    99991401: TokenProblem.APP,  # the bot's IP address is not on the app's allowlist
    99991543: TokenProblem.APP,
    99991662: TokenProblem.APP,
    99991673: TokenProblem.APP,
    # the user's
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
    SCOPES_NOT_PERMITTED: TokenProblem.CODE,  # the user granted less than the exchange asks for
    20071: TokenProblem.CODE,  # another redirect URI: the bot's has changed since the link was opened
    # the refresh token's
    20026: TokenProblem.OVER,
    20037: TokenProblem.OVER,
    20038: TokenProblem.OVER,  # v1: not found, or used
    20039: TokenProblem.OVER,  # v1: user access token not found
    20064: TokenProblem.OVER,
    20073: TokenProblem.OVER,
    20074: TokenProblem.OVER,  # refresh is switched off for the app; a new consent helps at once
    99991669: TokenProblem.OVER,
    # a security policy's
    21000: TokenProblem.BLOCKED,
    21001: TokenProblem.BLOCKED,
    # temporary
    1: TokenProblem.TRANSIENT,
    20007: TokenProblem.TRANSIENT,
    20050: TokenProblem.TRANSIENT,
    20072: TokenProblem.TRANSIENT,
}

INVALID_GRANT: Mapping[Purpose, TokenProblem] = {
    "exchange": TokenProblem.CODE,
    "refresh": TokenProblem.OVER,
    "device": TokenProblem.CODE,
}

OTHER_CLIENT = 20024
"""The code or the refresh token belongs to another app."""

OAUTH_ERRORS: Mapping[str, TokenProblem] = {
    "invalid_client": TokenProblem.APP,
    "unauthorized_client": TokenProblem.APP,
    "server_error": TokenProblem.TRANSIENT,
    "temporarily_unavailable": TokenProblem.TRANSIENT,
}
"""Errors of RFC 6749, for undocumented codes."""

KNOWN_OAUTH_ERRORS = OAUTH_ERRORS.keys() | {"invalid_grant", "invalid_scope"}


def problem_of(code: int, error: str, purpose: Purpose) -> TokenProblem:
    """Return what an error is about. An unknown code never ends a stored grant."""
    if code in PROBLEMS:
        return PROBLEMS[code]
    if purpose == "device" and error == "invalid_scope":
        return TokenProblem.SCOPE
    if code == OTHER_CLIENT or error == "invalid_grant":
        return INVALID_GRANT[purpose]
    return OAUTH_ERRORS.get(error, TokenProblem.APP if purpose == "refresh" else TokenProblem.CODE)
