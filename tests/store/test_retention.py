"""What is deleted, and when, among more rows than one transaction should touch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from bot.store import inbox, retention
from bot.store.transaction import Connection, Database
from tests.many_rows import KINDS, fill
from tests.store.examples import ANNA, NOW, a_call

ROWS = 15_000
"""Of each of seven tables: more than a hundred thousand in all."""

LONG_AGO = NOW - timedelta(days=100)


def count(connection: Connection, table: str, condition: str = "true") -> int:
    found: int = connection.execute(text(f"SELECT count(*) FROM {table} WHERE {condition}")).scalar_one()
    return found


@pytest.mark.slow
async def test_a_hundred_thousand_old_rows_go_in_portions_while_events_come_in(database: Database) -> None:
    await database.write(lambda c: fill(c, ROWS, LONG_AGO))
    waiting = await database.read(lambda c: count(c, "deferred_calls", "settled_at IS NULL"))
    assert waiting == ROWS // KINDS * 2
    done = asyncio.Event()

    async def prune() -> list[int]:
        portions = []
        while not portions or portions[-1] >= retention.BATCH_SIZE:
            portions.append(await database.write(lambda c: retention.prune(c, NOW)))
            await asyncio.sleep(0)
        done.set()
        return portions

    async def record() -> list[str]:
        recorded = []
        while not done.is_set():
            call = a_call(replace(ANNA, open_id=f"ou_{len(recorded)}"))
            assert await database.write_one(
                lambda c, call=call: inbox.record(
                    c, f"event-{call.id}", call, language=None, union_id=None, now=NOW
                )
            )
            recorded.append(call.id)
        return recorded

    portions, recorded = await asyncio.gather(prune(), record())
    assert sum(portions) > 4 * ROWS
    assert max(portions) <= 10 * retention.BATCH_SIZE
    # Others had their turn between the portions, not after the last.
    assert len(recorded) > len(portions) / 4
    assert await database.read(lambda c: count(c, "deferred_calls", "settled_at IS NULL")) == waiting + len(
        recorded
    )
    assert await database.read(lambda c: count(c, "deferred_calls", "settled_at IS NOT NULL")) == 0
    assert await database.read(lambda c: count(c, "events")) == len(recorded)
    assert await database.read(lambda c: count(c, "grants")) == ROWS
