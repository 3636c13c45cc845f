"""Runs a story for several cases at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.bot_process import Forker

from .world import World, migrated_world_in

Case = TypeVar("Case")


class AtOnce:
    """Runs a story for several cases at the same time, each in its own world: a story mostly waits."""

    def __init__(self, directory: Path, forker: Forker, template: Path) -> None:
        self._directory, self._forker, self._template = directory, forker, template

    async def __call__(
        self, cases: Mapping[str, Case], story: Callable[[World, Case], Awaitable[None]]
    ) -> None:
        """Run every case to its end, then raise all failures, each with the name of its case."""

        async def run(name: str, case: Case, directory: Path) -> None:
            directory.mkdir()
            try:
                async with migrated_world_in(directory, self._forker, self._template) as world:
                    await story(world, case)
            except Exception as error:
                error.add_note(f"In the case {name!r}")
                raise

        runs = [
            run(name, case, self._directory / f"world-{number}")
            for number, (name, case) in enumerate(cases.items())
        ]
        ended = await asyncio.gather(*runs, return_exceptions=True)
        if failed := [each for each in ended if isinstance(each, Exception)]:
            raise ExceptionGroup(f"{len(failed)} of {len(cases)} cases", failed)


def in_groups(cases: Mapping[str, Case], size: int = 4) -> Any:
    """Parametrize a test by `cases`, in groups that one machine can run at once."""
    names = list(cases)
    groups = [names[start : start + size] for start in range(0, len(names), size)]
    return pytest.mark.parametrize(
        "cases",
        [{name: cases[name] for name in group} for group in groups],
        ids=[" + ".join(group) for group in groups],
    )
