"""The emulated platform's time: real time plus two offsets, so that a test can let two hours pass at once.

Whatever expires at the platform (tokens, codes, idempotency windows, redeliveries) is measured by `now`. The
platform stamps messages and events with `wall`, because the bot compares those with its own clock. `advance` moves
`now` alone. `advance_everyone` moves both, and its caller must move the bot's clock as well.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from aiohttp import hdrs, web


class Clock:
    """Two clocks in Unix seconds: `wall` for timestamps, `now` for expiries."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.offset = 0.0
        """Seconds that `now` is ahead of `wall`."""
        self.wall_offset = 0.0
        """Seconds that `wall` is ahead of real time."""
        self.wall: Callable[[], float] = lambda: wall() + self.wall_offset
        self._moved = asyncio.Event()

    def now(self) -> float:
        """Return the time by which things expire."""
        return self.wall() + self.offset

    def wall_ms(self) -> int:
        """Return the time of a timestamp, in milliseconds."""
        return int(self.wall() * 1000)

    def advance(self, seconds: float) -> None:
        """Let time pass at the platform only; wakes sleepers whose deadline has passed."""
        self.offset += seconds
        self._wake()

    def advance_everyone(self, seconds: float) -> None:
        """Let time pass at the platform, for people, and for a bot that is restarted with its clock ahead."""
        self.wall_offset += seconds
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed on this clock, by waiting or by advancing."""
        deadline = self.now() + seconds
        while (left := deadline - self.now()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(left):
                    await moved.wait()
            except TimeoutError:
                return


def dated_by(clock: Clock) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return a signal handler that dates responses by the platform's clock, not by that of the emulator's machine."""

    async def set_date(request: web.Request, response: web.StreamResponse) -> None:
        response.headers[hdrs.DATE] = formatdate(clock.wall(), usegmt=True)

    return set_date
