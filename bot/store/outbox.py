"""Outgoing messages: written with what makes them due, sent afterwards, at most once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, delete, func, literal_column, null, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.lifecycle import is_live
from bot.core.messages import Content, Destination, MessageStatus
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.core.unseen_characters import one_line
from bot.store import sealed
from bot.store.keyring import Keyring
from bot.store.schema import outgoing_messages
from bot.store.statements import LIMIT, app_of, bind, of_app, status_in, status_is
from bot.store.transaction import announce, keyring_of

messages = outgoing_messages

LONGEST_REASON = 300
"""Characters: a reason may quote the platform."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    id: str
    user: UserKey
    kind: str
    delivery_key: str
    """What the platform recognizes a repeat by; 50 characters at most."""
    destination: Destination
    content: Content
    call_id: str | None


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    id: str
    user: UserKey
    kind: str
    delivery_key: str
    destination: Destination
    content: Content | None
    """None: it cannot be opened. It is lost, or where it goes was changed."""
    call_id: str | None
    attempts: int
    claim: int
    first_tried_at: datetime | None
    """The first sending that may have arrived."""
    created_at: datetime


def _message(row: Row[Any], seal: Keyring) -> OutgoingMessage:
    body = sealed.MESSAGE.open_unless_lost(seal, row._mapping)
    return OutgoingMessage(
        row.id,
        row.user_key,
        row.kind,
        row.delivery_key,
        Destination(row.user_key, row.chat_id, row.reply_to, row.private),
        Content(row.content_kind, body.reveal()) if body else None,
        row.call_id,
        row.attempts,
        row.claim,
        row.first_tried_at,
        row.created_at,
    )


ADD = insert(messages).on_conflict_do_nothing().returning(messages.c.id)


def add(
    connection: Connection,
    message: NewMessage,
    *,
    now: datetime,
    worker: str | None = None,
    lease_until: datetime | None = None,
) -> bool:
    """Writes a message; False when its delivery key, or the answer to its call, is there already.

    With a worker it is claimed by that worker from the start: see `claimed`.
    """
    values: dict[str, Any] = {
        "id": message.id,
        "user_key": message.user,
        "call_id": message.call_id,
        "kind": message.kind,
        "delivery_key": message.delivery_key,
        "chat_id": message.destination.chat_id,
        "reply_to": message.destination.reply_to,
        "private": message.destination.private,
        "content_kind": message.content.kind,
        "status": (MessageStatus.SENDING if worker else MessageStatus.QUEUED).value,
        "runs_after": lease_until if worker else now,
        "worker": worker,
        "claim": 1 if worker else 0,
        "attempts": 1 if worker else 0,
        "first_tried_at": now if worker else None,
        "created_at": now,
    }
    values["content"] = sealed.MESSAGE.seal(keyring_of(connection), values, Secret(message.content.body))
    added = connection.execute(ADD, values).first() is not None
    if added and not worker:
        announce(connection)
    return added


def claimed(message: NewMessage, now: datetime) -> OutgoingMessage:
    """What `add` with a worker has claimed for it."""
    return OutgoingMessage(
        message.id,
        message.user,
        message.kind,
        message.delivery_key,
        message.destination,
        message.content,
        message.call_id,
        attempts=1,
        claim=1,
        first_tried_at=now,
        created_at=now,
    )


