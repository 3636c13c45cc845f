"""Reads the scopes that a refusal names: from its fields, else from its message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_ALTERNATIVES = 50
"""Scopes that are read from one refusal: as many as the platform documents for one authorization link."""

SCOPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")

BRACKETED = re.compile(r"\[([^\]]+)\]")


def named_scopes(parsed: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """Return the alternatives in the permission violations, else those in the first brackets of the message.

    A violation has its scope in `subject`, in an older format in `scope`.
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
    """Return the names with the syntax of a scope, without duplicates. Others must not reach a link or a card."""
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
