"""What every flow is given: the bot's parts and its few numbers. Holds no state of a conversation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from bot.core.commands import Registry
from bot.core.model import Language, UserKey
from bot.core.platform import Platform
from bot.flows.refusals import Refusals
from bot.flows.unanswered import Repeats, Watch

if TYPE_CHECKING:
    from bot.store.database import Connection, Database

log = logging.getLogger(__name__)

T = TypeVar("T")


INSIST_FOR = 300.0
"""Seconds for which `Bot.insist` tries to write."""
INSIST_EVERY = 0.5


def now() -> datetime:
    return datetime.now(UTC)


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
        return self.beaten_at is not None and time.monotonic() - self.beaten_at < MISSED_AFTER


MISSED_AFTER = 12.0
"""Seconds: two heartbeats and a little."""


@dataclass(slots=True)
class Silent:
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


@dataclass(slots=True)
class Lines:
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
        self._turns[user] = turn + IN_LINE
        return turn

    def begin(self, user: UserKey, until: datetime) -> None:
        """The platform has refused a message to this person as one too many."""
        self._turns[user] = max(self._turns.get(user, until), until)


IN_LINE = timedelta(seconds=0.25)
"""Between two messages: to one chat the platforms take some five a second."""


@dataclass(slots=True)
class Pace:
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
class Room:
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


@dataclass(frozen=True, slots=True)
class Bot:
    database: Database
    platform: Platform
    commands: Registry
    worker: str
    """The id of this replica: in leases, and in the heartbeat."""
    public_url: str
    """Empty: no browser reaches the bot."""
    oauth: str
    """The generation of the token endpoint, remembered with each grant."""
    key_ids: tuple[str, ...]
    """Fingerprints of the encryption keys, for whoever wants to rotate them."""
    admins: tuple[str, ...]
    """Configured administrators; empty: the app's owner."""
    authorization_ttl: timedelta
    deferred_ttl: timedelta
    time_zone: str = "UTC"
    """Of people whose own is not known."""
    lease: timedelta = timedelta(seconds=20)
    """How long a claim holds without being extended; a killed replica's work is taken over after it."""
    wake: Wakers = field(default_factory=Wakers)
    pulse: Pulse = field(default_factory=Pulse)
    silent: Silent = field(default_factory=Silent)
    lines: Lines = field(default_factory=Lines)
    watch: Watch = field(default_factory=Watch)
    repeats: Repeats = field(default_factory=Repeats)
    recalled: set[tuple[str, UserKey]] = field(default_factory=set)
    """Calls, and whose they are, whose questions turned out to be recalled by a refusal of the platform's. Upkeep drops
    them; the event, or the next refusal, tells of what a crash forgets here."""
    refusals: Refusals = field(default_factory=Refusals)
    sign_in_pace: Pace = field(default_factory=lambda: Pace(interval=0.1, longest_wait=5.0))
    """A fifth of what the token endpoint takes: the rest is for authorizations and refreshes."""
    sign_in_room: Room = field(default_factory=lambda: Room(most=20))
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """What goes on after an answer was given. Nothing depends on it: all of it is also in the database."""

    transfers: set[asyncio.Task[object]] = field(default_factory=set)
    """What spends something at the platform that works once. A process that stops waits for these."""

    @property
    def by_device(self) -> bool:
        """No page of ours can be reached, so people authorize on the platform's own (RFC 8628)."""
        return not self.public_url

    def ticket_url(self, ticket: str) -> str:
        return self.platform.card_link(f"{self.public_url}/authorize/{ticket}")

    def note_recall(self, call_id: str | None, user: UserKey) -> None:
        """The platform takes nothing on the question of a call: it was recalled, and the event is late, or lost."""
        if call_id is not None:
            self.recalled.add((call_id, user))
            self.wake.upkeep.set()

    def background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def carry_through(self, transfer: Coroutine[None, None, T]) -> T:
        """Runs what is not to be interrupted half-way: it goes on although whoever waits for it is cancelled."""
        task = asyncio.create_task(transfer)
        self.transfers.add(task)
        task.add_done_callback(self.transfers.discard)
        return await asyncio.shield(task)

    async def insist(self, work: Callable[[Connection], T]) -> T:
        """Writes what the platform has given once, and nobody but this process knows: a database that is away is
        waited for."""
        give_up_at = asyncio.get_running_loop().time() + INSIST_FOR
        while True:
            try:
                return await self.database.write(work)
            except Exception:
                if asyncio.get_running_loop().time() > give_up_at:
                    raise
                log.exception("not stored yet")
                await asyncio.sleep(INSIST_EVERY)

    @property
    def callback_url(self) -> str:
        return f"{self.public_url}/oauth/{self.platform.name}/callback"

    @property
    def client_url(self) -> str:
        """The page that authorizes inside the client. The platform wants it on the app's list of redirect URLs, too."""
        return f"{self.public_url}/oauth/{self.platform.name}/client"

    async def administrators(self) -> tuple[str, ...]:
        return self.admins or await self.platform.administrators()

    async def is_administrator(self, user: UserKey) -> bool:
        return user.open_id in await self.administrators()


def language_of(text: str | None, locale: Language | None, known: Language | None) -> Language:
    """The client's own locale first, then Chinese characters in the message, then what was known before."""
    if locale is not None:
        return locale
    if text and any("\u4e00" <= character <= "\u9fff" for character in text):
        return "zh"
    return known or "en"
