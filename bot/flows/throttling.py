"""Limits on what users and visitors can cause: messages to a user, requests to the platform, lines in the log."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.core.people import UserKey

log = logging.getLogger("bot")


@dataclass(slots=True)
class UserPacing:
    """Spaces the messages to users whose messages the platform has rate-limited.

    Refused requests count towards the limits of the whole app, and so slow down every other user.
    """

    _next_slots: dict[UserKey, datetime] = field(default_factory=dict)

    def reserve_slot(self, user: UserKey, now: datetime, interval: timedelta) -> datetime | None:
        """Reserve and return the time at which to send a message to a user, or None to send it now."""
        slot = self._next_slots.get(user)
        if slot is None:
            return None
        if slot <= now:
            del self._next_slots[user]
            return None
        self._next_slots[user] = slot + interval
        return slot

    def start(self, user: UserKey, until: datetime) -> None:
        """Start pacing after the platform has rate-limited a message."""
        self._next_slots[user] = max(self._next_slots.get(user, until), until)


@dataclass(slots=True)
class Throttle:
    """Spaces the requests to the platform that visitors can cause, because its limits are shared with all users."""

    interval: float
    """Seconds between two requests."""
    longest_wait: float
    """Seconds. A request that would wait longer is rejected."""
    _next: float = 0.0

    async def acquire(self) -> bool:
        """Wait until the next request may start. Returns False immediately if the wait would be too long."""
        now = time.monotonic()
        starts_at = max(now, self._next)
        if starts_at - now > self.longest_wait:
            return False
        self._next = starts_at + self.interval
        if starts_at > now:
            await asyncio.sleep(starts_at - now)
        return True


@dataclass(slots=True)
class Capacity:
    """Limits the concurrent requests that visitors can cause, which would accumulate while the platform hangs."""

    limit: int
    _taken: int = 0

    def acquire(self) -> bool:
        """Acquire a slot, which `release` frees again. Returns False if none is free."""
        if self._taken >= self.limit:
            return False
        self._taken += 1
        return True

    def release(self) -> None:
        self._taken -= 1


REPEAT_INTERVAL = 60.0
"""Seconds between two log lines of one kind."""


MAX_KINDS = 1000
"""Kinds that are counted on their own at a time."""


class RepeatedLogs:
    """Logs the first event of a kind immediately, and the number of further events at intervals.

    Only the first of several failures is logged with its traceback. A kind is a message with its reason; both come from
    fixed sets, so that a visitor cannot create new kinds.
    """

    def __init__(self, every: float = REPEAT_INTERVAL) -> None:
        self._every = every
        self._since: Counter[tuple[str, str]] = Counter()

    def note(
        self, message: str, reason: str, level: int = logging.INFO, error: BaseException | None = None
    ) -> None:
        """Log or count a rejection, or a failure with its error. Call it in the event loop."""
        if self.is_first(message, reason, level):
            log.log(level, message, extra={"reason": reason, "count": 1}, exc_info=error)

    def is_first(self, message: str, reason: str, level: int = logging.INFO) -> bool:
        """Return whether this is the first of its kind in the interval, which the caller logs. Counts it otherwise."""
        kind = (
            message,
            reason if len(self._since) < MAX_KINDS or (message, reason) in self._since else "other",
        )
        if kind in self._since:
            self._since[kind] += 1
            return False
        self._start_interval(kind, level)
        return True

    def _start_interval(self, kind: tuple[str, str], level: int) -> None:
        self._since[kind] = 0
        # In an empty context: the number is not about the story in which the first one happened.
        asyncio.get_running_loop().call_later(
            self._every, self._log_count, kind, level, context=contextvars.Context()
        )

    def _log_count(self, kind: tuple[str, str], level: int) -> None:
        count = self._since.pop(kind)
        if count:
            message, reason = kind
            log.log(level, message, extra={"reason": reason, "count": count})
            self._start_interval(kind, level)
