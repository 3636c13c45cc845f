"""How long to wait before the next try.

Every pause grows and has a random part, so that callers who failed at the same time do not all return at the same
time. `jitter` is a number between 0 and 1, drawn by the caller.
"""

from __future__ import annotations

from datetime import timedelta

SECOND = timedelta(seconds=1)

LONGEST_RATE_LIMIT = 60.0
"""Seconds. The user is told of a limit that lasts longer, instead of waiting for it."""


def doubled(first: timedelta, times: int, longest: timedelta) -> timedelta:
    """Return a pause that doubles each time, up to the longest."""
    # Beyond 2 ** 20 seconds, 12 days, every pause is the longest one; a greater power could overflow.
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
    """Return the pause that the platform asks for, as far as it is honoured."""
    return timedelta(seconds=min(seconds or 0.0, LONGEST_RATE_LIMIT))


def pause(attempts: int, jitter: float, retry_after: float | None = None) -> timedelta:
    """Return the pause that the platform asks for plus a random part that grows with the attempts, else the backoff."""
    if not retry_after:
        return backoff(attempts, jitter)
    asked = max(asked_to_wait(retry_after), SECOND)
    random_part = min(min(asked, 5 * SECOND) * max(attempts, 1), 30 * SECOND)
    return asked + random_part * jitter
