"""Scope sets that an administrator has to enable: each is one thing to tell administrators about, on a card each.

A wait counts the changes that its cards should show, and the one that they do, as a request does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.people import UserKey
from bot.core.scopes import Requirement, ScopeSet, ScopeWaitStatus, named
from bot.store.ids import new_id
from bot.store.schema import scope_waits
from bot.store.statements import LIMIT, app_of, bind, of_app, status_is

waits = scope_waits


@dataclass(frozen=True, slots=True)
class ScopeWait:
    id: str
    scopes: ScopeSet
    status: ScopeWaitStatus
    cards_wanted: int
    cards_claim: int
    cards_due_at: datetime | None
    """About when somebody last began to wait."""


COLUMNS = (
    waits.c.id,
    waits.c.scopes,
    waits.c.status,
    waits.c.cards_wanted,
    waits.c.cards_claim,
    waits.c.cards_due_at,
)
_of_app = (
    waits.c.platform == bind("platform", waits.c.platform),
    waits.c.app_id == bind("app_id", waits.c.app_id),
    status_is(waits, "waiting"),
)
_show = {
    "cards_wanted": waits.c.cards_wanted + 1,
    "cards_due_at": bind("now", waits.c.cards_due_at),
}
_new = insert(waits).values(
    id=bind("id", waits.c.id),
    platform=bind("platform", waits.c.platform),
    app_id=bind("app_id", waits.c.app_id),
    scopes=bind("scopes", waits.c.scopes),
    status=literal_column("'waiting'"),
    created_at=bind("now", waits.c.created_at),
    cards_wanted=literal_column("1"),
    cards_shown=literal_column("0"),
    cards_claim=literal_column("0"),
    cards_due_at=bind("due_at", waits.c.cards_due_at),
)
OPEN = _new.on_conflict_do_update(
    index_elements=[waits.c.platform, waits.c.app_id, waits.c.scopes],
    index_where=status_is(waits, "waiting"),
    set_={**_show, "cards_due_at": bind("due_at", waits.c.cards_due_at)},
).returning(*COLUMNS)
WAITING: Any = select(*COLUMNS).where(*_of_app).order_by(waits.c.id)


def open(
    connection: Connection,
    platform: str,
    app_id: str,
    scopes: ScopeSet,
    now: datetime,
    due_at: datetime | None = None,
) -> ScopeWait:
    """Somebody waits for these scopes: the administrators' cards are to say so. Returns what they are about.

    `due_at`: until when the caller shows the cards itself; by default they are due at once.
    """
    values = {"id": new_id(now), "platform": platform, "app_id": app_id, "scopes": scopes, "now": now}
    values["due_at"] = due_at or now
    return _wait(connection.execute(OPEN, values).one())


IS_OPEN = select(waits.c.id).where(*_of_app, waits.c.scopes == bind("scopes", waits.c.scopes))


def is_open(connection: Connection, platform: str, app_id: str, scopes: ScopeSet) -> bool:
    """Whether somebody waits for just these scopes already, or did without the administrator's enabling them."""
    values = {"platform": platform, "app_id": app_id, "scopes": scopes}
    return connection.execute(IS_OPEN, values).first() is not None


SHOW = update(waits).where(waits.c.id == bind("wait", waits.c.id), status_is(waits, "waiting")).values(_show)


def waits_no_longer(connection: Connection, user: UserKey, needs: Requirement, now: datetime) -> None:
    """Somebody who may have waited for `needs` has given up: the administrators' cards are to say so."""
    if not needs:
        return
    for wait in waiting(connection, user.platform, user.app_id):
        if not wait.scopes.isdisjoint(named(needs)):
            connection.execute(SHOW, {"wait": wait.id, "now": now})


def waiting(connection: Connection, platform: str, app_id: str) -> list[ScopeWait]:
    return [_wait(row) for row in connection.execute(WAITING, {"platform": platform, "app_id": app_id})]


def _wait(row: Row[Any]) -> ScopeWait:
    return ScopeWait(**row._asdict() | {"status": ScopeWaitStatus(row.status)})


ENABLED = (
    update(waits)
    .where(waits.c.id == bind("wait", waits.c.id), status_is(waits, "waiting"))
    .values(status=literal_column("'enabled'"), settled_at=bind("now", waits.c.settled_at), **_show)
)


def enabled(connection: Connection, wait: str, now: datetime) -> bool:
    """waiting → enabled, and the cards are to say so. True for the one who has changed it."""
    return bool(connection.execute(ENABLED, {"wait": wait, "now": now}).rowcount)


# --- the administrators' cards -----------------------------------------------------------------------

_due = (
    select(waits.c.id)
    .where(
        of_app(waits),
        waits.c.cards_shown < waits.c.cards_wanted,
        waits.c.cards_due_at <= bind("now", waits.c.cards_due_at),
    )
    .order_by(waits.c.cards_due_at)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
CARDS_DUE = (
    update(waits)
    .where(waits.c.id.in_(_due))
    .values(
        cards_claim=waits.c.cards_claim + 1,
        cards_worker=bind("new_worker", waits.c.cards_worker),
        cards_due_at=bind("lease_until", waits.c.cards_due_at),
    )
    .returning(*COLUMNS)
)
CARDS_SHOWN = (
    update(waits)
    .where(
        waits.c.id == bind("wait", waits.c.id),
        waits.c.cards_claim == bind("held_claim", waits.c.cards_claim),
    )
    .values(cards_shown=bind("version", waits.c.cards_shown))
)


def cards_due(
    connection: Connection, worker: str, now: datetime, lease_until: datetime, limit: int
) -> list[ScopeWait]:
    """Takes waits whose cards do not show what they should; they are due again when the lease ends. One statement."""
    values = {"own_app": app_of(connection), "new_worker": worker, "now": now, "lease_until": lease_until}
    values |= {"limit": limit}
    return [_wait(row) for row in connection.execute(CARDS_DUE, values)]


def cards_shown(connection: Connection, wait: ScopeWait) -> bool:
    """The cards show what was wanted when they were taken; False when somebody else has taken them since."""
    values = {"wait": wait.id, "held_claim": wait.cards_claim, "version": wait.cards_wanted}
    return bool(connection.execute(CARDS_SHOWN, values).rowcount)
