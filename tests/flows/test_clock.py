"""The clock of the process: which of the machine's, the database's and the platform's times counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from bot.flows.clock import FIRST_LOOK, NEVER, STEADY_AFTER, Clock

START = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAYS = 86400.0


@dataclass
class Machine:
    """A machine whose clock can be set."""

    true: float = field(default_factory=START.timestamp)
    ahead: float = 0.0
    elapsed: float = 1000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.true + self.ahead, lambda: self.elapsed)

    def wait(self, clock: Clock, seconds: float) -> None:
        """Let time pass, in which the bot looks at the clock."""
        for _ in range(int(seconds)):
            self.pass_unseen(1)
            clock.expiry_time()

    def pass_unseen(self, seconds: float) -> None:
        """Let time pass while the process or the machine is suspended."""
        self.true += seconds
        self.elapsed += seconds

    @property
    def right(self) -> datetime:
        return datetime.fromtimestamp(self.true, UTC)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> Clock:
    """A clock that the platform's has confirmed."""
    clock = machine.clock()
    clock.compare_with_platform(machine.true, 0)
    return clock


def near(one: datetime, other: datetime) -> bool:
    return abs(one - other) < timedelta(seconds=5)


@pytest.mark.parametrize("jump", [9 * DAYS, -9 * DAYS, 130, -130, 1e9, -1.7e9])
def test_a_jump_is_ignored_until_the_clock_is_back(machine: Machine, clock: Clock, jump: float) -> None:
    machine.wait(clock, 100)
    machine.ahead = jump
    machine.wait(clock, 60)
    assert near(clock.now(), machine.right)
    assert clock.expiry_time() <= machine.right
    machine.ahead = 0
    machine.wait(clock, 1)
    assert near(clock.now(), machine.right)
    assert near(clock.expiry_time(), machine.right)


@pytest.mark.parametrize("step", [1, -1, 90, -90])
def test_a_small_step_is_followed_at_once(machine: Machine, clock: Clock, step: float) -> None:
    machine.ahead = step
    assert near(clock.now(), machine.right + timedelta(seconds=step))


@pytest.mark.parametrize("jump", [9 * DAYS, -9 * DAYS, 3600])
def test_a_time_that_stays_is_believed_after_a_while(machine: Machine, clock: Clock, jump: float) -> None:
    machine.ahead = jump
    machine.wait(clock, STEADY_AFTER - 5)
    assert near(clock.now(), machine.right)
    machine.wait(clock, 10)
    assert near(clock.now(), machine.right + timedelta(seconds=jump))
    assert near(clock.expiry_time(), machine.right + timedelta(seconds=jump))


@pytest.mark.parametrize("jump", [9 * DAYS, -9 * DAYS, 3600])
def test_the_platform_confirms_a_correction_and_refutes_a_jump(
    machine: Machine, clock: Clock, jump: float
) -> None:
    machine.ahead = jump
    for _ in range(3):
        machine.wait(clock, STEADY_AFTER - 5)
        clock.compare_with_platform(machine.true, 0)
    assert near(clock.now(), machine.right)
    machine.wait(clock, 10)
    clock.compare_with_platform(machine.true + jump - 4, 3)
    assert near(clock.now(), machine.right + timedelta(seconds=jump))


@pytest.mark.parametrize("suspended", [61, 3600, 30 * DAYS])
def test_waking_up_is_no_jump_and_blocks_expiry_for_seconds_alone(
    machine: Machine, clock: Clock, suspended: float
) -> None:
    machine.wait(clock, 10)
    machine.pass_unseen(suspended)
    assert near(clock.now(), machine.right)
    assert clock.expiry_time() == NEVER
    machine.wait(clock, FIRST_LOOK + 1)
    assert near(clock.expiry_time(), machine.right)


