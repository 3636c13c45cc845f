"""Every column that the encryption keys seal, and the values of its row to which each seal is bound.

Without the keys, the content of a seal cannot be read (a proof has no content), and the values to which it is bound
cannot be changed: an attacker who can write to the database can neither create such a row nor make the bot act on a
changed one. docs/operating.md says what this protects, and what it does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Table

from bot.core.errors import CannotOpenSecret
from bot.core.secrets import Secret
from bot.store import schema
from bot.store.keyring import Keyring, Plain

Values = Mapping[Any, Any]
"""Values of a row by the names of their columns."""

NOTHING = Secret("")


@dataclass(frozen=True, slots=True)
class SealedColumn:
    column: Column[Any]
    key: tuple[Column[Any], ...]
    """The columns that identify the row: its primary key, or another unique key."""
    deciding: tuple[Column[Any], ...]
    """The other columns to whose values the seal is bound."""
    is_proof: bool
    """Whether it has no content, and only proves that the bot wrote these values."""
    former: tuple[Column[Any], ...] | None = None
    """The `deciding` columns of an earlier release, which bound the seal to fewer values.

    Such a seal still opens, until the row is sealed again. This release writes none, and nobody can without the keys.
    """
    former_name: str | None = None
    """The table and column, joined by a colon, to whose name it is bound because it was moved from there."""

    @property
    def table(self) -> Table:
        table: Table = self.column.table
        return table

    @property
    def parts(self) -> tuple[Column[Any], ...]:
        """All columns needed to open it."""
        return (*self.key, *self.deciding, self.column)

    def row(self, values: Values) -> str:
        """Return the name of the sealed value, also for logs: table, column and key, joined by colons."""
        name = self.former_name or f"{self.table.name}:{self.column.name}"
        return ":".join([name, *(str(values[each.name]) for each in self.key)])

    def _own(self, values: Values) -> list[Plain]:
        return _plain_values(self.deciding, values)

    def _bound_to(self, keyring: Keyring, values: Values, sealed: str | None) -> list[Plain]:
        """Return the values to which a stored seal is bound: those of an earlier release if only those open it."""
        own = self._own(values)
        if self.former is None or sealed is None or keyring.fits(sealed, self.row(values), *own):
            return own
        former = _plain_values(self.former, values)
        return former if keyring.fits(sealed, self.row(values), *former) else own

    def seal(self, keyring: Keyring, values: Values, secret: Secret = NOTHING) -> str:
        return keyring.seal(secret, self.row(values), *self._own(values))

    def seal_if_any(self, keyring: Keyring, values: Values, secret: Secret | None) -> str | None:
        return None if secret is None else self.seal(keyring, values, secret)

    def open(self, keyring: Keyring, values: Values) -> Secret | None:
        """Like `Keyring.open`; None if the column is NULL."""
        sealed = values[self.column.name]
        if sealed is None:
            return None
        return keyring.open(sealed, self.row(values), *self._bound_to(keyring, values, sealed))

    def open_unless_lost(self, keyring: Keyring, values: Values) -> Secret | None:
        """Like `Keyring.open_unless_lost`; None also if the column is NULL."""
        sealed = values[self.column.name]
        if sealed is None:
            return None
        return keyring.open_unless_lost(sealed, self.row(values), *self._bound_to(keyring, values, sealed))

    def is_genuine(self, keyring: Keyring, values: Values) -> bool | None:
        """Like `Keyring.is_genuine`."""
        sealed = values[self.column.name]
        return keyring.is_genuine(sealed, self.row(values), *self._bound_to(keyring, values, sealed))

    def check_genuine(self, keyring: Keyring, values: Values) -> bool:
        """Like `is_genuine`, but raises `CannotOpenSecret` if only another replica knows."""
        genuine = self.is_genuine(keyring, values)
        if genuine is None:
            raise CannotOpenSecret(f"Another replica has the key of {self.row(values)}.")
        return genuine


def _plain_values(columns: tuple[Column[Any], ...], values: Values) -> list[Plain]:
    return [_plain(values[each.name]) for each in columns]


def _plain(value: Any) -> Plain:
    match value:
        case None | bool() | int() | str():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case frozenset():
            return sorted(value)
        case tuple() | list():
            return json.dumps(value)
        case _:
            return str(value)


def _columns(table: Table, names: str) -> tuple[Column[Any], ...]:
    return tuple(table.c[name] for name in names.split())


def _secret(
    table: Table, column: str, key: str, deciding: str = "", *, former: str | None = None
) -> SealedColumn:
    return _sealed(table, column, key, deciding, former, is_proof=False)


def _proof(table: Table, column: str, key: str, deciding: str, *, former: str | None = None) -> SealedColumn:
    return _sealed(table, column, key, deciding, former, is_proof=True)


def _sealed(
    table: Table, column: str, key: str, deciding: str, former: str | None, *, is_proof: bool
) -> SealedColumn:
    before = None if former is None else _columns(table, former)
    return SealedColumn(table.c[column], _columns(table, key), _columns(table, deciding), is_proof, before)


KEY_CHECK = _secret(schema.key_check, "sealed", "id")
ACCESS_TOKEN = _secret(schema.grants, "access_token", "user_key")
REFRESH_TOKEN = _secret(schema.grants, "refresh_token", "user_key")
MEMORY = _proof(schema.grants, "memory_seal", "user_key", "scopes scopes_ever")
TICKET = _secret(
    schema.authorization_requests,
    "ticket",
    "id",
    "user_key ticket_digest scopes reasons",
    former="user_key ticket_digest",
)
CARD = replace(
    _proof(schema.cards, "seal", "id", "message_id ephemeral"),
    # Its previous place: the seals were moved with the other columns of a card, and are still bound to this name.
    former_name="authorization_requests:card_seal",
)
ATTEMPT = _proof(
    schema.authorization_attempts,
    "seal",
    "state_digest",
    "id kind request_id user_key browser_digest scopes redirect_uri expires_at",
)
VERIFIER = _secret(schema.authorization_attempts, "verifier", "state_digest")
CODE = _secret(schema.authorization_attempts, "code", "state_digest")
DEVICE_CODE = _secret(schema.device_authorizations, "device_code", "id", "request_id user_key scopes")
USER_CODE = _secret(schema.device_authorizations, "user_code", "id")
DEVICE_LINK = _secret(schema.device_authorizations, "link", "id")
CALL = _proof(
    schema.deferred_calls,
    "seal",
    "id",
    "user_key chat_id chat_kind message_id command arguments asked_at language",
)
RUN = _proof(schema.deferred_calls, "run_seal", "id", "confirmed needs", former="confirmed")
REPEAT = _secret(schema.deferred_calls, "repeat_arguments", "id", "user_key command")
STEP_RESULT = _secret(schema.call_steps, "result", "call_id number", "digest is_write")
MESSAGE = _secret(
    schema.outgoing_messages,
    "content",
    "id",
    "user_key kind delivery_key chat_id reply_to private content_kind",
)
REVOCATION_TOKEN = _secret(schema.revocations, "token", "id", "user_key")
SESSION = _proof(schema.sessions, "seal", "digest", "user_key created_at expires_at")

ALL = (
    *(KEY_CHECK, ACCESS_TOKEN, REFRESH_TOKEN, MEMORY, TICKET, CARD, ATTEMPT, VERIFIER, CODE),
    *(
        DEVICE_CODE,
        USER_CODE,
        DEVICE_LINK,
        CALL,
        RUN,
        REPEAT,
        STEP_RESULT,
        MESSAGE,
        REVOCATION_TOKEN,
        SESSION,
    ),
)
"""The columns that a key rotation seals again."""
