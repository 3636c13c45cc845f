"""Seals the rows of earlier releases, once, during the migration to the release that introduces their seals.

Until then these rows have no proof, or seals that are bound to fewer values. Afterwards no unsealed row is accepted, so
that an attacker cannot pass a row off as an old one. A later migration that binds a seal to more values does the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    bindparam,
    false,
    literal_column,
    select,
    tuple_,
    update,
)

from bot.core.calls import CallStatus
from bot.core.errors import CannotOpenSecret, ConfigurationError
from bot.core.requests import AttemptKind, AttemptStatus, RequestStatus
from bot.core.secrets import Secret
from bot.store import replicas, sealed
from bot.store.key_rotation import FORMER_TEXT, HEARTBEAT_LIFETIME, known_text, remember_proofs
from bot.store.keyring import Keyring
from bot.store.schema import (
    authorization_attempts,
    authorization_requests,
    call_steps,
    deferred_calls,
    device_authorizations,
    outgoing_messages,
    revocations,
)
from bot.store.sealed import SealedColumn
from bot.store.statements import is_live, literal, status_in

log = logging.getLogger(__name__)

BATCH_SIZE = 500


@dataclass(frozen=True, slots=True)
class Unsealed:
    column: SealedColumn
    which: ColumnElement[bool]
    needed: ColumnElement[bool]
    """The rows that would be lost without a seal: if there are any, an upgrade needs the keys."""


def _all_of(column: SealedColumn, which: ColumnElement[bool]) -> Unsealed:
    return Unsealed(column, which, which)


_unsettled = deferred_calls.c.settled_at.is_(None)
_may_be_retried = status_in(deferred_calls, CallStatus.FAILED, CallStatus.CANCELLED, CallStatus.EXPIRED)
_live_request = is_live(authorization_requests, RequestStatus)
_live_attempt = is_live(authorization_attempts, AttemptStatus)
_asks_a_user = authorization_attempts.c.kind == literal(AttemptKind.AUTHORIZATION)

# Before there was a `cards` table. A later migration moves them, with these proofs: see `sealed.CARD`.
FORMER_CARD = SealedColumn(
    authorization_requests.c.card_seal,
    (authorization_requests.c.id,),
    (authorization_requests.c.card_message_id, authorization_requests.c.card_ephemeral),
    is_proof=True,
)

CALLS = (
    Unsealed(sealed.CALL, _unsettled | _may_be_retried, _unsettled),
    _all_of(sealed.RUN, _unsettled),
)
UNSEALED = (
    *CALLS,
    Unsealed(sealed.STEP_RESULT, call_steps.c.result.is_not(None), false()),
    _all_of(sealed.MESSAGE, outgoing_messages.c.content.is_not(None)),
    Unsealed(sealed.TICKET, authorization_requests.c.ticket.is_not(None), _live_request),
    Unsealed(FORMER_CARD, authorization_requests.c.card_message_id.is_not(None), false()),
    Unsealed(sealed.ATTEMPT, _live_attempt, _live_attempt & _asks_a_user),
    _all_of(sealed.DEVICE_CODE, device_authorizations.c.device_code.is_not(None)),
    _all_of(sealed.REVOCATION_TOKEN, revocations.c.token.is_not(None)),
)


def seal_unsealed_rows(connection: Connection, keyring: Keyring | None) -> None:
    """Seal all unsealed rows. Raises `ConfigurationError` if there are any and the keys are missing or do not match."""
    if keyring is None:
        if any(_has_needed_rows(connection, each) for each in UNSEALED):
            raise ConfigurationError(
                "BOT_ENCRYPTION_KEYS is missing: the upgrade needs the keys to seal waiting rows of this database."
            )
        return
    if known_text(connection, keyring) != FORMER_TEXT and any(
        _has_needed_rows(connection, each) for each in UNSEALED
    ):
        raise ConfigurationError(
            "BOT_DATABASE_URL: this database has rows without proofs that no earlier release can have written. Somebody "
            "else has inserted them. Restore a backup."
        )
    _require_keys_in_use(connection, keyring)
    for each in UNSEALED:
        seal_all(connection, keyring, each)
    remember_proofs(connection, keyring)


def _require_keys_in_use(connection: Connection, keyring: Keyring) -> None:
    """Raise `ConfigurationError` unless the keyring has every key of the running replicas, whose secrets it must open."""
    for replica in replicas.live(connection, datetime.now(UTC) - HEARTBEAT_LIFETIME):
        if not set(replica.key_ids) <= set(keyring.key_ids):
            raise ConfigurationError(
                f"BOT_ENCRYPTION_KEYS lacks a key of the replica {replica.id}: add it, or stop that replica first."
            )


def seal_all(connection: Connection, keyring: Keyring, unsealed: Unsealed) -> None:
    for rows in _batches(connection, unsealed):
        _seal(connection, keyring, unsealed.column, rows)


def _has_needed_rows(connection: Connection, unsealed: Unsealed) -> bool:
    query = (
        select(literal_column("1", Integer))
        .select_from(unsealed.column.table)
        .where(unsealed.needed)
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _batches(connection: Connection, unsealed: Unsealed) -> Iterator[Sequence[RowMapping]]:
    key = unsealed.column.key
    query = select(*unsealed.column.parts).where(unsealed.which).order_by(*key).limit(BATCH_SIZE)
    rows = connection.execute(query).mappings().all()
    while rows:
        yield rows
        after = tuple_(*(rows[-1][each] for each in key), types=[each.type for each in key])
        rows = connection.execute(query.where(tuple_(*key) > after)).mappings().all()


def _opened(keyring: Keyring, before: str, row: str) -> Secret | None:
    try:
        return keyring.open(before, row)
    except CannotOpenSecret as error:
        log.error("a stored secret is lost", extra={"row": row, "reason": str(error)})
        return None


def _seal(connection: Connection, keyring: Keyring, column: SealedColumn, rows: Sequence[RowMapping]) -> None:
    """Seal rows, with their previous content if they have one. A secret that cannot be opened stays as it is."""
    fresh = []
    for row in rows:
        before = None if column.is_proof else row[column.column.name]
        secret = sealed.NOTHING if before is None else _opened(keyring, before, column.row(row))
        if secret is not None:
            names = {f"the_{each.name}": row[each] for each in column.key}
            fresh.append(names | {"fresh": column.seal(keyring, row, secret)})
    if fresh:
        this = [each == bindparam(f"the_{each.name}", type_=each.type) for each in column.key]
        change = update(column.table).where(*this).values({column.column: bindparam("fresh")})
        connection.execute(change, fresh)
