"""Tells a story to the bot in this process, so that forked ones start with what it compiled: SQL and templates.

What the bot knows is in objects that end with it. What stays are modules that it imports late, and caches that do not
depend on who fills them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from bot import app, cli, settings
from bot.store.open_database import upgrade

from .bot_process import Call, Forker, Process


class InThisProcess:
    """Stands for a forker: what it starts is a task."""

    def start(self, call: Call, *, directory: Path, environment: Mapping[str, str], output: int) -> Process:
        loaded = settings.load(environment)
        return cast(Process, Running(asyncio.create_task(app.serve(loaded, app.unchanged, lambda: None))))


class Running:
    """Stands for a process."""

    returncode = None

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def send_signal(self, number: int) -> None:
        os.kill(os.getpid(), number)

    async def wait(self) -> int:
        await self._task
        return 0


def warm_up() -> None:
    """Run a bot on SQLite from its start to its end, twice: it prepares a statement when it executes it again."""
    thresholds = gc.get_threshold()
    logging.disable()
    cli.parser()
    directory = Path(tempfile.mkdtemp(prefix="bot-warm-", dir="/tmp"))
    template = directory / "template.db"
    try:
        upgrade(f"sqlite+aiosqlite:///{template}")
        for name in ("first", "second"):
            (directory / name).mkdir()
            asyncio.run(tell(directory / name, template))
    finally:
        shutil.rmtree(directory)
        logging.disable(logging.NOTSET)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def tell(directory: Path, template: Path) -> None:
    from .scenarios.world import migrated_world_in

    async with migrated_world_in(directory, cast(Forker, InThisProcess()), template) as world:
        try:
            await world.start()
            await world.authorized(world.sam)
            await world.authorized(world.sam, "/task first")
            await world.answer_to(await world.say(world.sam, "/me"))
            await world.answer_to(await world.say(world.sam, "/revoke"))
            await world.control("tokens/expire", person=world.sam.open_id, which="access")
            asked = await world.say(world.sam, "/agenda", world.group)
            await world.not_now(world.sam, await world.fresh_card(world.sam, asked))
            await world.get(world.public)
        finally:
            running: Any = world.process
            running.send_signal(signal.SIGTERM)
            await running.wait()
            world.process = None
            world.processes.clear()
