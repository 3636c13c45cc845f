"""The real bot, killed at a chosen point.

A point is the moment before or after a flow waits for the database or the platform. A crash can only make a difference
at these points. "After" a call of the platform means that the platform has done its part and the bot never saw the
answer.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import FrameType
from typing import Any

from tests.bot_process import Call

from .changed_bot import run

LEASE = timedelta(seconds=2)
"""Instead of 20 seconds, so that interrupted work is taken over soon."""

POLLING = {
    ("flows.administrators.release_enabled", "read"),
    ("flows.administrators.show_due_cards", "write"),
    ("flows.authorize.callback.complete_stranded", "write"),
    ("flows.authorize.device.continue_due", "write_one"),
    ("flows.authorize.end.expire_overdue", "write"),
    ("flows.authorize.token_revocation.revoke_due", "write_one"),
    ("flows.cards.show_due_cards", "write"),
    ("flows.chores.heartbeat", "write"),
    ("flows.chores.promote_queued_calls", "write"),
    ("flows.chores.prune", "write"),
    ("flows.outbox.deliver_due", "write_one"),
    ("flows.outbox.send_interim_notes", "read"),
    ("flows.reactions.remove_due", "write_one"),
    ("flows.takeover.take_over_from_silent", "read"),
    ("flows.takeover.take_over_from_silent", "write_one"),
    ("flows.tokens.refresh_ahead", "write_one"),
    ("flows.worker.Worker.claim", "write_one"),
    ("flows.worker.Worker.keep_lease", "write"),
}
"""Waits of polling loops. To poll, and to find nothing, are idle points: it does not matter how often they are passed."""

IDLE = " idle"


GO_BETWEENS = {"flows.bot.Bot.write_until_stored", "flows.bot.Bot.claim_due", "flows.calls.api_calls.write"}
"""They wait on behalf of a flow: the point is named after that flow, or all its writes would have one name."""


def flow_that_waits(frame: FrameType) -> str:
    """The function that waits. A go-between that is a task of its own has no flow above it."""
    where = name_of(frame)
    while where in GO_BETWEENS and frame.f_back and frame.f_back.f_globals["__name__"].startswith("bot."):
        frame = frame.f_back
        where = name_of(frame)
    return where


def name_of(frame: FrameType) -> str:
    return f"{frame.f_globals['__name__'].removeprefix('bot.')}.{frame.f_code.co_qualname}"


@dataclass
class Points:
    """Records each point that is passed, and kills the process at the point `die_at`."""

    record: int
    die_at: str
    passed: Counter[str] = field(default_factory=Counter)

    def passing(self, name: str) -> None:
        self.passed[name] += 1
        point = f"{name}#{self.passed[name]}"
        os.write(self.record, f"{point}\n".encode())
        if point == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """Wraps the database or the platform, with a point before and after each wait."""

    def __init__(self, whole: Any, points: Points) -> None:
        self._whole, self._points = whole, points

    @property
    def __class__(self) -> type:
        """What it stands for: whoever asks whether it is a platform's own is told so."""
        return type(self._whole)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._whole, name)
        if found is self._whole:  # a capability that the platform implements itself
            return self
        if name == "close" or not inspect.iscoroutinefunction(found):
            return found
        return functools.partial(self._wait, name, found)

    def _wait(self, name: str, wait: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        where = flow_that_waits(sys._getframe(1))
        if where.startswith("web.health"):
            return wait(*args, **options)
        return self._watched(f"{where}:{name}", (where, name) in POLLING, wait(*args, **options))

    async def _watched(self, name: str, polling: bool, waiting: Awaitable[Any]) -> Any:
        self._points.passing(f"{name}:before{IDLE if polling else ''}")
        result = await waiting
        self._points.passing(f"{name}:after{IDLE if polling and not result else ''}")
        return result


def crashing_bot(*, die_at: str = "", record: str = os.devnull, lease: timedelta = LEASE) -> Call:
    """Return the call of a `bot run` that records the points it passes, and dies at one."""
    return Call(f"{__name__}:run_crashing", (die_at, record, lease.total_seconds()))


def run_crashing(die_at: str, record: str, lease: float) -> int:
    points = Points(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND), die_at)

    def refit(bot: Any) -> Any:
        return replace(
            bot,
            database=Watched(bot.database, points),
            platforms={app: Watched(platform, points) for app, platform in bot.platforms.items()},
            lease=timedelta(seconds=lease),
        )

    try:
        return run(refit)
    except Exception:
        logging.getLogger("bot").critical("stopped by an error", exc_info=True)
        return 1
