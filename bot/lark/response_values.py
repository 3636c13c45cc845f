"""Reads single values out of responses, with bounds on each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bot.core.secrets import Secret
from bot.core.unseen_characters import one_line, tidy


def parse_json_object(body: bytes | None) -> dict[str, Any] | None:
    """The JSON object in `body`; None when it is no such thing, however it is broken."""
    try:
        parsed = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


MAX_MESSAGE_LENGTH = 2000
"""Characters of a platform's message that are read: an answer may hold megabytes."""


MAX_TOKEN_LENGTH = 16 * 1024


MAX_LIFETIME = 10 * 365 * 86400


def read_secret(fields: Mapping[str, Any], name: str) -> Secret | None:
    """A value fit for a header; a stray line break in one would surface as an exception later."""
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_LENGTH:
        return None
    return Secret(value) if value.isascii() and value.isprintable() and " " not in value else None


def read_lifetime(fields: Mapping[str, Any], name: str) -> int | None:
    """A lifetime; None when it is none."""
    value = fields.get(name)
    return min(value, MAX_LIFETIME) if type(value) is int and value > 0 else None


def read_log_id(headers: Mapping[str, str], parsed: Mapping[str, Any] | None = None) -> str | None:
    """The id under which the platform's support finds a request."""
    found = headers.get("X-Tt-Logid") or headers.get("X-Request-Id")
    if found is None and parsed is not None and isinstance(error := parsed.get("error"), dict):
        found = error.get("log_id")
    return one_line(found) if isinstance(found, str) and found else None


def clean_message(value: Any) -> str:
    return tidy(value[:MAX_MESSAGE_LENGTH]) if isinstance(value, str) else ""
