"""Reactions that acknowledge messages, from before they are added until they are removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    and_,
    delete,
    exists,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from bot.core.messages import MessageStatus
from bot.core.people import UserKey
from bot.store import queue
from bot.store.queue import Claim, Queue
from bot.store.schema import MessageKind, cards
from bot.store.schema import deferred_calls as calls
from bot.store.schema import message_reactions as reactions
from bot.store.schema import outgoing_messages as messages
from bot.store.statements import bind, is_live, literal, status_is


@dataclass(frozen=True, slots=True)
class Reaction:
    call_id: str
    message_id: str
    reaction_id: str | None
    """None while it is being added, or if the worker died before it recorded the id."""
    attempts: int


RESERVE = insert(reactions).on_conflict_do_nothing().returning(reactions.c.call_id)


def reserve(
    connection: Connection, user: UserKey, call_id: str, message_id: str, *, now: datetime, due_at: datetime
) -> bool:
    """Record a reaction before the caller adds it; False if another worker has. It is due for removal at `due_at`."""
    values = {
        "call_id": call_id,
        "platform": user.platform,
        "app_id": user.app_id,
        "message_id": message_id,
        "attempts": 0,
        "due_at": due_at,
        "created_at": now,
    }
    return connection.execute(RESERVE, values).first() is not None


_this = reactions.c.call_id == bind("call", reactions.c.call_id)
PLACED = (
    update(reactions)
    .where(_this)
    .values(reaction_id=bind("reaction", reactions.c.reaction_id))
    .returning(reactions.c.due_at)
)


def placed(connection: Connection, call_id: str, reaction_id: str) -> datetime | None:
    """Record the id of an added reaction. Return when it is due for removal, which an answer may have changed."""
    values = {"call": call_id, "reaction": reaction_id}
    due_at: datetime | None = connection.execute(PLACED, values).scalar_one_or_none()
    return due_at


DROP = delete(reactions).where(_this)


def drop(connection: Connection, call_id: str) -> None:
    """Forget a reaction that was removed, or never added."""
    connection.execute(DROP, {"call": call_id})


def _of_app(table: FromClause) -> ColumnElement[bool]:
    """Like `statements.of_app`, but with the two columns of the index, because this table has no column `app`."""
    platform = table.c.platform == bind("own_platform", reactions.c.platform)
    return and_(platform, table.c.app_id == bind("own_app_id", reactions.c.app_id))


QUEUE = Queue(
    table=reactions,
    this=_this,
    is_open=[],
    due_at=reactions.c.due_at,
    number=reactions.c.attempts,
    of_app=_of_app,
)
_COLUMNS = (reactions.c.call_id, reactions.c.message_id, reactions.c.reaction_id, reactions.c.attempts)


def _reaction(row: Row[Any]) -> Reaction:
    return Reaction(row.call_id, row.message_id, row.reaction_id, row.attempts)


CLAIM = QUEUE.claim_this(*_COLUMNS)
CLAIM_DUE = QUEUE.claim_due(*_COLUMNS)


def claim(connection: Connection, call_id: str, lease_until: datetime) -> Reaction | None:
    """Claim the reaction to an answered message, so that the caller can remove it; or return None. One statement."""
    row = connection.execute(CLAIM, {"call": call_id, "lease_until": lease_until}).one_or_none()
    return None if row is None else _reaction(row)


MAKE_DUE = update(reactions).where(_this).values(due_at=bind("now", reactions.c.due_at))


def make_due(connection: Connection, call_id: str, now: datetime) -> None:
    """Make a reaction due for removal, because its call has ended."""
    connection.execute(MAKE_DUE, {"call": call_id, "now": now})


def claim_due(connection: Connection, claim: Claim, limit: int) -> list[Reaction]:
    """Claim reactions that are due for removal. One statement."""
    platform, _, app_id = claim.app.partition(":")
    app = {"own_platform": platform, "own_app_id": app_id}
    return [_reaction(row) for row in queue.claim_due(connection, CLAIM_DUE, claim, limit, **app)]


# --- users who have seen nothing yet -----------------------------------------------------------------

_sent = exists().where(messages.c.call_id == calls.c.id, status_is(messages, MessageStatus.SENT))
_unsent_answer = exists().where(
    messages.c.call_id == calls.c.id,
    messages.c.kind == literal(MessageKind.ANSWER),
    is_live(messages, MessageStatus),
)
_reacted = exists().where(reactions.c.call_id == calls.c.id, reactions.c.reaction_id.is_not(None))
_new_card = exists().where(
    cards.c.id == calls.c.request_id,
    # In a group the card is elsewhere, and a note says so.
    and_(calls.c.chat_kind == literal_column("'direct'"), cards.c.sent_at >= calls.c.received_at),
)
UNSEEN = select(calls.c.id).where(
    calls.c.id.in_(bind("calls", calls.c.id, expanding=True)),
    or_(calls.c.settled_at.is_(None), _unsent_answer),
    ~_sent,
    ~_reacted,
    ~_new_card,
)


def unseen(connection: Connection, call_ids: Sequence[str]) -> list[str]:
    """Return those of these calls whose users have not yet seen an answer, a note, a card or a reaction."""
    return list(connection.execute(UNSEEN, {"calls": list(call_ids)}).scalars())
