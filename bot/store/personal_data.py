"""All that is stored about one user: exported, or erased.

Both go through the tables of the schema, so that they include tables that are added later. A row belongs to a user if it
has their key, or refers to a row that does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, insert, or_, select, update

from bot.core.calls import CallStatus
from bot.core.grants import RevocationStatus
from bot.core.people import UserKey
from bot.store import schema, sealed
from bot.store.operator_queries import Row, rows_of
from bot.store.schema import (
    audit_erasures,
    audit_log,
    deferred_calls,
    events,
    outgoing_messages,
    revocations,
    users,
)
from bot.store.statements import status_is
from bot.store.transaction import keyring_of

OWN_TABLES = [
    table
    for table in reversed(schema.metadata.sorted_tables)
    if "user_key" in table.c and table not in {audit_log, audit_erasures}
]
"""The tables whose rows name their user, except for the audit log, each before those that it refers to."""

# --- exporting -------------------------------------------------------------------------------------

SECRET_ENDINGS = ("digest", "seal")
"""Columns with these endings contain proofs and fingerprints of secrets."""
JSON_COLUMNS = {"detail"}


def export(connection: Connection, user: UserKey, now: datetime) -> Row:
    """Return all rows about a user, by table, the oldest first. Leaves out secrets, and what is sealed.

    What is sealed are tokens, codes, tickets, the results of steps and the messages that are not sent yet.
    """
    return {
        "exported_at": now,
        "user_key": str(user),
        **{
            table.name: _rows(connection, table, condition) for table, condition in _of_user(connection, user)
        },
    }


def _of_user(connection: Connection, user: UserKey) -> Iterable[tuple[Table, ColumnElement[bool]]]:
    """Yield each table that has rows about a user, with the condition that selects them."""
    messages = select(deferred_calls.c.message_id).where(
        deferred_calls.c.user_key == user, deferred_calls.c.message_id.is_not(None)
    )
    for table in schema.metadata.sorted_tables:
        if table is events:
            yield events, (events.c.app == user.app) & events.c.message_id.in_(messages)
        elif table is audit_erasures:
            continue
        elif "user_key" in table.c:
            yield table, table.c.user_key == user
        elif parents := _parents(table):
            yield (
                table,
                or_(
                    *(
                        child.in_(select(parent).where(parent.table.c.user_key == user))
                        for child, parent in parents
                    )
                ),
            )


def _parents(table: Table) -> list[tuple[Column[Any], Column[Any]]]:
    """Return the columns of a table that name rows of users."""
    return [
        (key.parent, key.column)
        for column in table.c
        for key in column.foreign_keys
        if "user_key" in key.column.table.c
    ]


def _rows(connection: Connection, table: Table, condition: ColumnElement[bool]) -> list[Row]:
    columns = [each for each in table.c if not _is_secret(each)]
    order = [each for each in table.c if each.primary_key]
    rows = rows_of(connection, select(*columns).where(condition).order_by(*order))
    return [{name: _readable(name, value) for name, value in row.items()} for row in rows]


def _is_secret(column: Column[Any]) -> bool:
    is_sealed = any(column is each.column for each in sealed.ALL)
    return is_sealed or column.name.endswith(SECRET_ENDINGS) or column.comment == schema.MOVED


def _readable(name: str, value: Any) -> Any:
    if name not in JSON_COLUMNS:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


# --- erasing ---------------------------------------------------------------------------------------


def unrevoked(connection: Connection, user: UserKey) -> int:
    """Return how many tokens of a user the platform has not revoked yet."""
    waiting = status_is(revocations, RevocationStatus.QUEUED)
    query = select(revocations.c.id).where(revocations.c.user_key == user, waiting)
    return len(connection.execute(query).all())


@dataclass(frozen=True, slots=True)
class Erased:
    pseudonym: str
    rows: dict[str, int]
    """The number of erased rows, by table."""


def erase(connection: Connection, user: UserKey, operator: str) -> Erased | None:
    """Erase all that is stored about a user; return what was erased, or None while one of their calls is running.

    An event keeps its id, without its message, as long as the platform may deliver it again: otherwise it would be
    carried out again.
    """
    if connection.dialect.name == "sqlite":
        # Otherwise what is deleted would stay in the file until something else is written there.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    # Locks out workers that claim one of them, and new calls.
    connection.execute(select(users.c.user_key).where(users.c.user_key == user).with_for_update())
    calls = select(deferred_calls.c.id, deferred_calls.c.status).where(deferred_calls.c.user_key == user)
    its_calls = connection.execute(calls.with_for_update()).all()
    if any(row.status == CallStatus.RUNNING.value for row in its_calls):
        return None
    rows = {events.name: _forget_events(connection, user)}
    of_calls = select(deferred_calls.c.id).where(deferred_calls.c.user_key == user)
    # Messages to others about the user's calls, such as cards for administrators.
    about = outgoing_messages.c.call_id.in_(of_calls)
    rows[outgoing_messages.name] = connection.execute(delete(outgoing_messages).where(about)).rowcount
    pseudonym = keyring_of(connection).pseudonym(str(user))
    for table in OWN_TABLES:
        if table is users:
            continue
        erased = connection.execute(delete(table).where(table.c.user_key == user)).rowcount
        rows[table.name] = rows.get(table.name, 0) + erased
    rows[users.name] = connection.execute(delete(users).where(users.c.user_key == user)).rowcount
    rows = {name: number for name, number in rows.items() if number}
    order = {"user_key": user, "pseudonym": pseudonym, "detail": json.dumps({"operator": operator, **rows})}
    connection.execute(insert(audit_erasures).values(order))
    return Erased(pseudonym, rows)


def _forget_events(connection: Connection, user: UserKey) -> int:
    """Remove the user's messages from their events, and delete the records that the bot named after them."""
    of_app = events.c.app == user.app
    messages = select(deferred_calls.c.message_id).where(
        deferred_calls.c.user_key == user, deferred_calls.c.message_id.is_not(None)
    )
    named = or_(
        events.c.event_id.contains(f"-{user.tenant_key}-{user.open_id}-", autoescape=True),
        events.c.event_id.startswith("recalled-") & events.c.message_id.in_(messages),
    )
    deleted = connection.execute(delete(events).where(of_app, named)).rowcount
    forget = update(events).where(of_app, events.c.message_id.in_(messages)).values(message_id=None)
    return deleted + connection.execute(forget).rowcount
