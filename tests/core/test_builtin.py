"""The commands that every platform has."""

import dataclasses
import re

import pytest

from bot.core.builtin_commands import PlatformWords, builtin_commands
from bot.core.commands import (
    CancelWaiting,
    Command,
    EndGrant,
    ReadGrant,
    RequireScopes,
    Result,
    advance,
    parse_message,
    registry,
)
from bot.core.language import Words
from bot.core.messages import Chat, Reply
from bot.core.scopes import ScopeSyntax, all_of
from bot.core.words.refusals import explain_refusal
from tests.command_runner import ask, refused, run, said


def other(name: str, usage: Words | str = "") -> Command:
    return Command(name, lambda _: None, Words(f"does {name}", f"做 {name}"), usage)  # type: ignore[arg-type, return-value]


OTHERS = (
    other("me"),
    other("agenda", "[today|tomorrow|week]"),
    other("tasks"),
    other("doc", Words("LINK", "链接")),
)
SYNTAX = ScopeSyntax(re.compile(r"(?=.{1,100}$)(?:offline_access|[a-z0-9_]+(?::[a-z0-9_.-]+)+)"), 50)
PLATFORM = PlatformWords(SYNTAX, "/authorize calendar:calendar:readonly task:task:read")
BUILTIN = builtin_commands(OTHERS, PLATFORM)
COMMANDS = registry(*BUILTIN, *OTHERS)

CALENDAR = {"calendar:calendar:readonly": {"en": "View calendars", "zh": "查看日历"}}
OFFLINE = {"offline_access": {"en": "Keep access", "zh": "保持访问"}}


def grant(**changes):
    return {"scopes": CALENDAR, "access_until": None, "refresh_until": None, "waiting": [], **changes}


def test_the_help_lists_every_command_with_its_usage_in_both_languages_and_no_hidden_one():
    reply = run(COMMANDS["help"], "").reply
    english, chinese = said(reply), said(reply, "zh")
    assert "/agenda [today|tomorrow|week] – does agenda" in english
    assert "/doc LINK – does doc" in english
    assert "/doc 链接 – 做 doc" in chinese
    for name, command in COMMANDS.items():
        assert any(line.startswith(f"/{name}") for line in english) is not command.hidden
    assert english[1] == "On your behalf"
    assert english.index("/me – does me") < english.index("Permissions and help")


PAGE = "https://applink.example/client/web_url/open?mode=sidebar-semi&url=x"


@pytest.mark.parametrize("name", ["help", "permissions"])
@pytest.mark.parametrize("kind", ["direct", "group"])
def test_my_permissions_is_pointed_to_where_there_is_such_a_page_and_never_in_a_group(name, kind):
    def links(page):
        command = registry(*builtin_commands(OTHERS, PLATFORM, page))[name]
        asked = dataclasses.replace(ask(), chat=Chat("oc_1", kind))
        results = [Result(grant())] if name == "permissions" else []
        reply = advance(command, asked, results)
        return [span.url for line in reply.lines for span in line if span.url]

    assert links(PAGE) == ([PAGE] if kind == "direct" else [])
    assert links(None) == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("what is new", 'Sorry, I don\'t know "what is new". Try /help.'),
        ("agedna please", 'Sorry, I don\'t know "agedna please". Did you mean /agenda?'),
        (None, "Please send a command as text. Try /help."),
        ("", "Please send a command as text. Try /help."),
        ("line one\nline two", 'Sorry, I don\'t know "line one line two". Try /help.'),
        (
            "hidden agenda of the high street",
            'Sorry, I don\'t know "hidden agenda of the high street". Try /help.',
        ),
        (
            "hello can you show me my day",
            'Sorry, I don\'t know "hello can you show me my day". Did you mean /help?',
        ),
    ],
)
def test_what_is_not_understood_is_answered_in_one_line(message, expected):
    name, arguments = parse_message(message, COMMANDS)
    assert said(run(COMMANDS[name], arguments).reply) == [expected]


def test_what_is_not_understood_is_answered_in_one_line_in_chinese_too():
    said_so = [said(run(COMMANDS["unknown"], each).reply, "zh") for each in ("报销", "agedna", "")]
    assert said_so == [
        ["暂不支持“报销”，发送 /help 查看可用命令。"],
        ["暂不支持“agedna”，你是不是想发送 /agenda？"],
        ["请用文字发送命令。发送 /help 查看可用命令。"],
    ]


@pytest.mark.parametrize(
    "message",
    [
        "hi",
        "Hello",
        "HEY",
        "hello!",
        "Hi there",
        "hey, Helper",
        "good morning",
        "Good evening everyone",
        "/start",
        "what's up?",
        "Hello 👋",
        "👋🏽\n    ",
        "你好",
        "您好！",
        "你好呀～",
        "哈喽",
        "嗨，小助手",
        "早上好",
        "下午好。",
        "在吗？",
        "你好，机器人",
        "ＨＥＬＬＯ",
        "hello @Ada",
    ],
)
def test_a_greeting_gets_the_welcome(message):
    name, arguments = parse_message(message.strip(), COMMANDS)
    assert said(run(COMMANDS[name], arguments).reply) == said(run(COMMANDS["welcome"], "").reply)


def test_a_long_unknown_message_is_not_repeated_in_full():
    reply = run(COMMANDS["unknown"], "x" * 5000).reply
    assert max(map(len, said(reply))) < 200


