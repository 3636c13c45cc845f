"""Authorization requests. Opening a request's link creates an attempt (see `attempts`); for its card see `cards`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from bot.core.lifecycle import settled
from bot.core.oauth import digest
from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.store import audit, queue, sealed
from bot.store.card_versions import REQUEST_CARD_CHANGED
from bot.store.keyring import Keyring
from bot.store.queue import pruning, settled_before
from bot.store.schema import authorization_requests, deferred_calls
from bot.store.statements import LIMIT, app_of, bind, is_live, literal, may_become, of_app, status_is
from bot.store.transaction import announce, keyring_of

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
    requests.c.card_message_id,
    requests.c.card_ephemeral,
    requests.c.card_seal,
    requests.c.card_wanted,
    requests.c.card_shown,
    requests.c.card_attempts,
    requests.c.card_lease_until,
    requests.c.card_moves,
    requests.c.created_at,
    requests.c.expires_at,
    requests.c.failure,
    requests.c.declined_on_page_at,
)


def request_of(row: Row[Any], keyring: Keyring) -> AuthorizationRequest:
    """Return the request of a row. Without a valid proof the card's message id is ignored, so that the card is resent."""
    has_card = row.card_message_id is not None and sealed.CARD.check_genuine(keyring, row._mapping)
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
        card_message_id=row.card_message_id if has_card else None,
        card_ephemeral=row.card_ephemeral if has_card else False,
        card_wanted=row.card_wanted,
        card_shown=row.card_shown,
        card_attempts=row.card_attempts,
        card_lease_until=row.card_lease_until,
        card_moves=row.card_moves,
        created_at=row.created_at,
        expires_at=row.expires_at,
        failure=row.failure,
        declined_on_page_at=row.declined_on_page_at,
    )


def _all(connection: Connection, statement: Any, values: dict[str, Any]) -> list[AuthorizationRequest]:
    keyring = keyring_of(connection)
    return [request_of(row, keyring) for row in connection.execute(statement, values).all()]


def _one(connection: Connection, statement: Any, values: dict[str, Any]) -> AuthorizationRequest | None:
    return next(iter(_all(connection, statement, values)), None)


def _changed(connection: Connection, statement: Any, values: dict[str, Any]) -> bool:
    """Execute a compare-and-set; return whether it found its row. The change makes the request's card due."""
    announce(connection)
    return bool(connection.execute(statement, values).rowcount)


def _note(
    connection: Connection, action: str, request: str, user: UserKey, now: datetime, **detail: Any
) -> None:
    audit.write(connection, action, user=user, subject=("request", request), now=now, **detail)


def _changed_and_audited(
    connection: Connection, statement: Any, values: dict[str, Any], action: str, now: datetime, **detail: Any
) -> bool:
    """Like `_changed`, and write an audit entry. The statement must return the user."""
    announce(connection)
    user = connection.execute(statement, values).scalar()
    if user is not None:
        _note(connection, action, values["request"], user, now, **detail)
    return user is not None


# --- reading ---------------------------------------------------------------------------------------

_select = select(*COLUMNS)
_this = requests.c.id == bind("request", requests.c.id)
_of_user = requests.c.user_key == bind("user", requests.c.user_key)
_live = is_live(requests, RequestStatus)
GET = _select.where(_this)
GET_LOCKED = GET.with_for_update()
BY_TICKET = _select.where(
    of_app(requests), requests.c.ticket_digest == bind("digest", requests.c.ticket_digest)
)
LIVE_OF = _select.where(_of_user, _live)
LIVE_OF_LOCKED = LIVE_OF.with_for_update()
LATEST_OF = _select.where(_of_user).order_by(requests.c.id.desc()).limit(1)


def get(connection: Connection, request: str) -> AuthorizationRequest | None:
    return _one(connection, GET, {"request": request})


def get_locked(connection: Connection, request: str) -> AuthorizationRequest | None:
    """Like `get`, and lock the request until this transaction ends."""
    return _one(connection, GET_LOCKED, {"request": request})


