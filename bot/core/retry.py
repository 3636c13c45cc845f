"""How long to wait before the next attempt.

Every pause grows and has a random part, so that callers that failed at the same time do not all retry at the same
time. `jitter` is a random number between 0 and 1, chosen by the caller.
"""

from __future__ import annotations

from datetime import timedelta

SECOND = timedelta(seconds=1)

LONGEST_RATE_LIMIT = 60.0
"""Seconds. If the platform asks for a longer pause, the call is given up and the user is informed."""


def doubled(first: timedelta, times: int, longest: timedelta) -> timedelta:
    """Return a pause that doubles each time, up to the longest."""
    # Capped at 2 ** 20, which exceeds every limit, because a greater power could overflow.
    return min(first * 2.0 ** min(max(times, 0), 20), longest)


def spread(longest: timedelta, jitter: float) -> timedelta:
    """Return a pause between half of the longest and all of it."""
    return longest * (0.5 + jitter / 2)


def backoff(
    attempts: int, jitter: float, *, first: timedelta = SECOND, longest: timedelta = 60 * SECOND
) -> timedelta:
    """Return the pause after a number of failed attempts: by default 1, 2, 4 … 60 seconds, half of it random."""
    return spread(doubled(first, attempts - 1, longest), jitter)


def asked_to_wait(seconds: float | None) -> timedelta:
    """Return the pause that the platform asks for, at most `LONGEST_RATE_LIMIT`."""
    return timedelta(seconds=min(seconds or 0.0, LONGEST_RATE_LIMIT))


def pause(attempts: int, jitter: float, retry_after: float | None = None) -> timedelta:
    """Return the pause that the platform asks for plus a random part that grows with the attempts, or the backoff."""
    if not retry_after:
        return backoff(attempts, jitter)
    asked = max(asked_to_wait(retry_after), SECOND)
    random_part = min(min(asked, 5 * SECOND) * max(attempts, 1), 30 * SECOND)
    return asked + random_part * jitter
