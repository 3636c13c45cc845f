"""Bounds the time that the code of a command may take. It computes on the event loop: meanwhile nobody else is served."""

from __future__ import annotations

import faulthandler
import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ParamSpec, TypeVar

from bot.core.commands import Command
from bot.core.errors import CommandMistake

P = ParamSpec("P")
T = TypeVar("T")

MOVE_TIMEOUT = 3.0
"""Seconds for a command to come to its next step."""
REPEAT_AFTER = 0.2
"""Seconds until a command that has caught the interruption, and goes on, is interrupted again."""
MAX_INTERRUPTIONS = 20
"""Interruptions that a command may catch before the process ends."""
MAX_CPU = 5.0
"""Seconds of the processor after which the process ends that no interruption gets through to: a loop inside of one
function of the interpreter sees none."""


class Interrupted(BaseException):
    """Not an `Exception`, because a loop that retries catches those."""


def show_what_hangs() -> None:
    """A process that ends because of a command says on standard error where that was."""
    faulthandler.register(signal.SIGVTALRM, all_threads=True, chain=True)


@contextmanager
def within_time(typed: str) -> Iterator[None]:
    """Raises `CommandMistake` in a command that goes on computing, by a signal: nothing else interrupts a loop.

    The process ends if the command goes on all the same. It could serve nobody any more; after its restart the call is
    taken up again, and given up after some more of that.
    """
    interruptions, over = 0, False

    def interrupt(*_: object) -> None:
        nonlocal interruptions
        if over:
            return
        interruptions += 1
        if interruptions > MAX_INTERRUPTIONS:
            signal.raise_signal(signal.SIGVTALRM)
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU)
    signal.setitimer(signal.ITIMER_REAL, MOVE_TIMEOUT, REPEAT_AFTER)
    try:
        try:
            yield
        finally:
            over = True
    except BaseException as error:
        if interruptions:
            raise CommandMistake(f"{typed} went on for {MOVE_TIMEOUT:.0f} seconds without a step.") from error
        raise
    finally:
        # Once more: an interruption may have come in place of the first.
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGALRM, before)


def limited(command: Command) -> Command:
    """The command with the same bound on what is called besides its steps."""

    def bounded(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def within(*args: P.args, **kwargs: P.kwargs) -> T:
            with within_time(command.typed):
                return function(*args, **kwargs)

        return within

    return replace(
        command, needs=bounded(command.needs), keep=bounded(command.keep), told=bounded(command.told)
    )
