"""What is sealed opens in its own row and column only: whoever can write to the database cannot pass it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import and_, select, text, update

from bot.core.errors import CannotOpenSecret, ConfigurationError
from bot.store import (
    attempts,
    authorizations,
    calls,
    device_authorizations,
    grants,
    keys,
    outbox,
    revocations,
    schema,
)
from bot.store.database import Connection, Database
from bot.store.schema import deferred_calls, metadata
from tests.store.examples import ANNA, BEN, LATER, TOMORROW
from tests.store.test_keys import fill

Read = Callable[[Connection], Any]


def all_steps(c: Connection) -> list[Any]:
    return [calls.steps_of(c, call) for call in c.execute(select(deferred_calls.c.id)).scalars()]


def all_attempts(c: Connection) -> list[Any]:
    return attempts.stranded(c, "w2", LATER, TOMORROW, 10)


def all_devices(c: Connection) -> list[Any]:
    return device_authorizations.claim_due(c, "w2", LATER, TOMORROW, 10)


def all_grants(c: Connection) -> list[Any]:
    return [grants.find(c, user) for user in (ANNA, BEN)]


READERS: dict[str, Read] = {
    "grants.access_token": all_grants,
    "grants.refresh_token": all_grants,
    "authorization_requests.ticket": lambda c: [authorizations.live_of(c, user) for user in (ANNA, BEN)],
    "authorization_attempts.verifier": all_attempts,
    "authorization_attempts.code": all_attempts,
    "device_authorizations.device_code": all_devices,
    "device_authorizations.user_code": all_devices,
    "device_authorizations.link": all_devices,
    "call_steps.result": all_steps,
    "outgoing_messages.content": lambda c: outbox.claim_due(c, "w2", LATER, TOMORROW, 10),
    "revocations.token": lambda c: revocations.claim_due(c, "w2", LATER, TOMORROW, 10),
}
"""How the bot itself reads what is sealed in a column, of every row that `fill` has made."""

CHECKED_ALONE = {"key_check.sealed"}
"""The one row of its table."""


def test_every_sealed_column_of_the_schema_is_tried() -> None:
    sealed = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if "sealed" in (column.comment or "")
    }
    assert set(READERS) | CHECKED_ALONE == sealed


def swapped(name: str) -> Read:
    """A work that exchanges what two rows of a table have sealed."""
    sealed = next(each for each in keys.SEALED_COLUMNS if f"{each.table.name}.{each.column.name}" == name)

    def work(c: Connection) -> None:
        rows = c.execute(
            select(*sealed.names, sealed.column).where(sealed.column.is_not(None)).order_by(*sealed.names)
        ).all()
        first, last = rows[0], rows[-1]
        assert first[:-1] != last[:-1]
        for row, value in ((first, last[-1]), (last, first[-1])):
            here = and_(*(column == row[i] for i, column in enumerate(sealed.names)))
            assert c.execute(update(sealed.table).where(here).values({sealed.column: value})).rowcount == 1

    return work


@pytest.mark.parametrize("name", sorted(READERS))
async def test_what_is_moved_to_another_row_does_not_open(database: Database, name: str) -> None:
    await fill(database, ANNA)
    await fill(database, BEN)

    def control(c: Connection) -> None:
        assert len(READERS[name](c)) == 2
        raise KeyError("undone")

    with pytest.raises(KeyError, match="undone"):
        await database.write(control)
    await database.write(swapped(name))
    with pytest.raises(CannotOpenSecret):
        await database.write(READERS[name])


async def test_what_is_moved_to_another_column_does_not_open(database: Database) -> None:
    await fill(database)
    for change in (
        "UPDATE grants SET access_token = refresh_token",
        "UPDATE authorization_attempts SET code = verifier",
        "UPDATE device_authorizations SET link = user_code",
    ):
        await database.write(lambda c, change=change: c.execute(text(change)) and None)
    for name in ("grants.access_token", "authorization_attempts.code", "device_authorizations.link"):
        with pytest.raises(CannotOpenSecret):
            await database.write(READERS[name])


async def test_the_known_text_cannot_be_replaced_by_another_secret(database: Database) -> None:
    await fill(database)
    stolen = select(schema.grants.c.access_token).scalar_subquery()
    await database.write(lambda c: c.execute(update(schema.key_check).values(sealed=stolen)) and None)
    with pytest.raises(ConfigurationError):
        await keys.check_keys(database)
