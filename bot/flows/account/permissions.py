"""A user's own permissions: shows what they have granted and which calls wait, revokes and cancels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bot.core.calls import DeferredCall, WaitsFor
from bot.core.grants import Grant, GrantStatus
from bot.core.language import Words
from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.core.scopes import OFFLINE_ACCESS, Scope, ScopeSet
from bot.core.secrets import Secret
from bot.flows.authorize.end import cancel_in_batches, cancel_waiting, end_grant
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import deliver_all, typed
from bot.store import audit, calls, granted_scopes, grants, requests, sessions, users
from bot.store.granted_scopes import GrantedScope
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection
from bot.store.users import UserProfile


@dataclass(frozen=True, slots=True)
class HeldScope:
    """A granted scope. `record` is None if it was granted before the use of scopes was recorded."""

    scope: Scope
    words: Words
    record: GrantedScope | None


@dataclass(frozen=True, slots=True)
class WaitingCall:
    command: str
    """As the user typed it."""
    asked_at: datetime
    waits_for: WaitsFor | None
    """None for a queued call."""


PAGE_SIZE = 20
"""The number of entries of a list on one page."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """Which page of a list is shown."""

    total: int
    wanted: int
    """The requested page, from 1; it may be beyond the last."""

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE_SIZE))

    @property
    def page(self) -> int:
        return min(max(self.wanted, 1), self.pages)

    @property
    def skipped(self) -> int:
        return (self.page - 1) * PAGE_SIZE


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What the user's open request asks for."""

    scopes: tuple[tuple[Scope, Words], ...]
    """The first of its scopes."""
    more: int
    """The number of the others."""
    until: datetime
    redeeming: bool
    """Whether a consent is being completed."""


@dataclass(frozen=True, slots=True)
class Permissions:
    name: str | None
    time_zone: str | None
    default_time_zone: str
    held: tuple[HeldScope, ...]
    held_paging: ListPage
    until: datetime | None
    """When the grant ends unless it is refreshed; None if unknown, or without a grant."""
    renewable: bool
    last_used_at: datetime | None
    waiting: tuple[WaitingCall, ...]
    waiting_paging: ListPage
    wanted: OpenRequest | None


@dataclass(frozen=True, slots=True)
class StoredPermissions:
    profile: UserProfile | None
    grant: Grant | None
    records: dict[Scope, GrantedScope]
    waiting: list[DeferredCall]
    waiting_paging: ListPage
    request: AuthorizationRequest | None


async def permissions_of(
    bot: Bot, user: UserKey, *, waiting_page: int = 1, held_page: int = 1
) -> Permissions:
    """Return what the page "My permissions" shows to a user."""

    def read(c: Connection) -> StoredPermissions:
        paging = ListPage(calls.count_waiting(c, user), waiting_page)
        return StoredPermissions(
            users.profile(c, user),
            grants.find(c, user),
            granted_scopes.of_user(c, user),
            calls.some_waiting_of(c, user, skipped=paging.skipped, limit=PAGE_SIZE),
            paging,
            open_request(c, user),
        )

    stored = await bot.database.read(read)
    grant = stored.grant if stored.grant and stored.grant.status is GrantStatus.ACTIVE else None
    held = in_order_of_use(grant.scopes if grant else frozenset(), stored.records)
    held_paging = ListPage(len(held), held_page)
    held = held[held_paging.skipped :][:PAGE_SIZE]
    # Omitted although every link asks for it: `offline_access` is shown once it is held.
    asked = in_order(stored.request.scopes - {OFFLINE_ACCESS}) if stored.request else []
    words = await bot.platform_of(user).describe_scopes(frozenset(held) | frozenset(asked[:PAGE_SIZE]))
    profile = stored.profile
    return Permissions(
        name=profile.name if profile else None,
        time_zone=profile.time_zone if profile else None,
        default_time_zone=bot.time_zone,
        held=tuple(HeldScope(each, words[each], stored.records.get(each)) for each in held),
        held_paging=held_paging,
        until=(grant.refresh_expires_at or grant.access_expires_at) if grant else None,
        renewable=grant is not None and grant.refresh_token is not None,
        last_used_at=last_used(grant, stored.records) if grant else None,
        waiting=tuple(WaitingCall(typed(each), each.asked_at, each.waits_for) for each in stored.waiting),
        waiting_paging=stored.waiting_paging,
        wanted=OpenRequest(
            tuple((each, words[each]) for each in asked[:PAGE_SIZE]),
            len(asked[PAGE_SIZE:]),
            stored.request.expires_at,
            stored.request.status is RequestStatus.REDEEMING,
        )
        if stored.request
        else None,
    )


