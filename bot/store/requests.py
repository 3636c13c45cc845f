"""Authorization requests. Opening a request's link creates an attempt (see `attempts`); for its card see `cards`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    exists,
    func,
    insert,
    null,
    select,
    update,
)

from bot.core.cards import CardDelivery
from bot.core.lifecycle import settled
from bot.core.oauth import digest
from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.store import audit, cards, queue, sealed
from bot.store.ids import new_id
from bot.store.keyring import Keyring
from bot.store.queue import Claim, pruning, settled_before
from bot.store.schema import authorization_requests, deferred_calls
from bot.store.schema import cards as card_rows
from bot.store.statements import (
    LIMIT,
    apps_of,
    bind,
    changed,
    in_each_app,
    is_live,
    literal,
    may_become,
    of_app,
    of_own_apps,
    status_is,
)
from bot.store.transaction import keyring_of

requests = authorization_requests


# --- rows ------------------------------------------------------------------------------------------

COLUMNS = (
    requests.c.id,
    requests.c.user_key,
    requests.c.status,
    requests.c.scopes,
    requests.c.granted,
    requests.c.refused,
    requests.c.avoided,
    requests.c.ticket,
    requests.c.ticket_digest,
    requests.c.reasons,
    requests.c.created_at,
    requests.c.expires_at,
    requests.c.failure,
    requests.c.declined_on_page_at,
    requests.c.opened_at,
)


def _request(row: Row[Any], keyring: Keyring, card: CardDelivery) -> AuthorizationRequest:
    return AuthorizationRequest(
        id=row.id,
        user=row.user_key,
        status=RequestStatus(row.status),
        scopes=row.scopes,
        granted=row.granted,
        refused=row.refused,
        avoided=row.avoided,
        ticket=sealed.TICKET.open_unless_lost(keyring, row._mapping),
        reasons=row.reasons,
        card=card,
        created_at=row.created_at,
        expires_at=row.expires_at,
        failure=row.failure,
        declined_on_page_at=row.declined_on_page_at,
        opened_at=row.opened_at,
    )


def _all(connection: Connection, statement: Any, values: dict[str, Any]) -> list[AuthorizationRequest]:
    keyring = keyring_of(connection)
    rows = connection.execute(statement, values).all()
    return [_request(row, keyring, cards.delivery_of(row, keyring)) for row in rows]


def _one(connection: Connection, statement: Any, values: dict[str, Any]) -> AuthorizationRequest | None:
    return next(iter(_all(connection, statement, values)), None)


def _note(
    connection: Connection, action: str, request: AuthorizationRequest, now: datetime, **detail: Any
) -> None:
    subject = ("request", request.id)
    audit.write(connection, action, user=request.user, subject=subject, now=now, **detail)


def _changed(
    connection: Connection, statement: Any, values: dict[str, Any], when: datetime | Claim
) -> AuthorizationRequest | None:
    """Execute a compare-and-set and make the request's card due; return the request, or None if no row was changed.

    `when` is the time at which the card is due, or a claim for it, which has no effect while another worker has it.
    """
    row = connection.execute(statement, values).one_or_none()
    if row is None:
        return None
    if isinstance(when, Claim):
        card = cards.change_and_claim(connection, row.id, when)
    else:
        card = cards.change_and_get(connection, row.id, when)
    return _request(row, keyring_of(connection), card)


# --- reading ---------------------------------------------------------------------------------------

_select = select(*COLUMNS, *cards.COLUMNS).outerjoin(card_rows, card_rows.c.id == requests.c.id)
_this = requests.c.id == bind("request", requests.c.id)
_of_user = requests.c.user_key == bind("user", requests.c.user_key)
_live = is_live(requests, RequestStatus)
GET = _select.where(_this)
GET_LOCKED = GET.with_for_update(of=requests)
BY_TICKET = _select.where(
    of_own_apps(requests), requests.c.ticket_digest == bind("digest", requests.c.ticket_digest)
)
LIVE_OF = _select.where(_of_user, _live)
LIVE_OF_LOCKED = LIVE_OF.with_for_update(of=requests)
LATEST_OF = _select.where(_of_user).order_by(requests.c.id.desc()).limit(1)


def get(connection: Connection, request: str) -> AuthorizationRequest | None:
    return _one(connection, GET, {"request": request})


def get_locked(connection: Connection, request: str) -> AuthorizationRequest | None:
    """Like `get`, and lock the request until this transaction ends."""
    return _one(connection, GET_LOCKED, {"request": request})


def find_by_ticket(connection: Connection, ticket_digest: str) -> AuthorizationRequest | None:
    """Return the request of a ticket; None also if the request is not genuine or belongs to another app."""
    found = _one(connection, BY_TICKET, {"own_apps": apps_of(connection), "digest": ticket_digest})
    return found if found is not None and found.ticket is not None else None


def live_of(connection: Connection, user: UserKey) -> AuthorizationRequest | None:
    """Return the user's one request that is open or being redeemed."""
    return _one(connection, LIVE_OF, {"user": user})


