"""The platforms that the bot can serve: how each is put together from the settings.

This and `settings` are the only modules that name them. To add one, write its adapter (see `core.platform`) and an entry
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

from bot.core.api import Json
from bot.core.builtin_commands import PlatformWords, builtin_commands
from bot.core.commands import Command, Registry, registry
from bot.core.events import Outage, Unauthentic, UrlVerification
from bot.core.platform import Platform
from bot.flows.bot import Bot
from bot.flows.intake import accept_event
from bot.lark.commands import COMMANDS as LARK_COMMANDS
from bot.lark.commands import WORDS as LARK_WORDS
from bot.lark.platform import LarkPlatform
from bot.lark.stream import EventNotAccepted, LongConnection
from bot.plugins import installed_commands
from bot.settings import Settings


class Connection(Protocol):
    """A connection by which a platform's events arrive, and which this process opens."""

    @property
    def outage(self) -> Outage | None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Entry(Protocol):
    """One platform. What takes the settings is only called if the platform `is_configured`."""

    name: str
    """As in `UserKey.platform`, in the paths of the doors, and in the `platform` of a command."""
    words: PlatformWords
    commands: tuple[Command, ...]
    """In the order of the help."""

    def is_configured(self, settings: Settings) -> bool:
        """Return whether the settings hold credentials for the platform."""

    def app(self, settings: Settings) -> str:
        """Return the app, in the form of `UserKey.app`."""

    def is_user_id(self, text: str) -> bool:
        """Return whether an id in BOT_ADMINS is of this platform, if there are several."""

    def build(self, settings: Settings) -> AbstractAsyncContextManager[Platform]:
        """Build the adapter. It works from `__aenter__` to `__aexit__`."""

    def connect(self, settings: Settings, bot: Bot) -> Connection | None:
        """Return the connection by which events arrive, or None if the platform posts them to its webhooks."""


class LarkEntry:
    name = LarkPlatform.name
    words = LARK_WORDS
    commands = LARK_COMMANDS

    def is_configured(self, settings: Settings) -> bool:
        return bool(settings.app_id)

    def app(self, settings: Settings) -> str:
        return f"{self.name}:{settings.app_id}"

    def is_user_id(self, text: str) -> bool:
        return text.startswith("ou_")

    def build(self, settings: Settings) -> LarkPlatform:
        return LarkPlatform(
            app_id=settings.app_id,
            app_secret=settings.app_secret,
            open_url=settings.open_url,
            accounts_url=settings.accounts_url,
            applink_url=settings.applink_url,
            oauth=settings.oauth,
            encrypt_key=settings.encrypt_key,
            verification_token=settings.verification_token,
            public_url=settings.public_url,
            client_script=settings.jssdk_url,
            brand=settings.brand,
            network=settings.network,
        )

    def connect(self, settings: Settings, bot: Bot) -> LongConnection | None:
        if settings.events == "webhook":
            return None
        platform = bot.platforms[self.app(settings)]
        assert isinstance(platform, LarkPlatform)
        return LongConnection(
            app_id=settings.app_id,
            app_secret=settings.app_secret,
            open_url=settings.open_url,
            on_event=partial(accept_lark_event, bot, platform),
            on_refusal=bot.refusals.note,
            network=settings.network,
        )


async def accept_lark_event(bot: Bot, platform: LarkPlatform, payload: bytes) -> Json:
    """Accept a payload of the long connection, which the connection itself authenticates."""
    match platform.parse(payload):
        case Unauthentic(reason=reason):
            raise EventNotAccepted(reason)
        case UrlVerification():
            return None
        case event:
            return await accept_event(bot, event) or None


LARK = LarkEntry()
ENTRIES: Mapping[str, Entry] = {each.name: each for each in (LARK,)}
"""In the order in which pages list them."""


def configured(settings: Settings) -> tuple[Entry, ...]:
    """Return the platforms that the bot serves with these settings."""
    return tuple(each for each in ENTRIES.values() if each.is_configured(settings))


def own_commands(entry: Entry, page: str | None = None) -> Registry:
    """Return the commands that users of a platform have without installed packages."""
    return registry(*builtin_commands(entry.commands, entry.words, page), *entry.commands)


def all_commands(entry: Entry, page: str | None = None) -> Registry:
    """Return the commands of a platform's users: built-in ones, the platform's, and those of installed packages.

    `page`: the link to "My permissions", if any.
    """
    others = installed_commands(own_commands(entry).values(), entry.name, ENTRIES)
    mine = (*entry.commands, *others)
    return registry(*builtin_commands(mine, entry.words, page), *mine)
