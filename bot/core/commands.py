"""Commands: their declaration, how a message is parsed as one, and how one is replayed.

A command is a generator function: it yields an `ApiCall` or a `BotCall`, receives the result of that step, and returns a
`Reply`. It does no I/O and reads no clock. It can therefore be discarded at any `yield` and replayed from the results
recorded so far, so that a suspended call is a row and not a coroutine.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from bot.core.api import ApiCall, Json, Refused, Write
from bot.core.errors import BotError, CommandMistake
from bot.core.events import Mentions
from bot.core.language import Language, Words
from bot.core.messages import Chat, Reply
from bot.core.people import UserKey
from bot.core.scopes import NOTHING, Requirement, checked_requirement
from bot.core.times import Zone, zone_or
from bot.core.unseen_characters import one_line


@dataclass(frozen=True, slots=True)
class Ask:
    """One use of a command: everything that the command may know."""

    key: str
    """Unique to this call. Idempotency keys are derived from it."""
    user: UserKey
    chat: Chat
    arguments: str
    asked_at: datetime
    language: Language
    time_zone: str | None
    """The user's time zone, if it is known."""
    default_time_zone: str = "UTC"
    """For users whose time zone is not known."""

    @property
    def zone(self) -> Zone:
        """The time zone to answer in."""
        return zone_or(self.time_zone, self.default_time_zone)


# The calls to the bot itself (`BotCall`). Each is carried out once, and its result is recorded.


@dataclass(frozen=True, slots=True)
class ReadGrant:
    """Read the user's grant.

    The result is `{"scopes": {scope: {"en", "zh"}}, "access_until": iso|None, "refresh_until": iso|None,
    "waiting": [command…]}`. `scopes` is None without an active grant.
    """


@dataclass(frozen=True, slots=True)
class RequireScopes:
    """Suspend the call until the scopes are granted. The result is `{"scopes": {scope: {"en", "zh"}}}`."""

    requirement: Requirement


@dataclass(frozen=True, slots=True)
class CancelWaiting:
    """Cancel the user's waiting calls. The result is `{"commands": [command…]}`."""


@dataclass(frozen=True, slots=True)
class EndGrant:
    """End the user's grant. The result is `{"had_grant": bool, "commands": [cancelled command…]}`."""


@dataclass(frozen=True, slots=True)
class ConfirmWrite:
    """Confirm an old write of the user, for users whose cards have no buttons.

    Without a code, the write is confirmed if it is the only one that waits. The result is
    `{"confirmed": command | None, "waiting": [[code, command]…]}`: the confirmed one, and all that waited.
    """

    code: str


@dataclass(frozen=True, slots=True)
class CheckScopes:
    """Try the calls again that wait for an administrator, if the user is one.

    The result is `{"administrator": bool, "released": int}`.
    """


BotCall = ReadGrant | RequireScopes | CancelWaiting | EndGrant | ConfirmWrite | CheckScopes
Steps = Generator[ApiCall | BotCall, Any, Reply]


class ApiRefused(Exception):
    """The platform refused a step. A command may catch this; otherwise the user gets a general explanation."""

    def __init__(self, outcome: Refused) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


# --- arguments ----------------------------------------------------------------------------------------

Keep = Callable[[str, Mentions], str]
"""Makes a command's arguments from the text after its name. They are stored, and are the same in every replay.

The names of mentioned people are not written by the user, so each command decides whether they may become arguments.
"""

PLACEHOLDER = re.compile(r"@_(?:user_\d+|all)")
"""Stands for a mention in a message's text."""

EVERYONE = "@_all"
"""The placeholder of a mention of everyone in the chat, which the message's mentions need not list."""

LONGEST_NAME = 100
"""Characters of a name that replaces a mention, limited because a message may have thousands of mentions."""


def as_written(text: str, mentions: Mentions) -> str:
    """Return the text with its placeholders, so that no name can be mistaken for an argument.

    A mention of everyone is removed, because it says who should read the message, not what is asked.
    """
    return text.replace(EVERYONE, "").strip() if EVERYONE in text else text


