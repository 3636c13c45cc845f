"""The limit on a command's code leaves nothing behind, whenever its alarm comes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bot.core.errors import CommandMistake
from bot.flows import command_timeout
from bot.flows.command_timeout import TimeLimit

TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL)


@pytest.fixture(autouse=True)
def timers() -> Iterator[None]:
    """No timer outlives its test, or the tests themselves would be ended by it."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    running = [timer for timer in TIMERS if signal.getitimer(timer) != (0.0, 0.0)]
    for timer in running:
        signal.setitimer(timer, 0)
    after = signal.signal(signal.SIGALRM, before)
    assert (running, after) == ([], before)


LATE: dict[str, Callable[[float], bool]] = {
    "as they are set": lambda seconds: seconds > 0,
    "as they are stopped": lambda seconds: seconds == 0,
    "each time": lambda seconds: True,
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_an_alarm_while_the_timers_are_set_or_stopped_leaves_none_running(
    monkeypatch: pytest.MonkeyPatch, late: Callable[[float], bool]
):
    """As on a machine that stands still for some seconds at this point."""
    alarms = 0

    def stand_still(timer: int, seconds: float, *more: float) -> Any:
        nonlocal alarms
        found = setitimer(timer, seconds, *more)
        if late(seconds):
            alarms += 1
            signal.raise_signal(signal.SIGALRM)
        return found

    setitimer = signal.setitimer
    monkeypatch.setattr(signal, "setitimer", stand_still)
    done = False
    with TimeLimit("/slow"):
        done = True
    assert done
    assert alarms > 0


def test_a_command_is_interrupted_by_the_alarm_that_comes_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command_timeout, "MOVE_TIMEOUT", 0.05)
    monkeypatch.setattr(command_timeout, "REPEAT_AFTER", 0.02)

    def go_on() -> None:
        while True:
            time.sleep(0.01)

    with pytest.raises(CommandMistake, match=r"^/slow "), TimeLimit("/slow"):
        go_on()


def test_an_error_of_the_command_itself_passes_unchanged():
    with pytest.raises(ZeroDivisionError), TimeLimit("/wrong"):
        1 / 0  # noqa: B018