def test_the_platform_confirms_the_time_after_waking_up_but_not_by_what_it_said_before(
    machine: Machine, clock: Clock
) -> None:
    machine.wait(clock, 10)
    machine.pass_unseen(7200)
    clock.compare_with_platform(machine.true - 7200, 7200)
    assert clock.expiry_time() == NEVER
    clock.compare_with_platform(machine.true, 0)
    assert near(clock.expiry_time(), machine.right)


def test_nothing_expires_at_the_start_until_the_time_is_known(machine: Machine) -> None:
    machine.ahead = 9 * DAYS
    clock = machine.clock()
    clock.compare_with_platform(machine.true, 0)
    machine.wait(clock, FIRST_LOOK - 2)
    assert clock.expiry_time() == NEVER
    machine.ahead = 0
    machine.wait(clock, 1)
    assert near(clock.now(), machine.right)
    assert clock.expiry_time() == NEVER
    clock.compare_with_platform(machine.true, 0)
    assert near(clock.expiry_time(), machine.right)


@pytest.mark.parametrize("jump", [9 * DAYS, -9 * DAYS, 3600, -3600])
def test_a_jump_that_the_database_does_not_confirm_is_never_believed(machine: Machine, jump: float) -> None:
    clock = machine.clock()
    clock.has_database_clock = True
    assert clock.expiry_time() == NEVER
    clock.compare_with_database(machine.true)
    assert near(clock.expiry_time(), machine.right)
    machine.ahead = jump
    for _ in range(100):
        machine.wait(clock, STEADY_AFTER / 40)
        clock.compare_with_database(machine.true)
    assert near(clock.now(), machine.right)


@pytest.mark.parametrize("wrong", [9 * DAYS, -9 * DAYS, 3600, -3600])
def test_a_correction_that_the_database_confirms_counts_at_once(machine: Machine, wrong: float) -> None:
    machine.ahead = wrong
    clock = machine.clock()
    clock.has_database_clock = True
    clock.compare_with_database(machine.true)
    machine.ahead = 0
    clock.compare_with_database(machine.true)
    assert near(clock.now(), machine.right)
    assert near(clock.expiry_time(), machine.right)


@pytest.mark.parametrize("jump", [9 * DAYS, -9 * DAYS, 3600])
def test_a_jump_of_the_machine_that_the_database_is_on_too_is_ignored_while_it_lasts_no_longer(
    machine: Machine, jump: float
) -> None:
    clock = machine.clock()
    clock.has_database_clock = True
    clock.compare_with_database(machine.true)
    machine.ahead = jump
    for _ in range(9):
        machine.wait(clock, STEADY_AFTER / 10)
        clock.compare_with_database(machine.true + jump)
        assert near(clock.now(), machine.right)
        assert clock.expiry_time() <= machine.right
    for _ in range(3):
        machine.wait(clock, STEADY_AFTER / 10)
        clock.compare_with_database(machine.true + jump)
    assert near(clock.now(), machine.right + timedelta(seconds=jump))


@pytest.mark.parametrize("jump", [9 * DAYS, 3600])
def test_a_databases_clock_that_jumps_ends_nothing_either(machine: Machine, jump: float) -> None:
    clock = machine.clock()
    clock.has_database_clock = True
    clock.compare_with_database(machine.true)
    clock.compare_with_database(machine.true + jump)
    assert near(clock.now(), machine.right)
    assert near(clock.expiry_time(), machine.right)
    clock.compare_with_database(machine.true - jump)
    assert near(clock.now(), machine.right)
    assert near(clock.expiry_time(), machine.right - timedelta(seconds=jump))


@pytest.mark.parametrize("wrong", [9 * DAYS, -9 * DAYS])
def test_a_process_that_starts_with_a_wrong_clock_takes_the_databases(machine: Machine, wrong: float) -> None:
    machine.ahead = wrong
    clock = machine.clock()
    clock.has_database_clock = True
    clock.compare_with_database(machine.true)
    assert near(clock.now(), machine.right)
    assert clock.expiry_time() <= machine.right + timedelta(seconds=1)
