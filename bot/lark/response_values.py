"""Reads the id of a request from its response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.core.unseen_characters import one_line


def read_log_id(headers: Mapping[str, str], parsed: Mapping[str, Any] | None = None) -> str | None:
    """Return the id by which the platform's support finds a request, or None."""
    found = headers.get("X-Tt-Logid") or headers.get("X-Request-Id")
    if found is None and parsed is not None and isinstance(error := parsed.get("error"), dict):
        found = error.get("log_id")
    return one_line(found) if isinstance(found, str) and found else None
