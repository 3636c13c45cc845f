"""The commands that every platform has: help, welcome, and what a person does with their own permissions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from bot.core.answers import how_to_use, listed, paragraph
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
from bot.core.model import Json, Line, Mentions, Reply, Span, Words
from bot.core.scopes import MAX_SCOPES_PER_LINK, OFFLINE_ACCESS, SCOPE, all_of
from bot.core.tidy import one_line
from bot.core.times import moment_in_words

WELCOME = "welcome"
"""The hidden command that a first contact runs."""


def builtin_commands(others: Sequence[Command], page: str | None = None) -> tuple[Command, ...]:
    """The built-in commands. The help lists `others` first; the welcome proposes the first three of them.

    `page` is the link to "My permissions", where a browser can open it.
    """

    @command("help", summary=Words("what I can do", "查看我能做什么"), urgent=True, keep=nothing)
    @at_once
    def help_command(ask: Ask) -> Reply:
        lines = (*help_lines(others, mine), *page_line(page, ask))
        return Reply(Words("What I can do for you", "我能为你做什么"), lines)

    @command(UNKNOWN, summary=Words("answer anything else", "回复其他消息"), hidden=True, keep=echoed)
    @at_once
    def unknown(ask: Ask) -> Reply:
        said = echoed(ask.arguments, {})
        return Reply(
            Words("I did not understand that", "我没有听懂") if said else None,
            (*misunderstood(said, [*others, *mine]), *help_lines(others, mine)),
        )

    @command(WELCOME, summary=Words("introduce myself", "自我介绍"), hidden=True)
    @at_once
    def welcome(ask: Ask) -> Reply:
        return Reply(Words("Hello!", "你好！"), (*INTRODUCTION, *map(help_line, others[:3]), MORE_HELP))

    mine = (help_command, permissions_command(page), authorize, cancel, revoke)
    return (*mine, unknown, welcome)


def at_once(answer: Callable[[Ask], Reply]) -> Callable[[Ask], Steps]:
    """A command without steps."""

    def run(ask: Ask) -> Steps:
        yield from ()
        return answer(ask)

    return run


# --- help -----------------------------------------------------------------------------------------------

INTRODUCTION: tuple[Line, ...] = (
    paragraph(
        Words(
            "I look things up and get things done in your name: I see what you see, and nothing else.",
            "我以你的身份查询信息、处理事务：你能看到什么，我才能看到什么。",
        )
    ),
    paragraph(
        Words(
            "When I lack a permission I ask for exactly that one, right here. You may say no, "
            "and /revoke ends it all.",
            "缺少权限时，我会在这里只申请所需的那一项。你可以拒绝，也可以随时用 /revoke 收回全部授权。",
        )
    ),
    (Span(Words("Three things to try:", "不妨试试："), bold=True),),
)

MORE_HELP: Line = paragraph(Words("/help shows everything.", "发送 /help 查看全部命令。"))


def help_line(each: Command) -> Line:
    return (Span(f"{each.typed} {each.usage}".strip(), bold=True), Span(" – "), Span(each.summary))


def help_lines(others: Sequence[Command], mine: Sequence[Command]) -> tuple[Line, ...]:
    return (
        (Span(Words("In your name", "以你的身份"), bold=True),),
        *(help_line(each) for each in others if not each.hidden),
        (Span(Words("You and me", "授权与帮助"), bold=True),),
        *(help_line(each) for each in mine if not each.hidden),
    )


def echoed(text: str, mentions: Mentions) -> str:
    """What the answer repeats of a message that is no command. No more of it is stored."""
    return one_line(with_names(text, mentions), 60)


def misunderstood(said: str, commands: Sequence[Command]) -> tuple[Line, ...]:
    """What to say of a message that is no command; a message without words has said nothing."""
    if not said:
        only_text = Words(
            "Send me a command as a text. This is what I understand:", "请用文字发送命令。我能听懂："
        )
        return (paragraph(only_text),)
    names = [each.name for each in commands if not each.hidden]
    word = said.partition(" ")[0].removeprefix("/").lower()
    guesses = [] if word.startswith("@") else difflib.get_close_matches(word, names, n=1)
    meant = [
        paragraph(Words("Did you mean ", "你是不是想说 "), f"/{name}", Words("?", "？")) for name in guesses
    ]
    return (paragraph(Words("I do not know this: ", "我不认识："), said), *meant)


# --- what is granted ------------------------------------------------------------------------------------


def permissions_command(page: str | None) -> Command:
    @command(
        "permissions",
        summary=Words("what you have granted me, and until when", "查看你授予我的权限及有效期"),
        keep=nothing,
    )
    def permissions(ask: Ask) -> Steps:
        grant = yield ReadGrant()
        scopes = grant["scopes"]
        more = (*waiting_lines(grant["waiting"]), *page_line(page, ask))
        if scopes is None:
            return Reply(
                Words("You have granted me nothing", "你还没有授予我任何权限"), (ASKED_WHEN_NEEDED, *more)
            )
        return Reply(
            Words("What you have granted me", "你授予我的权限"),
            (*scope_lines(scopes), *until_line(ask, grant), *more, ALL_ENDS),
        )

    return permissions


ASKED_WHEN_NEEDED: Line = paragraph(
    Words("When a command needs a permission, I ask for it then.", "某个命令需要权限时，我会在那时向你申请。")
)


def page_line(page: str | None, ask: Ask) -> tuple[Line, ...]:
    """The way to the page of one's own. A group is shown none: each would come to another page by it."""
    if page is None or ask.chat.kind == "group":
        return ()
    words = Words("What I used each permission for, and more: ", "查看每项权限的用途等详情：")
    return ((Span(words), Span(Words("My permissions", "我的授权"), url=page)),)


