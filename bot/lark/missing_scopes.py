"""Finds the scopes that a refusal names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_ALTERNATIVES = 50
"""That a refusal may name; the platform documents no more for a whole link."""


SCOPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")


BRACKETED = re.compile(r"\[([^\]]+)\]")


def named_scopes(parsed: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """The alternatives that a refusal names: permission violations, else the first bracket of the message.

    A violation names its scope as `subject`, in an older form of the answer as `scope`.
    """
    error = parsed.get("error")
    violations = error.get("permission_violations") if isinstance(error, dict) else None
    entries = violations if isinstance(violations, list) else []
    names = [entry.get("subject") or entry.get("scope") for entry in entries if isinstance(entry, dict)]
    found = valid_scopes(names)
    if not found and (bracket := BRACKETED.search(message)):
        found = valid_scopes(name.strip() for name in bracket[1].split(","))
    return found[:MAX_ALTERNATIVES]


def valid_scopes(names: Any) -> tuple[str, ...]:
    """Those that look like scopes, once each: anything else has no place in a link or on a card."""
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and SCOPE.fullmatch(name)))


_NAME = r"[a-z]\w{0,62}(?::(?!(?:ou|on|oc|om|od|cli)_)[a-z]\w{0,62}(?:\.\w{1,62}){0,4}){1,3}(?![\w:/])"


_NEEDS = r"requires?|required|needs?|needed|lacks?|lacking|missing|需要|缺少|未开通|未获得"


SCOPES_IN_MESSAGE = re.compile(
    # "ext=requires im:message.send_as_user scope", "ext=need scope: im:message.group_msg", "scope required: [a:b, c:d]"
    rf"(?:{_NEEDS})[^.;。；]{{0,60}}?(?<![\w.:/@-])(?P<names>{_NAME}(?:\s*(?:,|、|\||\bor\b|\band\b|或|和)\s*{_NAME}){{0,49}})",
    re.ASCII,
)


MENTIONS_SCOPES = re.compile(r"\bscopes?\b|\bpermissions?\b|\bprivileges?\b|权限", re.IGNORECASE)


CONTEXT = 40
"""Characters before and after, within which such a sentence says that it is about a scope."""


def scopes_in_message(message: str) -> tuple[str, ...]:
    """The scopes for want of which an API refuses that says so in its message alone, as the messaging APIs do (230027).

    Empty when the message names none: nobody can consent to a permission without a name.
    """
    found = SCOPES_IN_MESSAGE.search(message)
    if found is None or not MENTIONS_SCOPES.search(
        message[max(0, found.start() - CONTEXT) : found.end() + CONTEXT]
    ):
        return ()
    return valid_scopes(re.findall(_NAME, found["names"], re.ASCII))[:MAX_ALTERNATIVES]
