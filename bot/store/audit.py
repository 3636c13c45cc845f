"""What happened to whom. Rows are only ever added: triggers see to that."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from bot.core.model import UserKey
from bot.store.schema import audit_log
from bot.store.sql import LIMIT, bind

# Inline: nobody asks for the id, and fetching it would keep drivers from doing this in one go.
WRITE = insert(audit_log).inline()


def write(
    connection: Connection,
    action: str,
    *,
    user: UserKey | None,
    subject: tuple[str, str] | None = None,
    now: datetime,
    **detail: str | int | list[str] | None,
) -> None:
    """Notes an action. `detail` holds codes, scopes and numbers, never what people wrote."""
    kind, subject_id = subject or (None, None)
    values = {
        "at": now,
        "action": action,
        "user_key": user,
        "subject_kind": kind,
        "subject_id": subject_id,
        "detail": json.dumps(detail, ensure_ascii=False),
    }
    connection.execute(WRITE, values)


PRUNE = delete(audit_log).where(
    audit_log.c.id.in_(
        select(audit_log.c.id)
        .where(audit_log.c.at < bind("before", audit_log.c.at))
        .order_by(audit_log.c.at)
        .limit(LIMIT)
    )
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """The database refuses to delete what is younger than 90 days."""
    return connection.execute(PRUNE, {"before": before, "limit": limit}).rowcount
