"""The metrics of this process: counters and histograms that are updated as things happen.

They belong to one `Metrics`, which the composition root makes (`Bot.metrics`). Labels have few values: names of
platforms, commands, statuses and codes, and endpoints without ids. A label whose values come from a platform has a limit,
beyond which they all count as `other`. What is counted over the whole database is in `database_gauges`.
"""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Generic, TypeVar

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
from bot.core.calls import CallStatus
from bot.core.endpoints import SentRequest, endpoint_of
from bot.core.lifecycle import settled
from bot.core.messages import MessageStatus
from bot.core.oauth import TokenProblem
from bot.core.requests import RequestStatus

# It is a second series for each counter, with the time of its first increment.
disable_created_metrics()  # type: ignore[no-untyped-call]

OTHER = "other"
NONE = "none"
TOKEN = re.compile(r"[\w.-]{1,60}", re.ASCII)

MAX_ENDPOINTS = 100
MAX_CODES = 60
MAX_COMMANDS = 60
MAX_REMEMBERED = 10_000

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5)
"""Seconds. A webhook is to be acknowledged within 3."""
REQUEST = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds. A request to the platform takes 10 at most."""
PERSON = (0.25, 0.5, 1, 2.5, 5, 10, 20, 60, 300, 900, 3600, 14_400, 86_400)
"""Seconds. A person may take a day to consent."""


PREPARED_OUTCOMES = (
    (CallStatus.SUCCEEDED, "answered"),
    (CallStatus.FAILED, "platform_failed"),
    (CallStatus.OUTCOME_UNKNOWN, "outcome_unknown"),
)


@dataclass(slots=True)
class Bounded:
    """Accepts values of a label until there are `limit`. Every further one is `other`."""

    limit: int
    _known: set[str] = field(default_factory=set)

    def __call__(self, value: str, *, may_be_new: bool = True) -> str:
        if value in self._known:
            return value
        if not may_be_new or len(self._known) >= self.limit:
            return OTHER
        self._known.add(value)
        return value


M = TypeVar("M", Counter, Gauge, Histogram)


class Series(Generic[M]):
    """The series of a metric, by their labels. Finds one faster than the library, which converts the labels each time."""

    __slots__ = ("_known", "_metric")

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._known: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        known = self._known.get(labels)
        if known is None:
            known = self._known[labels] = self._metric.labels(*labels)
        return known


class Metrics:
    """The instruments, and a method for each thing that is measured."""

    def __init__(self, build: Build | None = None) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._endpoints, self._commands = Bounded(MAX_ENDPOINTS), Bounded(MAX_COMMANDS)
        self._codes, self._statuses = Bounded(MAX_CODES), Bounded(MAX_CODES)
        self._outcomes, self._reasons = Bounded(MAX_CODES), Bounded(MAX_CODES)
        self._request_series: dict[tuple[str, str, str, int | None, str], tuple[Counter, Histogram]] = {}
        self.consents_used: OrderedDict[str | None, datetime] = OrderedDict()
        """When the consents were given that running calls waited for, by the id of the call."""

        self._events = self._counter(
            "events",
            "Authentic events of the platform, by type and by what became of them",
            *("platform", "type", "result"),
        )
        self._refused_events = self._counter(
            "events_refused",
            "Arrivals that were refused, because they were not authentic or not readable",
            *("platform", "reason"),
        )
        self._acknowledgement = self._histogram(
            "event_acknowledgement_seconds",
            "Time to record an event, after which it is acknowledged",
            FAST,
            "platform",
        )
        self._last_event = self._gauge(
            "last_event_timestamp_seconds",
            "When this process last acknowledged an event, in seconds since 1970; absent before the first",
            "platform",
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
            "Time from a message to the answer of its call, by whether it waited for a consent",
            PERSON,
            *("platform", "command", "consent"),
        )
        self._consented = self._histogram(
            "call_asked_to_consented_seconds",
            "Time from a message to the consent that its call waited for; recorded when the call is answered",
            PERSON,
            "platform",
        )
        self._resumed = self._histogram(
            "call_consented_to_answered_seconds",
            "Time from a consent to the answer of a call that waited for it",
            PERSON,
            "platform",
        )
        self._consents = self._counter(
            "consents",
            "Authorizations that ended, by result; for a failure with its reason",
            *("platform", "result", "reason"),
        )
        self._requests_ended = self._counter(
            "authorization_requests_ended",
            "Authorization requests that ended, by status",
            *("platform", "status"),
        )
        self._grants_ended = self._counter(
            "grants_ended", "Grants that ended, by reason", *("platform", "reason")
        )
        self._refreshes = self._counter(
            "token_refreshes",
            "Token refreshes, by result: refreshed, or the problem",
            *("platform", "result"),
        )
        self._messages = self._counter(
            "messages_settled",
            "Messages that were sent or given up, by kind and status",
            *("platform", "kind", "status"),
        )
        self._failures = self._counter(
            "failures", "Unexpected errors, which the log tells with their tracebacks", "what"
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
        self._build = self._gauge(
            "build_info",
            "Always 1; the labels tell the version of this program, the schema revision it needs, and its Python",
            *("version", "revision", "python"),
        )
        if build is not None:
            self._build(build.version, build.revision, python_version()).set(1)

    def prepare(self, platform: str, event_kinds: Iterable[str], commands: Iterable[str]) -> None:
        """Make the series that alerts watch, so that their first increase is seen as one: from 0, not from nothing."""
        for kind in event_kinds:
            for result in ("accepted", "failed"):
                self._events(platform, kind, result)
        for problem in ("refreshed", *TokenProblem):
            self._refreshes(platform, str(problem))
        for status in settled(MessageStatus):
            self._messages(platform, "answer", status.value)
        for command in commands:
            for call_status, outcome in PREPARED_OUTCOMES:
                self._calls(platform, self._commands(command), call_status.value, outcome)

    def _counter(self, name: str, description: str, *labels: str) -> Series[Counter]:
        return Series(Counter(f"bot_{name}", description, labels, registry=self.registry))

    def _gauge(self, name: str, description: str, *labels: str) -> Series[Gauge]:
        return Series(Gauge(f"bot_{name}", description, labels, registry=self.registry))

    def _histogram(
        self, name: str, description: str, buckets: Sequence[float], *labels: str
    ) -> Series[Histogram]:
        return Series(Histogram(f"bot_{name}", description, labels, buckets=buckets, registry=self.registry))

    # --- events

    def event_ended(self, platform: str, kind: str, result: str) -> None:
        self._events(platform, kind, result).inc()

    def event_refused(self, platform: str, reason: str) -> None:
        self._refused_events(platform, self._reasons(reason)).inc()

    def event_acknowledged(self, platform: str, seconds: float, now: datetime) -> None:
        self._acknowledgement(platform).observe(seconds)
        self._last_event(platform).set(now.timestamp())

    # --- calls

    def call_suspended(self, platform: str, command: str, waits_for: str) -> None:
        self._suspensions(platform, self._commands(command), waits_for).inc()

    def consent_used(self, call_id: str, consented_at: datetime) -> None:
        """Remember when the consent was given that a call has waited for."""
        self.consents_used[call_id] = consented_at
        if len(self.consents_used) > MAX_REMEMBERED:
            self.consents_used.popitem(last=False)

    def call_ended(self, platform: str, command: str, status: CallStatus, outcome: str) -> None:
        self._calls(platform, self._commands(command), status.value, self._outcomes(kind_of(outcome))).inc()

    def call_answered(
        self, platform: str, command: str, asked_at: datetime, consented_at: datetime | None, now: datetime
    ) -> None:
        """Record how long a call took and, if it waited for a consent, how long until and since that was given."""
        labels = (platform, self._commands(command), "no" if consented_at is None else "yes")
        self._answered(*labels).observe(seconds_between(asked_at, now))
        if consented_at is not None:
            self._consented(platform).observe(seconds_between(asked_at, consented_at))
            self._resumed(platform).observe(seconds_between(consented_at, now))

    # --- consents, tokens and messages

    def consent_ended(self, platform: str, result: str, reason: str) -> None:
        self._consents(platform, result, self._outcomes(kind_of(reason))).inc()

    def request_ended(self, platform: str, status: RequestStatus) -> None:
        self._requests_ended(platform, status.value).inc()

    def grant_ended(self, platform: str, reason: str) -> None:
        self._grants_ended(platform, self._outcomes(kind_of(reason))).inc()

    def token_refreshed(self, platform: str, result: str) -> None:
        self._refreshes(platform, result).inc()

    def message_settled(self, platform: str, kind: str, status: MessageStatus) -> None:
        self._messages(platform, kind, status.value).inc()

    def failed(self, what: str) -> None:
        self._failures(self._reasons(what)).inc()

    # --- the platform

    def request_sent(self, platform: str, sent: SentRequest) -> None:
        """Record a request. One that no API answers (404) makes no new endpoint, because users can type any path."""
        endpoint = endpoint_of(sent.path)
        key = (platform, sent.method, endpoint, sent.status, sent.code)
        series = self._request_series.get(key)
        if series is None:
            series = self._series_of_request(platform, sent, endpoint)
            if len(self._request_series) < MAX_REMEMBERED:
                self._request_series[key] = series
        count, seconds = series
        count.inc()
        seconds.observe(sent.seconds)

    def _series_of_request(
        self, platform: str, sent: SentRequest, endpoint: str
    ) -> tuple[Counter, Histogram]:
        endpoint = self._endpoints(endpoint, may_be_new=sent.status != 404)
        status = NONE if sent.status is None else self._statuses(str(sent.status))
        code = self._codes(sent.code) if TOKEN.fullmatch(sent.code) else NONE
        return (
            self._requests(platform, sent.method, endpoint, status, code),
            self._request_seconds(platform, sent.method, endpoint),
        )


CODE = re.compile(r"(?:_-?\d+)+$")


@lru_cache(maxsize=1000)
def kind_of(outcome: str) -> str:
    """Return an outcome without the platform's code: `refused_99` is `refused`. Requests are counted by code."""
    kind = CODE.sub("", outcome)
    return kind if TOKEN.fullmatch(kind) else OTHER


def seconds_between(start: datetime, end: datetime) -> float:
    """Return a duration, or 0 if the clocks of two machines disagree."""
    return max(0.0, (end - start).total_seconds())


def python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))
