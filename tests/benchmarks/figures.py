"""A measured figure beside its reference and its goal, and the table of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table. The goal is for the ratio, or for our own value where there is no reference."""

    name: str
    ours: float
    unit: str
    reference: float | None = None
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.reference is None else self.ours / self.reference

    @property
    def reached(self) -> bool | None:
        """None when it is for information only."""
        value = self.ours if self.ratio is None else self.ratio
        if self.at_least is not None:
            return value >= self.at_least
        return value <= self.at_most if self.at_most is not None else None

    @property
    def goal(self) -> str:
        unit = f" {self.unit}" if self.ratio is None else " ×"
        if self.at_least is not None:
            return f"≥ {number(self.at_least)}{unit}"
        return f"≤ {number(self.at_most)}{unit}" if self.at_most is not None else ""

    @property
    def cells(self) -> tuple[str, ...]:
        reference = "" if self.reference is None else f"{number(self.reference)} {self.unit}, {self.against}"
        ratio = "" if self.ratio is None else f"{number(self.ratio)} ×"
        verdict = {True: "reached", False: "MISSED", None: ""}[self.reached]
        return self.name, f"{number(self.ours)} {self.unit}", reference, ratio, self.goal, verdict


HEADINGS = ("figure", "ours", "reference", "ratio", "goal", "")


def number(value: float) -> str:
    """Three significant digits, and no exponent."""
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    rows = [HEADINGS, *(figure.cells for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def interleaved(rounds: int, measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median of each measure; they take turns, so that what else the machine does hits all alike."""
    seen: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            seen[name].append(measure())
    return {name: statistics.median(values) for name, values in seen.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
