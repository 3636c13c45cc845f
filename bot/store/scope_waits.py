"""Scope sets that an administrator has to enable: each is one thing to tell administrators about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.scopes import ScopeSet
from bot.store.ids import new_id
from bot.store.schema import scope_waits
from bot.store.sql import bind, status_is

waits = scope_waits


@dataclass(frozen=True, slots=True)
class ScopeWait:
    id: str
    platform: str
    app_id: str
    scopes: ScopeSet
    status: str
    created_at: datetime


COLUMNS = (waits.c.id, waits.c.platform, waits.c.app_id, waits.c.scopes, waits.c.status, waits.c.created_at)
_of_app = (
    waits.c.platform == bind("platform", waits.c.platform),
    waits.c.app_id == bind("app_id", waits.c.app_id),
    status_is(waits, "waiting"),
)
_this = waits.c.id == bind("wait", waits.c.id)
OPEN = insert(waits).on_conflict_do_nothing().returning(waits.c.id)
WAITING: Any = select(*COLUMNS).where(*_of_app).order_by(waits.c.id)
SAME = select(waits.c.id).where(*_of_app, waits.c.scopes == bind("scopes", waits.c.scopes))


def open(
    connection: Connection, platform: str, app_id: str, scopes: ScopeSet, now: datetime
) -> tuple[str, bool]:
    """The id of what waits for these scopes, and whether it is new."""
    values = {"platform": platform, "app_id": app_id, "scopes": scopes, "status": "waiting"}
    while True:
        made = connection.execute(OPEN, values | {"id": new_id(now), "created_at": now}).scalar()
        if made is not None:
            return made, True
        # Between the two statements it may have been enabled: then there is neither, and it is opened anew.
        found = connection.execute(SAME, values).scalar()
        if found is not None:
            return found, False


GET: Any = select(*COLUMNS).where(_this)


def get(connection: Connection, wait: str) -> ScopeWait | None:
    row = connection.execute(GET, {"wait": wait}).one_or_none()
    return None if row is None else _wait(row)


def waiting(connection: Connection, platform: str, app_id: str) -> list[ScopeWait]:
    return [_wait(row) for row in connection.execute(WAITING, {"platform": platform, "app_id": app_id})]


def _wait(row: Row[Any]) -> ScopeWait:
    return ScopeWait(**row._asdict())


ENABLED = (
    update(waits)
    .where(_this, status_is(waits, "waiting"))
    .values(status=literal_column("'enabled'"), settled_at=bind("now", waits.c.settled_at))
)


def enabled(connection: Connection, wait: str, now: datetime) -> bool:
    """True for the one who is to say so."""
    return bool(connection.execute(ENABLED, {"wait": wait, "now": now}).rowcount)
