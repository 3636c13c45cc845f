"""Reads what the platform knows about the app: its scopes and their descriptions, its owner, the bot's open_id.

Everything is read with the app's own token and cached briefly. A value that cannot be read is None or empty, never a
guess.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from bot.core.api import ApiCall, Outcome, Refused, Succeeded
from bot.core.language import Words
from bot.core.platform import ScopeApplication
from bot.core.scopes import Scope, ScopeSet
from bot.core.unseen_characters import tidy
from bot.lark.api import CallAsApp
from bot.lark.scope_descriptions import WELL_KNOWN, describe_scope

ENABLED_LIFETIME = 8.0
"""Seconds for which the list of enabled scopes is cached. The bot must notice a newly enabled scope within 10 seconds."""

VISITOR_READ_INTERVAL = 2.5
"""Seconds for which all visitors share one request for the scopes, because anyone can open links at any rate."""

READ_TIMEOUT = 8.0
"""Seconds until a request for the scopes counts as failed. A user may be waiting for a card."""

DESCRIPTIONS_LIFETIME = 300.0
DESCRIPTIONS_RETRY_INTERVAL = 60.0
"""Seconds until descriptions are read again, and until that is retried after a failure."""

DESCRIPTIONS_WAIT = 1.5
"""Seconds for which a card waits for descriptions. A card that answers a click has 3 seconds in total."""

OWNER_LIFETIME = 600.0

GRANTED = 1
"""The `grant_status` of a scope that the tenant has granted to the app."""

MEMBER = 2
"""The `owner.type` of an app that belongs to a member of the tenant."""

PROFILE_SCOPES = frozenset(
    {
        "contact:contact.base:readonly",
        "contact:contact:access_as_app",
        "contact:contact:readonly",
        "contact:contact:readonly_as_app",
    }
)
"""Any of these lets the app read a user's profile as itself."""

BY_OPEN_ID = {"user_id_type": "open_id"}

LIST_SCOPES = ApiCall("GET", "/open-apis/application/v6/scopes")
APPLY_FOR_SCOPES = ApiCall("POST", "/open-apis/application/v6/scopes/apply")
BOT_INFO = ApiCall("GET", "/open-apis/bot/v3/info")

