"""Commands of installed packages: which platform's users get them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.core.commands import Command
from bot.core.language import Words
from bot.core.scopes import ScopeSyntax
from bot.plugins import BrokenPlugin, installed_commands

COLONS = ScopeSyntax(re.compile(r"[a-z]+:[a-z]+"), 50)
DOTS = ScopeSyntax(re.compile(r"[A-Z][a-z]+\.[A-Z][a-z]+"), 50)
KNOWN = {"lark": COLONS, "tiny": DOTS}

SOURCE = """
from bot.commands import Reply, Words, any_of, command

@command("plain", summary=Words("x", "x"), needs=any_of("a:b"))
def plain(ask):
    return Reply(None)
    yield

@command("old", summary=Words("x", "x"), platform="lark")
def old(ask):
    return Reply(None)
    yield

@command("new", summary=Words("x", "x"), needs=any_of("Contact.Read"), platform="tiny")
def new(ask):
    return Reply(None)
    yield
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "bot_trio-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bot-trio\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = bot_trio:{name}" for name in ("plain", "old", "new"))
    (information / "entry_points.txt").write_text(f"[bot.commands]\n{lines}\n")
    (tmp_path / "bot_trio.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)


def names(platform: str, *own: Command) -> list[str]:
    return [each.name for each in installed_commands(own, platform, KNOWN[platform], KNOWN)]


@pytest.mark.usefixtures("package")
def test_users_get_the_commands_for_their_platform_and_those_that_name_none_are_larks() -> None:
    assert names("lark") == ["old", "plain"]
    assert names("tiny") == ["new"]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(("platform", "taken"), [("lark", "plain"), ("lark", "old"), ("tiny", "new")])
def test_a_name_is_taken_on_its_own_platform_only(platform: str, taken: str) -> None:
    mine = Command(taken, lambda ask: None, Words("", ""))  # type: ignore[arg-type, return-value]
    with pytest.raises(BrokenPlugin, match=f"/{taken} of bot-trio is already defined"):
        names(platform, mine)
    other = {"lark": "tiny", "tiny": "lark"}[platform]
    assert names(other, mine) == names(other)