ALL_ENDS: Line = paragraph(Words("/revoke ends all of it.", "发送 /revoke 可全部收回。"))


def scope_lines(scopes: Mapping[str, Json]) -> tuple[Line, ...]:
    """One line a scope, in words and by name, in a stable order."""
    names = sorted(scopes, key=lambda scope: (scope == OFFLINE_ACCESS, scope))
    return tuple(scope_line(name, scopes[name]) for name in names)


def scope_line(name: str, words: Mapping[str, str]) -> Line:
    described = Words(words["en"], words["zh"])
    if name in (described.en, described.zh):
        return (Span("• "), Span(name))
    return (Span("• "), Span(described), Span(f" · {name}"))


def until_line(ask: Ask, grant: Mapping[str, Json]) -> tuple[Line, ...]:
    """A grant that can be renewed lasts as long as that; else as long as its access token."""
    renewable = grant["refresh_until"] is not None
    until = grant["refresh_until"] or grant["access_until"]
    if until is None:
        return ()
    zone = ask.zone
    moment = moment_in_words(datetime.fromisoformat(until), zone, zone.local(ask.asked_at).date())
    if renewable:
        words = Words(
            "I renew this by myself; if you do not use me until {moment}, it ends.",
            "授权会自动续期；如果到 {moment} 你都没有使用我，授权将失效。",
        )
    else:
        words = Words("Valid until {moment}; then I ask again.", "有效期至 {moment}，之后我会再次申请。")
    return (paragraph(words.format(moment=moment)),)


def waiting_lines(waiting: Sequence[str]) -> tuple[Line, ...]:
    if not waiting:
        return ()
    words = Words(
        "Waiting for you: {commands}. /cancel drops it.", "等待你授权：{commands}。发送 /cancel 可取消。"
    )
    return (paragraph(words.format(commands=listed(typed(waiting)))),)


def typed(commands: Sequence[str]) -> list[str]:
    """Names of commands as people type them, each once."""
    return [f"/{name.removeprefix('/')}" for name in dict.fromkeys(commands)]


# --- asking ahead, and ending ---------------------------------------------------------------------------


AUTHORIZE = "authorize"


@command(
    AUTHORIZE,
    usage="SCOPE…",
    summary=Words("grant me permissions ahead of time", "提前授予我权限"),
)
def authorize(ask: Ask) -> Steps:
    scopes = list(dict.fromkeys(re.split(r"[\s,，、]+", ask.arguments.strip(" ,，、\n\t"))))
    if scopes == [""]:
        return how_to_use(authorize, AUTHORIZE_EXAMPLE)
    wrong = next((scope for scope in scopes if not SCOPE.fullmatch(scope)), None)
    if wrong is not None:
        problem = Words("This is not the name of a scope: {scope}", "这不是权限名称：{scope}")
        return how_to_use(authorize, AUTHORIZE_EXAMPLE, problem=problem.format(scope=one_line(wrong, 60)))
    if len(scopes) > MAX_SCOPES_PER_LINK:
        problem = Words("At most {limit} scopes at once, please.", "一次最多申请 {limit} 项权限。")
        return how_to_use(authorize, AUTHORIZE_EXAMPLE, problem=problem.format(limit=MAX_SCOPES_PER_LINK))
    answer = yield RequireScopes(all_of(*scopes))
    granted = scope_lines(answer["scopes"])
    return Reply(Words("You have granted me this", "你已授予我以下权限"), (*granted, ALL_ENDS))


AUTHORIZE_EXAMPLE = "/authorize calendar:calendar:readonly task:task:read"


@command(
    "cancel",
    summary=Words("drop what waits for your permission", "取消正在等待授权的命令"),
    urgent=True,
    keep=nothing,
)
def cancel(ask: Ask) -> Steps:
    answer = yield CancelWaiting()
    nothing = paragraph(Words("Nothing was waiting for you.", "没有正在等待你的命令。"))
    return Reply(None, cancelled_line(answer["commands"]) or (nothing,))


@command(
    "revoke",
    summary=Words("end everything you have granted me", "收回你授予我的全部权限"),
    urgent=True,
    keep=nothing,
)
def revoke(ask: Ask) -> Steps:
    answer = yield EndGrant()
    cancelled = cancelled_line(answer["commands"])
    if not answer["had_grant"]:
        return Reply(
            Words("There was nothing to end", "没有需要收回的授权"),
            (paragraph(Words("I hold no permission of yours.", "我没有持有你的任何权限。")), *cancelled),
        )
    return Reply(Words("Ended", "已收回授权"), (*REVOKED, *cancelled, WHERE_TO_WITHDRAW))


def cancelled_line(commands: Sequence[str]) -> tuple[Line, ...]:
    if not commands:
        return ()
    words = Words("Cancelled: {commands}", "已取消：{commands}")
    return (paragraph(words.format(commands=listed(typed(commands)))),)


REVOKED: tuple[Line, ...] = (
    paragraph(
        Words(
            "I can no longer act in your name. The tokens are erased here, and I withdraw them at the "
            "platform too.",
            "我不能再以你的身份操作。这里保存的令牌已删除，我也会在平台上将其撤销。",
        )
    ),
    paragraph(
        Words(
            "The next command that needs a permission asks you again.",
            "下次有命令需要权限时，我会重新向你申请。",
        )
    ),
)

WHERE_TO_WITHDRAW: Line = paragraph(
    Words(
        "The platform may go on listing this app among those you once authorized: you can remove it there, "
        "in the privacy settings of your account.",
        "平台可能仍把此应用列在你曾授权的应用中，你可以在账号的隐私设置里将其移除。",
    )
)
