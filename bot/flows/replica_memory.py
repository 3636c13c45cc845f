"""In-memory state of one replica. It is an optimization: everything that must not be lost is in the database."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.events import NOT_SIGNED, Unauthentic
from bot.core.people import UserKey


@dataclass(slots=True)
class WorkSignals:
    """Events by which one part of this process signals work to another.

    A missed signal only causes a delay, because each part also polls the database.
    """

    calls: asyncio.Event = field(default_factory=asyncio.Event)
    """A call is runnable."""
    upkeep: asyncio.Event = field(default_factory=asyncio.Event)
    """A card or a revocation is due."""


@dataclass(slots=True)
class HeartbeatRecord:
    """When this replica last wrote its heartbeat, which shows that the database accepts writes."""

    written_at: float | None = None

    def record(self) -> None:
        self.written_at = time.monotonic()

    @property
    def is_recent(self) -> bool:
        return self.written_at is not None and time.monotonic() - self.written_at < HEARTBEAT_TIMEOUT


HEARTBEAT_TIMEOUT = 12.0
"""Seconds after which a heartbeat is no longer recent: a little more than the interval of two."""


@dataclass(slots=True)
class SilentReplicas:
    """Replicas without a presence lock, each with its last heartbeat and the time at which this replica first saw it."""

    _since: dict[str, tuple[datetime, float]] = field(default_factory=dict)

    def seconds_silent(self, without_lock: Mapping[str, datetime]) -> dict[str, float]:
        """Return for how many seconds each replica has had no lock and written no heartbeat."""
        now = time.monotonic()
        known = self._since
        self._since = {
            name: known[name] if name in known and known[name][0] == heartbeat else (heartbeat, now)
            for name, heartbeat in without_lock.items()
        }
        return {name: now - since for name, (_, since) in self._since.items()}

    def forget(self) -> None:
        self._since = {}


@dataclass(frozen=True, slots=True)
class UnacknowledgedMessage:
    """A message whose sender may not have seen an acknowledgement yet."""

    call_id: str
    user: UserKey
    message_id: str
    expires_at: datetime
    due_at: datetime
    """When to check whether an acknowledgement is needed."""
    reacted: bool = False
    """Whether a reaction was attempted, so that only a note remains."""


MAX_UNACKNOWLEDGED = 10_000
"""Messages beyond this number are not acknowledged, because during a flood it would be too late in any case."""


@dataclass(slots=True)
class Unacknowledged:
    """The messages that may have to be acknowledged, by call."""

    added: asyncio.Event = field(default_factory=asyncio.Event)
    _messages: dict[str, UnacknowledgedMessage] = field(default_factory=dict)

    def add(self, message: UnacknowledgedMessage) -> None:
        if message.call_id not in self._messages and len(self._messages) < MAX_UNACKNOWLEDGED:
            self._messages[message.call_id] = message
            self.added.set()

    def remove(self, call_id: str) -> None:
        """Forget a message that was answered or acknowledged."""
        self._messages.pop(call_id, None)

    def take_due(self, now: datetime) -> list[UnacknowledgedMessage]:
        """Remove and return the messages that are due."""
        due = [message for message in self._messages.values() if message.due_at <= now]
        for message in due:
            del self._messages[message.call_id]
        if not self._messages:
            self.added.clear()
        return due


MAX_UNNAMED = 1000
"""Users beyond this number are not noted: they are at their next message."""


@dataclass(slots=True)
class UnnamedUsers:
    """Users who have been heard, and whose name may be unknown."""

    _users: dict[UserKey, None] = field(default_factory=dict)

    def note(self, user: UserKey) -> None:
        if len(self._users) < MAX_UNNAMED:
            self._users[user] = None

    def take(self, app: str) -> list[UserKey]:
        """Remove and return the users of an app."""
        taken = [user for user in self._users if user.app == app]
        for user in taken:
            del self._users[user]
        return taken


@dataclass(slots=True)
class EventRecord:
    """What arrived from one platform since this process started, for `readyz`."""

    last_accepted_at: datetime | None = None
    last_refused_at: datetime | None = None
    refused: Counter[str] = field(default_factory=Counter)
    """How often something was refused, by reason. The reasons come from a fixed set."""
    problem: str = ""
    """Why genuine events seem to be refused, and what to change if that is known. Empty after an event was accepted."""

    def accepted(self, now: datetime) -> None:
        self.last_accepted_at, self.problem = now, ""

    def was_refused(self, refused: Unauthentic, now: datetime) -> None:
        self.last_refused_at = now
        if refused.reason in self.refused or len(self.refused) < MAX_REASONS:
            self.refused[refused.reason] += 1
        if refused.advice or (refused.reason != NOT_SIGNED and not self.problem):
            # Strangers send requests without a signature to any address.
            self.problem = refused.advice or refused.reason


MAX_REASONS = 50
MAX_REMEMBERED_ASKERS = 10_000


@dataclass(slots=True)
class Askers:
    """The first call that has waited for each request: its id and that of its message, for the log."""

    _calls: OrderedDict[str, tuple[str, str | None]] = field(default_factory=OrderedDict)

    def find(self, request_id: str) -> tuple[str, str | None] | None:
        return self._calls.get(request_id)

    def remember(self, request_id: str, call_id: str, message_id: str | None) -> None:
        if (
            self._calls.setdefault(request_id, (call_id, message_id))
            and len(self._calls) > MAX_REMEMBERED_ASKERS
        ):
            self._calls.popitem(last=False)


MAX_REMEMBERED_ANSWERS = 1000

Asked = tuple[str | None, ...]
"""What was asked, and where."""


@dataclass(slots=True)
class RepeatedAnswers:
    """This process's latest answers to calls that waited for a consent, keyed by what was asked.

    Only memory can compare what was asked: the database forgets it when a call ends.
    """

    _answers: OrderedDict[Asked, tuple[bytes, str]] = field(default_factory=OrderedDict)
    _asked: OrderedDict[str, Asked] = field(default_factory=OrderedDict)
    """What was asked with the latest of these calls."""

    def record(self, asked: Asked, digest: bytes, call_id: str) -> str | None:
        """Record an answer. Returns the id of the previous call, if this process gave the same answer to it, or None."""
        known, other = self._answers.pop(asked, (None, None))
        self._answers[asked] = digest, call_id
        self._asked[call_id] = asked
        for remembered in (self._answers, self._asked):
            if len(remembered) > MAX_REMEMBERED_ANSWERS:
                remembered.popitem(last=False)
        return other if known == digest else None

    def is_latest(self, call_id: str, asked: Asked, answered: Sequence[str]) -> bool:
        """Return whether this call is the latest of the answered ones that asked the same.

        `answered`: the latest first. A call that this process did not answer may have asked the same.
        """
        for other in answered:
            if other == call_id:
                return True
            if self._asked.get(other, asked) == asked:
                return False
        return False