def latest_of(connection: Connection, user: UserKey) -> AuthorizationRequest | None:
    return _one(connection, LATEST_OF, {"user": user})


# --- asking ----------------------------------------------------------------------------------------

OPEN = insert(requests).inline()
EXTEND = update(requests).where(_this, _live).values(expires_at=bind("new_end", requests.c.expires_at))
_asks = {
    "scopes": bind("new_scopes", requests.c.scopes),
    "reasons": bind("new_reasons", requests.c.reasons),
    "ticket": func.coalesce(bind("new_ticket", requests.c.ticket), requests.c.ticket),
}
"""What a request asks for, and for which commands. The seal of its ticket covers both."""


def _asking(
    connection: Connection, request: AuthorizationRequest, scopes: ScopeSet, reasons: tuple[str, ...]
) -> dict[str, Any]:
    """Return the parameters of `_asks`. A ticket that does not open is not sealed again: that would make it genuine."""
    ticket = request.ticket
    row = {"id": request.id, "user_key": request.user, "scopes": scopes, "reasons": reasons}
    if ticket is not None:
        row["ticket_digest"] = digest(ticket.reveal())
    seal = sealed.TICKET.seal_if_any(keyring_of(connection), row, ticket)
    return {"new_scopes": scopes, "new_reasons": reasons, "new_ticket": seal}


