"""Limits the time that the code of a command takes, because it blocks the event loop."""

from __future__ import annotations

import faulthandler
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import ParamSpec, TypeVar

from bot.core.commands import Command
from bot.core.errors import CommandMistake

P = ParamSpec("P")
T = TypeVar("T")

MOVE_TIMEOUT = 3.0
"""Seconds for a command to reach its next step."""
REPEAT_AFTER = 0.2
"""Seconds after which a command that has caught the interruption is interrupted again."""
MAX_INTERRUPTIONS = 20
"""The number of interruptions that a command may catch before the process ends."""
MAX_CPU = 5.0
"""Seconds of processor time after which the process ends. A loop inside one function of the interpreter, which is
written in C, cannot be interrupted."""


class Interrupted(BaseException):
    """Raised in a command that takes too long. Not an `Exception`, which a retry loop would catch."""


def enable_stack_dump() -> None:
    """Print the stack to standard error if the process ends because of a command."""
    faulthandler.register(signal.SIGVTALRM, all_threads=True, chain=True)


@contextmanager
def within_time(typed: str) -> Iterator[None]:
    """Interrupt a command that takes longer than `MOVE_TIMEOUT`, and raise CommandMistake.

    A signal interrupts it, because nothing else can interrupt a loop. If the command still continues, the process ends,
    because its event loop is blocked. After the restart the call is claimed again, and given up after `MAX_TAKEOVERS`
    claims.
    """
    interruptions, running = 0, False

    def interrupt(_: int, frame: FrameType | None) -> None:
        nonlocal interruptions
        # An exception among the lines below that start and stop the timers would leave them running. The next alarm
        # follows soon.
        if not running or (frame is not None and frame.f_code is here):
            return
        interruptions += 1
        if interruptions > MAX_INTERRUPTIONS:
            signal.raise_signal(signal.SIGVTALRM)
        raise Interrupted

    here = sys._getframe().f_code
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU)
        signal.setitimer(signal.ITIMER_REAL, MOVE_TIMEOUT, REPEAT_AFTER)
        running = True
        yield
    except BaseException as error:
        running = False
        if interruptions:
            raise CommandMistake(f"{typed} ran for {MOVE_TIMEOUT:.0f} seconds without a step.") from error
        raise
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGALRM, before)


def limited(command: Command) -> Command:
    """Return the command with the same limit on its other functions: `needs`, `keep` and `shown_to_administrators`."""

    def bounded(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def within(*args: P.args, **kwargs: P.kwargs) -> T:
            with within_time(command.typed):
                return function(*args, **kwargs)

        return within

    return replace(
        command,
        needs=bounded(command.needs),
        keep=bounded(command.keep),
        shown_to_administrators=bounded(command.shown_to_administrators),
    )
