"""Databases made by an earlier release, with rows in every table, become those of this one: nothing is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from bot.core.errors import ConfigurationError
from bot.core.secrets import Secret
from bot.store import operator_queries, requests, revision, scope_waits
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import check_schema, open_database, upgrade
from bot.store.queue import Claim
from bot.store.upgrade_sealing import seal_unsealed_rows

NOW = datetime.now(UTC)
AGO, SOON = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
ANNA, BEN, CHO = (f"lark:cli_1:tenant_1:ou_{name}" for name in ("anna", "ben", "cho"))
SEALED = "v1.0a1b2c3d.c2VhbGVk"

Row = dict[str, Any]


def user(key: str, **more: Any) -> Row:
    platform, app_id, tenant_key, open_id = key.split(":")
    parts = {"platform": platform, "app_id": app_id, "tenant_key": tenant_key, "open_id": open_id}
    return {"user_key": key, **parts, "created_at": AGO, "seen_at": NOW, **more}


def call(key: str, number: int, status: str, **more: Any) -> Row:
    return {
        "id": f"c{number}",
        "user_key": key,
        "chat_id": "oc_1",
        "chat_kind": "direct",
        "message_id": f"om_{number}",
        "command": "agenda",
        "arguments": "tomorrow 你好",
        "asked_at": AGO,
        "received_at": AGO,
        "language": "en",
        "status": status,
        "needs": "[]",
        "consents": 0,
        "attempts": 1,
        "runs_after": AGO,
        "expires_at": SOON,
        "confirmed": False,
        "claim": 1,
        **more,
    }


def request(key: str, number: int, status: str, **more: Any) -> Row:
    return {
        "id": f"r{number}",
        "user_key": key,
        "status": status,
        "scopes": '["task:task:read"]',
        "granted": "[]",
        "refused": "[]",
        "avoided": "[]",
        "reasons": '["tasks"]',
        "ticket_digest": f"digest {number}",
        "ticket": SEALED,
        "card_ephemeral": False,
        "card_wanted": 2,
        "card_shown": 1,
        "card_attempts": 0,
        "card_due_at": AGO,
        "created_at": AGO,
        "expires_at": SOON,
        **more,
    }


def attempt(number: int, status: str, **more: Any) -> Row:
    return {
        "id": f"a{number}",
        "kind": "authorization",
        "request_id": "r1",
        "user_key": ANNA,
        "state_digest": f"state {number}",
        "scopes": "[]",
        "status": status,
        "created_at": AGO,
        "expires_at": SOON,
        **more,
    }


def message(number: int, status: str, **more: Any) -> Row:
    return {
        "id": f"m{number}",
        "user_key": ANNA,
        "kind": "note",
        "delivery_key": f"m{number}",
        "private": False,
        "content_kind": "post",
        "status": status,
        "runs_after": AGO,
        "claim": 0,
        "attempts": 0,
        "created_at": AGO,
        **more,
    }


def grant(key: str, status: str, **more: Any) -> Row:
    return {
        "user_key": key,
        "status": status,
        "generation": 3,
        "scopes": "[]",
        "scopes_ever": '["task:task:read"]',
        "authorized_at": AGO,
        "issued_at": AGO,
        "refresh_failures": 0,
        "oauth": "v2",
        **more,
    }


def revocation(number: int, status: str, **more: Any) -> Row:
    common = {"user_key": BEN, "status": status, "attempts": 1, "runs_after": AGO, "created_at": AGO}
    return {"id": f"v{number}", **common, **more}


ENDED = {"settled_at": NOW, "outcome": "answered"}
WAITING = {"suspended_at": AGO, "needs": '[["task:task:read"]]'}
WORKING = {"worker": "w1", "lease_until": SOON}
TOKENS = {"access_token": SEALED, "access_expires_at": SOON, "scopes": '["task:task:read"]'}

FIRST_REVISION: dict[str, list[Row]] = {
    "users": [user(ANNA, name="Anna", language="zh", time_zone="Asia/Shanghai"), user(BEN), user(CHO)],
    "events": [
        {
            "platform": "lark",
            "app_id": "cli_1",
            "event_id": "ev_1",
            "message_id": "om_1",
            "received_at": AGO,
        },
        {"platform": "lark", "app_id": "cli_1", "event_id": "ev_2", "message_id": None, "received_at": AGO},
    ],
    "authorization_requests": [
        request(ANNA, 1, "redeeming", card_worker="w1", card_lease_until=SOON, card_message_id="om_9"),
        request(BEN, 2, "open", opened_at=NOW),
        *(request(CHO, 3 + i, s, settled_at=NOW) for i, s in enumerate(("granted", "declined", "expired"))),
        request(CHO, 6, "failed", settled_at=NOW, failure="administrator"),
        request(CHO, 7, "superseded", settled_at=NOW, card_shown=2),
    ],
    "authorization_attempts": [
        attempt(1, "live", verifier=SEALED, redirect_uri="https://bot.example/oauth/lark/callback"),
        attempt(2, "redeeming", verifier=SEALED, code=SEALED, consumed_at=NOW, **WORKING),
        attempt(3, "completed", consumed_at=NOW, outcome="granted"),
        attempt(4, "denied", consumed_at=NOW, outcome="access_denied"),
        attempt(5, "failed", consumed_at=NOW, outcome="exchange_code_20003"),
        attempt(6, "expired"),
        attempt(7, "live", kind="sign_in", request_id=None, user_key=None),
    ],
    "deferred_calls": [
        call(ANNA, 1, "queued"),
        call(ANNA, 2, "queued", asked_at=NOW),
        call(ANNA, 3, "running", worker="w1", runs_after=SOON),
        call(BEN, 4, "suspended", waits_for="authorization", request_id="r2", **WAITING),
        call(BEN, 5, "suspended", waits_for="administrator", **WAITING),
        call(BEN, 6, "suspended", waits_for="confirmation", **WAITING),
        *(
            call(CHO, 7 + i, status, **ENDED)
            for i, status in enumerate(("succeeded", "failed", "outcome_unknown", "cancelled", "expired"))
        ),
        call(CHO, 12, "queued", first_failed_at=AGO, interim_at=NOW, runs_after=SOON, message_id=None),
        # Told of a failure in the moment in which it was over: only the first release could.
        call(CHO, 13, "queued", interim_at=NOW),
    ],
    "call_steps": [
        {"call_id": "c3", "number": 0, "digest": "d", "is_write": False, "first_sent_at": None, "result": SEALED},
        {"call_id": "c3", "number": 1, "digest": "e", "is_write": True, "first_sent_at": NOW, "result": None},
    ],
    "outgoing_messages": [
        message(1, "queued", content=SEALED),
        message(2, "sending", content=SEALED, worker="w1", first_tried_at=NOW, chat_id="oc_1"),
        message(3, "sent", call_id="c7", kind="answer", message_id="om_3", sent_at=NOW, settled_at=NOW),
        message(4, "undeliverable", reason="230002", settled_at=NOW),
        message(5, "outcome_unknown", reason="timeout", settled_at=NOW),
    ],
    "grants": [
        grant(ANNA, "active", refresh_token=SEALED, refresh_expires_at=SOON, **TOKENS),
        grant(BEN, "active", refresh_token=SEALED, refresh_worker="w1", refresh_lease_until=SOON, **TOKENS),
        grant(CHO, "ended", ended_at=NOW, end_reason="revoked_by_user"),
    ],
    "revocations": [
        revocation(1, "queued", token=SEALED, worker="w1"),
        revocation(2, "done", settled_at=NOW),
        revocation(3, "failed", settled_at=NOW, reason="too_late"),
    ],
    "scope_waits": [
        {"id": "s1", "platform": "lark", "app_id": "cli_1", "scopes": "[]", "status": "waiting", "created_at": AGO},
        {
            "id": "s2",
            "platform": "lark",
            "app_id": "cli_1",
            "scopes": "[]",
            "status": "enabled",
            "created_at": AGO,
            "settled_at": NOW,
        },
    ],
    "replicas": [{"id": "w1", "host": "h", "started_at": AGO, "heartbeat_at": AGO, "key_ids": '["0a1b2c3d"]'}],
    "audit_log": [{"at": AGO, "action": "grant_stored", "user_key": ANNA, "detail": '{"scopes": []}'}],
}  # fmt: skip


def to_revision(url: str, wanted: str, ring: Keyring | None = None) -> None:
    def migrate(connection: Connection) -> None:
        config = revision._config()
        config.attributes["connection"] = connection
        if ring is not None:
            config.attributes["seal_rows"] = lambda found: seal_unsealed_rows(found, ring)
        command.upgrade(config, wanted)

    revision._in_transaction(url, migrate, writing=True)


def fill(url: str) -> None:
    insert_rows(url, FIRST_REVISION)


def own(url: str, ring: Keyring, text_: str = "These keys open this database.") -> None:
    """Gives the database the keys that an earlier release has used with it."""
    values = {"id": 1, "sealed": ring.seal(Secret(text_), "key_check:sealed:1")}

    def insert(connection: Connection) -> None:
        connection.execute(text("INSERT INTO key_check (id, sealed) VALUES (:id, :sealed)"), values)

    revision._in_transaction(url, insert)


def as_stored(connection: Connection, value: Any) -> Any:
    if isinstance(value, datetime) and connection.dialect.name == "sqlite":
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def everything(url: str) -> dict[str, list[Row]]:
    def read(connection: Connection) -> dict[str, list[Row]]:
        found = {}
        for table in sorted(inspect(connection).get_table_names()):
            rows = connection.execute(text(f"SELECT * FROM {table}")).mappings()
            found[table] = sorted((dict(row) for row in rows), key=repr)
        return found

    return revision._in_transaction(url, read)


def revisions() -> list[str]:
    scripts = ScriptDirectory.from_config(revision._config())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def test_rows_of_the_first_release_stand_in_every_table(empty_database_url: str) -> None:
    to_revision(empty_database_url, "0001")
    fill(empty_database_url)
    empty = {name for name, rows in everything(empty_database_url).items() if not rows}
    assert empty <= {"key_check"}


@pytest.mark.parametrize("start", revisions()[:-1])
async def test_every_row_of_an_earlier_revision_is_there_after_the_upgrade(
    empty_database_url: str, start: str
) -> None:
    # In another thread, because it makes an event loop of its own.
    await asyncio.to_thread(to_revision, empty_database_url, "0001")
    await asyncio.to_thread(fill, empty_database_url)
    ring = Keyring([new_key()])
    await asyncio.to_thread(own, empty_database_url, ring)
    await asyncio.to_thread(to_revision, empty_database_url, start, ring)
    before = await asyncio.to_thread(everything, empty_database_url)
    await asyncio.to_thread(upgrade, empty_database_url, ring)
    await asyncio.to_thread(check_schema, empty_database_url)
    after = await asyncio.to_thread(everything, empty_database_url)
    for table, rows in before.items():
        if table in {"alembic_version", "schema_compatibility", "key_check"}:
            continue
        kept = [{name: row[name] for name in rows[0]} for row in after[table]] if rows else after[table]
        assert sorted(map(fixed, kept), key=repr) == sorted(map(fixed, rows), key=repr), table
    database = await open_database(empty_database_url, ring)
    assert await database.read(lambda c: operator_queries.status(c, NOW)) is not None
    for view in ("who_is_waiting", "grants_overview", "recent_trouble"):
        assert await database.read(lambda c, v=view: c.execute(text(f"SELECT * FROM {v}")).all())
    with pytest.raises(Exception, match="audit_log is never changed"):
        await database.write(lambda c: c.execute(text("UPDATE audit_log SET action = 'x'")) and None)
    await database.close()


@pytest.mark.parametrize("text_", ["", "These keys open this database. Its rows carry proofs."])
def test_rows_without_proofs_are_adopted_from_an_earlier_release_alone(
    empty_database_url: str, text_: str
) -> None:
    """Somebody who replaces the whole database by an older one cannot have their own rows sealed."""
    ring = Keyring([new_key()])
    to_revision(empty_database_url, "0001")
    fill(empty_database_url)
    to_revision(empty_database_url, "0008")
    if text_:
        own(empty_database_url, ring, text_)
    before = everything(empty_database_url)
    with pytest.raises(ConfigurationError, match="rows without proofs"):
        upgrade(empty_database_url, ring)
    assert everything(empty_database_url) == before


def fixed(row: Row) -> Row:
    """Call 13 is what the third migration fixes.

    What was written with calls that have ended is erased, with their proof.
    """
    if row.get("arguments") and row["settled_at"] is not None:
        row = row | {"arguments": ""} | ({"seal": None} if "seal" in row else {})
    return row | {"interim_at": None} if row.get("id") == "c13" else row


def test_there_is_no_way_back_and_trying_changes_nothing(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    before = everything(empty_database_url)

    def back(connection: Connection) -> None:
        config = revision._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")

    with pytest.raises(Exception, match="downgrade"):
        revision._in_transaction(empty_database_url, back, writing=True)
    assert everything(empty_database_url) == before


# --- cards in a table of their own -------------------------------------------------------------------

RING = Keyring([new_key()])


def rows_before_cards(url: str) -> None:
    """Rows of the release before: requests whose cards are sent, outdated, being drawn and ephemeral; scope waits."""
    drawn = {"card_wanted": 4, "card_shown": 2, "card_attempts": 3, "card_due_at": AGO, "card_moves": 1}
    sent = {
        "card_message_id": "om_1",
        "card_seal": proof_of_card("r1", "om_1", ephemeral=True),
        "card_sent_at": AGO,
    }
    being_drawn = {"card_worker": "w1", "card_lease_until": SOON}
    waits = {"platform": "lark", "app_id": "cli_1", "created_at": AGO}
    rows: dict[str, list[Row]] = {
        "users": [user(ANNA), user(BEN), user(CHO)],
        "authorization_requests": [
            request(ANNA, 1, "open", **drawn, **sent) | {"card_ephemeral": True},
            request(BEN, 2, "open", **being_drawn),
            request(CHO, 3, "granted", settled_at=NOW, card_shown=2, card_message_id="om_3"),
        ],
        "scope_waits": [
            {"id": "s1", "scopes": '["a"]', "status": "waiting", **waits, "cards_wanted": 3, "cards_shown": 2,
             "cards_claim": 7, "cards_due_at": SOON, "cards_worker": "w1"},
            {"id": "s2", "scopes": "[]", "status": "enabled", "settled_at": NOW, **waits},
        ],
        "device_authorizations": [device("d1", "r1", "minting"), device("d2", "r2", "denied", settled_at=NOW)],
    }  # fmt: skip
    insert_rows(url, rows)


def proof_of_card(request_id: str, message_id: str, *, ephemeral: bool) -> str:
    """As the earlier release made it."""
    return RING.seal(Secret(""), f"authorization_requests:card_seal:{request_id}", message_id, ephemeral)


def device(number: str, request_id: str, status: str, **more: Any) -> Row:
    common = {"user_key": ANNA, "scopes": "[]", "interval_seconds": 5, "failures": 0, "claim": 1}
    times = {"runs_after": AGO, "created_at": AGO}
    return {"id": number, "request_id": request_id, "status": status, **common, **times, **more}


def insert_rows(url: str, rows: dict[str, list[Row]]) -> None:
    def insert(connection: Connection) -> None:
        for table, several in rows.items():
            for row in several:
                columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
                stored = {name: as_stored(connection, value) for name, value in row.items()}
                connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), stored)

    revision._in_transaction(url, insert)


async def test_cards_of_the_previous_release_go_on_where_they_were(empty_database_url: str) -> None:
    """Without the keys: the proofs of cards are moved as they are."""
    url = empty_database_url
    await asyncio.to_thread(to_revision, url, "0015")
    await asyncio.to_thread(rows_before_cards, url)
    await asyncio.to_thread(upgrade, url)
    database = await open_database(url, RING)
    found = {
        wait.id: wait.card for wait in await database.read(lambda c: scope_waits.waiting(c, "lark", "cli_1"))
    }
    for key in ("r1", "r2", "r3"):
        request_ = await database.read(lambda c, key=key: requests.get(c, key))
        assert request_ is not None
        found[key] = request_.card
    first = found["r1"]
    assert (first.message_id, first.ephemeral) == ("om_1", True)
    assert (first.wanted, first.shown, first.attempts, first.moves) == (4, 2, 3, 1)
    assert (found["r2"].worker, found["r2"].lease_until) == ("w1", SOON)
    # Its message has no proof, so it does not count.
    assert (found["r3"].message_id, found["r3"].is_outdated) == (None, False)
    assert (found["s1"].wanted, found["s1"].shown, found["s1"].claim) == (3, 2, 7)
    claim = Claim("lark:cli_1", "w2", NOW, SOON)
    due = await database.write(lambda c: requests.claim_due_cards(c, claim, 10))
    assert [each.id for each in due] == ["r1"]
    # What another worker draws is due when its lease ends.
    late = Claim("lark:cli_1", "w3", SOON + timedelta(seconds=1), SOON + timedelta(minutes=1))
    due = await database.write(lambda c: requests.claim_due_cards(c, late, 10))
    assert {each.id for each in due} == {"r1", "r2"}
    assert [each.id for each in await database.write(lambda c: scope_waits.claim_due_cards(c, late, 10))] == [
        "s1"
    ]
    statuses = text("SELECT status FROM device_authorizations ORDER BY id")
    assert await database.read(lambda c: c.execute(statuses).scalars().all()) == ["requesting", "denied"]
    await database.close()


FORMER_WRITES = {
    "a request": {"authorization_requests": [request(CHO, 9, "open")]},
    "a scope wait": {
        "scope_waits": [
            {"id": "s9", "platform": "lark", "app_id": "cli_1", "scopes": '["b"]', "status": "waiting",
             "created_at": AGO, "cards_wanted": 1, "cards_shown": 0, "cards_due_at": NOW},
        ],
    },
    "a device authorization": {"device_authorizations": [device("d9", "r3", "minting")]},
    "a change of a request": "UPDATE authorization_requests SET status = 'redeeming', card_wanted = card_wanted + 1",
    "a claim of a card": "UPDATE authorization_requests SET card_worker = 'w', card_lease_until = card_due_at",
    "a card that is shown": "UPDATE authorization_requests SET card_shown = card_wanted",
    "a change of a scope wait": "UPDATE scope_waits SET cards_wanted = cards_wanted + 1",
    "a claim of a scope wait": "UPDATE scope_waits SET cards_claim = cards_claim + 1",
}  # fmt: skip


def write_as_before(url: str, write: str | dict[str, list[Row]]) -> None:
    if isinstance(write, str):
        revision._in_transaction(url, lambda c: c.execute(text(write)), writing=True)
    else:
        insert_rows(url, write)


@pytest.mark.parametrize("what", FORMER_WRITES)
def test_a_replica_of_the_previous_release_cannot_write_cards(empty_database_url: str, what: str) -> None:
    """It would draw them without knowing what this release draws."""
    to_revision(empty_database_url, "0015")
    rows_before_cards(empty_database_url)
    upgrade(empty_database_url)
    before = everything(empty_database_url)
    write = FORMER_WRITES[what]
    with pytest.raises(DBAPIError, match=r"stop the previous release|violates check|CHECK constraint"):
        write_as_before(empty_database_url, write)
    assert everything(empty_database_url) == before
