"""Commands that another package brings: installed, asked for, consented to, answered; or named when they are broken."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.bot_process import REPOSITORY, bot

from .card_content import text_of
from .world import World

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
    assert world.statuses("deferred_calls", command="calendar") == ["succeeded"]


def broken(folder: Path, source: str, entry: str = "odd = bot_odd:odd") -> None:
    """A package as an installer leaves it."""
    (folder / "bot_odd-1.0.dist-info").mkdir(parents=True)
    (folder / "bot_odd-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bot-odd\nVersion: 1.0\n"
    )
    (folder / "bot_odd-1.0.dist-info" / "entry_points.txt").write_text(f"[bot.commands]\n{entry}\n")
    (folder / "bot_odd.py").write_text(source)


COMMAND = """
from bot.commands import Reply, Words, command

@command({name!r}, summary=Words("x", "x"))
def odd(ask):
    return Reply(None)
    yield
"""


def declared(line: str, function: str = "def odd(ask):\n    return Reply(None)\n    yield") -> str:
    """A package with a command that is declared like this."""
    return f"""
from bot.commands import ApiCall, ReadGrant, Reply, RequireScopes, Words, all_of, any_of, command

{line}
{function}
"""


FINE = '@command("odd", summary=Words("x", "x"))'

PLUGINS = {
    "has a summary that is text": (declared('@command("odd", summary="text")'), "summary of /odd"),
    "has a summary of something else": (
        declared('@command("odd", summary=Words(1, 2))'),
        "summary of /odd is not Words",
    ),
    "needs text": (declared('@command("odd", summary=Words("", ""), needs="a:b")'), "any_of('a:b')"),
    "needs nothing of any": (
        declared('@command("odd", summary=Words("", ""), needs=any_of())'),
        "any_of needs",
    ),
    "needs a bare tuple": (
        declared('@command("odd", summary=Words("", ""), needs=("a:b", "c:d"))'),
        "needs of /odd",
    ),
    "needs what is no scope": (
        declared('@command("odd", summary=Words("", ""), needs=all_of("a:b", "two words"))'),
        "'two words' is not the name of a scope",
    ),
    "needs a scope of another platform": (
        declared('@command("odd", summary=Words("", ""), needs=any_of("Todo.Todo.Read"))'),
        "'Todo.Todo.Read' is not the name of a scope of lark",
    ),
    "is for a platform that is none": (
        declared('@command("odd", summary=Words("", ""), platform="larck")'),
        "'larck', which is unknown",
    ),
    "names its platform by a number": (
        declared('@command("odd", summary=Words("", ""), platform=5)'),
        "platform of /odd is not a string",
    ),
    "is a plain function": (
        declared(FINE, "def odd(ask):\n    return Reply(None)"),
        "not a generator function",
    ),
    "is an async function": (
        declared(FINE, "async def odd(ask):\n    return Reply(None)"),
        "an async function",
    ),
    "is an async generator": (
        declared(FINE, "async def odd(ask):\n    yield Reply(None)"),
        "an async function",
    ),
    "takes no argument": (declared(FINE, "def odd():\n    yield"), "does not take one argument"),
    "is private by a word": (
        declared('@command("odd", summary=Words("", ""), private="yes")'),
        "private of /odd is not a bool",
    ),
    "keeps by a number": (declared('@command("odd", summary=Words("", ""), keep=5)'), "keep of /odd"),
    "ends the process on import": ("raise SystemExit(0)", "SystemExit"),
    "is a class": (declared(FINE, "class odd:\n    pass"), "not a generator function"),
    "cannot be imported": ("import nothing_of_that_name", "nothing_of_that_name"),
    "raises on import": ("raise RuntimeError('two\\nlines')", "two lines"),
    "lacks what it names": ("", "bot_odd:odd"),
    "is not a command": ("odd = 7", "not a command"),
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
    assert len([line for line in err.splitlines() if " DEBUG " not in line]) == 1, err
    assert "bot-odd" in err
    assert words in err
    assert "Traceback" not in err
    code, out, _ = await world.cli("doctor")
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("FAIL  commands")]
    assert "bot-odd" in line
    assert words in line


MISTAKES = {
    "yields a dict": ("yield {'private': 'words'}", "yielded a dict, which is not a step"),
    "yields a reply": ("yield Reply(None)", "yielded a Reply, which is not a step"),
    "yields nothing": ("yield", "yielded None"),
    "returns nothing": ("yield READ", "returned None instead of a Reply"),
    "returns text": ("yield READ\n    return 'private words'", "returned a str instead of a Reply"),
    "never ends": ("while True:\n        yield READ", "made more than 200 steps"),
    "ends the process": ("yield READ\n    raise SystemExit(0)", "raised SystemExit"),
    "cancels itself": (
        "import asyncio\n    yield READ\n    raise asyncio.CancelledError",
        "raised CancelledError",
    ),
    "will not end": (
        "try:\n        yield {}\n    except GeneratorExit:\n        yield {}",
        "error=RuntimeError",
    ),
    "has a query of numbers": (
        "yield ApiCall('GET', '/open-apis/x', {'page_size': 10})",
        "query does not map strings to strings",
    ),
    "has a path of bytes": ("yield ApiCall('GET', b'/open-apis/x')", "path does not start with a slash"),
    "has a body that is no JSON": (
        "yield ApiCall('POST', '/open-apis/x', body={1, 2})",
        "body is not JSON",
    ),
    "goes on computing": ("while True:\n        pass\n    yield", "without a step"),
    "goes on when it is interrupted": (
        "while True:\n        try:\n            pass\n        except Exception:\n            pass\n    yield",
        "without a step",
    ),
    "waits again when it is interrupted": (
        "import time\n    try:\n        time.sleep(60)\n    except Exception:\n        time.sleep(60)\n    yield",
        "without a step",
    ),
    "raises an error of the bot's own": (
        "from bot.core.errors import LeaseLost\n    yield READ\n    raise LeaseLost",
        "raised LeaseLost",
    ),
    "cannot open a secret": (
        "from bot.core.errors import CannotOpenSecret\n    yield READ\n    raise CannotOpenSecret('private words')",
        "raised CannotOpenSecret",
    ),
    "has no method": ("yield ApiCall('', '/open-apis/x', read=True)", "not an HTTP method"),
    "has two words for a method": ("yield ApiCall('GET IT', '/open-apis/x')", "not an HTTP method"),
    "quotes what it was sent": ("yield READ\n    raise ValueError('private words')", "error=ValueError"),
    "wants scopes that are text": (
        "yield RequireScopes('a:b')",
        "The needs of /odd: a requirement is not a string",
    ),
    "has needs that go wrong": (
        "yield ApiCall('GET', '/open-apis/task/v2/tasks')\n    return Reply(None)",
        "The needs of /odd: any_of needs",
    ),
    "has a reply that cannot be drawn": ("yield READ\n    return Reply(title=7, lines=7)", "call crashed"),
}


@pytest.mark.parametrize(("body", "words"), MISTAKES.values(), ids=MISTAKES)
async def test_a_call_of_a_command_that_goes_wrong_fails_at_once_and_holds_up_nothing(
    world: World, tmp_path: Path, body: str, words: str
):
    needs = ", needs=lambda arguments: any_of()" if "needs" in words else ""
    line = f'READ = ReadGrant()\n\n@command("odd", summary=Words("x", "x"){needs})'
    broken(tmp_path / "site", declared(line, f"def odd(ask):\n    {body}"))
    with_packages(world, tmp_path / "site")
    await world.start()
    if needs:
        await world.authorized(world.sam)
    asked = await world.say(world.sam, "/odd")
    answer = await world.answer_to(asked, "/odd")
    assert "private" not in text_of(answer.content)
    await world.answer_to(await world.say(world.sam, "/help"))
    call = world.only("deferred_calls", command="odd")
    assert (call["status"], call["outcome"], call["claim"]) == ("failed", "crashed", 1)
    log = (world.directory / "bot.log").read_text()
    assert words in log
    assert "odd" in log
    assert "private" not in log


FOR_EVER = "[None for _ in iter(int, 1)]"


@pytest.mark.parametrize("option", ["keep=lambda text, mentions", "needs=lambda arguments"])
async def test_what_is_computed_beside_the_steps_is_bounded_too(world: World, tmp_path: Path, option: str):
    line = f'@command("odd", summary=Words("x", "x"), {option}: {FOR_EVER})'
    broken(tmp_path / "site", declared(line, "def odd(ask):\n    yield ApiCall('GET', '/open-apis/x')"))
    with_packages(world, tmp_path / "site")
    await world.start()
    asked = await world.say(world.sam, "/odd")
    await world.answer_to(await world.say(world.sam, "/help"))
    if option.startswith("needs"):
        await world.answer_to(asked, "/odd")
    else:
        await world.until(lambda: world.count("deferred_calls", command="odd"), "the call")
    log = (world.directory / "bot.log").read_text()
    assert "without a step" in log or "keep of a command failed" in log


@pytest.mark.parametrize(
    "body",
    [
        "any(iter(int, 1))",
        "import time\n    while True:\n        try:\n            time.sleep(9)\n        except:\n            pass",
    ],
    ids=["loops inside of one function", "sleeps and catches everything"],
)
async def test_a_process_that_a_command_stops_for_good_ends_and_says_where(
    world: World, tmp_path: Path, body: str
):
    """A supervisor restarts it; a call that keeps doing this fails for good."""
    broken(tmp_path / "site", declared(FINE, f"def odd(ask):\n    {body}\n    yield"))
    with_packages(world, tmp_path / "site")
    await world.start()
    await world.say(world.sam, "/odd")
    assert world.process is not None
    assert await asyncio.wait_for(world.process.wait(), 120) != 0
    log = (world.directory / "bot.log").read_text()
    assert "bot_odd.py" in log
    assert " in odd" in log
    world.process = world.fork(bot("run"))
    await world.until(
        lambda: world.rows("SELECT 1 FROM deferred_calls WHERE takeovers > 0"), "the next claim"
    )


@pytest.mark.parametrize("keep", ["lambda text, mentions: 1 / 0", "lambda text, mentions: None"])
async def test_a_keep_that_fails_loses_no_message(world: World, tmp_path: Path, keep: str):
    source = declared(
        f'@command("odd", summary=Words("x", "x"), keep={keep})',
        "def odd(ask):\n    return Reply(Words('Heard', 'Heard'))\n    yield",
    )
    broken(tmp_path / "site", source)
    with_packages(world, tmp_path / "site")
    await world.start()
    await world.answer_to(await world.say(world.sam, "/odd private words"), "Heard")
    log = (world.directory / "bot.log").read_text()
    assert "keep of a command" in log
    assert "private" not in log


async def test_a_call_that_may_change_something_is_never_sent_twice_unless_it_says_so(
    world: World, tmp_path: Path
):
    """The answer is lost after the platform has acted: a POST is told as unknown, a read is tried again."""
    source = """
