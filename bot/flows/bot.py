"""What every flow is given: the bot's parts and settings. Holds no state of a conversation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from bot.core.commands import Registry
from bot.core.language import Language
from bot.core.people import UserKey
from bot.core.platform import Platform
from bot.flows.hints import Pulse, Repeats, SilentReplicas, Wakers, Watch
from bot.flows.limits import Capacity, RepeatedLogs, Throttle, UserPacing
from bot.store.queue import Claim

if TYPE_CHECKING:
    from bot.store.transaction import Connection, Database

T = TypeVar("T")


log = logging.getLogger(__name__)


WRITE_RETRY_TIMEOUT = 300.0
"""Seconds for which `Bot.insist` tries to write."""

WRITE_RETRY_INTERVAL = 0.5


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Bot:
    database: Database
    platforms: Mapping[str, Platform]
    """By app: `UserKey.app`, `Platform.app`. Not empty."""
    commands: Registry
    worker: str
    """The id of this replica: in leases, and in the heartbeat."""
    public_url: str
    """Empty: no browser reaches the bot."""
    key_ids: tuple[str, ...]
    """Fingerprints of the encryption keys, for whoever wants to rotate them."""
    admins: Mapping[str, tuple[str, ...]]
    """The open_ids of the configured administrators, by app; for an app without any the platform names them."""
    authorization_ttl: timedelta
    deferred_ttl: timedelta
    time_zone: str = "UTC"
    """Of people whose own is not known."""
    lease: timedelta = timedelta(seconds=20)
    """How long a claim holds without being extended; a killed replica's work is taken over after it."""
    wake: Wakers = field(default_factory=Wakers)
    pulse: Pulse = field(default_factory=Pulse)
    silent: SilentReplicas = field(default_factory=SilentReplicas)
    lines: UserPacing = field(default_factory=UserPacing)
    watch: Watch = field(default_factory=Watch)
    repeats: Repeats = field(default_factory=Repeats)
    recalled: set[tuple[str, UserKey]] = field(default_factory=set)
    """Calls, and whose they are, whose questions turned out to be recalled by a refusal of the platform's. Upkeep drops
    them; the event, or the next refusal, tells of what a crash forgets here."""
    refusals: RepeatedLogs = field(default_factory=RepeatedLogs)
    sign_in_pace: Throttle = field(default_factory=lambda: Throttle(interval=0.1, longest_wait=5.0))
    """A fifth of what the token endpoint takes: the rest is for authorizations and refreshes."""
    sign_in_room: Capacity = field(default_factory=lambda: Capacity(most=20))
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """What goes on after an answer was given. Nothing depends on it: all of it is also in the database."""

    transfers: set[asyncio.Task[object]] = field(default_factory=set)
    """What spends something at the platform that works once. A process that stops waits for these."""

    @property
    def by_device(self) -> bool:
        """No page of ours can be reached, so people authorize on the platform's own (RFC 8628)."""
        return not self.public_url

    def platform_of(self, user: UserKey) -> Platform:
        """Return the platform that knows the user. Raises KeyError for a user of an app that is not configured."""
        return self.platforms[user.app]

    @property
    def claimed(self) -> tuple[Platform, ...]:
        """The platforms whose due work this replica claims: a database connection claims for one app."""
        return (self.platforms[self.database.app],)

    @property
    def first_platform(self) -> Platform:
        """The platform of a visitor who has not said which one they use."""
        return next(iter(self.platforms.values()))

    def ticket_url(self, user: UserKey, ticket: str) -> str:
        return self.platform_of(user).card_link(f"{self.public_url}/authorize/{ticket}")

    def note_recall(self, call_id: str | None, user: UserKey) -> None:
        """The platform takes nothing on the question of a call: it was recalled, and the event is late, or lost."""
        if call_id is not None:
            self.recalled.add((call_id, user))
            self.wake.upkeep.set()

    def claim(self, moment: datetime | None = None, *, app: str | None = None) -> Claim:
        """Return a claim of this replica from `moment` (now) on, by default on rows of the database's app."""
        moment = moment or now()
        return Claim(app or self.database.app, self.worker, moment, moment + self.lease)

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
        give_up_at = asyncio.get_running_loop().time() + WRITE_RETRY_TIMEOUT
        while True:
            try:
                return await self.database.write(work)
            except Exception:
                if asyncio.get_running_loop().time() > give_up_at:
                    raise
                log.exception("not stored yet")
                await asyncio.sleep(WRITE_RETRY_INTERVAL)

    def callback_url(self, platform: Platform) -> str:
        return f"{self.public_url}{platform.callback_path}"

    async def administrators(self, platform: Platform) -> tuple[str, ...]:
        """Return the open_ids of an app's administrators."""
        return self.admins.get(platform.app) or await platform.administrators()

    async def is_administrator(self, user: UserKey) -> bool:
        return user.open_id in await self.administrators(self.platform_of(user))


def language_of(text: str | None, locale: Language | None, known: Language | None) -> Language:
    """The client's own locale first, then Chinese characters in the message, then what was known before."""
    if locale is not None:
        return locale
    if text and any("\u4e00" <= character <= "\u9fff" for character in text):
        return "zh"
    return known or "en"
