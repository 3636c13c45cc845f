"""What the platform says of the app itself: its enabled scopes, their descriptions, its owner, the bot's open_id.

All of it is read as the app, and kept for a while. "Cannot be read" is None or empty, never a guess.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from bot.core.api import ApiCall, Outcome, Refused, Succeeded
from bot.core.language import Words
from bot.core.platform import ScopeApplication
from bot.core.scopes import Scope, ScopeSet
from bot.core.unseen_characters import tidy
from bot.lark.scopes import WELL_KNOWN, words_for

ENABLED_FOR = 8.0
"""Seconds that the list of enabled scopes is believed: a scope that is enabled counts within 10."""

SHARED_FOR = 2.5
"""Seconds that one reading serves all who open links: anybody can do that, as often as they like."""

READ_WITHIN = 8.0
"""Seconds until a list that is being read counts as one that cannot be: somebody waits for a card meanwhile."""

DESCRIBED_FOR = 300.0
UNDESCRIBED_FOR = 60.0
"""Seconds until descriptions are read anew; sooner when they could not be read."""

PATIENCE = 1.5
"""Seconds that drawing a card waits for descriptions: a card that answers a click has 3 in all."""

OWNER_FOR = 600.0

GRANTED = 1
"""`grant_status` of a scope that the tenant has granted to the app."""

MEMBER = 2
"""`owner.type` of an app that belongs to a member of the tenant."""

READ_PROFILES = frozenset(
    {
        "contact:contact.base:readonly",
        "contact:contact:access_as_app",
        "contact:contact:readonly",
        "contact:contact:readonly_as_app",
    }
)
"""Any of these lets the app read a person's profile, as itself."""

BY_OPEN_ID = {"user_id_type": "open_id"}

SCOPES = ApiCall("GET", "/open-apis/application/v6/scopes")
APPLY = ApiCall("POST", "/open-apis/application/v6/scopes/apply")
BOT = ApiCall("GET", "/open-apis/bot/v3/info")

APPLICATIONS = {
    212001: ScopeApplication.REFUSED,  # only restricted scopes are pending
    212002: ScopeApplication.NOTHING_PENDING,
    212003: ScopeApplication.REFUSED,  # more often than a version may
    212004: ScopeApplication.SENT_BEFORE,
}
"""https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/application-v6/scope/apply"""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    value: T
    until: float

    def is_good(self, now: float) -> bool:
        return now < self.until


