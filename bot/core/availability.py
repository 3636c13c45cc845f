"""Decides when something that is used all the time counts as away, and when it is back."""

from __future__ import annotations

from dataclasses import dataclass

SECOND_CALM, LONGEST_CALM = 1.0, 60.0
"""Seconds without a failure after which a success ends an outage. The first outage ends with the first success. Those
that follow within `LONGEST_CALM` need a growing calm, so that an unsteady connection is one outage and not a hundred."""


@dataclass(slots=True)
class Availability:
    """Whether something is away, by the results of its use. All times are of one monotonic clock."""

    failures_needed: int
    """Failures without a success in between after which it is away."""
    since: float | None = None
    """When the first of these failures was, while it is away."""
    _failures: int = 0
    _first_failure: float = 0.0
    _last_failure: float = 0.0
    _calm: float = 0.0
    _back_at: float | None = None

    def failed(self, now: float, *, certain: bool = False) -> bool:
        """Record a failure. Returns whether it is away from now on. `certain`: this one failure suffices."""
        if not self._failures:
            self._first_failure = now
        self._failures += 1
        self._last_failure = now
        if self.since is not None or not (certain or self._failures >= self.failures_needed):
            return False
        follows = self._back_at is not None and now < self._back_at + LONGEST_CALM
        self._calm = min(max(self._calm * 8, SECOND_CALM), LONGEST_CALM) if follows else 0.0
        self.since = self._first_failure
        return True

    def succeeded(self, now: float) -> float | None:
        """Record a success. Returns how many seconds the outage has lasted that it ends, or None."""
        if self.since is None:
            self._failures = 0
            return None
        if now < self._last_failure + self._calm:
            return None
        lasted = now - self.since
        self.since, self._failures, self._back_at = None, 0, now
        return lasted
