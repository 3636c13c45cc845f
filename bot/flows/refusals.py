"""Log lines about what anybody can cause: many of one kind become one line with their number."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

log = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two lines of one kind."""


class Refusals:
    """The first of a kind is logged at once; those that follow are counted, and logged together every so many seconds.
    Of a failure only the first has its traceback.

    A kind is a message with its reason. Both come from fixed sets, so that nobody can make up kinds without end.
    """

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._since: Counter[tuple[str, str]] = Counter()

    def note(
        self, message: str, reason: str, level: int = logging.INFO, error: BaseException | None = None
    ) -> None:
        """Counts a refusal, or a failure with its error. To be called in the event loop."""
        kind = (message, reason)
        if kind in self._since:
            self._since[kind] += 1
            return
        log.log(level, message, extra={"reason": reason, "count": 1}, exc_info=error)
        self._wait(kind, level)

    def _wait(self, kind: tuple[str, str], level: int) -> None:
        self._since[kind] = 0
        asyncio.get_running_loop().call_later(self._every, self._tell, kind, level)

    def _tell(self, kind: tuple[str, str], level: int) -> None:
        count = self._since.pop(kind)
        if count:
            message, reason = kind
            log.log(level, message, extra={"reason": reason, "count": count})
            self._wait(kind, level)
