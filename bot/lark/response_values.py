"""Reads single values from responses, and checks their type and length."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bot.core.secrets import Secret
from bot.core.unseen_characters import one_line, tidy


def parse_json_object(body: bytes | None) -> dict[str, Any] | None:
    """Return the JSON object in `body`, or None if it is anything else."""
    try:
        parsed = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


MAX_MESSAGE_LENGTH = 2000
"""Characters of a platform's message that are read, because a response may contain megabytes."""

MAX_TOKEN_LENGTH = 16 * 1024

MAX_LIFETIME = 10 * 365 * 86400
"""Seconds."""

DEFAULT_TOKEN_LIFETIME = 7200
"""Seconds, used if the platform states no valid lifetime. A token that expires earlier is rejected, then replaced."""


def read_secret(fields: Mapping[str, Any], name: str) -> Secret | None:
    """Return a value that can be sent in a header, or None. A line break would raise an exception when it is sent."""
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_LENGTH:
        return None
    return Secret(value) if value.isascii() and value.isprintable() and " " not in value else None


def read_lifetime(fields: Mapping[str, Any], name: str) -> int | None:
    """Return a positive lifetime in seconds, or None."""
    value = fields.get(name)
    return min(value, MAX_LIFETIME) if type(value) is int and value > 0 else None


def read_log_id(headers: Mapping[str, str], parsed: Mapping[str, Any] | None = None) -> str | None:
    """Return the id by which the platform's support finds a request, or None."""
    found = headers.get("X-Tt-Logid") or headers.get("X-Request-Id")
    if found is None and parsed is not None and isinstance(error := parsed.get("error"), dict):
        found = error.get("log_id")
    return one_line(found) if isinstance(found, str) and found else None


def clean_message(value: Any) -> str:
    """Return the start of a message without unprintable characters; empty if the value is not text."""
    return tidy(value[:MAX_MESSAGE_LENGTH]) if isinstance(value, str) else ""
