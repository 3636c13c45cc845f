"""Scope sets that an administrator has to enable. Each has its own card for administrators (see `cards`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.people import UserKey
from bot.core.scopes import Requirement, ScopeSet, ScopeWaitStatus, named
from bot.store.card_versions import SCOPE_WAIT_CARDS_CHANGED
from bot.store.ids import new_id
from bot.store.schema import scope_waits
from bot.store.statements import bind, changed, is_live, literal, may_become

waits = scope_waits


@dataclass(frozen=True, slots=True)
class ScopeWait:
    id: str
    scopes: ScopeSet
    status: ScopeWaitStatus
    cards_wanted: int
    cards_claim: int
    cards_due_at: datetime | None
    """Approximately when a call last began to wait for these scopes."""


COLUMNS = (
    waits.c.id,
    waits.c.scopes,
    waits.c.status,
    waits.c.cards_wanted,
    waits.c.cards_claim,
    waits.c.cards_due_at,
)


def wait_of(row: Row[Any]) -> ScopeWait:
    values = row._asdict()
    return ScopeWait(**values | {"status": ScopeWaitStatus(values["status"])})


_is_waiting = is_live(waits, ScopeWaitStatus)
_waiting_in_app = (
    waits.c.platform == bind("platform", waits.c.platform),
    waits.c.app_id == bind("app_id", waits.c.app_id),
    _is_waiting,
)
_new = insert(waits).values(
    id=bind("id", waits.c.id),
    platform=bind("platform", waits.c.platform),
    app_id=bind("app_id", waits.c.app_id),
    scopes=bind("scopes", waits.c.scopes),
    status=literal(ScopeWaitStatus.WAITING),
    created_at=bind("now", waits.c.created_at),
    cards_wanted=literal_column("1"),
    cards_shown=literal_column("0"),
    cards_claim=literal_column("0"),
    cards_due_at=bind("due_at", waits.c.cards_due_at),
)
OPEN = _new.on_conflict_do_update(
    index_elements=[waits.c.platform, waits.c.app_id, waits.c.scopes],
    index_where=_is_waiting,
    set_={**SCOPE_WAIT_CARDS_CHANGED, "cards_due_at": bind("due_at", waits.c.cards_due_at)},
).returning(*COLUMNS)
WAITING: Any = select(*COLUMNS).where(*_waiting_in_app).order_by(waits.c.id)


def open(
    connection: Connection,
    platform: str,
    app_id: str,
    scopes: ScopeSet,
    now: datetime,
    due_at: datetime | None = None,
) -> ScopeWait:
    """Record that a call waits for these scopes, and make the administrators' cards due.

    `due_at`: when other workers may show the cards, because the caller shows them itself. By default at once.
    """
    values = {"id": new_id(now), "platform": platform, "app_id": app_id, "scopes": scopes, "now": now}
    values["due_at"] = due_at or now
    return wait_of(connection.execute(OPEN, values).one())


IS_OPEN = select(waits.c.id).where(*_waiting_in_app, waits.c.scopes == bind("scopes", waits.c.scopes))


def is_open(connection: Connection, platform: str, app_id: str, scopes: ScopeSet) -> bool:
    """Return whether a wait for exactly these scopes is recorded and still open."""
    values = {"platform": platform, "app_id": app_id, "scopes": scopes}
    return connection.execute(IS_OPEN, values).first() is not None


_this = waits.c.id == bind("wait", waits.c.id)
SHOW = update(waits).where(_this, _is_waiting).values(SCOPE_WAIT_CARDS_CHANGED)


def make_cards_due(connection: Connection, user: UserKey, needs: Requirement, now: datetime) -> None:
    """Make the administrators' cards due that may show a call of this user which no longer waits for `needs`."""
    if not needs:
        return
    for wait in waiting(connection, user.platform, user.app_id):
        if not wait.scopes.isdisjoint(named(needs)):
            connection.execute(SHOW, {"wait": wait.id, "now": now})


def waiting(connection: Connection, platform: str, app_id: str) -> list[ScopeWait]:
    """Return the scope sets of an app that are not enabled yet."""
    return [wait_of(row) for row in connection.execute(WAITING, {"platform": platform, "app_id": app_id})]


ENABLED = (
    update(waits)
    .where(_this, may_become(waits, ScopeWaitStatus.ENABLED))
    .values(
        status=literal(ScopeWaitStatus.ENABLED),
        settled_at=bind("now", waits.c.settled_at),
        **SCOPE_WAIT_CARDS_CHANGED,
    )
)


def enabled(connection: Connection, wait: str, now: datetime) -> bool:
    """waiting → enabled, and make the cards due. False if another worker has done this."""
    return changed(connection, ENABLED, {"wait": wait, "now": now})
