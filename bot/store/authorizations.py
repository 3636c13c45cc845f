"""Authorization requests, their cards, and the attempts of those who open their links."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from bot.core.lifecycle import LIVE_REQUESTS, requests_that_may_become
from bot.core.model import Attempt, AttemptKind, AuthorizationRequest, RequestStatus, Secret, UserKey
from bot.core.oauth import digest
from bot.core.scopes import ScopeSet
from bot.store import audit, users
from bot.store.crypto import Seal
from bot.store.database import announce, seal_of
from bot.store.schema import AttemptStatus, authorization_attempts, authorization_requests, deferred_calls
from bot.store.sql import LIMIT, bind, status_in, status_is

requests = authorization_requests
attempts = authorization_attempts


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
    requests.c.reasons,
    requests.c.card_message_id,
    requests.c.card_ephemeral,
    requests.c.card_wanted,
    requests.c.card_shown,
    requests.c.card_attempts,
    requests.c.card_lease_until,
    requests.c.card_moves,
    requests.c.created_at,
    requests.c.expires_at,
    requests.c.failure,
)


def _request(row: Row[Any], seal: Seal) -> AuthorizationRequest:
    return AuthorizationRequest(
        id=row.id,
        user=row.user_key,
        status=RequestStatus(row.status),
        scopes=row.scopes,
        granted=row.granted,
        refused=row.refused,
        avoided=row.avoided,
        ticket=seal.open(row.ticket, _ticket_of(row.id)),
        reasons=row.reasons,
        card_message_id=row.card_message_id,
        card_ephemeral=row.card_ephemeral,
        card_wanted=row.card_wanted,
        card_shown=row.card_shown,
        card_attempts=row.card_attempts,
        card_lease_until=row.card_lease_until,
        card_moves=row.card_moves,
        created_at=row.created_at,
        expires_at=row.expires_at,
        failure=row.failure,
    )


def _ticket_of(request: str) -> str:
    return f"authorization_requests:ticket:{request}"


def _all(connection: Connection, statement: Any, values: dict[str, Any]) -> list[AuthorizationRequest]:
    seal = seal_of(connection)
    return [_request(row, seal) for row in connection.execute(statement, values).all()]


def _one(connection: Connection, statement: Any, values: dict[str, Any]) -> AuthorizationRequest | None:
    return next(iter(_all(connection, statement, values)), None)


def _changed(connection: Connection, statement: Any, values: dict[str, Any]) -> bool:
    """Whether a compare-and-set found its row. What changes a request gives its card something to show."""
    announce(connection)
    return bool(connection.execute(statement, values).rowcount)


def _note(
    connection: Connection, action: str, request: str, user: UserKey, now: datetime, **detail: Any
) -> None:
    audit.write(connection, action, user=user, subject=("request", request), now=now, **detail)


def _changed_and_noted(
    connection: Connection, statement: Any, values: dict[str, Any], action: str, now: datetime, **detail: Any
) -> bool:
    """As `_changed`, for a statement that returns whose request it is."""
    announce(connection)
    user = connection.execute(statement, values).scalar()
    if user is not None:
        _note(connection, action, values["request"], user, now, **detail)
    return user is not None


# --- looking ---------------------------------------------------------------------------------------

_select = select(*COLUMNS)
_this = requests.c.id == bind("request", requests.c.id)
_of_user = requests.c.user_key == bind("user", requests.c.user_key)
_live = status_in(requests, *sorted(LIVE_REQUESTS, key=list(RequestStatus).index))
GET = _select.where(_this)
GET_LOCKED = GET.with_for_update()
BY_TICKET = _select.where(requests.c.ticket_digest == bind("digest", requests.c.ticket_digest))
LIVE_OF = _select.where(_of_user, _live)
LIVE_OF_LOCKED = LIVE_OF.with_for_update()
LATEST_OF = _select.where(_of_user).order_by(requests.c.id.desc()).limit(1)


def get(connection: Connection, request: str) -> AuthorizationRequest | None:
    return _one(connection, GET, {"request": request})


def get_locked(connection: Connection, request: str) -> AuthorizationRequest | None:
    """As `get`; the request stays as it is until this transaction ends."""
    return _one(connection, GET_LOCKED, {"request": request})


def find_by_ticket(connection: Connection, ticket_digest: str) -> AuthorizationRequest | None:
    return _one(connection, BY_TICKET, {"digest": ticket_digest})


def live_of(connection: Connection, user: UserKey) -> AuthorizationRequest | None:
    """The one request of a person that is open or being redeemed."""
    return _one(connection, LIVE_OF, {"user": user})


def latest_of(connection: Connection, user: UserKey) -> AuthorizationRequest | None:
    return _one(connection, LATEST_OF, {"user": user})


# --- asking ----------------------------------------------------------------------------------------

OPEN = insert(requests).inline()
_show = {
    "card_wanted": requests.c.card_wanted + 1,
    "card_attempts": literal_column("0"),
    "card_due_at": bind("now", requests.c.card_due_at),
}
WIDEN = (
    update(requests)
    .where(_this, _live)
    .values(
        scopes=bind("new_scopes", requests.c.scopes),
        reasons=bind("new_reasons", requests.c.reasons),
        expires_at=bind("new_end", requests.c.expires_at),
        **_show,
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
    """Opens a request, or widens the person's live one (its ticket stays), so that it asks for these scopes too.

    Locks the person (see `users.lock`): a grant read after this in the same transaction is the newest there is,
    and one that comes later sees the calls that this transaction suspends.
    """
    users.lock(connection, user)
    live = _one(connection, LIVE_OF_LOCKED, {"user": user})
    if live is not None:
        return _widen(connection, live, scopes, command, expires_at, now)
    values = {
        "id": new_id,
        "user_key": user,
        "status": RequestStatus.OPEN.value,
        "scopes": scopes,
        "granted": frozenset(),
        "refused": frozenset(),
        "avoided": frozenset(),
        "reasons": (command,),
        "ticket_digest": digest(ticket.reveal()),
        "ticket": seal_of(connection).seal(ticket, _ticket_of(new_id)),
        "card_ephemeral": False,
        "card_wanted": 1,
        "card_shown": 0,
        "card_attempts": 0,
        "card_moves": 0,
        "card_due_at": now,
        "created_at": now,
        "expires_at": expires_at,
    }
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
    if (wider, reasons, end) == (live.scopes, live.reasons, live.expires_at):
        return live
    announce(connection)
    values = {"request": live.id, "new_scopes": wider, "new_reasons": reasons, "new_end": end, "now": now}
    if wider != live.scopes:
        _note(connection, "request_widened", live.id, live.user, now, command=command, scopes=sorted(wider))
    return _request(connection.execute(WIDEN, values).one(), seal_of(connection))


# --- status ----------------------------------------------------------------------------------------


def _may_become(status: RequestStatus) -> ColumnElement[bool]:
    return status_in(requests, *requests_that_may_become(status))


SETTLE = {
    status: update(requests)
    .where(_this, _may_become(status))
    .values(
        status=literal_column(f"'{status}'"),
        granted=bind("given", requests.c.granted),
        refused=bind("denied", requests.c.refused),
        failure=bind("why", requests.c.failure),
        settled_at=bind("now", requests.c.settled_at),
        **_show,
    )
    .returning(requests.c.user_key)
    for status in RequestStatus
    if status not in LIVE_REQUESTS
}


def settle(
    connection: Connection,
    request: str,
    status: RequestStatus,
    *,
    granted: ScopeSet,
    refused: ScopeSet,
    failure: str | None,
    now: datetime,
    reason: str | None = None,
) -> bool:
    """Ends a request; False when it cannot come to this end from where it stands. `reason` is for the audit log."""
    values = {"request": request, "given": granted, "denied": refused, "why": failure, "now": now}
    detail = {"reason": reason or failure, "refused": sorted(refused), "granted": sorted(granted)}
    return _changed_and_noted(connection, SETTLE[status], values, f"request_{status.value}", now, **detail)


SUPERSEDE = (
    update(requests)
    .where(_this, _may_become(RequestStatus.SUPERSEDED))
    .values(
        status=literal_column("'superseded'"),
        settled_at=bind("now", requests.c.settled_at),
        card_shown=requests.c.card_wanted,
        card_worker=null(),
        card_lease_until=null(),
    )
    .returning(requests.c.user_key)
)


def supersede(connection: Connection, request: str, now: datetime) -> bool:
    """Ends an open request whose card cannot be changed any more: nothing of it is shown from now on."""
    values = {"request": request, "now": now}
    return _changed_and_noted(connection, SUPERSEDE, values, "request_superseded", now)


REOPEN = (
    update(requests)
    .where(_this, _live)
    .values(status=literal_column("'open'"), scopes=bind("new_scopes", requests.c.scopes), **_show)
    .returning(requests.c.user_key)
)


def reopen(connection: Connection, request: str, *, scopes: ScopeSet, now: datetime) -> bool:
    """A live request is open (again), and asks for these scopes."""
    values = {"request": request, "new_scopes": scopes, "now": now}
    return _changed_and_noted(connection, REOPEN, values, "request_reopened", now, scopes=sorted(scopes))


ASK_AGAIN = (
    update(requests)
    .where(_this, _may_become(RequestStatus.OPEN))
    .values(
        status=literal_column("'open'"),
        scopes=bind("new_scopes", requests.c.scopes),
        refused=bind("denied", requests.c.refused),
        reasons=bind("new_reasons", requests.c.reasons),
        failure=null(),
        settled_at=null(),
        expires_at=bind("new_end", requests.c.expires_at),
        **_show,
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
    """A request that was granted, or had failed, is open again, for other scopes; None when another one is live.

    Locks the person, like `open_request`.
    """
    users.lock(connection, before.user)
    if live_of(connection, before.user) is not None:
        return None
    announce(connection)
    values = {
        "request": before.id,
        "new_scopes": scopes,
        "denied": frozenset(),
        "new_reasons": before.reasons if command in before.reasons else (*before.reasons, command),
        "new_end": expires_at,
        "now": now,
    }
    request = _one(connection, ASK_AGAIN, values)
    if request is not None:
        detail: dict[str, Any] = {"command": command, "scopes": sorted(scopes)}
        _note(connection, "request_reopened", request.id, request.user, now, **detail)
    return request


AVOID = (
    update(requests)
    .where(_this, _live)
    .values(
        avoided=bind("left_out", requests.c.avoided), scopes=bind("new_scopes", requests.c.scopes), **_show
    )
    .returning(requests.c.user_key)
)


def avoid(
    connection: Connection, request: str, scopes_avoided: ScopeSet, new_scopes: ScopeSet, now: datetime
) -> bool:
    """A live request asks for other scopes, because the platform's page showed an error for those avoided."""
    before = _one(connection, GET_LOCKED, {"request": request})
    if before is None:
        return False
    left_out = before.avoided | scopes_avoided
    values = {"request": request, "left_out": left_out, "new_scopes": new_scopes, "now": now}
    detail = {"scopes": sorted(new_scopes), "avoided": sorted(left_out)}
    return _changed_and_noted(connection, AVOID, values, "request_asks_otherwise", now, **detail)


