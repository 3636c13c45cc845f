"""The platforms that the bot can serve, and how each is built from the settings.

This and `settings` are the only modules that name them. To add one, write its adapter (see `core.platform`) and an entry
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol, cast

from bot import doctor_dingtalk, doctor_lark
from bot.core.api import Json
from bot.core.builtin_commands import PlatformWords, builtin_commands
from bot.core.commands import Command, Registry, registry
from bot.core.events import Received, Unauthentic, UrlVerification
from bot.core.platform import Platform
from bot.dingtalk import stream as stream_of_dingtalk
from bot.dingtalk.commands import COMMANDS as DINGTALK_COMMANDS
from bot.dingtalk.commands import WORDS as DINGTALK_WORDS
from bot.dingtalk.frames import Frame
from bot.dingtalk.platform import DingTalkPlatform
from bot.doctor_bot import FindSurroundings
from bot.findings import Finding
from bot.flows import observations
from bot.flows.bot import Bot
from bot.flows.intake import receive_event
from bot.lark import stream as stream_of_lark
from bot.lark.commands import COMMANDS as LARK_COMMANDS
from bot.lark.commands import WORDS as LARK_WORDS
from bot.lark.platform import LarkPlatform
from bot.plugins import installed_commands
from bot.settings import DingTalkSettings, LarkSettings, Settings
from bot.transport.http_client import OnRequest
from bot.transport.long_connection import EventNotAccepted
from bot.web.app_keys import Ingress


class Connection(Ingress, Protocol):
    """A connection that this process opens to receive a platform's events."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Entry(Protocol):
    """One platform. Other methods that take the settings are called only if `is_configured` returns True."""

    name: str
    """The platform's name in `UserKey.platform`, in URL paths, and in the `platform` of a command."""
    words: PlatformWords
    commands: tuple[Command, ...]
    """In the order of the help."""
    callback_path: str

    def is_configured(self, settings: Settings) -> bool:
        """Return whether the settings contain credentials for the platform."""

    def app(self, settings: Settings) -> str:
        """Return the app, in the form of `UserKey.app`."""

    def is_user_id(self, text: str) -> bool:
        """Return whether an id in BOT_ADMINS belongs to this platform, if there are several."""

    def build(
        self, settings: Settings, on_request: OnRequest | None = None
    ) -> AbstractAsyncContextManager[Platform]:
        """Build the adapter, which can be used from `__aenter__` to `__aexit__`."""

    def connect(self, settings: Settings, bot: Bot) -> Connection | None:
        """Return the connection by which events arrive, or None if the platform posts them to its webhooks."""

    def origins(self, settings: Settings) -> list[str]:
        """Return the origins that the adapter calls, for `bot doctor`."""

    def event_help(self, settings: Settings) -> str:
        """Return what to look at if no events arrive, for `bot doctor`: an imperative sentence."""

    async def examine(
        self, settings: Settings, commands: Registry, surroundings: FindSurroundings
    ) -> list[Finding]:
        """Run the platform's checks of `bot doctor`."""


class LarkEntry:
    name = LarkPlatform.name
    words = LARK_WORDS
    commands = LARK_COMMANDS
    callback_path = LarkPlatform.callback_path

    def is_configured(self, settings: Settings) -> bool:
        return settings.lark is not None

    def app(self, settings: Settings) -> str:
        return f"{self.name}:{lark(settings).app_id}"

    def is_user_id(self, text: str) -> bool:
        return text.startswith("ou_")

    def build(self, settings: Settings, on_request: OnRequest | None = None) -> LarkPlatform:
        own = lark(settings)
        return LarkPlatform(
            app_id=own.app_id,
            app_secret=own.app_secret,
            open_url=own.open_url,
            accounts_url=own.accounts_url,
            applink_url=own.applink_url,
            oauth=own.oauth,
            encrypt_key=own.encrypt_key,
            verification_token=own.verification_token,
            public_url=settings.public_url,
            client_script=own.jssdk_url,
            brand=own.brand,
            network=settings.network,
            on_request=on_request,
        )

    def connect(self, settings: Settings, bot: Bot) -> stream_of_lark.LongConnection | None:
        own = lark(settings)
        if own.events == "webhook":
            return None
        platform = cast(LarkPlatform, bot.platforms[self.app(settings)])

        async def on_event(payload: bytes) -> Json:
            return await accept_received(bot, platform, platform.parse(payload))

        return stream_of_lark.LongConnection(
            app_id=own.app_id,
            app_secret=own.app_secret,
            open_url=own.open_url,
            on_event=on_event,
            on_refusal=bot.refusals.note,
            network=settings.network,
            on_request=partial(bot.metrics.request_sent, self.name),
        )

    def origins(self, settings: Settings) -> list[str]:
        return doctor_lark.origins(lark(settings))

    def event_help(self, settings: Settings) -> str:
        return doctor_lark.event_help(settings, lark(settings))

    async def examine(
        self, settings: Settings, commands: Registry, surroundings: FindSurroundings
    ) -> list[Finding]:
        platform = self.build(settings)
        context = doctor_lark.Context(settings, lark(settings), platform, admins_of(self, settings))
        try:
            return await doctor_lark.examine(context, commands, surroundings)
        finally:
            await platform.close()