from bot.commands import ApiCall, Reply, Words, command


def odd(name, **more):
    @command(name, summary=Words("x", "x"))
    def run(ask):
        yield ApiCall("POST", "/open-apis/calendar/v4/calendars/primary", **more)
        return Reply(Words("Done", "Done"))

    return run


change, look = odd("change"), odd("look", read=True)
"""
    broken(tmp_path / "site", source, "change = bot_odd:change\nlook = bot_odd:look")
    with_packages(world, tmp_path / "site")
    await world.start()
    await world.authorized(world.sam, "/agenda")
    for command, sent, end in (("/change", 1, "outcome_unknown"), ("/look", 2, "succeeded")):
        before = len(world.requests("/calendars/primary", "POST"))
        await world.trouble({"path": "/open-apis/calendar/v4/calendars/primary"}, "drop_after", times=1)
        await world.answer_to(await world.say(world.sam, command))
        assert world.statuses("deferred_calls", command=command[1:]) == [end]
        assert len(world.requests("/calendars/primary", "POST")) - before == sent


async def test_the_commands_of_the_documentation_work(world: World, tmp_path: Path):
    """A write with its key, whose answer is lost; a list; and scopes by argument."""
    blocks = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "docs" / "commands.md").read_text(), flags=re.DOTALL
    )
    names = re.findall(r'@command\(\s*"(\w+)"', "\n".join(blocks))
    assert names == ["block", "files", "title"]
    broken(tmp_path, "\n".join(blocks), "\n".join(f"{name} = bot_odd:{name}" for name in names))
    with_packages(world, tmp_path)
    await world.start()
    asked = await world.say(world.sam, "/block Write the report")
    card = await world.fresh_card(world.sam, asked)
    lost = await world.trouble(
        {"path": "/open-apis/calendar/v4/calendars/*/events", "method": "POST"}, "drop_after", times=1
    )
    await world.consent(world.sam, card)
    assert "Blocked" in text_of((await world.answer_to(asked, "Blocked", patience=40)).content)
    assert lost.struck == 1
    events = [event for each in world.tenant.work.events.values() for event in each]
    assert [event["summary"] for event in events].count("Write the report") == 1
    asked = await world.say(world.sam, "/files")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked, "Your files")
    asked = await world.say(world.sam, "/title https://example.feishu.cn/wiki/wikcnAbc")
    card = await world.fresh_card(world.sam, asked)
    assert all(scope in text_of(card.content) for scope in ("docx:document:readonly", "wiki:wiki:readonly"))
