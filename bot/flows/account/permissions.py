"""What one person has granted and what waits for them: to look at, to take back, to drop. Never anybody else's."""

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
from bot.flows.bot import Bot, now
from bot.flows.outbox import deliver_all, typed
from bot.store import calls, granted_scopes, grants, requests, sessions, users
from bot.store.granted_scopes import GrantedScope
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection
from bot.store.users import UserProfile


@dataclass(frozen=True, slots=True)
class Held:
    """A scope that the person has granted; `story` is None for one granted before that was recorded."""

    scope: Scope
    words: Words
    story: GrantedScope | None


@dataclass(frozen=True, slots=True)
class Waiting:
    command: str
    """As its asker typed it."""
    asked_at: datetime
    waits_for: WaitsFor | None
    """None: it will run by itself."""


AT_A_TIME = 20
"""Calls and scopes on one page."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list is shown."""

    total: int
    wanted: int
    """The page that was asked for: from 1, and perhaps beyond the last."""

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // AT_A_TIME))

    @property
    def page(self) -> int:
        return min(max(self.wanted, 1), self.pages)

    @property
    def skipped(self) -> int:
        return (self.page - 1) * AT_A_TIME


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person's open request asks for."""

    scopes: tuple[tuple[Scope, Words], ...]
    """The first of them."""
    more: int
    until: datetime
    redeeming: bool
    """A consent came back and is being completed."""


@dataclass(frozen=True, slots=True)
class Permissions:
    name: str | None
    time_zone: str | None
    default_time_zone: str
    held: tuple[Held, ...]
    held_part: Part
    until: datetime | None
    """When it ends unless it is renewed; None when nobody said, or nothing is held."""
    renewable: bool
    last_used_at: datetime | None
    waiting: tuple[Waiting, ...]
    waiting_part: Part
    wanted: Wanted | None


@dataclass(frozen=True, slots=True)
class Found:
    profile: UserProfile | None
    grant: Grant | None
    stories: dict[Scope, GrantedScope]
    waiting: list[DeferredCall]
    waiting_part: Part
    request: AuthorizationRequest | None


async def of(bot: Bot, user: UserKey, *, waiting_page: int = 1, held_page: int = 1) -> Permissions:
    """What a page shows of one person's permissions, for that person."""

    def read(c: Connection) -> Found:
        part = Part(calls.count_waiting(c, user), waiting_page)
        return Found(
            users.profile(c, user),
            grants.find(c, user),
            granted_scopes.of_user(c, user),
            calls.some_waiting_of(c, user, skipped=part.skipped, limit=AT_A_TIME),
            part,
            open_request(c, user),
        )

    found = await bot.database.read(read)
    grant = found.grant if found.grant and found.grant.status is GrantStatus.ACTIVE else None
    held = in_order_of_use(grant.scopes if grant else frozenset(), found.stories)
    held_part = Part(len(held), held_page)
    held = held[held_part.skipped :][:AT_A_TIME]
    # `offline_access` comes with every link; it is shown once it is held.
    asked = in_order(found.request.scopes - {OFFLINE_ACCESS}) if found.request else []
    words = await bot.platform_of(user).describe_scopes(frozenset(held) | frozenset(asked[:AT_A_TIME]))
    profile = found.profile
    return Permissions(
        name=profile.name if profile else None,
        time_zone=profile.time_zone if profile else None,
        default_time_zone=bot.time_zone,
        held=tuple(Held(each, words[each], found.stories.get(each)) for each in held),
        held_part=held_part,
        until=(grant.refresh_expires_at or grant.access_expires_at) if grant else None,
        renewable=grant is not None and grant.refresh_token is not None,
        last_used_at=last_used(grant, found.stories) if grant else None,
        waiting=tuple(Waiting(typed(each), each.asked_at, each.waits_for) for each in found.waiting),
        waiting_part=found.waiting_part,
        wanted=Wanted(
            tuple((each, words[each]) for each in asked[:AT_A_TIME]),
            len(asked[AT_A_TIME:]),
            found.request.expires_at,
            found.request.status is RequestStatus.REDEEMING,
        )
        if found.request
        else None,
    )


def last_used(grant: Grant, stories: Mapping[Scope, GrantedScope]) -> datetime | None:
    """The grant's own note is taken once a minute, so that a scope may have been used since."""
    noted = [grant.last_used_at, *(each.used_at for each in stories.values())]
    return max((each for each in noted if each is not None), default=None)


def in_order(scopes: ScopeSet) -> list[Scope]:
    return sorted(scopes, key=lambda scope: (scope == OFFLINE_ACCESS, scope))


def in_order_of_use(scopes: ScopeSet, stories: Mapping[Scope, GrantedScope]) -> list[Scope]:
    """First what commands asked for; what came along with it last."""

    def came_along(scope: Scope) -> bool:
        return scope in stories and not stories[scope].asked_by

    return sorted(in_order(scopes), key=came_along)


def open_request(c: Connection, user: UserKey) -> AuthorizationRequest | None:
    """The one that the person can go on with: in time, and as the bot has written it."""
    request = requests.live_of(c, user)
    return request if request is not None and request.expires_at > now() and request.ticket else None


async def ticket_of(bot: Bot, user: UserKey) -> Secret | None:
    """The ticket of the person's open request, by which they go on as from its card."""
    request = await bot.database.read(lambda c: open_request(c, user))
    return request.ticket if request else None


@dataclass(frozen=True, slots=True)
class Ended:
    had_grant: bool
    cancelled: int
    """Calls that waited."""
    signed_out: int
    """Browsers."""


async def take_back(bot: Bot, user: UserKey, reason: str, *, sign_out: bool = False) -> Ended:
    """Ends what the person granted, here at once and at the platform by durable retries; what waits is dropped.

    `sign_out` is for somebody else than the person, who is at hand and can do it in each browser.
    """
    moment = now()
    most = await cancel_in_batches(bot, user)

    def work(c: Connection) -> tuple[Ended, list[OutgoingMessage]]:
        rest, messages = cancel_waiting(c, bot, user, moment)
        browsers = sessions.end_all(c, user, reason, moment) if sign_out else 0
        had_grant = end_grant(c, user, reason, moment)
        return Ended(had_grant, len(most) + len(rest), browsers), messages

    ended, messages = await bot.database.write(work)
    tell(bot, messages)
    return ended


async def cancel(bot: Bot, user: UserKey) -> int:
    """Drops what waits for the person; returns how many calls."""
    moment = now()
    most = await cancel_in_batches(bot, user)
    rest, messages = await bot.database.write(lambda c: cancel_waiting(c, bot, user, moment))
    tell(bot, messages)
    return len(most) + len(rest)


def tell(bot: Bot, messages: list[OutgoingMessage]) -> None:
    """In the chat, on the card and at the platform, in the background: all of it is in the database as well."""
    bot.wake.upkeep.set()
    bot.background(deliver_all(bot, messages))
