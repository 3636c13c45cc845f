"""The commands of every platform: help, welcome, and the user's own permissions. Their words are in `words.help`."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.core.api import Json
from bot.core.command_replies import how_to_use, listed, paragraph, with_usage
from bot.core.commands import (
    UNKNOWN,
    Ask,
    CancelWaiting,
    CheckScopes,
    Command,
    ConfirmWrite,
    EndGrant,
    ReadGrant,
    RequireScopes,
    Steps,
    command,
    nothing,
    with_names,
)
from bot.core.events import Mentions
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.scopes import OFFLINE_ACCESS, ScopeSyntax, all_of
from bot.core.times import format_moment
from bot.core.unseen_characters import one_line
from bot.core.words import help as help_words

WELCOME = "welcome"
"""The hidden command that runs when a user first opens the chat."""


@dataclass(frozen=True, slots=True)
class PlatformWords:
    """The words and the scope syntax of one platform that the built-in commands use."""

    scopes: ScopeSyntax
    authorize_example: str
    """An example of the command, with scopes of the platform."""
    revoked: Words = help_words.REVOKED
    where_to_withdraw: Words = help_words.WHERE_TO_WITHDRAW
    """Tells users where to withdraw an authorization at the platform."""
    has_plain_cards: bool = False
    """Whether cards may lack buttons that send something back. Two more commands, which the cards name, replace them."""


def builtin_commands(
    others: Sequence[Command], platform: PlatformWords, page: str | None = None
) -> tuple[Command, ...]:
    """Return the built-in commands. The help lists `others` first; the welcome suggests the first three of them.

    `page` is the link to "My permissions", if a browser can open it.
    """

    @command("help", summary=help_words.HELP_SUMMARY, urgent=True, keep=nothing)
    @without_steps
    def help_command(ask: Ask) -> Reply:
        lines = (*help_lines(others, mine), *page_line(page, ask), paragraph(help_words.EDITS))
        return Reply(help_words.HELP_TITLE, lines)

    @command(UNKNOWN, summary=help_words.UNKNOWN_SUMMARY, hidden=True, keep=echoed)
    @without_steps
    def unknown(ask: Ask) -> Reply:
        message = echoed(ask.arguments, {})
        if is_greeting(message):
            return introduction(others)
        return not_understood(message, [*others, *mine, *instead_of_buttons])

    @command(WELCOME, summary=help_words.WELCOME_SUMMARY, hidden=True)
    @without_steps
    def welcome(ask: Ask) -> Reply:
        return introduction(others)

    mine = (
        help_command,
        permissions_command(page),
        authorize_command(platform),
        cancel,
        revoke_command(platform),
    )
    instead_of_buttons = (confirm, check) if platform.has_plain_cards else ()
    return (*mine, *instead_of_buttons, unknown, welcome)


def without_steps(answer: Callable[[Ask], Reply]) -> Callable[[Ask], Steps]:
    """Return the function of a command that makes no steps and only returns a reply."""

    def run(ask: Ask) -> Steps:
        yield from ()
        return answer(ask)

    return run


# --- help -----------------------------------------------------------------------------------------------


def introduction(others: Sequence[Command]) -> Reply:
    lines = (
        paragraph(help_words.WELCOME_AS_YOU),
        paragraph(help_words.WELCOME_PERMISSIONS),
        heading(help_words.WELCOME_TRY),
        *map(help_line, others[:3]),
        paragraph(help_words.WELCOME_MORE),
    )
    return Reply(help_words.WELCOME_TITLE, lines)


def heading(words: Words) -> Line:
    return (Span(words, bold=True),)


def help_line(each: Command) -> Line:
    return (Span(with_usage(each), bold=True), Span(" – "), Span(each.summary))


def help_lines(others: Sequence[Command], mine: Sequence[Command]) -> tuple[Line, ...]:
    return (
        heading(help_words.ON_YOUR_BEHALF),
        *(help_line(each) for each in others if not each.hidden),
        heading(help_words.PERMISSIONS_AND_HELP),
        *(help_line(each) for each in mine if not each.hidden),
    )


def echoed(text: str, mentions: Mentions) -> str:
    """Return the part of an unknown message that the reply repeats. Nothing else of the message is stored."""
    return one_line(with_names(text, mentions), 60)


GREETING = re.compile(
    r"(?:h(?:i+|ey+|ello+|allo|ullo|iya|owdy|ola)|yo|bonjour|greetings|what ?s up|good ?(?:morning|afternoon|evening|day)"
    r"|morning|start|get started)(?: \S+){0,2}"
    r"|(?:[你您]好|你们好|大家好|嗨|嘿|喂|哈[喽啰罗]|早安?|早上好|[上中下]午好|晚上好|在[吗么]|在不在|有人[吗么]|开始)"
    r"[呀啊哦哈吖呢喽]?(?: ?\S{1,4})?"
)
"""Matches a greeting, optionally with an addressee, in lower case without punctuation."""


def is_greeting(message: str) -> bool:
    text = unicodedata.normalize("NFKC", message).replace("👋", " hi ").casefold()
    words = "".join(character if character.isalnum() else " " for character in text).split()
    return GREETING.fullmatch(" ".join(words)) is not None


def not_understood(message: str, commands: Sequence[Command]) -> Reply:
    """Return the reply to a message that is not a command, with the most similar one. An empty message was not text."""
    if not message:
        return Reply(None, (paragraph(help_words.ONLY_TEXT),), confidential=True)
    names = [each.name for each in commands if not each.hidden]
    word = message.partition(" ")[0].removeprefix("/").lower()
    similar = [] if word.startswith("@") else difflib.get_close_matches(word, names, n=1)
    next_step = help_words.DID_YOU_MEAN.format(name=similar[0]) if similar else help_words.TRY_HELP
    line = paragraph(help_words.NOT_UNDERSTOOD.format(said=message) + next_step)
    return Reply(None, (line,), confidential=True)


# --- permissions ----------------------------------------------------------------------------------------


def permissions_command(page: str | None) -> Command:
    @command(
        "permissions",
        summary=help_words.PERMISSIONS_SUMMARY,
        keep=nothing,
        private=True,
    )
    def permissions(ask: Ask) -> Steps:
        grant = yield ReadGrant()
        scopes = grant["scopes"]
        footer = (*waiting_lines(grant["waiting"]), *page_line(page, ask))
        if scopes is None:
            lines = (paragraph(help_words.ASKED_WHEN_NEEDED), *footer)
            return Reply(help_words.NOTHING_AUTHORIZED, lines)
        return Reply(
            help_words.AUTHORIZED_TITLE,
            (*scope_lines(scopes), *until_line(ask, grant), *footer, REVOKE_ALL),
        )

    return permissions


def page_line(page: str | None, ask: Ask) -> tuple[Line, ...]:
    """Return the link to "My permissions". Omitted in a group, where it would open a different page for each member."""
    if page is None or ask.chat.kind == "group":
        return ()
    return ((Span(help_words.SEE_USE), Span(help_words.MY_PERMISSIONS, url=page)),)


REVOKE_ALL: Line = paragraph(help_words.REVOKE_ALL)


def scope_lines(scopes: Mapping[str, Json]) -> tuple[Line, ...]:
    """Return a line for each scope, with its description and name, in a stable order."""
    names = sorted(scopes, key=lambda scope: (scope == OFFLINE_ACCESS, scope))
    return tuple(scope_line(name, scopes[name]) for name in names)


def scope_line(name: str, words: Mapping[str, str]) -> Line:
    described = Words(words["en"], words["zh"])
    if name in (described.en, described.zh):
        return (Span("• "), Span(name))
    return (Span("• "), Span(described), Span(f" · {name}"))


def until_line(ask: Ask, grant: Mapping[str, Json]) -> tuple[Line, ...]:
    """Return the line that states when a grant expires, with its refresh token if it has one."""
    renewable = grant["refresh_until"] is not None
    until = grant["refresh_until"] or grant["access_until"]
    if until is None:
        return ()
    zone = ask.zone
    moment = format_moment(datetime.fromisoformat(until), zone, zone.local(ask.asked_at).date())
    words = help_words.RENEWS if renewable else help_words.ENDS
    return (paragraph(words.format(time=moment)),)


def waiting_lines(waiting: Sequence[str]) -> tuple[Line, ...]:
    if not waiting:
        return ()
    return (paragraph(help_words.WAITING.format(commands=listed(typed(waiting)))),)


def typed(commands: Sequence[str]) -> list[str]:
    """Return the commands as users type them, without duplicates."""
    return [f"/{name.removeprefix('/')}" for name in dict.fromkeys(commands)]


# --- authorize, cancel, revoke --------------------------------------------------------------------------


AUTHORIZE = "authorize"


def authorize_command(platform: PlatformWords) -> Command:
    @command(
        AUTHORIZE,
        usage=help_words.AUTHORIZE_USAGE,
        summary=help_words.AUTHORIZE_SUMMARY,
        private=True,
    )
    def authorize(ask: Ask) -> Steps:
        scopes = scopes_in(ask.arguments, platform.scopes)
        if not scopes:
            return how_to_use(authorize, platform.authorize_example)
        invalid = next((scope for scope in scopes if not platform.scopes.matches(scope)), None)
        if invalid is not None:
            problem = help_words.NO_SCOPE.format(scope=one_line(invalid, 60))
            return how_to_use(authorize, platform.authorize_example, problem=problem)
        if len(scopes) > platform.scopes.most_per_link:
            problem = help_words.TOO_MANY_SCOPES.format(limit=platform.scopes.most_per_link)
            return how_to_use(authorize, platform.authorize_example, problem=problem)
        answer = yield RequireScopes(all_of(*scopes))
        granted = scope_lines(answer["scopes"])
        return Reply(help_words.AUTHORIZED, (*granted, REVOKE_ALL))

    return authorize


def scopes_in(written: str, syntax: ScopeSyntax) -> list[str]:
    """Return the scopes in a text, without duplicates. Understands Chinese keyboards and lists: `“a：b”，c：d。`"""
    words = re.split(r"[\s,;|、。]+", unicodedata.normalize("NFKC", written))
    bare = {word: word.strip(AROUND_SCOPE) for word in words}
    found = (bare[word] if syntax.matches(bare[word]) else word for word in bare if bare[word])
    return list(dict.fromkeys(found))


AROUND_SCOPE = "\"'`*<>()[]{}.:‘’“”「」『』【】《》"


@command(
    "cancel",
    summary=help_words.CANCEL_SUMMARY,
    urgent=True,
    keep=nothing,
)
def cancel(ask: Ask) -> Steps:
    answer = yield CancelWaiting()
    cancelled = cancelled_line(answer["commands"])
    return Reply(None, cancelled or (paragraph(help_words.NOTHING_TO_CANCEL),))


def revoke_command(platform: PlatformWords) -> Command:
    @command(
        "revoke",
        summary=help_words.REVOKE_SUMMARY,
        urgent=True,
        keep=nothing,
    )
    def revoke(ask: Ask) -> Steps:
        answer = yield EndGrant()
        cancelled = cancelled_line(answer["commands"])
        if not answer["had_grant"]:
            return Reply(None, (paragraph(help_words.NOTHING_TO_REVOKE), *cancelled))
        lines = (
            paragraph(platform.revoked),
            paragraph(help_words.ASK_AGAIN),
            *cancelled,
            paragraph(platform.where_to_withdraw),
        )
        return Reply(help_words.REVOKED_TITLE, lines)

    return revoke


def cancelled_line(commands: Sequence[str]) -> tuple[Line, ...]:
    if not commands:
        return ()
    return (paragraph(help_words.CANCELLED.format(commands=listed(typed(commands)))),)


# --- instead of buttons ---------------------------------------------------------------------------------


MAX_SHOWN_TO_CONFIRM = 10


@command(
    "confirm",
    usage=help_words.CONFIRM_USAGE,
    summary=help_words.CONFIRM_SUMMARY,
    urgent=True,
    private=True,
)
def confirm(ask: Ask) -> Steps:
    answer = yield ConfirmWrite(ask.arguments.strip().lower())
    if answer["confirmed"] is not None:
        command_line = one_line(answer["confirmed"], 200)
        return Reply(None, (paragraph(help_words.CONFIRMED.format(command=command_line)),))
    if not answer["waiting"]:
        return Reply(None, (paragraph(help_words.NOTHING_TO_CONFIRM),))
    choices = [
        (Span(f"/confirm {code}", bold=True), Span(f" – {one_line(command_line, 200)}"))
        for code, command_line in answer["waiting"][:MAX_SHOWN_TO_CONFIRM]
    ]
    return Reply(help_words.WHICH_TO_CONFIRM, (*choices, paragraph(help_words.CANCEL_THE_REST)))


@command("check", summary=help_words.CHECK_SUMMARY, urgent=True, keep=nothing, private=True)
def check(ask: Ask) -> Steps:
    answer = yield CheckScopes()
    if not answer["administrator"]:
        words = help_words.ADMINISTRATORS_ONLY
    elif answer["released"]:
        words = help_words.CHECKING.format(number=answer["released"])
    else:
        words = help_words.NOTHING_TO_CHECK
    return Reply(None, (paragraph(words),))
