"""Device authorizations (RFC 8628): the replica that claims one requests its code or polls. Codes are sealed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, literal_column, null, select, update

from bot.core import lifecycle
from bot.core.oauth import DeviceCode
from bot.core.people import UserKey
from bot.core.requests import DeviceAuthorization, DeviceStatus
from bot.core.scopes import ScopeSet
from bot.store import audit, queue, requests, sealed
from bot.store.keyring import Keyring
from bot.store.queue import Claim, Queue
from bot.store.schema import device_authorizations as devices
from bot.store.statements import bind, changed, is_live, literal, may_become
from bot.store.transaction import keyring_of

COLUMNS = (
    devices.c.id,
    devices.c.request_id,
    devices.c.user_key,
    devices.c.status,
    devices.c.scopes,
    devices.c.device_code,
    devices.c.user_code,
    devices.c.link,
    devices.c.interval_seconds,
    devices.c.failures,
    devices.c.created_at,
    devices.c.expires_at,
    devices.c.claim,
    devices.c.outcome,
)


def _device(row: Any, keyring: Keyring) -> DeviceAuthorization:
    return DeviceAuthorization(
        id=row.id,
        request_id=row.request_id,
        user=row.user_key,
        status=DeviceStatus(row.status),
        scopes=row.scopes,
        device_code=sealed.DEVICE_CODE.open_unless_lost(keyring, row._mapping),
        user_code=sealed.USER_CODE.open_unless_lost(keyring, row._mapping),
        link=sealed.DEVICE_LINK.open_unless_lost(keyring, row._mapping),
        interval=row.interval_seconds,
        failures=row.failures,
        created_at=row.created_at,
        expires_at=row.expires_at,
        claim=row.claim,
        outcome=row.outcome,
    )


_audited = (devices.c.id, devices.c.user_key, devices.c.request_id)


def _entry(event: str, row: Any, now: datetime, **detail: str | list[str]) -> audit.Entry:
    subject, action = ("device_authorization", row.id), f"device_authorization_{event}"
    return audit.entry(action, user=row.user_key, subject=subject, now=now, **detail, request=row.request_id)


# --- reading ---------------------------------------------------------------------------------------

_this = devices.c.id == bind("device", devices.c.id)
_of_request = devices.c.request_id == bind("request", devices.c.request_id)
_live = is_live(devices, DeviceStatus)
LATEST_OF = select(*COLUMNS).where(_of_request).order_by(devices.c.id.desc()).limit(1)
OUTCOME_OF = select(devices.c.outcome).where(_this)


def latest_of(connection: Connection, request: str) -> DeviceAuthorization | None:
    """Return the latest device authorization of a request, live or ended."""
    keyring = keyring_of(connection)
    return next((_device(row, keyring) for row in connection.execute(LATEST_OF, {"request": request})), None)


def outcome_of(connection: Connection, device: str) -> str | None:
    outcome: str | None = connection.execute(OUTCOME_OF, {"device": device}).scalar()
    return outcome


# --- starting --------------------------------------------------------------------------------------

BEGIN = insert(devices).inline()


def begin(
    connection: Connection,
    request: str,
    user: UserKey,
    *,
    scopes: ScopeSet,
    new_id: str,
    claim: Claim,
) -> DeviceAuthorization | None:
    """Record a device authorization, whose code the caller then requests. None if the request has a live one."""
    now = claim.now
    requests.get_locked(connection, request)
    before = latest_of(connection, request)
    if before is not None and lifecycle.is_live(before.status):
        if before.expires_at is None or before.expires_at > now:
            return None
        # Its end is not recorded yet, but its code has expired at the platform.
        finish(connection, before.id, before.claim, DeviceStatus.EXPIRED, "expired", now)
    values = {
        "id": new_id,
        "request_id": request,
        "user_key": user,
        "status": DeviceStatus.REQUESTING.value,
        "scopes": scopes,
        "interval_seconds": 0,
        "failures": 0,
        "runs_after": claim.lease_until,
        "worker": claim.worker,
        "claim": 1,
        "created_at": now,
    }
    connection.execute(BEGIN, values)
    begun = DeviceAuthorization(
        id=new_id,
        request_id=request,
        user=user,
        status=DeviceStatus.REQUESTING,
        scopes=scopes,
        device_code=None,
        user_code=None,
        link=None,
        interval=0,
        failures=0,
        created_at=now,
        expires_at=None,
        claim=1,
        outcome=None,
    )
    subject, asked = ("device_authorization", new_id), sorted(scopes)
    audit.write(
        connection,
        "device_authorization_begun",
        user=user,
        subject=subject,
        now=now,
        request=request,
        scopes=asked,
    )
    return begun


# --- polling ---------------------------------------------------------------------------------------

QUEUE = Queue(
    table=devices,
    this=_this,
    is_open=[_live],
    is_claimed=[_live],
    due_at=devices.c.runs_after,
    worker=devices.c.worker,
    number=devices.c.claim,
)
CLAIM_DUE = QUEUE.claim_due(*COLUMNS)


def claim_due(connection: Connection, claim: Claim, limit: int) -> list[DeviceAuthorization]:
    """Claim device authorizations whose code is to be requested, or polled for, now. One statement."""
    keyring = keyring_of(connection)
    return [_device(row, keyring) for row in queue.claim_due(connection, CLAIM_DUE, claim, limit)]


MINTED = (
    update(devices)
    .where(*QUEUE.held, _of_request, may_become(devices, DeviceStatus.POLLING))
    .values(
        status=literal(DeviceStatus.POLLING),
        device_code=bind("sealed_device_code", devices.c.device_code),
        user_code=bind("sealed_user_code", devices.c.user_code),
        link=bind("sealed_link", devices.c.link),
        interval_seconds=bind("pause", devices.c.interval_seconds),
        failures=literal_column("0"),
        runs_after=bind("until", devices.c.runs_after),
        expires_at=bind("end", devices.c.expires_at),
    )
    .returning(*_audited)
)


def store_codes(connection: Connection, device: DeviceAuthorization, code: DeviceCode, now: datetime) -> bool:
    """requesting → polling, and store the sealed codes. False if the claim is lost or the request was replaced.

    The first poll is due after one interval.
    """
    keyring, row = keyring_of(connection), _row(device, device.request_id)
    values = {
        "device": device.id,
        "held_claim": device.claim,
        "request": device.request_id,
        "sealed_device_code": sealed.DEVICE_CODE.seal(keyring, row, code.device_code),
        "sealed_user_code": sealed.USER_CODE.seal(keyring, row, code.user_code),
        "sealed_link": sealed.DEVICE_LINK.seal(keyring, row, code.verification_uri_complete),
        "pause": code.interval,
        "until": now + timedelta(seconds=code.interval),
        "end": now + timedelta(seconds=code.expires_in),
    }
    changed = connection.execute(MINTED, values).one_or_none()
    if changed is not None:
        audit.write_all(connection, [_entry("minted", changed, now)])
    return changed is not None


POSTPONE = QUEUE.postpone(
    interval_seconds=bind("pause", devices.c.interval_seconds),
    failures=bind("failed", devices.c.failures),
)


def postpone(
    connection: Connection, device: str, claim: int, *, until: datetime, interval: int, failures: int
) -> bool:
    """Make it due at `until`: for the next attempt, or to extend the lease. False if the claim is lost. One statement."""
    values = {"device": device, "held_claim": claim, "until": until, "pause": interval, "failed": failures}
    return changed(connection, POSTPONE, values)


# --- ending ----------------------------------------------------------------------------------------

_ended = {
    "status": bind("ending", devices.c.status),
    "outcome": bind("how", devices.c.outcome),
    "settled_at": bind("now", devices.c.settled_at),
    "device_code": null(),
    "user_code": null(),
    "link": null(),
}
FINISH = update(devices).where(*QUEUE.held).values(_ended).returning(*_audited)
END_OF_USER = (
    update(devices)
    .where(devices.c.user_key == bind("user", devices.c.user_key), _live)
    .values(_ended)
    .returning(*_audited)
)


def finish(
    connection: Connection, device: str, claim: int, status: DeviceStatus, outcome: str, now: datetime
) -> bool:
    """End a device authorization and erase its codes; False if the claim is lost or `close` has ended it.

    A completed one has no audit entry, because the grant has one.
    """
    values = {"device": device, "held_claim": claim, "ending": status.value, "how": outcome, "now": now}
    row = connection.execute(FINISH, values).one_or_none()
    if row is not None and status is not DeviceStatus.COMPLETED:
        how = audit.DECLINED_ON_PAGE if status is DeviceStatus.DENIED else {}
        if outcome == WRONG_PERSON:
            how = audit.TOKEN_DROPPED
        audit.write_all(connection, [_entry(status.value, row, now, reason=outcome, **how)])
    return row is not None


WRONG_PERSON = "wrong_person"
CLOSED = "closed"


def close(connection: Connection, user: UserKey, now: datetime) -> int:
    """End a user's device authorizations, because no call waits for them; return how many. Late tokens are not stored."""
    values = {"user": user, "ending": DeviceStatus.FAILED.value, "how": CLOSED, "now": now}
    closed = connection.execute(END_OF_USER, values).all()
    audit.write_all(
        connection, [_entry(DeviceStatus.FAILED.value, row, now, reason=CLOSED) for row in closed]
    )
    return len(closed)


MOVE = (
    update(devices)
    .where(_this, _of_request, _live)
    .values(
        request_id=bind("successor", devices.c.request_id),
        device_code=bind("sealed_device_code", devices.c.device_code),
    )
)


def move(connection: Connection, request: str, successor: str) -> None:
    """Move the live device authorization of a request to its successor, whose card shows the code from then on."""
    device = latest_of(connection, request)
    if device is None or not lifecycle.is_live(device.status):
        return
    if device.status is DeviceStatus.POLLING and device.device_code is None:
        return  # its code is lost, so it fails under its own request
    keyring, row = keyring_of(connection), _row(device, successor)
    code = sealed.DEVICE_CODE.seal_if_any(keyring, row, device.device_code)
    values = {"device": device.id, "request": request, "successor": successor, "sealed_device_code": code}
    connection.execute(MOVE, values)


def _row(device: DeviceAuthorization, request: str) -> dict[str, Any]:
    """Return the values to which the seals of the codes are bound."""
    return {"id": device.id, "request_id": request, "user_key": device.user, "scopes": device.scopes}
