"""What Prometheus reads from a bot: the samples of one scrape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from .world import World


@dataclass(frozen=True)
class Scrape:
    """The metrics of one moment."""

    text: str

    def families(self) -> Iterator[Any]:
        return iter(text_string_to_metric_families(self.text))

    def samples(self) -> Iterator[Any]:
        return (sample for family in self.families() for sample in family.samples)

    def names(self) -> set[str]:
        """The names of all series, as queries write them."""
        return {sample.name for sample in self.samples()}

    def find(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The values of the series that have these labels, by their other labels."""
        return {
            tuple(value for key, value in sorted(sample.labels.items()) if key not in labels): sample.value
            for sample in self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def total(self, name: str, **labels: str) -> float:
        """The sum over the series that have these labels."""
        return sum(self.find(name, **labels).values())


async def scrape(world: World, port: int | None = None) -> Scrape:
    status, _, text = await world.get(f"http://127.0.0.1:{port or world.port}/metrics")
    assert status == 200
    return Scrape(text)


async def scrape_until(
    world: World, found: Callable[[Scrape], object], what: str, patience: float = 20
) -> Scrape:
    """Scrape until `found` returns a true value. The bot may tell a scrape of up to some seconds ago."""
    deadline = time.monotonic() + patience
    while not found(latest := await scrape(world)):
        assert time.monotonic() < deadline, f"No {what} in:\n{latest.text}\n{world.log_tail()}"
        await asyncio.sleep(0.1)
    return latest
