"""What a command is, how one is found in a message, and how one moves on.

A command is a generator function: it yields an `ApiCall` (or one of the requests to the bot itself, below), is sent
that step's result, and returns a `Reply`. It does no I/O and reads no clock, so it can be thrown away at any `yield`
and replayed from the results recorded so far: that is what makes a suspended call a row and not a coroutine.
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
from bot.core.errors import CommandMistake
from bot.core.events import Mentions
from bot.core.language import Language, Words
from bot.core.messages import Chat, Reply
from bot.core.people import UserKey
from bot.core.scopes import NOTHING, Requirement, checked_requirement
from bot.core.times import Zone, zone_or
from bot.core.unseen_characters import one_line


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
    """The person's, if it is known."""
    default_time_zone: str = "UTC"
    """Of people whose own is not known."""

    @property
    def zone(self) -> Zone:
        """The time zone to answer in."""
        return zone_or(self.time_zone, self.default_time_zone)


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

EVERYONE = "@_all"
"""The placeholder of a mention of everyone in the chat. The message's mentions may leave it out."""

LONGEST_NAME = 100
"""Characters of it that stand for a mention: there may be thousands of mentions in a message."""


def as_written(text: str, mentions: Mentions) -> str:
    """With its placeholders, so that no name can be taken for an argument. A mention of everyone is left out: it says
    who should read the message, not what is asked."""
    return text.replace(EVERYONE, "").strip() if EVERYONE in text else text


def with_names(text: str, mentions: Mentions) -> str:
    """With `@Name` for each mention. For commands that use their arguments as text and do not parse them."""
    return put_in(text, mentions, lambda name: name)


def put_in(text: str, mentions: Mentions, written: Callable[[str], str]) -> str:
    """Replaces each placeholder by its `@Name` as `written` encodes it, once: names are not searched for placeholders."""
    names = {
        key: written(f"@{shown}") for key, name in mentions.items() if (shown := one_line(name, LONGEST_NAME))
    }
    return PLACEHOLDER.sub(lambda found: names.get(found[0], found[0]), text) if names else text


def nothing(text: str, mentions: Mentions) -> str:
    """For commands without arguments: what else the message says is not stored."""
    return ""


@dataclass(frozen=True, slots=True)
class Command:
    """A word that people can say to the bot."""

    name: str
    run: Callable[[Ask], Steps]
    summary: Words
    """One line for the help, and the reason on the card: what it does."""
    usage: Words | str = ""
    """What follows the word: `Words("TITLE", "标题")`."""
    needs: Callable[[str], Requirement] = lambda arguments: NOTHING
    """The scope requirement, from the arguments."""
    hidden: bool = False
    urgent: bool = False
    """Accepted even from a person who already has the most calls waiting: what helps out of that."""
    keep: Keep = as_written
    """Makes the arguments of what was written after the word."""
    private: bool = False
    """In a group, its answers are shown to the asker alone."""
    told: Callable[[str], str] = lambda arguments: ""
    """What of its arguments an administrator is told: nothing that people wrote for themselves."""

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
    told: Callable[[str], str] = lambda arguments: "",
) -> Callable[[Callable[[Ask], Steps]], Command]:
    """Declares a command: `@command("agenda", summary=…, needs=any_of("calendar:calendar:readonly"))`.

    Raises `CommandMistake`, which names the command, for a declaration that could not work.
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
        raise CommandMistake(f"The private of /{name} is neither True nor False.")
    if not callable(told):
        raise CommandMistake(f"The told of /{name} is not a function.")
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
        return Command(name, run, summary, usage, checked, hidden, urgent, keep, private=private, told=told)

    return declare


def is_async(run: object) -> bool:
    return inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run)


def require_scopes(name: str, needs: Callable[[str], object], arguments: str) -> Requirement:
    """A command's requirement. Raises `CommandMistake` if it is none."""
    try:
        return checked_requirement(needs(arguments))
    except ValueError as error:
        raise CommandMistake(f"The needs of /{name}: {error}.") from None
    except Exception as error:
        raise CommandMistake(f"The needs of /{name} raised {type(error).__name__}.") from error


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


