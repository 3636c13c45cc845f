"""Checks that the keys match the database, and seals everything again with the first key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.errors import BotError, CannotOpenSecret, ConfigurationError
from bot.core.secrets import Secret
from bot.store import replicas, schema, sealed
from bot.store.keyring import Keyring
from bot.store.sealed import SealedColumn
from bot.store.transaction import Database, Work, keyring_of

FORMER_TEXT = Secret("These keys open this database.")
"""The known text of releases that made no proofs. Only a database with this text has rows without proofs."""
KNOWN_TEXT = Secret("These keys open this database. Its rows carry proofs.")
HEARTBEAT_LIFETIME = timedelta(seconds=60)
BATCH_SIZE = 200


class ReplicaLacksKey(BotError):
    """A running replica does not have the new key."""

    hint = "First deploy both keys to every replica, the new one first: BOT_ENCRYPTION_KEYS=new,old."


# --- do the keys fit -------------------------------------------------------------------------------

FIND_CHECK = select(schema.key_check.c.sealed)
ADD_CHECK = insert(schema.key_check).on_conflict_do_nothing()
_THE_ROW = {"id": 1}


async def check_keys(database: Database) -> None:
    """Raise `ConfigurationError` unless the keys match the database. A new database gets these keys."""
    if await database.read(_own_text) != KNOWN_TEXT:
        await database.write(_remember_keys)
        await database.read(_own_text)


def _own_text(connection: Connection) -> Secret | None:
    return known_text(connection, keyring_of(connection))


def keys_fit(connection: Connection, keyring: Keyring) -> bool:
    """Return whether the database has these keys; False if it has none yet. Raises `ConfigurationError` for others."""
    return known_text(connection, keyring) is not None


def known_text(connection: Connection, keyring: Keyring) -> Secret | None:
    """Return the database's known text, or None if it has none. Raises `ConfigurationError` if other keys sealed it."""
    found = connection.execute(FIND_CHECK).scalar()
    if found is None:
        return None
    try:
        return sealed.KEY_CHECK.open(keyring, _THE_ROW | {"sealed": found})
    except CannotOpenSecret as error:
        problem = (
            "BOT_ENCRYPTION_KEYS does not contain the key of this database: add it again, after any new key."
        )
        raise ConfigurationError(problem) from error


def _remember_keys(connection: Connection) -> None:
    remember_proofs(connection, keyring_of(connection))
    text = sealed.KEY_CHECK.seal(keyring_of(connection), _THE_ROW, KNOWN_TEXT)
    connection.execute(ADD_CHECK, _THE_ROW | {"sealed": text})


def remember_proofs(connection: Connection, keyring: Keyring) -> None:
    """Record that the rows of the database now have proofs, if an earlier release created it."""
    if known_text(connection, keyring) == FORMER_TEXT:
        text = sealed.KEY_CHECK.seal(keyring, _THE_ROW, KNOWN_TEXT)
        connection.execute(update(schema.key_check).values(sealed=text))


def learn_of_others(connection: Connection, now: datetime) -> None:
    """Update the keyring with the keys of all running replicas: during a rotation some lack the new one."""
    live = replicas.live(connection, now - HEARTBEAT_LIFETIME)
    elsewhere = frozenset(key_id for each in live for key_id in each.key_ids)
    keyring_of(connection).learn(elsewhere)


# --- sealing again ----------------------------------------------------------------------------------


async def rotate(database: Database) -> dict[str, int]:
    """Seal with the first key what other keys have sealed; return how many secrets, by table and column.

    The bot may be running. Rows that change in the meantime are skipped, because the first key has already sealed them;
    so are secrets that cannot be opened. Raises `ReplicaLacksKey` if a running replica could not open the result.
    """
    now = datetime.now(UTC)
    await database.read(lambda c: _require_everywhere(c, now))
    return {
        f"{each.table.name}.{each.column.name}": await _rotate_column(database, each) for each in sealed.ALL
    }


def _require_everywhere(connection: Connection, now: datetime) -> None:
    first = keyring_of(connection).key_ids[0]
    for replica in replicas.live(connection, now - HEARTBEAT_LIFETIME):
        where = f"The replica {replica.id} on {replica.host}"
        if first not in replica.key_ids:
            raise ReplicaLacksKey(f"{where} does not have the key {first}.")
        if first != replica.key_ids[0]:
            # What it seals from now on could only be opened with the key that is about to be removed.
            raise ReplicaLacksKey(f"{where} has the key {first}, but seals with another one.")


async def _rotate_column(database: Database, column: SealedColumn) -> int:
    count, after = 0, tuple[Any, ...]()
    while rows := await database.read(_not_yet(column, after)):
        count += await database.write(_seal_again(column, rows))
        after = tuple(rows[-1][each] for each in column.key)
    return count


def _not_yet(sealed: SealedColumn, after: tuple[Any, ...]) -> Work[Sequence[RowMapping]]:
    """Return a unit of work that finds rows after `after` that another key has sealed. It only reads."""

    def work(connection: Connection) -> Sequence[RowMapping]:
        key, prefix = sealed.key, keyring_of(connection).prefix
        old = select(*sealed.parts).where(~sealed.column.startswith(prefix, autoescape=True))
        if after:
            old = old.where(tuple_(*key) > tuple_(*after, types=[each.type for each in key]))
        return connection.execute(old.order_by(*key).limit(BATCH_SIZE)).mappings().all()

    return work


def _seal_again(sealed: SealedColumn, rows: Sequence[RowMapping]) -> Work[int]:
    """Return a unit of work that seals these rows with the first key. Skips those that have changed since."""

    def work(connection: Connection) -> int:
        ring, changed = keyring_of(connection), 0
        for row in rows:
            secret = sealed.open_unless_lost(ring, row)
            if secret is not None:
                same = [each == row[each] for each in (*sealed.key, sealed.column)]
                again = (
                    update(sealed.table).where(*same).values({sealed.column: sealed.seal(ring, row, secret)})
                )
                changed += connection.execute(again).rowcount
        return changed

    return work
