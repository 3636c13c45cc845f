"""What one person has granted and what waits for them: to look at, to take back, to drop. Never anybody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bot.core.model import (
    AuthorizationRequest,
    DeferredCall,
    Grant,
    GrantStatus,
    RequestStatus,
    Secret,
    UserKey,
    WaitsFor,
    Words,
)
from bot.core.scopes import OFFLINE_ACCESS, Scope, ScopeSet
from bot.flows import authorization
from bot.flows.bot import Bot, now
from bot.flows.delivery import deliver_all, typed
from bot.store import authorizations, calls, granted_scopes, grants, sessions, users
from bot.store.database import Connection
from bot.store.granted_scopes import GrantedScope
from bot.store.outbox import OutgoingMessage
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person's open request asks for."""

    scopes: tuple[tuple[Scope, Words], ...]
    until: datetime
    redeeming: bool
    """A consent came back and is being completed."""


@dataclass(frozen=True, slots=True)
class Permissions:
    name: str | None
    time_zone: str | None
    held: tuple[Held, ...]
    until: datetime | None
    """When it ends unless it is renewed; None when nobody said, or nothing is held."""
    renewable: bool
    last_used_at: datetime | None
    waiting: tuple[Waiting, ...]
    wanted: Wanted | None


@dataclass(frozen=True, slots=True)
class Found:
    profile: UserProfile | None
    grant: Grant | None
    stories: dict[Scope, GrantedScope]
    waiting: list[DeferredCall]
    request: AuthorizationRequest | None


async def of(bot: Bot, user: UserKey) -> Permissions:
    """Everything about one person's permissions, for that person."""

    def read(c: Connection) -> Found:
        return Found(
            users.profile(c, user),
            grants.find(c, user),
            granted_scopes.of_user(c, user),
            calls.waiting_of(c, user),
            open_request(c, user),
        )

    found = await bot.database.read(read)
    grant = found.grant if found.grant and found.grant.status is GrantStatus.ACTIVE else None
    scopes = grant.scopes if grant else frozenset()
    asked = found.request.scopes if found.request else frozenset()
    words = await bot.platform.describe_scopes(scopes | asked)
    profile = found.profile
    return Permissions(
        name=profile.name if profile else None,
        time_zone=profile.time_zone if profile else None,
        held=in_order_of_use([Held(each, words[each], found.stories.get(each)) for each in in_order(scopes)]),
        until=(grant.refresh_expires_at or grant.access_expires_at) if grant else None,
        renewable=grant is not None and grant.refresh_token is not None,
        last_used_at=last_used(grant, found.stories) if grant else None,
        waiting=tuple(Waiting(typed(each), each.asked_at, each.waits_for) for each in found.waiting),
        wanted=Wanted(
            tuple((each, words[each]) for each in in_order(asked)),
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


def in_order_of_use(held: list[Held]) -> tuple[Held, ...]:
    """First what commands asked for; what came along with it last."""
    return tuple(sorted(held, key=lambda each: each.story is not None and not each.story.asked_by))


def open_request(c: Connection, user: UserKey) -> AuthorizationRequest | None:
    request = authorizations.live_of(c, user)
    return request if request is not None and request.expires_at > now() else None


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

    def work(c: Connection) -> tuple[Ended, list[OutgoingMessage]]:
        dropped, messages = authorization.drop_waiting(c, bot, user, moment)
        browsers = sessions.end_all(c, user, reason, moment) if sign_out else 0
        return Ended(authorization.end_grant(c, user, reason, moment), len(dropped), browsers), messages

    ended, messages = await bot.database.write(work)
    tell(bot, messages)
    return ended


async def cancel(bot: Bot, user: UserKey) -> int:
    """Drops what waits for the person; returns how many calls."""
    moment = now()
    dropped, messages = await bot.database.write(lambda c: authorization.drop_waiting(c, bot, user, moment))
    tell(bot, messages)
    return len(dropped)


def tell(bot: Bot, messages: list[OutgoingMessage]) -> None:
    """In the chat, on the card and at the platform, in the background: all of it is in the database as well."""
    bot.wake.upkeep.set()
    bot.background(deliver_all(bot, messages))
