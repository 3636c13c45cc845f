"""What happened to whom. Rows are only ever added: triggers see to that.

Whatever changes the status of a call, request, attempt, device authorization, grant or revocation writes its entry in
the same transaction, in the function that changes it. Two changes have none. What is taken up and what is tried again
(`running`, `redeeming`, back to the queue) comes to an end that has one; and the recording of a call, which is all that
happens before an acknowledgement: the entry of its first wait, or of its end, says when it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, insert, literal_column, select

from bot.core.people import UserKey
from bot.store import queue
from bot.store.queue import BEFORE, pruning
from bot.store.schema import audit_log
from bot.store.statements import APP, bind, of_app_or_untold

_moment = bind("moment", audit_log.c.at)


def _write(
    clock: ColumnElement[datetime], earliest: ColumnElement[datetime], latest: ColumnElement[datetime]
) -> Any:
    """A process that had to wait long, or whose clock is off, is late or early: then the database's own clock counts.

    Inline: nobody asks for the id, and fetching it would keep drivers from doing this in one go.
    """
    at = case((_moment.between(earliest, latest), _moment), else_=clock)
    return insert(audit_log).values(at=at).inline()


def _sqlite_clock(minutes: int) -> ColumnElement[datetime]:
    text = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{minutes:+d} minutes')"
    return literal_column(text, audit_log.c.at.type)


def _postgresql_clock(minutes: int) -> ColumnElement[datetime]:
    return literal_column(f"(now() + interval '{minutes} minutes')", audit_log.c.at.type)


AT_MOST_OFF = 5
"""Minutes; the database refuses a row whose time is ten away from its clock, and what is close to that must not fail."""
WRITE = {
    dialect: _write(clock(0), clock(-AT_MOST_OFF), clock(AT_MOST_OFF))
    for dialect, clock in {"sqlite": _sqlite_clock, "postgresql": _postgresql_clock}.items()
}

NOTED = "bot_noted"
"""The key of `Connection.info` that holds the entries of the work under way."""

Entry = dict[str, Any]

DECLINED_ON_PAGE = {"where": "page", "by": "unidentified"}
"""Detail of a refusal on the platform's page: the entry's person is whom the request asks, not who declined."""

TOKEN_DROPPED = {"token": "dropped, not stored"}
"""Detail of a consent that somebody else gave than the person whom the request asks."""


def entry(
    action: str,
    *,
    user: UserKey | None,
    subject: tuple[str, str] | None = None,
    now: datetime,
    **detail: str | int | list[str] | None,
) -> Entry:
    """What `write_all` takes.

    `detail` holds codes, scopes and numbers, never what people wrote; what is empty is left out.
    """
    kind, subject_id = subject or (None, None)
    return {
        "moment": now,
        "action": action,
        "user_key": user,
        "subject_kind": kind,
        "subject_id": subject_id,
        "detail": json.dumps({k: v for k, v in detail.items() if v not in (None, [])}, ensure_ascii=False),
    }


def write(
    connection: Connection,
    action: str,
    *,
    user: UserKey | None,
    subject: tuple[str, str] | None = None,
    now: datetime,
    **detail: str | int | list[str] | None,
) -> None:
    """Notes an action: see `entry`. It is written with all others of the same work, when that comes to its end."""
    write_all(connection, [entry(action, user=user, subject=subject, now=now, **detail)])


WAS_NOTED = (
    select(audit_log.c.id)
    .where(
        audit_log.c.user_key == bind("user", audit_log.c.user_key),
        audit_log.c.action == bind("the_action", audit_log.c.action),
        audit_log.c.at > bind("since", audit_log.c.at),
    )
    .limit(1)
)


def was_noted(connection: Connection, action: str, user: UserKey, *, since: datetime) -> bool:
    """Whether there is an entry of this action about the person since then, earlier works alone considered."""
    values = {"user": user, "the_action": action, "since": since}
    return connection.execute(WAS_NOTED, values).scalar() is not None


FORGED = "forged"
"""The outcome of a row that no bot with these keys has written."""


def reject(connection: Connection, kind: str, subject_id: str, now: datetime) -> None:
    """Notes that a row was not genuine, and is not acted on. Nothing else of it is repeated: it may say anything."""
    write(connection, f"{kind}_rejected", user=None, subject=(kind, subject_id[:64]), now=now, reason=FORGED)


def write_all(connection: Connection, entries: Sequence[Entry]) -> None:
    connection.info[NOTED].extend(entries)


def begin(connection: Connection) -> None:
    """Before a work: nothing is noted yet."""
    connection.info[NOTED] = []


def end(connection: Connection) -> None:
    """After a work, in its transaction: writes what was noted, with one statement."""
    if connection.info[NOTED]:
        rows = [noted | {"app": _app(connection, noted["user_key"])} for noted in connection.info[NOTED]]
        connection.execute(WRITE[connection.dialect.name], rows)


def _app(connection: Connection, user: UserKey | None) -> str:
    """Of what concerns no person, it is the app that has noticed it."""
    app: str = user.app if user is not None else connection.get_execution_options().get(APP, "")
    return app


PRUNE = pruning(audit_log, audit_log.c.at < BEFORE, of_app=of_app_or_untold)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete entries older than `before`; return how many. The database refuses to delete those under 90 days old."""
    return queue.prune(connection, PRUNE, limit, before=before)
