"""`Bot`: the components and settings that every flow receives. It keeps no conversation state."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from bot.core.build import UNKNOWN, Build
from bot.core.commands import Registry
from bot.core.language import Language, is_chinese
from bot.core.people import UserKey
from bot.core.platform import Platform
from bot.flows import clock, observations
from bot.flows.metrics import Metrics
from bot.flows.replica_memory import (
    Askers,
    EventRecord,
    HeartbeatRecord,
    RepeatedAnswers,
    SilentReplicas,
    Unacknowledged,
    UnnamedUsers,
    WorkSignals,
)
from bot.flows.throttling import Capacity, RepeatedLogs, Throttle, UserPacing
from bot.flows.tracing import Tracer
from bot.store.queue import Claim
from bot.store.retention import Retention

if TYPE_CHECKING:
    from bot.store.api_calls import MadeCall
    from bot.store.transaction import Connection, Database

T = TypeVar("T")

WRITE_RETRY_TIMEOUT = 300.0
"""Seconds for which `Bot.write_until_stored` retries."""

WRITE_RETRY_INTERVAL = 0.5

utc_now = clock.utc_now


@dataclass(frozen=True, slots=True)
class Bot:
    database: Database
    platforms: Mapping[str, Platform]
    """Keyed by app (`UserKey.app`, `Platform.app`). Not empty."""
    commands: Mapping[str, Registry]
    """The commands that users can type, keyed by app."""
    worker: str
    """The id of this replica in leases and heartbeats."""
    public_url: str
    """The URL at which browsers reach the bot, without a trailing slash. Empty if there is none."""
    key_ids: tuple[str, ...]
    """Fingerprints of the encryption keys. Operators compare them between replicas while they rotate keys."""
    admins: Mapping[str, tuple[str, ...]]
    """The open_ids of the configured administrators, by app. For an app without an entry, the platform is asked."""
    authorization_ttl: timedelta
    deferred_ttl: timedelta
    build: Build = UNKNOWN
    """The version of the program, for operators."""
    time_zone: str = "UTC"
    """The time zone of users whose own is unknown."""
    retention: Retention = field(default_factory=Retention)
    """How long settled rows and the audit log are kept."""
    lease: timedelta = timedelta(seconds=20)
    """How long a claim is valid without being extended. Then another replica may claim the work."""
    metrics: Metrics = field(default_factory=Metrics)
    """The counters and histograms of this process."""
    tracer: Tracer = field(default_factory=Tracer)
    """Records spans, if that is configured."""
    events: defaultdict[str, EventRecord] = field(default_factory=lambda: defaultdict(EventRecord))
    """What arrived from each platform, by its name."""
    signals: WorkSignals = field(default_factory=WorkSignals)
    heartbeat: HeartbeatRecord = field(default_factory=HeartbeatRecord)
    silent_replicas: SilentReplicas = field(default_factory=SilentReplicas)
    pacing: UserPacing = field(default_factory=UserPacing)
    unacknowledged: Unacknowledged = field(default_factory=Unacknowledged)
    repeated_answers: RepeatedAnswers = field(default_factory=RepeatedAnswers)
    unnamed: UnnamedUsers = field(default_factory=UnnamedUsers)
    askers: Askers = field(default_factory=Askers)
    recalled: set[tuple[str, UserKey]] = field(default_factory=set)
    """The ids and users of calls whose message turned out to be recalled when the platform refused a reply to it. Chores
    cancel them. After a crash, the event or the next refusal adds them again."""
    unrecorded: dict[tuple[str, int], list[MadeCall]] = field(default_factory=dict)
    """API calls that were made and are not recorded yet, by the deferred call and its claim."""
    refusals: RepeatedLogs = field(default_factory=RepeatedLogs)
    sign_in_throttle: Throttle = field(default_factory=lambda: Throttle(interval=0.1, longest_wait=5.0))
    """Ten sign-ins a second, because they share the token endpoint's rate limit with authorizations and refreshes."""
    sign_in_capacity: Capacity = field(default_factory=lambda: Capacity(limit=20))
    background_tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Work that continues after a response. It may be cancelled, because all of it is also in the database."""
    critical_tasks: set[asyncio.Task[object]] = field(default_factory=set)
    """Work that uses up a value that the platform accepts only once. A stopping process waits for it."""

    @property
    def by_device(self) -> bool:
        """Whether users authorize with a device code (RFC 8628), because no browser can reach the bot."""
        return not self.public_url

    def platform_of(self, user: UserKey) -> Platform:
        """Return the platform of the user. Raises KeyError for a user of an app that is not configured."""
        return self.platforms[user.app]

    def commands_of(self, user: UserKey) -> Registry:
        """Return the commands that the user can type: those of their platform."""
        return self.commands[user.app]

    def ticket_url(self, user: UserKey, ticket: str) -> str:
        return self.platform_of(user).card_link(f"{self.public_url}/authorize/{ticket}")

    def note_recall(self, call_id: str | None, user: UserKey) -> None:
        """Note that the message of a call was recalled: the platform may refuse replies before the event arrives."""
        if call_id is not None:
            self.recalled.add((call_id, user))
            self.signals.upkeep.set()

    def claim(self, app: str, now: datetime | None = None) -> Claim:
        """Return a claim of this replica on rows of an app, from `now` on."""
        now = now or utc_now()
        return Claim(app, self.worker, now, now + self.lease)

    async def claim_due(
        self, claim_due: Callable[[Connection, Claim, int], Sequence[T]], limit: int
    ) -> list[T]:
        """Claim up to `limit` due rows of each app, with a function of the store that executes one statement."""
        due: list[T] = []
        for app in self.platforms:
            claim = self.claim(app)
            due += await self.database.write_one(lambda c, claim=claim: claim_due(c, claim, limit))  # type: ignore[misc]
        return due

    def background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Start a task that may be cancelled when the process stops."""
        task = asyncio.create_task(work)
        self.background_tasks.add(task)
        task.add_done_callback(self.background_tasks.discard)
        return task

    async def run_to_completion(self, work: Coroutine[None, None, T]) -> T:
        """Run and await a task that continues even if the caller is cancelled."""
        task = asyncio.create_task(work)
        self.critical_tasks.add(task)
        task.add_done_callback(self.critical_tasks.discard)
        return await asyncio.shield(task)

    async def write_until_stored(self, work: Callable[[Connection], T]) -> T:
        """Write what the platform will not return a second time, retrying while the database is unreachable.

        Raises the last error after `WRITE_RETRY_TIMEOUT`.
        """
        give_up_at = asyncio.get_running_loop().time() + WRITE_RETRY_TIMEOUT
        while True:
            try:
                return await self.database.write(work)
            except Exception as error:
                if asyncio.get_running_loop().time() > give_up_at:
                    raise
                observations.failed(self, "write failed, retrying", error)
                await asyncio.sleep(WRITE_RETRY_INTERVAL)

    def callback_url(self, platform: Platform) -> str:
        return f"{self.public_url}{platform.callback_path}"

    async def administrators(self, platform: Platform) -> tuple[str, ...]:
        """Return the open_ids of an app's administrators: the configured ones, else those that the platform reports."""
        return self.admins.get(platform.app) or await platform.administrators()

    async def is_administrator(self, user: UserKey) -> bool:
        return user.open_id in await self.administrators(self.platform_of(user))


def language_of(text: str | None, locale: Language | None) -> Language:
    """Return the locale's language if it is known, else Chinese for text with Chinese characters, else English."""
    if locale is not None:
        return locale
    return "zh" if is_chinese(text) else "en"
