"""Tables as queues: rows are claimed by one worker at a time under a lease, retried later, and pruned when old.

- A claim is one UPDATE of the first due rows of an index. It skips rows that another transaction has locked, so that
  workers neither wait for each other nor claim each other's rows.
- A claimed row is due again when its lease ends. A worker that dies loses its rows that way. A worker that is only slow
  notices when it writes, because the row then has another claim (see `Queue.held`).
- Every claim names the app, because several apps may share a database.

The statements are built once, when the module of a table is imported. Deferred calls have special statements for
claiming (see `claims`), because each user's calls run in the order asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    FromClause,
    Row,
    Table,
    Update,
    bindparam,
    delete,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from bot.store.column_types import UtcDateTime
from bot.store.statements import LIMIT, apps_of, bind, of_app

NOW = bindparam("now", type_=UtcDateTime)
UNTIL = bindparam("until", type_=UtcDateTime)
"""When a row is due again, or when its extended lease ends."""
LEASE_UNTIL = bindparam("lease_until", type_=UtcDateTime)
BEFORE = bindparam("before", type_=UtcDateTime)
LAST_LEASE_END = bindparam("last_lease_end", type_=UtcDateTime)
"""The latest time at which a lease that was granted before now can end."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who claims rows, when, and for how long."""

    app: str
    """Platform and app id, joined by a colon: only rows of this app are claimed."""
    worker: str
    now: datetime
    lease_until: datetime

    def __post_init__(self) -> None:
        if not self.app:
            raise RuntimeError("A claim needs the app whose rows it claims.")

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of the statements that claim."""
        return {
            "own_app": self.app,
            "new_worker": self.worker,
            "now": self.now,
            "lease_until": self.lease_until,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The columns and conditions of a table that determine which of its rows are due, and who has claimed them."""

    table: Table
    this: ColumnElement[bool]
    """The condition that selects one row."""
    is_open: Sequence[ColumnElement[bool]]
    """The row has work to do. Written exactly as in the partial index of due rows."""
    is_claimed: Sequence[ColumnElement[bool]] = ()
    """Further conditions that hold for a row while it is claimed."""
    due_at: Column[datetime]
    lease: Column[datetime] | None = None
    """When the claim ends. None: `due_at` contains that while the row is claimed."""
    worker: Column[Any] | None = None
    number: Column[Any] | None = None
    """Counts the claims. None: a claim is identified by its worker and the end of its lease."""
    retry_at: Column[datetime] | None = None
    """When a row may be claimed again after a failure. None: `due_at`."""
    of_app: Callable[[FromClause], ColumnElement[bool]] = of_app

    @property
    def lease_end(self) -> Column[datetime]:
        return self.due_at if self.lease is None else self.lease

    @property
    def is_free(self) -> list[ColumnElement[bool]]:
        """The condition that no worker has claimed the row. Empty if `due_at` is also the end of the lease."""
        if self.lease is None or self.lease is self.due_at:
            return []
        return [or_(self.lease.is_(None), self.lease <= NOW)]

    @property
    def claimed(self) -> dict[Any, Any]:
        """The values of a row that is claimed."""
        values: dict[Any, Any] = {self.lease_end: LEASE_UNTIL}
        if self.worker is not None:
            values[self.worker] = bind("new_worker", self.worker)
        if self.number is not None:
            values[self.number] = self.number + 1
        return values

    @property
    def released(self) -> dict[Any, Any]:
        """The values of a row that is released."""
        if self.lease is None or self.worker is None:
            return {}
        return {self.worker: null(), self.lease: null()}

    @property
    def held(self) -> list[ColumnElement[bool]]:
        """The condition on everything that a worker writes about a row it has claimed: its claim is the latest."""
        if self.number is not None:
            return [self.this, *self.is_claimed, self.number == bind("held_claim", self.number)]
        assert self.worker is not None
        by_worker = self.worker == bind("held_by", self.worker)
        return [self.this, *self.is_claimed, by_worker, self.lease_end == bind("held_until", self.lease_end)]

    def claim_due(
        self,
        *columns: Any,
        values: dict[str, Any] | None = None,
        where: Sequence[ColumnElement[bool]] = (),
        order_by: Sequence[Column[Any]] = (),
        due_by: ColumnElement[datetime] = NOW,
    ) -> ReturningUpdate[Any]:
        """Build the statement that claims up to `limit` rows due by `due_by`, and returns these columns."""
        (key,) = self.table.primary_key
        due = (
            select(key)
            .where(self.of_app(self.table), *self.is_open, *where, self.due_at <= due_by, *self.is_free)
            .order_by(*(order_by or [self.due_at]))
            .limit(LIMIT)
            .with_for_update(skip_locked=True)
        )
        return self._claim(key.in_(due), values).returning(*columns)

    def claim_this(self, *columns: Any, values: dict[str, Any] | None = None) -> ReturningUpdate[Any]:
        """Build the statement that claims one row, due or not, unless another worker has it."""
        return self._claim(self.this, values, *self.is_open, *self.is_free).returning(*columns)

    def _claim(
        self, which: ColumnElement[bool], values: dict[str, Any] | None, *more: ColumnElement[bool]
    ) -> Update:
        return update(self.table).where(which, *more).values({**self.claimed, **_named(self.table, values)})

    def extend(self) -> Update:
        """Build the statement that extends a lease to `until`."""
        return update(self.table).where(*self.held).values({self.lease_end: UNTIL})

    def postpone(self, **values: Any) -> Update:
        """Build the statement that releases a claimed row and makes it due again at `until`."""
        retry_at = self.due_at if self.retry_at is None else self.retry_at
        changes = {retry_at: UNTIL, **self.released, **_named(self.table, values)}
        return update(self.table).where(*self.held).values(changes)

    def end_leases(self, of: Callable[[Column[Any]], ColumnElement[bool]]) -> Update:
        """Build the statement that ends the leases of some workers, as if they had expired."""
        assert self.worker is not None
        leased = [self.lease_end > NOW]
        if self.lease is None:
            # A row that is due later than that is not leased but postponed.
            leased.append(self.lease_end <= LAST_LEASE_END)
        # The condition of the index is repeated, because SQLite does not infer it from the narrower `is_claimed`.
        conditions = [self.of_app(self.table), *self.is_open, *self.is_claimed, *leased, of(self.worker)]
        ended = {self.due_at: NOW} if self.lease is None or self.lease is self.due_at else self.released
        return update(self.table).where(*conditions).values(ended)


