"""Recognizes rate limits: responses that mean "too many requests", from any API and with any token and HTTP status.

Such a request was not executed. It is retried at the time that the platform states, else with exponential backoff.
https://open.feishu.cn/document/server-docs/api-call-guide/frequency-control
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bot.lark.refusal_messages import mentions_limit

LIMIT_CODES = frozenset(
    {
        99991400,  # any API, with HTTP 429 or, for an old one, 400
        230020,  # messages: to one chat, or on one message
        11232,  # messages: to the platform as a whole, on the hour
        11233,  # messages: to one chat
        11247,  # messages: internal to the platform
        9499,
        190004,  # calendar
        190005,
        190010,
        1277001,  # search
        1254290,  # Base, with HTTP 200
        90217,  # sheets
        1310217,
        1061045,  # drive
    }
)
QUOTA_EXHAUSTED = 99991403
"""The monthly quota. Waiting does not help, whatever the HTTP status."""

TOO_MANY_REQUESTS = 429

CHAT_LIMIT_CODES = frozenset({230020, 11233})
CHAT_LIMIT_WAIT = 1.0
"""Seconds. A user or a group accepts five messages a second; the response does not say when to retry."""


def is_limit(status: int, code: Any = None) -> bool:
    """Whether the HTTP status or the code of a response means "too many requests"."""
    known = code if type(code) is int else None
    return known != QUOTA_EXHAUSTED and (status == TOO_MANY_REQUESTS or known in LIMIT_CODES)


def looks_like_limit(headers: Mapping[str, str], message: str) -> bool:
    """Whether a refusal with an unlisted code is a rate limit: it says when to retry, or has a matching message."""
    return retry_after(headers) is not None or mentions_limit(message)


MAX_WAIT = 86400.0
"""Seconds. A longer wait is cut to this; those of the platform are seconds to minutes."""


def retry_after(headers: Mapping[str, str], code: Any = None) -> float | None:
    """Return the seconds to wait: from the platform's header, else from HTTP's, else by the code. None if unknown."""
    for name in ("x-ogw-ratelimit-reset", "Retry-After"):
        try:
            seconds = float(headers.get(name, ""))
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, MAX_WAIT)
    return CHAT_LIMIT_WAIT if type(code) is int and code in CHAT_LIMIT_CODES else None
