"""Calls to the platform that were made in a user's name. Triggers ensure that rows are only added and deleted.

They are written in the transaction that follows them anyway, at its end, on PostgreSQL together with the audit log. They
contain neither query nor body, and are kept as long as the audit log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from bot.core.api import ApiOutcome
from bot.core.people import UserKey
from bot.store import audit
from bot.store.ids import new_id
from bot.store.queue import BEFORE, pruning
from bot.store.schema import api_calls
from bot.store.statements import LIMIT, apps_of, as_rows, bind, rows_given


@dataclass(frozen=True, slots=True)
class MadeCall:
    """One request that was made in a user's name."""

    id: str
    """Chosen when it is made, so that recording it twice has no effect."""
    at: datetime
    user: UserKey
    call_id: str
    step: int
    attempt: int
    method: str
    path: str
    status: int | None
    code: str | None
    log_id: str | None
    milliseconds: int
    outcome: ApiOutcome

    def values(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "at": self.at,
            "user_key": self.user,
            "call_id": self.call_id,
            "step": self.step,
            "attempt": self.attempt,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "code": self.code,
            "log_id": self.log_id,
            "milliseconds": self.milliseconds,
            "outcome": self.outcome.value,
        }


def id_of_lost(call_id: str, step: int, sent_at: datetime) -> str:
    """Return the id of a request whose worker did not live to record it: the same for everyone who records it."""
    return new_id(sent_at)[:14] + hashlib.sha256(f"{call_id}:{step}".encode()).hexdigest()[:18]


_COLUMNS = {column.name: column.type for column in api_calls.c if column.name != "app"}
_given = rows_given("postgresql", _COLUMNS)
ADD = insert(api_calls).on_conflict_do_nothing()
ADD_GIVEN = (
    insert(api_calls)
    .from_select(list(_COLUMNS), select(*(_given.c[name] for name in _COLUMNS)))
    .on_conflict_do_nothing()
)
ADD_WITH_AUDIT = audit.WRITE["postgresql"].add_cte(ADD_GIVEN.cte("made"))

PENDING = "bot_api_calls"
"""The key of `Connection.info` with the calls that the running unit of work records, which are not yet written."""


def record(connection: Connection, made: Sequence[MadeCall]) -> None:
    """Record these calls at the end of the unit of work (see `end`)."""
    connection.info[PENDING].extend(made)


def begin(connection: Connection) -> None:
    """Start a unit of work, with no calls."""
    connection.info[PENDING] = []


def end(connection: Connection) -> Sequence[audit.Entry]:
    """Write the recorded calls of a unit of work, and its audit entries, which are returned.

    On PostgreSQL that is one statement.
    """
    made: list[MadeCall] = connection.info[PENDING]
    entries = audit.pending(connection)
    if not made:
        audit.insert_all(connection, entries)
    elif connection.dialect.name == "sqlite":
        connection.execute(ADD, [each.values() for each in made])
        audit.insert_all(connection, entries)
    else:
        given = as_rows("postgresql", (each.values() | {"user_key": str(each.user)} for each in made))
        if entries:
            first, *others = audit.rows_of(connection, entries)
            rows = [first | {"given": given}, *(each | {"given": "[]"} for each in others)]
            connection.execute(ADD_WITH_AUDIT, rows)
        else:
            connection.execute(ADD_GIVEN, {"given": given})
    return entries


# --- deleting ------------------------------------------------------------------------------------------

PRUNE = pruning(api_calls, api_calls.c.at < BEFORE, order_by=api_calls.c.at)


def prune(connection: Connection, now: datetime, period: timedelta, limit: int) -> int:
    """Delete calls that are older than the entries of the audit log may be; return how many."""
    deleted = 0
    for app in apps_of(connection):
        before = audit.kept_since(connection, app, now, period)
        deleted += connection.execute(PRUNE, {"own_app": app, "limit": limit, "before": before}).rowcount
    return deleted


_of_user = (
    select(api_calls.c.id).where(api_calls.c.user_key == bind("user", api_calls.c.user_key)).limit(LIMIT)
)
FORGET = delete(api_calls).where(api_calls.c.id.in_(_of_user))


def forget(connection: Connection, user: UserKey, limit: int) -> int:
    """Delete up to `limit` calls that were made in a user's name; return how many."""
    return connection.execute(FORGET, {"user": user, "limit": limit}).rowcount
