"""Reactions are added once and removed once, by any worker."""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.core.calls import CallStatus
from bot.core.messages import Content, Destination
from bot.store import calls, claims, outbox, reactions
from bot.store.outbox import NewMessage
from bot.store.queue import Claim
from bot.store.transaction import Database
from tests.store.examples import ANNA, NOW, SOON, ask, claim_by

LATER = NOW + timedelta(days=1)


async def reserved(database: Database) -> str:
    call_id = await ask(database, ANNA)
    assert await database.write_one(
        lambda c: reactions.reserve(c, ANNA, call_id, "om_1", now=NOW, due_at=LATER)
    )
    return call_id


async def test_only_one_adds_it(database: Database) -> None:
    call_id = await reserved(database)
    assert not await database.write_one(
        lambda c: reactions.reserve(c, ANNA, call_id, "om_1", now=NOW, due_at=LATER)
    )


async def test_the_answer_takes_it_away_and_nobody_else_is_due_meanwhile(database: Database) -> None:
    call_id = await reserved(database)
    assert await database.write_one(lambda c: reactions.placed(c, call_id, "r1")) == LATER
    taken = await database.write_one(lambda c: reactions.claim(c, call_id, SOON))
    assert taken == reactions.Reaction(call_id, "om_1", "r1", 1)

    async def due(app: str, moment: datetime) -> list[reactions.Reaction]:
        claim = Claim(f"{ANNA.platform}:{app}", "w", moment, LATER)
        return await database.write_one(lambda c: reactions.claim_due(c, claim, 10))

    assert await due(ANNA.app_id, NOW) == []
    assert await due("cli_other", LATER) == [], "of this app only"
    assert await due(ANNA.app_id, SOON) == [reactions.Reaction(call_id, "om_1", "r1", 2)]
    await database.write_one(lambda c: reactions.drop(c, call_id))
    assert await due(ANNA.app_id, LATER + timedelta(days=1)) == []


async def test_an_answer_that_overtakes_the_reaction_is_noticed(database: Database) -> None:
    call_id = await reserved(database)
    taken = await database.write_one(lambda c: reactions.claim(c, call_id, SOON))
    assert taken is not None
    assert taken.reaction_id is None
    assert await database.write_one(lambda c: reactions.placed(c, call_id, "r1")) == SOON


async def test_a_call_that_is_dropped_makes_its_reaction_due(database: Database) -> None:
    call_id = await reserved(database)
    await database.write_one(lambda c: reactions.placed(c, call_id, "r1"))
    await database.write(lambda c: calls.cancel(c, call_id, "recalled", NOW))
    found = await database.write_one(lambda c: reactions.claim_due(c, claim_by(c, "w", NOW, SOON), 10))
    assert [each.call_id for each in found] == [call_id]


async def test_the_calls_whose_users_have_seen_nothing_yet_are_found(database: Database) -> None:
    call_id = await ask(database, ANNA)

    async def unseen() -> list[str]:
        return await database.read(lambda c: reactions.unseen(c, [call_id, "another"]))

    assert await unseen() == [call_id]
    claimed = await database.write(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON)))
    assert claimed is not None
    message = NewMessage(
        "m1", ANNA, "answer", "k1", Destination(ANNA, "oc", "om_1"), Content("post", "{}"), call_id
    )

    def answer(c):
        calls.settle(c, claimed, CallStatus.SUCCEEDED, "answered", NOW)
        outbox.add(c, message, now=NOW, claim=claim_by(c, "w"))

    await database.write(answer)
    assert await unseen() == [call_id], "the answer is not there yet"
    await database.write(lambda c: outbox.sent(c, "m1", 1, "om_2", NOW))
    assert await unseen() == []
