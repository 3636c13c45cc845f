"""Classifies responses to API calls: each becomes exactly one `Outcome` of `core.api`.

A refusal's `code` is the HTTP status, because the platform's own codes are text. They begin the message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bot.core.api import (
    AppScopeMissing,
    InsufficientScope,
    Json,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
)
from bot.core.response_values import clean_message, parse_json_object
from bot.core.scopes import any_of
from bot.core.unseen_characters import one_line
from bot.dingtalk.error_codes import (
    BAN_STATUS,
    BAN_WAIT,
    INSUFFICIENT_SCOPE,
    LEGACY_NO_SCOPE,
    LEGACY_RATE_LIMITED,
    LEGACY_REFUSED,
    LEGACY_TOKEN_REJECTED,
    PLATFORM_FAILED,
    RATE_LIMIT_WAIT,
    RATE_LIMITED,
    TOKEN_REJECTED,
)
from bot.dingtalk.missing_scopes import named_scopes
from bot.transport.http_client import HttpResponse

TOO_LARGE = "The answer is too large."


def outcome_of(response: HttpResponse, method: str) -> Outcome:
    """Classify a response of the API to a request with this method."""
    status, body = response.status, response.body
    if body is None:
        if method == "GET" and status < 500:
            return Refused(status, TOO_LARGE)
        return Unreachable(f"no usable response (HTTP {status})", may_have_arrived=True)
    if is_ban(body):
        return RateLimited(BAN_WAIT)
    if 200 <= status < 300:
        return succeeded(body, status)
    fields = parse_json_object(body)
    if fields is None:
        return classify_without_code(status, body)
    return classify(status, fields)


def is_ban(body: bytes) -> bool:
    """Whether the platform has banned this IP address for some minutes, whatever the status and content type."""
    return len(body) < 4096 and b'"punish"' in body and f"{BAN_STATUS}".encode() in body


def succeeded(body: bytes, status: int) -> Outcome:
    if not body.strip():
        return Succeeded({})
    try:
        data: Json = json.loads(body)
    except (ValueError, RecursionError):
        return Unreachable(f"no usable response (HTTP {status})", may_have_arrived=True)
    return Succeeded(data, request_id(data) if isinstance(data, dict) else None)


def classify(status: int, fields: Mapping[str, Any]) -> Outcome:
    """Classify an error by its whole code. The message is not compared, because the platform translates it."""
    code, log_id = code_of(fields), request_id(fields)
    message = clean_message(fields.get("message") or fields.get("Message"))
    if code == INSUFFICIENT_SCOPE:
        alternatives = named_scopes(fields, message)
        if alternatives:
            return InsufficientScope(any_of(*alternatives), log_id, user_must_grant=False)
        return Refused(status, with_code(code, message), log_id, dict(fields), unnamed_scope=True)
    if code in TOKEN_REJECTED:
        return TokenRejected(status, log_id)
    if code in RATE_LIMITED or status == 429:
        return RateLimited(RATE_LIMIT_WAIT)
    if code in PLATFORM_FAILED or status >= 500:
        return Unreachable(f"error {code or status}", may_have_arrived=True)
    if not code and 300 <= status < 400:
        return classify_without_code(status, b"")
    return Refused(status, with_code(code, message), log_id, dict(fields))


def code_and_log_id(response: HttpResponse, outcome: Outcome) -> tuple[str | None, str | None]:
    """Return the code and the log id that a response states, as an operator looks them up."""
    if isinstance(outcome, Succeeded):
        return None, outcome.log_id
    fields = parse_json_object(response.body) or {}
    return code_of(fields) or None, request_id(fields)


def code_of(fields: Mapping[str, Any]) -> str:
    code = fields.get("code") or fields.get("Code")
    return one_line(code, 120) if isinstance(code, str) else ""


def request_id(fields: Mapping[str, Any]) -> str | None:
    """Return the id by which the platform's support finds a request, or None."""
    found = next((fields[name] for name in REQUEST_IDS if isinstance(fields.get(name), str)), "")
    return one_line(found) or None


REQUEST_IDS = ("requestid", "requestId", "RequestId", "request_id")


def with_code(code: str, message: str) -> str:
    return ": ".join(part for part in (code, message) if part)


def classify_without_code(status: int, body: bytes) -> Outcome:
    """Classify a response without the platform's envelope: a proxy's page, a truncated body, an unknown path."""
    if status == 429:
        return RateLimited(None)
    if status in {404, 405} and not body.lstrip().startswith(b"<"):
        return Refused(status, one_line(body[:200].decode(errors="replace"), 200))
    return Unreachable(f"no usable response (HTTP {status})", may_have_arrived=True)


def as_app(outcome: Outcome) -> Outcome:
    """Return the outcome of a call with the app's own token: a scope that it lacks is one that the app lacks."""
    if isinstance(outcome, InsufficientScope):
        return AppScopeMissing(outcome.requirement, outcome.log_id)
    return outcome


# --- the older APIs --------------------------------------------------------------------------------


def legacy_outcome_of(response: HttpResponse) -> Outcome:
    """Classify a response of an older API: always HTTP 200, with the result in `errcode`."""
    fields = parse_json_object(response.body)
    if response.body is not None and is_ban(response.body):
        return RateLimited(BAN_WAIT)
    code = (fields or {}).get("errcode")
    if fields is None or type(code) is not int:
        return Unreachable(f"no usable response (HTTP {response.status})", may_have_arrived=True)
    log_id, message = request_id(fields), clean_message(fields.get("errmsg"))
    reason = numeric(fields.get("sub_code")) if code == LEGACY_REFUSED else code
    if code == 0:
        return Succeeded(fields, log_id)
    if reason in LEGACY_TOKEN_REJECTED:
        return TokenRejected(reason, log_id)
    if reason in LEGACY_RATE_LIMITED:
        return RateLimited(RATE_LIMIT_WAIT)
    if reason == LEGACY_NO_SCOPE:
        more = clean_message(fields.get("sub_msg"))
        return Refused(reason, more or message, log_id, fields, unnamed_scope=True)
    return Refused(code, message, log_id, fields)


def numeric(value: Any) -> int:
    """Return a number that may be written as text; 0 for anything else."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
