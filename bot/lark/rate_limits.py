"""Answers that mean "too many requests", whichever API, token or HTTP status they come with. The one table of them.

Such a request was not carried out. It is made again later: when the platform says so, or else after a pause that grows.
https://open.feishu.cn/document/server-docs/api-call-guide/frequency-control
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bot.lark.message_texts import mentions_limit

LIMITED = frozenset(
    {
        99991400,  # any API, with HTTP 429 or, for an old one, 400
        230020,  # messages: to one chat, or of one message
        11232,  # messages: of the platform as a whole, which happens at full hours
        11233,  # messages: to one chat
        11247,  # messages: inside the platform
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
QUOTA_SPENT = 99991403
"""The month's quota, which no wait that anybody would call a wait brings back, whatever the HTTP status."""

TOO_MANY_REQUESTS = 429

OF_ONE_CHAT = frozenset({230020, 11233})
OF_ONE_CHAT_FOR = 1.0
"""Seconds: a person, and a group, take five messages a second. The answer does not say so."""


def is_limit(status: int, code: Any = None) -> bool:
    """Whether an answer means "too many requests" by its status, whatever its body, or by its code."""
    known = code if type(code) is int else None
    return known != QUOTA_SPENT and (status == TOO_MANY_REQUESTS or known in LIMITED)


def reads_like_limit(headers: Mapping[str, str], message: str) -> bool:
    """The same of a refusal that no table knows: limits alone say when to come back, and what they are."""
    return seconds_to_wait(headers) is not None or mentions_limit(message)


LONGEST_WAIT = 86400.0
"""Seconds that are believed of a limit's reset; the platform's own are seconds to minutes."""


def seconds_to_wait(headers: Mapping[str, str], code: Any = None) -> float | None:
    """When to come back, by the platform's own header, else by HTTP's, else by what is known of the code."""
    for name in ("x-ogw-ratelimit-reset", "Retry-After"):
        try:
            seconds = float(headers.get(name, ""))
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, LONGEST_WAIT)
    return OF_ONE_CHAT_FOR if type(code) is int and code in OF_ONE_CHAT else None
