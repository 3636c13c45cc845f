"""What anybody can cause: a line for the first, and one with the number of those that follow."""

from __future__ import annotations

import asyncio

import pytest

from bot.flows.throttling import RepeatedLogs


async def test_what_follows_the_first_is_told_together(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    refusals = RepeatedLogs(every=0.05)
    refusals.note("callback refused", "malformed")
    for _ in range(500):
        refusals.note("callback refused", "malformed")
    refusals.note("callback refused", "unknown")

    def lines() -> list[tuple[str, int]]:
        return [(vars(each)["reason"], vars(each)["count"]) for each in caplog.records]

    assert lines() == [("malformed", 1), ("unknown", 1)]
    async with asyncio.timeout(10):
        while len(lines()) < 3:
            await asyncio.sleep(0.01)
    assert lines()[2] == ("malformed", 500)
