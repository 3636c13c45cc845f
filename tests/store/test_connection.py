"""Statements that the driver executes give what SQLAlchemy gives: it executes the same statement first."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Integer, bindparam, column, delete, func, insert, literal, select, table, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError, IntegrityError, MultipleResultsFound, NoResultFound

from bot.core.people import UserKey
from bot.store.connection import Rows, StoreConnection
from bot.store.schema import granted_scopes, users
from bot.store.transaction import Database
from tests.store.examples import ANNA, BEN, NOW

TIMES = 3
"""SQLAlchemy executes the first, the driver the others."""

SOME_USERS = select(users.c.user_key, users.c.seen_at, users.c.name, users.c.language).where(
    users.c.user_key.in_(bindparam("keys", type_=users.c.user_key.type, expanding=True))
)
MEET = insert(users).inline()
NAME = (
    update(users)
    .where(users.c.user_key == bindparam("who", type_=users.c.user_key.type))
    .values(name=bindparam("called"))
)
NAME_AND_GET = NAME.returning(users.c.user_key, users.c.name)
GRANT = upsert(granted_scopes)
GRANT = GRANT.on_conflict_do_update(
    index_elements=[granted_scopes.c.user_key, granted_scopes.c.scope],
    set_={"granted_at": GRANT.excluded.granted_at},
)


def user(key: UserKey, **more: Any) -> dict[str, Any]:
    parts = {name: getattr(key, name) for name in ("platform", "app_id", "tenant_key", "open_id")}
    return {"user_key": key, "language": "en", "created_at": NOW, "seen_at": NOW, **parts, **more}


async def meet(database: Database, *keys: UserKey) -> None:
    rows = [user(key, name=key.open_id) for key in keys]
    await database.write(lambda c: c.execute(insert(users).inline(), rows))


def by_both(c: StoreConnection, statement: Any, parameters: Any = None) -> list[Any]:
    """Execute a statement several times; return the results."""
    return [c.execute(statement, parameters) for _ in range(TIMES)]


@pytest.mark.parametrize("keys", [[], [ANNA], [ANNA, BEN], [BEN], [ANNA, BEN, ANNA]], ids=len)
async def test_rows_are_the_same(database: Database, keys: list[UserKey]) -> None:
    await meet(database, ANNA, BEN)
    statement = SOME_USERS.order_by(users.c.user_key)

    def work(c: StoreConnection) -> list[Any]:
        results = by_both(c, statement, {"keys": keys})
        assert [isinstance(each, Rows) for each in results] == [False, True, True]
        return [each.all() for each in results]

    first, *others = await database.read(work)
    assert [row.user_key for row in first] == sorted({*keys}, key=str)
    assert [list(each) for each in others] == [list(first)] * 2
    for row in others[0]:
        assert isinstance(row.user_key, UserKey)
        assert row.seen_at == row._mapping["seen_at"] == NOW
        assert row.seen_at.tzinfo is not None
        assert tuple(row) == (row.user_key, NOW, row.user_key.open_id, "en")


async def test_a_list_may_have_another_length_each_time(database: Database) -> None:
    await meet(database, ANNA, BEN)

    def work(c: StoreConnection) -> list[int]:
        return [
            len(c.execute(SOME_USERS, {"keys": keys}).all())
            for keys in ([ANNA], [ANNA, BEN], [], [BEN], [BEN, ANNA], [])
        ]

    assert await database.read(work) == [1, 2, 0, 1, 2, 0]


async def test_changes_count_their_rows(database: Database) -> None:
    await meet(database, ANNA)
    values = {"who": ANNA, "called": "Ann"}

    def work(c: StoreConnection) -> None:
        assert [each.rowcount for each in by_both(c, NAME, values)] == [1, 1, 1]
        assert [each.rowcount for each in by_both(c, NAME, values | {"who": BEN})] == [0, 0, 0]
        assert [each.one().name for each in by_both(c, NAME_AND_GET, values)] == ["Ann"] * 3
        assert [each.one_or_none() for each in by_both(c, NAME_AND_GET, values | {"who": BEN})] == [None] * 3
        forget = delete(users).where(users.c.user_key == bindparam("who", type_=users.c.user_key.type))
        assert [each.rowcount for each in by_both(c, forget, {"who": ANNA})] == [1, 0, 0]

    await database.write(work)


async def test_one_statement_takes_different_columns(database: Database) -> None:
    """An INSERT without values has those columns that it is given."""
    people = [UserKey("lark", "cli_1", "tenant_1", f"ou_{number}") for number in range(6)]

    def work(c: StoreConnection) -> list[tuple[Any, ...]]:
        for number, key in enumerate(people):
            c.execute(MEET, user(key) if number % 2 else user(key, name="named", time_zone="Asia/Shanghai"))
        found = c.execute(select(users.c.name, users.c.time_zone).order_by(users.c.user_key))
        return [tuple(row) for row in found]

    named, unnamed = ("named", "Asia/Shanghai"), (None, None)
    assert await database.write(work) == [named, unnamed] * 3


@pytest.mark.parametrize("count", [1, 2, 30])
async def test_many_rows_at_once(database: Database, count: int) -> None:
    await meet(database, ANNA)

    def work(c: StoreConnection) -> int:
        for day in range(TIMES):
            rows = [
                {
                    "user_key": ANNA,
                    "scope": f"s:{number}",
                    "asked_by": ("doc",),
                    "granted_at": NOW.replace(day=1 + day),
                }
                for number in range(count)
            ]
            c.execute(GRANT, rows)
        found = c.execute(
            select(func.count(), func.min(granted_scopes.c.granted_at)).select_from(granted_scopes)
        )
        number, earliest = found.one()
        assert earliest == NOW.replace(day=TIMES)
        return int(number)

    assert await database.write(work) == count


async def test_constants_and_unnamed_columns(database: Database) -> None:
    bare = select(
        literal(7), func.count(), (column("n", Integer) + 1).label("more"), literal("x").label("text")
    )
    statement = bare.select_from(select(literal(4).label("n")).subquery("t")).group_by(text("n"))

    def work(c: StoreConnection) -> list[tuple[Any, ...]]:
        results = by_both(c, statement)
        assert isinstance(results[1], Rows)
        assert [each.scalar() for each in by_both(c, statement)] == [7] * 3
        return [tuple(each.one()) for each in results]

    assert await database.read(work) == [(7, 1, 5, "x")] * 3


async def test_an_error_is_one_of_sqlalchemy(database: Database) -> None:
    await meet(database, ANNA)
    twice = insert(users).inline()
    for _ in range(TIMES):
        with pytest.raises(IntegrityError) as caught:
            await database.write(lambda c: c.execute(twice, user(ANNA, name="secret name")))
        assert "secret name" not in str(caught.value)
        assert not database.is_unavailable(caught.value)
    missing = select(table("no_such_table", column("x")))
    for _ in range(TIMES):
        with pytest.raises(DBAPIError):
            await database.read(lambda c: c.execute(missing))
    # The connection is as good as before.
    assert len(await database.read(lambda c: c.execute(SOME_USERS, {"keys": [ANNA]}).all())) == 1


async def test_a_migration_may_change_a_column_that_a_statement_reads(database: Database) -> None:
    if database.dialect == "sqlite":
        changes = ["DROP TABLE numbers", "CREATE TABLE numbers (n TEXT)", "INSERT INTO numbers VALUES ('7')"]
    else:
        changes = ["ALTER TABLE numbers ALTER COLUMN n TYPE text"]

    async def execute(*statements: str) -> None:
        for each in statements:
            await database.write(lambda c, sql=each: c.execute(text(sql)) and None)

    await execute("CREATE TABLE numbers (n integer)", "INSERT INTO numbers VALUES (7)")
    statement = select(column("n")).select_from(table("numbers", column("n")))
    for _ in range(TIMES):
        assert await database.write(lambda c: c.execute(statement).scalar()) == 7
    await execute(*changes)
    assert await database.write(lambda c: c.execute(statement).scalar()) == "7"


async def test_a_time_without_a_zone_is_refused_by_both(database: Database) -> None:
    statement = insert(users).inline()
    for _ in range(TIMES):
        with pytest.raises(Exception, match="without a time zone"):
            await database.write(
                lambda c: c.execute(statement, user(ANNA, seen_at=datetime(2026, 1, 1)))  # noqa: DTZ001
            )
    await database.write(lambda c: c.execute(statement, user(ANNA, seen_at=datetime.now(UTC))))


async def test_a_missing_parameter_is_an_error(database: Database) -> None:
    statement = select(users.c.name).where(users.c.user_key == bindparam("who", type_=users.c.user_key.type))
    for _ in range(TIMES):
        with pytest.raises(Exception, match="who"):
            await database.read(lambda c: c.execute(statement, {}))


async def test_statements_that_are_built_for_one_execution_are_forgotten(database: Database) -> None:
    def work(c: StoreConnection) -> tuple[int, int]:
        seen = c._statements._seen
        gc.collect()
        before = len(seen)
        for number in range(50):
            assert c.execute(select(literal(number))).scalar() == number
        gc.collect()
        return before, len(seen)

    before, after = await database.read(work)
    assert after <= before + 1  # SQLAlchemy keeps one of them with what it has compiled


async def test_every_statement_can_be_observed(database: Database) -> None:
    await meet(database, ANNA)
    seen: list[str] = []

    def work(c: StoreConnection) -> None:
        c.observe = seen.append
        by_both(c, NAME, {"who": ANNA, "called": "Ann"})
        c.observe = None
        by_both(c, NAME, {"who": ANNA, "called": "Ann"})

    await database.write(work)
    assert len(seen) == TIMES
    assert all(each.startswith("UPDATE users") for each in seen)


def test_rows_have_the_methods_of_a_result() -> None:
    none, one, two = Rows([], 0), Rows([(1, "a")], 1), Rows([(1, "a"), (2, "b")], 2)
    assert (none.first(), none.one_or_none(), none.scalar(), none.scalar_one_or_none()) == (None,) * 4
    assert one.one() == one.first() == one.one_or_none() == (1, "a")
    assert one.scalar() == one.scalar_one() == one.scalar_one_or_none() == 1
    assert list(two) == list(two.all()) == [(1, "a"), (2, "b")]
    assert two.scalars().all() == [1, 2]
    assert two.scalar() == 1
    for method in (none.one, none.scalar_one):
        with pytest.raises(NoResultFound):
            method()
    for method in (two.one, two.one_or_none, two.scalar_one, two.scalar_one_or_none):
        with pytest.raises(MultipleResultsFound):
            method()