_due = (
    select(messages.c.id)
    .where(
        of_app(messages),
        status_in(messages, "queued", "sending"),
        messages.c.runs_after <= bind("now", messages.c.runs_after),
    )
    .order_by(messages.c.runs_after, messages.c.id)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
CLAIM_DUE = (
    update(messages)
    .where(messages.c.id.in_(_due))
    .values(
        status=literal_column("'sending'"),
        worker=bind("new_worker", messages.c.worker),
        runs_after=bind("lease_until", messages.c.runs_after),
        claim=messages.c.claim + 1,
        attempts=messages.c.attempts + 1,
        first_tried_at=func.coalesce(messages.c.first_tried_at, bind("now", messages.c.first_tried_at)),
    )
    .returning(messages)
)


def claim_due(
    connection: Connection, worker: str, now: datetime, lease_until: datetime, limit: int
) -> list[OutgoingMessage]:
    """Takes messages that are due: postponed ones, and those of a worker whose lease has run out. One statement."""
    values = {"own_app": app_of(connection), "new_worker": worker, "now": now, "lease_until": lease_until}
    values |= {"limit": limit}
    seal = keyring_of(connection)
    found = [_message(row, seal) for row in connection.execute(CLAIM_DUE, values).all()]
    return sorted(found, key=lambda message: message.id)


_held = (
    messages.c.id == bind("message", messages.c.id),
    messages.c.claim == bind("held_claim", messages.c.claim),
    status_is(messages, "sending"),
)
SETTLE = (
    update(messages)
    .where(*_held)
    .values(
        status=bind("ending", messages.c.status),
        message_id=bind("platform_id", messages.c.message_id),
        reason=bind("why", messages.c.reason),
        sent_at=bind("arrived_at", messages.c.sent_at),
        settled_at=bind("now", messages.c.settled_at),
        content=null(),
        worker=null(),
    )
)


def sent(connection: Connection, message: str, claim: int, message_id: str, now: datetime) -> bool:
    """The platform has it. False when the claim is lost."""
    return _settle(
        connection, message, claim, now, MessageStatus.SENT, platform_id=message_id, arrived_at=now
    )


def give_up(
    connection: Connection, message: str, claim: int, status: MessageStatus, reason: str, now: datetime
) -> bool:
    """`undeliverable`, or `outcome_unknown`. False when the claim is lost."""
    return _settle(connection, message, claim, now, status, why=one_line(reason, LONGEST_REASON))


def _settle(
    connection: Connection, message: str, claim: int, now: datetime, status: MessageStatus, **more: object
) -> bool:
    values = {"platform_id": None, "why": None, "arrived_at": None} | more
    values |= {"message": message, "held_claim": claim, "ending": status.value, "now": now}
    return bool(connection.execute(SETTLE, values).rowcount)


POSTPONE = (
    update(messages)
    .where(*_held)
    .values(
        status=literal_column("'queued'"),
        worker=null(),
        runs_after=bind("until", messages.c.runs_after),
        first_tried_at=case(
            (bind("arrived", messages.c.private), messages.c.first_tried_at),
            else_=null(),
        ),
    )
)


def postpone(
    connection: Connection, message: str, claim: int, until: datetime, *, arrived_possible: bool
) -> bool:
    """Sent again later. A sending that certainly did not arrive does not count as the first."""
    values = {"message": message, "held_claim": claim, "until": until, "arrived": arrived_possible}
    return bool(connection.execute(POSTPONE, values).rowcount)


FIND = select(messages.c.status, messages.c.message_id).where(
    of_app(messages), messages.c.delivery_key == bind("key", messages.c.delivery_key)
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message."""

    settled: bool
    message_id: str | None
    """The platform's id, once it was sent."""


def find(connection: Connection, delivery_key: str) -> Delivery | None:
    row = connection.execute(FIND, {"own_app": app_of(connection), "key": delivery_key}).one_or_none()
    return row and Delivery(not is_live(MessageStatus(row.status)), row.message_id)


PRUNE = delete(messages).where(
    messages.c.id.in_(
        select(messages.c.id)
        .where(
            of_app(messages),
            messages.c.settled_at.is_not(None),
            messages.c.settled_at < bind("before", messages.c.settled_at),
        )
        .order_by(messages.c.settled_at)
        .limit(LIMIT)
    )
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    values = {"own_app": app_of(connection), "before": before, "limit": limit}
    return connection.execute(PRUNE, values).rowcount
