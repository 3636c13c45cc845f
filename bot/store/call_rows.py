"""What the modules on deferred calls share: their rows, and whether a claim still holds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from bot.core.model import CallStatus, Chat, DeferredCall, WaitsFor
from bot.store.schema import deferred_calls as calls
from bot.store.sql import bind, status_is

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
)


def call_of(row: Row[Any]) -> DeferredCall:
    values = {column.name: getattr(row, column.name) for column in COLUMNS}
    values["user"] = values.pop("user_key")
    values["chat"] = Chat(values.pop("chat_id"), values.pop("chat_kind"))
    values["status"] = CallStatus(values["status"])
    values["waits_for"] = WaitsFor(values["waits_for"]) if values["waits_for"] else None
    return DeferredCall(**values)


def changed(connection: Connection, statement: Any, values: dict[str, Any]) -> bool:
    """Whether a compare-and-set found its row."""
    return bool(connection.execute(statement, values).rowcount)


STILL_HELD = (
    calls.c.id == bind("call", calls.c.id),
    calls.c.claim == bind("held_claim", calls.c.claim),
    status_is(calls, "running"),
)
"""The condition on everything that a worker writes about a call: its claim is the latest one."""
