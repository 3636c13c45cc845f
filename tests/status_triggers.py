"""Triggers that make a database reject every status change that `core.lifecycle` does not list."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from bot.core.calls import CallStatus
from bot.core.grants import GrantStatus, RevocationStatus
from bot.core.lifecycle import LIFECYCLES
from bot.core.messages import MessageStatus
from bot.core.requests import AttemptStatus, DeviceStatus, RequestStatus
from bot.core.scopes import ScopeWaitStatus

KIND_OF: dict[str, type[StrEnum]] = {
    "deferred_calls": CallStatus,
    "outgoing_messages": MessageStatus,
    "authorization_requests": RequestStatus,
    "authorization_attempts": AttemptStatus,
    "device_authorizations": DeviceStatus,
    "grants": GrantStatus,
    "revocations": RevocationStatus,
    "scope_waits": ScopeWaitStatus,
}
"""The kind of status that each table has."""


def refuse_other_moves(file: Path) -> None:
    """Add triggers to an SQLite database that abort a move that the lifecycle does not list."""
    with closing(sqlite3.connect(file)) as database, database:
        for table, kind in KIND_OF.items():
            lifecycle = LIFECYCLES[kind]
            moves = {
                f"{source}>{target}" for source, targets in lifecycle.moves.items() for target in targets
            }
            database.execute(
                f"CREATE TRIGGER {table}_moves AFTER UPDATE OF status ON {table} WHEN OLD.status <> NEW.status "
                f"AND OLD.status || '>' || NEW.status NOT IN ({quoted(moves)}) "
                f"BEGIN SELECT RAISE(ABORT, 'the lifecycle has no such move of {table}'); END"
            )


def quoted(values: set[str]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))
