"""Grants: the newest tokens win, one worker refreshes, and what was ended is erased."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from bot.core.grants import Grant, GrantStatus
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.store import grants
from bot.store.transaction import Database
from tests.store.examples import ANNA, BEN, LATER, NOW, SOON, TOMORROW, claim_by, meet, save_grant, tokens

CALENDAR = frozenset({"calendar:calendar:readonly"})
TASKS = frozenset({"task:task:read"})


async def granted(database: Database, number: int = 1, scopes=CALENDAR, now=NOW, refresh=True) -> Grant:
    await meet(database)
    return await database.write(
        lambda c: save_grant(c, ANNA, tokens(number, refresh=refresh), scopes=scopes, now=now)
    )


async def leased(database: Database, generation: int, worker: str = "w1", now=NOW) -> Grant | None:
    return await database.write_one(
        lambda c: grants.lease_refresh(
            c, ANNA, generation, claim_by(c, worker, now, now + timedelta(seconds=20))
        )
    )


async def refreshed(database: Database, generation: int, number: int) -> Grant | None:
    known = replace(await find(database), generation=generation)
    new = grants.NewTokens(tokens(number), CALENDAR)
    return await database.write(lambda c: grants.save_refreshed(c, known, new, SOON))


async def find(database: Database) -> Grant:
    found = await database.read(lambda c: grants.find(c, ANNA))
    assert found is not None
    return found


async def test_a_grant_comes_back_as_it_was_saved_and_its_tokens_are_sealed(database: Database) -> None:
    grant = await granted(database)
    assert await find(database) == grant
    assert (grant.access_token, grant.refresh_token) == (Secret("access-1"), Secret("refresh-1"))
    assert grant.access_expires_at == NOW + timedelta(hours=2)
    assert grant.refresh_expires_at == NOW + timedelta(days=7)
    assert (grant.authorized_at, grant.issued_at, grant.generation) == (NOW, NOW, 1)
    stored = str(await database.read(lambda c: c.execute(text("SELECT * FROM grants")).one()))
    assert "access-1" not in stored
    assert "refresh-1" not in stored


async def test_a_new_consent_replaces_the_tokens_and_remembers_every_scope(database: Database) -> None:
    await granted(database)
    grant = await granted(database, 2, TASKS, now=LATER)
    assert (grant.generation, grant.scopes, grant.scopes_ever) == (2, TASKS, TASKS | CALENDAR)
    assert grant.access_token == Secret("access-2")


async def test_consents_that_arrive_at_once_lose_no_scope_that_was_ever_granted(database: Database) -> None:
    await meet(database)
    await asyncio.gather(*(granted(database, n, frozenset({f"scope:{n}"})) for n in range(8)))
    grant = await find(database)
    assert grant.scopes_ever == {f"scope:{n}" for n in range(8)}
    assert grant.generation == 8


async def test_one_of_many_workers_refreshes(database: Database) -> None:
    grant = await granted(database)
    leases = await asyncio.gather(*(leased(database, grant.generation, f"w{n}") for n in range(10)))
    assert len([each for each in leases if each is not None]) == 1


async def test_a_lease_that_ran_out_is_free_and_another_is_not(database: Database) -> None:
    grant = await granted(database)
    assert await leased(database, grant.generation)
    assert not await leased(database, grant.generation, "w2", now=NOW + timedelta(seconds=19))
    assert await leased(database, grant.generation, "w2", now=NOW + timedelta(seconds=20))


async def test_a_refresh_is_saved_for_its_own_generation_only(database: Database) -> None:
    grant = await granted(database)
    await leased(database, grant.generation)
    saved = await refreshed(database, grant.generation, 2)
    assert saved is not None
    assert (saved.generation, saved.access_token, saved.issued_at) == (2, Secret("access-2"), SOON)
    assert saved.authorized_at == NOW
    assert await refreshed(database, grant.generation, 3) is None
    assert (await find(database)).access_token == Secret("access-2")
    assert await leased(database, 2, "w2")


async def test_a_late_refresh_never_overwrites_a_newer_consent(database: Database) -> None:
    old = await granted(database)
    await leased(database, old.generation)
    await granted(database, 2, now=LATER)
    assert await refreshed(database, old.generation, 3) is None
    assert (await find(database)).access_token == Secret("access-2")


async def test_of_a_refresh_and_a_consent_at_once_the_consent_stays(database: Database) -> None:
    for number in range(6):
        old = await granted(database, number)
        await leased(database, old.generation)
        await asyncio.gather(refreshed(database, old.generation, 100), granted(database, 200))
        assert (await find(database)).access_token == Secret("access-200")


async def test_a_failed_refresh_keeps_the_tokens_and_pauses(database: Database) -> None:
    grant = await granted(database)
    held = await leased(database, grant.generation)
    assert held is not None
    fail = lambda worker: database.write_one(  # noqa: E731
        lambda c: grants.refresh_failed(c, held, worker, after=LATER, in_doubt=True)
    )
    assert not await fail("w2")
    assert await fail("w1")
    assert not await fail("w1")
    assert (await find(database)).refresh_token == grant.refresh_token
    assert not await leased(database, grant.generation, now=SOON)
    assert await leased(database, grant.generation, now=LATER)


async def test_a_refresh_in_doubt_stays_on_record_and_a_certain_failure_does_not(database: Database) -> None:
    grant = await granted(database)
    for in_doubt, expected in ((True, 1), (False, 0)):
        held = await leased(database, grant.generation)
        assert held is not None
        await database.write(
            lambda c, d=in_doubt, h=held: grants.refresh_failed(c, h, "w1", after=NOW, in_doubt=d)
        )
        count = text("SELECT count(refresh_started_at) FROM grants")
        assert await database.read(lambda c, q=count: c.execute(q).scalar()) == expected


async def test_an_ended_grant_has_no_tokens_and_hands_them_over_to_be_revoked(database: Database) -> None:
    await granted(database)
    was = await database.write(lambda c: grants.end(c, ANNA, "revoked_by_user", LATER))
    assert was is not None
    assert was.refresh_token == Secret("refresh-1")
    grant = await find(database)
    assert (grant.status, grant.end_reason) == (GrantStatus.ENDED, "revoked_by_user")
    assert (grant.access_token, grant.refresh_token, grant.scopes) == (None, None, frozenset())
    assert grant.scopes_ever == frozenset()
    assert await database.write(lambda c: grants.end(c, ANNA, "revoked_by_user", LATER)) is None


async def test_a_grant_that_just_ran_out_is_remembered(database: Database) -> None:
    await granted(database)
    await database.write(lambda c: grants.end(c, ANNA, "expired", LATER))
    assert (await find(database)).scopes_ever == CALENDAR
    again = await granted(database, 2, TASKS)
    assert (again.status, again.scopes_ever, again.end_reason) == (GrantStatus.ACTIVE, CALENDAR | TASKS, None)


async def test_a_grant_ends_only_if_it_is_the_one_that_was_meant(database: Database) -> None:
    await granted(database)
    grant = await granted(database, 2, now=LATER)
    end = lambda **only: database.write(lambda c: grants.end(c, ANNA, "over", LATER, **only))  # noqa: E731
    assert await end(generation=1) is None
    assert await end(authorized_before=NOW) is None
    assert await end(authorized_before=LATER) is None
    assert await end(generation=grant.generation, authorized_before=TOMORROW) is not None


async def test_a_refresh_that_comes_after_the_end_brings_nothing_back(database: Database) -> None:
    grant = await granted(database)
    await leased(database, grant.generation)
    await database.write(lambda c: grants.end(c, ANNA, "revoked_by_user", NOW))
    assert await refreshed(database, grant.generation, 2) is None
    assert (await find(database)).access_token is None


async def test_use_is_noted_once_a_minute(database: Database) -> None:
    await granted(database)
    for moment in (NOW, SOON):
        await database.write_one(lambda c, m=moment: grants.touch(c, ANNA, m))
    assert (await find(database)).last_used_at == NOW
    await database.write_one(lambda c: grants.touch(c, ANNA, LATER))
    assert (await find(database)).last_used_at == LATER


async def used(database: Database, moment) -> None:
    await database.write_one(lambda c: grants.touch(c, ANNA, moment))


async def due(database: Database, moment, worker: str = "w1") -> list[UserKey]:
    found = await database.write_one(
        lambda c: grants.lease_due(c, claim_by(c, worker, moment, moment + timedelta(seconds=20)), limit=5)
    )
    return [grant.user for grant in found]


async def test_busy_tokens_are_renewed_before_they_expire_and_idle_ones_when_next_needed(
    database: Database,
) -> None:
    await granted(database)
    expiring = NOW + timedelta(hours=1, minutes=56)
    assert await due(database, expiring) == []
    await used(database, NOW + timedelta(minutes=50))
    assert await due(database, expiring) == []
    await used(database, NOW + timedelta(hours=1))
    assert await due(database, NOW + timedelta(hours=1)) == []
    assert await due(database, expiring) == [ANNA]


async def test_a_refresh_token_in_use_is_kept_from_running_out_and_an_unused_one_is_not(
    database: Database,
) -> None:
    await granted(database)
    last_day = NOW + timedelta(days=6, hours=1)
    assert await due(database, last_day) == []
    await used(database, NOW + timedelta(minutes=1))
    assert await due(database, NOW + timedelta(days=3)) == []
    assert await due(database, NOW + timedelta(days=7)) == []
    assert await due(database, last_day) == [ANNA]


async def test_replicas_lease_different_due_rows_and_no_more_than_allowed(database: Database) -> None:
    people = [UserKey("lark", "cli_1", "tenant_1", f"ou_{n:03}") for n in range(40)]
    for each in people:
        await meet(database, each)
        await database.write(lambda c, u=each: save_grant(c, u, tokens(), scopes=CALENDAR, now=NOW))
        await database.write(lambda c, u=each: grants.touch(c, u, NOW + timedelta(hours=1)))
    moment = NOW + timedelta(hours=1, minutes=56)
    leases = await asyncio.gather(*(due(database, moment, f"w{n}") for n in range(6)))
    assert {len(each) for each in leases} == {5}
    assert len({user for each in leases for user in each}) == 30


async def test_a_lease_that_was_lost_can_neither_fail_nor_forget_what_another_refreshes(
    database: Database,
) -> None:
    """The same worker, too: it may have slept, and leased the grant again meanwhile."""
    grant = await granted(database)
    late = await leased(database, grant.generation)
    holder = await leased(database, grant.generation, now=SOON)
    assert late is not None
    assert holder is not None
    assert not await database.write(
        lambda c: grants.refresh_failed(c, late, "w1", after=TOMORROW, in_doubt=False)
    )
    assert not await database.write(lambda c: grants.refresh_over(c, late, "w1", SOON))
    assert await find(database) == holder
    assert await database.write(lambda c: grants.refresh_over(c, holder, "w1", SOON))


async def test_a_refresh_token_that_is_over_is_forgotten_and_the_access_token_stays(
    database: Database,
) -> None:
    grant = await granted(database)
    held = await leased(database, grant.generation)
    assert held is not None
    assert await database.write(lambda c: grants.refresh_over(c, held, "w1", NOW))
    left = await find(database)
    assert (left.status, left.access_token, left.refresh_token) == (
        GrantStatus.ACTIVE,
        grant.access_token,
        None,
    )
    assert await due(database, NOW + timedelta(hours=1, minutes=56)) == []


async def test_a_person_who_never_granted_anything_has_no_grant(database: Database) -> None:
    assert await database.read(lambda c: grants.find(c, BEN)) is None
    assert await database.write(lambda c: grants.end(c, BEN, "revoked_by_user", NOW)) is None
