"""The metrics of this process: counters and histograms that are updated as things happen.

They belong to one `Metrics`, which the composition root makes (`Bot.metrics`). Labels have few values: names of
platforms, commands, statuses and codes, and endpoints without ids. A label whose values come from a platform has a limit,
beyond which they all count as `other`. What is counted over the whole database is in `database_gauges`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from bot.core.build import Build
from bot.core.endpoints import SentRequest, endpoint_of

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter

OTHER = "other"
NONE = "none"
TOKEN = re.compile(r"[\w.-]{1,60}", re.ASCII)

MAX_ENDPOINTS = 100
MAX_CODES = 60
MAX_COMMANDS = 60

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5)
"""Seconds. A webhook is to be acknowledged within 3."""
REQUEST = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds. A request to the platform takes 10 at most."""
PERSON = (0.25, 0.5, 1, 2.5, 5, 10, 20, 60, 300, 900, 3600, 14_400, 86_400)
"""Seconds. A person may take a day to consent."""


@dataclass(slots=True)
class Bounded:
    """Accepts values of a label until there are `limit`; every further one is `other`."""

    limit: int
    _known: set[str] = field(default_factory=set)

    def __call__(self, value: str, *, is_new_allowed: bool = True) -> str:
        if value in self._known:
            return value
        if not is_new_allowed or len(self._known) >= self.limit:
            return OTHER
        self._known.add(value)
        return value


@lru_cache(maxsize=1000)
def cached_endpoint(path: str) -> str:
    return endpoint_of(path)


class Metrics:
    """The instruments, and a method for each thing that is measured."""

    def __init__(self, build: Build | None = None) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._endpoints, self._codes = Bounded(MAX_ENDPOINTS), Bounded(MAX_CODES)
        self._outcomes, self._reasons = Bounded(MAX_CODES), Bounded(MAX_CODES)
        self._commands = Bounded(MAX_COMMANDS)
        self._events = self._counter(
            "events",
            "Events of the platform, by type and by what became of them",
            "platform",
            "type",
            "result",
        )
        self._refused_events = self._counter(
            "events_refused",
            "Events and other requests to the webhook that were refused, because they were not authentic or not readable",
            *("platform", "reason"),
        )
        self._acknowledgement = self._histogram(
            "event_acknowledgement_seconds",
            "Time from the arrival of an event to its acknowledgement, in which it is recorded",
            FAST,
            "platform",
        )
        self._last_event = Gauge(
            "bot_last_event_timestamp_seconds",
            "When this process last accepted an event, in seconds since 1970; absent before the first",
            ["platform"],
            registry=self.registry,
        )
        self._calls = self._counter(
            "calls_ended",
            "Calls that ended, by command, status and outcome",
            *("platform", "command", "status", "outcome"),
        )
        self._suspensions = self._counter(
            "calls_suspended",
            "Suspensions of calls, by what they wait for",
            *("platform", "command", "waits_for"),
        )
        self._answered = self._histogram(
            "call_asked_to_answered_seconds",
            "Time from a message to the end of its call, with its answer; by whether it waited for a consent",
            PERSON,
            *("platform", "command", "consent"),
        )
        self._consented = self._histogram(
            "call_asked_to_consented_seconds",
            "Time from a message to the consent that released its call",
            PERSON,
            "platform",
        )
        self._resumed = self._histogram(
            "call_consented_to_answered_seconds",
            "Time from a consent to the end of a call that it released",
            PERSON,
            "platform",
        )
        self._consents = self._counter(
            "consents", "Authorizations by users that ended, by result", "platform", "result"
        )
        self._refreshes = self._counter("token_refreshes", "Token refreshes, by result", "platform", "result")
        self._messages = self._counter(
            "messages_settled", "Messages that were sent or given up, by status", "platform", "kind", "status"
        )
        self._requests = self._counter(
            "platform_requests",
            "Requests to the platform, by endpoint, HTTP status (none: no response) and the platform's code",
            *("platform", "method", "endpoint", "status", "code"),
        )
        self._request_seconds = self._histogram(
            "platform_request_seconds",
            "Time of requests to the platform, by endpoint",
            REQUEST,
            *("platform", "method", "endpoint"),
        )
        self._build = Gauge(
            "bot_build_info",
            "Always 1; the labels tell the version of this program, its schema revision and its Python",
            ["version", "revision", "python"],
            registry=self.registry,
        )
        if build is not None:
            self._build.labels(build.version, build.revision, python_version()).set(1)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"bot_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"bot_{name}", description, labels, buckets=buckets, registry=self.registry)

    # --- events

    def event_accepted(self, platform: str, kind: str, result: str, now: datetime) -> None:
        self._events.labels(platform, kind, result).inc()
        self._last_event.labels(platform).set(now.timestamp())

    def event_failed(self, platform: str, kind: str) -> None:
        """Count an event that could not be recorded, which the platform delivers again."""
        self._events.labels(platform, kind, "failed").inc()

    def event_refused(self, platform: str, reason: str) -> None:
        self._refused_events.labels(platform, self._reasons(reason)).inc()

    def event_acknowledged(self, platform: str, seconds: float) -> None:
        self._acknowledgement.labels(platform).observe(seconds)

    # --- calls

    def call_ended(self, platform: str, command: str, status: str, outcome: str) -> None:
        self._calls.labels(platform, self._commands(command), status, self._outcomes(kind_of(outcome))).inc()

    def call_suspended(self, platform: str, command: str, waits_for: str) -> None:
        self._suspensions.labels(platform, self._commands(command), waits_for).inc()

    def call_answered(
        self, platform: str, command: str, asked: timedelta, consented: timedelta | None
    ) -> None:
        """Record the time since a call was asked and, if it waited for a consent, since that was given."""
        waited = "no" if consented is None else "yes"
        labels = (platform, self._commands(command), waited)
        self._answered.labels(*labels).observe(asked.total_seconds())
        if consented is not None:
            self._resumed.labels(platform).observe(consented.total_seconds())

    # --- consents, tokens and messages

    def call_consented(self, platform: str, asked: timedelta) -> None:
        """Record the time since a call was asked that a consent has released."""
        self._consented.labels(platform).observe(asked.total_seconds())

    def consent_ended(self, platform: str, result: str) -> None:
        self._consents.labels(platform, self._outcomes(kind_of(result))).inc()

    def token_refreshed(self, platform: str, result: str) -> None:
        self._refreshes.labels(platform, result).inc()

    def message_settled(self, platform: str, kind: str, status: str) -> None:
        self._messages.labels(platform, kind, status).inc()

    # --- the platform

    def request_sent(self, platform: str, sent: SentRequest) -> None:
        """Record a request. One that no API answers (404) does not make a new endpoint: users can type any path."""
        endpoint = self._endpoints(cached_endpoint(sent.path), is_new_allowed=sent.status != 404)
        status = NONE if sent.status is None else str(sent.status)
        code = self._codes(sent.code) if TOKEN.fullmatch(sent.code) else NONE
        self._requests.labels(platform, sent.method, endpoint, status, code).inc()
        self._request_seconds.labels(platform, sent.method, endpoint).observe(sent.seconds)


def kind_of(outcome: str) -> str:
    """Return an outcome without the platform's code: `refused_99991400` is `refused`. Requests are counted by code."""
    return CODE.sub("", outcome)


CODE = re.compile(r"(_-?\d+)+$")


def python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))
