"""PgBouncer between the bot and PostgreSQL: sessions are enough, anything less is refused in one line."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import make_url, text

from bot.core.errors import ConfigurationError
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import check_schema, open_database, upgrade
from tests.debian import program
from tests.ports import free_port

from .world import World

CONFIGURATION = """\
[databases]
{name} = host={host} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
{options}
"""


@asynccontextmanager
async def pgbouncer(url: str, folder: Path, mode: str, options: str = "") -> AsyncIterator[str]:
    """Run PgBouncer in front of a database, and yield the URL through it."""
    parsed, port = make_url(url), free_port()
    source = CONFIGURATION.format(
        name=parsed.database, host=parsed.query["host"], port=port, mode=mode, options=options
    )
    (folder / "pgbouncer.ini").write_text(source)
    folder.chmod(0o755)
    # It does not run as root. The user of the server may use its socket.
    as_other = ["-u", Path(str(parsed.query["host"])).owner()] if os.getuid() == 0 else []
    with (folder / "pgbouncer.log").open("wb") as log:
        command = [program("pgbouncer"), *as_other, str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    through = f"postgresql+asyncpg://postgres@127.0.0.1:{port}/{parsed.database}"
    try:
        while True:
            assert process.poll() is None, (folder / "pgbouncer.log").read_text()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            break
        yield through
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@pytest.fixture
def pool_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that another user can read, as PgBouncer does not run as root."""
    folder = tmp_path_factory.mktemp("pool")
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(each.stat().st_mode | 0o055)
    return folder


OPTIONS = ["", "server_round_robin = 1", "min_pool_size = 5", "default_pool_size = 1"]


@pytest.mark.parametrize("options", OPTIONS)
async def test_transaction_pooling_is_refused(postgresql_url: str, pool_folder: Path, options: str) -> None:
    async with pgbouncer(postgresql_url, pool_folder, "transaction", options) as url:
        attempts: list[Callable[[str], object]] = [upgrade, check_schema]
        for attempt in attempts:
            with pytest.raises(ConfigurationError, match="connection pooler") as found:
                await asyncio.to_thread(attempt, url)
            assert "pool_mode = session" in str(found.value)
            assert len(found.value.problems) == 1
        with pytest.raises(ConfigurationError, match="connection pooler"):
            await open_database(url, Keyring([new_key()]))


async def test_statement_pooling_is_refused(postgresql_url: str, pool_folder: Path) -> None:
    async with pgbouncer(postgresql_url, pool_folder, "statement") as url:
        with pytest.raises(ConfigurationError, match="connection pooler"):
            await open_database(url, Keyring([new_key()]))


async def test_transaction_pooling_is_refused_while_others_use_the_pool(
    postgresql_url: str, pool_folder: Path
) -> None:
    async with pgbouncer(postgresql_url, pool_folder, "transaction") as url:
        plain = url.replace("+asyncpg", "")
        others = [await asyncpg.connect(plain, statement_cache_size=0) for _ in range(6)]
        stop = asyncio.Event()

        async def use(connection: asyncpg.Connection) -> None:
            while not stop.is_set():
                await connection.execute("BEGIN; SELECT pg_sleep(0.002); COMMIT")

        tasks = [asyncio.create_task(use(each)) for each in others]
        for _ in range(5):
            with pytest.raises(ConfigurationError, match="connection pooler"):
                await open_database(url, Keyring([new_key()]))
        stop.set()
        await asyncio.gather(*tasks)
        for each in others:
            await each.close()


@pytest.mark.parametrize("options", ["", "server_round_robin = 1", "min_pool_size = 5"])
async def test_session_pooling_works(postgresql_url: str, pool_folder: Path, options: str) -> None:
    async with pgbouncer(postgresql_url, pool_folder, "session", options) as url:
        await asyncio.to_thread(upgrade, url)
        keyring = Keyring([new_key()])
        for _ in range(3):
            database = await open_database(url, keyring)
            assert await database.read(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
            await database.close()


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_bot_run_behind_pgbouncer(
    world: World, postgresql_url: str, pool_folder: Path, mode: str
) -> None:
    async with pgbouncer(postgresql_url, pool_folder, mode) as url:
        world.settings["BOT_DATABASE_URL"] = url
        if mode == "session":
            await world.start()
            await world.authorized(world.sam)
            assert await world.stop() == 0
            return
        for command in (("run",), ("db", "check"), ("status",), ("keys", "rotate")):
            code, told, errors = await world.cli(*command)
            (line,) = errors.splitlines()
            assert (code, told) == (2, "")
            assert "BOT_DATABASE_URL" in line
            assert "pooler" in line
