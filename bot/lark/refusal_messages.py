"""Reads facts that are only in the message of a refusal, not in its code. No other module interprets messages.

Messages are written for people and may change. Each function looks for one fact, and a wrong guess costs little: an
unnecessary scope request, pause or refresh.
"""

from __future__ import annotations

import re
from typing import Any

MAX_ALTERNATIVES = 50
"""Scopes that are read from one refusal: as many as the platform documents for one authorization link."""

SCOPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")


# --- scopes ----------------------------------------------------------------------------------------


def valid_scopes(names: Any) -> tuple[str, ...]:
    """Return the names that have the syntax of a scope, without duplicates. Others must not reach a link or a card."""
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and SCOPE.fullmatch(name)))


BRACKETED = re.compile(r"\[([^\]]+)\]")


def bracketed_scopes(message: str) -> tuple[str, ...]:
    """Return the alternatives in the first brackets of a message whose code says that scopes are missing."""
    bracket = BRACKETED.search(message)
    return valid_scopes(name.strip() for name in bracket[1].split(","))[:MAX_ALTERNATIVES] if bracket else ()


_NAME = r"[a-z]\w{0,62}(?::(?!(?:ou|on|oc|om|od|cli)_)[a-z]\w{0,62}(?:\.\w{1,62}){0,4}){1,3}(?![\w:/])"

_NEEDS = r"requires?|required|needs?|needed|lacks?|lacking|missing|需要|缺少|未开通|未获得"


SCOPES_IN_MESSAGE = re.compile(
    # "ext=requires im:message.send_as_user scope", "ext=need scope: im:message.group_msg", "scope required: [a:b, c:d]"
    rf"(?:{_NEEDS})[^.;。；]{{0,60}}?(?<![\w.:/@-])(?P<names>{_NAME}(?:\s*(?:,|、|\||\bor\b|\band\b|或|和)\s*{_NAME}){{0,49}})",
    re.ASCII,
)

MENTIONS_SCOPES = re.compile(r"\bscopes?\b|\bpermissions?\b|\bprivileges?\b|权限", re.IGNORECASE)


CONTEXT = 40
"""Characters before and after the names in which the message must mention scopes."""


def scopes_in_message(message: str) -> tuple[str, ...]:
    """Return the missing scopes of a refusal that names them only in its message, as messaging APIs do (230027).

    Empty if the message names none.
    """
    found = SCOPES_IN_MESSAGE.search(message)
    if found is None or not MENTIONS_SCOPES.search(
        message[max(0, found.start() - CONTEXT) : found.end() + CONTEXT]
    ):
        return ()
    return valid_scopes(re.findall(_NAME, found["names"], re.ASCII))[:MAX_ALTERNATIVES]


# --- rate limits and tokens ------------------------------------------------------------------------

LIMIT_MESSAGE = re.compile(
    r"too many requests?\b|too frequent|\bfrequency (limit|control)|\brate limit|\bqps limit"
    r"|请求(过于|太|过)频繁|操作频繁|频率限制|频控|限流",
    re.IGNORECASE,
)
"""Matches messages of unlisted codes. A refusal mistaken for a limit is reported late; a limit mistaken for a refusal
loses a message."""


def mentions_limit(message: str) -> bool:
    return bool(LIMIT_MESSAGE.search(message[:500]))


USER_TOKENS_UNSUPPORTED = re.compile(r"(?:\bnot|n't) support|\bunsupported\b|不支持", re.IGNORECASE)
"""Matches a rejection (99991668) by an API that accepts no user tokens at all: a refreshed one would be rejected too."""


def says_user_tokens_unsupported(message: str) -> bool:
    return bool(USER_TOKENS_UNSUPPORTED.search(message))