APPLICATION_CODES = {
    212001: ScopeApplication.REFUSED,  # only restricted scopes are pending
    212002: ScopeApplication.NOTHING_PENDING,
    212003: ScopeApplication.REFUSED,  # too many applications for this version
    212004: ScopeApplication.SENT_BEFORE,
}
"""https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/application-v6/scope/apply"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cached(Generic[T]):
    value: T
    until: float

    def is_valid(self, now: float) -> bool:
        return now < self.until


class AppInfo:
    """Reads and caches what the platform knows about one app. Concurrent calls share one request."""

    def __init__(
        self,
        app_id: str,
        call_as_app: CallAsApp,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app_id, self._call, self._clock = app_id, call_as_app, clock
        self._enabled: Cached[ScopeSet | None] | None = None
        self._reading_enabled: asyncio.Task[ScopeSet | None] | None = None
        self._shared_until = 0.0
        self.pending_scopes: ScopeSet = frozenset()
        self._own_scopes: ScopeSet = frozenset()
        self._described: Cached[Mapping[Scope, Words]] | None = None
        self._describing: asyncio.Task[None] | None = None
        self._owner: Cached[tuple[str, ...]] | None = None

    async def close(self) -> None:
        for reading in (self._describing, self._reading_enabled):
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def bot_open_id(self) -> str | None:
        outcome = await self._call(BOT_INFO)
        bot = outcome.data.get("bot") if isinstance(outcome, Succeeded) else None
        return read_text(bot, "open_id")

    async def _application(self, lang: str) -> Mapping[str, Any]:
        """Return the app's record; empty if it cannot be read, which needs a scope."""
        path = f"/open-apis/application/v6/applications/{self._app_id}"
        outcome = await self._call(ApiCall("GET", path, {"lang": lang}))
        data = outcome.data.get("data") if isinstance(outcome, Succeeded) else None
        app = data.get("app") if isinstance(data, dict) else None
        return app if isinstance(app, dict) else {}

    # --- enabled scopes

    async def enabled_scopes(self, *, fresh: bool) -> ScopeSet | None:
        """Return the scopes enabled for users, or None if unknown. `fresh` skips the cache, not a running request."""
        if not fresh and self._enabled is not None and self._enabled.is_valid(self._clock()):
            return self._enabled.value
        if self._reading_enabled is None or self._reading_enabled.done():
            self._reading_enabled = asyncio.create_task(self._read_enabled())
        return await asyncio.shield(self._reading_enabled)

    async def enabled_scopes_for_visitors(self) -> ScopeSet | None:
        """Like `enabled_scopes(fresh=True)`, but share one request per `VISITOR_READ_INTERVAL` seconds."""
        reading = self._reading_enabled
        if reading is not None and time.monotonic() < self._shared_until:
            return await asyncio.shield(reading)
        self._shared_until = time.monotonic() + VISITOR_READ_INTERVAL
        return await self.enabled_scopes(fresh=True)

    async def _read_enabled(self) -> ScopeSet | None:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                enabled = await self._find_enabled()
        except TimeoutError:
            enabled = None
        # A failed request may take longer than the cache lifetime. Counting from its end keeps the callers that waited
        # for it from repeating it.
        self._enabled = Cached(enabled, (self._clock() if enabled is None else asked_at) + ENABLED_LIFETIME)
        return enabled

    async def _find_enabled(self) -> ScopeSet | None:
        listed = read_entries(await self._call(LIST_SCOPES), "scopes")
        enabled = None if listed is None else user_scopes_granted(listed)
        self.pending_scopes = pending_scopes(listed or [])
        self._own_scopes = granted_scopes(listed or [], "tenant")
        if enabled is not None:
            return enabled
        # The list cannot be read, or does not distinguish identities. The app's record does.
        described = (await self._application("en_us")).get("scopes")
        return (
            described_scopes(described, "user") - ungranted_scopes(listed or [])
            if isinstance(described, list)
            else None
        )

    async def apply_for_scopes(self) -> ScopeApplication:
        match await self._call(APPLY_FOR_SCOPES):
            case Succeeded():
                return ScopeApplication.SENT
            case Refused(code=code):
                return APPLICATION_CODES.get(code, ScopeApplication.FAILED)
            case _:
                return ScopeApplication.FAILED

    # --- descriptions

    async def describe(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        """Return a description of each scope: the platform's if it is cached, else ours, else the scope's name."""
        if self._described is None or not self._described.is_valid(self._clock()):
            reading = self._start_describing()
            if self._described is None:
                await asyncio.wait({reading}, timeout=DESCRIPTIONS_WAIT)
        known = self._described.value if self._described is not None else {}
        return {scope: known.get(scope) or describe_scope(scope) for scope in sorted(scopes)}

    def _start_describing(self) -> asyncio.Task[None]:
        if self._describing is None or self._describing.done():
            self._describing = asyncio.create_task(self._read_descriptions())
        return self._describing

    async def _read_descriptions(self) -> None:
        english, chinese = await asyncio.gather(self._application("en_us"), self._application("zh_cn"))
        en, zh = read_descriptions(english), read_descriptions(chinese)
        words = {
            scope: Words(en.get(scope) or describe_scope(scope).en, zh.get(scope) or describe_scope(scope).zh)
            for scope in en.keys() | zh.keys()
        }
        known = self._described.value if self._described is not None else {}
        seconds = DESCRIPTIONS_LIFETIME if words else DESCRIPTIONS_RETRY_INTERVAL
        self._described = Cached(words or known, self._clock() + seconds)

    def knows(self, scope: Scope) -> bool:
        """Whether a scope is well known, or is enabled for users or pending in the last list that was read.

        The app's record does not count: it does not say whether an app scope also exists for users.
        """
        enabled = self._enabled.value if self._enabled else None
        return scope in WELL_KNOWN or scope in self.pending_scopes or scope in (enabled or ())

    # --- people

    @property
    def may_read_profiles(self) -> bool:
        """Whether the last list of scopes had one that lets the app read profiles."""
        return not self._own_scopes.isdisjoint(PROFILE_SCOPES)

    async def time_zone_of(self, open_id: str) -> str | None:
        """Return the time zone in a user's profile, or None. Sends no request if the app may not read profiles."""
        return await self._read_profile(open_id, "time_zone")

    async def name_of(self, open_id: str) -> str | None:
        """Return the name in a user's profile, which needs `contact:user.base:readonly` as well, or None."""
        return await self._read_profile(open_id, "name")

    async def _read_profile(self, open_id: str, name: str) -> str | None:
        if not self.may_read_profiles:
            return None
        outcome = await self._call(
            ApiCall("GET", f"/open-apis/contact/v3/users/{quote(open_id)}", BY_OPEN_ID)
        )
        data = outcome.data.get("data") if isinstance(outcome, Succeeded) else None
        return read_text(data.get("user") if isinstance(data, dict) else None, name)

    # --- the owner

    async def administrators(self) -> tuple[str, ...]:
        """Return the app's owner. Empty if the owner cannot be read, so that a former owner keeps no rights."""
        if self._owner is None or not self._owner.is_valid(self._clock()):
            found = read_owner(await self._application("en_us"))
            if found is None:
                return ()
            self._owner = Cached((found,), self._clock() + OWNER_LIFETIME)
        return self._owner.value


# --- reading responses ---------------------------------------------------------------------------------


def read_text(fields: Any, name: str) -> str | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return tidy(value) or None if isinstance(value, str) else None


def read_entries(outcome: Outcome, name: str) -> list[dict[str, Any]] | None:
    """Return the objects of the list `data.<name>`, or None if there is no such list."""
    data = outcome.data.get("data") if isinstance(outcome, Succeeded) else None
    listed = data.get(name) if isinstance(data, dict) else None
    return only_objects(listed) if isinstance(listed, list) else None


def only_objects(listed: list[Any]) -> list[dict[str, Any]]:
    return [entry for entry in listed if isinstance(entry, dict)]


def user_scopes_granted(listed: list[dict[str, Any]]) -> ScopeSet | None:
    """Return the scopes granted for users, or None if an entry does not say which identity it is for."""
    if not all(isinstance(entry.get("scope_type"), str) for entry in listed):
        return None
    return granted_scopes(listed, "user")


def granted_scopes(listed: list[dict[str, Any]], identity: str) -> ScopeSet:
    """Return the scopes granted for an identity. Entries that do not name an identity do not count."""
    return frozenset(
        name
        for entry in listed
        if str(entry.get("scope_type")).lower() == identity and entry.get("grant_status") == GRANTED
        if (name := read_text(entry, "scope_name"))
    )


def pending_scopes(listed: list[dict[str, Any]]) -> ScopeSet:
    """Return the scopes that the app has applied for, for users. Entries that do not name an identity count."""
    return frozenset(
        name
        for entry in listed
        if entry.get("scope_type", "user") in {"user", "USER"} and entry.get("grant_status") != GRANTED
        if (name := read_text(entry, "scope_name"))
    )


def ungranted_scopes(listed: list[dict[str, Any]]) -> ScopeSet:
    """Return the scopes that are listed but granted for no identity."""
    refused = {read_text(entry, "scope_name") for entry in listed if entry.get("grant_status") != GRANTED}
    granted = {read_text(entry, "scope_name") for entry in listed if entry.get("grant_status") == GRANTED}
    return frozenset(name for name in refused - granted if name)


def described_scopes(described: list[Any], identity: str) -> ScopeSet:
    """Return the scopes that the app's record lists for an identity's tokens."""
    return frozenset(
        name
        for entry in only_objects(described)
        if isinstance(entry.get("token_types"), list) and identity in entry["token_types"]
        if (name := read_text(entry, "scope"))
    )


def read_descriptions(app: Mapping[str, Any]) -> dict[Scope, str]:
    listed = app.get("scopes")
    return {
        name: words
        for entry in (only_objects(listed) if isinstance(listed, list) else [])
        if (name := read_text(entry, "scope")) and (words := read_text(entry, "description"))
    }


def read_owner(app: Mapping[str, Any]) -> str | None:
    """Return the owner if that is a user, else the creator of the app."""
    owner = app.get("owner")
    if isinstance(owner, dict) and MEMBER in {owner.get("type"), owner.get("owner_type")}:
        return read_text(owner, "owner_id") or read_text(app, "creator_id")
    return read_text(app, "creator_id")
