"""Outgoing messages: each is written once and sent by one worker, and its content does not outlive it."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from bot.core.messages import Content, Destination, MessageStatus
from bot.store import outbox
from bot.store.ids import new_id
from bot.store.outbox import NewMessage, OutgoingMessage
from bot.store.transaction import Database
from tests.store.examples import ANNA, APP, LATER, NOW, SOON, TOMORROW, ask, claim_by


def a_message(key: str | None = None, *, call_id: str | None = None, kind: str = "answer") -> NewMessage:
    message_id = new_id(NOW)
    destination = Destination(ANNA, "oc_1", "om_1", private=True)
    content = Content("interactive", '{"title": "vertraulich"}')
    return NewMessage(message_id, ANNA, kind, key or message_id, destination, content, call_id)


async def added(database: Database, message: NewMessage) -> bool:
    return await database.write_one(lambda c: outbox.add(c, message, now=NOW))


async def due(database: Database, worker: str = "w1", now=NOW, until=SOON) -> list[OutgoingMessage]:
    return await database.write_one(lambda c: outbox.claim_due(c, claim_by(c, worker, now, until), limit=10))


async def test_a_message_comes_back_as_it_was_written_and_is_sealed_at_rest(database: Database) -> None:
    message = a_message()
    assert await added(database, message)
    (claimed,) = await due(database)
    assert claimed == outbox.claimed(message, NOW)
    stored = await database.read(lambda c: c.execute(text("SELECT * FROM outgoing_messages")).one())
    assert "vertraulich" not in str(stored)


async def test_a_message_written_for_a_worker_is_that_workers_until_its_lease_ends(
    database: Database,
) -> None:
    message = a_message()
    assert await database.write(lambda c: outbox.add(c, message, now=NOW, claim=claim_by(c, "w1")))
    assert await due(database, "w2") == []
    assert await database.write(lambda c: outbox.sent(c, message.id, 1, "om_sent", NOW))
    assert await due(database, "w2", now=SOON) == []


async def test_a_message_of_a_worker_that_is_gone_is_taken_over_once(database: Database) -> None:
    message = a_message()
    await database.write(lambda c: outbox.add(c, message, now=NOW, claim=claim_by(c, "w1")))
    taken = await asyncio.gather(*(due(database, f"w{n}", now=SOON, until=LATER) for n in range(6)))
    (again,) = [each for some in taken for each in some]
    assert (again.claim, again.attempts, again.first_tried_at) == (2, 2, NOW)
    assert not await database.write(lambda c: outbox.sent(c, message.id, 1, "om_late", SOON))
    assert await database.write(lambda c: outbox.sent(c, message.id, 2, "om_sent", SOON))


async def test_a_delivery_key_is_used_once_and_a_call_has_one_answer(database: Database) -> None:
    call_id = await ask(database)
    written = await asyncio.gather(*(added(database, a_message("key")) for _ in range(8)))
    assert written.count(True) == 1
    answers = [a_message(call_id=call_id) for _ in range(8)]
    assert (await asyncio.gather(*(added(database, each) for each in answers))).count(True) == 1
    assert await added(database, a_message(call_id=call_id, kind="note"))


async def test_a_postponed_message_remembers_a_first_sending_that_may_have_arrived(
    database: Database,
) -> None:
    message = a_message()
    await added(database, message)
    (first,) = await due(database)
    await database.write(lambda c: outbox.postpone(c, first.id, first.claim, SOON, may_have_arrived=True))
    assert await due(database) == []
    (second,) = await due(database, now=SOON)
    assert second.first_tried_at == NOW
    await database.write(lambda c: outbox.postpone(c, first.id, second.claim, LATER, may_have_arrived=False))
    (third,) = await due(database, now=LATER)
    assert third.first_tried_at == LATER


async def test_a_message_given_up_says_why_and_forgets_what_it_said(database: Database) -> None:
    message = a_message()
    await added(database, message)
    (claimed,) = await due(database)
    assert await database.write(
        lambda c: outbox.give_up(c, claimed.id, claimed.claim, MessageStatus.UNDELIVERABLE, "230053", NOW)
    )
    row = await database.read(
        lambda c: c.execute(text("SELECT status, reason, content FROM outgoing_messages")).one()
    )
    assert tuple(row) == ("undeliverable", "230053", None)
    assert await database.write(lambda c: outbox.prune(c, TOMORROW, limit=5)) == 1


async def test_what_became_of_a_message_is_found_by_its_key(database: Database) -> None:
    message = a_message("w1-a")
    await database.write(lambda c: outbox.add(c, message, now=NOW, claim=claim_by(c, "w")))
    find = lambda: database.read(lambda c: outbox.find(c, APP, "w1-a"))  # noqa: E731
    assert await find() == outbox.Delivery(settled=False, message_id=None)
    await database.write(lambda c: outbox.sent(c, message.id, 1, "om_1", NOW))
    assert await find() == outbox.Delivery(settled=True, message_id="om_1")
    assert await database.read(lambda c: outbox.find(c, APP, "w1-b")) is None
