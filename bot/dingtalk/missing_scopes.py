"""Reads the scopes that a refusal names: in its fields, else in its message, else in the link in its message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

MAX_ALTERNATIVES = 50
"""The limit on scopes that are read from one refusal."""

SCOPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
"""The name of a scope in a refusal: `Todo.Todo.Write` or, for an older API, `qyapi_get_member`."""

BRACKETED = re.compile(
    r"(?:权限|permissions?|scopes?)\s*[:：]?\s*[\[［]([^\]］]{1,2000})[\]］]", re.IGNORECASE
)
"""The list after "permissions:" in a message."""

LINK = re.compile(r"[?&]content=([^\s&\"'<>]{1,2000})")
"""The link to the developer console, whose parameter is the app and the scopes: `dingapp01%23Todo.Todo.Write`."""


def named_scopes(fields: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """Return the scopes of which the call needs one. Empty if the refusal names none."""
    detail = (
        fields.get("accessdenieddetail")
        or fields.get("accessDeniedDetail")
        or fields.get("AccessDeniedDetail")
    )
    listed = detail.get("requiredScopes") if isinstance(detail, dict) else None
    found = valid_scopes(listed if isinstance(listed, list) else [])
    return (found or scopes_in_brackets(message) or scopes_in_link(message))[:MAX_ALTERNATIVES]


def valid_scopes(names: Iterable[Any]) -> tuple[str, ...]:
    """Return the names with the syntax of a scope, without duplicates. Others must not reach a link or a card."""
    return tuple(
        dict.fromkeys(
            name for name in names if isinstance(name, str) and len(name) <= 100 and SCOPE.fullmatch(name)
        )
    )


def scopes_in_brackets(message: str) -> tuple[str, ...]:
    found = BRACKETED.search(message)
    return split(found[1]) if found else ()


def scopes_in_link(message: str) -> tuple[str, ...]:
    found = LINK.search(message)
    return split(unquote(found[1]).partition("#")[2]) if found else ()


def split(text: str) -> tuple[str, ...]:
    return valid_scopes(re.split(r"[\s,，、;]+", text))
