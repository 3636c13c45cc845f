"""Deferred calls: recorded once, claimed in order by one worker, and changed only by the holder of the claim."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from bot.core.calls import CallStatus, DeferredCall, Step, Wait, WaitsFor
from bot.core.messages import DirectChat
from bot.store import call_steps, calls, claims, inbox, users
from bot.store.transaction import Database
from tests.store.examples import ANNA, APP, BEN, LATER, NOW, SOON, TOMORROW, a_call, ask, claim_by

NEEDS = (("calendar:calendar:readonly", "calendar:calendar"),)


async def claim(database: Database, worker: str = "w1", now=NOW, until=SOON) -> DeferredCall | None:
    return await database.write_one(lambda c: claims.claim_next(c, claim_by(c, worker, now, until)))


async def claimed(database: Database) -> DeferredCall:
    await ask(database)
    call = await claim(database)
    assert call is not None
    return call


async def suspended(database: Database, waits_for: WaitsFor = WaitsFor.ADMINISTRATOR) -> DeferredCall:
    call = await claimed(database)
    assert await database.write(lambda c: calls.suspend(c, call, Wait(waits_for, NEEDS), NOW))
    return call


async def get(database: Database, call_id: str) -> DeferredCall:
    found = await database.read(lambda c: calls.get(c, call_id))
    assert found is not None
    return found


# --- recording ---------------------------------------------------------------------------------


async def test_a_call_comes_back_as_it_was_recorded(database: Database) -> None:
    new = a_call()
    await database.write_one(lambda c: inbox.record(c, "ev_1", new, language="zh", union_id="on_1", now=NOW))
    call = await get(database, new.id)
    assert (call.user, call.chat, call.message_id) == (ANNA, new.chat, new.message_id)
    assert (call.command, call.arguments, call.asked_at) == ("agenda", "today", NOW)
    assert (call.status, call.needs, call.claim, call.attempts) == (CallStatus.QUEUED, (), 0, 0)
    assert (call.language, call.confirmed, call.expires_at) == ("en", False, TOMORROW)
    profile = await database.read(lambda c: users.profile(c, ANNA))
    assert profile is not None
    assert profile.language == "zh"


async def test_an_event_delivered_again_has_no_second_effect(database: Database) -> None:
    first, again = a_call(), a_call()
    assert await database.write_one(
        lambda c: inbox.record(c, "ev_1", first, language="en", union_id=None, now=NOW)
    )
    assert not await database.write_one(
        lambda c: inbox.record(c, "ev_1", again, language="zh", union_id=None, now=LATER)
    )
    assert await database.read(lambda c: calls.get(c, again.id)) is None
    profile = await database.read(lambda c: users.profile(c, ANNA))
    assert profile is not None
    assert profile.language == "en"


async def test_the_same_message_in_another_event_has_no_second_effect(database: Database) -> None:
    first, again = a_call(message_id="om_1"), a_call(message_id="om_1")
    assert await database.write_one(
        lambda c: inbox.record(c, "ev_1", first, language=None, union_id=None, now=NOW)
    )
    assert not await database.write_one(
        lambda c: inbox.record(c, "ev_2", again, language=None, union_id=None, now=NOW)
    )


async def test_one_of_many_deliveries_at_once_is_recorded(database: Database) -> None:
    def deliver(number: int):
        call = a_call(message_id="om_1")
        return database.write_one(
            lambda c: inbox.record(c, f"ev_{number % 2}", call, language="en", union_id=None, now=NOW)
        )

    recorded = await asyncio.gather(*(deliver(number) for number in range(20)))
    assert recorded.count(True) == 1


async def test_a_failed_work_leaves_nothing(database: Database) -> None:
    new = a_call()

    def work(c):
        inbox.record(c, "ev_1", new, language="en", union_id=None, now=NOW)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert await database.read(lambda c: calls.get(c, new.id)) is None
    assert await database.write(lambda c: inbox.record(c, "ev_1", new, language="en", union_id=None, now=NOW))


# --- claiming ----------------------------------------------------------------------------------


async def test_many_workers_at_once_take_each_call_exactly_once(database: Database) -> None:
    people = [ANNA, BEN, *(type(ANNA)("lark", "cli_1", "tenant_1", f"ou_{n}") for n in range(28))]
    asked = {await ask(database, person) for person in people}

    async def worker(name: str) -> list[str]:
        taken, misses = [], 0
        while misses < 3:
            call = await claim(database, name)
            if call is None:
                misses += 1
            else:
                taken.append(call.id)
        return taken

    taken = [each for some in await asyncio.gather(*(worker(f"w{n}") for n in range(8))) for each in some]
    assert sorted(taken) == sorted(asked)


async def test_a_person_has_one_call_running_at_a_time_even_with_many_workers(database: Database) -> None:
    for number in range(5):
        await ask(database, asked_at=NOW + timedelta(seconds=number))
    claims = await asyncio.gather(*(claim(database, f"w{n}") for n in range(8)))
    assert len([each for each in claims if each is not None]) == 1


async def test_a_persons_calls_run_in_the_order_asked_not_in_the_order_received(database: Database) -> None:
    second = await ask(database, asked_at=NOW + timedelta(seconds=2))
    first = await ask(database, asked_at=NOW + timedelta(seconds=1))
    order = []
    while (call := await claim(database)) is not None:
        order.append(call.id)
        await database.write(
            lambda c, call=call: calls.settle(c, call, CallStatus.SUCCEEDED, "answered", NOW)
        )
    assert order == [first, second]


async def test_a_suspended_or_postponed_call_delays_nobody(database: Database) -> None:
    await suspended(database)
    postponed = await claimed(database)
    await database.write(lambda c: calls.requeue(c, postponed, LATER, NOW))
    third = await ask(database, asked_at=NOW + timedelta(seconds=9))
    call = await claim(database)
    assert call is not None
    assert call.id == third


async def test_a_call_is_taken_over_when_its_lease_runs_out_and_not_before(database: Database) -> None:
    call = await claimed(database)
    assert await claim(database, "w2") is None
    taken = await claim(database, "w2", now=SOON, until=LATER)
    assert taken is not None
    assert (taken.id, taken.claim, taken.attempts) == (call.id, 2, 2)


async def test_a_lease_that_is_extended_is_not_taken_over(database: Database) -> None:
    call = await claimed(database)
    assert await database.write_one(lambda c: claims.extend(c, call.id, call.claim, LATER))
    assert await claim(database, "w2", now=SOON) is None


async def test_a_worker_that_lost_the_claim_changes_nothing(database: Database) -> None:
    old = await claimed(database)
    assert await claim(database, "w2", now=SOON, until=LATER) is not None
    step = Step(0, "d0", False, None, {"value": 1})
    works = [
        lambda c: claims.extend(c, old.id, old.claim, TOMORROW),
        lambda c: call_steps.record_results(c, old.id, old.claim, [step]),
        lambda c: call_steps.record_sending(c, old.id, old.claim, 0, "d0", NOW) is not None,
        lambda c: calls.suspend(c, old, Wait(WaitsFor.ADMINISTRATOR, NEEDS), NOW),
        lambda c: calls.requeue(c, old, NOW, None),
        lambda c: calls.settle(c, old, CallStatus.SUCCEEDED, "answered", NOW),
    ]
    for work in works:
        assert not await database.write(work)
    assert await database.read(lambda c: call_steps.steps_of(c, old.id)) == []
    assert (await get(database, old.id)).status is CallStatus.RUNNING


# --- steps -------------------------------------------------------------------------------------


async def test_results_come_back_and_are_sealed_at_rest(database: Database) -> None:
    call = await claimed(database)
    steps = [Step(0, "d0", False, None, {"value": "geheim ☕"}), Step(1, "d1", True, NOW, {"value": None})]
    assert await database.write(lambda c: call_steps.record_results(c, call.id, call.claim, steps))
    assert await database.read(lambda c: call_steps.steps_of(c, call.id)) == steps
    stored = await database.read(lambda c: c.execute(text("SELECT result FROM call_steps")).scalars().all())
    assert all(each.startswith("v1.") and "geheim" not in each for each in stored)


async def test_a_write_keeps_the_moment_of_its_first_sending(database: Database) -> None:
    call = await claimed(database)
    first = await database.write_one(
        lambda c: call_steps.record_sending(c, call.id, call.claim, 0, "d0", NOW)
    )
    again = await database.write_one(
        lambda c: call_steps.record_sending(c, call.id, call.claim, 0, "dX", LATER)
    )
    assert first == again == NOW
    assert await database.read(lambda c: call_steps.steps_of(c, call.id)) == [Step(0, "d0", True, NOW, None)]


async def test_a_result_does_not_change_when_its_write_was_sent(database: Database) -> None:
    call = await claimed(database)
    await database.write(lambda c: call_steps.record_sending(c, call.id, call.claim, 0, "d0", NOW))
    done = [Step(0, "d0", True, None, {"value": 1})]
    await database.write(lambda c: call_steps.record_results(c, call.id, call.claim, done))
    assert await database.read(lambda c: call_steps.steps_of(c, call.id)) == [
        Step(0, "d0", True, NOW, {"value": 1})
    ]


async def test_a_write_that_was_certainly_not_carried_out_counts_as_never_sent(database: Database) -> None:
    call = await claimed(database)
    await database.write(lambda c: call_steps.record_sending(c, call.id, call.claim, 0, "d0", NOW))
    assert await database.write(lambda c: call_steps.forget_sending(c, call.id, call.claim, 0))
    assert await database.read(lambda c: call_steps.steps_of(c, call.id)) == []


async def test_a_restarted_command_forgets_its_old_steps_but_never_a_sent_write(database: Database) -> None:
    call = await claimed(database)
    old = [Step(n, f"old{n}", False, None, {"value": n}) for n in range(3)]
    await database.write(lambda c: call_steps.record_results(c, call.id, call.claim, old))
    await database.write(lambda c: call_steps.record_sending(c, call.id, call.claim, 3, "w", NOW))
    new = [Step(0, "new0", False, None, {"value": 9})]
    await database.write(lambda c: call_steps.record_results(c, call.id, call.claim, new))
    steps = await database.read(lambda c: call_steps.steps_of(c, call.id))
    assert [each.digest for each in steps] == ["new0", "w"]


async def test_results_are_erased_when_the_call_settles(database: Database) -> None:
    call = await claimed(database)
    steps = [Step(0, "d0", False, None, {"value": 1})]
    await database.write(lambda c: call_steps.record_results(c, call.id, call.claim, steps))
    assert await database.write(lambda c: calls.settle(c, call, CallStatus.FAILED, "refused_1", NOW))
    assert (await database.read(lambda c: call_steps.steps_of(c, call.id)))[0].result is None


# --- status ------------------------------------------------------------------------------------


async def test_a_released_call_runs_again_and_counts_its_consent(database: Database) -> None:
    call = await suspended(database)
    waiting = await get(database, call.id)
    assert (waiting.status, waiting.waits_for, waiting.needs) == (
        CallStatus.SUSPENDED,
        WaitsFor.ADMINISTRATOR,
        NEEDS,
    )
    assert await database.write(lambda c: calls.release(c, [call.id], LATER, consents=1)) == 1
    again = await claim(database, now=LATER, until=TOMORROW)
    assert again is not None
    assert (again.id, again.consents, again.waits_for, again.claim) == (call.id, 1, None, 2)


async def test_of_many_releases_at_once_one_counts(database: Database) -> None:
    call = await suspended(database)
    released = await asyncio.gather(
        *(database.write(lambda c: calls.release(c, [call.id], NOW, consents=1)) for _ in range(10))
    )
    assert sum(released) == 1
    assert (await get(database, call.id)).consents == 1


async def test_only_a_call_that_waits_for_it_is_confirmed(database: Database) -> None:
    call = await suspended(database)
    assert not await database.write(lambda c: calls.confirm(c, call.id, NOW))
    assert await database.write(lambda c: calls.change_wait(c, call.id, WaitsFor.CONFIRMATION, None, NOW))
    assert await database.write(lambda c: calls.confirm(c, call.id, NOW))
    assert (await get(database, call.id)).confirmed


async def test_a_settled_call_is_neither_cancelled_nor_expired_nor_released(database: Database) -> None:
    call = await claimed(database)
    await database.write(lambda c: calls.settle(c, call, CallStatus.SUCCEEDED, "answered", NOW))
    assert not await database.write(lambda c: calls.cancel(c, call.id, "cancelled_by_user", NOW))
    assert not await database.write(lambda c: calls.expire(c, call.id, NOW))
    assert await database.write(lambda c: calls.release(c, [call.id], NOW)) == 0
    assert (await get(database, call.id)).status is CallStatus.SUCCEEDED


async def test_the_call_of_a_recalled_question_can_only_be_cancelled(database: Database) -> None:
    call = await claimed(database)
    end = (call, CallStatus.CANCELLED, "recalled", NOW)
    assert not await database.write(lambda c: calls.settle_recalled(c, *end))
    marks = [await database.write(lambda c: calls.mark_recalled(c, call.id, NOW)) for _ in range(2)]
    assert marks == [True, False]
    wait = Wait(WaitsFor.ADMINISTRATOR, NEEDS)
    assert not await database.write(lambda c: calls.suspend(c, call, wait, NOW))
    assert not await database.write(lambda c: calls.settle(c, call, CallStatus.SUCCEEDED, "x", NOW))
    assert await database.write(lambda c: calls.settle_recalled(c, *end))
    assert (await get(database, call.id)).status is CallStatus.CANCELLED
    assert not await database.write(lambda c: calls.mark_recalled(c, call.id, NOW))


async def test_after_a_recall_no_other_write_leaves_and_one_that_left_may_be_sent_again(
    database: Database,
) -> None:
    call = await claimed(database)

    async def sending(number: int) -> datetime | None:
        return await database.write(
            lambda c: call_steps.record_sending(c, call.id, call.claim, number, f"d{number}", NOW)
        )

    assert not await database.read(lambda c: call_steps.has_written(c, call.id))
    assert await sending(0) == NOW
    assert await database.read(lambda c: call_steps.has_written(c, call.id))
    await database.write(lambda c: calls.mark_recalled(c, call.id, NOW))
    assert await sending(0) == NOW
    assert await sending(1) is None
    assert [each.number for each in await database.read(lambda c: call_steps.steps_of(c, call.id))] == [0]


async def test_a_persons_chats_are_found_by_what_they_asked_there_last(database: Database) -> None:
    assert await database.read(lambda c: calls.direct_chat_of(c, ANNA)) is None
    asked = [await ask(database) for _ in range(3)]
    await ask(database, BEN)
    last = await get(database, max(asked))
    assert last.chat.kind == "direct"
    assert await database.read(lambda c: calls.direct_chat_of(c, ANNA)) == DirectChat(
        last.chat.chat_id, last.message_id
    )
    assert await database.read(lambda c: calls.latest_group_of(c, ANNA)) is None
    # A row that the bot did not write has no effect.
    await database.write(
        lambda c: c.execute(text("UPDATE deferred_calls SET chat_id = 'oc_elsewhere'")) and None
    )
    assert await database.read(lambda c: calls.direct_chat_of(c, ANNA)) is None


async def test_a_running_call_is_not_cancelled_under_its_worker(database: Database) -> None:
    call = await claimed(database)
    assert not await database.write(lambda c: calls.cancel(c, call.id, "cancelled_by_user", NOW))


async def test_of_a_release_and_a_cancellation_at_once_exactly_one_happens(database: Database) -> None:
    for _ in range(5):
        call = await suspended(database)
        released, cancelled = await asyncio.gather(
            database.write(lambda c, i=call.id: calls.release(c, [i], LATER)),
            database.write(lambda c, i=call.id: calls.cancel(c, i, "cancelled_by_user", NOW)),
        )
        # A cancellation may also come after the release: a queued call can be cancelled.
        status = (await get(database, call.id)).status
        assert status is (CallStatus.CANCELLED if cancelled else CallStatus.QUEUED)
        assert released or cancelled
        await database.write(lambda c, i=call.id: calls.cancel(c, i, "tidied", NOW))


async def test_the_first_failure_is_kept_over_retries_and_forgotten_when_the_call_waits(
    database: Database,
) -> None:
    call = await claimed(database)
    await database.write(lambda c: calls.requeue(c, call, NOW, NOW))
    again = await claim(database)
    assert again is not None
    await database.write(lambda c: calls.requeue(c, again, NOW, LATER))
    third = await claim(database)
    assert third is not None
    assert third.first_failed_at == NOW
    await database.write(lambda c: calls.suspend(c, third, Wait(WaitsFor.ADMINISTRATOR, NEEDS), NOW))
    assert (await get(database, call.id)).first_failed_at is None


async def test_one_interim_word_for_a_call_that_keeps_failing(database: Database) -> None:
    call = await claimed(database)
    await database.write(lambda c: calls.requeue(c, call, LATER, NOW))
    due = await database.read(lambda c: calls.due_for_interim(c, NOW, limit=5))
    assert [each.id for each in due] == [call.id]
    assert await database.read(lambda c: calls.due_for_interim(c, NOW - timedelta(seconds=1), limit=5)) == []
    marked = await asyncio.gather(
        *(database.write_one(lambda c: calls.mark_interim(c, call.id, SOON)) for _ in range(5))
    )
    assert marked.count(True) == 1
    assert await database.read(lambda c: calls.due_for_interim(c, NOW, limit=5)) == []


async def test_what_waits_is_found_by_person_by_reason_by_message_and_by_time(database: Database) -> None:
    waiting = await suspended(database)
    queued = await ask(database, asked_at=NOW - timedelta(hours=1))
    await ask(database, BEN)

    async def ids(work) -> list[str]:
        return [each.id for each in await database.read(work)]

    assert await ids(lambda c: calls.suspended_of(c, ANNA)) == [waiting.id]
    assert await ids(lambda c: calls.waiting_of(c, ANNA)) == [queued, waiting.id]
    reason = WaitsFor.ADMINISTRATOR
    assert await ids(lambda c: calls.waiting_for(c, APP, reason, limit=9)) == [waiting.id]
    assert await ids(lambda c: calls.overdue(c, NOW, limit=9)) == []
    assert len(await ids(lambda c: calls.overdue(c, TOMORROW, limit=9))) == 3
    message_id = waiting.message_id or ""
    assert await ids(lambda c: calls.all_by_message(c, APP, message_id)) == [waiting.id]


async def test_old_settled_calls_are_deleted_with_their_steps_and_others_stay(database: Database) -> None:
    done = await claimed(database)
    steps = [Step(0, "d0", False, None, {"value": 1})]
    await database.write(lambda c: call_steps.record_results(c, done.id, done.claim, steps))
    await database.write(lambda c: calls.settle(c, done, CallStatus.SUCCEEDED, "answered", NOW))
    waiting = await suspended(database)
    assert await database.write(lambda c: calls.prune(c, TOMORROW, limit=10)) == 1
    assert await database.read(lambda c: call_steps.steps_of(c, done.id)) == []
    assert await database.read(lambda c: calls.get(c, waiting.id)) is not None


# --- long queues -------------------------------------------------------------------------------


async def test_of_a_persons_queue_only_the_first_is_looked_at_and_the_next_steps_forward(
    database: Database,
) -> None:
    asked = [await ask(database, asked_at=NOW + timedelta(seconds=n)) for n in range(4)]
    assert await behind(database) == asked[1:]
    running = await claim(database)
    assert running is not None
    assert running.id == asked[0]
    assert await behind(database) == asked[2:]
    others = await ask(database, BEN)
    ben = await claim(database)
    assert ben is not None
    assert ben.id == others
    assert await claim(database) is None
    for expected in asked[1:]:
        assert await database.write(
            lambda c, held=running: calls.settle(c, held, CallStatus.SUCCEEDED, "answered", NOW)
        )
        running = await claim(database)
        assert running is not None
        assert running.id == expected
    assert await behind(database) == []


async def test_a_call_left_behind_in_the_queue_is_promoted(database: Database) -> None:
    asked = [await ask(database, asked_at=NOW + timedelta(seconds=n)) for n in range(3)]
    assert await database.write(lambda c: claims.promote_missed(c, NOW)) == 0
    assert await database.write(lambda c: calls.cancel(c, asked[0], "recalled", NOW))
    assert await claim(database, "w2") is None
    assert await database.write(lambda c: claims.promote_missed(c, NOW)) == 1
    first = await claim(database)
    assert first is not None
    assert first.id == asked[1]


async def test_of_many_released_calls_one_stands_first(database: Database) -> None:
    waiting = []
    for n in range(3):
        await ask(database, asked_at=NOW + timedelta(seconds=n))
        call = await claim(database)
        assert call is not None
        await database.write(lambda c, i=call: calls.suspend(c, i, Wait(WaitsFor.ADMINISTRATOR, NEEDS), NOW))
        waiting.append(call.id)
    assert await database.write(lambda c: calls.release(c, waiting, NOW)) == 3
    assert await behind(database) == waiting[1:]
    first = await claim(database)
    assert first is not None
    assert first.id == waiting[0]


async def test_a_call_that_is_tried_again_later_lets_the_next_pass(database: Database) -> None:
    call = await claimed(database)
    await database.write(lambda c: calls.requeue(c, call, LATER, NOW))
    await ask(database)
    assert await behind(database) == []


async def behind(database: Database) -> list[str]:
    query = text("SELECT id FROM deferred_calls WHERE status = 'queued' AND behind ORDER BY asked_at, id")
    return list(await database.read(lambda c: c.execute(query).scalars().all()))


async def test_what_waits_can_be_read_part_by_part(database: Database) -> None:
    """In the order of all, whatever each waits for; what is settled and what others ask is not among it."""
    await suspended(database)
    for number in range(7):
        await ask(database, asked_at=NOW + timedelta(seconds=7 - number))
    await ask(database, BEN)
    settled = await ask(database)
    await database.write(lambda c: calls.cancel(c, settled, "over", NOW))
    whole = [call.id for call in await database.read(lambda c: calls.waiting_of(c, ANNA))]
    assert len(whole) == 8
    assert await database.read(lambda c: calls.count_waiting(c, ANNA)) == 8
    for skipped, limit in ((0, 3), (3, 3), (6, 3), (8, 3), (0, 100)):
        part = await database.read(
            lambda c, s=skipped, n=limit: calls.some_waiting_of(c, ANNA, skipped=s, limit=n)
        )
        assert [call.id for call in part] == whole[skipped : skipped + limit]
