"""Why a message was not sent, for all reasons but a refusal, which each platform words in its own way."""

from __future__ import annotations

from bot.core.api import AppScopeMissing, InsufficientScope, RateLimited, TokenRejected, Unreachable
from bot.core.messages import NotSent

Failure = Unreachable | RateLimited | AppScopeMissing | InsufficientScope | TokenRejected


def not_sent_because(outcome: Failure) -> NotSent:
    """Return why a message was not sent. It may be sent again in each of these cases."""
    match outcome:
        case Unreachable(reason=reason, may_have_arrived=arrived):
            return NotSent(reason, retry=True, may_have_arrived=arrived)
        case RateLimited(retry_after=seconds):
            return NotSent("too many requests", retry=True, retry_after=seconds, rate_limited=True)
        case AppScopeMissing(requirement=requirement) | InsufficientScope(requirement=requirement):
            needed = " and ".join(f"one of {', '.join(clause)}" for clause in requirement)
            return NotSent(f"the app lacks a scope for it: {needed}", retry=True)
        case TokenRejected(code=code):
            return NotSent(f"the platform rejects the app's token ({code})", retry=True)
