"""Delivery of cards: which cards are outdated, who draws them, and what they show.

There are two kinds. The card of an authorization request is one message to its user. The cards of a scope wait are one
message to each administrator. A row counts the changes that its card should show (`…_wanted`) and the last one that it
does show (`…_shown`): the card is outdated while they differ. One worker at a time draws it, so that an older version
never replaces a newer one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, literal_column, null, update

from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.store import audit, queue, sealed
from bot.store.card_versions import REQUEST_CARD_CHANGED
from bot.store.queue import Claim, Queue
from bot.store.requests import COLUMNS, request_of
from bot.store.schema import authorization_requests as requests
from bot.store.schema import scope_waits as waits
from bot.store.scope_waits import COLUMNS as WAIT_COLUMNS
from bot.store.scope_waits import ScopeWait, wait_of
from bot.store.statements import bind, changed, is_live
from bot.store.transaction import announce, keyring_of

# --- the card of an authorization request ------------------------------------------------------------

_this = requests.c.id == bind("request", requests.c.id)
_is_live = is_live(requests, RequestStatus)
QUEUE = Queue(
    table=requests,
    this=_this,
    is_open=[requests.c.card_shown < requests.c.card_wanted],
    due_at=requests.c.card_due_at,
    lease=requests.c.card_lease_until,
    worker=requests.c.card_worker,
)
CLAIM = QUEUE.claim_this(*COLUMNS)
CLAIM_DUE = QUEUE.claim_due(*COLUMNS)


def claim_card(connection: Connection, request: str, claim: Claim) -> AuthorizationRequest | None:
    """Claim an outdated card; None if it is up to date, or another worker has it. One statement."""
    row = connection.execute(CLAIM, claim.values | {"request": request}).one_or_none()
    return None if row is None else request_of(row, keyring_of(connection))


def claim_due_cards(connection: Connection, claim: Claim, limit: int) -> list[AuthorizationRequest]:
    """Claim outdated cards that are due. One statement."""
    keyring = keyring_of(connection)
    return [request_of(row, keyring) for row in queue.claim_due(connection, CLAIM_DUE, claim, limit)]


def _held(claimed: AuthorizationRequest, worker: str) -> dict[str, Any]:
    return {"request": claimed.id, "held_by": worker, "held_until": claimed.card_lease_until}


SHOWN = (
    update(requests)
    .where(*QUEUE.held, requests.c.card_shown < bind("version", requests.c.card_shown))
    .values(
        card_shown=bind("version", requests.c.card_shown),
        card_message_id=bind("message", requests.c.card_message_id),
        card_ephemeral=bind("only_reader", requests.c.card_ephemeral),
        card_seal=bind("new_seal", requests.c.card_seal),
        card_sent_at=func.coalesce(requests.c.card_sent_at, bind("now", requests.c.card_sent_at)),
        card_attempts=literal_column("0"),
        card_worker=null(),
        card_lease_until=null(),
    )
    .returning(requests.c.card_wanted)
)


def card_shown(
    connection: Connection,
    claimed: AuthorizationRequest,
    worker: str,
    version: int,
    *,
    message_id: str | None,
    ephemeral: bool,
    now: datetime,
) -> int | None:
    """Record that the card shows this version, and release it.

    Returns the version that it should show now, or None if the claim is lost.
    """
    seal = None
    if message_id is not None:
        card = {"id": claimed.id, "card_message_id": message_id, "card_ephemeral": ephemeral}
        seal = sealed.CARD.seal(keyring_of(connection), card)
    values = _held(claimed, worker) | {
        "version": version,
        "message": message_id,
        "only_reader": ephemeral,
        "new_seal": seal,
        "now": now,
    }
    wanted: int | None = connection.execute(SHOWN, values).scalar()
    return wanted


POSTPONE = QUEUE.postpone(card_attempts=requests.c.card_attempts + 1)


def postpone_card(
    connection: Connection, claimed: AuthorizationRequest, worker: str, until: datetime
) -> bool:
    """Make a card that could not be shown due again at `until`; False if the claim is lost."""
    return changed(connection, POSTPONE, _held(claimed, worker) | {"until": until})


MOVE = (
    update(requests)
    .where(_this, _is_live, requests.c.card_message_id.is_not(None))
    .values(
        card_message_id=null(),
        card_ephemeral=literal_column("false"),
        card_seal=null(),
        card_moves=requests.c.card_moves + 1,
        card_worker=null(),
        card_lease_until=null(),
        # Two versions: the card is sent, and then drawn once more, because its sending may repeat an older one.
        **REQUEST_CARD_CHANGED | {"card_wanted": requests.c.card_wanted + 2},
    )
    .returning(requests.c.user_key)
)


def move_card(connection: Connection, request: str, now: datetime) -> bool:
    """Have the card of a live request sent again as a new message. A worker that draws the old one loses its claim."""
    announce(connection)
    user: UserKey | None = connection.execute(MOVE, {"request": request, "now": now}).scalar()
    if user is not None:
        audit.write(connection, "card_moved", user=user, subject=("request", request), now=now)
    return user is not None


SHOW = update(requests).where(_this, _is_live).values(REQUEST_CARD_CHANGED)


def show_card(connection: Connection, request: str, now: datetime) -> bool:
    """Make the card of a live request due: it has something new to show."""
    announce(connection)
    return changed(connection, SHOW, {"request": request, "now": now})


REDRAW = update(requests).where(_this).values(REQUEST_CARD_CHANGED)


def redraw_card(connection: Connection, request: str, now: datetime) -> bool:
    """Make a card due that may show an old version, drawn by a worker that had lost its claim."""
    announce(connection)
    return changed(connection, REDRAW, {"request": request, "now": now})


# --- the administrators' cards of a scope wait -------------------------------------------------------

WAIT_QUEUE = Queue(
    table=waits,
    this=waits.c.id == bind("wait", waits.c.id),
    is_open=[waits.c.cards_shown < waits.c.cards_wanted],
    due_at=waits.c.cards_due_at,
    worker=waits.c.cards_worker,
    number=waits.c.cards_claim,
)
CLAIM_DUE_OF_WAITS = WAIT_QUEUE.claim_due(*WAIT_COLUMNS)
SHOWN_OF_WAIT = update(waits).where(*WAIT_QUEUE.held).values(cards_shown=bind("version", waits.c.cards_shown))


def claim_due_administrator_cards(connection: Connection, claim: Claim, limit: int) -> list[ScopeWait]:
    """Claim waits whose cards are outdated and due. They are due again when the lease ends. One statement."""
    return [wait_of(row) for row in queue.claim_due(connection, CLAIM_DUE_OF_WAITS, claim, limit)]


def administrator_cards_shown(connection: Connection, wait: ScopeWait) -> bool:
    """Record that the cards show the version they were claimed with; False if another worker has claimed them."""
    values = {"wait": wait.id, "held_claim": wait.cards_claim, "version": wait.cards_wanted}
    return changed(connection, SHOWN_OF_WAIT, values)
