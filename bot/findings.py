"""What `bot doctor` finds, and how checks are run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from bot.core.api import AppScopeMissing, Outcome, RateLimited, Refused, TokenRejected, Unreachable
from bot.core.errors import BotError
from bot.core.unseen_characters import escape
from bot.logs import redact

TIMEOUT = 6.5
"""Seconds for one check. Checks run concurrently, in two rounds at most, so that all take less than 15 seconds."""

MAX_MESSAGE_LENGTH = 600
"""Characters. A message may quote what another program has answered."""
MAX_FIX_LENGTH = 3000
"""Characters. A fix may contain a link that lists scopes."""

Verdict = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. Only `FAIL` makes the exit code 1; `warn` is a risk or an inconclusive check."""

    verdict: Verdict
    subject: str
    message: str
    fix: str = ""

    platform: str = ""
    """The platform concerned, if any."""

    def line(self, *, with_platform: bool = False) -> str:
        message = printable(self.message, MAX_MESSAGE_LENGTH)
        line = f"{message}. {printable(self.fix, MAX_FIX_LENGTH)}" if self.fix else message
        about = f"{self.platform:<9} " if with_platform else ""
        return f"{self.verdict:<5} {about}{self.subject:<16} {line}"

    def __str__(self) -> str:
        return self.line(with_platform=bool(self.platform))

    def as_json(self) -> dict[str, str | None]:
        """Return the finding as `bot doctor --json` prints it. Scripts depend on these names."""
        return {
            "check": self.subject,
            "verdict": self.verdict.lower(),
            "message": printable(self.message, MAX_MESSAGE_LENGTH),
            "fix": printable(self.fix, MAX_FIX_LENGTH) or None,
            "platform": self.platform or None,
        }


def printable(text: str, limit: int) -> str:
    """Return text on one line, without secrets, control characters, or the rest of a very long answer."""
    shown = escape(redact(text))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


Check = Awaitable[Sequence[Finding]]


async def run_concurrently(checks: Mapping[str, Check]) -> list[Finding]:
    """Return the findings of all checks, in the order of the checks. They are named by their subject."""
    found = await asyncio.gather(*(bounded(subject, check) for subject, check in checks.items()))
    return [finding for findings in found for finding in findings]


async def bounded(subject: str, check: Check) -> Sequence[Finding]:
    try:
        return await asyncio.wait_for(check, TIMEOUT)
    except TimeoutError:
        message = f"not finished after {TIMEOUT} seconds"
        return [Finding("FAIL", subject, message, "Look for what does not respond: the network or a host.")]


def error_finding(subject: str, error: BotError) -> Finding:
    message = str(error)
    if not error.hint or error.hint.rstrip(".") in message:
        return sentences(message, "FAIL", subject)
    return Finding("FAIL", subject, message.rstrip("."), error.hint)


def sentences(text: str, verdict: Verdict, subject: str) -> Finding:
    """Return a finding whose first sentence says what is wrong, and the rest what to do."""
    message, separator, fix = text.partition(". ")
    if not separator:
        message, _, fix = text.partition(": ")
        fix = fix[:1].upper() + fix[1:]
    return Finding(verdict, subject, message.rstrip("."), fix)


def describe_outcome(outcome: Outcome) -> str:
    match outcome:
        case Unreachable(reason=reason):
            return reason
        case Refused(code=code, message=message):
            return f"{message or 'refused'} ({code})"
        case AppScopeMissing(requirement=requirement):
            return f"the app lacks {' and '.join(' or '.join(clause) for clause in requirement)}"
        case RateLimited():
            return "the platform asks to slow down"
        case TokenRejected(code=code):
            return f"the platform rejects the app's own token ({code})"
        case _:
            return f"unexpected response ({type(outcome).__name__})"


# --- clocks ------------------------------------------------------------------------------------------------

NOTABLE_SKEW = timedelta(seconds=30)
LARGEST_SKEW = timedelta(minutes=5)
"""Beyond this, the webhook rejects signed events, because their timestamps are in the future."""


def clock_finding(ahead: timedelta | None, whose: str) -> Finding:
    """Judge how far this machine's clock is ahead of another one, as in "the platform's"."""
    if ahead is None:
        message = f"cannot be compared with {whose}: no usable date in the response"
        return Finding("warn", "clock", message, "Check with `timedatectl` that the clock is synchronized.")
    off = abs(ahead)
    message = f"{off.total_seconds():.0f} seconds {'ahead of' if ahead > timedelta() else 'behind'} {whose}"
    if off > NOTABLE_SKEW:
        verdict: Verdict = "FAIL" if off > LARGEST_SKEW else "warn"
        return Finding(verdict, "clock", message, "Synchronize this machine's clock (NTP).")
    return Finding("ok", "clock", f"agrees with {whose}")
