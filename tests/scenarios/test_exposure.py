"""What the bot leaves lying about on its machine: files that others can read, and its memory after a crash."""

import asyncio
import resource
import sys

import pytest

from tests.scenarios.world import World


async def test_exposed_files_are_warned_about_at_the_start(world: World) -> None:
    world.database.chmod(0o644)
    (world.directory / ".env").write_text("LARK_ENCRYPT_KEY=k\nLARK_JSSDK_URL=https://x.example/x.js\n")
    (world.directory / ".env").chmod(0o666)
    await world.start()
    log = (world.directory / "bot.log").read_text()
    assert "bot.db can be read by every user of this machine. Run `chmod o-rwx bot.db`." in log
    assert ".env can be changed by every user of this machine" in log
    assert "LARK_JSSDK_URL comes from .env while LARK_APP_SECRET comes from the environment" in log


async def test_a_database_that_only_its_owner_can_read_is_not_warned_about(world: World) -> None:
    world.database.chmod(0o600)
    await world.start()
    assert "every user of this machine" not in (world.directory / "bot.log").read_text()


async def test_what_was_written_last_is_warned_about_when_only_the_database_was_closed(world: World) -> None:
    """The mode of the file beside it is that of the database when it was made, and `chmod` changes one of the two."""
    world.database.chmod(0o644)
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help"))
    world.database.chmod(0o640)
    _, told, _ = await world.cli("doctor")
    assert "bot.db-wal can be read by every user of this machine. Run `chmod o-rwx bot.db-wal`." in told
    assert "chmod o-rwx bot.db`" not in told
    for end in ("-wal", "-shm"):
        world.database.with_name(f"bot.db{end}").chmod(0o640)
    _, told, _ = await world.cli("doctor")
    assert "every user of this machine" not in told


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux can tell the limits of another process")
async def test_a_crash_leaves_no_memory_on_the_disk(world: World) -> None:
    await world.start()
    assert world.process is not None
    assert resource.prlimit(world.process.pid, resource.RLIMIT_CORE) == (0, 0)


@pytest.mark.parametrize(
    "command", ["keys rotate", "users", "revoke nobody", "db check", "doctor", "explain nobody --json"]
)
async def test_a_crash_of_an_operators_command_leaves_no_memory_on_the_disk(
    world: World, command: str
) -> None:
    """Keys and tokens are in its memory as well."""
    program = "import resource, sys; from bot.cli import main; main(); print(resource.getrlimit(resource.RLIMIT_CORE))"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *command.split()),
        cwd=world.directory,
        env=world.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert told.decode().splitlines()[-1] == "(0, 0)"
