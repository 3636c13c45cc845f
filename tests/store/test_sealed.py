"""A sealed value opens in its own row and column only: copying it elsewhere in the database is of no use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import and_, select, text, update

from bot.core.errors import CannotOpenSecret, ConfigurationError
from bot.core.people import UserKey
from bot.core.requests import Attempt
from bot.core.secrets import Secret
from bot.store import (
    attempts,
    call_steps,
    calls,
    device_authorizations,
    grants,
    key_rotation,
    outbox,
    replicas,
    requests,
    revocations,
    schema,
    sealed,
    sessions,
    users,
)
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.schema import deferred_calls
from bot.store.transaction import Connection, Database, keyring_of
from tests.store.examples import ANNA, BEN, LATER, NOW, TOMORROW, claim_by, open_request
from tests.store.test_keys import fill, sealed_columns

Read = Callable[[Connection], Any]


def of_steps(c: Connection) -> list[Any]:
    return [call_steps.steps_of(c, call) for call in c.execute(select(deferred_calls.c.id)).scalars()]


def of_grants(name: str) -> Read:
    return lambda c: [getattr(grants.find(c, user), name, None) for user in (ANNA, BEN)]


def of_attempts(c: Connection) -> list[tuple[Attempt, Secret | None]]:
    return attempts.stranded(c, claim_by(c, "w2", LATER, TOMORROW), 10)


def of_devices(name: str) -> Read:
    return lambda c: [
        getattr(each, name)
        for each in device_authorizations.claim_due(c, claim_by(c, "w2", LATER, TOMORROW), 10)
    ]


def of_requests(c: Connection) -> list[Any]:
    live = (requests.live_of(c, user) for user in (ANNA, BEN, CHO))
    return [request and request.ticket for request in live]


def of_calls(c: Connection) -> list[Any]:
    return [calls.get(c, call) for call in c.execute(select(deferred_calls.c.id)).scalars()]


def of_sessions(c: Connection) -> list[Any]:
    found = (sessions.find(c, f"session of {user.open_id}", NOW) for user in (ANNA, BEN))
    return [each for each in found if each is not None and each.genuine]


def of_cards(c: Connection) -> list[Any]:
    live = (requests.live_of(c, user) for user in (ANNA, BEN))
    return [request and request.card.message_id for request in live]


READERS: dict[str, Read] = {
    "grants.access_token": of_grants("access_token"),
    "grants.refresh_token": of_grants("refresh_token"),
    "grants.memory_seal": lambda c: [each or None for each in of_grants("scopes_ever")(c)],
    "authorization_requests.ticket": of_requests,
    "authorization_attempts.verifier": lambda c: [attempt.verifier for attempt, _ in of_attempts(c)],
    "authorization_attempts.code": lambda c: [code for _, code in of_attempts(c)],
    "device_authorizations.device_code": of_devices("device_code"),
    "device_authorizations.user_code": of_devices("user_code"),
    "device_authorizations.link": of_devices("link"),
    "call_steps.result": of_steps,
    "deferred_calls.seal": of_calls,
    "deferred_calls.run_seal": of_calls,
    "deferred_calls.repeat_arguments": lambda c: [
        calls.take_arguments(c, call) for call in c.execute(select(deferred_calls.c.id)).scalars()
    ],
    "sessions.seal": of_sessions,
    "cards.seal": of_cards,
    "authorization_attempts.seal": of_attempts,
    "outgoing_messages.content": lambda c: [
        each.content for each in outbox.claim_due(c, claim_by(c, "w2", LATER, TOMORROW), 10)
    ],
    "revocations.token": lambda c: [
        each.token for each in revocations.claim_due(c, claim_by(c, "w2", LATER, TOMORROW), 10)
    ],
}
"""How the bot itself reads what is sealed in a column, of every row that `fill` has made."""

CHECKED_ALONE = {"key_check.sealed"}
"""The one row of its table."""


def test_every_sealed_column_of_the_schema_is_tried() -> None:
    assert set(READERS) | CHECKED_ALONE == sealed_columns()


def swapped(name: str) -> Read:
    """A work that exchanges what two rows of a table have sealed."""
    one = next(each for each in sealed.ALL if f"{each.table.name}.{each.column.name}" == name)

    def work(c: Connection) -> None:
        rows = c.execute(select(*one.key, one.column).where(one.column.is_not(None)).order_by(*one.key)).all()
        first, last = rows[0], rows[-1]
        assert first[:-1] != last[:-1]
        for row, value in ((first, last[-1]), (last, first[-1])):
            here = and_(*(column == row[i] for i, column in enumerate(one.key)))
            assert c.execute(update(one.table).where(here).values({one.column: value})).rowcount == 1

    return work


async def opened(database: Database, name: str, change: Read = lambda c: []) -> list[Any]:
    """What the bot finds in a column after a change, which is undone. Of recorded steps it finds all, or says that it
    cannot."""
    found: list[Any] = []

    def work(c: Connection) -> None:
        change(c)
        found[:] = READERS[name](c)
        raise KeyError("undone")

    try:
        await database.write(work)
    except KeyError:
        return [each for each in found if each is not None]
    except CannotOpenSecret:
        assert name == "call_steps.result"
        return []


@pytest.mark.parametrize("name", sorted(READERS))
async def test_what_is_moved_to_another_row_does_not_open(database: Database, name: str) -> None:
    await fill(database, ANNA)
    await fill(database, BEN)
    assert len(await opened(database, name)) == 2
    await database.write(swapped(name))
    assert await opened(database, name) == []


CHO = UserKey("lark", "cli_1", "tenant_1", "ou_cho")
OTHER_VALUES: dict[str, Any] = {
    "asked_at": LATER, "created_at": LATER, "expires_at": TOMORROW, "user_key": CHO, "scopes": frozenset({"x"}),
    "scopes_ever": frozenset({"x", "y"}),
    "chat_kind": "group", "kind": "sign_in", "language": "zh", "request_id": "of Cho",
    "reasons": ("x",), "needs": (("x",),), "confirmed": True, "ephemeral": True, "is_write": True, "private": True,
}  # fmt: skip
"""What somebody may write in place of what was there; text where nothing is said."""
OF_CHO = schema.authorization_requests.c.user_key == CHO
BOUND = {f"{one.table.name}.{one.column.name}": one for one in sealed.ALL if one.deciding}


@pytest.mark.parametrize("name", BOUND)
async def test_what_decides_cannot_be_changed(database: Database, name: str) -> None:
    one = BOUND[name]
    await fill(database, ANNA)
    await fill(database, BEN)
    await database.write(meet_cho)
    assert len(await opened(database, name)) == 2

    def change(c: Connection, column: str) -> None:
        """Of one row; what the bot reads after it is undone with it."""
        row = c.execute(select(*one.key).where(one.column.is_not(None)).order_by(*one.key).limit(1)).one()
        this = [each == row[i] for i, each in enumerate(one.key)]
        value = (
            "notice" if one is sealed.MESSAGE and column == "kind" else OTHER_VALUES.get(column, "another")
        )
        if column == "request_id":
            value = c.execute(select(schema.authorization_requests.c.id).where(OF_CHO)).scalar_one()
        assert c.execute(update(one.table).where(*this).values({column: value})).rowcount == 1

    for each in one.deciding:
        left = await opened(database, name, partial(change, column=each.name))
        assert len(left) == (0 if one is sealed.STEP_RESULT else 1), each


def meet_cho(c: Connection) -> None:
    """Somebody who has a request and nothing else. It is the latest, so the first row of a table is never theirs."""
    users.seen(c, CHO, language=None, union_id=None, now=NOW)
    ticket, scopes = Secret("of Cho"), frozenset({"x"})
    opened = open_request(c, CHO, scopes=scopes, command="x", ticket=ticket, now=LATER)
    requests.supersede(c, opened.id, LATER)


FORMER = {f"{one.table.name}.{one.column.name}": one for one in sealed.ALL if one.former is not None}


@pytest.mark.parametrize("name", FORMER)
async def test_what_an_earlier_release_bound_to_less_opens_until_it_is_sealed_again(
    database: Database, database_url: str, key: str, name: str
) -> None:
    one = FORMER[name]
    assert one.former is not None
    before = replace(one, deciding=one.former, former=None)
    await fill(database, ANNA)
    await fill(database, BEN)

    def as_before(c: Connection) -> None:
        ring = keyring_of(c)
        for row in c.execute(select(*one.parts).where(one.column.is_not(None))).mappings().all():
            secret = one.open(ring, row)
            assert secret is not None
            this = [each == row[each] for each in one.key]
            c.execute(update(one.table).where(*this).values({one.column: before.seal(ring, row, secret)}))

    await database.write(as_before)
    assert len(await opened(database, name)) == 2
    added = [each for each in one.deciding if each not in before.deciding]
    assert added

    def change(c: Connection) -> None:
        for each in added:
            c.execute(update(one.table).values({each: OTHER_VALUES[each.name]}))

    assert len(await opened(database, name, change)) == 2
    again = await open_database(database_url, Keyring([new_key(), key]))
    assert (await key_rotation.rotate(again))[name] == 2
    assert await opened(again, name, change) == []
    assert len(await opened(again, name)) == 2
    await again.close()


async def test_what_is_moved_to_another_column_does_not_open(database: Database) -> None:
    await fill(database)
    for change in (
        "UPDATE grants SET access_token = refresh_token",
        "UPDATE authorization_attempts SET code = verifier",
        "UPDATE device_authorizations SET link = user_code",
    ):
        await database.write(lambda c, change=change: c.execute(text(change)) and None)
    for name in ("grants.access_token", "authorization_attempts.code", "device_authorizations.link"):
        assert await opened(database, name) == []


SAID = {"a stored secret is lost", "a stored row is not genuine"}
CLAIMED = sorted(set(READERS) - {"call_steps.result"})


@pytest.mark.parametrize("name", CLAIMED)
async def test_what_is_lost_keeps_nobody_from_the_rows_beside_it(
    database: Database, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Changed by a hand, or sealed with a key that is gone: the row is read without it, and the log names it."""
    await fill(database, ANNA)
    await fill(database, BEN)
    table, column = name.split(".")
    for spoilt in (f"substr({column}, 1, length({column}) - 8) || 'AAAAAAAA'", "'v1.0badc0de.AAAA'"):
        whose = "user_key = :anna"
        if table == "cards":
            whose = f"request_id IN (SELECT id FROM authorization_requests WHERE {whose})"
        spoil = f"UPDATE {table} SET {column} = {spoilt} WHERE {whose}"
        await database.write(lambda c, spoil=spoil: c.execute(text(spoil), {"anna": str(ANNA)}) and None)
        # Some look again when another replica cannot have the key either; the others are told by the heartbeat.
        await opened(database, name)
        await database.write(lambda c: key_rotation.learn_of_others(c, datetime.now(UTC)))
        caplog.clear()
        assert len(await opened(database, name)) == 1
        (lost,) = {record.row for record in caplog.records if record.message in SAID}
        (one,) = (each for each in sealed.ALL if f"{each.table.name}.{each.column.name}" == name)
        assert lost.startswith(f"{one.former_name or f'{table}:{column}'}:")