class AppInfo:
    """May be asked concurrently; what is asked at the same time is read once."""

    def __init__(
        self,
        app_id: str,
        call_as_app: Callable[[ApiCall], Awaitable[Outcome]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app_id, self._call, self._clock = app_id, call_as_app, clock
        self._enabled: Kept[ScopeSet | None] | None = None
        self._reading_enabled: asyncio.Task[ScopeSet | None] | None = None
        self._shared_until = 0.0
        self.pending_scopes: ScopeSet = frozenset()
        self._own_scopes: ScopeSet = frozenset()
        self._described: Kept[Mapping[Scope, Words]] | None = None
        self._describing: asyncio.Task[None] | None = None
        self._owner: Kept[tuple[str, ...]] | None = None

    async def close(self) -> None:
        for reading in (self._describing, self._reading_enabled):
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def bot_open_id(self) -> str | None:
        outcome = await self._call(BOT)
        bot = outcome.data.get("bot") if isinstance(outcome, Succeeded) else None
        return text_in(bot, "open_id")

    async def _application(self, lang: str) -> Mapping[str, Any]:
        """The app's own description; empty when it cannot be read, for which it needs a scope of its own."""
        path = f"/open-apis/application/v6/applications/{self._app_id}"
        outcome = await self._call(ApiCall("GET", path, {"lang": lang}))
        data = outcome.data.get("data") if isinstance(outcome, Succeeded) else None
        app = data.get("app") if isinstance(data, dict) else None
        return app if isinstance(app, dict) else {}

    # --- enabled scopes

    async def enabled_scopes(self, *, fresh: bool) -> ScopeSet | None:
        """`fresh`: as it is now; a list that is on its way already will do."""
        if not fresh and self._enabled is not None and self._enabled.is_good(self._clock()):
            return self._enabled.value
        if self._reading_enabled is None or self._reading_enabled.done():
            self._reading_enabled = asyncio.create_task(self._read_enabled())
        return await asyncio.shield(self._reading_enabled)

    async def enabled_scopes_for_visitors(self) -> ScopeSet | None:
        """As it is now, or was at the last reading for visitors, at most `SHARED_FOR` seconds ago."""
        reading = self._reading_enabled
        if reading is not None and time.monotonic() < self._shared_until:
            return await asyncio.shield(reading)
        self._shared_until = time.monotonic() + SHARED_FOR
        return await self.enabled_scopes(fresh=True)

    async def _read_enabled(self) -> ScopeSet | None:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(READ_WITHIN):
                enabled = await self._find_enabled()
        except TimeoutError:
            enabled = None
        # A failure may have taken longer than that: counted from its end, whoever waited for it need not repeat it.
        self._enabled = Kept(enabled, (self._clock() if enabled is None else asked_at) + ENABLED_FOR)
        return enabled

    async def _find_enabled(self) -> ScopeSet | None:
        listed = entries_of(await self._call(SCOPES), "scopes")
        enabled = None if listed is None else user_scopes(listed)
        self.pending_scopes = pending_in(listed or [])
        self._own_scopes = granted_in(listed or [], "tenant")
        if enabled is not None:
            return enabled
        # The list cannot be read, or does not tell identities apart; the app's own description does.
        described = (await self._application("en_us")).get("scopes")
        return for_users(described) - not_granted(listed or []) if isinstance(described, list) else None

    async def apply_for_scopes(self) -> ScopeApplication:
        match await self._call(APPLY):
            case Succeeded():
                return ScopeApplication.SENT
            case Refused(code=code):
                return APPLICATIONS.get(code, ScopeApplication.FAILED)
            case _:
                return ScopeApplication.FAILED

    # --- descriptions

    async def describe(self, scopes: ScopeSet) -> Mapping[Scope, Words]:
        """The platform's own words as far as they are known by now, else ours, else the scope's name."""
        if self._described is None or not self._described.is_good(self._clock()):
            reading = self._start_describing()
            if self._described is None:
                await asyncio.wait({reading}, timeout=PATIENCE)
        known = self._described.value if self._described is not None else {}
        return {scope: known.get(scope) or words_for(scope) for scope in sorted(scopes)}

    def _start_describing(self) -> asyncio.Task[None]:
        if self._describing is None or self._describing.done():
            self._describing = asyncio.create_task(self._read_descriptions())
        return self._describing

    async def _read_descriptions(self) -> None:
        english, chinese = await asyncio.gather(self._application("en_us"), self._application("zh_cn"))
        en, zh = descriptions_in(english), descriptions_in(chinese)
        words = {
            scope: Words(en.get(scope) or words_for(scope).en, zh.get(scope) or words_for(scope).zh)
            for scope in en.keys() | zh.keys()
        }
        known = self._described.value if self._described is not None else {}
        seconds = DESCRIBED_FOR if words else UNDESCRIBED_FOR
        self._described = Kept(words or known, self._clock() + seconds)

    def knows(self, scope: Scope) -> bool:
        """Whether a scope is well known, or in a list that was read: enabled for users, or applied for.

        The app's description does not tell whether what it has as itself exists for users.
        """
        enabled = self._enabled.value if self._enabled else None
        return scope in WELL_KNOWN or scope in self.pending_scopes or scope in (enabled or ())

    # --- people

    async def time_zone_of(self, open_id: str) -> str | None:
        """None, without asking, when the list of the app's scopes does not say that it may read profiles."""
        if self._own_scopes.isdisjoint(READ_PROFILES):
            return None
        outcome = await self._call(
            ApiCall("GET", f"/open-apis/contact/v3/users/{quote(open_id)}", BY_OPEN_ID)
        )
        data = outcome.data.get("data") if isinstance(outcome, Succeeded) else None
        return text_in(data.get("user") if isinstance(data, dict) else None, "time_zone")

    # --- the owner

    async def administrators(self) -> tuple[str, ...]:
        """The app's owner, or nobody if that cannot be read: a former owner has no rights until it can be again."""
        if self._owner is None or not self._owner.is_good(self._clock()):
            found = owner_in(await self._application("en_us"))
            if found is None:
                return ()
            self._owner = Kept((found,), self._clock() + OWNER_FOR)
        return self._owner.value


# --- reading the answers -------------------------------------------------------------------------------


def text_in(fields: Any, name: str) -> str | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return tidy(value) or None if isinstance(value, str) else None


def entries_of(outcome: Outcome, name: str) -> list[dict[str, Any]] | None:
    """The objects of a list under `data`; None when the call failed or has no such list."""
    data = outcome.data.get("data") if isinstance(outcome, Succeeded) else None
    listed = data.get(name) if isinstance(data, dict) else None
    return objects(listed) if isinstance(listed, list) else None


def objects(listed: list[Any]) -> list[dict[str, Any]]:
    return [entry for entry in listed if isinstance(entry, dict)]


def user_scopes(listed: list[dict[str, Any]]) -> ScopeSet | None:
    """Granted scopes for user identity; None when an entry does not say for which identity it is."""
    if not all(isinstance(entry.get("scope_type"), str) for entry in listed):
        return None
    return granted_in(listed, "user")


def granted_in(listed: list[dict[str, Any]], identity: str) -> ScopeSet:
    """Scopes that entries name as granted for an identity, as far as they tell identities apart."""
    return frozenset(
        name
        for entry in listed
        if str(entry.get("scope_type")).lower() == identity and entry.get("grant_status") == GRANTED
        if (name := text_in(entry, "scope_name"))
    )


def pending_in(listed: list[dict[str, Any]]) -> ScopeSet:
    """Scopes that the app has applied for as a user's, as far as the entries tell identities apart."""
    return frozenset(
        name
        for entry in listed
        if entry.get("scope_type", "user") in {"user", "USER"} and entry.get("grant_status") != GRANTED
        if (name := text_in(entry, "scope_name"))
    )


def not_granted(listed: list[dict[str, Any]]) -> ScopeSet:
    refused = {text_in(entry, "scope_name") for entry in listed if entry.get("grant_status") != GRANTED}
    granted = {text_in(entry, "scope_name") for entry in listed if entry.get("grant_status") == GRANTED}
    return frozenset(name for name in refused - granted if name)


def for_users(described: list[Any]) -> ScopeSet:
    return frozenset(
        name
        for entry in objects(described)
        if isinstance(entry.get("token_types"), list) and "user" in entry["token_types"]
        if (name := text_in(entry, "scope"))
    )


def descriptions_in(app: Mapping[str, Any]) -> dict[Scope, str]:
    listed = app.get("scopes")
    return {
        name: words
        for entry in (objects(listed) if isinstance(listed, list) else [])
        if (name := text_in(entry, "scope")) and (words := text_in(entry, "description"))
    }


def owner_in(app: Mapping[str, Any]) -> str | None:
    """The owner when it is a person, else whoever created the app."""
    owner = app.get("owner")
    if isinstance(owner, dict) and MEMBER in {owner.get("type"), owner.get("owner_type")}:
        return text_in(owner, "owner_id") or text_in(app, "creator_id")
    return text_in(app, "creator_id")
