"""Rotation: afterwards the first key opens everything, whatever happened meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Text, func, select, type_coerce, update

from bot.core.calls import Step
from bot.core.errors import ConfigurationError
from bot.core.messages import Content, Destination
from bot.core.oauth import DeviceCode
from bot.core.people import UserKey
from bot.core.requests import AttemptKind
from bot.core.secrets import Secret
from bot.store import (
    attempts,
    call_steps,
    claims,
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
)
from bot.store import cards as deliveries
from bot.store.attempts import NewAttempt
from bot.store.ids import new_id
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.outbox import NewMessage
from bot.store.transaction import Connection, Database, keyring_of
from tests.store.examples import (
    ANNA,
    APP,
    LATER,
    NOW,
    SOON,
    TOMORROW,
    ask,
    claim_by,
    open_request,
    rendered,
    save_grant,
    tokens,
)

SCOPES = frozenset({"calendar:calendar:readonly"})


async def fill(database: Database, user: UserKey = ANNA) -> None:
    """One secret of a person's at least in every sealed column."""
    await ask(database, user)
    state = f"state of {user.open_id}"

    def work(c: Connection) -> None:
        call = claims.claim_next(c, claim_by(c, "w1", NOW, SOON))
        assert call is not None
        steps = [Step(n, f"d{n}", False, None, {"value": n}) for n in range(3)]
        call_steps.record_results(c, call.id, call.claim, steps)
        save_grant(c, user, tokens(), scopes=SCOPES, now=NOW)
        request = open_request(
            c,
            user,
            scopes=SCOPES,
            command="agenda",
            ticket=Secret(f"ticket of {user.open_id}"),
            expires_at=TOMORROW,
            now=NOW,
        )
        attempt = NewAttempt(
            new_id(NOW),
            AttemptKind.AUTHORIZATION,
            request.id,
            user,
            state,
            Secret("verifier"),
            SCOPES,
            None,
            LATER,
        )
        attempts.begin(c, attempt, now=NOW, limit=20, limit_a_day=100)
        attempts.consume(c, state, claim_by(c, "w1"), code=Secret("code"))
        content = Content("text", "hello")
        message = NewMessage(new_id(NOW), user, "note", user.open_id, Destination(user), content, None)
        outbox.add(c, message, now=NOW)
        revocations.add(c, user, Secret("revoked"), NOW)
        sessions.begin(c, f"session of {user.open_id}", user, NOW)
        fill_card(c, request.id)
        fill_device(c, request.id, user)
        kept = {"id": call.id, "user_key": user, "command": call.command}
        repeat = sealed.REPEAT.seal(keyring_of(c), kept, Secret("today"))
        c.execute(
            update(schema.deferred_calls)
            .where(schema.deferred_calls.c.id == call.id)
            .values(repeat_arguments=repeat)
        )

    await database.write(work)


def fill_card(c: Connection, request: str) -> None:
    claimed = requests.claim_card(c, request, claim_by(c, "w1", NOW, SOON))
    assert claimed is not None
    deliveries.record_shown(c, rendered(claimed, message_id=f"om_{request}"), NOW)


def fill_device(c: Connection, request: str, user: UserKey) -> None:
    device = device_authorizations.begin(
        c, request, user, scopes=SCOPES, new_id=new_id(NOW), claim=claim_by(c, "w1")
    )
    assert device is not None
    code = DeviceCode(Secret("device code"), Secret("user code"), Secret("https://page"), 240, 5)
    assert device_authorizations.store_codes(c, device, code, NOW)


def still_under(prefix: str, connection: Connection) -> list[str]:
    """The columns that hold something which the key of this prefix did not seal."""
    found = []
    for each in sealed.ALL:
        other = ~type_coerce(each.column, Text).startswith(prefix, autoescape=True)
        query = select(func.count()).select_from(each.table).where(other)
        if connection.execute(query).scalar():
            found.append(f"{each.table.name}.{each.column.name}")
    return found


