"""The README says what the program does: settings, commands, routes, scopes and events, and an example that runs."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot import settings
from bot.cli import parser
from bot.core.api import ApiCall
from bot.core.command_replies import with_usage
from bot.core.command_testing import after
from bot.core.commands import Ask, Command, Result, advance
from bot.core.messages import Chat, Reply
from bot.core.people import UserKey
from bot.doctor_lark import requirements
from bot.lark.events import PARSERS
from bot.platforms import LARK, all_commands
from tests.command_runner import NOW

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

SETTINGS = [
    "LARK_APP_ID",
    "LARK_APP_SECRET",
    "LARK_BRAND",
    "LARK_OPEN_URL",
    "LARK_ACCOUNTS_URL",
    "LARK_APPLINK_URL",
    "LARK_JSSDK_URL",
    "LARK_OAUTH",
    "LARK_EVENTS",
    "LARK_ENCRYPT_KEY",
    "LARK_VERIFICATION_TOKEN",
    "BOT_PUBLIC_URL",
    "BOT_HOST",
    "BOT_PORT",
    "BOT_DATABASE_URL",
    "BOT_ENCRYPTION_KEYS",
    "BOT_ADMINS",
    "BOT_AUTO_MIGRATE",
    "BOT_AUTHORIZATION_TTL",
    "BOT_DEFERRED_TTL",
    "BOT_TIME_ZONE",
    "BOT_RETENTION_DAYS",
    "BOT_AUDIT_RETENTION_DAYS",
    "BOT_LOG_FORMAT",
    "BOT_LOG_LEVEL",
    "BOT_METRICS_PORT",
]
"""People and scripts rely on these names: none may vanish or change its own."""

ROUTES = [
    "/lark/events",
    "/authorize/{ticket}",
    "/oauth/lark/callback",
    "/oauth/lark/client",
    "/permissions",
    "/console",
    "/healthz",
    "/readyz",
    "/metrics",
]


def test_no_setting_has_vanished() -> None:
    assert {each.name for each in settings.TABLE} >= set(SETTINGS)


def test_the_settings_table_is_the_readmes() -> None:
    assert settings.markdown_table() in README, f"Put this into the README:\n\n{settings.markdown_table()}"


def test_every_setting_has_a_field_and_every_field_a_setting() -> None:
    fields = set(settings.Settings.__dataclass_fields__) - {"warnings", "network"} - settings.PLATFORMS.keys()
    assert {each.field for each in settings.BOT} == fields
    assert settings.PLATFORMS.keys() == {"lark", "dingtalk"}
    assert {each.field for each in settings.LARK} == set(settings.LarkSettings.__dataclass_fields__)
    assert {each.field for each in settings.DINGTALK} == set(settings.DingTalkSettings.__dataclass_fields__)
    assert (*settings.LARK, *settings.DINGTALK, *settings.BOT) == settings.TABLE


def command_lines(of: argparse.ArgumentParser, words: str) -> Iterator[str]:
    """Every command as one types it: `bot db upgrade`."""
    inner = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield words
    for action in inner:
        for name, below in action.choices.items():
            yield from command_lines(below, f"{words} {name}")


@pytest.mark.parametrize("line", [*command_lines(parser(), "bot")])
def test_every_command_is_documented(line: str) -> None:
    assert f"`{line}" in README


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_documented(route: str) -> None:
    assert route in README


SAYABLE = [each for each in all_commands(LARK).values() if not each.hidden]


@pytest.mark.parametrize("command", SAYABLE, ids=lambda command: command.name)
def test_everything_one_can_say_is_documented(command: Command) -> None:
    typed = with_usage(command).en.replace("|", "\\|")
    assert f"| `{typed}` |" in README


def test_the_scopes_to_enable_are_those_that_the_commands_need() -> None:
    section = README.partition("*User identity*")[2].partition("*App identity*")[0]
    rows = [
        line.strip(" |").rpartition("|")[2] for line in section.splitlines() if line.strip().startswith("| ")
    ]
    documented = {tuple(re.findall(r"`([^`]+)`", row)) for row in rows}
    assert documented - {(), ("offline_access",)} == set(requirements(all_commands(LARK)))
    assert ("offline_access",) in documented


@pytest.mark.parametrize(
    "event",
    [
        "im.message.receive_v1",
        "im.message.recalled_v1",
        "im.chat.access_event.bot_p2p_chat_entered_v1",
        "auth.user_access_token.revoked_v4",
        "card.action.trigger",
    ],
)
def test_every_event_to_subscribe_to_is_documented_and_understood(event: str) -> None:
    assert f"`{event}`" in README
    assert event in PARSERS


def test_the_example_of_a_command_runs_and_has_at_most_fifteen_lines() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    namespace: dict[str, object] = {}
    exec(source, namespace)
    files = namespace["files"]
    assert isinstance(files, Command)
    user = UserKey("lark", "cli_1", "tenant_1", "ou_1")
    ask = Ask("call-1", user, Chat("oc_1", "direct"), "", NOW, "en", None)
    call = advance(files, ask, [])
    assert isinstance(call, ApiCall)
    reply = advance(files, ask, [Result({"code": 0, "data": {"files": [{"name": "Plan"}]}})])
    assert isinstance(reply, Reply)
    assert "Plan" in str(reply.lines)


def blocks_of(file: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_every_block_of_code_about_commands_runs_and_does_what_is_said() -> None:
    namespace: dict[str, Any] = {}
    for source in blocks_of("docs/commands.md"):
        exec(source, namespace)
    tests = [each for name, each in namespace.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
    primary = {"data": {"calendars": [{"calendar": {"calendar_id": "c1"}}]}}
    block = namespace["block"]
    write = after(block, "Report", primary)
    assert isinstance(write, ApiCall)
    assert write == after(block, "Report", primary), "the key differs from run to run"
    assert write.write is not None
    assert isinstance(after(block, "Report", primary, {"data": {}}), Reply)
    assert isinstance(after(block), Reply)
    pages = [{"data": {"files": [{"name": n}], "has_more": n == "a", "next_page_token": "2"}} for n in "ab"]
    second = after(namespace["files"], "", pages[0])
    assert isinstance(second, ApiCall)
    assert second.query == {"page_size": "50", "page_token": "2"}
    listed = after(namespace["files"], "", *pages)
    assert isinstance(listed, Reply)
    assert len(listed.lines) == 2
    title, wiki = namespace["title"], "https://example.feishu.cn/wiki/wikcnAbc"
    assert len(title.needs(wiki)) == len(title.needs("")) + 1
    found = {"data": {"document": {"title": "Plan"}}}
    named = after(title, wiki, {"data": {"node": {"obj_token": "doxcn1"}}}, found)
    assert isinstance(named, Reply)
    assert "Plan" in str(named.lines)
    assert namespace["my_tasks"]().path == "/open-apis/task/v2/tasks"
    assert namespace["new_task"]("Pay", "k" * 10).body == {"summary": "Pay", "client_token": "k" * 10}


def test_links_of_the_readme_lead_to_files() -> None:
    for target in re.findall(r'\]\((?!https?:)([^)#]+)\)|src="([^"]+)"', README):
        assert (ROOT / "".join(target)).exists()


def test_what_the_readme_says_of_the_folders_exists() -> None:
    tree = README.partition("## How it is built")[2].split("```")[1]
    folder, found = ROOT, []
    for line in tree.strip().splitlines():
        folder = folder if line.startswith("  ") else ROOT
        found += [
            folder / each for each in re.findall(r"[a-z_]+(?:\.py|/)", re.split(r" {2,}", line.strip())[0])
        ]
        folder = ROOT / "bot" if line == "bot/" else folder
    assert len(found) > 10
    assert [str(each) for each in found if not each.exists()] == []


@pytest.mark.parametrize("command", ["bot sandbox", "pytest -q -n 6 --dist worksteal"])
def test_both_ways_to_begin_are_one_line_each(command: str) -> None:
    lines = [
        line for line in README.splitlines() if line.startswith("python3 -m venv") and line.endswith(command)
    ]
    assert len(lines) == 1


FAULTS = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def test_every_fault_in_the_table_names_a_test_that_exists() -> None:
    rows = [line for line in FAULTS.splitlines() if line.startswith("| ") and "what goes wrong" not in line]
    assert len(rows) > 80
    for row in rows:
        (shown,) = re.findall(r"\| `(tests/[^`:]+)::(test_\w+)` \|$", row) or [("", row)]
        file, name = shown
        assert file, f"No test shows this: {row}"
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, flags=re.MULTILINE), f"{file}::{name}"


def test_no_fault_is_listed_twice() -> None:
    rows = [line for line in FAULTS.splitlines() if line.startswith("| ") and "what goes wrong" not in line]
    assert len(rows) == len(set(rows))


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def named_functions() -> list[tuple[str, str]]:
    """Each function that the walks name, with the file that they name before it."""
    walks = ARCHITECTURE[ARCHITECTURE.index("## Walk 1") : ARCHITECTURE.index("## Where to put")]
    found: list[tuple[str, str]] = []
    file = ""
    for word in re.findall(r"`([^`\n]+)`", walks):
        if word.endswith(".py"):
            (file,) = [
                str(each)
                for each in (ROOT / "bot").rglob("*.py")
                if str(each).endswith(f"/bot/{word}")
                or ("/" not in word and each.name == word and "sandbox" not in each.parts)
            ]
        elif re.fullmatch(r"[a-z_]+", word):
            found.append((file, word))
    return found


def test_the_walks_name_functions_that_exist() -> None:
    functions = named_functions()
    assert len(functions) > 25
    for file, name in functions:
        assert re.search(rf"def {name}\b", Path(file).read_text(encoding="utf-8")), (file, name)