def with_names(text: str, mentions: Mentions) -> str:
    """Return the text with `@Name` for each mention, for commands that do not parse their arguments."""
    return replace_mentions(text, mentions, lambda name: name)


def replace_mentions(text: str, mentions: Mentions, encode: Callable[[str], str]) -> str:
    """Replace each placeholder with its `@Name` as `encode` returns it. Names are not searched for placeholders."""
    names = {
        key: encode(f"@{shown}") for key, name in mentions.items() if (shown := one_line(name, LONGEST_NAME))
    }
    return PLACEHOLDER.sub(lambda match: names.get(match[0], match[0]), text) if names else text


def nothing(text: str, mentions: Mentions) -> str:
    """Return an empty string, for commands without arguments: the rest of the message is not stored."""
    return ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that users can send to the bot."""

    name: str
    run: Callable[[Ask], Steps]
    summary: Words
    """What it does, in one line of the help and on the card that asks for its scopes."""
    usage: Words | str = ""
    """What follows the name in the help: `Words("TITLE", "标题")`."""
    needs: Callable[[str], Requirement] = lambda arguments: NOTHING
    """Returns the scope requirement for the arguments."""
    hidden: bool = False
    urgent: bool = False
    """Whether it is accepted even from a user who has the maximum of waiting calls, because it helps to reduce them."""
    keep: Keep = as_written
    """Makes the arguments from the text after the name."""
    private: bool = False
    """Whether only the user sees its answers in a group."""
    shown_to_administrators: Callable[[str], str] = lambda arguments: ""
    """Returns the part of its arguments that administrators see. It must not contain free text of the user."""
    platform: str | None = None
    """The platform whose API it calls, for a command from another package. If it is None, see `bot.plugins`."""

    @property
    def typed(self) -> str:
        return f"/{self.name}"


Registry = Mapping[str, Command]


NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def command(
    name: str,
    *,
    summary: Words,
    usage: Words | str = "",
    needs: Requirement | Callable[[str], Requirement] = NOTHING,
    hidden: bool = False,
    urgent: bool = False,
    keep: Keep = as_written,
    private: bool = False,
    shown_to_administrators: Callable[[str], str] = lambda arguments: "",
    platform: str | None = None,
) -> Callable[[Callable[[Ask], Steps]], Command]:
    """Return a decorator to declare a command: `@command("agenda", summary=…, needs=any_of("task:task:read"))`.

    Raises CommandMistake, which names the command, if the declaration is invalid.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise CommandMistake(
            f"The command {name!r} cannot be typed: a name is lower-case letters, digits, - and _."
        )
    if not isinstance(summary, Words) or not all(isinstance(each, str) for each in (summary.en, summary.zh)):
        raise CommandMistake(f"The summary of /{name} is not Words: write Words(en=…, zh=…).")
    if not isinstance(usage, Words | str):
        raise CommandMistake(f"The usage of /{name} is neither Words nor text.")
    if not callable(keep):
        raise CommandMistake(f"The keep of /{name} is not a function.")
    if not isinstance(private, bool):
        raise CommandMistake(f"The private of /{name} is not a bool.")
    if not callable(shown_to_administrators):
        raise CommandMistake(f"The shown_to_administrators of /{name} is not a function.")
    if not isinstance(platform, str | None):
        raise CommandMistake(f"The platform of /{name} is not a string.")
    if not callable(needs):
        require_scopes(name, lambda arguments: needs, "")

    def declare(run: Callable[[Ask], Steps]) -> Command:
        if not inspect.isgeneratorfunction(run):
            what = "an async function" if is_async(run) else "not a generator function"
            raise CommandMistake(f"/{name} is {what}: a command yields its calls and returns a Reply.")
        if len(inspect.signature(run).parameters) != 1:
            raise CommandMistake(f"/{name} does not take one argument: a command is called with an Ask.")
        require = needs if callable(needs) else lambda arguments: needs
        checked = partial(require_scopes, name, require)
        return Command(
            name,
            run,
            summary,
            usage,
            checked,
            hidden,
            urgent,
            keep,
            private,
            shown_to_administrators,
            platform,
        )

    return declare


