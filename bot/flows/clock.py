"""The time of this process, by several clocks.

A machine's clock can be wrong, and jump when it is corrected. Whatever waits would expire at once, and grants would end.
Therefore

- `utc_now` follows the machine's clock in small steps only. After a jump it goes on from the time before, until the new
  time is confirmed: by the platform's clock, by PostgreSQL's if that did not jump as well, or because it stays.
- `expiry_time` is the earliest time by any of the clocks. What expires before that has expired for certain.

The elapsed time includes the time in which the machine is suspended, so waking up is no jump.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

log = logging.getLogger(__name__)

TOLERANCE = 120.0
"""Seconds by which clocks may differ, and by which the machine's clock may be set at once."""
STEADY_AFTER = 600.0
"""Seconds after which a time is believed that no other clock confirms."""
FIRST_LOOK = 20.0
"""Seconds for which nothing expires after the start, or after a suspension, unless another clock confirms the time."""
MAX_PAUSE = 60.0
"""Seconds between two looks at the clocks. After a longer pause, the process or the machine was suspended."""
NEVER = datetime.fromtimestamp(0, UTC)
"""Nothing has expired by this time."""


def machine_time() -> float:
    return datetime.now(UTC).timestamp()


def elapsed_time() -> float:
    """Return the seconds since the machine was started, including those in which it was suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(slots=True)
class Jump:
    offset: float
    """The difference of the machine's clock after the jump from the elapsed time."""
    at: float
    """The elapsed time since which nothing has contradicted it."""


class Clock:
    """Times are kept as differences from the elapsed time."""

    def __init__(
        self, machine: Callable[[], float] = machine_time, elapsed: Callable[[], float] = elapsed_time
    ) -> None:
        self._machine, self._elapsed = machine, elapsed
        at = elapsed()
        self._offset = machine() - at
        self._jump: Jump | None = None
        self._database: float | None = None
        self._database_steady_since = float("-inf")
        self._differs_from_database = False
        self.has_database_clock = False
        """Whether the database server has its own clock, as PostgreSQL does."""
        self._watched_since, self._looked_at = at, at
        self._confirmed = False
        """Whether the platform's clock has confirmed this one since it has been watched."""

    def now(self) -> datetime:
        at = self._elapsed()
        return datetime.fromtimestamp(at + self._look(at), UTC)

    def expiry_time(self) -> datetime:
        """Return the time before which everything has expired for certain. `NEVER`, if that is not known yet."""
        at = self._elapsed()
        offsets = [self._look(at), self._machine() - at]
        if not self._is_known(at):
            return NEVER
        if self._database is not None:
            offsets.append(self._database)
        return datetime.fromtimestamp(at + min(offsets), UTC)

    def _is_known(self, at: float) -> bool:
        """Whether the time is confirmed, or was watched for long enough."""
        if self.has_database_clock:
            return self._database is not None
        return self._confirmed or at - self._watched_since >= FIRST_LOOK

    def _look(self, at: float) -> float:
        """Return the offset of the time that counts."""
        if at - self._looked_at > MAX_PAUSE:
            self._watched_since, self._confirmed = at, False
        self._looked_at = at
        offset = self._machine() - at
        if abs(offset - self._offset) <= TOLERANCE:
            if self._jump is not None:
                self._jump = None
                log.info("this machine's clock is back at the expected time")
            self._offset = offset
        elif not self._is_known(at):
            # The process has just started, perhaps while the clock was wrong.
            self._offset, self._watched_since = offset, at
        elif self._jump is None or abs(offset - self._jump.offset) > TOLERANCE:
            self._jump = Jump(offset, at)
            log.warning(
                "this machine's clock has jumped: the bot ignores that until the new time is confirmed",
                extra={"seconds": round(offset - self._offset)},
            )
        elif at - self._jump.at >= STEADY_AFTER and not self.has_database_clock:
            self._accept(offset)
        return self._offset

    def _accept(self, offset: float) -> None:
        if self._jump is not None:
            self._jump = None
            log.warning(
                "the new time of this machine's clock is confirmed",
                extra={"seconds": round(offset - self._offset)},
            )
        self._offset = offset

    def compare_with_database(self, now: float) -> None:
        """Take note of the database's clock."""
        at = self._elapsed()
        before, self._database = self._database, now - at
        offset = self._machine() - at
        differs = abs(offset - self._database) > TOLERANCE
        if before is None and differs:
            # Nothing is known yet but that one is wrong; all replicas share the database's.
            self._offset = self._database
        elif before is not None and abs(self._database - before) > TOLERANCE:
            # It may be on the same machine.
            self._database_steady_since = at
        self._look(at)
        if not differs and at - self._database_steady_since >= STEADY_AFTER:
            self._accept(offset)
        if differs != self._differs_from_database:
            self._differs_from_database = differs
            if differs:
                log.warning(
                    "this machine's clock and the database's differ: nothing expires until both have reached its time; "
                    "set them by NTP",
                    extra={"seconds": round(offset - self._database)},
                )
            else:
                log.info("this machine's clock and the database's agree again")

    def compare_with_platform(self, then: float, age: float) -> None:
        """Take note of the platform's clock, which showed a time `age` seconds ago. It confirms, but never refutes."""
        at = self._elapsed()
        self._look(at)
        if age > at - self._watched_since + 1:
            return  # from before the suspension
        offset = self._machine() - at
        if abs(then + age - at - offset) <= TOLERANCE:
            self._confirmed = True
            self._accept(offset)
        elif self._jump is not None:
            self._jump.at = self._database_steady_since = at


CLOCK = Clock()
"""The clock of this process."""


def utc_now() -> datetime:
    return CLOCK.now()


def expiry_time() -> datetime:
    return CLOCK.expiry_time()


async def known_expiry_time() -> datetime:
    """Wait until the clock is confirmed, and return the time before which everything has expired for certain."""
    while (moment := expiry_time()) == NEVER:  # noqa: ASYNC110 - no event: the clocks are polled
        await asyncio.sleep(1)
    return moment
