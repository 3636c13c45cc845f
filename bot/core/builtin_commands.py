"""The commands that every platform has: help, welcome, and what users do with their own permissions."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from bot.core.api import Json
from bot.core.command_replies import how_to_use, listed, paragraph, with_usage
from bot.core.commands import (
    UNKNOWN,
    Ask,
    CancelWaiting,
    Command,
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
from bot.core.scopes import MAX_SCOPES_PER_LINK, OFFLINE_ACCESS, SCOPE, all_of
from bot.core.times import format_moment
from bot.core.unseen_characters import one_line
from bot.core.words import cards as card_words

WELCOME = "welcome"
"""The hidden command that runs when a user first contacts the bot."""


def builtin_commands(others: Sequence[Command], page: str | None = None) -> tuple[Command, ...]:
    """Return the built-in commands. The help lists `others` first, and the welcome proposes the first three of them.

    `page` is the link to "My permissions", if a browser can open it.
    """

    @command("help", summary=Words("all commands", "查看全部命令"), urgent=True, keep=nothing)
    @at_once
    def help_command(ask: Ask) -> Reply:
        lines = (*help_lines(others, mine), *page_line(page, ask), EDITS)
        return Reply(Words("Commands", "可用命令"), lines)

    @command(UNKNOWN, summary=Words("answer anything else", "回复其他消息"), hidden=True, keep=echoed)
    @at_once
    def unknown(ask: Ask) -> Reply:
        said = echoed(ask.arguments, {})
        return introduction(others) if is_greeting(said) else misunderstood(said, [*others, *mine])

    @command(WELCOME, summary=Words("introduce myself", "自我介绍"), hidden=True)
    @at_once
    def welcome(ask: Ask) -> Reply:
        return introduction(others)

    mine = (help_command, permissions_command(page), authorize, cancel, revoke)
    return (*mine, unknown, welcome)


def at_once(answer: Callable[[Ask], Reply]) -> Callable[[Ask], Steps]:
    """Make a command without steps."""

    def run(ask: Ask) -> Steps:
        yield from ()
        return answer(ask)

    return run


# --- help -----------------------------------------------------------------------------------------------

INTRODUCTION: tuple[Line, ...] = (
    paragraph(
        Words(
            "I look things up and get things done for you, as you: I can only see what you can see.",
            "我会以你的身份查信息、办事情，只能看到你有权查看的内容。",
        )
    ),
    paragraph(
        Words(
            "If I need a permission, I'll ask you here for just that one. You can decline, "
            "and /revoke takes everything back.",
            "需要权限时，我会在这里单独向你申请。你可以拒绝，也可以随时发送 /revoke 撤销全部授权。",
        )
    ),
    (Span(Words("Try these:", "不妨试试："), bold=True),),
)

MORE_HELP: Line = paragraph(Words("/help lists all commands.", "发送 /help 查看全部命令。"))


def introduction(others: Sequence[Command]) -> Reply:
    return Reply(Words("Hello!", "你好！"), (*INTRODUCTION, *map(help_line, others[:3]), MORE_HELP))


EDITS: Line = paragraph(
    Words(
        "Editing a message you've already sent changes nothing. To change a request, send it again.",
        "编辑已发送的消息不会生效。如需更改，请重新发送。",
    )
)
"""The platform delivers a message once, when it is sent. Its command may have run before it is edited."""


def help_line(each: Command) -> Line:
    return (Span(with_usage(each), bold=True), Span(" – "), Span(each.summary))


def help_lines(others: Sequence[Command], mine: Sequence[Command]) -> tuple[Line, ...]:
    return (
        (Span(Words("On your behalf", "以你的身份执行"), bold=True),),
        *(help_line(each) for each in others if not each.hidden),
        (Span(Words("Permissions and help", "授权与帮助"), bold=True),),
        *(help_line(each) for each in mine if not each.hidden),
    )


def echoed(text: str, mentions: Mentions) -> str:
    """Return the part of a message without a command that the answer repeats. Only this part is stored."""
    return one_line(with_names(text, mentions), 60)


GREETING = re.compile(
    r"(?:h(?:i+|ey+|ello+|allo|ullo|iya|owdy|ola)|yo|bonjour|greetings|what ?s up|good ?(?:morning|afternoon|evening|day)"
    r"|morning|start|get started)(?: \S+){0,2}"
    r"|(?:[你您]好|你们好|大家好|嗨|嘿|喂|哈[喽啰罗]|早安?|早上好|[上中下]午好|晚上好|在[吗么]|在不在|有人[吗么]|开始)"
    r"[呀啊哦哈吖呢喽]?(?: ?\S{1,4})?"
)
"""A greeting, with or without an addressee, in lower-case words without punctuation."""


def is_greeting(said: str) -> bool:
    text = unicodedata.normalize("NFKC", said).replace("👋", " hi ").casefold()
    words = "".join(character if character.isalnum() else " " for character in text).split()
    return GREETING.fullmatch(" ".join(words)) is not None


def misunderstood(said: str, commands: Sequence[Command]) -> Reply:
    """Return the reply to a message without a command. `said` is empty if the message has no text."""
    if not said:
        return Reply(None, (ONLY_TEXT,), confidential=True)
    names = [each.name for each in commands if not each.hidden]
    word = said.partition(" ")[0].removeprefix("/").lower()
    guesses = [] if word.startswith("@") else difflib.get_close_matches(word, names, n=1)
    unknown = Words('Sorry, I don\'t know "{said}". ', "暂不支持“{said}”，").format(said=said)
    next_step = (
        Words("Did you mean /{name}?", "你是不是想发送 /{name}？").format(name=guesses[0])
        if guesses
        else Words("Try /help.", "发送 /help 查看可用命令。")
    )
    return Reply(None, (paragraph(unknown + next_step),), confidential=True)


ONLY_TEXT: Line = paragraph(
    Words("Please send a command as text. Try /help.", "请用文字发送命令。发送 /help 查看可用命令。")
)


# --- what is granted ------------------------------------------------------------------------------------


def permissions_command(page: str | None) -> Command:
    @command(
        "permissions",
        summary=Words("what you've authorized, and until when", "查看你的授权及有效期"),
        keep=nothing,
        private=True,
    )
    def permissions(ask: Ask) -> Steps:
        grant = yield ReadGrant()
        scopes = grant["scopes"]
        more = (*waiting_lines(grant["waiting"]), *page_line(page, ask))
        if scopes is None:
            return Reply(card_words.NOTHING_AUTHORIZED, (ASKED_WHEN_NEEDED, *more))
        return Reply(
            Words("What you've authorized", "你的授权"),
            (*scope_lines(scopes), *until_line(ask, grant), *more, ALL_ENDS),
        )

    return permissions


ASKED_WHEN_NEEDED: Line = paragraph(
    Words("I'll ask when a command needs a permission.", "有命令需要权限时，我会向你申请。")
)


def page_line(page: str | None, ask: Ask) -> tuple[Line, ...]:
    """Return the link to the user's own page. None in a group, where each reader would see another page."""
    if page is None or ask.chat.kind == "group":
        return ()
    words = Words("See when each one was used: ", "查看每项权限的使用情况：")
    return ((Span(words), Span(Words("My permissions", "我的授权"), url=page)),)


