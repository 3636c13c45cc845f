"""How long to wait before the next try."""

from datetime import timedelta

import pytest

from bot.core.retry import backoff, doubled, pause, spread


def test_a_platform_that_says_when_is_asked_again_then_and_not_long_after():
    assert [pause(n, 0.0, 1.0).total_seconds() for n in (1, 6, 100)] == [1, 1, 1]
    assert [pause(n, 1.0, 1.0).total_seconds() for n in (0, 1, 2, 6, 100)] == [2, 2, 3, 7, 31]
    assert [pause(n, 1.0, 30.0).total_seconds() for n in (1, 100)] == [35, 60]
    assert pause(1, 0.0, 600.0).total_seconds() == 60, "no longer is waited for"
    assert pause(1, 0.0, 0.01).total_seconds() == 1
    assert [pause(n, 1.0, None) for n in (1, 6)] == [backoff(n, 1.0) for n in (1, 6)]


def test_the_pause_doubles_up_to_a_minute_and_half_of_it_is_random():
    assert [backoff(n, 1.0).total_seconds() for n in (1, 2, 3, 7, 50)] == [1, 2, 4, 60, 60]
    assert backoff(3, 0.0).total_seconds() == 2


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(-1, 4), (0, 4), (1, 4), (2, 8), (5, 64), (7, 256), (8, 300), (10_000, 300)]
)
def test_the_backoff_has_a_first_and_a_longest_pause(attempts, seconds):
    first, longest = timedelta(seconds=4), timedelta(minutes=5)
    assert backoff(attempts, 1.0, first=first, longest=longest).total_seconds() == seconds
    assert backoff(attempts, 0.0, first=first, longest=longest).total_seconds() == seconds / 2


@pytest.mark.parametrize(("times", "seconds"), [(0, 5), (1, 10), (2, 20), (3, 30), (1_000, 30)])
def test_a_pause_is_doubled_up_to_the_longest(times, seconds):
    assert doubled(timedelta(seconds=5), times, timedelta(seconds=30)).total_seconds() == seconds


def test_a_pause_is_spread_over_its_second_half():
    assert [spread(timedelta(seconds=8), jitter).total_seconds() for jitter in (0.0, 0.5, 1.0)] == [4, 6, 8]
