"""Commands of other packages: discovered through their entry points and checked before the bot starts."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from bot.core.commands import NAME, Command
from bot.core.errors import BotError
from bot.core.scopes import ScopeSyntax
from bot.flows.command_timeout import limited

GROUP = "bot.commands"
"""The entry point group. An entry point refers to a `Command`: `weather = "bot_weather:weather"`."""


class BrokenPlugin(BotError):
    """A command from another package cannot be used."""

    hint = "Fix or uninstall that package."


DEFAULT_PLATFORM = "lark"
"""The platform of a command that names none: a package may be older than the support for several platforms."""


def installed_commands(
    own: Iterable[Command], platform: str, scopes: ScopeSyntax, known: Container[str]
) -> tuple[Command, ...]:
    """Return the commands of installed packages for a platform, sorted by name. `known` are all platforms.

    Raises BrokenPlugin for a command that cannot be used. The bot does not start without it, because it would then
    answer users of that command, and calls of it that wait for a consent, as if the command did not exist.
    """
    taken = {command.name: "the bot itself" for command in own}
    found = []
    for entry in entry_points_on(tuple(sys.path)):
        command = load(entry)
        intended = command.platform or DEFAULT_PLATFORM
        if intended not in known:
            raise BrokenPlugin(
                f"The command {command.typed} of {origin(entry)} is for the platform {intended!r}, which is unknown."
            )
        if intended != platform:
            continue
        if command.name in taken:
            raise BrokenPlugin(
                f"The command {command.typed} of {origin(entry)} is already defined by {taken[command.name]}."
            )
        taken[command.name] = origin(entry)
        found.append(limited(command))
        if wrong := malformed_scope(found[-1], scopes):
            raise BrokenPlugin(
                f"The needs of {command.typed} of {origin(entry)}: {wrong!r} is not the name of a scope of {platform}."
            )
    return tuple(found)


@cache
def entry_points_on(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of the packages on `sys.path`, by name. Reading them is slow: done once for each path."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda entry: entry.name))


def malformed_scope(command: Command, scopes: ScopeSyntax) -> str | None:
    """Return a scope that a command needs without arguments and that is not in the platform's syntax, or None."""
    try:
        named = [scope for clause in command.needs("") for scope in clause]
    except Exception:
        # It may require arguments. Its needs with arguments are checked when it runs.
        return None
    return next((scope for scope in named if not scopes.matches(scope)), None)


def load(entry: EntryPoint) -> Command:
    try:
        command = entry.load()
    except BaseException as error:  # importing foreign code may raise anything, SystemExit included
        raise BrokenPlugin(
            f"The command {entry.name!r} of {origin(entry)} cannot be loaded ({entry.value}): "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(command, Command):
        raise BrokenPlugin(
            f"The entry point {entry.name!r} of {origin(entry)} is not a command ({entry.value}): "
            "declare it with @command."
        )
    if not NAME.fullmatch(command.name):
        raise BrokenPlugin(
            f"The command {command.name!r} of {origin(entry)} cannot be typed: "
            "a name is lower-case letters, digits, - and _."
        )
    return command


def origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "a package"
