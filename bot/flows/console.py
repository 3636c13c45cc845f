"""The console: figures about an app for its administrators, and the two things that they can do there.

Everything here is about one app: that of the operator who is signed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.core.grants import REVOKED_BY_OPERATOR
from bot.core.people import UserKey
from bot.flows import administrators
from bot.flows.account import permissions
from bot.flows.account.permissions import Revoked
from bot.flows.bot import Bot, utc_now
from bot.store import audit, console_queries, users
from bot.store.console_queries import (
    ConsentFigures,
    DayOutcomes,
    ErrorFigures,
    Event,
    Filter,
    GrantFigures,
    Lane,
    Listing,
    Named,
    Person,
    PlatformError,
    Profile,
    Story,
    Waiting,
)
from bot.store.transaction import Connection
from bot.store.users import UserProfile

__all__ = [
    "CACHE_SECONDS",
    "Event",
    "Filter",
    "Lane",
    "Listing",
    "Named",
    "Overview",
    "Overviews",
    "Person",
    "PlatformError",
    "Story",
]

CONSENT_PERIOD, ERROR_PERIOD = timedelta(days=30), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Overview:
    as_of: datetime
    grants: GrantFigures
    consents: ConsentFigures
    outcomes: tuple[DayOutcomes, ...]
    waiting: Waiting
    errors: ErrorFigures


CACHE_SECONDS = 15


@dataclass(slots=True)
class Overviews:
    """The overview of each app, read at most every 15 seconds however many people look at it."""

    _read: dict[tuple[str, datetime], tuple[float, asyncio.Task[Overview]]] = field(default_factory=dict)

    async def get(self, bot: Bot, app: str, midnights: Sequence[datetime]) -> Overview:
        """Return the overview of an app. `midnights`: where its days begin, and where the last one ends."""
        now = asyncio.get_running_loop().time()
        self._read = {key: each for key, each in self._read.items() if each[0] > now - CACHE_SECONDS}
        key = (app, midnights[0])
        if key not in self._read:
            self._read[key] = (now, asyncio.create_task(read_overview(bot, app, midnights)))
        _, reading = self._read[key]
        try:
            return await asyncio.shield(reading)
        except Exception:
            self._read.pop(key, None)
            raise


async def read_overview(bot: Bot, app: str, midnights: Sequence[datetime]) -> Overview:
    now = utc_now()

    def read(c: Connection) -> Overview:
        return Overview(
            now,
            console_queries.grant_figures(c, app, now),
            console_queries.consent_figures(c, app, now - CONSENT_PERIOD),
            console_queries.outcomes(c, app, midnights),
            console_queries.waiting(c, app),
            console_queries.error_figures(c, app, now - ERROR_PERIOD),
        )

    return await bot.database.view(read)


async def revoke(bot: Bot, operator: UserKey, user: UserKey) -> Revoked:
    """End a person's grant, cancel what waits for it, and sign the person out. Audited with the operator."""
    return await permissions.revoke(bot, user, REVOKED_BY_OPERATOR, sign_out=True, operator=str(operator))


async def check_scopes(bot: Bot, operator: UserKey) -> int:
    """Release the calls whose scopes are enabled by now, and return their number. Audited with the operator."""
    platform = bot.platform_of(operator)
    released = await administrators.check(bot, platform)
    await bot.database.write(
        lambda c: audit.write(
            c, "scopes_checked", user=operator, now=utc_now(), operator=str(operator), released=released
        )
    )
    bot.signals.upkeep.set()
    return released


# --- reading ---------------------------------------------------------------------------------------------


async def profile_of(bot: Bot, user: UserKey) -> UserProfile | None:
    return await bot.database.read(lambda c: users.profile(c, user))


async def people(bot: Bot, app: str, wanted: str | None, cursor: str | None) -> Listing:
    """Return the people of an app, the newest first: all, or those who match what was searched for."""
    if wanted is None:
        return await bot.database.view(lambda c: console_queries.people(c, app, cursor))
    return await bot.database.view(lambda c: console_queries.find_people(c, app, wanted, cursor))


async def named_by(bot: Bot, app: str, wanted: str) -> Named | None:
    """Return what an id of the app names, other than a user."""
    return await bot.database.view(lambda c: console_queries.named_by(c, app, wanted))


async def person(bot: Bot, app: str, user_text: str | None) -> Person | None:
    """Return a user of the app, by their user key."""
    if not user_text:
        return None
    return await bot.database.view(lambda c: console_queries.person(c, app, user_text))


async def calls(bot: Bot, app: str, wanted: Filter, cursor: str | None) -> Listing:
    return await bot.database.view(lambda c: console_queries.calls(c, app, wanted, cursor))


async def requests(bot: Bot, app: str, wanted: Filter, cursor: str | None) -> Listing:
    return await bot.database.view(lambda c: console_queries.requests(c, app, wanted, cursor))


async def story(bot: Bot, app: str, call_id: str | None) -> Story | None:
    if call_id is None:
        return None
    return await bot.database.view(lambda c: console_queries.story(c, app, call_id))


async def errors(bot: Bot, app: str, cursor: str | None) -> Listing:
    return await bot.database.view(lambda c: console_queries.errors(c, app, cursor))


async def errors_by_id(bot: Bot, app: str, wanted: str) -> Listing:
    """Return the calls to the platform with this log id, or of this command."""
    return await bot.database.view(
        lambda c: Listing(console_queries.api_calls_by_id(c, app, wanted), older=None)
    )


async def done_for(
    bot: Bot, app: str, user_text: str | None, cursor: str | None
) -> tuple[Profile, Listing] | None:
    """Return what was done in the name of a user of the app."""

    def read(c: Connection) -> tuple[Profile, Listing] | None:
        found = console_queries.profile(c, app, user_text or "")
        return None if found is None else (found, console_queries.done_for(c, found.user, cursor))

    return await bot.database.view(read)


async def lane(bot: Bot, app: str) -> Lane:
    return await bot.database.view(lambda c: console_queries.lane(c, app))
