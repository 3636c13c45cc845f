"""Notices when the database is away, and when it is back, from the results of its use."""

from __future__ import annotations

import time
from collections.abc import Callable

from bot.core.availability import Availability

FAILURES = 2
"""A single failure may be that of one connection."""


class Outages:
    """The outage of one database, if there is one. Reading may work while writing does not: on a full disk."""

    def __init__(self) -> None:
        self.reading, self.writing = Availability(FAILURES), Availability(FAILURES)
        self._may_be_away = False
        self._listeners: list[tuple[Callable[[str], None], Callable[[float], None]]] = []

    @property
    def is_away(self) -> bool:
        return self.reading.since is not None or self.writing.since is not None

    def listen(self, away: Callable[[str], None], back: Callable[[float], None]) -> None:
        self._listeners.append((away, back))

    def failed(self, error: Exception, *, write: bool) -> None:
        """Record that the database was not available."""
        was_away, self._may_be_away = self.is_away, True
        availability = self.writing if write else self.reading
        # An error of the operating system: there was no connection at all.
        availability.failed(time.monotonic(), certain=isinstance(error, OSError))
        if self.is_away and not was_away:
            for away, _ in self._listeners:
                away(describe(error))

    def succeeded(self, *, write: bool) -> None:
        """Record that the database was available. One that can be written can be read too."""
        if not self._may_be_away:
            return
        now, was_away = time.monotonic(), self.is_away
        began = min(each.since for each in (self.reading, self.writing, NEVER) if each.since is not None)
        self.reading.succeeded(now)
        if write:
            self.writing.succeeded(now)
        if self.is_away:
            return
        self._may_be_away = not write
        if was_away:
            for _, back in self._listeners:
                back(now - began)


NEVER = Availability(0, since=float("inf"))


def describe(error: Exception) -> str:
    """Describe an error in one line, without parameters of a statement."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".partition("\n")[0]
