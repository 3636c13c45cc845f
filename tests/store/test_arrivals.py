"""Messages that arrive at once are recorded at once, each as if it had come alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from bot.core.calls import Wait, WaitsFor
from bot.core.people import UserKey
from bot.store import calls, claims, inbox, users
from bot.store.connection import StoreConnection
from bot.store.inbox import MAX_URGENT, MAX_WAITING, Arrival, Recorded
from bot.store.transaction import Connection, Database
from tests.store.examples import ANNA, BEN, NOW, SOON, a_call, claim_by

QUEUED, SEEN, TOO_MANY = Recorded.QUEUED, Recorded.SEEN_BEFORE, Recorded.TOO_MANY


def arrival(user: UserKey = ANNA, number: int = 0, **told) -> Arrival:
    call = a_call(user, asked_at=NOW + timedelta(seconds=number))
    return Arrival(
        told.get("event_id", f"ev_{call.id}"), call, told.get("language"), told.get("union_id"), NOW
    )


async def arrive(database: Database, *arrived: Arrival) -> list[Recorded]:
    return await asyncio.gather(*(database.write_together(inbox.record_all, each) for each in arrived))


async def claimed_in_turn(database: Database) -> list[str]:
    taken = []
    while (
        call := await database.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON)))
    ) is not None:
        taken.append(call.id)
        await database.write(lambda c, call=call: calls.settle(c, call, calls.CallStatus.FAILED, "x", NOW))
        await database.write(lambda c: claims.promote_missed(c, NOW))
    return taken


async def test_everything_that_arrives_at_once_is_recorded_unchanged(database: Database) -> None:
    people = [UserKey("lark", "cli_1", "tenant_1", f"ou_{number}") for number in range(150)]
    arrived = [arrival(person, union_id=f"on_{person.open_id}", language="zh") for person in people]
    assert await arrive(database, *arrived) == [QUEUED] * 150
    for each in arrived:
        call = await database.read(lambda c, each=each: calls.get(c, each.call.id))
        assert call is not None
        assert (call.user, call.message_id, call.asked_at) == (
            each.call.user, each.call.message_id, each.call.asked_at,
        )  # fmt: skip
        profile = await database.read(lambda c, each=each: users.profile(c, each.call.user))
        assert profile is not None
        assert profile.language == "zh"


async def test_what_is_delivered_twice_at_once_is_recorded_once(database: Database) -> None:
    first = arrival(event_id="ev_1")
    same_event = arrival(BEN, event_id="ev_1")
    same_message = replace(arrival(), call=replace(a_call(), message_id=first.call.message_id))
    recorded = await arrive(database, first, same_event, same_message, arrival(BEN))
    assert recorded[1] is SEEN
    assert {recorded[0], recorded[2]} == {SEEN, QUEUED}
    assert recorded[3] is QUEUED
    assert await arrive(database, first, same_message) == [SEEN, SEEN]


async def test_what_a_person_asks_at_once_is_taken_in_the_order_asked(database: Database) -> None:
    asked = [arrival(number=number) for number in (2, 0, 3, 1)]
    await arrive(database, arrival(BEN), *asked)
    in_order = [each.call.id for each in sorted(asked, key=lambda each: each.call.asked_at)]
    taken = await claimed_in_turn(database)
    assert [call for call in taken if call in in_order] == in_order


async def test_a_person_who_tells_less_this_time_keeps_what_was_known(database: Database) -> None:
    await arrive(database, arrival(language="zh"), arrival(number=1), arrival(number=2))
    await arrive(database, arrival(number=3))
    profile = await database.read(lambda c: users.profile(c, ANNA))
    assert profile is not None
    assert profile.language == "zh"


async def test_a_person_has_at_most_so_many_calls_waiting(database: Database) -> None:
    asked = [arrival(number=number) for number in range(MAX_WAITING + 5)]
    became = await arrive(database, *asked[:60], arrival(BEN), *asked[60:])
    assert became.count(TOO_MANY) == 5
    assert became[60] is QUEUED
    # Some of them wait for a consent: these count as well.
    for _ in range(40):
        call = await database.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON)))
        assert call is not None
        await database.write(lambda c, call=call: calls.suspend(c, call, Wait(WaitsFor.CONFIRMATION), NOW))
    waiting = await database.read(lambda c: len(calls.waiting_of(c, ANNA)))
    assert await arrive(database, arrival(number=200)) == ([TOO_MANY] if waiting >= MAX_WAITING else [QUEUED])
    # A repeat of what was not taken is not taken either, and is no second refusal.
    refused = next(each for each, fate in zip(asked[60:], became[61:], strict=True) if fate is TOO_MANY)
    assert await arrive(database, refused) == [SEEN]


async def test_what_helps_out_is_taken_beyond_that_and_is_bounded_too(database: Database) -> None:
    await arrive(database, *(arrival(number=number) for number in range(MAX_WAITING)))
    urgent = [replace(arrival(number=200 + number), urgent=True) for number in range(MAX_URGENT + 5)]
    became = await arrive(database, *urgent[:7]) + await arrive(database, *urgent[7:])
    assert became.count(QUEUED) == MAX_URGENT
    assert became.count(TOO_MANY) == 5


async def test_once_less_is_waiting_more_is_taken(database: Database) -> None:
    asked = [arrival(number=number) for number in range(MAX_WAITING)]
    await arrive(database, *asked)
    assert await arrive(database, arrival(number=200)) == [TOO_MANY]
    await database.write(lambda c: calls.cancel(c, asked[0].call.id, "cancelled_by_user", NOW))
    became = await arrive(database, arrival(number=201), arrival(number=202))
    assert sorted(became) == [QUEUED, TOO_MANY]


# --- written together ----------------------------------------------------------------------------


async def test_events_that_arrive_during_a_write_share_the_next_one(database: Database) -> None:
    batches = []

    def meet_all(c: Connection, people: list[UserKey]) -> list[str]:
        batches.append(len(people))
        c.execute(users.SEEN, [users.row(person, None, None, NOW) for person in people])
        return [person.open_id for person in people]

    people = [UserKey("lark", "cli_1", "tenant_1", f"ou_{number}") for number in range(30)]
    met = await asyncio.gather(*(database.write_together(meet_all, person) for person in people))
    assert met == [person.open_id for person in people]
    assert len(batches) < 5
    assert sum(batches) == 30


@pytest.mark.parametrize("fault", ["a value that it does not allow", "text that it cannot hold"])
async def test_what_the_database_refuses_fails_alone(database: Database, fault: str) -> None:
    wrong = arrival()
    if fault == "text that it cannot hold":
        wrong = replace(wrong, call=replace(wrong.call, arguments="\ud800"))
    else:
        wrong = replace(wrong, language="tlh")
    others = [arrival(UserKey("lark", "cli_1", "tenant_1", f"ou_{number}")) for number in range(10)]
    results = await asyncio.gather(
        *(database.write_together(inbox.record_all, each) for each in [*others[:5], wrong, *others[5:]]),
        return_exceptions=True,
    )
    assert isinstance(results.pop(5), (DBAPIError, UnicodeEncodeError))
    assert results == [QUEUED] * 10
    assert await database.read(lambda c: calls.get(c, wrong.call.id)) is None


async def test_many_arrivals_cost_as_many_statements_as_one(database: Database) -> None:
    people = [UserKey("lark", "cli_1", "tenant_1", f"ou_{number}") for number in range(50)]
    arrived = [arrival(person) for person in people]

    def executed(c: StoreConnection, some: list[Arrival]) -> int:
        statements: list[str] = []
        c.observe = statements.append
        assert set(inbox.record_all(c, some)) == {QUEUED}
        c.observe = None
        return len(statements)

    costs = {await database.write(lambda c, s=some: executed(c, s)) for some in (arrived[:1], arrived[1:])}
    assert costs == {3 if database.dialect == "sqlite" else 1}
