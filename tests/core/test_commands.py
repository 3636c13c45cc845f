"""Finding a command in a message, and moving it on."""

from datetime import UTC, datetime

import pytest

from bot.core.api import ApiCall, Refused
from bot.core.commands import (
    ApiRefused,
    Ask,
    Command,
    Result,
    advance,
    command,
    fingerprint,
    parse_message,
    registry,
)
from bot.core.language import Words
from bot.core.messages import Chat, Reply
from bot.core.people import UserKey
from bot.core.secrets import Secret

NOTHING = Words("", "")


@command("two", summary=NOTHING)
def two(ask: Ask):
    first = yield ApiCall("GET", "/one")
    try:
        second = yield ApiCall("GET", f"/two/{first}")
    except ApiRefused as refusal:
        second = f"refused {refusal.outcome.code}"
    return Reply(Words(f"{first} {second}", ""))


@command("secret", summary=NOTHING, hidden=True)
def hidden(ask: Ask):
    yield ApiCall("GET", "/")
    return Reply(None)


ASK = Ask(
    "k", UserKey("lark", "a", "t", "o"), Chat("c", "direct"), "", datetime(2026, 1, 1, tzinfo=UTC), "en", None
)
COMMANDS = registry(two, hidden)


@pytest.mark.parametrize(
    ("results", "move"),
    [
        ([], ApiCall("GET", "/one")),
        ([Result(1)], ApiCall("GET", "/two/1")),
        ([Result(1), Result(2)], Reply(Words("1 2", ""))),
        ([Result(1), Result(refused=Refused(7, "no"))], Reply(Words("1 refused 7", ""))),
    ],
)
def test_a_command_is_replayed_from_its_results(results, move):
    assert advance(two, ASK, results) == move
    assert advance(two, ASK, results) == move


def test_a_refusal_that_the_command_does_not_catch_comes_out():
    with pytest.raises(ApiRefused):
        advance(two, ASK, [Result(refused=Refused(7, "no"))])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/two", ("two", "")),
        ("two", ("two", "")),
        ("\uff0ftwo a", ("two", "a")),
        ("  TWO  a b ", ("two", "a b")),
        ("/Two\nmore lines", ("two", "more lines")),
        ("/twofold", ("unknown", "/twofold")),
        ("/secret", ("unknown", "/secret")),
        ("hello", ("unknown", "hello")),
        ("", ("unknown", "")),
        (None, ("unknown", "")),
    ],
)
def test_a_message_starts_with_the_word_with_or_without_a_slash_in_any_case(text, found):
    assert parse_message(text, COMMANDS) == found


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("\uff0f\uff34wo a", "a"),
        ("\u3001two a", "a"),
        ("\\two a", "a"),
        ("//two a", "a"),
        ("/ two a", "a"),
        ("\uff0f\u3000two\u3000a", "a"),
        ("/two\u2800a", "a"),
        ("/two：a", "a"),
        ("two: a", "a"),
        ("/two ：a", "a"),
        ("/two，a", "a"),
        ("two, a", "a"),
        ("：/two a", "a"),
        ("/two今天", "今天"),
        ("/two🎉 a", "🎉 a"),
        ("/two<https://a.cn>", "<https://a.cn>"),
        ("/two《https://a.cn》", "《https://a.cn》"),
        ("/two[a](https://a.cn)", "[a](https://a.cn)"),
        ("/twohttps://a.cn", "https://a.cn"),
        ("“/two a”", "a"),
        ("`/two` a", "a"),
        ("**/two** a", "a"),
        ("「/two 「a」」", "「a」"),
        ("“/two” “a”", "“a”"),
        ("/two “a”", "“a”"),
        ("/two :) a", ":) a"),
        ("two!", ""),
        ("/two。", ""),
        ("/two？", ""),
        ("two...", ""),
    ],
)
def test_what_keyboards_make_of_a_command_is_understood(text, rest):
    assert parse_message(text, COMMANDS) == ("two", rest)


@pytest.mark.parametrize(
    "text",
    [
        "two-fold x",
        "two.py",
        "/two/x",
        "/twoé",
        "two://x",
        "“two” a",
        "two’s",
        "两two",
        "a /two",
        "1. /two",
        "/",
    ],
)
def test_another_word_is_no_command(text):
    assert parse_message(text, COMMANDS) == ("unknown", text)


def test_two_commands_cannot_share_a_name():
    with pytest.raises(ValueError, match="two"):
        registry(two, Command("two", two.run, NOTHING))


def test_a_fingerprint_tells_calls_apart_and_not_runs():
    assert fingerprint(ApiCall("GET", "/a")) == fingerprint(ApiCall("GET", "/a"))
    assert fingerprint(ApiCall("GET", "/a")) != fingerprint(ApiCall("GET", "/a", {"x": "1"}))
    assert fingerprint(ApiCall("POST", "/a", body={"x": 1})) != fingerprint(
        ApiCall("POST", "/a", body={"x": 2})
    )


def test_a_secret_shows_itself_to_nobody():
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} %s" % secret
    assert secret == Secret("hunter2")
    assert secret.reveal() == "hunter2"
