"""Log lines about what anybody can cause: many of one kind become one line with their number."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

log = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two lines of one kind."""


class Refusals:
    """The first of a kind is logged at once; those that follow are counted, and logged together every 10 seconds.

    A kind is a message with its reason. Both come from fixed sets, so that nobody can make up kinds without end.
    """

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._since: Counter[tuple[str, str]] = Counter()

    def note(self, message: str, reason: str) -> None:
        """Counts a refusal. To be called in the event loop."""
        kind = (message, reason)
        if kind in self._since:
            self._since[kind] += 1
            return
        log.info(message, extra={"reason": reason, "count": 1})
        self._wait(kind)

    def _wait(self, kind: tuple[str, str]) -> None:
        self._since[kind] = 0
        asyncio.get_running_loop().call_later(self._every, self._tell, kind)

    def _tell(self, kind: tuple[str, str]) -> None:
        count = self._since.pop(kind)
        if count:
            message, reason = kind
            log.info(message, extra={"reason": reason, "count": count})
            self._wait(kind)
