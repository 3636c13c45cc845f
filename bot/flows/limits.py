"""Limits on what users and visitors can cause: messages per user, requests to the platform, lines in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.core.people import UserKey

log = logging.getLogger(__name__)


@dataclass(slots=True)
class UserPacing:
    """People for whom more messages are due than the platform takes: these go one after another, and no faster.

    It only saves asking in vain, which the platform counts against the whole app, and so against everybody else.
    """

    _turns: dict[UserKey, datetime] = field(default_factory=dict)

    def turn(self, user: UserKey, moment: datetime) -> datetime | None:
        """When a message to this person may be tried, which takes that turn. None: now, there is no line."""
        turn = self._turns.get(user)
        if turn is None:
            return None
        if turn <= moment:
            del self._turns[user]
            return None
        self._turns[user] = turn + MIN_MESSAGE_INTERVAL
        return turn

    def begin(self, user: UserKey, until: datetime) -> None:
        """The platform has refused a message to this person as one too many."""
        self._turns[user] = max(self._turns.get(user, until), until)


MIN_MESSAGE_INTERVAL = timedelta(seconds=0.25)
"""Between two messages: to one chat the platforms take some five a second."""


@dataclass(slots=True)
class Throttle:
    """Spaces what visitors can cause at the platform, whose limits are shared with everybody's calls."""

    interval: float
    """Seconds between two turns."""
    longest_wait: float
    """Seconds. A turn that would take longer is refused."""
    _next: float = 0.0

    async def turn(self) -> bool:
        """Waits for a turn. False, at once, if too many are waiting already."""
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
    """Bounds what visitors have under way at once, while the platform hangs above all."""

    most: int
    _taken: int = 0

    def take(self) -> bool:
        """False when it is full. Who has taken a place gives it back with `leave`."""
        if self._taken >= self.most:
            return False
        self._taken += 1
        return True

    def leave(self) -> None:
        self._taken -= 1


REPEAT_INTERVAL = 10.0
"""Seconds between two lines of one kind."""


class RepeatedLogs:
    """The first of a kind is logged at once; those that follow are counted, and logged together every so many seconds.
    Of a failure only the first has its traceback.

    A kind is a message with its reason. Both come from fixed sets, so that nobody can make up kinds without end.
    """

    def __init__(self, every: float = REPEAT_INTERVAL) -> None:
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
