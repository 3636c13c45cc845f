"""What `bot doctor` finds, and how checks are run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.core.api import AppScopeMissing, Outcome, RateLimited, Refused, Unreachable
from bot.core.errors import BotError
from bot.core.unseen_characters import escape
from bot.logs import redact

TIMEOUT = 12.0
"""Seconds for one check. Checks run concurrently."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. Only `FAIL` makes the exit code 1; `warn` is a risk or an inconclusive check."""

    verdict: Literal["ok", "warn", "FAIL"]
    subject: str
    message: str
    fix: str = ""

    platform: str = ""
    """The platform concerned, if there are several."""

    def __str__(self) -> str:
        line = f"{self.message}. {self.fix}" if self.fix else self.message
        about = f"{self.platform:<9} " if self.platform else ""
        return f"{self.verdict:<5} {about}{self.subject:<16} {escape(redact(line))}"


Check = Awaitable[Sequence[Finding]]


async def run_concurrently(*checks: Check) -> list[Finding]:
    """Return the findings of all checks, in the order of the checks."""
    return [finding for findings in await asyncio.gather(*map(bounded, checks)) for finding in findings]


async def bounded(check: Check) -> Sequence[Finding]:
    try:
        return await asyncio.wait_for(check, TIMEOUT)
    except TimeoutError:
        return [Finding("FAIL", "network", f"no response within {TIMEOUT:.0f} seconds")]


def error_finding(subject: str, error: BotError) -> Finding:
    message = str(error)
    return Finding(
        "FAIL", subject, message.rstrip("."), "" if error.hint.rstrip(".") in message else error.hint
    )


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
        case _:
            return f"unexpected response ({type(outcome).__name__})"
