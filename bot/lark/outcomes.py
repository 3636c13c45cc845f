"""Classifies responses to API calls: each becomes exactly one `Outcome` of `core.api`.

https://open.feishu.cn/document/server-docs/api-call-guide/generic-error-code
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import hdrs

from bot.core.api import (
    AppScopeMissing,
    InsufficientScope,
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
from bot.lark.missing_scopes import named_scopes
from bot.lark.rate_limits import QUOTA_EXHAUSTED, is_limit, looks_like_limit, retry_after
from bot.lark.refusal_messages import says_user_tokens_unsupported
from bot.lark.response_values import read_log_id
from bot.transport.http_client import HttpResponse

INSUFFICIENT_SCOPE = 99991679

APP_SCOPE_MISSING = 99991672

INVALID_TOKEN = 99991668

TOKEN_REJECTED = frozenset(
    {
        99991677,  # expired
        INVALID_TOKEN,
        20005,  # user_info, with HTTP 200
        1274011,  # search, with HTTP 401
    }
)

WRONG_BRAND = 1000040351
"""Returned by the other brand's host when a long connection is requested. Everything else may work at that host, even
the app's credentials."""

OTHER_BRAND = "the app belongs to the other brand; change LARK_BRAND"

PLATFORM_FAILED = frozenset(
    {
        1,  # "system busy"
        20050,
        20072,
        190003,
        1470500,
        1470422,  # an earlier request is creating the same task; a retry with its key returns the result
        1771001,
        1771005,
        1230003,
        1236019,
        1254291,  # write conflict, with HTTP 200
        1255040,
    }
)

TENANT_TOKEN_REJECTED = frozenset({99991661, 99991663, 99991664, 99991671, INVALID_TOKEN})
"""Codes that reject a tenant token. With a user token, most of them mean something else."""


def outcome_of(response: HttpResponse, method: str) -> Outcome:
    """Return the outcome of a request with this method, from its response."""
    if response.body is None and is_limit(response.status):
        return RateLimited(retry_after(response.headers))
    if method == "GET" and response.body is None:
        return Refused(0, TOO_LARGE, read_log_id(response.headers))
    if method != "GET" and is_redirect(response.status):
        # The server that redirects may have carried out the request (RFC 9110, 15.4.4).
        return Unreachable(f"a redirect (HTTP {response.status})", may_have_arrived=True)
    if method == "GET" and is_file(response):
        return Refused(response.status, NOT_JSON, read_log_id(response.headers))
    return classify(response.status, response.headers, response.body)


def code_and_log_id(response: HttpResponse, outcome: Outcome) -> tuple[str | None, str | None]:
    """Return the code and the log id that a response states, as an operator looks them up."""
    if isinstance(outcome, Succeeded):
        return "0", outcome.log_id
    parsed = parse_json_object(response.body) or {}
    code = parsed.get("code")
    stated = one_line(str(code), MAX_CODE_LENGTH) if type(code) in {int, str} else None
    return stated or None, read_log_id(response.headers, parsed)


MAX_CODE_LENGTH = 120


def is_redirect(status: int) -> bool:
    return 300 <= status < 400


def is_file(response: HttpResponse) -> bool:
    """Whether a response is a successful download. HTML and plain text do not count: they are a proxy's error pages."""
    kind = response.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    attached = response.headers.get(hdrs.CONTENT_DISPOSITION, "").lower().startswith("attachment")
    return 200 <= response.status < 300 and bool(attached or (kind and not TEXT_CONTENT_TYPE.search(kind)))


TEXT_CONTENT_TYPE = re.compile(r"json$|^text/(html|plain)$")

TOO_LARGE = "The answer is too large."

NOT_JSON = "The answer is a file, which cannot be shown here."


def classify(status: int, headers: Mapping[str, str], body: bytes | None) -> Outcome:
    """Classify a response by its `code`, because APIs return the same code with different HTTP statuses."""
    parsed = parse_json_object(body)
    if parsed is None:
        return classify_without_code(status, headers, body)
    code = parsed.get("code")
    if is_limit(status, code):
        return RateLimited(retry_after(headers, code))
    if code == 0 and code is not False:
        return Succeeded(parsed, read_log_id(headers, parsed))
    if type(code) is not int:
        return classify_without_code(status, headers, body)
    log_id, message = read_log_id(headers, parsed), clean_message(parsed.get("msg"))
    if code in {INSUFFICIENT_SCOPE, APP_SCOPE_MISSING}:
        alternatives = named_scopes(parsed, message)
        if alternatives:
            kind = InsufficientScope if code == INSUFFICIENT_SCOPE else AppScopeMissing
            return kind(any_of(*alternatives), log_id)
        return Refused(code, message, log_id, parsed, unnamed_scope=code == INSUFFICIENT_SCOPE)
    if code in TOKEN_REJECTED and not (code == INVALID_TOKEN and says_user_tokens_unsupported(message)):
        return TokenRejected(code, log_id)
    if code in PLATFORM_FAILED or status >= 500:
        return Unreachable(f"error {code}", may_have_arrived=True)
    if code != QUOTA_EXHAUSTED and looks_like_limit(headers, message):
        return RateLimited(retry_after(headers))
    return Refused(code, message, log_id, parsed)


def classify_without_code(status: int, headers: Mapping[str, str], body: bytes | None) -> Outcome:
    """Classify a response without the platform's envelope: a proxy's page, a truncated body, an unknown path."""
    if is_limit(status):
        return RateLimited(retry_after(headers))
    if is_redirect(status):
        return Refused(status, "The platform answered with a redirect.", read_log_id(headers))
    if status in {404, 405} and body is not None and not body.lstrip().startswith((b"<", b"{")):
        words = one_line(body[:200].decode(errors="replace"), 200)
        return Refused(status, without_status(words, status), read_log_id(headers))
    return Unreachable(f"no usable response (HTTP {status})", may_have_arrived=True)


def without_status(text: str, status: int) -> str:
    """Remove the status from the start of a gateway's text, such as "404 page not found"."""
    prefix = rf"^(?:HTTP(?:/[\d.]+)?\s+|(?:status|error|code)\s*:?\s*)*{status}\b[\s:,.-]*"
    return re.sub(prefix, "", text, flags=re.IGNORECASE)
