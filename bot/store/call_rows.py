"""What the modules on deferred calls share: their rows, and whether a claim still holds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from bot.core.calls import CallStatus, DeferredCall, WaitsFor
from bot.core.messages import Chat
from bot.store import sealed
from bot.store.keyring import Keyring
from bot.store.schema import deferred_calls as calls
from bot.store.statements import bind, status_is

COLUMNS = (
    calls.c.id,
    calls.c.user_key,
    calls.c.chat_id,
    calls.c.chat_kind,
    calls.c.message_id,
    calls.c.command,
    calls.c.arguments,
    calls.c.asked_at,
    calls.c.language,
    calls.c.time_zone,
    calls.c.status,
    calls.c.waits_for,
    calls.c.needs,
    calls.c.request_id,
    calls.c.consents,
    calls.c.attempts,
    calls.c.first_failed_at,
    calls.c.expires_at,
    calls.c.claim,
    calls.c.runs_after,
    calls.c.suspended_at,
    calls.c.confirmed,
    calls.c.takeovers,
    calls.c.thread_id,
    calls.c.recalled_at,
    calls.c.settled_at,
    calls.c.seal,
    calls.c.run_seal,
)
_UNTOLD = {"settled_at", "seal", "run_seal"}
"""Of no use to anybody but `_is_genuine`."""


def call_of(row: Row[Any], ring: Keyring) -> DeferredCall:
    values = {column.name: getattr(row, column.name) for column in COLUMNS if column.name not in _UNTOLD}
    values["user"] = values.pop("user_key")
    values["chat"] = Chat(values.pop("chat_id"), values.pop("chat_kind"), values.pop("thread_id"))
    values["status"] = CallStatus(values["status"])
    values["waits_for"] = WaitsFor(values["waits_for"]) if values["waits_for"] else None
    return DeferredCall(**values, genuine=_is_genuine(row, ring))


def _is_genuine(row: Row[Any], ring: Keyring) -> bool | None:
    """A settled call has only the proof of what was asked: nothing can have it run again. Very old ones lack that."""
    if row.settled_at is not None and row.seal is None:
        return False
    asked = sealed.CALL.is_genuine(ring, row._mapping)
    if not asked or row.settled_at is not None:
        return asked
    return sealed.RUN.is_genuine(ring, row._mapping)


def changed(connection: Connection, statement: Any, values: dict[str, Any]) -> bool:
    """Whether a compare-and-set found its row."""
    return bool(connection.execute(statement, values).rowcount)


STILL_HELD = (
    calls.c.id == bind("call", calls.c.id),
    calls.c.claim == bind("held_claim", calls.c.claim),
    status_is(calls, "running"),
)
"""The condition on everything that a worker writes about a call: its claim is the latest one."""

NOT_RECALLED = calls.c.recalled_at.is_(None)
"""And on what a call may no longer do when its question was recalled: wait, send another write, be answered as usual."""