def find_by_ticket(connection: Connection, ticket_digest: str) -> AuthorizationRequest | None:
    """Return the request of a ticket; None also if the request is not genuine or belongs to another app."""
    found = _one(connection, BY_TICKET, {"own_app": app_of(connection), "digest": ticket_digest})
    return found if found is not None and found.ticket is not None else None


def live_of(connection: Connection, user: UserKey) -> AuthorizationRequest | None:
    """Return the user's one request that is open or being redeemed."""
    return _one(connection, LIVE_OF, {"user": user})


def latest_of(connection: Connection, user: UserKey) -> AuthorizationRequest | None:
    return _one(connection, LATEST_OF, {"user": user})


# --- asking ----------------------------------------------------------------------------------------

OPEN = insert(requests).inline()
EXTEND = (
    update(requests)
    .where(
        _this,
        _live,
        or_(requests.c.card_message_id.is_not(None), requests.c.card_shown < requests.c.card_wanted),
    )
    .values(expires_at=bind("new_end", requests.c.expires_at))
    .returning(*COLUMNS)
)
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
        **REQUEST_CARD_CHANGED,
    )
    .returning(*COLUMNS)
)


def open_request(
    connection: Connection,
    user: UserKey,
    *,
    scopes: ScopeSet,
    command: str,
    ticket: Secret,
    expires_at: datetime,
    now: datetime,
    new_id: str,
) -> AuthorizationRequest:
    """Open a request, or widen the user's live one (its ticket stays), so that it asks for these scopes too.

    The caller has locked the user (see `users.lock`), so that a grant that is stored later sees the calls that this
    transaction suspends.
    """
    live = _one(connection, LIVE_OF_LOCKED, {"user": user})
    if live is not None:
        return _widen(connection, live, scopes, command, expires_at, now)
    values: dict[str, Any] = {
        "id": new_id,
        "user_key": user,
        "status": RequestStatus.OPEN.value,
        "scopes": scopes,
        "granted": frozenset(),
        "refused": frozenset(),
        "avoided": frozenset(),
        "reasons": (command,),
        "ticket_digest": digest(ticket.reveal()),
        "card_ephemeral": False,
        "card_wanted": 1,
        "card_shown": 0,
        "card_attempts": 0,
        "card_moves": 0,
        "card_due_at": now,
        "created_at": now,
        "expires_at": expires_at,
    }
    values["ticket"] = sealed.TICKET.seal(keyring_of(connection), values, ticket)
    connection.execute(OPEN, values)
    announce(connection)
    _note(connection, "request_opened", new_id, user, now, command=command, scopes=sorted(scopes))
    return AuthorizationRequest(
        id=new_id,
        user=user,
        status=RequestStatus.OPEN,
        scopes=scopes,
        granted=frozenset(),
        refused=frozenset(),
        ticket=ticket,
        reasons=(command,),
        card_message_id=None,
        card_ephemeral=False,
        card_wanted=1,
        card_shown=0,
        card_attempts=0,
        card_lease_until=None,
        card_moves=0,
        created_at=now,
        expires_at=expires_at,
        failure=None,
        avoided=frozenset(),
    )


def _widen(
    connection: Connection,
    live: AuthorizationRequest,
    scopes: ScopeSet,
    command: str,
    expires_at: datetime,
    now: datetime,
) -> AuthorizationRequest:
    wider = live.scopes | scopes
    reasons = live.reasons if command in live.reasons else (*live.reasons, command)
    end = max(live.expires_at, expires_at)
    # Its link is lost, or the platform rejected its card: the next command sends the card again.
    given_up = live.ticket is None or (live.card_message_id is None and live.card_shown >= live.card_wanted)
    # An ephemeral card in a group does not stay visible, so each command shows it again.
    asks = not given_up and live.declined_on_page_at is None and not live.card_ephemeral
    if asks and (wider, reasons, end) == (live.scopes, live.reasons, live.expires_at):
        return live
    same_face = (wider, reasons, _minute(end)) == (live.scopes, live.reasons, _minute(live.expires_at))
    if asks and same_face:
        # The card shows the minute. In a burst, each command expires a little later than the one before.
        # A card that the platform has rejected is still tried again by the next command.
        extended = _one(connection, EXTEND, {"request": live.id, "new_end": end})
        if extended is not None:
            return extended
    announce(connection)
    asking = _asking(connection, live, wider, reasons)
    values = {"request": live.id, "new_end": end, "now": now, **asking}
    if wider != live.scopes:
        _note(connection, "request_widened", live.id, live.user, now, command=command, scopes=sorted(wider))
    return request_of(connection.execute(WIDEN, values).one(), keyring_of(connection))


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


