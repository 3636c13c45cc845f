"""Delivery of cards: which cards are outdated, which worker renders them, and what they show.

There are two kinds. The card of an authorization request is one message to its user. The card of a scope wait is one
message to each administrator; these messages are in the outbox. A row counts the changes that its card should show
(`wanted`) and the last one that it does show (`shown`): the card is outdated while they differ. One worker at a time
renders it, so that an older version never replaces a newer one.

A card has the id of the request or the scope wait that it shows, and is added with it. A transaction that
writes both writes that row first, so that two of them do not deadlock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Row,
    case,
    exists,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from bot.core.cards import CardDelivery
from bot.core.people import UserKey
from bot.core.requests import RequestStatus
from bot.store import audit, queue, sealed
from bot.store.keyring import Keyring
from bot.store.queue import LEASE_UNTIL, NOW, Claim, Queue
from bot.store.schema import authorization_requests as requests
from bot.store.schema import cards
from bot.store.statements import bind, changed, is_live, of_app
from bot.store.transaction import keyring_of

# --- rows --------------------------------------------------------------------------------------------

COLUMNS = (
    cards.c.message_id,
    cards.c.ephemeral,
    cards.c.seal,
    cards.c.wanted,
    cards.c.shown,
    cards.c.attempts,
    cards.c.moves,
    cards.c.due_at,
    cards.c.claim,
    cards.c.worker,
    cards.c.lease_until,
)
"""The columns from which a card is read, except the id of what it shows."""


NO_CARD = CardDelivery(
    wanted=0,
    shown=0,
    attempts=0,
    moves=0,
    message_id=None,
    ephemeral=False,
    due_at=datetime.min.replace(tzinfo=UTC),
    claim=0,
    worker=None,
    lease_until=None,
)
"""The card of a request that the bot did not write. Every request that the bot writes has a card."""


def delivery_of(row: Row[Any], keyring: Keyring) -> CardDelivery:
    """Return the card of a row. Without a valid proof the message id is ignored, so that the card is sent again."""
    if row.wanted is None:
        return NO_CARD
    has_message = row.message_id is not None and sealed.CARD.check_genuine(keyring, row._mapping)
    return CardDelivery(
        wanted=row.wanted,
        shown=row.shown,
        attempts=row.attempts,
        moves=row.moves,
        message_id=row.message_id if has_message else None,
        ephemeral=row.ephemeral if has_message else False,
        due_at=row.due_at,
        claim=row.claim,
        worker=row.worker,
        lease_until=row.lease_until,
    )


_this = cards.c.id == bind("card", cards.c.id)
QUEUE = Queue(
    table=cards,
    this=_this,
    is_open=[cards.c.shown < cards.c.wanted],
    is_claimed=[cards.c.lease_until.is_not(None)],
    due_at=cards.c.due_at,
    lease=cards.c.lease_until,
    worker=cards.c.worker,
    number=cards.c.claim,
)

LOCK: Any = select(cards.c.id, *COLUMNS).where(_this).with_for_update()


def get_locked(connection: Connection, card: str) -> CardDelivery:
    """Return a card and lock it until this transaction ends."""
    return _one(connection, LOCK, {"card": card})


def _one(connection: Connection, statement: Any, values: dict[str, Any]) -> CardDelivery:
    row = connection.execute(statement, values).one_or_none()
    return NO_CARD if row is None else delivery_of(row, keyring_of(connection))


# --- a new card --------------------------------------------------------------------------------------


def _new(kind: Column[str]) -> Any:
    values = {
        cards.c.id: bind("card", cards.c.id),
        kind: bind("card", cards.c.id),
        cards.c.app: bind("own_app", cards.c.app),
        cards.c.wanted: literal_column("1"),
        cards.c.shown: literal_column("0"),
        cards.c.due_at: NOW,
        cards.c.claim: literal_column("1"),
        cards.c.worker: bind("new_worker", cards.c.worker),
        cards.c.lease_until: LEASE_UNTIL,
    }
    return insert(cards).values(values)


ADD = _new(cards.c.request_id).inline()


def add(connection: Connection, request: str, claim: Claim) -> CardDelivery:
    """Add the card of a new request, claimed by the caller, who sends it at once. One statement."""
    connection.execute(ADD, claim.values | {"card": request})
    return CardDelivery(
        wanted=1,
        shown=0,
        attempts=0,
        moves=0,
        message_id=None,
        ephemeral=False,
        due_at=claim.now,
        claim=1,
        worker=claim.worker,
        lease_until=claim.lease_until,
    )


# --- changes that a card should show -----------------------------------------------------------------

_changed: dict[Any, Any] = {
    cards.c.wanted: cards.c.wanted + 1,
    cards.c.attempts: literal_column("0"),
    cards.c.due_at: NOW,
}
CHANGE = update(cards).where(_this).values(_changed)
CHANGE_AND_GET = CHANGE.returning(cards.c.id, *COLUMNS)


def change(connection: Connection, card: str, due_at: datetime) -> bool:
    """Make a card due, because what it shows has changed."""
    return changed(connection, CHANGE, {"card": card, "now": due_at})


CHANGE_OF_APP = CHANGE.where(of_app(cards))


def change_of_app(connection: Connection, card: str, app: str, due_at: datetime) -> bool:
    """Make a card due whose id comes from outside: it may be another app's, or no card's."""
    return changed(connection, CHANGE_OF_APP, {"card": card, "own_app": app, "now": due_at})


def change_and_get(connection: Connection, card: str, due_at: datetime) -> CardDelivery:
    return _one(connection, CHANGE_AND_GET, {"card": card, "now": due_at})


def render_again(connection: Connection, card: str, now: datetime) -> bool:
    """Make a card due that may show an old version, rendered by a worker that had lost its claim."""
    return change(connection, card, now)


_of_live_request = exists().where(requests.c.id == cards.c.request_id, is_live(requests, RequestStatus))
SHOW = CHANGE.where(_of_live_request)


def show(connection: Connection, request: str, now: datetime) -> bool:
    """Make the card of a live request due: it has something new to show."""
    return changed(connection, SHOW, {"card": request, "now": now})


_released: dict[Any, Any] = {cards.c.worker: null(), cards.c.lease_until: null()}
MOVE = (
    update(cards)
    .where(_this, _of_live_request, cards.c.message_id.is_not(None))
    .values(
        {
            **_changed,
            **_released,
            cards.c.message_id: null(),
            cards.c.ephemeral: literal_column("false"),
            cards.c.seal: null(),
            cards.c.moves: cards.c.moves + 1,
            # Two versions: the card is sent and then updated once, because sending it may repeat an older version.
            cards.c.wanted: cards.c.wanted + 2,
        }
    )
    .returning(
        select(requests.c.user_key).where(requests.c.id == cards.c.request_id).scalar_subquery(),
    )
)


def move(connection: Connection, request: str, now: datetime) -> bool:
    """Make the card of a live request due as a new message. A worker that renders the old one loses its claim."""
    user: UserKey | None = connection.execute(MOVE, {"card": request, "now": now}).scalar()
    if user is not None:
        audit.write(connection, "card_moved", user=user, subject=("request", request), now=now)
    return user is not None


GIVE_UP = update(cards).where(_this).values({cards.c.shown: cards.c.wanted, **_released})


def give_up(connection: Connection, card: str) -> None:
    """Mark a card as up to date, because it can no longer be updated."""
    connection.execute(GIVE_UP, {"card": card})


_claimed = {
    cards.c.claim: cards.c.claim + 1,
    cards.c.worker: bind("new_worker", cards.c.worker),
    cards.c.lease_until: LEASE_UNTIL,
}
_of_scope_wait = _new(cards.c.scope_wait_id)
ADD_OR_CHANGE = _of_scope_wait.on_conflict_do_update(index_elements=[cards.c.id], set_=_changed)
ADD_OR_CHANGE_AND_CLAIM = _of_scope_wait.on_conflict_do_update(
    index_elements=[cards.c.id], set_={**_changed, **_claimed}
)


def change_of_scope_wait(
    connection: Connection, wait: str, app: str, now: datetime, claim: Claim | None
) -> None:
    """Add the card of a scope wait, or make it due. A claim takes it from a worker that renders the previous version."""
    values = {"card": wait, "own_app": app, "now": now, "new_worker": None, "lease_until": None}
    if claim is None:
        connection.execute(ADD_OR_CHANGE, values)
    else:
        connection.execute(ADD_OR_CHANGE_AND_CLAIM, values | claim.values)


# --- rendering ---------------------------------------------------------------------------------------

CLAIM = QUEUE.claim_this(cards.c.id)
CLAIM_DUE_OF_REQUESTS = QUEUE.claim_due(cards.c.id, where=[cards.c.request_id.is_not(None)])
CLAIM_DUE_OF_SCOPE_WAITS = QUEUE.claim_due(cards.c.id, where=[cards.c.scope_wait_id.is_not(None)])


def claim_one(connection: Connection, card: str, claim: Claim) -> bool:
    """Claim an outdated card; False if it is up to date, or another worker has it. One statement."""
    return connection.execute(CLAIM, claim.values | {"card": card}).first() is not None


(_is_free,) = QUEUE.is_free
CHANGE_AND_CLAIM = (
    update(cards)
    .where(_this)
    .values(
        {
            **_changed,
            cards.c.claim: case((_is_free, cards.c.claim + 1), else_=cards.c.claim),
            cards.c.worker: case((_is_free, bind("new_worker", cards.c.worker)), else_=cards.c.worker),
            cards.c.lease_until: case((_is_free, LEASE_UNTIL), else_=cards.c.lease_until),
        }
    )
    .returning(cards.c.id, *COLUMNS)
)


def is_held(card: CardDelivery, claim: Claim) -> bool:
    """Whether this claim holds the card."""
    return (card.worker, card.lease_until) == (claim.worker, claim.lease_until)


def change_and_claim(connection: Connection, card: str, claim: Claim) -> CardDelivery:
    """Make a card due, and claim it unless another worker has it (see `is_held`). One statement."""
    return _one(connection, CHANGE_AND_CLAIM, claim.values | {"card": card})


def claim_due(connection: Connection, statement: Any, claim: Claim, limit: int) -> list[str]:
    """Claim outdated cards that are due, of one kind; return the ids of what they show. One statement."""
    return [row.id for row in queue.claim_due(connection, statement, claim, limit)]


@dataclass(frozen=True, slots=True)
class RenderedCard:
    """What a worker has rendered."""

    card: str
    claim: int
    """The claim with which it took the card."""
    version: int
    """The change that the card shows now."""
    message_id: str | None = None
    """The message that shows it."""
    ephemeral: bool = False


SHOWN = (
    update(cards)
    .where(*QUEUE.held, cards.c.shown < bind("version", cards.c.shown))
    .values(
        {
            **_released,
            cards.c.shown: bind("version", cards.c.shown),
            cards.c.attempts: literal_column("0"),
            cards.c.message_id: bind("message", cards.c.message_id),
            cards.c.ephemeral: bind("only_reader", cards.c.ephemeral),
            cards.c.seal: bind("new_seal", cards.c.seal),
            cards.c.sent_at: func.coalesce(cards.c.sent_at, NOW),
        }
    )
    .returning(cards.c.wanted)
)


def record_shown(connection: Connection, rendered: RenderedCard, now: datetime) -> int | None:
    """Record which version a card shows, and release it. One statement.

    Returns the version that it should show now, or None if the claim is lost.
    """
    seal = None
    if rendered.message_id is not None:
        row = {"id": rendered.card, "message_id": rendered.message_id, "ephemeral": rendered.ephemeral}
        seal = sealed.CARD.seal(keyring_of(connection), row)
    values = {
        "card": rendered.card,
        "held_claim": rendered.claim,
        "version": rendered.version,
        "message": rendered.message_id,
        "only_reader": rendered.ephemeral,
        "new_seal": seal,
        "now": now,
    }
    wanted: int | None = connection.execute(SHOWN, values).scalar()
    return wanted


POSTPONE = QUEUE.postpone(attempts=cards.c.attempts + 1)


def postpone(connection: Connection, card: str, claim: int, until: datetime) -> bool:
    """Make a card that could not be shown due again at `until`; False if the claim is lost."""
    return changed(connection, POSTPONE, {"card": card, "held_claim": claim, "until": until})