def test_the_welcome_says_what_the_bot_is_and_proposes_three_things():
    lines = said(run(COMMANDS["welcome"], "").reply, "zh")
    assert [line for line in lines if line.startswith("/")] == [
        "/me – 做 me",
        "/agenda [today|tomorrow|week] – 做 agenda",
        "/tasks – 做 tasks",
    ]


def test_permissions_without_a_grant_says_so():
    done = run(COMMANDS["permissions"], "", grant(scopes=None))
    assert done.moves == [ReadGrant()]
    assert said(done.reply)[0] == "You haven't authorized anything"


@pytest.mark.parametrize(
    ("answer", "zone", "expected"),
    [
        (
            grant(refresh_until="2026-02-04T16:30:00+00:00", access_until="2026-01-05T03:30:00+00:00"),
            "Asia/Shanghai",
            "Renewed automatically whenever you use a command; otherwise it expires Thu 5 Feb 00:30.",
        ),
        (
            grant(access_until="2026-01-05T03:30:00+00:00"),
            None,
            "Expires today 03:30 UTC; after that, I'll ask again.",
        ),
        (
            grant(refresh_until="2027-01-05T00:00:00+00:00"),
            "Not/A_Zone",
            "Renewed automatically whenever you use a command; otherwise it expires Tue 5 Jan 2027 00:00 UTC.",
        ),
    ],
)
def test_permissions_says_until_when_in_the_zone_of_the_asker(answer, zone, expected):
    lines = said(run(COMMANDS["permissions"], ask(time_zone=zone), answer).reply)
    assert expected in lines
    assert "• View calendars · calendar:calendar:readonly" in lines


def test_permissions_names_what_waits_and_puts_offline_access_last():
    answer = grant(scopes={**OFFLINE, **CALENDAR}, waiting=["/agenda", "tasks", "/agenda"])
    lines = said(run(COMMANDS["permissions"], "", answer).reply, "zh")
    assert lines[1:3] == ["• 查看日历 · calendar:calendar:readonly", "• 保持访问 · offline_access"]
    assert "等待中：/agenda、/tasks。发送 /cancel 可取消。" in lines


def test_a_scope_without_words_is_shown_once():
    answer = grant(scopes={"odd:scope": {"en": "odd:scope", "zh": "odd:scope"}})
    assert said(run(COMMANDS["permissions"], "", answer).reply)[1] == "• odd:scope"


def test_authorize_requires_every_scope_that_was_named_and_then_says_what_was_granted():
    done = run(
        COMMANDS["authorize"], "task:task:read, docx:document:readonly  task:task:read", {"scopes": CALENDAR}
    )
    assert done.moves == [RequireScopes(all_of("task:task:read", "docx:document:readonly"))]
    assert said(done.reply)[1] == "• View calendars · calendar:calendar:readonly"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "/authorize SCOPE…"),
        (" , ", "/authorize SCOPE…"),
        ("task:task:read <b>", "This isn't a scope: <b>"),
        ("task:task:read nonsense", "This isn't a scope: nonsense"),
        ("x" * 101, f"This isn't a scope: {'x' * 59}…"),
        (" ".join(f"scope:{n}" for n in range(51)), "At most 50 scopes at a time."),
    ],
)
def test_authorize_explains_what_it_cannot_use(arguments, problem):
    done = run(COMMANDS["authorize"], arguments)
    assert done.moves == []
    assert said(done.reply)[1] == problem


@pytest.mark.parametrize(
    ("commands", "expected"),
    [([], "Nothing to cancel."), (["/agenda", "/doc"], "Cancelled: /agenda, /doc")],
)
def test_cancel_says_what_it_dropped(commands, expected):
    done = run(COMMANDS["cancel"], "", {"commands": commands})
    assert done.moves == [CancelWaiting()]
    assert said(done.reply) == [expected]


def test_revoke_says_what_ended_and_where_the_platform_keeps_its_own_list():
    done = run(COMMANDS["revoke"], "", {"had_grant": True, "commands": ["/agenda"]})
    assert done.moves == [EndGrant()]
    lines = said(done.reply)
    assert lines[0] == "Revoked"
    assert "Cancelled: /agenda" in lines
    assert "privacy settings" in lines[-1]


def test_revoke_without_a_grant_says_that_there_was_nothing():
    lines = said(run(COMMANDS["revoke"], "", {"had_grant": False, "commands": []}).reply)
    assert lines == ["Nothing to revoke: you haven't authorized anything."]


def test_a_refusal_in_general_words_holds_the_message_the_code_and_the_log_id_and_no_line_breaks():
    reply = explain_refusal(refused(190003, "internal\n  service\u202e error" + "x" * 500), "/agenda")
    assert isinstance(reply, Reply)
    lines = said(reply)
    assert lines[1] == "/agenda wasn't run."
    assert lines[2].startswith("The platform says: internal service errorxxx")
    assert lines[2].endswith("… (code 190003)")
    assert lines[-1] == "For support: code 190003, log ID 20260105LOG"


def test_braces_in_what_others_wrote_are_only_braces():
    assert "{0} {command}" in said(explain_refusal(refused(1, "{0} {command}"), "/x"))[2]
    assert "{asked}" in said(run(COMMANDS["unknown"], "{asked}").reply)[0]
