"""Whether the keys fit the database, and sealing everything anew with the first of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Table, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.errors import BotError, CannotOpenSecret
from bot.core.model import Secret
from bot.store import replicas, schema
from bot.store.crypto import Seal
from bot.store.database import Database, seal_of

KNOWN_TEXT = Secret("These keys open this database.")
HEARTBEATS_COUNT_FOR = timedelta(seconds=60)
BATCH = 200


class ReplicaLacksKey(BotError):
    """A running replica does not have the new key."""

    hint = (
        "Deploy the new key first of all to every replica, before the old one: BOT_ENCRYPTION_KEYS=new,old."
    )


# --- do the keys fit -------------------------------------------------------------------------------

FIND_CHECK = select(schema.key_check.c.sealed)
ADD_CHECK = insert(schema.key_check).on_conflict_do_nothing()
CHECK_IS_BOUND_TO = "key_check:sealed:1"


async def check_keys(database: Database) -> None:
    """Raises `CannotOpenSecret` when the keys are not those of this database. The first keys ever used become its own."""
    if not await database.read(_own_keys_fit):
        await database.write(_remember_keys)
        await database.read(_own_keys_fit)


def _own_keys_fit(connection: Connection) -> bool:
    return keys_fit(connection, seal_of(connection))


def keys_fit(connection: Connection, seal: Seal) -> bool:
    """False when the database has no keys yet; raises `CannotOpenSecret` when it has others."""
    sealed = connection.execute(FIND_CHECK).scalar()
    if sealed is None:
        return False
    try:
        seal.open(sealed, CHECK_IS_BOUND_TO)
    except CannotOpenSecret as error:
        raise CannotOpenSecret("BOT_ENCRYPTION_KEYS does not hold the key of this database.") from error
    return True


def _remember_keys(connection: Connection) -> None:
    sealed = seal_of(connection).seal(KNOWN_TEXT, CHECK_IS_BOUND_TO)
    connection.execute(ADD_CHECK, {"id": 1, "sealed": sealed})


# --- sealing anew ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Where secrets are, and what each is bound to."""

    column: Column[Any]
    names: tuple[Column[Any], ...]
    """The columns whose values, joined by colons after the table's and the column's name, it is bound to."""

    @property
    def table(self) -> Table:
        table: Table = self.column.table
        return table

    def bound_to(self, *values: object) -> str:
        return ":".join([self.table.name, self.column.name, *map(str, values)])


def _sealed(table: Table, column: str, *names: str) -> SealedColumn:
    return SealedColumn(table.c[column], tuple(table.c[name] for name in names))


SEALED_COLUMNS = (
    _sealed(schema.key_check, "sealed", "id"),
    _sealed(schema.grants, "access_token", "user_key"),
    _sealed(schema.grants, "refresh_token", "user_key"),
    _sealed(schema.authorization_requests, "ticket", "id"),
    _sealed(schema.authorization_attempts, "verifier", "state_digest"),
    _sealed(schema.authorization_attempts, "code", "state_digest"),
    _sealed(schema.device_authorizations, "device_code", "id"),
    _sealed(schema.device_authorizations, "user_code", "id"),
    _sealed(schema.device_authorizations, "link", "id"),
    _sealed(schema.call_steps, "result", "call_id", "number"),
    _sealed(schema.outgoing_messages, "content", "id"),
    _sealed(schema.revocations, "token", "id"),
)


async def rotate(database: Database) -> dict[str, int]:
    """Seals with the first key what another has sealed; returns how many secrets, by table and column.

    May run while the bot serves: what changes meanwhile is left alone, because it is sealed with the first key
    already. Raises `ReplicaLacksKey` while a running replica could not open the result.
    """
    now = datetime.now(UTC)
    await database.read(lambda c: _require_everywhere(c, now))
    return {
        f"{each.table.name}.{each.column.name}": await _rotate_column(database, each)
        for each in SEALED_COLUMNS
    }


def _require_everywhere(connection: Connection, now: datetime) -> None:
    first = seal_of(connection).key_ids[0]
    for replica in replicas.live(connection, now - HEARTBEATS_COUNT_FOR):
        if first not in replica.key_ids:
            raise ReplicaLacksKey(
                f"The replica {replica.id} on {replica.host} does not have the key {first}."
            )


async def _rotate_column(database: Database, sealed: SealedColumn) -> int:
    count, after = 0, None
    while True:
        changed, after = await database.write(_batch(sealed, after))
        count += changed
        if after is None:
            return count


def _batch(
    sealed: SealedColumn, after: tuple[Any, ...] | None
) -> Callable[[Connection], tuple[int, tuple[Any, ...] | None]]:
    """A work that rotates some rows beyond `after`, and returns how many and where it has come to."""

    def work(connection: Connection) -> tuple[int, tuple[Any, ...] | None]:
        seal, names = seal_of(connection), sealed.names
        old = select(*names, sealed.column).where(~sealed.column.startswith(seal.prefix, autoescape=True))
        if after is not None:
            old = old.where(tuple_(*names) > tuple_(*after, types=[name.type for name in names]))
        rows = connection.execute(old.order_by(*names).limit(BATCH)).all()
        changed = 0
        for *values, text in rows:
            bound_to = sealed.bound_to(*values)
            # Whoever has written another secret there meanwhile has sealed it with its own first key.
            same = [name == value for name, value in zip(names, values, strict=True)]
            again = update(sealed.table).where(*same, sealed.column == text)
            fresh = seal.seal(seal.open(text, bound_to), bound_to)
            changed += connection.execute(again.values({sealed.column: fresh})).rowcount
        return changed, tuple(rows[-1][:-1]) if len(rows) == BATCH else None

    return work
