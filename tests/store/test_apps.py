"""Several apps in one database: each claims, sees, expires and deletes what is its own."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Delete, Update, insert, select, text
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter
from sqlalchemy.sql.schema import Column

import bot.store
from bot.core.calls import CallStatus, WaitsFor
from bot.core.messages import Content, Destination
from bot.core.people import UserKey
from bot.core.requests import AttemptKind, RequestStatus
from bot.core.secrets import Secret
from bot.store import (
    api_calls,
    attempts,
    audit,
    calls,
    claims,
    device_authorizations,
    grants,
    inbox,
    operator_queries,
    outbox,
    replicas,
    requests,
    retention,
    revocations,
    schema,
    scope_waits,
    seen_events,
    sessions,
    takeover,
    users,
)
from bot.store.attempts import NewAttempt
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database, upgrade
from bot.store.outbox import NewMessage
from bot.store.queue import Claim
from bot.store.transaction import Database
from tests.old_audit_rows import past_allowed
from tests.store.examples import (
    ANNA,
    LATER,
    NOW,
    SOON,
    TOMORROW,
    a_call,
    a_made_call,
    app_of,
    ask,
    claim_by,
    open_request,
)
from tests.store.test_keys import fill
from tests.store.test_migrations import AGO, everything, own, to_revision, user
from tests.store.test_migrations import call as old_call
from tests.store.test_migrations import fill as fill_first_revision

ZOE = UserKey("lark", "cli_2", "tenant_1", ANNA.open_id)
"""The same open_id in another app: somebody else."""
FAR = NOW + timedelta(days=4000)
LEASE = timedelta(seconds=20)
LONG_AGO = datetime.now(UTC) - timedelta(days=500)
"""By the database's own clock: younger entries of the audit log cannot be deleted."""


@pytest.fixture
async def other(database: Database, key: str) -> AsyncIterator[Database]:
    """The same database, as another app has it open."""
    opened = await open_database(database.url, Keyring([key]), ZOE.app)
    yield opened
    await opened.close()


async def fill_with_all(database: Database, person: UserKey) -> None:
    """Rows of every kind, claimed and waiting, of one person and their app."""
    await fill(database, person)
    await ask(database, person)
    await ask(database, person)
    waiting = a_call(person, message_id="om_1")
    colleague = replace(person, open_id="ou_ben")

    def work(c: Connection) -> None:
        inbox.record(c, f"ev_{waiting.id}", waiting, language=None, union_id=None, now=NOW)
        c.execute(
            text(
                "UPDATE deferred_calls SET status = 'suspended', waits_for = 'administrator', suspended_at = asked_at, "
                f"first_failed_at = asked_at WHERE id = '{waiting.id}'"
            )
        )
        queued = [call for call in calls.waiting_of(c, person) if call.status is CallStatus.QUEUED]
        c.execute(text(f"UPDATE deferred_calls SET behind = true WHERE id = '{queued[0].id}'"))
        c.execute(text(f"UPDATE deferred_calls SET urgent = true WHERE id = '{queued[1].id}'"))
        c.execute(text("UPDATE grants SET last_used_at = access_expires_at"))
        open_another(c, colleague)
        scope_waits.open(c, (person.platform, person.app_id), frozenset({"a:b"}), NOW)
        settle_some(c, person)
        with past_allowed(c):
            c.execute(insert(schema.audit_log).values(at=LONG_AGO, action="x", detail="{}", app=person.app))
        api_calls.record(c, [a_made_call(person, LONG_AGO)])
        c.execute(insert(schema.audit_retention).values(app=person.app, days=365))

    await database.write(work)
    await database.write(lambda c: replicas.heartbeat(c, f"old-{person.app_id}", "host", ["k"], NOW))


def settle_some(c: Connection, person: UserKey) -> None:
    """One of each kind that is over."""
    done = a_call(person)
    inbox.record(c, f"ev_{done.id}", done, language=None, union_id=None, now=NOW)
    assert calls.cancel(c, done.id, "over", NOW)
    late = a_call(person)
    inbox.record(c, f"ev_{late.id}", late, language=None, union_id=None, now=NOW)
    assert calls.expire(c, late.id, NOW)
    message = NewMessage(
        f"done-{done.id}", person, "note", done.id, Destination(person), Content("text", "x"), None
    )
    assert outbox.add(c, message, now=NOW, claim=claim_by(c, "w1"))
    assert outbox.sent(c, message.id, 1, "om_sent", NOW)
    assert revocations.done(c, revocations.add(c, person, Secret("over"), NOW), NOW)
    third = replace(person, open_id="ou_third")
    users.seen(c, third, language=None, union_id=None, now=NOW)
    request = open_request(
        c, third, scopes=frozenset({"a:b"}), command="tasks", ticket=Secret(f"over {done.id}"), expires_at=TOMORROW,
        now=NOW,
    )  # fmt: skip
    assert requests.settle(c, request.id, requests.End(RequestStatus.DECLINED), NOW)


