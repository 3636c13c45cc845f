"""Authorization requests: one live for a person; attempts that count once; cards with one drawer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import text

from bot.core.calls import CallStatus, Wait, WaitsFor
from bot.core.oauth import digest
from bot.core.requests import Attempt, AttemptKind, AttemptStatus, AuthorizationRequest, RequestStatus
from bot.core.secrets import Secret
from bot.store import attempts, calls, claims, grants, requests, users
from bot.store import cards as deliveries
from bot.store.attempts import NewAttempt
from bot.store.ids import new_id
from bot.store.transaction import Database
from tests.store.examples import (
    ANNA,
    APP,
    BEN,
    LATER,
    NOW,
    SOON,
    TOMORROW,
    ask,
    claim_by,
    meet,
    open_request,
    rendered,
    save_grant,
    tokens,
)

CALENDAR = frozenset({"calendar:calendar:readonly"})
TASKS = frozenset({"task:task:read"})
NONE: frozenset[str] = frozenset()


async def opened(
    database: Database, scopes=CALENDAR, command="agenda", user=ANNA, until=TOMORROW, now=NOW
) -> AuthorizationRequest:
    ticket = Secret(new_id(now))

    def work(c) -> AuthorizationRequest:
        users.lock(c, user)
        return open_request(
            c,
            user,
            scopes=scopes,
            command=command,
            ticket=ticket,
            expires_at=until,
            now=now,
        )

    return await database.write(work)


async def attempted(
    database: Database, request: AuthorizationRequest, state: str = "s1", *, limit: int = 20
) -> bool:
    attempt = NewAttempt(
        id=new_id(NOW),
        kind=AttemptKind.AUTHORIZATION,
        request_id=request.id,
        user=request.user,
        state_digest=state,
        verifier=Secret("verifier"),
        scopes=request.scopes,
        redirect_uri="https://bot.example/oauth/lark/callback",
        expires_at=LATER,
    )
    return await database.write(
        lambda c: attempts.begin(c, attempt, now=NOW, limit=limit, limit_a_day=100) is None
    )


async def consumed(database: Database, state: str = "s1", *, worker: str = "w1", now=NOW) -> Attempt | None:
    code = Secret("code-1")
    return await database.write(
        lambda c: attempts.consume(c, state, claim_by(c, worker, now, SOON), code=code)
    )


async def get(database: Database, request: AuthorizationRequest) -> AuthorizationRequest:
    found = await database.read(lambda c: requests.get(c, request.id))
    assert found is not None
    return found


async def settled(database: Database, request: AuthorizationRequest, status: RequestStatus) -> bool:
    end = requests.End(status, granted=CALENDAR, refused=NONE)
    return await database.write(lambda c: requests.settle(c, request.id, end, NOW) is not None)


# --- asking ------------------------------------------------------------------------------------


async def test_a_request_comes_back_as_it_was_opened_with_its_ticket_sealed(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    assert await get(database, request) == request
    ticket_digest = digest(request.ticket.reveal())
    assert await database.read(lambda c: requests.find_by_ticket(c, ticket_digest)) == request
    stored = await database.read(lambda c: c.execute(text("SELECT * FROM authorization_requests")).one())
    assert request.ticket.reveal() not in str(stored)


async def test_needs_that_come_at_once_share_one_request_and_none_is_lost(database: Database) -> None:
    await meet(database)
    wanted = [frozenset({f"scope:{n}"}) for n in range(12)]
    found = await asyncio.gather(
        *(opened(database, scopes, f"command{n}") for n, scopes in enumerate(wanted))
    )
    assert len({each.id for each in found}) == 1
    request = await get(database, found[0])
    assert request.scopes == frozenset().union(*wanted)
    assert set(request.reasons) == {f"command{n}" for n in range(12)}
    assert request.card.wanted == 12


async def test_a_second_need_widens_the_request_and_keeps_its_ticket(database: Database) -> None:
    await meet(database)
    first = await opened(database, until=SOON)
    second = await opened(database, TASKS, "tasks", until=TOMORROW)
    assert (second.id, second.ticket) == (first.id, first.ticket)
    assert second.scopes == CALENDAR | TASKS
    assert second.reasons == ("agenda", "tasks")
    assert second.expires_at == TOMORROW
    assert second.card.wanted == first.card.wanted + 1


async def test_the_same_need_again_changes_nothing_that_the_card_shows(database: Database) -> None:
    await meet(database)
    assert await opened(database) == await opened(database)


async def test_people_do_not_share_a_request(database: Database) -> None:
    await meet(database)
    await meet(database, BEN)
    assert (await opened(database)).id != (await opened(database, user=BEN)).id


async def test_after_a_request_has_ended_the_next_need_opens_another(database: Database) -> None:
    await meet(database)
    first = await opened(database)
    assert await settled(database, first, RequestStatus.DECLINED)
    second = await opened(database, now=SOON)
    assert second.id != first.id
    assert await database.read(lambda c: requests.live_of(c, ANNA)) == second
    assert await database.read(lambda c: requests.latest_of(c, ANNA)) == second


async def test_a_call_that_begins_to_wait_and_a_grant_that_arrives_do_not_miss_each_other(
    database: Database,
) -> None:
    """Both in one transaction each, at the same moment: either the call sees the grant, or the grant sees the call."""
    needs = (tuple(CALENDAR),)
    for _ in range(8):
        await ask(database)
        call = await database.write_one(lambda c: claims.claim_next(c, claim_by(c, "w1", NOW, SOON)))
        assert call is not None

        def wait(c, call=call) -> bool:
            users.lock(c, ANNA)
            request = open_request(
                c,
                ANNA,
                scopes=CALENDAR,
                command="agenda",
                ticket=Secret(new_id(NOW)),
                expires_at=TOMORROW,
                now=NOW,
            )
            grant = grants.find(c, ANNA)
            if grant is not None and grant.status == "active" and grant.scopes >= CALENDAR:
                return False
            return calls.suspend(c, call, Wait(WaitsFor.AUTHORIZATION, needs, request.id), NOW)

        def store(c) -> int:
            save_grant(c, ANNA, tokens(), scopes=CALENDAR, now=NOW)
            waiting = [each.id for each in calls.suspended_of(c, ANNA)]
            return calls.release(c, waiting, NOW, consents=1)

        waited, released = await asyncio.gather(database.write(wait), database.write(store))
        assert (waited, released) in {(True, 1), (False, 0)}

        def clean(c, call=call) -> None:
            calls.cancel(c, call.id, "tidied", NOW)
            calls.settle(c, call, CallStatus.FAILED, "tidied", NOW)
            grants.end(c, ANNA, "tidied", NOW)
            live = requests.live_of(c, ANNA)
            if live is not None:
                requests.settle(
                    c, live.id, requests.End(RequestStatus.DECLINED, granted=NONE, refused=NONE), NOW
                )

        await database.write(clean)


# --- ends --------------------------------------------------------------------------------------


async def test_one_of_many_concurrent_settlements_of_a_request_succeeds(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    ends = [RequestStatus.GRANTED, RequestStatus.DECLINED, RequestStatus.EXPIRED] * 4
    done = await asyncio.gather(*(settled(database, request, status) for status in ends))
    assert done.count(True) == 1
    assert (await get(database, request)).card.wanted == 2


async def test_a_request_that_is_being_redeemed_does_not_expire(database: Database) -> None:
    await meet(database)
    request = await opened(database, until=SOON)
    await attempted(database, request)
    await consumed(database)
    assert await database.read(lambda c: requests.expired(c, LATER, limit=5)) == []
    assert not await settled(database, request, RequestStatus.EXPIRED)
    assert await settled(database, request, RequestStatus.GRANTED)


async def test_an_open_request_is_found_when_its_time_is_up(database: Database) -> None:
    await meet(database)
    request = await opened(database, until=SOON)
    await attempted(database, request)
    assert await database.read(lambda c: requests.expired(c, NOW, limit=5)) == []
    expired = await database.read(lambda c: requests.expired(c, SOON, limit=5))
    assert expired == [replace(request, opened_at=NOW)]


async def test_a_superseded_request_shows_nothing_more_and_makes_room(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    assert await database.write(lambda c: requests.supersede(c, request.id, NOW))
    assert (
        await database.write(
            lambda c: requests.claim_due_cards(c, claim_by(c, "w1", LATER, TOMORROW), limit=5)
        )
        == []
    )
    assert (await opened(database)).id != request.id


async def test_a_reopened_request_asks_for_the_rest(database: Database) -> None:
    await meet(database)
    request = await opened(database, CALENDAR | TASKS)
    await attempted(database, request)
    await consumed(database)
    assert (await get(database, request)).status is RequestStatus.REDEEMING
    assert await database.write(lambda c: requests.reopen(c, request.id, TASKS, NOW))
    again = await get(database, request)
    assert (again.status, again.scopes) == (RequestStatus.OPEN, TASKS)
    await settled(database, request, RequestStatus.GRANTED)
    assert not await database.write(lambda c: requests.reopen(c, request.id, TASKS, NOW))


async def test_avoided_scopes_add_up(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    await database.write(lambda c: requests.avoid(c, request.id, CALENDAR, TASKS, NOW))
    await database.write(lambda c: requests.avoid(c, request.id, TASKS, NONE, NOW))
    changed = await get(database, request)
    assert (changed.avoided, changed.scopes) == (CALENDAR | TASKS, NONE)


# --- attempts ----------------------------------------------------------------------------------


async def test_one_of_many_callbacks_with_one_state_is_let_through(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    await attempted(database, request)
    came = await asyncio.gather(*(consumed(database, worker=f"w{n}") for n in range(10)))
    through = [each for each in came if each is not None]
    assert len(through) == 1
    assert through[0].verifier == Secret("verifier")
    assert through[0].scopes == CALENDAR
    assert (await get(database, request)).status is RequestStatus.REDEEMING
    assert await database.read(lambda c: attempts.consumed_before(c, APP, "s1")) == "redeeming"
    assert await database.read(lambda c: attempts.consumed_before(c, APP, "s2")) is None


async def test_a_person_who_comes_back_too_late_is_not_let_through(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    await attempted(database, request)
    assert await consumed(database, now=LATER) is None
    assert await database.read(lambda c: attempts.consumed_before(c, APP, "s1")) == "live"
    assert (await get(database, request)).status is RequestStatus.OPEN


async def test_a_consent_counts_although_its_request_has_expired(database: Database) -> None:
    await meet(database)
    request = await opened(database, until=SOON)
    await attempted(database, request)
    await settled(database, request, RequestStatus.EXPIRED)
    assert await consumed(database) is not None
    assert (await get(database, request)).status is RequestStatus.EXPIRED


async def test_a_link_opened_too_often_at_once_evicts_nobody(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    begun = await asyncio.gather(*(attempted(database, request, f"s{n}", limit=3) for n in range(8)))
    assert begun.count(True) == 3
    for number, through in enumerate(begun):
        assert (await consumed(database, f"s{number}") is not None) == through


async def test_a_finished_attempt_has_lost_its_secrets_and_is_finished_once(database: Database) -> None:
    await meet(database)
    await attempted(database, await opened(database))
    attempt = await consumed(database)
    assert attempt is not None
    finished = await asyncio.gather(
        *(
            database.write(lambda c: attempts.finish(c, attempt.id, AttemptStatus.COMPLETED, "granted", NOW))
            for _ in range(5)
        )
    )
    assert finished.count(True) == 1
    row = await database.read(
        lambda c: c.execute(text("SELECT code, verifier, status FROM authorization_attempts")).one()
    )
    assert tuple(row) == (None, None, "completed")


async def test_a_redeeming_cut_short_is_taken_over_once_with_its_code(database: Database) -> None:
    await meet(database)
    await attempted(database, await opened(database))
    await consumed(database)

    async def take_over(worker: str, now):
        return await database.write(
            lambda c: attempts.stranded(c, claim_by(c, worker, now, TOMORROW), limit=5)
        )

    assert await take_over("w2", NOW) == []
    taken = await asyncio.gather(*(take_over(f"w{n}", SOON) for n in range(5)))
    (attempt, code) = next(each for each in taken if each)[0]
    assert sum(map(len, taken)) == 1
    assert (attempt.verifier, code) == (Secret("verifier"), Secret("code-1"))


# --- cards -------------------------------------------------------------------------------------


async def test_a_card_has_one_drawer_at_a_time(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    claims = await asyncio.gather(
        *(
            database.write(lambda c, w=f"w{n}": requests.claim_card(c, request.id, claim_by(c, w, NOW, SOON)))
            for n in range(8)
        )
    )
    assert len([each for each in claims if each is not None]) == 1
    assert (
        await database.write(lambda c: requests.claim_due_cards(c, claim_by(c, "w9", NOW, SOON), limit=5))
        == []
    )
    assert (
        len(
            await database.write(
                lambda c: requests.claim_due_cards(c, claim_by(c, "w9", SOON, LATER), limit=5)
            )
        )
        == 1
    )


async def test_a_change_made_while_a_card_is_drawn_is_drawn_next(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    claimed = await database.write(lambda c: requests.claim_card(c, request.id, claim_by(c, "w1", NOW, SOON)))
    assert claimed is not None
    await opened(database, TASKS, "tasks")
    assert await database.write(
        lambda c: deliveries.record_shown(c, rendered(claimed, claimed.card.wanted), NOW)
    )
    again = await database.write(lambda c: requests.claim_card(c, request.id, claim_by(c, "w1", NOW, SOON)))
    assert again is not None
    assert (again.card.message_id, again.scopes) == ("om_card", CALENDAR | TASKS)


async def test_a_card_in_its_wanted_state_is_not_due(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    claimed = await database.write(lambda c: requests.claim_card(c, request.id, claim_by(c, "w1", NOW, SOON)))
    assert claimed is not None
    own = rendered(claimed, ephemeral=True)
    of_another = replace(own, claim=own.claim + 1)
    assert not await database.write(lambda c: deliveries.record_shown(c, of_another, NOW))
    assert await database.write(lambda c: deliveries.record_shown(c, own, NOW))
    assert not await database.write(lambda c: deliveries.record_shown(c, replace(own, version=2), NOW))
    assert (
        await database.write(lambda c: requests.claim_card(c, request.id, claim_by(c, "w1", NOW, SOON)))
        is None
    )
    assert await database.write(lambda c: requests.reopen(c, request.id, frozenset({"b"}), NOW))
    assert (
        await database.write(lambda c: requests.claim_card(c, request.id, claim_by(c, "w1", NOW, SOON)))
        is not None
    )


async def test_a_worker_that_lost_a_card_records_nothing_and_the_card_is_updated_again(
    database: Database,
) -> None:
    """The same worker, too: it may have slept, and taken the card up again meanwhile."""
    await meet(database)
    request = await opened(database)
    claim = lambda now, until: database.write(  # noqa: E731
        lambda c: requests.claim_card(c, request.id, claim_by(c, "w1", now, until))
    )
    late, holder = await claim(NOW, SOON), await claim(SOON, LATER)
    assert late is not None
    assert holder is not None
    show = lambda claimed: database.write(  # noqa: E731
        lambda c: deliveries.record_shown(c, rendered(claimed), SOON)
    )
    assert await show(late) is None
    assert not await database.write(lambda c: deliveries.postpone(c, late.id, late.card.claim, TOMORROW))
    assert await show(holder) == 1
    assert await show(late) is None
    assert await claim(LATER, TOMORROW) is None
    assert await database.write(lambda c: deliveries.render_again(c, request.id, LATER))
    again = await claim(LATER, TOMORROW)
    assert again is not None
    assert (again.card.message_id, again.card.wanted) == ("om_card", 2)


async def test_a_card_that_could_not_be_shown_is_due_again_later(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    claimed = await database.write(
        lambda c: requests.claim_card(c, request.id, claim_by(c, "w1", NOW, LATER))
    )
    assert claimed is not None
    assert await database.write(lambda c: deliveries.postpone(c, claimed.id, claimed.card.claim, SOON))
    assert (
        await database.write(lambda c: requests.claim_due_cards(c, claim_by(c, "w2", NOW, LATER), limit=5))
        == []
    )
    due = await database.write(lambda c: requests.claim_due_cards(c, claim_by(c, "w2", SOON, LATER), limit=5))
    assert [each.card.attempts for each in due] == [1]


async def test_opening_a_link_stamps_the_first_time_and_nothing_else(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    await database.write(lambda c: requests.stamp_opened(c, request.id, SOON))
    await database.write(lambda c: requests.stamp_opened(c, request.id, LATER))
    assert await get(database, request) == replace(request, opened_at=SOON)


# --- refusals on the page, and what is repeated ------------------------------------------------------


async def declined_on_page(database: Database, request: AuthorizationRequest) -> bool:
    return await database.write(lambda c: requests.decline_on_page(c, request.id, SOON))


async def test_a_refusal_on_the_page_is_shown_once_and_changes_nothing_else(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    told = await asyncio.gather(*(declined_on_page(database, request) for _ in range(8)))
    assert sorted(told) == [False] * 7 + [True]
    shown = replace(
        request,
        declined_on_page_at=SOON,
        card=replace(request.card, wanted=request.card.wanted + 1, due_at=SOON),
    )
    assert await get(database, request) == shown


async def test_a_new_command_and_a_consent_end_it_and_a_consent_that_fails_does_not(
    database: Database,
) -> None:
    await meet(database)
    request = await opened(database)
    assert await declined_on_page(database, request)
    again = await opened(database)
    assert (again.id, again.declined_on_page_at) == (request.id, None)
    assert again.card.wanted == request.card.wanted + 2
    assert await declined_on_page(database, request)
    await attempted(database, request)
    await consumed(database)
    assert await database.write(lambda c: requests.give_up_redeeming(c, request.id, NOW))
    reopened = await get(database, request)
    assert (reopened.status, reopened.declined_on_page_at) == (RequestStatus.OPEN, SOON)
    assert not await database.write(lambda c: requests.give_up_redeeming(c, request.id, NOW))
    assert await database.write(lambda c: requests.reopen(c, request.id, TASKS, NOW))
    assert (await get(database, request)).declined_on_page_at is None
    await settled(database, request, RequestStatus.DECLINED)
    assert not await declined_on_page(database, request)


async def test_openings_of_a_day_are_counted_whatever_became_of_them(database: Database) -> None:
    await meet(database)
    request = await opened(database)

    async def begun(number: int, now: datetime) -> bool:
        attempt = NewAttempt(
            new_id(now), AttemptKind.AUTHORIZATION, request.id, request.user, f"d{number}", None, CALENDAR, None, LATER
        )  # fmt: skip
        return await database.write(
            lambda c: attempts.begin(c, attempt, now=now, limit=20, limit_a_day=3) is None
        )

    for number in range(3):
        assert await begun(number, NOW)
        await consumed(database, f"d{number}")
    found = await database.read(lambda c: attempts.openings(c, request.id, NOW))
    assert (found.live, found.today) == (0, 3)
    assert not await begun(3, SOON)
    assert await begun(3, NOW + timedelta(days=1))


async def test_a_used_state_that_is_sent_back_many_times_is_audited_once(database: Database) -> None:
    await meet(database)
    await attempted(database, await opened(database))
    rejected = await asyncio.gather(
        *(database.write(lambda c: attempts.reject(c, APP, "s1", "used", NOW)) for _ in range(8))
    )
    assert sorted(rejected) == [False] * 7 + [True]
    assert not await database.write(lambda c: attempts.reject(c, APP, "unknown", "used", NOW))
    entries = text("SELECT count(*) FROM audit_log WHERE action = 'callback_rejected'")
    assert await database.read(lambda c: c.execute(entries).scalar()) == 1


# --- keeping it small --------------------------------------------------------------------------


async def test_nobody_came_back_so_the_verifier_is_erased_and_later_the_rows_go(database: Database) -> None:
    await meet(database)
    request = await opened(database)
    await attempted(database, request)
    await settled(database, request, RequestStatus.DECLINED)
    assert await database.write(lambda c: attempts.expire(c, NOW, 10)) == 0
    assert await database.write(lambda c: attempts.expire(c, LATER, 10)) == 1
    far = TOMORROW + timedelta(days=1)
    assert await database.write(lambda c: attempts.prune(c, far, limit=10)) == 1
    assert await database.write(lambda c: requests.prune(c, far, limit=10)) == 1
    assert await database.read(lambda c: requests.get(c, request.id)) is None
