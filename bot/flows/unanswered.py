"""What this process remembers of messages that came just now. It only saves looking: all of it is in the database."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.model import UserKey


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


MOST_WATCHED = 10_000
"""Of a flood beyond that, nobody would see a sign in time anyway."""


@dataclass(slots=True)
class Watch:
    """The messages to look after, by their calls."""

    some: asyncio.Event = field(default_factory=asyncio.Event)
    _watched: dict[str, Unanswered] = field(default_factory=dict)

    def expect(self, message: Unanswered) -> None:
        if message.call_id not in self._watched and len(self._watched) < MOST_WATCHED:
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


MOST_REMEMBERED = 1000


@dataclass(slots=True)
class Repeats:
    """This process's answers to what waited for one consent, by what was asked."""

    _answers: OrderedDict[tuple[str | None, ...], tuple[bytes, str]] = field(default_factory=OrderedDict)

    def before(self, asked: tuple[str | None, ...], digest: bytes, call_id: str) -> str | None:
        """The call that was last answered with the same, if this process gave the last answer. Remembers this one."""
        known, other = self._answers.pop(asked, (None, None))
        self._answers[asked] = digest, call_id
        if len(self._answers) > MOST_REMEMBERED:
            self._answers.popitem(last=False)
        return other if known == digest else None
