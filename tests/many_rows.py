"""Thousands of rows, as a bot leaves them after a long time: for tests of query plans, and for benchmarks."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from bot.store import upgrade_sealing
from bot.store.transaction import keyring_of
from tests.old_audit_rows import past_allowed

KINDS = 20
"""Out of this many calls, one is suspended, one is queued for later, and the rest are settled."""


def seal_calls(connection: Connection) -> None:
    """Seal calls that the bot has not recorded itself."""
    for each in upgrade_sealing.CALLS:
        upgrade_sealing.seal_all(connection, keyring_of(connection), each)


def fill(connection: Connection, rows: int, now: datetime, first: int = 1) -> None:
    """Insert calls, API calls, grants, requests, attempts, messages and events, and analyze the tables.

    They are numbered from `first` to `rows`.
    """
    sqlite = connection.dialect.name == "sqlite"
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT {columns} FROM n"
        if sqlite
        else "SELECT {columns} FROM generate_series({first}, {rows}) AS n(i)"
    )

    def at(hours: int) -> str:
        moment = (now + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S.%f")
        return f"'{moment}'" if sqlite else f"timestamptz '{moment}+00'"

    old, later = at(-24 * 10), at(24)
    person = "'lark:cli_1:t:old' || i"
    sealed = "'v1.0a1b2c3d.' || i"
    suspended, queued = f"i % {KINDS} = 1", f"i % {KINDS} = 2"
    live = f"i % {KINDS} IN (1, 2)"

    def insert(table: str, **columns: str) -> None:
        chosen = numbers.format(first=first, rows=rows, columns=", ".join(columns.values()))
        connection.execute(text(f"INSERT INTO {table} ({', '.join(columns)}) {chosen}"))

    insert(
        "users",
        user_key=person, platform="'lark'", app_id="'cli_1'", tenant_key="'t'", open_id="'old' || i",
        created_at=old, seen_at=old,
    )  # fmt: skip
    insert(
        "deferred_calls",
        id="'c' || i", user_key=person, chat_id="'oc'", chat_kind="'direct'", message_id="'om' || i",
        command="'tasks'", arguments="''", asked_at=old, received_at=old, language="'en'",
        status=f"CASE WHEN {suspended} THEN 'suspended' WHEN {queued} THEN 'queued' ELSE 'succeeded' END",
        waits_for=f"CASE WHEN {suspended} THEN 'administrator' END",
        suspended_at=f"CASE WHEN {suspended} THEN {old} END",
        needs="'[]'", consents="0", attempts="0", claim="1", confirmed="false", runs_after=later,
        expires_at=later,
        outcome=f"CASE WHEN NOT ({live}) THEN 'answered' END",
        settled_at=f"CASE WHEN NOT ({live}) THEN {old} END",
        seal=sealed, run_seal=f"CASE WHEN {live} THEN {sealed} END",
    )  # fmt: skip
    seal_calls(connection)
    insert(
        "grants",
        user_key=person, status="'active'", generation="1", access_token=sealed, access_expires_at=at(-24 * 30),
        refresh_token=sealed, refresh_expires_at=at(24 * 3), scopes="'[]'", scopes_ever="'[]'",
        authorized_at=old, issued_at=old, last_used_at=old, refresh_failures="0", oauth="'v2'",
    )  # fmt: skip
    insert(
        "authorization_requests",
        id="'r' || i", user_key=person, status="'granted'", scopes="'[]'", granted="'[]'", refused="'[]'",
        avoided="'[]'", reasons="'[]'", ticket_digest="'d' || i", ticket=sealed, created_at=old, expires_at=old,
        settled_at=old,
    )  # fmt: skip
    insert(
        "cards", id="'r' || i", request_id="'r' || i", app="'lark:cli_1'", wanted="2", shown="2", due_at=old
    )
    insert(
        "authorization_attempts",
        id="'a' || i", kind="'authorization'", request_id="'r' || i", user_key=person, state_digest="'s' || i",
        scopes="'[]'", status="'completed'", created_at=old, expires_at=old, consumed_at=old,
        outcome="'granted'",
    )  # fmt: skip
    insert(
        "outgoing_messages",
        id="'m' || i", user_key=person, call_id="'c' || i", kind="'answer'", delivery_key="'m' || i",
        private="false", content_kind="'post'", status="'sent'", runs_after=old, claim="1", attempts="1",
        created_at=old, sent_at=old, settled_at=old,
    )  # fmt: skip
    insert("message_reactions", call_id="'c' || i", platform="'lark'", app_id="'cli_1'", message_id="'om' || i",
           reaction_id="'x' || i", attempts="0", due_at=later, created_at=old)  # fmt: skip
    insert("revocations", id="'v' || i", user_key=person, status="'done'", attempts="1", runs_after=old,
           created_at=old, settled_at=old)  # fmt: skip
    insert("events", platform="'lark'", app_id="'cli_1'", event_id="'e' || i", message_id="'om' || i",
           received_at=old)  # fmt: skip
    insert("api_calls", id="'p' || i", at=old, user_key=person, call_id="'c' || i", step="0", attempt="1", method="'GET'",
           path="'/open-apis/task/v2/tasks/' || i", status="200", code="'0'", log_id="'log' || i", milliseconds="9",
           outcome=f"CASE WHEN i % {KINDS} = 3 THEN 'refused' ELSE 'succeeded' END")  # fmt: skip
    with past_allowed(connection):
        insert("audit_log", at=old, action="'call_succeeded'", user_key=person, detail="'{}'")
    connection.execute(text("ANALYZE"))
