"""What a command is, how one is found in a message, and how one moves on.

A command is a generator function: it yields an `ApiCall` (or one of the requests to the bot itself, below), is sent
that step's result, and returns a `Reply`. It does no I/O and reads no clock, so it can be thrown away at any `yield`
and replayed from the results recorded so far: that is what makes a suspended call a row and not a coroutine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.core.model import ApiCall, Chat, Json, Language, Mentions, Refused, Reply, UserKey, Words
from bot.core.scopes import NOTHING, Requirement
from bot.core.tidy import one_line


@dataclass(frozen=True, slots=True)
class Ask:
    """What was asked, by whom, when. All that a command may know."""

    key: str
    """Unique to this call: what an idempotency key is derived from."""
    user: UserKey
    chat: Chat
    arguments: str
    asked_at: datetime
    language: Language
    time_zone: str | None


# What a command may ask of the bot itself, besides API calls. Each is carried out once, with its result recorded.


@dataclass(frozen=True, slots=True)
class ReadGrant:
    """Answered with `{"scopes": {scope: {"en", "zh"}}, "access_until": iso|None, "refresh_until": iso|None,
    "waiting": [command…]}`; `scopes` is None without an active grant."""


@dataclass(frozen=True, slots=True)
class RequireScopes:
    """Suspends until the scopes are granted; answered with `{"scopes": {scope: {"en", "zh"}}}`."""

    requirement: Requirement


@dataclass(frozen=True, slots=True)
class CancelWaiting:
    """Drops what waits for the person; answered with `{"commands": [command…]}`."""


@dataclass(frozen=True, slots=True)
class EndGrant:
    """Ends what the person granted; answered with `{"had_grant": bool, "commands": [cancelled command…]}`."""


BotCall = ReadGrant | RequireScopes | CancelWaiting | EndGrant
Steps = Generator[ApiCall | BotCall, Any, Reply]


class ApiRefused(Exception):
    """The platform refused a step. A command may catch it; else the refusal is explained in general words."""

    def __init__(self, outcome: Refused) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


# --- what is kept of what was written after a command's word ------------------------------------------

Keep = Callable[[str, Mentions], str]
"""Makes a command's arguments of what was written after its word. They are stored, and the same in every replay.

What other people call themselves is not the asker's writing: a command says where their names may go.
"""

PLACEHOLDER = re.compile(r"@_(?:user_\d+|all)")
"""Stands for a mention in a message's text."""

LONGEST_NAME = 100
"""Characters of it that stand for a mention: there may be thousands of mentions in a message."""


def as_written(text: str, mentions: Mentions) -> str:
    """With the placeholders: nothing of a name can be taken for an argument."""
    return text


def with_names(text: str, mentions: Mentions) -> str:
    """Text with `@Name` for each mention. For commands that read nothing into their arguments."""
    return put_in(text, mentions, lambda name: name)


def put_in(text: str, mentions: Mentions, written: Callable[[str], str]) -> str:
    """The text with each mention as `written` has its `@Name`. What is put in is not looked at again."""
    names = {
        key: written(f"@{shown}") for key, name in mentions.items() if (shown := one_line(name, LONGEST_NAME))
    }
    return PLACEHOLDER.sub(lambda found: names.get(found[0], found[0]), text) if names else text


def nothing(text: str, mentions: Mentions) -> str:
    """For commands that take no arguments: what else was written is nobody's business."""
    return ""


@dataclass(frozen=True, slots=True)
class Command:
    """A word that people can say to the bot."""

    name: str
    run: Callable[[Ask], Steps]
    summary: Words
    """One line for the help, and the reason on the card: what it does."""
    usage: str = ""
    """What follows the word: `[today|tomorrow|week]`."""
    needs: Callable[[str], Requirement] = lambda arguments: NOTHING
    """The scope requirement, from the arguments."""
    hidden: bool = False
    keep: Keep = as_written
    """Makes the arguments of what was written after the word."""

    @property
    def typed(self) -> str:
        return f"/{self.name}"


Registry = Mapping[str, Command]


def command(
    name: str,
    *,
    summary: Words,
    usage: str = "",
    needs: Requirement | Callable[[str], Requirement] = NOTHING,
    hidden: bool = False,
    keep: Keep = as_written,
) -> Callable[[Callable[[Ask], Steps]], Command]:
    """Declares a command: `@command("agenda", summary=…, needs=any_of("calendar:calendar:readonly"))`."""

    def declare(run: Callable[[Ask], Steps]) -> Command:
        require = needs if callable(needs) else lambda arguments: needs
        return Command(name, run, summary, usage, require, hidden, keep)

    return declare


def registry(*commands: Command) -> Registry:
    """The commands by name; `ValueError` when two share one."""
    found: dict[str, Command] = {}
    for each in commands:
        if each.name in found:
            raise ValueError(f"Two commands are named {each.name!r}.")
        found[each.name] = each
    return found


UNKNOWN = "unknown"
"""The hidden command that answers what no other understands."""


def parse_message(text: str | None, commands: Registry) -> tuple[str, str]:
    """The command's name, and what was written after it. A message starts with the word, in any case, with or
    without a slash.

    A full-width slash is what a Chinese keyboard writes.
    """
    if text is None:
        return UNKNOWN, ""
    word, rest = (*text.split(maxsplit=1), "", "")[:2]
    name = word.removeprefix("/").removeprefix("\uff0f").lower()
    if name in commands and not commands[name].hidden:
        return name, rest.strip()
    return UNKNOWN, text.strip()


# --- moving on ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """A recorded step's result, as it is stored."""

    value: Json = None
    refused: Refused | None = None


def advance(run: Command, ask: Ask, results: Sequence[Result]) -> ApiCall | BotCall | Reply:
    """Replays a command from what is recorded and returns its next move. Calling it again changes nothing."""
    steps = run.run(ask)
    try:
        move = next(steps)
        for result in results:
            if result.refused is not None:
                move = steps.throw(ApiRefused(result.refused))
            else:
                move = steps.send(result.value)
    except StopIteration as end:
        reply: Reply = end.value
        return reply
    finally:
        steps.close()
    return move


def fingerprint(move: ApiCall | BotCall) -> str:
    """A digest of a move, to notice on replay that a deploy has changed the command underneath a waiting call."""
    match move:
        case ApiCall():
            parts: Json = [
                move.method,
                move.path,
                sorted(move.query.items()),
                move.body,
                move.write is not None,
            ]
        case RequireScopes(requirement):
            parts = ["RequireScopes", requirement]
        case _:
            parts = [type(move).__name__]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
