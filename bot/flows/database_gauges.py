"""Metrics of the whole database, which every replica tells alike. Read at most every few seconds, however often asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric

from bot.flows.clock import machine_time
from bot.store import gauges
from bot.store.gauges import Gauges

if TYPE_CHECKING:
    from bot.store.transaction import Database

log = logging.getLogger(__name__)

SNAPSHOT_LIFETIME = 5.0
"""Seconds for which a snapshot, or the failure to take one, is told again."""
SNAPSHOT_TIMEOUT = 2.0
"""Seconds. Prometheus gives up on a scrape after 10, by default."""

WHOLE = "(whole database)"


@dataclass(slots=True)
class DatabaseGauges:
    """The latest snapshot of a database. Safe for concurrent use: callers share one reading."""

    database: Database
    key_ids: Sequence[str]
    _taken: Gauges | None = None
    _taken_at: datetime | None = None
    _machine_time: float = 0.0
    """Seconds since the epoch when the snapshot was taken, by the clock of this machine."""
    _read_at: float = -SNAPSHOT_LIFETIME
    _reading: asyncio.Task[None] | None = field(default=None)

    async def refresh(self, now: datetime) -> None:
        """Take a snapshot, unless the latest is recent. Never raises: an unreachable database leaves none."""
        if self._reading is None and time.monotonic() < self._read_at + SNAPSHOT_LIFETIME:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(now))
        await asyncio.shield(self._reading)

    @property
    def is_readable(self) -> bool:
        """Whether the latest reading succeeded."""
        return self._taken is not None

    async def _read(self, now: datetime) -> None:
        apps = self.database.apps
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT):
                await self.database.probe()
                taken = await self.database.view(lambda c: gauges.read(c, now, apps, self.key_ids))
            self._taken, self._taken_at, self._machine_time = taken, now, machine_time()
        except Exception as error:
            log.debug("no metrics of the database", extra={"error": type(error).__name__})
            self._taken = None
        finally:
            self._read_at, self._reading = time.monotonic(), None

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the latest snapshot; none if the database could not be read."""
        if self._taken is None or self._taken_at is None:
            return
        taken, now = self._taken, self._taken_at
        for name, (description, counts) in taken.counts.items():
            family = GaugeMetricFamily(f"bot_{name}", f"{description} {WHOLE}", labels=["status"])
            for status, count in counts.items():
                family.add_metric([status], count)
            yield family
        yield GaugeMetricFamily(
            "bot_oldest_due_call_age_seconds",
            f"For how long the call that waits longest could have run; 0 if none is due {WHOLE}",
            age(taken.oldest_due_call, now),
        )
        yield GaugeMetricFamily(
            "bot_oldest_unsent_message_age_seconds",
            f"Age of the oldest message that is not sent; 0 if there is none {WHOLE}",
            age(taken.oldest_unsent_message, now),
        )
        yield GaugeMetricFamily(
            "bot_oldest_scope_wait_age_seconds",
            f"For how long calls have waited for an administrator to enable a scope; 0 if none does {WHOLE}",
            age(taken.oldest_scope_wait, now),
        )
        yield GaugeMetricFamily(
            "bot_replicas_with_other_keys",
            f"Live replicas whose encryption keys differ from those of this process {WHOLE}",
            taken.other_keys,
        )
        if taken.clock is not None:
            yield GaugeMetricFamily(
                "bot_clock_difference_seconds",
                "The clock of this machine, less that of the database server",
                self._machine_time - taken.clock.timestamp(),
            )


def age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0
