"""Reads the scopes that a refusal names: from its fields, else from its message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.lark.refusal_messages import MAX_ALTERNATIVES, bracketed_scopes, valid_scopes


def named_scopes(parsed: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """Return the alternatives in the permission violations, else those in the first brackets of the message.

    A violation names its scope in `subject`, or in an older format in `scope`.
    """
    error = parsed.get("error")
    violations = error.get("permission_violations") if isinstance(error, dict) else None
    entries = violations if isinstance(violations, list) else []
    names = [entry.get("subject") or entry.get("scope") for entry in entries if isinstance(entry, dict)]
    found = valid_scopes(names)
    return found[:MAX_ALTERNATIVES] or bracketed_scopes(message)
