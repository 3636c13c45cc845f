"""Traces: spans of an event, a call, its steps, a request to the platform and a consent.

The flows use the class in this module, which records nothing. Its subclass in `bot.tracing` records with OpenTelemetry,
if operators have configured that.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from bot.core.endpoints import SentRequest

NOTHING: AbstractContextManager[None] = nullcontext()


class Tracer:
    """Records no spans."""

    def span(
        self, name: str, *, call: str | None = None, is_arrival: bool = False, **attributes: str | int | None
    ) -> AbstractContextManager[None]:
        """Record what happens in a block. Spans that begin in the block are below it.

        `call` is the id of a call: its spans are below the event that made it, if this process accepted that.
        `is_arrival`: the span is that of a request to the bot, and continues the trace of the proxy.
        """
        return NOTHING

    def remember(self, call: str) -> None:
        """Remember that the current span is the event that made a call."""

    def request_sent(self, platform: str, sent: SentRequest) -> None:
        """Record a request to the platform, below the current span."""

    async def close(self) -> None:
        """Send the spans that are left."""