SHOW = update(requests).where(_this, _live).values(**_show)


def show(connection: Connection, request: str, now: datetime) -> bool:
    """The card of a live request has something new to show."""
    return _changed(connection, SHOW, {"request": request, "now": now})


STAMP_OPENED = (
    update(requests)
    .where(_this, requests.c.opened_at.is_(None))
    .values(opened_at=bind("now", requests.c.opened_at))
)


def stamp_opened(connection: Connection, request: str, now: datetime) -> None:
    """Notes when the link was first opened. Changes nothing else."""
    connection.execute(STAMP_OPENED, {"request": request, "now": now})


EXPIRED = (
    _select.where(status_is(requests, "open"), requests.c.expires_at <= bind("now", requests.c.expires_at))
    .order_by(requests.c.expires_at)
    .limit(LIMIT)
)


def expired(connection: Connection, now: datetime, limit: int) -> list[AuthorizationRequest]:
    """Open requests whose time is up. One that is being redeemed is left to come to its end.

    An attempt that was begun in time does not hold a request open, but its consent still counts.
    """
    return _all(connection, EXPIRED, {"now": now, "limit": limit})


# --- cards -----------------------------------------------------------------------------------------

_outdated = requests.c.card_shown < requests.c.card_wanted
_card_free = or_(
    requests.c.card_lease_until.is_(None),
    requests.c.card_lease_until <= bind("now", requests.c.card_lease_until),
)
_card_lease = {
    "card_worker": bind("worker", requests.c.card_worker),
    "card_lease_until": bind("lease_until", requests.c.card_lease_until),
}
CLAIM_CARD = update(requests).where(_this, _outdated, _card_free).values(_card_lease).returning(*COLUMNS)
_cards_due = (
    select(requests.c.id)
    .where(_outdated, requests.c.card_due_at <= bind("now", requests.c.card_due_at), _card_free)
    .order_by(requests.c.card_due_at)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
CARDS_DUE = update(requests).where(requests.c.id.in_(_cards_due)).values(_card_lease).returning(*COLUMNS)


def claim_card(
    connection: Connection, request: str, worker: str, now: datetime, lease_until: datetime
) -> AuthorizationRequest | None:
    """Takes a card that does not show what it should; None when it does, or somebody else has it. One statement."""
    values = {"request": request, "worker": worker, "now": now, "lease_until": lease_until}
    return _one(connection, CLAIM_CARD, values)


def cards_due(
    connection: Connection, worker: str, now: datetime, lease_until: datetime, limit: int
) -> list[AuthorizationRequest]:
    """Takes cards that do not show what they should, and whose time has come. One statement."""
    values = {"worker": worker, "now": now, "lease_until": lease_until, "limit": limit}
    return _all(connection, CARDS_DUE, values)


_my_card = (
    _this,
    requests.c.card_worker == bind("worker", requests.c.card_worker),
    requests.c.card_lease_until == bind("lease_until", requests.c.card_lease_until),
)
CARD_SHOWN = (
    update(requests)
    .where(*_my_card, requests.c.card_shown < bind("version", requests.c.card_shown))
    .values(
        card_shown=bind("version", requests.c.card_shown),
        card_message_id=bind("message", requests.c.card_message_id),
        card_ephemeral=bind("only_reader", requests.c.card_ephemeral),
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
    """The card shows this version, and is free again. The version wanted by now; None when the claim is lost."""
    values = {
        "request": claimed.id,
        "worker": worker,
        "lease_until": claimed.card_lease_until,
        "version": version,
        "message": message_id,
        "only_reader": ephemeral,
        "now": now,
    }
    wanted: int | None = connection.execute(CARD_SHOWN, values).scalar()
    return wanted


MOVE_CARD = (
    update(requests)
    .where(_this, _live, requests.c.card_message_id.is_not(None))
    .values(
        card_message_id=null(),
        card_ephemeral=literal_column("false"),
        card_moves=requests.c.card_moves + 1,
        card_worker=null(),
        card_lease_until=null(),
        # Two, for a card is sent and then drawn once more: its sending may be a repeat that shows less.
        **_show | {"card_wanted": requests.c.card_wanted + 2},
    )
    .returning(requests.c.user_key)
)


def move_card(connection: Connection, request: str, now: datetime) -> bool:
    """The card of a live request is to be sent anew; whoever is changing the old one has lost it."""
    values = {"request": request, "now": now}
    return _changed_and_noted(connection, MOVE_CARD, values, "card_moved", now)


POSTPONE_CARD = (
    update(requests)
    .where(*_my_card)
    .values(
        card_due_at=bind("until", requests.c.card_due_at),
        card_attempts=requests.c.card_attempts + 1,
        card_worker=null(),
        card_lease_until=null(),
    )
)


def postpone_card(
    connection: Connection, claimed: AuthorizationRequest, worker: str, until: datetime
) -> bool:
    """The card could not be shown; it is due again later. False when the claim is lost."""
    values = {
        "request": claimed.id,
        "worker": worker,
        "lease_until": claimed.card_lease_until,
        "until": until,
    }
    return bool(connection.execute(POSTPONE_CARD, values).rowcount)


REDRAW = update(requests).where(_this).values(**_show)


def redraw(connection: Connection, request: str, now: datetime) -> bool:
    """The card may show an old face, drawn by somebody who had lost it: it is due again."""
    return _changed(connection, REDRAW, {"request": request, "now": now})


# --- attempts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewAttempt:
    id: str
    kind: AttemptKind
    request_id: str | None
    user: UserKey | None
    state_digest: str
    verifier: Secret | None
    scopes: ScopeSet
    redirect_uri: str | None
    expires_at: datetime
    browser_digest: str | None = None
    """Of a sign-in: only this browser can complete it."""


ATTEMPT_COLUMNS = (
    attempts.c.id,
    attempts.c.kind,
    attempts.c.request_id,
    attempts.c.user_key,
    attempts.c.scopes,
    attempts.c.redirect_uri,
    attempts.c.verifier,
    attempts.c.expires_at,
    attempts.c.code,
    attempts.c.state_digest,
)


def _bound_to(column: str, state_digest: str) -> str:
    """By its state, which is known before its row is read."""
    return f"authorization_attempts:{column}:{state_digest}"


def _attempt(row: Row[Any], seal: Seal) -> tuple[Attempt, Secret | None]:
    verifier = row.verifier and seal.open(row.verifier, _bound_to("verifier", row.state_digest))
    code = row.code and seal.open(row.code, _bound_to("code", row.state_digest))
    found = Attempt(
        id=row.id,
        kind=AttemptKind(row.kind),
        request_id=row.request_id,
        user=row.user_key,
        scopes=row.scopes,
        redirect_uri=row.redirect_uri,
        verifier=verifier,
        expires_at=row.expires_at,
    )
    return found, code


BEGIN = insert(attempts).inline()
LOCK = select(requests.c.id).where(_this).with_for_update()
COUNT_LIVE = (
    select(func.count())
    .select_from(attempts)
    .where(
        attempts.c.request_id == bind("request", attempts.c.request_id),
        status_is(attempts, "live"),
        attempts.c.expires_at > bind("now", attempts.c.expires_at),
    )
)


def begin_attempt(connection: Connection, attempt: NewAttempt, *, now: datetime, limit: int = 20) -> bool:
    """Notes an opening of a link; False when as many of the same request are under way as may be."""
    if attempt.request_id is not None:
        connection.execute(LOCK, {"request": attempt.request_id})
        live: int = connection.execute(COUNT_LIVE, {"request": attempt.request_id, "now": now}).scalar_one()
        if live >= limit:
            return False
    verifier = attempt.verifier
    bound_to = _bound_to("verifier", attempt.state_digest)
    values = {
        "id": attempt.id,
        "kind": attempt.kind.value,
        "request_id": attempt.request_id,
        "user_key": attempt.user,
        "state_digest": attempt.state_digest,
        "browser_digest": attempt.browser_digest,
        "verifier": verifier and seal_of(connection).seal(verifier, bound_to),
        "scopes": attempt.scopes,
        "redirect_uri": attempt.redirect_uri,
        "status": AttemptStatus.LIVE.value,
        "created_at": now,
        "expires_at": attempt.expires_at,
    }
    connection.execute(BEGIN, values)
    return True


_by_state = attempts.c.state_digest == bind("state", attempts.c.state_digest)
_is_kind = {kind: attempts.c.kind == literal_column(f"'{kind}'") for kind in AttemptKind}
_consume = (
    update(attempts)
    .where(
        _by_state,
        status_is(attempts, "live"),
        attempts.c.expires_at > bind("now", attempts.c.expires_at),
    )
    .values(
        status=literal_column("'redeeming'"),
        worker=bind("new_worker", attempts.c.worker),
        lease_until=bind("until", attempts.c.lease_until),
        consumed_at=bind("now", attempts.c.consumed_at),
    )
    .returning(*ATTEMPT_COLUMNS)
)
CONSUME = _consume.where(_is_kind[AttemptKind.AUTHORIZATION]).values(
    code=bind("sealed_code", attempts.c.code)
)
CONSUME_SIGN_IN = _consume.where(
    _is_kind[AttemptKind.SIGN_IN],
    attempts.c.browser_digest == bind("browser", attempts.c.browser_digest),
)
REDEEM = (
    update(requests)
    .where(_this, status_is(requests, "open"))
    .values(status=literal_column("'redeeming'"), **_show)
)


def consume(
    connection: Connection,
    state_digest: str,
    *,
    code: Secret | None,
    worker: str,
    lease_until: datetime,
    now: datetime,
) -> Attempt | None:
    """Takes the authorization of this state, once and in its time, and keeps its code sealed until it is redeemed.

    Its request, if that is open, shows that it is being redeemed. Without a code there is nothing to redeem.
    """
    sealed = code and seal_of(connection).seal(code, _bound_to("code", state_digest))
    values = {
        "state": state_digest,
        "sealed_code": sealed,
        "new_worker": worker,
        "until": lease_until,
        "now": now,
    }
    row = connection.execute(CONSUME, values).one_or_none()
    if row is None:
        return None
    if row.request_id is not None and code is not None:
        _changed(connection, REDEEM, {"request": row.request_id, "now": now})
    return _attempt(row, seal_of(connection))[0]


def consume_sign_in(
    connection: Connection,
    state_digest: str,
    browser_digest: str,
    *,
    worker: str,
    lease_until: datetime,
    now: datetime,
) -> Attempt | None:
    """Takes the sign-in of this state, once, in its time, and only for the browser that it was begun in.

    Its code is not kept: when this worker dies, nobody is left to whom the session could be given.
    """
    values = {
        "state": state_digest,
        "browser": browser_digest,
        "new_worker": worker,
        "until": lease_until,
        "now": now,
    }
    row = connection.execute(CONSUME_SIGN_IN, values).one_or_none()
    return None if row is None else _attempt(row, seal_of(connection))[0]


STATUS_OF = {kind: select(attempts.c.status).where(_by_state, is_kind) for kind, is_kind in _is_kind.items()}


def consumed_before(
    connection: Connection, state_digest: str, kind: AttemptKind = AttemptKind.AUTHORIZATION
) -> str | None:
    """The status of a known state, for the words of a page; `live` for one that came too late."""
    return connection.execute(STATUS_OF[kind], {"state": state_digest}).scalar()


_audited = (attempts.c.id, attempts.c.kind, attempts.c.request_id, attempts.c.user_key)
FINISH = (
    update(attempts)
    .where(attempts.c.id == bind("attempt", attempts.c.id), status_is(attempts, "redeeming"))
    .values(
        status=bind("ending", attempts.c.status),
        outcome=bind("how", attempts.c.outcome),
        code=null(),
        verifier=null(),
        worker=null(),
        lease_until=null(),
    )
    .returning(*_audited)
)


def _entry(status: str, row: Row[Any], now: datetime, **detail: str) -> audit.Entry:
    subject = ("attempt", row.id)
    return audit.entry(
        f"attempt_{status}", user=row.user_key, subject=subject, now=now, **detail, request=row.request_id
    )


def finish_attempt(connection: Connection, attempt: str, status: str, outcome: str, now: datetime) -> bool:
    """Ends an attempt that is being redeemed, and erases its code and verifier.

    In the audit log it is the grant, or the session, that tells of one that is completed, and nothing of another
    sign-in: anybody can begin one.
    """
    assert AttemptStatus(status) not in {AttemptStatus.LIVE, AttemptStatus.REDEEMING}
    values = {"attempt": attempt, "ending": status, "how": outcome}
    row = connection.execute(FINISH, values).one_or_none()
    if row is not None and row.kind == AttemptKind.AUTHORIZATION and status != AttemptStatus.COMPLETED:
        audit.write_all(connection, [_entry(status, row, now, reason=outcome)])
    return row is not None


EXTEND_ATTEMPT = (
    update(attempts)
    .where(attempts.c.id == bind("attempt", attempts.c.id), status_is(attempts, "redeeming"))
    .values(lease_until=bind("until", attempts.c.lease_until))
)


def extend_attempt(connection: Connection, attempt: str, lease_until: datetime) -> bool:
    """Redeeming goes on: nobody takes the attempt over before. One statement."""
    return bool(connection.execute(EXTEND_ATTEMPT, {"attempt": attempt, "until": lease_until}).rowcount)


WITHDRAWN = "withdrawn"
WITHDRAW_ATTEMPTS = (
    update(attempts)
    .where(attempts.c.user_key == bind("user", attempts.c.user_key), status_is(attempts, "redeeming"))
    .values(
        status=literal_column("'failed'"),
        outcome=literal_column(f"'{WITHDRAWN}'"),
        code=null(),
        verifier=null(),
        worker=null(),
        lease_until=null(),
    )
    .returning(*_audited)
)
OUTCOME_OF = select(attempts.c.outcome).where(attempts.c.id == bind("attempt", attempts.c.id))


def withdraw_attempts(connection: Connection, user: UserKey, now: datetime) -> int:
    """The person takes back what they consented to: what is being redeemed is not to be stored any more."""
    withdrawn = connection.execute(WITHDRAW_ATTEMPTS, {"user": user}).all()
    audit.write_all(connection, [_entry("failed", row, now, reason=WITHDRAWN) for row in withdrawn])
    return len(withdrawn)


def is_withdrawn(connection: Connection, attempt: str) -> bool:
    return connection.execute(OUTCOME_OF, {"attempt": attempt}).scalar() == WITHDRAWN


_stranded = (
    select(attempts.c.id)
    .where(status_is(attempts, "redeeming"), attempts.c.lease_until <= bind("now", attempts.c.lease_until))
    .order_by(attempts.c.lease_until)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
TAKE_OVER = (
    update(attempts)
    .where(attempts.c.id.in_(_stranded))
    .values(worker=bind("new_worker", attempts.c.worker), lease_until=bind("until", attempts.c.lease_until))
    .returning(*ATTEMPT_COLUMNS)
)


def stranded_attempts(
    connection: Connection, worker: str, now: datetime, lease_until: datetime, limit: int
) -> list[tuple[Attempt, Secret | None]]:
    """Takes over attempts whose redeeming was cut short, with their codes. One statement."""
    seal = seal_of(connection)
    values = {"new_worker": worker, "now": now, "until": lease_until, "limit": limit}
    return [_attempt(row, seal) for row in connection.execute(TAKE_OVER, values).all()]


# --- keeping it small ------------------------------------------------------------------------------

EXPIRE_ATTEMPTS = (
    update(attempts)
    .where(
        attempts.c.id.in_(
            select(attempts.c.id)
            .where(
                status_is(attempts, "live"),
                # Not the bare column: SQLite would go through the index of all that ever expired, not of those that
                # live.
                func.coalesce(attempts.c.expires_at, attempts.c.created_at)
                <= bind("now", attempts.c.expires_at),
            )
            .limit(LIMIT)
            .with_for_update(skip_locked=True)
        )
    )
    .values(status=literal_column("'expired'"), verifier=null())
    .returning(*_audited)
)
PRUNE_ATTEMPTS = delete(attempts).where(
    attempts.c.id.in_(
        select(attempts.c.id)
        .where(
            attempts.c.expires_at < bind("before", attempts.c.expires_at),
            attempts.c.status != literal_column("'redeeming'"),
        )
        .order_by(attempts.c.expires_at)
        .limit(LIMIT)
    )
)
PRUNE_SIGN_INS = delete(attempts).where(
    attempts.c.id.in_(
        select(attempts.c.id)
        .where(
            _is_kind[AttemptKind.SIGN_IN],
            attempts.c.expires_at < bind("before", attempts.c.expires_at),
            attempts.c.status != literal_column("'redeeming'"),
        )
        .limit(LIMIT)
    )
)
PRUNE_REQUESTS = delete(requests).where(
    requests.c.id.in_(
        select(requests.c.id)
        .where(
            requests.c.settled_at.is_not(None),
            requests.c.settled_at < bind("before", requests.c.settled_at),
            ~exists().where(deferred_calls.c.request_id == requests.c.id),
        )
        .order_by(requests.c.settled_at)
        .limit(LIMIT)
    )
)


def expire_attempts(connection: Connection, now: datetime, limit: int) -> int:
    """Marks attempts that nobody came back from, and erases their verifiers; returns how many."""
    expired = connection.execute(EXPIRE_ATTEMPTS, {"now": now, "limit": limit}).all()
    asked = [row for row in expired if row.kind == AttemptKind.AUTHORIZATION]
    audit.write_all(connection, [_entry("expired", row, now) for row in asked])
    return len(expired)


def prune_sign_ins(connection: Connection, before: datetime, limit: int) -> int:
    """Deletes sign-ins that ran out before: anybody can begin one, and the audit log tells of those that succeeded."""
    return connection.execute(PRUNE_SIGN_INS, {"before": before, "limit": limit}).rowcount


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Deletes attempts that ran out before, and requests that were settled before and no kept call names."""
    deleted = connection.execute(PRUNE_ATTEMPTS, {"before": before, "limit": limit}).rowcount
    return deleted + connection.execute(PRUNE_REQUESTS, {"before": before, "limit": limit}).rowcount
