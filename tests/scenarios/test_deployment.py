"""How the bot is run and kept: secrets in files, signals, and backups."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bot.settings import SECRETS
from tests.bot_process import REPOSITORY

from .conftest import World

OPERATING = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")


# --- secrets in files -----------------------------------------------------------------------------------------


async def test_the_bot_serves_with_every_secret_in_a_file(world: World):
    folder = world.directory / "secrets"
    folder.mkdir(mode=0o700)
    written = world.environment()
    moved = [name for name in SECRETS if name in written]
    assert len(moved) == 5
    for name in moved:
        (folder / name.lower()).write_text(f"{written[name]}\n")
        (folder / name.lower()).chmod(0o600)
        world.settings |= {name: "", f"{name}_FILE": f"secrets/{name.lower()}"}
    await world.start()
    await world.authorized(world.sam)
    assert "warning" not in world.log_tail().lower()
    for command in ("db check", "status", "doctor"):
        code, told, errors = await world.cli(*command.split())
        assert code == 0, told + errors
    world.settings["LARK_APP_SECRET"] = "hush-hush"
    for command in ("run", "doctor", "revoke nobody"):
        code, told, errors = await world.cli(*command.split())
        assert code == (1 if command == "doctor" else 2)
        assert "LARK_APP_SECRET and LARK_APP_SECRET_FILE are both set." in told + errors
        assert "hush-hush" not in told + errors


# --- signals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signals", [1, 2])
async def test_sighup_drains_like_sigterm(world: World, signals: int):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    fault = await world.trouble({"path": "/open-apis/task"}, "timeout")
    await world.say(world.sam, '/call POST /open-apis/task/v2/tasks {"summary":"Once"}')
    await world.struck(fault)
    asked = await world.say(world.wei, "/help")
    await world.answer_to(asked)
    began = time.monotonic()
    assert world.process is not None
    for _ in range(signals):
        world.process.send_signal(signal.SIGHUP)
        await world.until(lambda: "stopping" in world.log_tail(), "the end")
    assert await asyncio.wait_for(world.process.wait(), 12) == 0
    assert time.monotonic() - began < 10
    rows = world.rows("SELECT status FROM deferred_calls WHERE command = 'call'")
    assert rows == [{"status": "outcome_unknown"}]


async def test_a_bot_started_with_nohup_serves_on(world: World):
    program = [sys.executable, "-m", "bot", "run"]
    with (world.directory / "bot.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "env",
            "--ignore-signal=HUP",
            *program,
            cwd=world.directory,
            env=world.environment(),
            stderr=log,
        )
    try:
        await world.until(lambda: "ready" in world.log_tail(), "the start", 30)
        process.send_signal(signal.SIGHUP)
        await world.answer_to(await world.say(world.sam, "/help"))
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 12) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# --- backups --------------------------------------------------------------------------------------------------


def documented(name: str) -> str:
    """The shell commands of docs/operating.md between these marks."""
    pattern = rf"<!-- {name} -->\n```sh\n(.*?)```\n<!-- /{name} -->"
    (commands,) = re.findall(pattern, OPERATING, flags=re.DOTALL)
    return str(commands)


async def typed(world: World, commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """An operator types these commands, in the directory of the bot."""
    folder = world.directory / "commands"
    folder.mkdir(exist_ok=True)
    (folder / "bot").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bot "$@"\n')
    (folder / "bot").chmod(0o755)
    return await asyncio.to_thread(
        subprocess.run,
        ["sh", "-e", "-c", commands],
        cwd=world.directory,
        env=world.environment() | {"PATH": f"{folder}:{os.environ['PATH']}"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def checked(file: Path) -> None:
    """The copy is sound, one file, and for its owner alone."""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert [each.name for each in file.parent.glob(f"{file.name}*")] == [file.name]


async def test_a_backup_while_the_bot_serves_is_sound(world: World):
    await world.start()
    await world.authorized(world.sam, "/task hello")  # what the commands here need
    asked: list[str] = []
    for number in range(4):
        said = [world.say(world.sam, command) for command in ("/tasks", "/me", f"/task number {number}")]
        backup = world.cli("db", "backup", f"copy-{number}.db")
        *ids, done = await asyncio.gather(*said, backup)
        asked += [str(each) for each in ids]
        code, told, errors = done
        assert (code, errors) == (0, "")
        assert told == f"Copied the database to copy-{number}.db.\n"
        checked(world.directory / f"copy-{number}.db")
    for message in asked:
        await world.until(lambda message=message: replied(world, message), "an answer", 30)
    code, told, errors = await world.cli("db", "backup", "copy-0.db")
    assert (code, told) == (1, "")
    assert errors == "bot: copy-0.db exists already. Choose another name, or remove it first.\n"
    code, told, errors = await world.cli("db", "backup", "folder/")
    assert code == 2
    assert len(errors.splitlines()) == 1


def replied(world: World, message: str) -> bool:
    return any(
        each.reply_to == message and each.sender_type == "bot" for each in world.tenant.messages.values()
    )


async def test_a_backup_of_postgresql_is_left_to_pg_dump(world: World):
    world.settings["BOT_DATABASE_URL"] = "postgresql://bot:hush-hush@127.0.0.1:1/bot"
    code, told, errors = await world.cli("db", "backup", "copy.db")
    assert (code, told) == (2, "")
    (line,) = errors.splitlines()
    assert "BOT_DATABASE_URL" in line
    assert "pg_dump" in line
    assert "hush-hush" not in line
    assert not (world.directory / "copy.db").exists()


async def test_a_restored_backup_serves_on(world: World):
    """The drill of docs/operating.md, with commands copied from there."""
    await world.start()
    await world.authorized(world.sam)
    waiting = await world.say(world.ada, "/tasks")
    card = await world.fresh_card(world.ada, waiting)
    await world.drawn()
    done = await typed(world, documented("backup"))
    assert done.returncode == 0, done.stderr
    (copy,) = world.directory.glob("backup-*.db")
    checked(copy)
    later = await world.say(world.wei, "/tasks")
    later_card = await world.fresh_card(world.wei, later)
    # Killed, so that the latest writes are in a file beside the database.
    await world.kill()
    assert world.database.with_name("bot.db-wal").exists()
    done = await typed(world, documented("restore"), BACKUP=copy.name)
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert (world.directory / "before-restore" / "bot.db-wal").exists()
    assert stat.S_IMODE(world.database.stat().st_mode) == 0o600
    await world.start()
    assert world.rows("SELECT user_key FROM deferred_calls WHERE message_id = ?", later) == []
    status, _, page = await world.get(world.link_of(later_card))
    assert status == 404
    assert "This link doesn" in page
    # What was granted before is still granted, and what waited then still waits.
    await world.answer_to(await world.say(world.sam, "/tasks"))
    await world.consent(world.ada, card)
    await world.answer_to(waiting)
    asked_again = await world.say(world.wei, "/tasks")
    await world.consent(world.wei, await world.fresh_card(world.wei, asked_again))
    await world.answer_to(asked_again)
