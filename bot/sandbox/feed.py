"""The feed of an emulated platform: every change in order, for the chat page, the saved state and the tests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.sandbox.clock import Clock
from bot.sandbox.json_http import Json


@dataclass(frozen=True)
class Start:
    """The start of an operation that is announced when it ends: its place among all changes, and Unix milliseconds."""

    place: int
    at: int


@dataclass(frozen=True)
class Change:
    """One change. `sequence` counts announcements; `place` orders changes by when they began, so that a request
    stands above its effects. `at` is in Unix milliseconds."""

    sequence: int
    place: int
    kind: str
    at: int
    data: Json

    def as_json(self) -> Json:
        return {
            "sequence": self.sequence,
            "place": self.place,
            "kind": self.kind,
            "at": self.at,
            **self.data,
        }


class Feed:
    """An append-only list of changes with subscribers. Use it on the event loop only."""

    def __init__(self, clock: Clock) -> None:
        self.changes: list[Change] = []
        self._clock = clock
        self._places = 0
        self._subscribers: set[asyncio.Queue[Change | None]] = set()

    def start(self) -> Start:
        """Reserve a place for an operation that begins now; pass it to `announce` when the operation ends."""
        self._places += 1
        return Start(self._places, self._clock.wall_ms())

    def announce(self, kind: str, data: Json, start: Start | None = None) -> Change:
        """Append a change and hand it to every subscriber."""
        begun = start or self.start()
        change = Change(len(self.changes) + 1, begun.place, kind, begun.at, data)
        self.changes.append(change)
        for queue in self._subscribers:
            queue.put_nowait(change)
        return change

    def changes_after(self, sequence: int, kind: str | None = None) -> list[Change]:
        """Return the changes with a higher sequence number, all or those of one kind."""
        return [change for change in self.changes[max(sequence, 0) :] if kind in (None, change.kind)]

    def subscribe(self) -> tuple[asyncio.Queue[Change | None], Callable[[], None]]:
        """Return a queue of all changes from now on, and a function that unsubscribes. None in the queue ends it."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._subscribers.add(queue)
        return queue, lambda: self._subscribers.discard(queue)

    def restore(self, changes: list[Change]) -> None:
        """Continue after the changes of an earlier run, renumbered from 1."""
        self.changes = [replace(change, sequence=number) for number, change in enumerate(changes, 1)]
        self._places = max((change.place for change in changes), default=0)

    def close(self) -> None:
        """Send every subscriber the end of the feed."""
        for queue in self._subscribers:
            queue.put_nowait(None)