ALL_ENDS: Line = paragraph(Words("/revoke takes everything back.", "发送 /revoke 可撤销全部授权。"))


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
    """Say until when a grant lasts: as long as its refresh token, or else its access token."""
    renewable = grant["refresh_until"] is not None
    until = grant["refresh_until"] or grant["access_until"]
    if until is None:
        return ()
    zone = ask.zone
    moment = format_moment(datetime.fromisoformat(until), zone, zone.local(ask.asked_at).date())
    words = card_words.RENEWS if renewable else card_words.ENDS
    return (paragraph(words.format(moment=moment)),)


def waiting_lines(waiting: Sequence[str]) -> tuple[Line, ...]:
    if not waiting:
        return ()
    words = Words("Waiting: {commands}. /cancel to drop it.", "等待中：{commands}。发送 /cancel 可取消。")
    return (paragraph(words.format(commands=listed(typed(waiting)))),)


def typed(commands: Sequence[str]) -> list[str]:
    """Return the names of commands as users type them, each once."""
    return [f"/{name.removeprefix('/')}" for name in dict.fromkeys(commands)]


# --- asking ahead, and ending ---------------------------------------------------------------------------


AUTHORIZE = "authorize"


@command(
    AUTHORIZE,
    usage=Words("SCOPE…", "权限标识…"),
    summary=Words("authorize permissions ahead of time", "提前授权"),
    private=True,
)
def authorize(ask: Ask) -> Steps:
    scopes = scopes_in(ask.arguments)
    if not scopes:
        return how_to_use(authorize, AUTHORIZE_EXAMPLE)
    wrong = next((scope for scope in scopes if not SCOPE.fullmatch(scope)), None)
    if wrong is not None:
        problem = Words("This isn't a scope: {scope}", "这不是权限标识：{scope}")
        return how_to_use(authorize, AUTHORIZE_EXAMPLE, problem=problem.format(scope=one_line(wrong, 60)))
    if len(scopes) > MAX_SCOPES_PER_LINK:
        problem = Words("At most {limit} scopes at a time.", "一次最多申请 {limit} 项权限。")
        return how_to_use(authorize, AUTHORIZE_EXAMPLE, problem=problem.format(limit=MAX_SCOPES_PER_LINK))
    answer = yield RequireScopes(all_of(*scopes))
    granted = scope_lines(answer["scopes"])
    return Reply(Words("Authorized", "授权成功"), (*granted, ALL_ENDS))


