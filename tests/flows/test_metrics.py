"""The instruments: labels have few values, and series that alerts watch begin at zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.core.build import Build
from bot.core.calls import CallStatus
from bot.core.endpoints import SentRequest
from bot.core.people import UserKey
from bot.flows import entry_metrics
from bot.flows.metrics import MAX_CODES, MAX_ENDPOINTS, MAX_REMEMBERED, OTHER, Metrics, kind_of
from bot.store.audit import entry

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SAM = UserKey("lark", "cli_1", "t", "ou_sam")


def values(metrics: Metrics, name: str, label: str) -> set[str]:
    return {
        sample.labels[label]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def request(path: str, status: int | None = 200, code: str = "0") -> SentRequest:
    return SentRequest("GET", path, status, code, 0.0, 0.1)


def test_labels_have_a_limit() -> None:
    metrics = Metrics()
    for number in range(1000):
        word = "".join(chr(97 + int(digit)) for digit in str(number))
        metrics.request_sent("lark", request(f"/open/{word}/v1/things", code=str(number)))
        metrics.call_ended("lark", f"command{word}", CallStatus.FAILED, f"broke_{word}")
        metrics.event_refused("lark", f"reason {word}")
    endpoints = values(metrics, "bot_platform_requests_total", "endpoint")
    assert len(endpoints) == MAX_ENDPOINTS + 1
    assert OTHER in endpoints
    for name, label in (
        ("bot_platform_requests_total", "code"),
        ("bot_calls_ended_total", "command"),
        ("bot_calls_ended_total", "outcome"),
        ("bot_events_refused_total", "reason"),
    ):
        assert len(values(metrics, name, label)) == MAX_CODES + 1, label
    metrics.request_sent("lark", request("/open/a/v1/things"))
    assert sample(
        metrics, "bot_platform_request_seconds_count",
        platform="lark", method="GET", endpoint="/open/a/v1/things",
    )  # fmt: skip


@pytest.mark.parametrize("code", ["", "x y", 'a"b', "a" * 100, "\n", "代码"])
def test_a_code_of_any_form_is_no_label(code: str) -> None:
    metrics = Metrics()
    metrics.request_sent("lark", request("/open/im/v1/messages", 400, code))
    assert values(metrics, "bot_platform_requests_total", "code") == {"none"}


def test_a_path_that_the_platform_does_not_know_is_no_endpoint() -> None:
    metrics = Metrics()
    metrics.request_sent("lark", request("/open/typed/by/a-user", 404))
    metrics.request_sent("lark", request("/open/im/v1/messages", 200))
    metrics.request_sent("lark", request("/open/im/v1/messages", 404))
    assert values(metrics, "bot_platform_requests_total", "endpoint") == {OTHER, "/open/im/v1/messages"}
    known = {"platform": "lark", "method": "GET", "endpoint": "/open/im/v1/messages"}
    assert sample(metrics, "bot_platform_requests_total", status="404", code="0", **known) == 1


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("answered", "answered"),
        ("refused_99991400", "refused"),
        ("exchange_transient_-1", "exchange_transient"),
        ("refresh_refused_20037_1", "refresh_refused"),
        ("what a user wrote", OTHER),
        ("", OTHER),
    ],
)
def test_an_outcome_is_told_without_its_code(outcome: str, kind: str) -> None:
    assert kind_of(outcome) == kind


def test_what_alerts_watch_begins_at_zero() -> None:
    metrics = Metrics(Build("1", "17"))
    metrics.prepare("lark", ["message", "click"], ["tasks"])
    assert sample(metrics, "bot_events_total", platform="lark", type="message", result="failed") == 0
    assert sample(metrics, "bot_token_refreshes_total", platform="lark", result="app") == 0
    assert (
        sample(metrics, "bot_messages_settled_total", platform="lark", kind="answer", status="undeliverable")
        == 0
    )
    unknown = {"status": "outcome_unknown", "outcome": "outcome_unknown"}
    assert sample(metrics, "bot_calls_ended_total", platform="lark", command="tasks", **unknown) == 0


def ended(call: str, status: str, **detail: Any) -> None:
    asked_at = (NOW - timedelta(minutes=10)).isoformat()
    return entry(  # type: ignore[return-value]
        f"call_{status}",
        user=SAM,
        subject=("call", call),
        now=NOW,
        **{"command": "tasks", "asked_at": asked_at, "outcome": status, **detail},
    )


def test_times_are_those_of_calls_that_were_answered() -> None:
    metrics = Metrics()
    metrics.consent_used("a", NOW - timedelta(minutes=4))
    for call, status in (("a", "succeeded"), ("b", "failed"), ("c", "cancelled"), ("d", "expired")):
        entry_metrics.count(metrics, ended(call, status))  # type: ignore[arg-type]
    answered = "bot_call_asked_to_answered_seconds"
    tasks = {"platform": "lark", "command": "tasks"}
    assert sample(metrics, f"{answered}_sum", consent="yes", **tasks) == 600
    assert sample(metrics, f"{answered}_count", consent="no", **tasks) == 1
    assert sample(metrics, "bot_call_asked_to_consented_seconds_sum", platform="lark") == 360
    assert sample(metrics, "bot_call_consented_to_answered_seconds_sum", platform="lark") == 240
    assert not metrics.consents_used


def test_what_is_remembered_of_consents_has_a_limit() -> None:
    metrics = Metrics()
    for number in range(MAX_REMEMBERED + 10):
        metrics.consent_used(str(number), NOW)
    assert len(metrics.consents_used) == MAX_REMEMBERED
    assert "0" not in metrics.consents_used