def last_used(grant: Grant, records: Mapping[Scope, GrantedScope]) -> datetime | None:
    """Return when the grant was last used. The use of the grant and of its scopes is recorded separately."""
    times = [grant.last_used_at, *(each.used_at for each in records.values())]
    return max((each for each in times if each is not None), default=None)


def in_order(scopes: ScopeSet) -> list[Scope]:
    return sorted(scopes, key=lambda scope: (scope == OFFLINE_ACCESS, scope))


def in_order_of_use(scopes: ScopeSet, records: Mapping[Scope, GrantedScope]) -> list[Scope]:
    """Return the scopes that commands have asked for, followed by those that the platform added."""

    def was_added(scope: Scope) -> bool:
        return scope in records and not records[scope].asked_by

    return sorted(in_order(scopes), key=was_added)


def open_request(c: Connection, user: UserKey) -> AuthorizationRequest | None:
    """Return the user's live request, or None if there is none, it has expired, or its seal cannot be verified."""
    request = requests.live_of(c, user)
    return request if request is not None and request.expires_at > utc_now() and request.ticket else None


async def ticket_of(bot: Bot, user: UserKey) -> Secret | None:
    """Return the ticket of the user's open request, for its link."""
    request = await bot.database.read(lambda c: open_request(c, user))
    return request.ticket if request else None


@dataclass(frozen=True, slots=True)
class Revoked:
    had_grant: bool
    cancelled: int
    """The number of calls that waited."""
    signed_out: int
    """The number of browsers."""


async def revoke(
    bot: Bot, user: UserKey, reason: str, *, sign_out: bool = False, operator: str | None = None
) -> Revoked:
    """End a user's grant, immediately in the database and later at the platform, and cancel their waiting calls.

    `sign_out` also ends their sessions, for use by operators. `operator` is who does this, for the audit log:
    an administrator's user key, or the account that runs a command.
    """
    now = utc_now()
    cancelled = await cancel_in_batches(bot, user)

    def work(c: Connection) -> tuple[Revoked, list[OutgoingMessage]]:
        rest, messages = cancel_waiting(c, bot, user, now)
        browsers = sessions.end_all(c, user, reason, now) if sign_out else 0
        had_grant = end_grant(c, user, reason, now)
        ended = Revoked(had_grant, len(cancelled) + len(rest), browsers)
        if operator is not None:
            audit.write(
                c,
                "revoked_by_operator",
                user=user,
                now=now,
                operator=operator,
                calls=ended.cancelled,
                browsers=browsers,
            )
        return ended, messages

    ended, messages = await bot.database.write(work)
    deliver_in_background(bot, messages)
    return ended


async def cancel(bot: Bot, user: UserKey) -> int:
    """Cancel a user's waiting calls, and return their number."""
    now = utc_now()
    cancelled = await cancel_in_batches(bot, user)
    rest, messages = await bot.database.write(lambda c: cancel_waiting(c, bot, user, now))
    deliver_in_background(bot, messages)
    return len(cancelled) + len(rest)


def deliver_in_background(bot: Bot, messages: list[OutgoingMessage]) -> None:
    """Send messages, update cards and revoke tokens in the background. All of this is also in the database."""
    bot.signals.upkeep.set()
    bot.background(deliver_all(bot, messages))
