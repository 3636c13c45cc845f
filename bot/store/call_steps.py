"""Recorded steps of deferred calls: sealed results, and when a write was sent. Only the claim's holder writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from bot.core.calls import Step
from bot.core.secrets import Secret
from bot.store import sealed
from bot.store.call_rows import NOT_RECALLED, STILL_HELD
from bot.store.schema import call_steps
from bot.store.schema import deferred_calls as calls
from bot.store.statements import bind, changed
from bot.store.transaction import keyring_of

STEPS = select(call_steps).where(call_steps.c.call_id == bind("call", call_steps.c.call_id))
STEPS = STEPS.order_by(call_steps.c.number)


def steps_of(connection: Connection, call_id: str) -> list[Step]:
    """Return the recorded steps of a call, in order."""
    keyring = keyring_of(connection)
    steps = []
    for row in connection.execute(STEPS, {"call": call_id}):
        opened = sealed.STEP_RESULT.open(keyring, row._mapping)
        result = opened and json.loads(opened.reveal())
        steps.append(Step(row.number, row.digest, row.is_write, row.first_sent_at, result))
    return steps


def _step(*conditions: ColumnElement[bool], **values: Any) -> Any:
    """Insert a step if the claim still holds, and lock the call until the transaction ends."""
    names = {"call_id": calls.c.id, **values}
    chosen = select(*names.values()).where(*STILL_HELD, *conditions).with_for_update()
    return insert(call_steps).from_select(list(names), chosen)


_result = _step(
    number=bind("number", call_steps.c.number),
    digest=bind("digest", call_steps.c.digest),
    is_write=cast(bind("is_write", call_steps.c.is_write), Boolean),
    first_sent_at=bind("first_sent_at", call_steps.c.first_sent_at),
    result=bind("result", call_steps.c.result),
)
RECORD_RESULT = _result.on_conflict_do_update(
    index_elements=[call_steps.c.call_id, call_steps.c.number],
    set_={
        "digest": _result.excluded.digest,
        "is_write": _result.excluded.is_write,
        "first_sent_at": func.coalesce(call_steps.c.first_sent_at, _result.excluded.first_sent_at),
        "result": func.coalesce(_result.excluded.result, call_steps.c.result),
    },
).returning(call_steps.c.number)
HELD = select(calls.c.id).where(*STILL_HELD).with_for_update()
FORGET_BEYOND = delete(call_steps).where(
    call_steps.c.call_id == bind("call", call_steps.c.call_id),
    call_steps.c.number >= bind("count", call_steps.c.number),
    call_steps.c.first_sent_at.is_(None),
)


def record_results(connection: Connection, call_id: str, claim: int, steps: Sequence[Step]) -> bool:
    """Record these steps in place of all earlier ones; return False, and record none, if the claim is lost.

    Deletes any further steps, except writes that were sent. There are such steps if a deployment has changed the command,
    so that it started again.
    """
    held = {"call": call_id, "held_claim": claim}
    if connection.execute(HELD, held).first() is None:
        return False
    keyring = keyring_of(connection)
    for step in steps:
        values: dict[str, Any] = {
            "call_id": call_id,
            "number": step.number,
            "digest": step.digest,
            "is_write": step.write,
            "first_sent_at": step.first_sent_at,
            "result": None,
        }
        if step.result is not None:
            text_ = json.dumps(step.result, ensure_ascii=False, separators=(",", ":"))
            values["result"] = sealed.STEP_RESULT.seal(keyring, values, Secret(text_))
        connection.execute(RECORD_RESULT, held | values)
    connection.execute(FORGET_BEYOND, {"call": call_id, "count": len(steps)})
    return True


_earlier = call_steps.alias("earlier")
_sent_before = exists().where(
    _earlier.c.call_id == calls.c.id,
    _earlier.c.number == bind("number", call_steps.c.number),
    _earlier.c.first_sent_at.is_not(None),
)
_sending = _step(
    or_(NOT_RECALLED, _sent_before),
    number=bind("number", call_steps.c.number),
    digest=bind("digest", call_steps.c.digest),
    is_write=literal_column("true"),
    first_sent_at=bind("now", call_steps.c.first_sent_at),
)
_unsent = call_steps.c.first_sent_at.is_(None)
RECORD_SENDING = _sending.on_conflict_do_update(
    index_elements=[call_steps.c.call_id, call_steps.c.number],
    set_={
        "digest": case((_unsent, _sending.excluded.digest), else_=call_steps.c.digest),
        "is_write": literal_column("true"),
        "first_sent_at": func.coalesce(call_steps.c.first_sent_at, _sending.excluded.first_sent_at),
    },
).returning(call_steps.c.first_sent_at)


def record_sending(
    connection: Connection, call_id: str, claim: int, number: int, digest: str, now: datetime
) -> datetime | None:
    """Record that a write is about to be sent. Return when it was first sent.

    Returns None if the claim is lost, or if the message was recalled before the write was first sent.
    """
    values = {"call": call_id, "held_claim": claim, "number": number, "digest": digest, "now": now}
    first_sent_at: datetime | None = connection.execute(RECORD_SENDING, values).scalar()
    return first_sent_at


HAS_WRITTEN = select(
    exists().where(
        call_steps.c.call_id == bind("call", call_steps.c.call_id), call_steps.c.first_sent_at.is_not(None)
    )
)


def has_written(connection: Connection, call_id: str) -> bool:
    """Return whether a write of the call may have been executed."""
    return bool(connection.execute(HAS_WRITTEN, {"call": call_id}).scalar())


FORGET_SENDING = delete(call_steps).where(
    call_steps.c.call_id == bind("call", call_steps.c.call_id),
    call_steps.c.number == bind("number", call_steps.c.number),
    call_steps.c.result.is_(None),
    exists().where(*STILL_HELD),
)


def forget_sending(connection: Connection, call_id: str, claim: int, number: int) -> bool:
    """Record that a write was certainly not executed, so that it counts as never sent. False if the claim is lost."""
    return changed(connection, FORGET_SENDING, {"call": call_id, "held_claim": claim, "number": number})


ERASE = (
    update(call_steps)
    .where(call_steps.c.call_id == bind("call", call_steps.c.call_id))
    .values(result=null(), digest=literal_column("''"))
)


def erase(connection: Connection, call_id: str) -> None:
    """Erase the results and fingerprints of a call that is settled: both follow from what its user wrote."""
    connection.execute(ERASE, {"call": call_id})
