"""Device authorizations: one live for each request, continued by the newest claim, no code left behind."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from bot.core.oauth import DeviceCode
from bot.core.requests import AuthorizationRequest, DeviceAuthorization, DeviceStatus, RequestStatus
from bot.core.secrets import Secret
from bot.store import device_authorizations, requests
from bot.store.ids import new_id
from bot.store.transaction import Connection, Database
from tests.store.examples import ANNA, BEN, LATER, NOW, SOON, TOMORROW, claim_by, meet, open_request

SCOPES = frozenset({"task:task:read"})
CODE = DeviceCode(
    Secret("device code"), Secret("WXYZ-1234"), Secret("https://platform.example/verify"), 240, 5
)


async def request(database: Database, user=ANNA) -> AuthorizationRequest:
    await meet(database, user)
    ticket = Secret(f"ticket of {user} {new_id(NOW)}")
    return await database.write(
        lambda c: open_request(
            c,
            user,
            scopes=SCOPES,
            command="tasks",
            ticket=ticket,
            expires_at=TOMORROW,
            now=NOW,
        )
    )


async def begun(
    database: Database, asked: AuthorizationRequest, now: datetime = NOW
) -> DeviceAuthorization | None:
    return await database.write(
        lambda c: device_authorizations.begin(
            c,
            asked.id,
            asked.user,
            scopes=SCOPES,
            new_id=new_id(now),
            claim=claim_by(c, "w1", now, now + timedelta(seconds=20)),
        )
    )


async def polled(database: Database, asked: AuthorizationRequest) -> DeviceAuthorization:
    """One whose code is minted, and that has been claimed for its first poll."""
    device = await begun(database, asked)
    assert device is not None
    assert await database.write(lambda c: device_authorizations.store_codes(c, device, CODE, NOW))
    (claimed,) = await due(database, NOW + timedelta(seconds=6))
    return claimed


async def due(database: Database, now: datetime, worker: str = "w1") -> list[DeviceAuthorization]:
    until = now + timedelta(seconds=20)
    return await database.write(
        lambda c: device_authorizations.claim_due(c, claim_by(c, worker, now, until), limit=5)
    )


async def latest(database: Database, asked: AuthorizationRequest) -> DeviceAuthorization:
    found = await database.read(lambda c: device_authorizations.latest_of(c, asked.id))
    assert found is not None
    return found


async def test_of_many_presses_one_has_a_code_minted(database: Database) -> None:
    asked = await request(database)
    devices = await asyncio.gather(*(begun(database, asked) for _ in range(8)))
    assert len([each for each in devices if each is not None]) == 1


async def test_another_one_can_begin_once_the_platform_has_forgotten_the_first(database: Database) -> None:
    asked = await request(database)
    first = await polled(database, asked)
    assert await begun(database, asked, NOW + timedelta(seconds=239)) is None
    assert await begun(database, asked, NOW + timedelta(seconds=240)) is not None
    statuses = text("SELECT status FROM device_authorizations WHERE id = :id")
    ended = await database.read(lambda c: c.execute(statuses, {"id": first.id}).scalar())
    assert ended == "expired"


async def test_it_is_due_after_the_platforms_interval_and_has_its_codes_then(database: Database) -> None:
    asked = await request(database)
    device = await begun(database, asked)
    assert device is not None
    await database.write(lambda c: device_authorizations.store_codes(c, device, CODE, NOW))
    assert await due(database, NOW + timedelta(seconds=4)) == []
    (claimed,) = await due(database, NOW + timedelta(seconds=5))
    assert (claimed.device_code, claimed.user_code, claimed.link) == (
        CODE.device_code,
        CODE.user_code,
        CODE.verification_uri_complete,
    )
    assert claimed.expires_at == NOW + timedelta(seconds=240)
    assert claimed.claim == device.claim + 1


async def test_one_that_was_being_minted_by_a_dead_replica_is_taken_over(database: Database) -> None:
    asked = await request(database)
    device = await begun(database, asked)
    assert device is not None
    assert await due(database, NOW + timedelta(seconds=19), "w2") == []
    (taken,) = await due(database, NOW + timedelta(seconds=20), "w2")
    assert taken.status is DeviceStatus.REQUESTING
    late = await database.write(lambda c: device_authorizations.store_codes(c, device, CODE, SOON))
    assert not late
    assert await database.write(lambda c: device_authorizations.store_codes(c, taken, CODE, SOON))


async def test_replicas_never_claim_the_same_one(database: Database) -> None:
    asked = await request(database)
    await polled(database, asked)
    claims = await asyncio.gather(*(due(database, LATER, f"w{n}") for n in range(6)))
    assert sorted(map(len, claims)) == [0, 0, 0, 0, 0, 1]


async def test_a_worker_that_comes_late_changes_nothing(database: Database) -> None:
    asked = await request(database)
    slow = await polled(database, asked)
    (taken,) = await due(database, LATER, "w2")

    def too_late(c: Connection) -> list[bool]:
        return [
            device_authorizations.postpone(c, slow.id, slow.claim, until=TOMORROW, interval=9, failures=3),
            device_authorizations.finish(c, slow.id, slow.claim, DeviceStatus.FAILED, "late", LATER),
        ]

    assert await database.write(too_late) == [False, False]
    found = await latest(database, asked)
    assert (found.status, found.interval, found.claim) == (DeviceStatus.POLLING, 5, taken.claim)


async def test_postponing_keeps_the_pace_that_the_platform_wants(database: Database) -> None:
    asked = await request(database)
    device = await polled(database, asked)
    assert await database.write(
        lambda c: device_authorizations.postpone(
            c, device.id, device.claim, until=LATER, interval=10, failures=1
        )
    )
    assert await due(database, LATER - timedelta(seconds=1)) == []
    (claimed,) = await due(database, LATER)
    assert (claimed.interval, claimed.failures) == (10, 1)


async def test_at_its_end_the_codes_are_erased(database: Database) -> None:
    asked = await request(database)
    device = await polled(database, asked)
    done = DeviceStatus.COMPLETED
    assert await database.write(
        lambda c: device_authorizations.finish(c, device.id, device.claim, done, "granted", LATER)
    )
    found = await latest(database, asked)
    assert (found.status, found.outcome) == (done, "granted")
    assert found.device_code is found.user_code is found.link is None
    assert await due(database, TOMORROW) == []


async def test_what_a_person_drops_is_closed_and_that_of_others_stays(database: Database) -> None:
    mine, theirs = await request(database), await request(database, BEN)
    device, other = await polled(database, mine), await polled(database, theirs)
    assert await database.write(lambda c: device_authorizations.close(c, ANNA, LATER)) == 1
    assert not await database.write(
        lambda c: device_authorizations.finish(
            c, device.id, device.claim, DeviceStatus.COMPLETED, "granted", LATER
        )
    )
    assert await database.read(lambda c: device_authorizations.outcome_of(c, device.id)) == "closed"
    assert (await latest(database, theirs)).id == other.id
    assert (await latest(database, theirs)).status is DeviceStatus.POLLING


async def test_a_live_code_moves_to_the_request_that_takes_the_place_of_its_own(database: Database) -> None:
    asked = await request(database)
    device = await polled(database, asked)
    await database.write(lambda c: requests.supersede(c, asked.id, LATER))
    successor = await request(database)
    assert successor.status is RequestStatus.OPEN
    await database.write(lambda c: device_authorizations.move(c, asked.id, successor.id))
    assert (await latest(database, successor)).id == device.id
    assert await database.read(lambda c: device_authorizations.latest_of(c, asked.id)) is None


BROKEN = {
    "a status of its own": "UPDATE device_authorizations SET status = 'waiting'",
    "codes that outlive it": "UPDATE device_authorizations SET status = 'failed', settled_at = created_at",
    "polling without a code": "UPDATE device_authorizations SET device_code = NULL",
    "polling for ever": "UPDATE device_authorizations SET expires_at = NULL",
    "an end without a time": "UPDATE device_authorizations SET status = 'failed', device_code = NULL, "
    "user_code = NULL, link = NULL",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN)
async def test_the_database_refuses(database: Database, statement: str) -> None:
    await polled(database, await request(database))
    with pytest.raises(IntegrityError):
        await database.write(lambda c: c.execute(text(statement)) and None)
