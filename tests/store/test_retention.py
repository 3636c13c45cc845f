"""What is deleted, and when, among more rows than one transaction should touch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, text
from sqlalchemy.exc import DBAPIError

from bot.store import audit, calls, inbox, retention, seen_events
from bot.store.keyring import Keyring
from bot.store.open_database import open_database
from bot.store.schema import audit_log
from bot.store.transaction import Connection, Database
from tests.many_rows import KINDS, fill
from tests.old_audit_rows import past_allowed
from tests.store.examples import ANNA, APP, NOW, a_call

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


@pytest.mark.parametrize("days", [1, 7, 30, 90])
async def test_what_is_settled_is_kept_as_long_as_the_setting(database: Database, days: int) -> None:
    call, period = a_call(), retention.Retention(settled=timedelta(days=days))
    await database.write(lambda c: inbox.record(c, "ev", call, language=None, union_id=None, now=NOW))
    assert await database.write(lambda c: calls.cancel(c, call.id, "over", NOW))
    for age, kept in (
        (timedelta(days=days) - timedelta(minutes=1), True),
        (timedelta(days=days, minutes=1), False),
    ):
        await database.write(lambda c, at=NOW + age: retention.prune(c, at, period))
        assert (await database.read(lambda c: calls.get(c, call.id)) is not None) is kept


async def test_no_setting_forgets_an_event_that_the_platform_may_repeat(database: Database) -> None:
    shortest = retention.Retention(timedelta(days=1), timedelta(days=1))
    message = a_call(message_id="om_1")
    assert await database.write_one(
        lambda c: inbox.record(c, "ev", message, language=None, union_id=None, now=NOW)
    )
    await database.write(lambda c: calls.cancel(c, message.id, "over", NOW))
    for hours in (1, 9, 23):
        await database.write(lambda c, h=hours: retention.prune(c, NOW + timedelta(hours=h), shortest))
        again = a_call(message_id="om_1")
        for event in ("ev", f"another {hours}"):
            assert not await database.write_one(
                lambda c, e=event, r=again: inbox.record(c, e, r, language=None, union_id=None, now=NOW)
            )
    assert not await database.write(lambda c: seen_events.record(c, ANNA.platform, ANNA.app_id, "ev", NOW))


# --- the audit log ---------------------------------------------------------------------------------


def entries(c: Connection) -> list[str]:
    return list(c.execute(text("SELECT action FROM audit_log ORDER BY id")).scalars())


async def written_in_the_past(database: Database, app: str, *days: int) -> None:
    """Entries of an app, each that many days old and named after its age."""

    def work(c: Connection) -> None:
        with past_allowed(c):
            for each in days:
                at = datetime.now(UTC) - timedelta(days=each)
                c.execute(insert(audit_log).values(at=at, action=f"{each}", detail="{}", app=app))

    await database.write(work)


async def record(database: Database, days: int) -> dict[str, int]:
    now, period = datetime.now(UTC), timedelta(days=days)
    return await database.write(lambda c: audit.record_retention(c, period, now))


async def prune_audit(database: Database, days: int) -> int:
    now, period = datetime.now(UTC), timedelta(days=days)
    return await database.write(lambda c: audit.prune(c, now, period, 100))


@pytest.mark.parametrize("days", [1, 30, 90, 365, 730])
async def test_the_database_keeps_the_audit_log_as_long_as_the_setting(database: Database, days: int) -> None:
    assert await record(database, days) == {}
    await written_in_the_past(database, APP, days + 1, days - 1)
    younger = delete(audit_log).where(audit_log.c.action == f"{days - 1}")
    with pytest.raises(DBAPIError, match="audit_log is kept"):
        await database.write(lambda c: c.execute(younger) and None)
    assert await prune_audit(database, days) == 1
    assert await database.read(entries) == [f"{days - 1}"]


async def test_before_an_app_has_recorded_its_setting_the_database_keeps_a_year(database: Database) -> None:
    await written_in_the_past(database, APP, 366, 364)
    await written_in_the_past(database, "", 366, 364)
    assert await prune_audit(database, 1) == 2
    for app in (APP, ""):
        younger = delete(audit_log).where(audit_log.c.app == app)
        with pytest.raises(DBAPIError, match="audit_log is kept"):
            await database.write(lambda c, s=younger: c.execute(s) and None)


async def test_a_change_of_the_setting_counts_and_is_audited(database: Database) -> None:
    for days in (365, 365, 30, 90):
        assert await record(database, days) == {}
    await written_in_the_past(database, APP, 91, 89, 31)
    # A replica with a shorter period does not delete what the database keeps, and prunes the rest.
    assert await prune_audit(database, 30) == 1
    changes = await database.read(
        lambda c: c.execute(
            text("SELECT detail, app FROM audit_log WHERE action = 'audit_retention_changed' ORDER BY id")
        ).all()
    )
    assert [tuple(each) for each in changes] == [
        ('{"days": 30, "before": 365}', APP),
        ('{"days": 90, "before": 30}', APP),
    ]


async def test_each_app_keeps_its_audit_log_as_long_as_it_wants(database: Database, key: str) -> None:
    other = await open_database(database.url, Keyring([key]), "lark:cli_9")
    await record(database, 30)
    await record(other, 90)
    for app in (APP, "lark:cli_9", ""):
        await written_in_the_past(database, app, 400, 60)
    # Its own that are over 30 days old, and what belongs to no app and is over a year old.
    assert await prune_audit(database, 30) == 3
    assert await prune_audit(other, 90) == 1
    assert sorted(await database.read(entries)) == ["60", "60"]
    await other.close()


@pytest.mark.parametrize("days", [0, -1, 36_501])
async def test_the_database_takes_no_retention_that_makes_no_sense(database: Database, days: int) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)check"):
        await record(database, days)


async def test_a_temporary_table_does_not_shorten_the_retention(postgresql_url: str, key: str) -> None:
    database = await open_database(postgresql_url, Keyring([key]), APP)
    await written_in_the_past(database, APP, 60)

    def attack(c: Connection) -> None:
        c.execute(text("CREATE TEMPORARY TABLE audit_retention (app text, days int)"))
        c.execute(text(f"INSERT INTO audit_retention VALUES ('{APP}', 1)"))
        c.execute(text("DELETE FROM audit_log"))

    try:
        with pytest.raises(DBAPIError, match="audit_log is kept for 365 days"):
            await database.write(attack)
    finally:
        await database.close()