SLASHES = "/\\\u3001\uff0f\uff3c\u2044\u2215"
"""What stands for the slash: besides its own full-width form, what Chinese keyboards type in its place."""
OPENING = "\"'`*<\u2018\u201c\u300a\u3008\u300c\u300e\u3010\uff1c\uff02\uff08(["
CLOSING = "\"'`*>\u2019\u201d\u300b\u3009\u300d\u300f\u3011\uff1e\uff02\uff09)]"
"""Quotes and brackets in pairs, and the marks of Markdown."""
_BLANK = r"[\s\u2800]"
_STOPS = "\uff1a\uff0c\uff1b\u3002\uff01\uff1f\u3001\u2026\uff5e"
"""Full-width punctuation: no space follows it."""
_HEAD = re.compile(
    # A word that is quoted, or has Markdown around it, is a command only with its slash.
    rf"(?:{_BLANK}|[,:;\uff0c\uff1a\uff1b])*(?:(?P<open>[{re.escape(OPENING)}]*){_BLANK}*(?P<slash>[{re.escape(SLASHES)}]{{1,2}}){_BLANK}*)?"
    # An address may follow without a space: phones paste it so.
    r"(?P<word>(?:(?!https?[:\uff1a])[0-9A-Za-z_\-\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff3f\uff0d])+)"
)
_AFTER_WORD = rf"{_BLANK}+|$|(?::(?!//)|[{_STOPS}])+|[.,;!?~]+(?={_BLANK}|$)|(?=https?[:\uff1a])"
_AFTER = re.compile(_AFTER_WORD)
_AFTER_SLASH = re.compile(
    # Also brackets, Chinese characters and emoji; not a letter that would make another word.
    rf"(?P<close>[{re.escape(CLOSING)}]*)(?:{_AFTER_WORD}|(?=[{re.escape(OPENING)}@{{]|[^\x00-\u1fff]))"
)
_BETWEEN = re.compile(rf"(?:{_BLANK}|[:,;](?={_BLANK}|$)|[{_STOPS}])+")


def parse_message(text: str | None, commands: Registry) -> tuple[str, str]:
    """The command's name, and what was written after it. A message starts with the word, in any case, with or
    without a slash.

    Understands what phones and Chinese keyboards make of it: full-width letters, slashes and colons, quotes around the
    command, and what follows its word without a space.
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
    """The text without the quotes and brackets that were opened before it and end with it."""
    for mark in opened:
        text = text.strip()
        if text.endswith(CLOSING[OPENING.index(mark)]):
            text = text[:-1]
    return text


# --- moving on ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """A recorded step's result, as it is stored."""

    value: Json = None
    refused: Refused | None = None


MAX_STEPS = 200
"""Steps of one call: a command that makes more is taken to loop."""


def advance(command: Command, ask: Ask, results: Sequence[Result]) -> ApiCall | BotCall | Reply:
    """Replays a command from what is recorded and returns its next move. Calling it again changes nothing.

    Raises `CommandMistake` if the command yields what is no move, returns what is no reply, makes more than
    `MAX_STEPS` steps, or tries to end the process; and whatever else the command raises.
    """
    if len(results) > MAX_STEPS:
        raise CommandMistake(f"{command.typed} made more than {MAX_STEPS} steps.")
    try:
        move = next_move(command, ask, results)
    except BaseException as error:
        if isinstance(error, Exception):
            raise
        # SystemExit and its like would end the worker, or the process, instead of the call.
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
        raise CommandMistake(f"{command.typed} returned {shown(end.value)} instead of a Reply.") from None
    finally:
        steps.close()
    if isinstance(move, ApiCall | BotCall):
        return move
    raise CommandMistake(f"{command.typed} yielded {shown(move)}, which is no step.")


def shown(value: object) -> str:
    """What a value is, without what it holds: that may be what somebody wrote."""
    return "None" if value is None else f"a {type(value).__name__}"


def checked_call(command: Command, move: ApiCall) -> ApiCall:
    """The call with what it leaves unsaid: anything but a read is a write, sent at most once."""
    if not isinstance(move.method, str) or not isinstance(move.path, str) or not move.path.startswith("/"):
        raise CommandMistake(f"{command.typed} yielded an ApiCall whose method or path is not text.")
    if not isinstance(move.query, Mapping) or not all(
        isinstance(each, str) for pair in move.query.items() for each in pair
    ):
        raise CommandMistake(f"{command.typed} yielded an ApiCall whose query is not text by name.")
    try:
        json.dumps(move.body)
    except (TypeError, ValueError, RecursionError):
        raise CommandMistake(f"{command.typed} yielded an ApiCall whose body is not JSON.") from None
    if move.write is None and not move.read and move.method.upper() not in {"GET", "HEAD"}:
        return replace(move, write=Write())
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
