"""Backoff: when to retry, with jitter, and how long to honour a platform's Retry-After."""

from __future__ import annotations

from datetime import timedelta

LONGEST_RATE_LIMIT = 60.0
"""Seconds; a limit that resets later is told to the person instead of waited for."""


def backoff(attempts: int, jitter: float) -> timedelta:
    """1, 2, 4 … 60 seconds, of which the second half is random, so that many waiters do not come back at once."""
    seconds = min(60.0, 2.0 ** min(max(attempts - 1, 0), 6))
    return timedelta(seconds=seconds * (0.5 + jitter / 2))


def asked_to_wait(seconds: float | None) -> timedelta:
    """What the platform asks for, as far as it is waited for."""
    return timedelta(seconds=min(seconds or 0.0, LONGEST_RATE_LIMIT))


def pause(attempts: int, jitter: float, retry_after: float | None = None) -> timedelta:
    """What the platform asked for and a little more, which grows whenever it asks again; else the back-off."""
    if not retry_after:
        return backoff(attempts, jitter)
    asked = max(asked_to_wait(retry_after), timedelta(seconds=1))
    more = min(min(asked, timedelta(seconds=5)) * max(attempts, 1), timedelta(seconds=30))
    return asked + more * jitter
