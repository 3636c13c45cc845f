"""What metrics tell of the whole database: counts, and the ages of what waits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from bot.store import calls, claims, gauges, replicas
from bot.store.gauges import Gauges
from bot.store.transaction import Database

from .examples import ANNA, APP, BEN, NOW, SOON, ask, claim_by

MINUTE = timedelta(minutes=1)


async def read(database: Database, minutes: float = 0) -> Gauges:
    return await database.read(lambda c: gauges.read(c, NOW + minutes * MINUTE, (APP,), ["k1", "k2"]))


async def test_an_empty_database_has_zeros_for_every_status(database: Database) -> None:
    found = await read(database)
    assert found.counts["calls"][1] == {"queued": 0, "running": 0, "suspended": 0}
    assert found.counts["messages"][1] == {"queued": 0, "sending": 0}
    assert found.counts["replicas"][1] == {"live": 0}
    assert found.oldest_due_call is found.oldest_unsent_message is found.oldest_scope_wait is None
    assert found.other_keys == 0
    assert (found.clock is not None) == (database.dialect == "postgresql")


async def test_a_call_that_could_run_is_due_since_then_and_not_since_it_was_asked(database: Database) -> None:
    """A call that waited for a consent overnight, or that is retried later, is not late."""
    await ask(database, ANNA)
    await ask(database, BEN)
    assert (await read(database, 5)).oldest_due_call == NOW
    first = await database.write(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON)))
    assert first is not None
    later = NOW + 10 * MINUTE
    await database.write(lambda c: calls.requeue(c, first, later, None))
    second = await database.write(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON)))
    assert second is not None
    assert (await read(database)).oldest_due_call is None, "one runs, one is to be retried later"
    assert (await read(database, 1)).oldest_due_call == SOON, "its worker has not extended its lease"
    await database.write(lambda c: calls.requeue(c, second, later + MINUTE, None))
    assert (await read(database, 5)).oldest_due_call is None
    assert (await read(database, 12)).oldest_due_call == later


async def test_calls_that_wait_for_their_predecessor_are_not_due(database: Database) -> None:
    for _ in range(3):
        await ask(database, ANNA)
    await database.write(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, NOW + 9 * MINUTE)))
    assert (await read(database, 5)).oldest_due_call is None


@pytest.mark.parametrize(
    ("keys", "others"), [(["k1", "k2"], 0), (["k2", "k1"], 0), (["k1"], 1), (["k3", "k1"], 1), ([], 1)]
)
async def test_a_replica_with_other_keys_is_counted_in_whatever_order(
    database: Database, keys: list[str], others: int
) -> None:
    await database.write(lambda c: replicas.heartbeat(c, "other", "h", keys, NOW))
    await database.write(lambda c: replicas.heartbeat(c, "old", "h", ["k9"], NOW - timedelta(hours=1)))
    assert (await read(database)).other_keys == others


async def test_the_oldest_message_and_the_oldest_scope_wait_are_those_that_are_not_settled(
    database: Database,
) -> None:
    columns = "id, user_key, kind, delivery_key, private, content_kind, content, status, runs_after, claim, attempts"
    insert = text(
        f"INSERT INTO outgoing_messages ({columns}, created_at, settled_at, sent_at) VALUES "
        "(:id, :user, 'note', :id, false, 'post', :content, :status, :at, 0, 0, :at, :settled, :settled)"
    )
    waits = text(
        "INSERT INTO scope_waits (id, platform, app_id, scopes, status, created_at, settled_at) "
        "VALUES (:id, 'lark', 'cli_1', :scopes, :status, :at, :settled)"
    )
    stamp = (
        (lambda at: at)
        if database.dialect == "postgresql"
        else (lambda at: at.strftime("%Y-%m-%d %H:%M:%S.%f"))
    )

    def fill(c: object) -> None:
        for number, settled in ((9, True), (4, False), (2, False)):
            at = stamp(NOW - number * MINUTE)
            own = {"id": f"m{number}", "at": at, "settled": at if settled else None}
            message = {"user": str(ANNA), "content": None if settled else "v1.x"}
            c.execute(insert, {**own, **message, "status": "sent" if settled else "queued"})  # type: ignore[attr-defined]
            wait = {"scopes": f'["s{number}"]', "status": "enabled" if settled else "waiting"}
            c.execute(waits, {**own, **wait})  # type: ignore[attr-defined]

    await database.write(fill)
    found = await read(database)
    assert found.oldest_unsent_message == found.oldest_scope_wait == NOW - 4 * MINUTE
    assert found.counts["messages"][1] == {"queued": 2, "sending": 0}
    assert found.counts["scope_waits"][1] == {"waiting": 2}