def open_another(c: Connection, person: UserKey) -> None:
    """An open request, whose link was opened."""
    users.seen(c, person, language=None, union_id=None, now=NOW)
    request = open_request(
        c, person, scopes=frozenset({"a:b"}), command="tasks", ticket=Secret("another ticket"), expires_at=TOMORROW,
        now=NOW,
    )  # fmt: skip
    kind, state = AttemptKind.AUTHORIZATION, "another state"
    opened = NewAttempt("another", kind, request.id, person, state, None, frozenset(), None, LATER)
    attempts.begin(c, opened, now=NOW, limit=20, limit_a_day=100)


def rows_of(c: Connection, app: str) -> dict[str, list[Any]]:
    """Every row of an app in every table that tells its app."""
    return {
        name: sorted((tuple(row) for row in c.execute(select(table).where(table.c.app == app))), key=repr)
        for name, table in schema.metadata.tables.items()
        if "app" in table.c
    }


LOOKS: dict[str, Callable[[Connection], Any]] = {
    "claim": lambda c: claims.claim_next(c, claim_by(c, "w2", FAR, FAR)),
    "urgent claim": lambda c: claims.claim_next(c, claim_by(c, "w2", FAR, FAR), urgent_only=True),
    "lines": lambda c: claims.promote_missed(c, FAR),
    "messages": lambda c: outbox.claim_due(c, claim_by(c, "w2", FAR, FAR), 10),
    "message": lambda c: outbox.find(c, app_of(c), ANNA.open_id),
    "cards": lambda c: requests.claim_due_cards(c, claim_by(c, "w2", FAR, FAR), 10),
    "interim words": lambda c: calls.due_for_interim(c, FAR, 10),
    "for the administrator": lambda c: calls.waiting_for(c, app_of(c), WaitsFor.ADMINISTRATOR, 10),
    "question": lambda c: calls.all_by_message(c, app_of(c), "om_1"),
    "stranded consents": lambda c: attempts.stranded(c, claim_by(c, "w2", FAR, FAR), 10),
    "overdue calls": lambda c: calls.overdue(c, FAR, 10),
    "expired requests": lambda c: requests.expired(c, FAR, 10),
    "expired openings": lambda c: attempts.expire(c, FAR, 10),
    "administrators' cards": lambda c: scope_waits.claim_due_cards(c, claim_by(c, "w2", FAR, FAR), 10),
    "revocations": lambda c: revocations.claim_due(c, claim_by(c, "w2", FAR, FAR), 10),
    "device authorizations": lambda c: device_authorizations.claim_due(c, claim_by(c, "w2", FAR, FAR), 10),
    "renewal": lambda c: grants.lease_due(c, claim_by(c, "w2", NOW + timedelta(hours=2), FAR), 5),
    "old events": lambda c: seen_events.prune(c, FAR, 10),
    "old messages": lambda c: outbox.prune(c, FAR, 10),
    "old calls": lambda c: calls.prune(c, FAR, 10),
    "old openings": lambda c: attempts.prune(c, FAR, 10),
    "old requests": lambda c: requests.prune(c, FAR, 10),
    "old sessions": lambda c: sessions.prune(c, FAR, 10),
    "old revocations": lambda c: revocations.prune(c, FAR, 10),
    "old replicas": lambda c: replicas.prune(c, FAR, 10),
    "old audit entries": lambda c: audit.prune(c, LONG_AGO + timedelta(days=366), timedelta(days=365), 10),
    "old API calls": lambda c: api_calls.prune(c, LONG_AGO + timedelta(days=366), timedelta(days=365), 10),
    "written": lambda c: calls.erase_written(c, FAR, 10),
    "retention": lambda c: retention.prune(c, LONG_AGO + timedelta(days=370)),
    "take-over": lambda c: takeover.from_everyone(c, NOW, LEASE),
    "link": lambda c: requests.find_by_ticket(c, _digest(f"ticket of {ANNA.open_id}")),
    "state": lambda c: attempts.consumed_before(c, app_of(c), f"state of {ANNA.open_id}"),
    "callback": lambda c: attempts.consume(c, "another state", claim_by(c, "w2", NOW, FAR), code=None),
    "state sent back": lambda c: attempts.reject(c, app_of(c), f"state of {ANNA.open_id}", "used", NOW),
    "session": lambda c: sessions.find(c, f"session of {ANNA.open_id}", NOW),
    "sign-out": lambda c: sessions.end(c, f"session of {ANNA.open_id}"),
    "numbers": lambda c: {
        name: n for name, (_, n) in operator_queries.counts(c, NOW, [app_of(c)]).items() if any(n.values())
    },
}
"""What looks for rows without naming a person, as another app does it: it finds nothing."""