async def test_what_a_running_replica_can_open_is_not_lost(database: Database) -> None:
    """While keys are replaced one replica after another, some lack the new one: they leave its secrets alone, though
    they have never heard of it."""
    await fill(database)
    newer = Keyring([new_key()])
    with_it = f"v1.{newer.key_ids[0]}.AAAA"
    moment = datetime.now(UTC)

    def come(c: Connection) -> None:
        replicas.heartbeat(c, "newer", "host", newer.key_ids, moment)
        c.execute(update(schema.grants).values(access_token=with_it))

    await database.write(come)
    with pytest.raises(CannotOpenSecret):
        await database.read(lambda c: grants.find(c, ANNA))

    def leave(c: Connection) -> None:
        replicas.remove(c, "newer")
        key_rotation.learn_of_others(c, moment)

    await database.write(leave)
    grant = await database.read(lambda c: grants.find(c, ANNA))
    assert grant is not None
    assert grant.access_token is None


async def test_the_known_text_cannot_be_replaced_by_another_secret(database: Database) -> None:
    await fill(database)
    stolen = select(schema.grants.c.access_token).scalar_subquery()
    await database.write(lambda c: c.execute(update(schema.key_check).values(sealed=stolen)) and None)
    with pytest.raises(ConfigurationError):
        await key_rotation.check_keys(database)
