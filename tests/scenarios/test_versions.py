"""Programs and schemas of different versions: what starts, what does not and why, and what operators see of it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from bot.store.revision import REVISION
from tests.bot_process import bot
from tests.store.test_schema_differences import release

from .checkup import checkup
from .world import World

VERSION = version("bot-that-asks")


async def ends(world: World) -> list[str]:
    """Run `bot run` to its end; return what it says."""
    done = await asyncio.to_thread(
        world.forker.run, bot("run"), directory=world.directory, environment=world.environment()
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.splitlines()


# --- the version is visible --------------------------------------------------------------------


async def test_version_and_revision_can_be_seen_wherever_an_operator_looks(world: World):
    await world.start()
    await world.until(lambda: world.find("replicas", version=VERSION, revision=REVISION), "the heartbeat")
    ready = next(line for line in world.log_tail().splitlines() if " ready " in line)
    assert f"version={VERSION} revision={REVISION}" in ready
    code, told, _ = await world.cli("--version")
    assert (code, told) == (0, f"bot {VERSION} (schema {REVISION})\n")
    _, told, _ = await world.cli("status")
    assert VERSION in told
    assert REVISION in told
    _, told, _ = await world.cli("status", "--json")
    status = json.loads(told)
    assert [(each["version"], each["revision"]) for each in status["replicas"]] == [(VERSION, REVISION)]
    assert status["mixed_versions"] is False


@pytest.mark.parametrize(
    ("other", "revision"), [("'9.9.9'", "'9999'"), (f"'{VERSION}'", "'0021'"), ("NULL", "NULL")]
)
async def test_status_tells_that_replicas_of_different_versions_serve(
    world: World, other: str, revision: str
):
    await world.start()
    await world.until(lambda: world.find("replicas", version=VERSION), "the heartbeat")
    moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    world.change(
        "INSERT INTO replicas (id, host, started_at, heartbeat_at, key_ids, version, revision) "
        f"VALUES ('other', 'h', '{moment}', '{moment}', '[]', {other}, {revision})"
    )
    _, told, _ = await world.cli("status", "--json")
    assert json.loads(told)["mixed_versions"] is True
    _, told, _ = await world.cli("status")
    assert "mixed versions" in told


# --- a schema that differs ---------------------------------------------------------------------


@pytest.mark.parametrize("migrates", ["true", "false"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE grants DROP COLUMN narrowed", "column grants.narrowed is missing"),
        ("DROP VIEW who_is_waiting", "view who_is_waiting is missing"),
        ("DROP TRIGGER audit_log_is_kept", "trigger audit_log.audit_log_is_kept is missing"),
    ],
)
async def test_a_schema_that_differs_stops_the_start_with_one_line(
    world: World, change: str, named: str, migrates: str
):
    world.change(change)
    world.settings["BOT_AUTO_MIGRATE"] = migrates
    (line,) = await ends(world)
    assert named in line
    assert "A schema that differs" in line
    for command in (("db", "check"), ("db", "upgrade")):
        code, told, errors = await world.cli(*command)
        assert (code, told, len(errors.splitlines())) == (1, "", 1)
        assert named in errors
        assert errors.endswith("; then run `bot db upgrade`.\n")
    _, told, _ = await world.cli("doctor")
    assert named in told


@pytest.mark.parametrize(
    ("command", "column"),
    [
        ("users", "users.seen_at"),
        ("calls", "deferred_calls.needs"),
        ("requests", "authorization_requests.refused"),
    ],
)
async def test_a_command_that_fails_because_of_the_schema_says_that(world: World, command: str, column: str):
    world.change("DROP INDEX ix_users_app")
    code, _, errors = await world.cli(command)
    assert (code, errors) == (0, "")  # it does without
    table, _, name = column.partition(".")
    world.change(f"ALTER TABLE {table} RENAME COLUMN {name} TO other")
    code, told, errors = await world.cli(command)
    (line,) = errors.splitlines()
    assert (code, told) == (1, "")
    assert f"column {column} is missing" in line


# --- a newer schema ----------------------------------------------------------------------------


async def test_an_older_program_that_restarts_on_a_schema_that_only_grew_serves_and_says_so(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await world.start()
    await world.authorized(world.sam)
    url = world.environment()["BOT_DATABASE_URL"]
    adds = 'op.add_column("grants", sa.Column("badge", sa.Text, server_default="x", nullable=False))'
    await asyncio.to_thread(release, tmp_path / "later", monkeypatch, url, ("expands = True", adds))
    await world.answer_to(await world.say(world.sam, "/me"))
    for migrates in ("true", "false"):
        await world.stop()
        await world.start(BOT_AUTO_MIGRATE=migrates)
        await world.answer_to(await world.say(world.sam, "/tasks"))
        warned = [line for line in world.log_tail().splitlines() if "WARNING" in line]
        assert [line for line in warned if "9001" in line and REVISION in line]
    await world.authorized(world.wei)  # inserts where a column was added
    for command in (("db", "check"), ("db", "upgrade")):
        code, told, errors = await world.cli(*command)
        assert (code, errors) == (0, "")
        assert "9001" in told
        assert REVISION in told
    found = (await checkup(world)).says("database", "warn", "9001", REVISION)
    assert found["message"].endswith("so this program can use it")
    assert found["fix"] == "Replace the program with the newer one soon."  # said once


@pytest.mark.parametrize("marker", ["", "expands = False"])
async def test_an_older_program_stops_on_a_schema_that_did_more_than_grow(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: str
):
    url = world.environment()["BOT_DATABASE_URL"]
    await asyncio.to_thread(release, tmp_path / "later", monkeypatch, url, (marker, "pass"))
    for migrates in ("true", "false"):
        world.settings["BOT_AUTO_MIGRATE"] = migrates
        (line,) = await ends(world)
        assert "9001" in line
        assert REVISION in line
        assert "Run a program made for revision 9001 or later, or restore the backup" in line
