"""Limits the time that the code of a command takes, because it blocks the event loop."""

from __future__ import annotations

import faulthandler
import functools
import signal
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any, ParamSpec, TypeVar

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


class TimeLimit:
    """Interrupts a command that takes longer than `MOVE_TIMEOUT`, and raises CommandMistake.

    A signal interrupts it, because nothing else can interrupt a loop. If the command still continues, the process ends,
    because its event loop is blocked. After the restart the call is claimed again, and given up after `MAX_TAKEOVERS`
    claims.

    Not a generator with `contextlib.contextmanager`: an alarm could interrupt that decorator's own code, and the timers
    would continue to run.
    """

    def __init__(self, typed: str) -> None:
        self._typed = typed
        self._interruptions, self._is_running = 0, False
        self._previous_handler: Any = None

    def __enter__(self) -> None:
        self._previous_handler = signal.signal(signal.SIGALRM, self._interrupt)
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU)
        signal.setitimer(signal.ITIMER_REAL, MOVE_TIMEOUT, REPEAT_AFTER)
        self._is_running = True

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._is_running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGALRM, self._previous_handler)
        if error is not None and self._interruptions:
            raise CommandMistake(
                f"{self._typed} ran for {MOVE_TIMEOUT:.0f} seconds without a step."
            ) from error

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        # An exception in the methods that start and stop the timers would leave them running. The alarm is repeated.
        if not self._is_running or (frame is not None and frame.f_code in TIMER_CODE):
            return
        self._interruptions += 1
        if self._interruptions > MAX_INTERRUPTIONS:
            signal.raise_signal(signal.SIGVTALRM)
        raise Interrupted


TIMER_CODE = {TimeLimit.__enter__.__code__, TimeLimit.__exit__.__code__}


def limited(command: Command) -> Command:
    """Return the command with the same limit on its other functions: `needs`, `keep` and `shown_to_administrators`."""

    def bounded(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def within(*args: P.args, **kwargs: P.kwargs) -> T:
            with TimeLimit(command.typed):
                return function(*args, **kwargs)

        return within

    return replace(
        command,
        needs=bounded(command.needs),
        keep=bounded(command.keep),
        shown_to_administrators=bounded(command.shown_to_administrators),
    )
