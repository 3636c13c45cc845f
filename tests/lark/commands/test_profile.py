"""`/me`, and what the commands have in common."""

import pytest

from bot.core.builtin_commands import builtin_commands
from bot.core.commands import registry
from bot.lark.commands import COMMANDS, WORDS
from bot.lark.commands.profile import me
from tests.command_runner import ODD, run, said, success


def test_it_says_who_the_person_is_and_what_the_app_may_see_of_them():
    person = {"name": "蓝薇", "en_name": "Wei Lan", "email": "wei@example.com", "mobile": "+8613000000000"}
    done = run(me, "", success(person))
    assert [(call.method, call.path) for call in done.calls] == [("GET", "/open-apis/authen/v1/user_info")]
    assert said(done.reply)[:4] == ["Your account", "蓝薇", "Wei Lan", "Email: wei@example.com"]
    assert not any("+86" in line for line in said(done.reply))


@pytest.mark.parametrize(
    "person", [{"name": "Wei Lan", "en_name": "Wei Lan"}, {"en_name": "Wei Lan"}, {"name": "Wei Lan"}]
)
def test_a_name_is_said_once(person):
    assert said(run(me, "", success(person)).reply)[:2] == ["Your account", "Wei Lan"]
    assert "Wei Lan" not in said(run(me, "", success(person)).reply)[2]


@pytest.mark.parametrize("odd", ODD)
def test_an_answer_without_a_name_is_said_to_be_unreadable(odd):
    assert said(run(me, "", odd).reply)[0] == "Unexpected answer from the platform"


def test_every_command_of_the_chat_is_there_and_visible():
    commands = registry(*builtin_commands(COMMANDS, WORDS), *COMMANDS)
    asking = {"me", "agenda", "tasks", "task", "doc", "search", "call"}
    visible = {name for name, command in commands.items() if not command.hidden}
    assert visible == asking | {"help", "permissions", "authorize", "cancel", "revoke"}
    assert commands["welcome"].hidden


def test_the_scopes_that_are_preferred():
    assert {clause[0] for each in COMMANDS for clause in each.needs("")} == {
        "calendar:calendar:readonly",
        "task:task:read",
        "task:task:write",
        "docx:document:readonly",
        "wiki:node:read",
        "search:docs:read",
    }