def sealed_columns() -> set[str]:
    """Of the schema: what holds a secret says so, and a proof says what it is."""
    return {
        f"{table.name}.{column.name}"
        for table in schema.metadata.tables.values()
        for column in table.columns
        if "sealed" in (column.comment or "") or (column.comment or "").startswith("Proof, ")
    }


async def test_every_sealed_column_is_known_to_the_rotation(database: Database) -> None:
    assert {f"{each.table.name}.{each.column.name}" for each in sealed.ALL} == sealed_columns()


async def test_after_a_rotation_the_new_key_alone_opens_everything(database_url: str, monkeypatch) -> None:
    monkeypatch.setattr(key_rotation, "BATCH_SIZE", 2)
    old, new = new_key(), new_key()
    database = await open_database(database_url, Keyring([old]), APP)
    await fill(database)
    await database.close()

    both = await open_database(database_url, Keyring([new, old]), APP)
    counts = await key_rotation.rotate(both)
    assert counts["call_steps.result"] == 3
    assert all(counts.values())
    assert sum((await key_rotation.rotate(both)).values()) == 0
    await both.close()

    alone = await open_database(database_url, Keyring([new]), APP)
    assert await alone.read(lambda c: still_under(Keyring([new]).prefix, c)) == []
    grant = await alone.read(lambda c: grants.find(c, ANNA))
    assert grant is not None
    assert grant.refresh_token == Secret("refresh-1")
    (stranded,) = await alone.write(lambda c: attempts.stranded(c, claim_by(c, "w2", SOON, LATER), limit=5))
    assert (stranded[0].verifier, stranded[1]) == (Secret("verifier"), Secret("code"))
    assert (await alone.read(lambda c: requests.live_of(c, ANNA))).ticket == Secret("ticket of ou_anna")  # type: ignore[union-attr]
    (device,) = await alone.write(
        lambda c: device_authorizations.claim_due(c, claim_by(c, "w", SOON, LATER), limit=5)
    )
    assert (device.device_code, device.user_code, device.link) == (
        Secret("device code"),
        Secret("user code"),
        Secret("https://page"),
    )
    assert len(await alone.write(lambda c: outbox.claim_due(c, claim_by(c, "w", NOW, SOON), limit=5))) == 1
    assert (
        len(await alone.write(lambda c: revocations.claim_due(c, claim_by(c, "w", NOW, SOON), limit=5))) == 1
    )
    session = await alone.read(lambda c: sessions.find(c, "session of ou_anna", NOW))
    assert session is not None
    assert session.genuine
    call = await alone.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", SOON, LATER)))
    assert call is not None
    assert call.genuine
    await alone.close()
    with pytest.raises(ConfigurationError):
        await open_database(database_url, Keyring([old]), APP)


async def test_a_rotation_while_the_bot_works_loses_nothing(database_url: str) -> None:
    old, new = new_key(), new_key()
    first = await open_database(database_url, Keyring([old]), APP)
    await fill(first)
    await first.close()
    both = await open_database(database_url, Keyring([new, old]), APP)

    async def work() -> None:
        for number in range(2, 20):
            await both.write(lambda c, n=number: save_grant(c, ANNA, tokens(n), scopes=SCOPES, now=NOW))

    await asyncio.gather(work(), key_rotation.rotate(both), key_rotation.rotate(both))
    grant = await both.read(lambda c: grants.find(c, ANNA))
    assert grant is not None
    assert grant.access_token == Secret("access-19")
    assert await both.read(lambda c: still_under(Keyring([new]).prefix, c)) == []
    await both.close()


async def test_it_refuses_while_a_running_replica_lacks_the_new_key(database_url: str) -> None:
    old, new = Keyring([new_key()]), new_key()
    now = datetime.now(UTC)
    database = await open_database(database_url, Keyring([new]), APP)
    await database.write(lambda c: replicas.heartbeat(c, "r1", "host-1", old.key_ids, now))
    with pytest.raises(key_rotation.ReplicaLacksKey, match="host-1"):
        await key_rotation.rotate(database)
    await database.write(
        lambda c: replicas.heartbeat(c, "r1", "host-1", old.key_ids, now - timedelta(hours=1))
    )
    await key_rotation.rotate(database)
    await database.close()