def _digest(ticket: str) -> str:
    from bot.core.oauth import digest

    return digest(ticket)


@pytest.mark.parametrize("look", LOOKS)
async def test_nothing_of_another_app_is_found_claimed_expired_or_deleted(
    database: Database, other: Database, look: str
) -> None:
    await fill_with_all(database, ANNA)
    before = await database.read(lambda c: rows_of(c, ANNA.app))
    # An order to erase is gone when it is carried out, in the statement that inserts it.
    assert [name for name, rows in before.items() if not rows] == ["audit_erasures"]
    found = await other.write(LOOKS[look])
    assert not found, found
    assert await database.read(lambda c: rows_of(c, ANNA.app)) == before
    assert await database.write(LOOKS[look]), "This would have found nothing anyway."


@pytest.fixture
async def both(database: Database, key: str) -> AsyncIterator[Database]:
    """The same database, as a process that serves both apps has it open."""
    opened = await open_database(database.url, Keyring([key]), ZOE.app, ANNA.app)
    yield opened
    await opened.close()


FOR_EACH_APP = [
    *("lines", "interim words", "overdue calls", "expired requests", "expired openings", "retention"),
    *("link", "session", "sign-out", "take-over"),
    *(name for name in LOOKS if name.startswith("old ")),
]
"""The looks that name no app, and that a process makes once for all its apps."""


@pytest.mark.parametrize("look", FOR_EACH_APP)
async def test_a_process_that_serves_several_apps_finds_what_each_has(
    database: Database, both: Database, look: str
) -> None:
    await fill_with_all(database, ANNA)
    assert await both.write(LOOKS[look])


async def test_a_process_that_serves_several_apps_touches_no_third(both: Database, key: str) -> None:
    third = replace(ANNA, app_id="cli_3")
    another = await open_database(both.url, Keyring([key]), third.app)
    await fill_with_all(another, third)
    before = await both.read(lambda c: rows_of(c, third.app))
    for look in FOR_EACH_APP:
        assert not await both.write(LOOKS[look]), look
    assert await both.read(lambda c: rows_of(c, third.app)) == before
    await another.close()


async def test_a_replica_of_several_apps_is_forgotten_when_each_of_them_is_taken_over(
    database: Database, other: Database, both: Database
) -> None:
    await both.write(lambda c: replicas.heartbeat(c, "gone", "host", ["k"], NOW))
    for person in (ANNA, ZOE):
        await ask(both, person)
        held = Claim(person.app, "gone", NOW, SOON)
        assert await both.write_one(lambda c, claim=held: claims.claim_next(c, claim))

    def take_over(c: Connection) -> dict[str, int] | None:
        return takeover.from_replica(c, "gone", NOW, NOW, LEASE)

    assert await database.write(take_over) == {"calls": 1}
    assert await database.write(take_over) is None
    (row,) = await both.read(lambda c: c.execute(select(schema.replicas)).all())
    assert row.app == ZOE.app
    assert await other.write(take_over) == {"calls": 1}
    assert await both.read(lambda c: c.execute(select(schema.replicas)).all()) == []


async def test_a_replica_is_counted_for_each_of_its_apps(
    database: Database, other: Database, both: Database
) -> None:
    await both.write(lambda c: replicas.heartbeat(c, "r", "host", ["k"], NOW))
    for each in (database, other, both):
        found = await each.read(lambda c, each=each: operator_queries.counts(c, NOW, each.apps))
        assert found["replicas"][1] == {"live": 1}
    found = await both.read(lambda c: operator_queries.counts(c, NOW, ["lark:cli_3"]))
    assert found["replicas"][1] == {"live": 0}


async def test_each_app_finds_its_own_beside_the_others(database: Database, other: Database) -> None:
    for each, person in ((database, ANNA), (other, ZOE)):
        await ask(each, person)
        await each.write(lambda c, p=person: users.seen(c, p, language=None, union_id=None, now=NOW))
    for each, person in ((other, ZOE), (database, ANNA), (other, ZOE), (database, ANNA)):
        call = await each.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON)))
        if call is None:
            continue
        assert call.user == person
        assert await each.write_one(lambda c: claims.claim_next(c, claim_by(c, "w", NOW, SOON))) is None
    assert await database.read(operator_queries.apps) == [ANNA.app, ZOE.app]


