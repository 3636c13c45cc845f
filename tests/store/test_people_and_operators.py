"""The smaller tables, what is deleted when, and what operators see."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from bot.core.calls import CallStatus, Wait, WaitsFor
from bot.core.messages import Content, Destination, MessageStatus
from bot.core.people import Identity, UserKey
from bot.core.secrets import Secret
from bot.flows.outbox import OVERTAKEN
from bot.store import (
    audit,
    calls,
    claims,
    grants,
    operator_queries,
    operator_stories,
    outbox,
    replicas,
    requests,
    retention,
    revocations,
    scope_waits,
    seen_events,
    users,
)
from bot.store import cards as deliveries
from bot.store.cards import RenderedCard
from bot.store.outbox import NewMessage
from bot.store.scope_waits import ScopeWait
from bot.store.transaction import Connection, Database
from tests.store.examples import (
    ANNA,
    BEN,
    LATER,
    NOW,
    SOON,
    TOMORROW,
    ask,
    claim_by,
    meet,
    open_request,
    save_grant,
    tokens,
)

SCOPES = frozenset({"calendar:calendar:readonly"})


async def test_what_is_not_said_again_about_a_person_stays(database: Database) -> None:
    await database.write(lambda c: users.seen(c, ANNA, language="zh", union_id="on_1", now=NOW))
    await database.write(lambda c: users.seen(c, ANNA, language=None, union_id=None, now=LATER))
    await database.write(lambda c: users.name_user(c, ANNA, "Anna 王", NOW))
    await database.write(lambda c: users.set_time_zone(c, ANNA, "Asia/Shanghai"))
    await database.write(lambda c: users.set_quiet(c, ANNA, NOW))
    profile = await database.read(lambda c: users.profile(c, ANNA))
    assert profile == users.UserProfile("Anna 王", "zh", "Asia/Shanghai", None, NOW)
    await database.write(lambda c: users.consented(c, ANNA, Identity("ou_anna", "tenant_1"), LATER))
    profile = await database.read(lambda c: users.profile(c, ANNA))
    assert profile == users.UserProfile("Anna 王", "zh", "Asia/Shanghai", None, None)
    assert await database.read(lambda c: users.profile(c, BEN)) is None


async def test_a_person_is_welcomed_once(database: Database) -> None:
    await meet(database)
    welcomed = await asyncio.gather(
        *(database.write(lambda c: users.welcome(c, ANNA, NOW)) for _ in range(6))
    )
    assert welcomed.count(True) == 1


async def test_an_event_without_a_message_is_recorded_once_too(database: Database) -> None:
    recorded = await asyncio.gather(
        *(database.write_one(lambda c: seen_events.record(c, "lark", "cli_1", "ev_1", NOW)) for _ in range(6))
    )
    assert recorded.count(True) == 1
    assert await database.write(lambda c: seen_events.record(c, "lark", "cli_2", "ev_1", NOW))
    assert await database.write(lambda c: seen_events.prune(c, NOW, limit=5)) == 0
    # The other app's stays.
    assert await database.write(lambda c: seen_events.prune(c, SOON, limit=5)) == 1


async def test_one_wait_for_a_scope_set_until_it_is_enabled(database: Database) -> None:
    await asyncio.gather(
        *(database.write(lambda c: scope_waits.open(c, ("lark", "cli_1"), SCOPES, NOW)) for _ in range(6))
    )
    (wait,) = await database.read(lambda c: scope_waits.waiting(c, "lark", "cli_1"))
    assert wait.scopes == SCOPES
    assert await database.write(lambda c: scope_waits.enabled(c, wait.id, NOW))
    assert not await database.write(lambda c: scope_waits.enabled(c, wait.id, NOW))
    await database.write(lambda c: scope_waits.open(c, ("lark", "cli_1"), SCOPES, NOW))
    (again,) = await database.read(lambda c: scope_waits.waiting(c, "lark", "cli_1"))
    assert again.id != wait.id


def of_wait(wait: ScopeWait) -> RenderedCard:
    return RenderedCard(wait.id, wait.card.claim, wait.card.wanted)


async def test_administrators_cards_are_due_until_the_last_claimer_has_shown_them(
    database: Database,
) -> None:
    def opened(c: Connection) -> None:
        scope_waits.open(c, ("lark", "cli_1"), SCOPES, NOW)

    def taken(moment: datetime, lease_until: datetime) -> Any:
        return database.write(
            lambda c: scope_waits.claim_due_cards(c, claim_by(c, "w", moment, lease_until), limit=5)
        )

    await database.write(opened)
    (late,) = await taken(NOW, SOON)
    assert await taken(NOW, SOON) == []
    (wait,) = await taken(SOON, TOMORROW)
    await database.write(opened)
    assert not await database.write(lambda c: deliveries.record_shown(c, of_wait(late), NOW))
    assert await database.write(lambda c: deliveries.record_shown(c, of_wait(wait), NOW))
    (more,) = await taken(TOMORROW, TOMORROW)
    assert more.card.wanted == wait.card.wanted + 1
    assert await database.write(lambda c: deliveries.record_shown(c, of_wait(more), NOW))
    assert await taken(TOMORROW, TOMORROW) == []


async def test_a_revocation_is_tried_until_it_is_done_and_then_forgets_its_token(database: Database) -> None:
    await meet(database)
    await database.write(lambda c: revocations.add(c, ANNA, Secret("refresh-1"), NOW))
    due = lambda moment: database.write_one(  # noqa: E731
        lambda c: revocations.claim_due(c, claim_by(c, "w1", moment, moment + timedelta(seconds=20)), limit=5)
    )
    taken = await asyncio.gather(*(due(NOW) for _ in range(5)))
    (revocation,) = [each for some in taken for each in some]
    assert (revocation.user, revocation.token, revocation.attempts) == (ANNA, Secret("refresh-1"), 1)
    assert await database.write(lambda c: revocations.postpone(c, revocation, LATER))
    assert await due(SOON) == []
    assert [each.attempts for each in await due(LATER)] == [2]
    assert not await database.write(lambda c: revocations.postpone(c, revocation, NOW))
    assert await due(LATER) == []
    assert await database.write(lambda c: revocations.done(c, revocation.id, LATER))
    assert await due(TOMORROW) == []
    assert not await database.write(lambda c: revocations.failed(c, revocation.id, "late", LATER))
    stored = await database.read(lambda c: c.execute(text("SELECT status, token FROM revocations")).one())
    assert tuple(stored) == ("done", None)


async def test_replicas_are_live_while_their_heart_beats(database: Database) -> None:
    for replica, moment in (("r1", NOW), ("r2", NOW), ("r1", LATER)):
        await database.write(lambda c, r=replica, m=moment: replicas.heartbeat(c, r, "host", ("k1", "k2"), m))
    (live,) = await database.read(lambda c: replicas.live(c, SOON))
    assert (live.id, live.started_at, live.heartbeat_at, live.key_ids) == ("r1", NOW, LATER, ("k1", "k2"))
    await database.write(lambda c: replicas.remove(c, "r1"))
    assert [each.id for each in await database.read(lambda c: replicas.live(c, NOW))] == ["r2"]


async def lived(database: Database) -> str:
    """Anna has granted something, one call of hers has failed, another waits; the id of that."""
    await ask(database, asked_at=NOW - timedelta(hours=1))
    await ask(database)

    def work(c: Connection) -> str:
        users.name_user(c, ANNA, "Anna", NOW)
        first = claims.claim_next(c, claim_by(c, "w1", NOW, SOON))
        assert first is not None
        calls.settle(c, first, CallStatus.FAILED, "refused_1", NOW)
        second = claims.claim_next(c, claim_by(c, "w1", NOW, SOON))
        assert second is not None
        save_grant(c, ANNA, tokens(), scopes=SCOPES, now=NOW)
        request = open_request(
            c,
            ANNA,
            scopes=SCOPES,
            command="agenda",
            ticket=Secret("ticket-1"),
            expires_at=TOMORROW,
            now=NOW,
        )
        calls.suspend(c, second, Wait(WaitsFor.AUTHORIZATION, (("a", "b"),), request.id), NOW)
        audit.write(c, "grant_stored", user=ANNA, now=NOW, scopes=sorted(SCOPES))
        return second.id

    return await database.write(work)


async def test_operators_read_the_story_of_a_person_without_a_secret(database: Database) -> None:
    waiting = await lived(database)

    async def told(user: UserKey) -> dict[str, Any]:
        subject = operator_stories.Subject("user", user)
        return await database.read(
            lambda c: operator_stories.explain(c, str(user), subject, LATER, operator_queries.ALL)
        )

    story = await told(ANNA)
    assert story["user"]["name"] == "Anna"
    assert (story["grant"]["status"], story["grant"]["scopes"]) == ("active", sorted(SCOPES))
    assert story["open_request"]["status"] == "open"
    assert [(each["id"], each["needs"]) for each in story["waiting"]] == [(waiting, [["a", "b"]])]
    assert [each["status"] for each in story["recent_calls"]].count("failed") == 1
    stored = [each for each in story["timeline"] if each["what"] == "grant_stored"]
    assert stored[0]["detail"] == {"scopes": sorted(SCOPES)}
    shown = json.dumps(story, default=str)
    assert not any(secret in shown for secret in ("access-1", "refresh-1", "ticket-1", "v1.", "today"))
    assert (await told(BEN))["user"] is None


async def test_operators_lists_are_plain_rows_without_a_secret(database: Database) -> None:
    await lived(database)
    for view in (
        operator_queries.users,
        operator_queries.requests,
        operator_queries.calls,
        operator_queries.audit,
        lambda c: operator_queries.status(c, NOW),
    ):
        shown = json.dumps(await database.read(view), default=str)
        assert len(shown) > 20
        assert not any(secret in shown for secret in ("access-1", "refresh-1", "ticket-1", "v1."))
    status = await database.read(lambda c: operator_queries.status(c, NOW))
    assert status["calls"]["suspended"] == 1
    assert status["grants"]["active"] == 1


async def test_the_views_of_the_database_hold_no_secret_and_answer_the_first_questions(
    database: Database,
) -> None:
    waiting = await lived(database)

    def rows(name: str):
        return lambda c: [dict(row._mapping) for row in c.execute(text(f"SELECT * FROM {name}"))]

    (who,) = await database.read(rows("who_is_waiting"))
    assert (who["name"], who["call_id"], who["waits_for"]) == ("Anna", waiting, "authorization")
    (grant,) = await database.read(rows("grants_overview"))
    assert (grant["name"], grant["status"], bool(grant["can_refresh"])) == ("Anna", "active", True)
    assert not any("v1." in str(value) for value in grant.values())
    assert await database.read(rows("recent_trouble")) is not None


async def test_an_interim_word_that_the_answer_overtook_does_not_count_as_trouble(database: Database) -> None:
    for name, kind, reason in (
        ("a", "interim", OVERTAKEN),
        ("b", "interim", "230013"),
        ("c", "notice", OVERTAKEN),
    ):
        message = NewMessage(f"m-{name}", ANNA, kind, name, Destination(ANNA), Content("text", "x"), None)
        await database.write(lambda c, m=message: outbox.add(c, m, now=NOW, claim=claim_by(c, "w")))
        end = (MessageStatus.UNDELIVERABLE, reason, datetime.now(UTC))
        await database.write(lambda c, m=message, end=end: outbox.give_up(c, m.id, 1, *end))
    found = await database.read(lambda c: c.execute(text("SELECT id FROM recent_trouble")).scalars().all())
    assert sorted(found) == ["m-b", "m-c"]


async def test_a_person_is_found_by_key_open_id_name_or_the_beginning_of_an_open_id(
    database: Database,
) -> None:
    await meet(database)
    await meet(database, BEN)
    await meet(database, UserKey("lark", "cli_1", "tenant_1", "ou_anna_2"))
    await database.write(lambda c: users.name_user(c, ANNA, "Anna", NOW))

    async def found(wanted: str) -> list[UserKey]:
        return await database.read(lambda c: operator_queries.find_user(c, wanted))

    assert await found(str(ANNA)) == await found("ou_anna") == await found("Anna") == [ANNA]
    assert len(await found("ou_a")) == 2
    assert await found("ou_%") == []
    await database.write(lambda c: users.name_user(c, BEN, "ou_anna_", NOW))
    assert len(await found("ou_anna_")) == 2, "an operator's `bot revoke` ends nobody else's grant"


async def test_retention_deletes_what_nobody_asks_for_and_keeps_what_waits(database: Database) -> None:
    waiting = await lived(database)
    await database.write(lambda c: retention.prune(c, NOW))
    assert await database.read(lambda c: calls.get(c, waiting)) is not None
    deleted = await database.write(lambda c: retention.prune(c, NOW + timedelta(days=31)))
    assert deleted == 3  # two events, and the call that failed
    assert await database.read(lambda c: calls.get(c, waiting)) is not None
    assert await database.read(lambda c: requests.live_of(c, ANNA)) is not None
    assert await database.read(lambda c: grants.find(c, ANNA)) is not None
