"""Reactions by which messages are acknowledged, from before they are added until they are taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, delete, exists, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.people import UserKey
from bot.store.schema import authorization_requests as requests
from bot.store.schema import deferred_calls as calls
from bot.store.schema import message_reactions as reactions
from bot.store.schema import outgoing_messages as messages
from bot.store.statements import LIMIT, bind, status_in, status_is


@dataclass(frozen=True, slots=True)
class Reaction:
    call_id: str
    message_id: str
    reaction_id: str | None
    """None while the worker is adding it, or if the worker died before it recorded the id."""
    attempts: int


RESERVE = insert(reactions).on_conflict_do_nothing().returning(reactions.c.call_id)


def reserve(
    connection: Connection, user: UserKey, call_id: str, message_id: str, *, now: datetime, due_at: datetime
) -> bool:
    """True for the one who is to add it. It is taken away at `due_at`, if not before."""
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
    """Notes its id; returns when it is due to be taken away, which an answer in the meantime has changed."""
    values = {"call": call_id, "reaction": reaction_id}
    due_at: datetime | None = connection.execute(PLACED, values).scalar_one_or_none()
    return due_at


DROP = delete(reactions).where(_this)


def drop(connection: Connection, call_id: str) -> None:
    """It is not there, or no longer."""
    connection.execute(DROP, {"call": call_id})


_told = (reactions.c.call_id, reactions.c.message_id, reactions.c.reaction_id, reactions.c.attempts)
_taken = {"due_at": bind("until", reactions.c.due_at), "attempts": reactions.c.attempts + 1}
TAKE = update(reactions).where(_this).values(_taken).returning(*_told)


def take(connection: Connection, call_id: str, until: datetime) -> Reaction | None:
    """The message is answered: its reaction, if there is one, to be taken away by the caller. One statement."""
    row = connection.execute(TAKE, {"call": call_id, "until": until}).one_or_none()
    return None if row is None else Reaction(*row)


HURRY = update(reactions).where(_this).values(due_at=bind("now", reactions.c.due_at))


def hurry(connection: Connection, call_id: str, now: datetime) -> None:
    """The call is over, with or without an answer: the reaction is due."""
    connection.execute(HURRY, {"call": call_id, "now": now})


_due = (
    select(reactions.c.call_id)
    .where(
        reactions.c.platform == bind("own_platform", reactions.c.platform),
        reactions.c.app_id == bind("own_app", reactions.c.app_id),
        reactions.c.due_at <= bind("now", reactions.c.due_at),
    )
    .order_by(reactions.c.due_at)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
TAKE_DUE = update(reactions).where(reactions.c.call_id.in_(_due)).values(_taken).returning(*_told)


def take_due(
    connection: Connection, platform: str, app_id: str, now: datetime, until: datetime, limit: int
) -> list[Reaction]:
    """Reactions that outlived their message's answer, or could not be taken away. One statement."""
    values = {"own_platform": platform, "own_app": app_id, "now": now, "until": until, "limit": limit}
    return [Reaction(*row) for row in connection.execute(TAKE_DUE, values).all()]


# --- who has not seen anything yet ---------------------------------------------------------------------


_sent = exists().where(messages.c.call_id == calls.c.id, status_is(messages, "sent"))
_unsent_answer = exists().where(
    messages.c.call_id == calls.c.id,
    messages.c.kind == literal_column("'answer'"),
    status_in(messages, "queued", "sending"),
)
_reacted = exists().where(reactions.c.call_id == calls.c.id, reactions.c.reaction_id.is_not(None))
_new_card = exists().where(
    requests.c.id == calls.c.request_id,
    # In a group it is elsewhere: a note says so.
    and_(calls.c.chat_kind == literal_column("'direct'"), requests.c.card_sent_at >= calls.c.received_at),
)
UNSEEN = select(calls.c.id).where(
    calls.c.id.in_(bind("calls", calls.c.id, expanding=True)),
    or_(calls.c.settled_at.is_(None), _unsent_answer),
    ~_sent,
    ~_reacted,
    ~_new_card,
)


def unseen(connection: Connection, call_ids: Sequence[str]) -> list[str]:
    """Those of these calls whose asker has seen no answer, no note, no card and no reaction yet."""
    return list(connection.execute(UNSEEN, {"calls": list(call_ids)}).scalars())
