"""In-memory state of one replica. It only saves look-ups: everything that must not be lost is in the database."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.people import UserKey


@dataclass(slots=True)
class Wakers:
    """Sets of events by which one part of this process tells another that there is something to do.

    They only save time: all that waits is in the database, and each part looks there regularly anyway.
    """

    calls: asyncio.Event = field(default_factory=asyncio.Event)
    upkeep: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Pulse:
    """Whether this replica can write to its database, as its heartbeat finds out all the time."""

    beaten_at: float | None = None

    def beat(self) -> None:
        self.beaten_at = time.monotonic()

    @property
    def is_felt(self) -> bool:
        return self.beaten_at is not None and time.monotonic() - self.beaten_at < HEARTBEAT_TIMEOUT


HEARTBEAT_TIMEOUT = 12.0
"""Seconds: two heartbeats and a little."""


@dataclass(slots=True)
class SilentReplicas:
    """Other replicas that do not hold the lock which shows that they live: their last heartbeat, and since when."""

    _since: dict[str, tuple[datetime, float]] = field(default_factory=dict)

    def for_seconds(self, found: Mapping[str, datetime]) -> dict[str, float]:
        """For how long each of these has been seen like this, without a heartbeat in between."""
        moment = time.monotonic()
        known = self._since
        self._since = {
            name: known[name] if name in known and known[name][0] == heartbeat else (heartbeat, moment)
            for name, heartbeat in found.items()
        }
        return {name: moment - since for name, (_, since) in self._since.items()}

    def forget(self) -> None:
        self._since = {}


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A message whose asker has perhaps seen nothing of the bot yet."""

    call_id: str
    user: UserKey
    message_id: str
    expires_at: datetime
    due_at: datetime
    """When to look whether they have."""
    reacted: bool = False
    """A reaction was tried: what is left is a word."""


MAX_WATCHED = 10_000
"""Of a flood beyond that, nobody would see a sign in time anyway."""


@dataclass(slots=True)
class Watch:
    """The messages to look after, by their calls."""

    some: asyncio.Event = field(default_factory=asyncio.Event)
    _watched: dict[str, Unanswered] = field(default_factory=dict)

    def expect(self, message: Unanswered) -> None:
        if message.call_id not in self._watched and len(self._watched) < MAX_WATCHED:
            self._watched[message.call_id] = message
            self.some.set()

    def seen(self, call_id: str) -> None:
        """The asker has seen something."""
        self._watched.pop(call_id, None)

    def take_due(self, now: datetime) -> list[Unanswered]:
        due = [message for message in self._watched.values() if message.due_at <= now]
        for message in due:
            del self._watched[message.call_id]
        if not self._watched:
            self.some.clear()
        return due


MAX_REMEMBERED = 1000


@dataclass(slots=True)
class Repeats:
    """This process's answers to what waited for one consent, by what was asked."""

    _answers: OrderedDict[tuple[str | None, ...], tuple[bytes, str]] = field(default_factory=OrderedDict)

    def before(self, asked: tuple[str | None, ...], digest: bytes, call_id: str) -> str | None:
        """The call that was last answered with the same, if this process gave the last answer. Remembers this one."""
        known, other = self._answers.pop(asked, (None, None))
        self._answers[asked] = digest, call_id
        if len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)
        return other if known == digest else None
