"""Rate limits in sliding windows of a second and a minute."""

from collections import defaultdict, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """The maximum number of calls in any second and in any minute; None is no limit."""

    per_second: int | None = None
    per_minute: int | None = None

    @property
    def figure(self) -> int:
        return self.per_minute or self.per_second or 0


STANDARD = Limit(per_second=50, per_minute=1000)


class RateLimiter:
    """Counts calls for each key."""

    def __init__(self) -> None:
        self._hits: dict[str, deque[float]] = defaultdict(deque)

    def hit(self, key: str, limit: Limit, now: float) -> int | None:
        """Count a call and return None. Above the limit, count nothing and return the seconds to wait."""
        hits = self._hits[key]
        while hits and hits[0] <= now - 60:
            hits.popleft()
        if limit.per_minute is not None and len(hits) >= limit.per_minute:
            return max(1, round(hits[-limit.per_minute] + 60 - now))
        if (
            limit.per_second is not None
            and len(hits) >= limit.per_second
            and hits[-limit.per_second] > now - 1
        ):
            return 1
        hits.append(now)
        return None
