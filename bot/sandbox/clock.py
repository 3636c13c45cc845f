"""The tenant's time: real time plus an offset, so that a test can let two hours pass at once.

What expires at the platform (tokens, codes, windows, redeliveries) lives on `now`. What the platform writes
on messages and events is `wall`, because the bot compares it with its own clock: `advance` leaves it alone, and only
`advance_all`, which expects the bot to be moved as well, moves both.
"""

import asyncio
import time
from collections.abc import Callable


class Clock:
    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.offset = 0.0
        self.everybody_ahead = 0.0
        self.wall: Callable[[], float] = lambda: wall() + self.everybody_ahead
        """Seconds since the epoch, as people and the bot see them."""
        self._moved = asyncio.Event()

    def now(self) -> float:
        """Seconds since the epoch, as far as expiries are concerned."""
        return self.wall() + self.offset

    def wall_ms(self) -> int:
        return int(self.wall() * 1000)

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass; whoever sleeps towards an earlier moment wakes up."""
        self.offset += seconds
        self._wake()

    def advance_all(self, seconds: float) -> None:
        """Lets `seconds` pass for people and the bot, too."""
        self.everybody_ahead += seconds
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Returns when `seconds` have passed on this clock, whether they were waited for or advanced over."""
        deadline = self.now() + seconds
        while (left := deadline - self.now()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(left):
                    await moved.wait()
            except TimeoutError:
                return