def is_async(run: object) -> bool:
    return inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run)


def require_scopes(name: str, needs: Callable[[str], object], arguments: str) -> Requirement:
    """Return a command's requirement for the arguments. Raises CommandMistake if `needs` fails or returns none."""
    try:
        return checked_requirement(needs(arguments))
    except ValueError as error:
        raise CommandMistake(f"The needs of /{name}: {error}.") from None
    except Exception as error:
        raise CommandMistake(f"The needs of /{name} raised {type(error).__name__}.") from error


def registry(*commands: Command) -> Registry:
    """Return the commands by name. Raises ValueError if two have the same name."""
    by_name: dict[str, Command] = {}
    for each in commands:
        if each.name in by_name:
            raise ValueError(f"Two commands are named {each.name!r}.")
        by_name[each.name] = each
    return by_name


UNKNOWN = "unknown"
"""The hidden command that answers messages that are not a command."""


SLASHES = "/\\\u3001\uff0f\uff3c\u2044\u2215"
"""The slash, its full-width form, and what Chinese keyboards type instead of it."""
OPENING = "\"'`*<\u2018\u201c\u300a\u3008\u300c\u300e\u3010\uff1c\uff02\uff08(["
CLOSING = "\"'`*>\u2019\u201d\u300b\u3009\u300d\u300f\u3011\uff1e\uff02\uff09)]"
"""Quotes and brackets in pairs, and the marks of Markdown."""
_BLANK = r"[\s\u2800]"
_STOPS = "\uff1a\uff0c\uff1b\u3002\uff01\uff1f\u3001\u2026\uff5e"
"""Full-width punctuation, which is not followed by a space."""
_HEAD = re.compile(
    # A word in quotes or Markdown is a command only with its slash.
    rf"(?:{_BLANK}|[,:;\uff0c\uff1a\uff1b])*(?:(?P<open>[{re.escape(OPENING)}]*){_BLANK}*(?P<slash>[{re.escape(SLASHES)}]{{1,2}}){_BLANK}*)?"
    # A URL may follow without a space, because phones paste it like that.
    r"(?P<word>(?:(?!https?[:\uff1a])[0-9A-Za-z_\-\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff3f\uff0d])+)"
)
_AFTER_WORD = rf"{_BLANK}+|$|(?::(?!//)|[{_STOPS}])+|[.,;!?~]+(?={_BLANK}|$)|(?=https?[:\uff1a])"
_AFTER = re.compile(_AFTER_WORD)
_AFTER_SLASH = re.compile(
    # Brackets, Chinese characters and emoji may follow, but not a letter, which would make another word.
    rf"(?P<close>[{re.escape(CLOSING)}]*)(?:{_AFTER_WORD}|(?=[{re.escape(OPENING)}@{{]|[^\x00-\u1fff]))"
)
_BETWEEN = re.compile(rf"(?:{_BLANK}|[:,;](?={_BLANK}|$)|[{_STOPS}])+")


def parse_message(text: str | None, commands: Registry) -> tuple[str, str]:
    """Return the name of the command at the start of a message, and the text after it.

    The name may be in any case, with or without a slash. Full-width letters, slashes and colons, quotes around the
    command and text that follows without a space are accepted, because phones and Chinese keyboards type them.
    """
    if text is None:
        return UNKNOWN, ""
    text = text.strip()
    head = _HEAD.match(text)
    if head is None:
        return UNKNOWN, text
    name = unicodedata.normalize("NFKC", head["word"]).lower()
    after = (_AFTER_SLASH if head["slash"] else _AFTER).match(text, head.end())
    if after is None or name not in commands or commands[name].hidden:
        return UNKNOWN, text
    rest = text[after.end() :]
    if between := _BETWEEN.match(rest):
        rest = rest[between.end() :]
    still_open = "" if head["slash"] and after["close"] else head["open"] or ""
    return name, without_closing(rest, still_open).strip()


