"""Outgoing messages: written in the transaction that makes them due, sent after it, delivered at most once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, func, null, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core import lifecycle
from bot.core.messages import Content, Destination, MessageStatus
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.core.unseen_characters import one_line
from bot.store import queue, sealed
from bot.store.keyring import Keyring
from bot.store.queue import Claim, Queue, pruning, settled_before
from bot.store.schema import outgoing_messages
from bot.store.statements import bind, changed, is_live, literal, of_app, require_move, status_is
from bot.store.transaction import keyring_of

messages = outgoing_messages

MAX_REASON_LENGTH = 300
"""Characters. A reason may quote the platform."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    id: str
    user: UserKey
    kind: str
    delivery_key: str
    """The idempotency key by which the platform recognizes a repeated message; 50 characters at most."""
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
    """None if it cannot be opened, because the key is lost or the row was changed."""
    call_id: str | None
    attempts: int
    claim: int
    first_tried_at: datetime | None
    """When the first attempt was made that may have delivered the message."""
    created_at: datetime


def _message(row: Row[Any], keyring: Keyring) -> OutgoingMessage:
    body = sealed.MESSAGE.open_unless_lost(keyring, row._mapping)
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


def add(connection: Connection, message: NewMessage, *, now: datetime, claim: Claim | None = None) -> bool:
    """Write a message; return False if its delivery key, or an answer to its call, exists already.

    With `claim` the message is claimed from the start, so that the caller can send it: see `claimed`.
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
        "status": (MessageStatus.SENDING if claim else MessageStatus.QUEUED).value,
        "runs_after": claim.lease_until if claim else now,
        "worker": claim.worker if claim else None,
        "claim": 1 if claim else 0,
        "attempts": 1 if claim else 0,
        "first_tried_at": now if claim else None,
        "created_at": now,
    }
    values["content"] = sealed.MESSAGE.seal(keyring_of(connection), values, Secret(message.content.body))
    return connection.execute(ADD, values).first() is not None


def claimed(message: NewMessage, now: datetime) -> OutgoingMessage:
    """Return the message that `add` has written and claimed."""
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


QUEUE = Queue(
    table=messages,
    this=messages.c.id == bind("message", messages.c.id),
    is_open=[is_live(messages, MessageStatus)],
    is_claimed=[status_is(messages, MessageStatus.SENDING)],
    due_at=messages.c.runs_after,
    worker=messages.c.worker,
    number=messages.c.claim,
)
CLAIM_DUE = QUEUE.claim_due(
    messages,
    order_by=(messages.c.runs_after, messages.c.id),
    values={
        "status": literal(MessageStatus.SENDING),
        "attempts": messages.c.attempts + 1,
        "first_tried_at": func.coalesce(messages.c.first_tried_at, bind("now", messages.c.first_tried_at)),
    },
)


def claim_due(connection: Connection, claim: Claim, limit: int) -> list[OutgoingMessage]:
    """Claim messages that are due: postponed ones, and those of a worker whose lease has expired. One statement."""
    keyring = keyring_of(connection)
    found = [_message(row, keyring) for row in queue.claim_due(connection, CLAIM_DUE, claim, limit)]
    return sorted(found, key=lambda message: message.id)


SETTLE = (
    update(messages)
    .where(*QUEUE.held)
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
    """sending → sent, with the platform's message id; False if the claim is lost."""
    return _settle(
        connection, message, claim, now, MessageStatus.SENT, platform_id=message_id, arrived_at=now
    )


def give_up(
    connection: Connection, message: str, claim: int, status: MessageStatus, reason: str, now: datetime
) -> bool:
    """sending → undeliverable or outcome_unknown; False if the claim is lost."""
    return _settle(connection, message, claim, now, status, why=one_line(reason, MAX_REASON_LENGTH))


def _settle(
    connection: Connection, message: str, claim: int, now: datetime, status: MessageStatus, **more: object
) -> bool:
    values = {"platform_id": None, "why": None, "arrived_at": None} | more
    ending = require_move(MessageStatus.SENDING, status)
    values |= {"message": message, "held_claim": claim, "ending": ending, "now": now}
    return changed(connection, SETTLE, values)


POSTPONE = QUEUE.postpone(
    status=literal(MessageStatus.QUEUED),
    worker=null(),
    first_tried_at=case(
        (bind("arrived", messages.c.private), messages.c.first_tried_at),
        else_=null(),
    ),
)


def postpone(
    connection: Connection, message: str, claim: int, until: datetime, *, may_have_arrived: bool
) -> bool:
    """sending → queued, due at `until`; False if the claim is lost.

    An attempt that has certainly not delivered the message does not count as the first.
    """
    values = {"message": message, "held_claim": claim, "until": until, "arrived": may_have_arrived}
    return changed(connection, POSTPONE, values)


FIND = select(messages.c.status, messages.c.message_id).where(
    of_app(messages), messages.c.delivery_key == bind("key", messages.c.delivery_key)
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The state of a message."""

    settled: bool
    message_id: str | None
    """The platform's id of the message, once it is sent."""


def find(connection: Connection, app: str, delivery_key: str) -> Delivery | None:
    """Return the state of an app's message with this delivery key, or None."""
    row = connection.execute(FIND, {"own_app": app, "key": delivery_key}).one_or_none()
    return row and Delivery(not lifecycle.is_live(MessageStatus(row.status)), row.message_id)


PRUNE = pruning(messages, *settled_before(messages), order_by=messages.c.settled_at)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete messages that settled before; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
