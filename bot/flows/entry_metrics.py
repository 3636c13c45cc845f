"""Counts what changes a status: each entry of the audit log that a transaction of this process has committed."""

from __future__ import annotations

from datetime import datetime

from bot.core.calls import CallStatus
from bot.core.lifecycle import settled
from bot.core.requests import RequestStatus
from bot.flows.metrics import NONE, Metrics
from bot.store.audit import NOTHING_GRANTED, Entry

CALL_ENDS = {f"call_{status}": status for status in settled(CallStatus)}
REQUEST_ENDS = {f"request_{status}": status for status in settled(RequestStatus)}
CONSENT_ENDS = {
    "grant_stored": "granted",
    "consent_withdrawn": "withdrawn",
    "consent_dropped": "dropped",
    "attempt_denied": "denied",
    "attempt_failed": "failed",
    "attempt_expired": "expired",
    "device_authorization_denied": "denied",
    "device_authorization_failed": "failed",
    "device_authorization_expired": "expired",
}
COUNTED = {*CALL_ENDS, *CONSENT_ENDS, *REQUEST_ENDS, "call_suspended", "token_refreshed", "grant_ended"}
WITH_ANSWER = {CallStatus.SUCCEEDED, CallStatus.FAILED, CallStatus.OUTCOME_UNKNOWN}


def count(metrics: Metrics, entry: Entry) -> None:
    action = entry.action
    if action not in COUNTED:
        return
    platform = platform_of(entry)
    if action in CALL_ENDS:
        count_call(metrics, entry, platform, CALL_ENDS[action])
    elif action in CONSENT_ENDS:
        metrics.consent_ended(platform, consent_result(entry), text(entry, "reason"))
    elif action in REQUEST_ENDS:
        metrics.request_ended(platform, REQUEST_ENDS[action])
    elif action == "call_suspended":
        metrics.call_suspended(platform, text(entry, "command"), text(entry, "waits_for"))
    elif action == "token_refreshed":
        metrics.token_refreshed(platform, "refreshed")
    elif action == "grant_ended":
        metrics.grant_ended(platform, text(entry, "reason"))


def consent_result(entry: Entry) -> str:
    """Return how a consent ended. One to none of the scopes is stored, but grants nothing."""
    return "denied" if entry.detail.get("reason") == NOTHING_GRANTED else CONSENT_ENDS[entry.action]


def count_call(metrics: Metrics, entry: Entry, platform: str, status: CallStatus) -> None:
    command, asked_at = text(entry, "command"), entry.detail.get("asked_at")
    metrics.call_ended(platform, command, status, text(entry, "outcome"))
    consented_at = metrics.consents_used.pop(entry.subject_id, None)
    if status in WITH_ANSWER and isinstance(asked_at, str):
        metrics.call_answered(platform, command, datetime.fromisoformat(asked_at), consented_at, entry.at)


def text(entry: Entry, name: str) -> str:
    return str(entry.detail.get(name) or NONE)


def platform_of(entry: Entry) -> str:
    return entry.user.platform if entry.user is not None else (entry.app or NONE).partition(":")[0]
