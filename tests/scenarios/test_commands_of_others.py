"""Commands that another package brings: installed, asked for, consented to, answered; or named when they are broken."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY, World, text_of

EXAMPLE = REPOSITORY / "docs" / "example"


async def install(package: Path, target: Path) -> None:
    """Into a folder of its own: without network, by the packages that are here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
        "--disable-pip-version-check", "--target", str(target), str(package),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


def with_packages(world: World, folder: Path) -> None:
    world.settings["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(folder)])


async def test_the_example_answers_after_its_consent_and_is_in_the_help(world: World, tmp_path: Path):
    package = tmp_path / "package"
    shutil.copytree(EXAMPLE, package)
    await install(package, tmp_path / "site")
    with_packages(world, tmp_path / "site")
    await world.start()
    help_text = text_of((await world.answer_to(await world.say(world.sam, "/help"))).content)
    assert "/calendar" in help_text
    assert "which calendar is yours" in help_text
    asked = await world.say(world.sam, "/calendar")
    card = await world.fresh_card(world.sam, asked)
    assert "calendar:calendar:read" in text_of(card.content)
    status, page = await world.consent(world.sam, card)
    assert status == 200, page
    answer = await world.answer_to(asked)
    assert "Your calendar is called" in text_of(answer.content)
    (call,) = world.rows("SELECT status FROM deferred_calls WHERE command = 'calendar'")
    assert call["status"] == "succeeded"


def broken(folder: Path, source: str, entry: str = "odd = bot_odd:odd") -> None:
    """A package as an installer leaves it."""
    (folder / "bot_odd-1.0.dist-info").mkdir(parents=True)
    (folder / "bot_odd-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bot-odd\nVersion: 1.0\n"
    )
    (folder / "bot_odd-1.0.dist-info" / "entry_points.txt").write_text(f"[bot.commands]\n{entry}\n")
    (folder / "bot_odd.py").write_text(source)


COMMAND = """
from bot.core.commands import command
from bot.core.model import Reply, Words

@command({name!r}, summary=Words("x", "x"))
def odd(ask):
    return Reply(None)
    yield
"""

PLUGINS = {
    "cannot be imported": ("import nothing_of_that_name", "nothing_of_that_name"),
    "raises on import": ("raise RuntimeError('two\\nlines')", "two lines"),
    "lacks what it names": ("", "bot_odd:odd"),
    "is no command": ("odd = 7", "no command"),
    "takes a name of ours": (COMMAND.format(name="agenda"), "/agenda"),
    "takes a name that is built in": (COMMAND.format(name="help"), "/help"),
    "cannot be typed": (COMMAND.format(name="Two Words"), "cannot be typed"),
}


@pytest.mark.parametrize(("source", "words"), PLUGINS.values(), ids=PLUGINS)
async def test_a_package_whose_command_stops_the_start_is_named_in_one_line(
    world: World, tmp_path: Path, source: str, words: str
):
    broken(tmp_path / "site", source)
    with_packages(world, tmp_path / "site")
    code, _, err = await world.cli("run")
    assert code == 1
    assert err.count("\n") == 1, err
    assert "bot-odd" in err
    assert words in err
    assert "Traceback" not in err
