"""What the modules for deferred calls share: rows, and the condition that a claim is still held."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from bot.core.calls import CallStatus, DeferredCall, WaitsFor
from bot.core.messages import Chat
from bot.store import sealed
from bot.store.keyring import Keyring
from bot.store.queue import Queue
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
_ONLY_FOR_PROOF = {"settled_at", "seal", "run_seal"}
"""Columns that only `_is_genuine` needs."""


def call_of(row: Row[Any], keyring: Keyring, *, others_due: bool = True) -> DeferredCall:
    values = {
        column.name: getattr(row, column.name) for column in COLUMNS if column.name not in _ONLY_FOR_PROOF
    }
    values["user"] = values.pop("user_key")
    values["chat"] = Chat(values.pop("chat_id"), values.pop("chat_kind"), values.pop("thread_id"))
    values["status"] = CallStatus(values["status"])
    values["waits_for"] = WaitsFor(values["waits_for"]) if values["waits_for"] else None
    return DeferredCall(**values, genuine=_is_genuine(row, keyring), others_due=others_due)


def _is_genuine(row: Row[Any], keyring: Keyring) -> bool | None:
    """Check the proofs of a call. Return None if only another replica has the key for that.

    A settled call keeps only the proof of what was asked, because it never runs again. Calls that settled before proofs
    existed have none.
    """
    if row.settled_at is not None and row.seal is None:
        return False
    asked = sealed.CALL.is_genuine(keyring, row._mapping)
    if not asked or row.settled_at is not None:
        return asked
    return sealed.RUN.is_genuine(keyring, row._mapping)


QUEUE = Queue(
    table=calls,
    this=calls.c.id == bind("call", calls.c.id),
    is_open=[status_is(calls, CallStatus.RUNNING)],
    is_claimed=[status_is(calls, CallStatus.RUNNING)],
    due_at=calls.c.runs_after,
    worker=calls.c.worker,
    number=calls.c.claim,
)
"""For everything about claims except claiming, which needs special statements for calls (see `claims`)."""

STILL_HELD = QUEUE.held
"""The condition on everything that a worker writes about a call: its claim is the latest."""

NOT_RECALLED = calls.c.recalled_at.is_(None)
"""The condition on what must not happen after the user recalled the message: waiting, another write, an answer."""