def lark(settings: Settings) -> LarkSettings:
    assert settings.lark is not None
    return settings.lark


async def accept_received(bot: Bot, platform: Platform, received: Received) -> Json:
    """Accept what came by a long connection. It needs no signature, because TLS authenticates the platform."""
    match received:
        case Unauthentic(reason=reason):
            observations.event_refused(bot, platform.name, received, is_logged=False)
            raise EventNotAccepted(reason)
        case UrlVerification():
            return None
        case event:
            try:
                return await receive_event(bot, platform.name, event) or None
            except Exception as error:
                observations.failed(bot, "an event was not accepted", error)
                raise EventNotAccepted(type(error).__name__) from error


class DingTalkEntry:
    name = DingTalkPlatform.name
    words = DINGTALK_WORDS
    commands = DINGTALK_COMMANDS
    callback_path = DingTalkPlatform.callback_path

    def is_configured(self, settings: Settings) -> bool:
        return settings.dingtalk is not None

    def app(self, settings: Settings) -> str:
        return f"{self.name}:{dingtalk(settings).client_id}"

    def is_user_id(self, text: str) -> bool:
        return not LARK.is_user_id(text)

    def build(self, settings: Settings, on_request: OnRequest | None = None) -> DingTalkPlatform:
        own = dingtalk(settings)
        return DingTalkPlatform(
            client_id=own.client_id,
            client_secret=own.client_secret,
            corp_id=own.corp_id,
            robot_code=own.robot_code,
            card_template_id=own.card_template_id,
            events=own.events,
            api_url=own.api_url,
            oapi_url=own.oapi_url,
            login_url=own.login_url,
            public_url=settings.public_url,
            client_script=own.jsapi_url,
            time_zone=settings.time_zone,
            network=settings.network,
            on_request=on_request,
        )

    def connect(self, settings: Settings, bot: Bot) -> stream_of_dingtalk.LongConnection | None:
        own = dingtalk(settings)
        if own.events == "webhook":
            return None
        platform = cast(DingTalkPlatform, bot.platforms[self.app(settings)])

        async def on_event(frame: Frame) -> Json:
            return await accept_received(bot, platform, platform.parse_frame(frame))

        return stream_of_dingtalk.LongConnection(
            app_id=own.client_id,
            app_secret=own.client_secret,
            api_url=own.api_url,
            on_event=on_event,
            on_refusal=bot.refusals.note,
            network=settings.network,
            on_request=partial(bot.metrics.request_sent, self.name),
        )

    def origins(self, settings: Settings) -> list[str]:
        return doctor_dingtalk.origins(dingtalk(settings))

    def event_help(self, settings: Settings) -> str:
        return doctor_dingtalk.event_help(settings, dingtalk(settings))

    async def examine(
        self, settings: Settings, commands: Registry, surroundings: FindSurroundings
    ) -> list[Finding]:
        platform = self.build(settings)
        context = doctor_dingtalk.Context(settings, dingtalk(settings), platform, admins_of(self, settings))
        try:
            return await doctor_dingtalk.examine(context, surroundings)
        finally:
            await platform.close()


def dingtalk(settings: Settings) -> DingTalkSettings:
    assert settings.dingtalk is not None
    return settings.dingtalk


LARK = LarkEntry()
DINGTALK = DingTalkEntry()
ENTRIES: Mapping[str, Entry] = {each.name: each for each in (LARK, DINGTALK)}
"""In the order in which pages list them."""


def configured(settings: Settings) -> tuple[Entry, ...]:
    """Return the platforms that the bot serves with these settings."""
    return tuple(each for each in ENTRIES.values() if each.is_configured(settings))


def admins_of(entry: Entry, settings: Settings) -> tuple[str, ...]:
    """Return the configured administrators of a platform: all of them if it is the only one."""
    is_only = len(configured(settings)) == 1
    return tuple(each for each in settings.admins if is_only or entry.is_user_id(each))


def own_commands(entry: Entry, page: str | None = None) -> Registry:
    """Return a platform's commands without those of installed packages."""
    return registry(*builtin_commands(entry.commands, entry.words, page), *entry.commands)


def all_commands(entry: Entry, page: str | None = None) -> Registry:
    """Return the commands of a platform's users: built-in ones, the platform's, and those of installed packages.

    `page`: the link to "My permissions", if any.
    """
    others = installed_commands(own_commands(entry).values(), entry.name, entry.words.scopes, ENTRIES)
    mine = (*entry.commands, *others)
    return registry(*builtin_commands(mine, entry.words, page), *mine)
