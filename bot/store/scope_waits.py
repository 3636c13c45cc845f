"""Scope sets that an administrator has to enable. Each has a card, shown to every administrator (see `cards`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.cards import CardDelivery
from bot.core.people import UserKey
from bot.core.scopes import Requirement, ScopeSet, ScopeWaitStatus, named
from bot.store import cards
from bot.store.ids import new_id
from bot.store.keyring import Keyring
from bot.store.queue import Claim
from bot.store.schema import cards as card_rows
from bot.store.schema import scope_waits
from bot.store.statements import bind, changed, is_live, literal, may_become, of_app, status_is
from bot.store.transaction import keyring_of

waits = scope_waits


@dataclass(frozen=True, slots=True)
class ScopeWait:
    id: str
    scopes: ScopeSet
    status: ScopeWaitStatus
    card: CardDelivery
    """Its `due_at` is approximately when a call last began to wait for these scopes."""


_select: Any = select(waits.c.id, waits.c.scopes, waits.c.status, *cards.COLUMNS).join(
    card_rows, card_rows.c.id == waits.c.id
)


def _wait(row: Row[Any], keyring: Keyring) -> ScopeWait:
    return ScopeWait(row.id, row.scopes, ScopeWaitStatus(row.status), cards.delivery_of(row, keyring))


def _all(connection: Connection, statement: Any, values: Mapping[str, Any]) -> list[ScopeWait]:
    keyring = keyring_of(connection)
    return [_wait(row, keyring) for row in connection.execute(statement, values)]


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
)
OPEN = _new.on_conflict_do_update(
    index_elements=[waits.c.platform, waits.c.app_id, waits.c.scopes],
    index_where=_is_waiting,
    # Changes nothing, but locks the row and returns it.
    set_={"status": _new.excluded.status},
).returning(waits.c.id)
GET: Any = _select.where(waits.c.id == bind("wait", waits.c.id))
WAITING: Any = _select.where(*_waiting_in_app).order_by(waits.c.id)


def open(
    connection: Connection, app: tuple[str, str], scopes: ScopeSet, now: datetime, claim: Claim | None = None
) -> ScopeWait:
    """Record that a call waits for these scopes, and make the administrators' card due.

    With a claim, the caller renders the card itself. `app`: platform and app id.
    """
    platform, app_id = app
    values = {"id": new_id(now), "platform": platform, "app_id": app_id, "scopes": scopes, "now": now}
    wait: str = connection.execute(OPEN, values).scalar_one()
    cards.change_of_scope_wait(connection, wait, f"{platform}:{app_id}", now, claim)
    (opened,) = _all(connection, GET, {"wait": wait})
    return opened


IS_OPEN = select(waits.c.id).where(*_waiting_in_app, waits.c.scopes == bind("scopes", waits.c.scopes))


def is_open(connection: Connection, platform: str, app_id: str, scopes: ScopeSet) -> bool:
    """Return whether a wait for exactly these scopes is recorded and still open."""
    values = {"platform": platform, "app_id": app_id, "scopes": scopes}
    return connection.execute(IS_OPEN, values).first() is not None


def make_cards_due(connection: Connection, user: UserKey, needs: Requirement, now: datetime) -> None:
    """Make the administrators' cards due that may show a call of this user which no longer waits for `needs`."""
    if not needs:
        return
    for wait in waiting(connection, user.platform, user.app_id):
        if not wait.scopes.isdisjoint(named(needs)):
            cards.change(connection, wait.id, now)


def waiting(connection: Connection, platform: str, app_id: str) -> list[ScopeWait]:
    """Return the scope sets of an app that are not enabled yet."""
    return _all(connection, WAITING, {"platform": platform, "app_id": app_id})


ENABLED = (
    update(waits)
    .where(waits.c.id == bind("wait", waits.c.id), may_become(waits, ScopeWaitStatus.ENABLED))
    .values(
        status=literal(ScopeWaitStatus.ENABLED),
        settled_at=bind("now", waits.c.settled_at),
    )
)


def enabled(connection: Connection, wait: str, now: datetime) -> bool:
    """waiting → enabled, and make its card due. False if another worker has done this."""
    found = changed(connection, ENABLED, {"wait": wait, "now": now})
    return found and cards.change(connection, wait, now)


LAST_ENABLED = select(waits.c.scopes, waits.c.settled_at).where(
    waits.c.platform == bind("platform", waits.c.platform),
    waits.c.app_id == bind("app_id", waits.c.app_id),
    status_is(waits, ScopeWaitStatus.ENABLED),
)


def last_enabled(connection: Connection, platform: str, app_id: str, scopes: ScopeSet) -> datetime | None:
    """Return when one of these scopes was last enabled, or None."""
    rows = connection.execute(LAST_ENABLED, {"platform": platform, "app_id": app_id})
    return max((row.settled_at for row in rows if not row.scopes.isdisjoint(scopes)), default=None)


CLAIMED = _select.where(of_app(waits), waits.c.id.in_(bind("claimed", waits.c.id, expanding=True)))


def claim_due_cards(connection: Connection, claim: Claim, limit: int) -> list[ScopeWait]:
    """Claim the administrators' cards that are outdated and due."""
    claimed = cards.claim_due(connection, cards.CLAIM_DUE_OF_SCOPE_WAITS, claim, limit)
    return _all(connection, CLAIMED, {"own_app": claim.app, "claimed": claimed}) if claimed else []