def without_closing(text: str, opened: str) -> str:
    """Return the text without the quotes and brackets at its end that were opened before it."""
    for mark in opened:
        text = text.strip()
        if text.endswith(CLOSING[OPENING.index(mark)]):
            text = text[:-1]
    return text


# --- replaying ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """The recorded result of a step."""

    value: Json = None
    refused: Refused | None = None


MAX_STEPS = 200
"""Steps of one call. A command that makes more is considered to be in a loop."""


def advance(command: Command, ask: Ask, results: Sequence[Result]) -> ApiCall | BotCall | Reply:
    """Replay a command from its recorded results, and return its next move. Has no side effects.

    Raises CommandMistake if the command yields something other than a step, returns something other than a Reply, makes
    more than `MAX_STEPS` steps, or tries to end the process. Every other exception of the command propagates.
    """
    if len(results) > MAX_STEPS:
        raise CommandMistake(f"{command.typed} made more than {MAX_STEPS} steps.")
    try:
        move = next_move(command, ask, results)
    except BaseException as error:
        if isinstance(error, Exception) and (
            isinstance(error, CommandMistake) or not isinstance(error, BotError)
        ):
            raise
        # SystemExit and similar exceptions would end the worker or the process instead of the call. A BotError that a
        # command raises would be mistaken for a failure of the bot.
        raise CommandMistake(f"{command.typed} raised {type(error).__name__}.") from error
    match move:
        case ApiCall():
            return checked_call(command, move)
        case RequireScopes(requirement):
            require_scopes(command.name, lambda arguments: requirement, "")
    return move


def next_move(command: Command, ask: Ask, results: Sequence[Result]) -> ApiCall | BotCall | Reply:
    steps = command.run(ask)
    try:
        move: object = next(steps)
        for result in results:
            if result.refused is not None:
                move = steps.throw(ApiRefused(result.refused))
            else:
                move = steps.send(result.value)
    except StopIteration as end:
        if isinstance(end.value, Reply):
            return end.value
        raise CommandMistake(
            f"{command.typed} returned {describe_type(end.value)} instead of a Reply."
        ) from None
    finally:
        steps.close()
    if isinstance(move, ApiCall | BotCall):
        return move
    raise CommandMistake(f"{command.typed} yielded {describe_type(move)}, which is not a step.")


def describe_type(value: object) -> str:
    """Return the type of a value for an error message, without its content, which a user may have written."""
    return "None" if value is None else f"a {type(value).__name__}"


METHOD = re.compile(r"[A-Za-z]+")


def checked_call(command: Command, move: ApiCall) -> ApiCall:
    """Return a valid call, marked as a write without an idempotency key unless it is a read or sets `write` itself.

    Raises CommandMistake if the call cannot be sent.
    """
    if not isinstance(move.method, str) or not isinstance(move.path, str) or not move.path.startswith("/"):
        raise CommandMistake(
            f"{command.typed} yielded an ApiCall whose method is not a string, or whose path does not start with a slash."
        )
    if not METHOD.fullmatch(move.method):
        raise CommandMistake(f"{command.typed} yielded an ApiCall whose method is not an HTTP method.")
    if not isinstance(move.query, Mapping) or not all(
        isinstance(each, str) for pair in move.query.items() for each in pair
    ):
        raise CommandMistake(
            f"{command.typed} yielded an ApiCall whose query does not map strings to strings."
        )
    try:
        json.dumps(move.body)
    except (TypeError, ValueError, RecursionError):
        raise CommandMistake(f"{command.typed} yielded an ApiCall whose body is not JSON.") from None
    if move.write is None and not move.read and move.method.upper() not in {"GET", "HEAD"}:
        return replace(move, write=Write())
    return move


def fingerprint(move: ApiCall | BotCall) -> str:
    """Return a digest of a move, by which a replay detects that a deploy has changed the command of a waiting call."""
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
        case ConfirmWrite(code):
            parts = ["ConfirmWrite", code]
        case _:
            parts = [type(move).__name__]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
