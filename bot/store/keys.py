"""Whether the keys fit the database, and sealing everything anew with the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Table, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.errors import BotError, CannotOpenSecret, ConfigurationError
from bot.core.model import Secret
from bot.store import replicas, schema
from bot.store.crypto import Seal
from bot.store.database import Database, Work, seal_of

KNOWN_TEXT = Secret("These keys open this database.")
HEARTBEATS_COUNT_FOR = timedelta(seconds=60)
BATCH = 200


class ReplicaLacksKey(BotError):
    """A running replica does not seal with the new key."""

    hint = "Deploy both to every replica first, the new one in front: in BOT_ENCRYPTION_KEYS, new,old."


# --- do the keys fit -------------------------------------------------------------------------------

FIND_CHECK = select(schema.key_check.c.sealed)
ADD_CHECK = insert(schema.key_check).on_conflict_do_nothing()
CHECK_IS_BOUND_TO = "key_check:sealed:1"


async def check_keys(database: Database) -> None:
    """Raises `ConfigurationError` when the keys are not those of this database. The first ever used become its own."""
    if not await database.read(_own_keys_fit):
        await database.write(_remember_keys)
        await database.read(_own_keys_fit)


def _own_keys_fit(connection: Connection) -> bool:
    return keys_fit(connection, seal_of(connection))


def keys_fit(connection: Connection, seal: Seal) -> bool:
    """False when the database has no keys yet; raises `ConfigurationError` when it has others."""
    sealed = connection.execute(FIND_CHECK).scalar()
    if sealed is None:
        return False
    try:
        seal.open(sealed, CHECK_IS_BOUND_TO)
    except CannotOpenSecret as error:
        problem = (
            "BOT_ENCRYPTION_KEYS does not hold the key of this database: put it back, after any new one."
        )
        raise ConfigurationError(problem) from error
    return True


def _remember_keys(connection: Connection) -> None:
    sealed = seal_of(connection).seal(KNOWN_TEXT, CHECK_IS_BOUND_TO)
    connection.execute(ADD_CHECK, {"id": 1, "sealed": sealed})


def learn_of_others(connection: Connection, now: datetime) -> None:
    """Has the key ring know which keys are in use: while they are replaced, some replicas lack the new one."""
    live = replicas.live(connection, now - HEARTBEATS_COUNT_FOR)
    elsewhere = frozenset(key_id for each in live for key_id in each.key_ids)
    seal_of(connection).learn(elsewhere)


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
    already, and so is what nobody can open any more. Raises `ReplicaLacksKey` while a running replica could not
    open the result.
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
        where = f"The replica {replica.id} on {replica.host}"
        if first not in replica.key_ids:
            raise ReplicaLacksKey(f"{where} does not have the key {first}.")
        if first != replica.key_ids[0]:
            # What it seals from now on would stay under the key that is about to be dropped.
            raise ReplicaLacksKey(f"{where} has the key {first}, but seals with another one.")


async def _rotate_column(database: Database, sealed: SealedColumn) -> int:
    count, after = 0, tuple[Any, ...]()
    while rows := await database.read(_not_yet(sealed, after)):
        count += await database.write(_seal_anew(sealed, rows))
        after = tuple(rows[-1][:-1])
    return count


def _not_yet(sealed: SealedColumn, after: tuple[Any, ...]) -> Work[list[tuple[Any, ...]]]:
    """A work that finds some rows beyond `after` which another key has sealed. It may look long: it only reads."""

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        names, prefix = sealed.names, seal_of(connection).prefix
        old = select(*names, sealed.column).where(~sealed.column.startswith(prefix, autoescape=True))
        if after:
            old = old.where(tuple_(*names) > tuple_(*after, types=[name.type for name in names]))
        return [tuple(row) for row in connection.execute(old.order_by(*names).limit(BATCH))]

    return work


def _seal_anew(sealed: SealedColumn, rows: Sequence[tuple[Any, ...]]) -> Work[int]:
    """A work that seals these with the first key, unless another secret was written there meanwhile."""

    def work(connection: Connection) -> int:
        seal, changed = seal_of(connection), 0
        for row in rows:
            values, text = row[:-1], row[-1]
            bound_to = sealed.bound_to(*values)
            same = [name == value for name, value in zip(sealed.names, values, strict=True)]
            again = update(sealed.table).where(*same, sealed.column == text)
            secret = seal.open_unless_lost(text, bound_to)
            if secret is not None:
                fresh = {sealed.column: seal.seal(secret, bound_to)}
                changed += connection.execute(again.values(fresh)).rowcount
        return changed

    return work
