"""What the bot leaves lying about on its machine: files that others can read, and its memory after a crash."""

import resource

import pytest

from tests.scenarios.conftest import World


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


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux can tell the limits of another process")
async def test_a_crash_leaves_no_memory_on_the_disk(world: World) -> None:
    await world.start()
    assert world.process is not None
    assert resource.prlimit(world.process.pid, resource.RLIMIT_CORE) == (0, 0)
