"""Reads single values from responses: of the right type and of bounded length."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bot.core.secrets import Secret
from bot.core.unseen_characters import tidy


def parse_json_object(body: bytes | None) -> dict[str, Any] | None:
    """Return the JSON object in `body`, or None if it is anything else."""
    try:
        parsed = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


MAX_MESSAGE_LENGTH = 2000
"""Characters of a platform's message that are read: a response may contain megabytes."""


MAX_TOKEN_LENGTH = 16 * 1024


MAX_LIFETIME = 10 * 365 * 86400
"""Seconds."""


DEFAULT_TOKEN_LIFETIME = 7200
"""Seconds, if the platform gives no usable lifetime. A token that expires earlier is rejected, and replaced."""


def read_secret(fields: Mapping[str, Any], name: str) -> Secret | None:
    """Return a value that can be sent in a header, or None. Sending one with a line break would raise an exception."""
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_LENGTH:
        return None
    return Secret(value) if value.isascii() and value.isprintable() and " " not in value else None


def read_lifetime(fields: Mapping[str, Any], name: str) -> int | None:
    """Return a positive lifetime in seconds, or None."""
    value = fields.get(name)
    return min(value, MAX_LIFETIME) if type(value) is int and value > 0 else None


def clean_message(value: Any) -> str:
    """Return the start of a message without unprintable characters; empty if it is not text."""
    return tidy(value[:MAX_MESSAGE_LENGTH]) if isinstance(value, str) else ""
