"""Sessions: one browser each, ended by time or by hand; and sign-ins, which belong to a browser."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bot.core.people import SESSION_IDLE_TIMEOUT as IDLE
from bot.core.people import SESSION_LIFETIME as LIVES
from bot.core.requests import AttemptKind, AttemptStatus
from bot.store import attempts, granted_scopes, retention, sessions
from bot.store.attempts import NewAttempt
from bot.store.granted_scopes import GrantedScope
from bot.store.ids import new_id
from bot.store.transaction import Database
from tests.store.examples import ANNA, APP, BEN, LATER, NOW, SOON, claim_by, meet

MINUTE = timedelta(minutes=1)
A, B = frozenset({"a"}), frozenset({"b"})


async def signed_in(database: Database, digest: str = "s1", user=ANNA) -> None:
    await meet(database, user)
    await database.write(lambda c: sessions.begin(c, digest, user, NOW))


async def found(database: Database, digest: str, now=NOW):
    session = await database.read(lambda c: sessions.find(c, digest, now))
    return session and session.user


async def test_a_session_is_found_by_its_digest_and_by_nothing_else(database: Database) -> None:
    await signed_in(database)
    await signed_in(database, "s2", BEN)
    assert await found(database, "s1") == ANNA
    assert await found(database, "s2") == BEN
    assert await found(database, "s3") is None


async def test_a_session_that_is_not_used_ends_and_one_that_is_used_lives_on(database: Database) -> None:
    await signed_in(database)
    almost = NOW + IDLE - MINUTE
    assert await found(database, "s1", almost) == ANNA
    await database.write(lambda c: sessions.touch(c, "s1", almost))
    assert await found(database, "s1", NOW + IDLE) == ANNA
    assert await found(database, "s1", almost + IDLE) is None


async def test_a_session_ends_in_time_however_busy_it_is(database: Database) -> None:
    await signed_in(database)
    moment = NOW
    while moment < NOW + LIVES - IDLE:
        moment += IDLE / 2
        assert await found(database, "s1", moment) == ANNA
        await database.write(lambda c, m=moment: sessions.touch(c, "s1", m))
    assert await found(database, "s1", NOW + LIVES - MINUTE) == ANNA
    assert await found(database, "s1", NOW + LIVES) is None


async def test_a_session_that_was_ended_is_gone_and_others_stay(database: Database) -> None:
    await signed_in(database)
    await signed_in(database, "s2")
    assert await database.write(lambda c: sessions.end(c, "s1")) == ANNA
    assert await database.write(lambda c: sessions.end(c, "s1")) is None
    assert (await found(database, "s1"), await found(database, "s2")) == (None, ANNA)


async def test_what_has_ended_is_pruned(database: Database) -> None:
    await signed_in(database)
    assert await database.write(lambda c: sessions.prune(c, NOW + IDLE - MINUTE, 10)) == 0
    assert await database.write(lambda c: sessions.prune(c, NOW + IDLE, 10)) == 1


# --- sign-ins --------------------------------------------------------------------------------------


async def came_back(database: Database, state: str = "state") -> bool:
    sign_in = NewAttempt(
        id=new_id(NOW),
        kind=AttemptKind.SIGN_IN,
        request_id=None,
        user=None,
        state_digest=state,
        verifier=None,
        scopes=frozenset(),
        redirect_uri=None,
        expires_at=LATER,
    )
    return await database.write_one(lambda c: attempts.record_sign_in(c, sign_in, claim_by(c, "w1")))


async def test_the_state_of_a_sign_in_counts_once(database: Database) -> None:
    assert sorted(await asyncio.gather(*(came_back(database) for _ in range(8)))) == [False] * 7 + [True]
    assert await came_back(database, "another")


async def test_neither_kind_of_attempt_completes_the_other(database: Database) -> None:
    await came_back(database)
    taken = await database.write(lambda c: attempts.consume(c, "state", claim_by(c, "w1"), code=None))
    assert taken is None
    for kind, status in ((AttemptKind.AUTHORIZATION, None), (AttemptKind.SIGN_IN, "redeeming")):
        before = await database.read(lambda c, k=kind: attempts.consumed_before(c, APP, "state", k))
        assert before == status


async def test_a_used_state_is_kept_for_longer_than_its_cookie_lives(database: Database) -> None:
    await came_back(database)
    (stranded,) = await database.write(
        lambda c: attempts.stranded(c, claim_by(c, "w2", SOON, LATER), limit=5)
    )
    attempt, code = stranded
    assert (attempt.kind, attempt.verifier, code) == (AttemptKind.SIGN_IN, None, None)
    assert await database.write(lambda c: attempts.finish(c, attempt.id, AttemptStatus.FAILED, "lost", LATER))
    await database.write(lambda c: retention.prune(c, LATER + timedelta(minutes=59)))
    assert not await came_back(database)
    await database.write(lambda c: retention.prune(c, LATER + timedelta(minutes=61)))
    assert (
        await database.read(lambda c: attempts.consumed_before(c, APP, "state", AttemptKind.SIGN_IN)) is None
    )


# --- what a scope is for ---------------------------------------------------------------------------


async def test_a_scope_remembers_who_asked_and_who_last_used_it(database: Database) -> None:
    await meet(database)
    await database.write(lambda c: granted_scopes.add(c, ANNA, A | B, {"a": ("agenda",)}, NOW))
    await database.write(lambda c: granted_scopes.used(c, ANNA, A | {"x"}, "agenda", SOON))
    await database.write(lambda c: granted_scopes.used(c, ANNA, A, "tasks", SOON))
    assert await database.read(lambda c: granted_scopes.of_user(c, ANNA)) == {
        "a": GrantedScope("a", ("agenda",), NOW, SOON, "agenda"),
        "b": GrantedScope("b", (), NOW, None, None),
    }
    await database.write(lambda c: granted_scopes.used(c, ANNA, A, "tasks", SOON + MINUTE))
    await database.write(lambda c: granted_scopes.add(c, ANNA, A | B, {"a": ("week",)}, LATER))
    again = await database.read(lambda c: granted_scopes.of_user(c, ANNA))
    assert again["a"] == GrantedScope("a", ("week",), LATER, SOON + MINUTE, "tasks")
    assert again["b"].granted_at == NOW
    await database.write(lambda c: granted_scopes.forget_all(c, ANNA))
    assert await database.read(lambda c: granted_scopes.of_user(c, ANNA)) == {}
    assert await database.read(lambda c: granted_scopes.of_user(c, BEN)) == {}
