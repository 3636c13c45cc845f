"""What the text of a refusal tells that its code does not. The one place where such texts are read.

They are written for people and may change, so each is asked for one thing, where a wrong guess costs little: a scope to
ask for, a pause, one refresh less. Everything else goes by codes.
"""

from __future__ import annotations

import re
from typing import Any

SCOPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
MOST_ALTERNATIVES = 50
"""That a refusal may name; the platform documents no more for a whole link."""


# --- scopes -------------------------------------------------------------------------------------------


def scopes_among(names: Any) -> tuple[str, ...]:
    """Those that look like scopes, once each: anything else has no place in a link or on a card."""
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and SCOPE.fullmatch(name)))


BRACKET = re.compile(r"\[([^\]]+)\]")


def scopes_in_bracket(message: str) -> tuple[str, ...]:
    """The alternatives in the first bracket of a refusal's message, whose code says that it is about scopes."""
    bracket = BRACKET.search(message)
    return scopes_among(name.strip() for name in bracket[1].split(","))[:MOST_ALTERNATIVES] if bracket else ()


_NAME = r"[a-z]\w{0,62}(?::(?!(?:ou|on|oc|om|od|cli)_)[a-z]\w{0,62}(?:\.\w{1,62}){0,4}){1,3}(?![\w:/])"
_WANTING = r"requires?|required|needs?|needed|lacks?|lacking|missing|需要|缺少|未开通|未获得"
SCOPES_IN_WORDS = re.compile(
    # "ext=requires im:message.send_as_user scope", "ext=need scope: im:message.group_msg", "scope required: [a:b, c:d]"
    rf"(?:{_WANTING})[^.;。；]{{0,60}}?(?<![\w.:/@-])(?P<names>{_NAME}(?:\s*(?:,|、|\||\bor\b|\band\b|或|和)\s*{_NAME}){{0,49}})",
    re.ASCII,
)
ABOUT_SCOPES = re.compile(r"\bscopes?\b|\bpermissions?\b|\bprivileges?\b|权限", re.IGNORECASE)
NEAR = 40
"""Characters before and after, within which such a sentence says that it is about a scope."""


def scopes_in_message(message: str) -> tuple[str, ...]:
    """The scopes for want of which an API refuses that says so in its message alone, as the messaging APIs do (230027).

    Empty when the message names none: nobody can consent to a permission without a name.
    """
    found = SCOPES_IN_WORDS.search(message)
    if found is None or not ABOUT_SCOPES.search(message[max(0, found.start() - NEAR) : found.end() + NEAR]):
        return ()
    return scopes_among(re.findall(_NAME, found["names"], re.ASCII))[:MOST_ALTERNATIVES]


# --- limits and tokens --------------------------------------------------------------------------------

SAYS_SO = re.compile(
    r"too many requests?\b|too frequent|\bfrequency (limit|control)|\brate limit|\bqps limit"
    r"|请求(过于|太|过)频繁|操作频繁|频率限制|频控|限流",
    re.IGNORECASE,
)
"""Of a message, for codes that no table has. A refusal that is mistaken for a limit is told later; a limit that is
mistaken for a refusal loses a message."""


def mentions_limit(message: str) -> bool:
    return bool(SAYS_SO.search(message[:500]))


NO_USER_TOKENS = re.compile(r"(?:\bnot|n't) support|\bunsupported\b|不支持", re.IGNORECASE)
"""Of the message of a rejected token, which is good for other APIs: another one would not be taken either."""


def refuses_user_tokens(message: str) -> bool:
    return bool(NO_USER_TOKENS.search(message))