NARROW = (
    update(requests)
    .where(_this, status_is(requests, RequestStatus.OPEN))
    .values(**_asks, **REQUEST_CARD_CHANGED)
    .returning(requests.c.user_key)
)


def narrow(
    connection: Connection, request: str, *, scopes: ScopeSet, commands: tuple[str, ...], now: datetime
) -> bool:
    """Make an open request ask only for these scopes and commands. A request that is being redeemed stays as it is."""
    before = get_locked(connection, request)
    if before is None:
        return False
    values = {"request": request, "now": now, **_asking(connection, before, scopes, commands)}
    detail = {"scopes": sorted(scopes)}
    return _changed_and_audited(connection, NARROW, values, "request_narrowed", now, **detail)


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
        **REQUEST_CARD_CHANGED,
    )
    .returning(requests.c.user_key)
    for status in settled(RequestStatus)
}


def settle(
    connection: Connection,
    request: str,
    status: RequestStatus,
    *,
    now: datetime,
    granted: ScopeSet = frozenset(),
    refused: ScopeSet = frozenset(),
    failure: str | None = None,
    reason: str | None = None,
) -> bool:
    """End a request; False if its status does not allow that. `reason` is for the audit log."""
    values = {"request": request, "given": granted, "denied": refused, "why": failure, "now": now}
    detail = {"reason": reason or failure, "refused": sorted(refused), "granted": sorted(granted)}
    return _changed_and_audited(connection, SETTLE[status], values, f"request_{status.value}", now, **detail)


SUPERSEDE = (
    update(requests)
    .where(_this, may_become(requests, RequestStatus.SUPERSEDED))
    .values(
        status=literal(RequestStatus.SUPERSEDED),
        settled_at=bind("now", requests.c.settled_at),
        card_shown=requests.c.card_wanted,
        card_worker=null(),
        card_lease_until=null(),
    )
    .returning(requests.c.user_key)
)


def supersede(connection: Connection, request: str, now: datetime) -> bool:
    """open → superseded, for a request whose card can no longer be updated. Its card counts as up to date."""
    values = {"request": request, "now": now}
    return _changed_and_audited(connection, SUPERSEDE, values, "request_superseded", now)


GIVE_UP_REDEEMING = (
    update(requests)
    .where(_this, may_become(requests, RequestStatus.OPEN, RequestStatus.REDEEMING))
    .values(status=literal(RequestStatus.OPEN), **REQUEST_CARD_CHANGED)
    .returning(requests.c.user_key, requests.c.scopes)
)


def give_up_redeeming(connection: Connection, request: str, now: datetime) -> bool:
    """redeeming → open, after a consent that failed. The request asks for the same scopes as before."""
    announce(connection)
    row = connection.execute(GIVE_UP_REDEEMING, {"request": request, "now": now}).one_or_none()
    if row is not None:
        _note(connection, "request_reopened", request, row.user_key, now, scopes=sorted(row.scopes))
    return row is not None


REOPEN = (
    update(requests)
    .where(_this, _live)
    .values(
        status=literal(RequestStatus.OPEN),
        declined_on_page_at=null(),
        **_asks,
        **REQUEST_CARD_CHANGED,
    )
    .returning(requests.c.user_key)
)