def _named(table: Table, values: dict[str, Any] | None) -> dict[Any, Any]:
    return {table.c[name]: value for name, value in (values or {}).items()}


def claim_due(
    connection: Connection, statement: Any, claim: Claim, limit: int, **more: Any
) -> Sequence[Row[Any]]:
    """Claim up to `limit` due rows with a statement of `Queue.claim_due`. One statement."""
    return connection.execute(statement, claim.values | more | {"limit": limit}).all()


# --- pruning ---------------------------------------------------------------------------------------------


def settled_before(table: Table) -> list[ColumnElement[bool]]:
    """The condition that a row settled before `before`. Includes IS NOT NULL, so that the partial index is used."""
    return [table.c.settled_at.is_not(None), table.c.settled_at < BEFORE]


def pruning(
    table: Table,
    *conditions: ColumnElement[bool],
    order_by: Column[Any] | None = None,
    of_app: Callable[[FromClause], ColumnElement[bool]] = of_app,
) -> Delete:
    """Build the statement that deletes up to `limit` rows of the app, ordered if that is needed to use an index."""
    keys = list(table.primary_key)
    old = select(*keys).where(of_app(table), *conditions).limit(LIMIT)
    if order_by is not None:
        old = old.order_by(order_by)
    key = keys[0] if len(keys) == 1 else tuple_(*keys)
    return delete(table).where(key.in_(old))


def prune(connection: Connection, statement: Delete, limit: int, **times: datetime) -> int:
    """Delete a batch of old rows of each app; return how many."""
    values = [{"own_app": app, "limit": limit, **times} for app in apps_of(connection)]
    return sum(connection.execute(statement, each).rowcount for each in values)