async def test_the_same_key_of_a_message_in_two_apps_is_two_messages(
    database: Database, other: Database
) -> None:
    for each, person in ((database, ANNA), (other, ZOE)):
        message = NewMessage(
            f"m-{person.app_id}",
            person,
            "notice",
            "same-key",
            Destination(person),
            Content("text", "hi"),
            None,
        )
        assert await each.write(lambda c, m=message: outbox.add(c, m, now=NOW))
        again = replace(message, id=f"{message.id}-again")
        assert not await each.write(lambda c, m=again: outbox.add(c, m, now=NOW))
        (due,) = await each.write_one(lambda c: outbox.claim_due(c, claim_by(c, "w", NOW, SOON), 5))
        assert due.id == message.id


async def test_a_database_that_was_opened_for_no_app_claims_nothing(database_url: str) -> None:
    opened = await open_database(database_url, Keyring([new_key()]))
    for look in (LOOKS["claim"], LOOKS["messages"], LOOKS["retention"]):
        with pytest.raises(RuntimeError, match="without an app"):
            await opened.write(look)
    await opened.close()


# --- every statement -------------------------------------------------------------------------------

NAMED = {"user_key", "request_id", "call_id", "state_digest", "digest"}
"""Columns that, like a primary key, say which rows of a person or app are meant."""


def changes() -> Iterator[tuple[str, Any]]:
    for module in pkgutil.iter_modules(bot.store.__path__):
        for name, value in vars(importlib.import_module(f"bot.store.{module.name}")).items():
            several = value.values() if isinstance(value, dict) else [value]
            yield from (
                (f"{module.name}.{name}", each) for each in several if isinstance(each, (Update, Delete))
            )


def names_its_rows(statement: Any) -> bool:
    """By the app, or by an id that is handed over."""
    keys = {column.name for column in statement.table.primary_key} | NAMED
    for each in visitors.iterate(statement.whereclause):
        if isinstance(each, Column) and each.name == "app":
            return True
        if isinstance(each, BindParameter) and each.key in {"own_app", "own_app_id"}:
            return True
        handed_over = isinstance(each, BinaryExpression) and isinstance(each.right, BindParameter)
        if handed_over and getattr(each.left, "name", "") in keys:
            return True
    return False


def test_every_change_names_the_app_or_the_row() -> None:
    found = list(changes())
    assert len(found) > 60
    assert {name for name, each in found if not names_its_rows(each)} <= {"claims.PROMOTE"}


# --- upgrades --------------------------------------------------------------------------------------

DORA = "lark:cli_2:tenant_2:ou_dora"


@pytest.mark.parametrize("several", [True, False], ids=["several apps", "one app"])
async def test_an_upgrade_tells_of_each_row_whose_it_is(empty_database_url: str, several: bool) -> None:
    url, ring = empty_database_url, Keyring([new_key()])
    await asyncio.to_thread(to_revision, url, "0001")
    await asyncio.to_thread(fill_first_revision, url)
    await asyncio.to_thread(own, url, ring)
    await asyncio.to_thread(to_revision, url, "0009", ring)
    if several:
        await asyncio.to_thread(add_dora, url)
    await asyncio.to_thread(upgrade, url, ring)
    rows = await asyncio.to_thread(everything, url)
    unknown = "" if several else "lark:cli_1"
    for table, found in rows.items():
        for row in found:
            if "app" not in row or table == "replicas":
                continue
            key = row.get("user_key") or ""
            if table == "cards":
                shown = "authorization_requests" if row["request_id"] else "scope_waits"
                assert row["app"] in {each["app"] for each in rows[shown] if each["id"] == row["id"]}
                continue
            expected = ":".join(key.split(":")[:2]) if key else unknown
            if table in {"users", "events", "scope_waits"}:
                expected = f"{row['platform']}:{row['app_id']}"
            assert row["app"] == expected, (table, row)
    told = {table for table, found in rows.items() if found and "app" in found[0]}
    assert {"deferred_calls", "grants", "authorization_attempts", "audit_log", "sessions"} - told <= {
        "sessions"
    }
    if several:
        assert {row["app"] for row in rows["deferred_calls"]} == {"lark:cli_1", "lark:cli_2"}


def add_dora(url: str) -> None:
    from bot.store import revision

    def insert(connection: Connection) -> None:
        from tests.store.test_migrations import as_stored

        rows = {
            "users": [user(DORA)],
            "deferred_calls": [old_call(DORA, 99, "failed", outcome="x", settled_at=AGO)],
        }
        for table, each in rows.items():
            for row in each:
                columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
                stored = {name: as_stored(connection, value) for name, value in row.items()}
                connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), stored)

    revision._in_transaction(url, insert)