def reopen(connection: Connection, request: str, *, scopes: ScopeSet, now: datetime) -> bool:
    """Set a live request to open, asking for these scopes, after a consent that did not grant all scopes."""
    before = get_locked(connection, request)
    if before is None:
        return False
    values = {"request": request, "now": now, **_asking(connection, before, scopes, before.reasons)}
    return _changed_and_audited(connection, REOPEN, values, "request_reopened", now, scopes=sorted(scopes))


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
        **REQUEST_CARD_CHANGED,
    )
    .returning(*COLUMNS)
)


def ask_again(
    connection: Connection,
    before: AuthorizationRequest,
    *,
    scopes: ScopeSet,
    command: str,
    expires_at: datetime,
    now: datetime,
) -> AuthorizationRequest | None:
    """granted or failed → open, for other scopes.

    The caller has locked the user and then read the request, so that no later request can be live.
    """
    announce(connection)
    reasons = before.reasons if command in before.reasons else (*before.reasons, command)
    values = {
        "request": before.id,
        "denied": frozenset(),
        "new_end": expires_at,
        "now": now,
        **_asking(connection, before, scopes, reasons),
    }
    request = _one(connection, ASK_AGAIN, values)
    if request is not None:
        detail: dict[str, Any] = {"command": command, "scopes": sorted(scopes)}
        _note(connection, "request_reopened", request.id, request.user, now, **detail)
    return request


AVOID = (
    update(requests)
    .where(_this, _live)
    .values(avoided=bind("left_out", requests.c.avoided), **_asks, **REQUEST_CARD_CHANGED)
    .returning(requests.c.user_key)
)


def avoid(
    connection: Connection, request: str, scopes_avoided: ScopeSet, new_scopes: ScopeSet, now: datetime
) -> bool:
    """Make a live request ask for other scopes, because the platform's page shows an error for `scopes_avoided`."""
    before = _one(connection, GET_LOCKED, {"request": request})
    if before is None:
        return False
    left_out = before.avoided | scopes_avoided
    values = {
        "request": request,
        "left_out": left_out,
        "now": now,
        **_asking(connection, before, new_scopes, before.reasons),
    }
    detail = {"scopes": sorted(new_scopes), "avoided": sorted(left_out)}
    return _changed_and_audited(connection, AVOID, values, "request_asks_otherwise", now, **detail)


DECLINE_ON_PAGE = (
    update(requests)
    .where(_this, _live, requests.c.declined_on_page_at.is_(None))
    .values(declined_on_page_at=bind("now", requests.c.declined_on_page_at), **REQUEST_CARD_CHANGED)
)


def decline_on_page(connection: Connection, request: str, now: datetime) -> bool:
    """Record that a live request was declined on the platform's page, for its card; False if that was recorded before.

    Nothing else changes, because it is unknown who declined.
    """
    return _changed(connection, DECLINE_ON_PAGE, {"request": request, "now": now})


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
    return _all(connection, EXPIRED, {"own_app": app_of(connection), "now": now, "limit": limit})


# --- attempts --------------------------------------------------------------------------------------

REDEEM = (
    update(requests)
    .where(_this, may_become(requests, RequestStatus.REDEEMING))
    .values(status=literal(RequestStatus.REDEEMING), **REQUEST_CARD_CHANGED)
)


SHOWN_REDEEMING_AFTER = timedelta(seconds=2)
"""Redeeming usually takes less, so that the card changes once instead of twice."""


def redeem(connection: Connection, request: str, now: datetime) -> None:
    """open → redeeming. The card shows it only if it takes longer than `SHOWN_REDEEMING_AFTER`."""
    _changed(connection, REDEEM, {"request": request, "now": now + SHOWN_REDEEMING_AFTER})


# --- keeping it small ------------------------------------------------------------------------------

PRUNE = pruning(
    requests,
    *settled_before(requests),
    ~exists().where(deferred_calls.c.request_id == requests.c.id),
    order_by=requests.c.settled_at,
)


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete settled requests that no stored call refers to, with their attempts; return how many."""
    return queue.prune(connection, PRUNE, limit, before=before)