WIDEN = (
    update(requests)
    .where(_this, _live)
    .values(
        **_asks,
        expires_at=bind("new_end", requests.c.expires_at),
        declined_on_page_at=null(),
    )
    .returning(*COLUMNS)
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a command asks of its user."""

    scopes: ScopeSet
    command: str
    expires_at: datetime


def open_request(
    connection: Connection, user: UserKey, ask: Ask, ticket: Secret, claim: Claim
) -> AuthorizationRequest:
    """Open a request, or widen the user's live one (its ticket stays), so that it asks for these scopes too.

    The card of a new request is claimed. The caller has locked the user (see `users.lock`), so that a grant that is
    stored later sees the calls that this transaction suspends.
    """
    live = _one(connection, LIVE_OF_LOCKED, {"user": user})
    if live is not None:
        # Locked, because a card that is given up in the meantime would never show this command.
        card = cards.get_locked(connection, live.id)
        if card is cards.NO_CARD:
            card = cards.add(connection, live.id, claim)
        return _widen(connection, replace(live, card=card), ask, claim.now)
    now, none = claim.now, frozenset[str]()
    values: dict[str, Any] = {
        "id": new_id(now),
        "user_key": user,
        "status": RequestStatus.OPEN.value,
        "scopes": ask.scopes,
        "granted": none,
        "refused": none,
        "avoided": none,
        "reasons": (ask.command,),
        "ticket_digest": digest(ticket.reveal()),
        "created_at": now,
        "expires_at": ask.expires_at,
    }
    values["ticket"] = sealed.TICKET.seal(keyring_of(connection), values, ticket)
    connection.execute(OPEN, values)
    request = AuthorizationRequest(
        id=values["id"],
        user=user,
        status=RequestStatus.OPEN,
        scopes=ask.scopes,
        granted=none,
        refused=none,
        avoided=none,
        ticket=ticket,
        reasons=(ask.command,),
        card=cards.add(connection, values["id"], claim),
        created_at=now,
        expires_at=ask.expires_at,
        failure=None,
    )
    _note(connection, "request_opened", request, now, command=ask.command, scopes=sorted(ask.scopes))
    return request


def _widen(
    connection: Connection, live: AuthorizationRequest, ask: Ask, now: datetime
) -> AuthorizationRequest:
    wider = live.scopes | ask.scopes
    reasons = _with_command(live.reasons, ask.command)
    end = max(live.expires_at, ask.expires_at)
    # Its link is lost, or the platform rejected its card: the next command sends the card again.
    given_up = live.ticket is None or (live.card.message_id is None and not live.card.is_outdated)
    # An ephemeral card in a group does not stay visible, so each command shows it again.
    asks = not given_up and live.declined_on_page_at is None and not live.card.ephemeral
    if asks and (wider, reasons, end) == (live.scopes, live.reasons, live.expires_at):
        return live
    same_face = (wider, reasons, _minute(end)) == (live.scopes, live.reasons, _minute(live.expires_at))
    if asks and same_face:
        # The card shows the minute. In a burst, each command expires a little later than the one before.
        connection.execute(EXTEND, {"request": live.id, "new_end": end})
        return replace(live, expires_at=end)
    values = {"request": live.id, "new_end": end, **_asking(connection, live, wider, reasons)}
    if wider != live.scopes:
        _note(connection, "request_widened", live, now, command=ask.command, scopes=sorted(wider))
    widened = _changed(connection, WIDEN, values, now)
    assert widened is not None, "It is live, and locked."
    return widened


def _with_command(reasons: tuple[str, ...], command: str) -> tuple[str, ...]:
    return reasons if command in reasons else (*reasons, command)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


NARROW = (
    update(requests).where(_this, status_is(requests, RequestStatus.OPEN)).values(**_asks).returning(*COLUMNS)
)


def narrow(
    connection: Connection, request: str, *, scopes: ScopeSet, commands: tuple[str, ...], now: datetime
) -> bool:
    """Make an open request ask only for these scopes and commands. A request that is being redeemed stays as it is."""
    before = get_locked(connection, request)
    if before is None:
        return False
    values = {"request": request, **_asking(connection, before, scopes, commands)}
    narrowed = _changed(connection, NARROW, values, now)
    if narrowed is not None:
        _note(connection, "request_narrowed", narrowed, now, scopes=sorted(scopes))
    return narrowed is not None


# --- status ----------------------------------------------------------------------------------------


SETTLE = {
    status: update(requests)
    .where(_this, may_become(requests, status))
    .values(
        status=literal(status),
        granted=bind("given", requests.c.granted),
        refused=bind("denied", requests.c.refused),
        failure=bind("why", requests.c.failure),
        settled_at=bind("now", requests.c.settled_at),
    )
    .returning(*COLUMNS)
    for status in settled(RequestStatus)
}


@dataclass(frozen=True, slots=True)
class End:
    """How a request ends."""

    status: RequestStatus
    granted: ScopeSet = frozenset()
    refused: ScopeSet = frozenset()
    failure: str | None = None
    reason: str | None = None
    """For the audit log."""


def settle(
    connection: Connection, request: str, end: End, when: datetime | Claim
) -> AuthorizationRequest | None:
    """End a request, and make its card due or claim it; None if its status does not allow that."""
    now = when.now if isinstance(when, Claim) else when
    values = {
        "request": request,
        "given": end.granted,
        "denied": end.refused,
        "why": end.failure,
        "now": now,
    }
    ended = _changed(connection, SETTLE[end.status], values, when)
    if ended is not None:
        detail = {"refused": sorted(end.refused), "granted": sorted(end.granted)}
        reason = end.reason or end.failure
        _note(connection, f"request_{end.status.value}", ended, now, reason=reason, **detail)
    return ended


SUPERSEDE = (
    update(requests)
    .where(_this, may_become(requests, RequestStatus.SUPERSEDED))
    .values(
        status=literal(RequestStatus.SUPERSEDED),
        settled_at=bind("now", requests.c.settled_at),
    )
    .returning(requests.c.user_key)
)


def supersede(connection: Connection, request: str, now: datetime) -> bool:
    """open → superseded, for a request whose card can no longer be updated. Its card counts as up to date."""
    user: UserKey | None = connection.execute(SUPERSEDE, {"request": request, "now": now}).scalar()
    if user is not None:
        cards.give_up(connection, request)
        audit.write(connection, "request_superseded", user=user, subject=("request", request), now=now)
    return user is not None


GIVE_UP_REDEEMING = (
    update(requests)
    .where(_this, may_become(requests, RequestStatus.OPEN, RequestStatus.REDEEMING))
    .values(status=literal(RequestStatus.OPEN))
    .returning(*COLUMNS)
)


def give_up_redeeming(connection: Connection, request: str, now: datetime) -> bool:
    """redeeming → open, after a consent that failed. The request asks for the same scopes as before."""
    reopened = _changed(connection, GIVE_UP_REDEEMING, {"request": request}, now)
    if reopened is not None:
        _note(connection, "request_reopened", reopened, now, scopes=sorted(reopened.scopes))
    return reopened is not None


REOPEN = (
    update(requests)
    .where(_this, _live)
    .values(
        status=literal(RequestStatus.OPEN),
        declined_on_page_at=null(),
        **_asks,
    )
    .returning(*COLUMNS)
)


def reopen(
    connection: Connection, request: str, scopes: ScopeSet, when: datetime | Claim
) -> AuthorizationRequest | None:
    """Set a live request to open, asking for these scopes, after a consent that did not grant all scopes.

    Its card is due, or claimed: see `settle`.
    """
    before = get_locked(connection, request)
    if before is None:
        return None
    values = {"request": request, **_asking(connection, before, scopes, before.reasons)}
    reopened = _changed(connection, REOPEN, values, when)
    if reopened is not None:
        now = when.now if isinstance(when, Claim) else when
        _note(connection, "request_reopened", reopened, now, scopes=sorted(scopes))
    return reopened


ASK_AGAIN = (
    update(requests)
    .where(_this, may_become(requests, RequestStatus.OPEN))
    .values(
        status=literal(RequestStatus.OPEN),
        **_asks,
        refused=bind("denied", requests.c.refused),
        failure=null(),
        settled_at=null(),
        declined_on_page_at=null(),
        expires_at=bind("new_end", requests.c.expires_at),
    )
    .returning(*COLUMNS)
)


def ask_again(
    connection: Connection, before: AuthorizationRequest, ask: Ask, now: datetime
) -> AuthorizationRequest | None:
    """granted or failed → open, for other scopes.

    The caller has locked the user and then read the request, so that no later request can be live.
    """
    reasons = _with_command(before.reasons, ask.command)
    values = {
        "request": before.id,
        "denied": frozenset(),
        "new_end": ask.expires_at,
        **_asking(connection, before, ask.scopes, reasons),
    }
    request = _changed(connection, ASK_AGAIN, values, now)
    if request is not None:
        _note(connection, "request_reopened", request, now, command=ask.command, scopes=sorted(ask.scopes))
    return request


AVOID = (
    update(requests)
    .where(_this, _live)
    .values(avoided=bind("left_out", requests.c.avoided), **_asks)
    .returning(*COLUMNS)
)


def avoid(
    connection: Connection, request: str, scopes_avoided: ScopeSet, new_scopes: ScopeSet, now: datetime
) -> bool:
    """Make a live request ask for other scopes, because the platform's page shows an error for `scopes_avoided`."""
    before = _one(connection, GET_LOCKED, {"request": request})
    if before is None:
        return False
    left_out = before.avoided | scopes_avoided
    asking = _asking(connection, before, new_scopes, before.reasons)
    asks = _changed(connection, AVOID, {"request": request, "left_out": left_out, **asking}, now)
    if asks is not None:
        detail = {"scopes": sorted(new_scopes), "avoided": sorted(left_out)}
        _note(connection, "request_asks_otherwise", asks, now, **detail)
    return asks is not None


DECLINE_ON_PAGE = (
    update(requests)
    .where(_this, _live, requests.c.declined_on_page_at.is_(None))
    .values(declined_on_page_at=bind("now", requests.c.declined_on_page_at))
    .returning(*COLUMNS)
)


def decline_on_page(connection: Connection, request: str, now: datetime) -> bool:
    """Record that a live request was declined on the platform's page, for its card; False if that was recorded before.

    Nothing else changes, because it is unknown who declined.
    """
    return _changed(connection, DECLINE_ON_PAGE, {"request": request, "now": now}, now) is not None


STAMP_OPENED = (
    update(requests)
    .where(_this)
    .values(opened_at=func.coalesce(requests.c.opened_at, bind("now", requests.c.opened_at)))
)


def stamp_opened(connection: Connection, request: str, now: datetime) -> None:
    """Record when the link was first opened.

    This locks the request until the transaction ends, so that concurrent openings count each other's attempts.
    """
    connection.execute(STAMP_OPENED, {"request": request, "now": now})


EXPIRED = (
    _select.where(
        of_app(requests),
        status_is(requests, RequestStatus.OPEN),
        requests.c.expires_at <= bind("now", requests.c.expires_at),
    )
    .order_by(requests.c.expires_at)
    .limit(LIMIT)
)


def expired(connection: Connection, now: datetime, limit: int) -> list[AuthorizationRequest]:
    """Return open requests that have expired, but none that is being redeemed.

    An attempt that began in time does not keep its request open, but its consent still counts.
    """
    keyring = keyring_of(connection)
    return [
        _request(row, keyring, cards.delivery_of(row, keyring))
        for row in in_each_app(connection, EXPIRED, {"now": now, "limit": limit})
    ]


# --- attempts --------------------------------------------------------------------------------------

REDEEM = (
    update(requests)
    .where(_this, may_become(requests, RequestStatus.REDEEMING))
    .values(status=literal(RequestStatus.REDEEMING))
)


SHOWN_REDEEMING_AFTER = timedelta(seconds=2)
"""Redeeming usually takes less, so that the card changes once instead of twice."""


def redeem(connection: Connection, request: str, now: datetime) -> None:
    """open → redeeming. The card shows it only if it takes longer than `SHOWN_REDEEMING_AFTER`."""
    if changed(connection, REDEEM, {"request": request}):
        cards.change(connection, request, now + SHOWN_REDEEMING_AFTER)


# --- cards -----------------------------------------------------------------------------------------

CLAIMED = _select.where(
    of_app(requests), requests.c.id.in_(bind("claimed", requests.c.id, expanding=True))
).order_by(requests.c.id)


def claim_card(connection: Connection, request: str, claim: Claim) -> AuthorizationRequest | None:
    """Claim an outdated card; None if it is up to date, or another worker has it."""
    return get(connection, request) if cards.claim_one(connection, request, claim) else None


def claim_due_cards(connection: Connection, claim: Claim, limit: int) -> list[AuthorizationRequest]:
    """Claim outdated cards that are due."""
    claimed = cards.claim_due(connection, cards.CLAIM_DUE_OF_REQUESTS, claim, limit)
    return _all(connection, CLAIMED, {"own_app": claim.app, "claimed": claimed}) if claimed else []


# --- pruning ---------------------------------------------------------------------------------------

PRUNE = pruning(
    requests,
    *settled_before(requests),
    ~exists().where(deferred_calls.c.request_id == requests.c.id),
    order_by=requests.c.settled_at,
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete settled requests that no stored call refers to, with their attempts; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