def scopes_in(written: str) -> list[str]:
    """Return the scopes in a text, each once. Accepts what Chinese keyboards and lists write: `“a：b”，c：d。`"""
    words = re.split(r"[\s,;|、。]+", unicodedata.normalize("NFKC", written))
    bare = {word: word.strip(AROUND_SCOPE) for word in words}
    found = (bare[word] if SCOPE.fullmatch(bare[word]) else word for word in bare if bare[word])
    return list(dict.fromkeys(found))


AROUND_SCOPE = "\"'`*<>()[]{}.:‘’“”「」『』【】《》"

AUTHORIZE_EXAMPLE = "/authorize calendar:calendar:readonly task:task:read"


@command(
    "cancel",
    summary=Words("cancel pending requests", "取消等待中的命令"),
    urgent=True,
    keep=nothing,
)
def cancel(ask: Ask) -> Steps:
    answer = yield CancelWaiting()
    nothing = paragraph(Words("Nothing to cancel.", "没有等待中的命令。"))
    return Reply(None, cancelled_line(answer["commands"]) or (nothing,))


@command(
    "revoke",
    summary=Words("take back everything you've authorized", "撤销全部授权"),
    urgent=True,
    keep=nothing,
)
def revoke(ask: Ask) -> Steps:
    answer = yield EndGrant()
    cancelled = cancelled_line(answer["commands"])
    if not answer["had_grant"]:
        return Reply(
            None,
            (
                paragraph(
                    Words(
                        "Nothing to revoke: you haven't authorized anything.",
                        "你没有授权任何权限，无需撤销。",
                    )
                ),
                *cancelled,
            ),
        )
    return Reply(Words("Revoked", "已撤销授权"), (*REVOKED, *cancelled, WHERE_TO_WITHDRAW))


def cancelled_line(commands: Sequence[str]) -> tuple[Line, ...]:
    if not commands:
        return ()
    words = Words("Cancelled: {commands}", "已取消：{commands}")
    return (paragraph(words.format(commands=listed(typed(commands)))),)


REVOKED: tuple[Line, ...] = (
    paragraph(
        Words(
            "I no longer have access to your account, and I'm revoking the authorization at the platform too.",
            "我已无法访问你的账号，平台上的授权也会一并撤销。",
        )
    ),
    paragraph(
        Words(
            "I'll ask again when a command needs a permission.",
            "下次有命令需要权限时，会重新请你授权。",
        )
    ),
)

WHERE_TO_WITHDRAW: Line = paragraph(
    Words(
        "The platform may still list this app as authorized. You can remove it in your account's privacy settings.",
        "平台可能仍将此应用列为已授权，你可以在账号的隐私设置中移除。",
    )
)
