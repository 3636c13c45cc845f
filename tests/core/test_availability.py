"""When something counts as away, and when as back."""

from __future__ import annotations

import pytest

from bot.core.availability import LONGEST_CALM, Availability

Told = list[tuple[str, float]]


def told(events: str, *, needed: int = 2, step: float = 1.0) -> Told:
    """Play `f` (a failure), `F` (a certain one), `s` (a success) and `.` (nothing), a second apart."""
    availability, found = Availability(needed), Told()
    for number, each in enumerate(events):
        now = number * step
        if each in "fF" and availability.failed(now, certain=each == "F"):
            found.append(("away", now))
        elif each == "s" and (lasted := availability.succeeded(now)) is not None:
            found.append(("back", lasted))
    return found


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("sss", []),
        ("sfsfsfs", []),
        ("sffs", [("away", 2.0), ("back", 2.0)]),
        ("Fs", [("away", 0.0), ("back", 1.0)]),
        ("fffffs", [("away", 1.0), ("back", 5.0)]),
        ("FFFF....s", [("away", 0.0), ("back", 8.0)]),
        # Unsteady: the second outage ends only after a longer calm.
        ("FsFsFsssssss", [("away", 0.0), ("back", 1.0), ("away", 2.0), ("back", 1.0), ("away", 4.0)]),
        (
            "FsFsFssssssss",
            [("away", 0.0), ("back", 1.0), ("away", 2.0), ("back", 1.0), ("away", 4.0), ("back", 8.0)],
        ),
    ],
)
def test_an_outage_begins_and_ends_once(events: str, expected: Told) -> None:
    assert told(events) == expected


def test_a_success_between_failures_ends_an_outage_only_once() -> None:
    away, back, again = told("fFsfsFsfs" + "Fs" * 50, step=0.01)
    assert (away[0], back[0], again[0]) == ("away", "back", "away")


def test_what_comes_and_goes_is_told_less_and_less_often() -> None:
    assert len(told("Fs" * 300)) < 12
    quiet = "F" + "s" + "." * int(LONGEST_CALM)
    assert len(told(quiet * 3)) == 6, "after a quiet time, the next outage is told as the first was"
