"""`bot run` with other parts or intervals than in production, in a process that a test forks."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.bot_process import Call

if TYPE_CHECKING:
    from bot.app import Refit
    from bot.store.transaction import Database, Work


def bot_with_times(lease: float | None, look_again: float | None) -> Call:
    return Call(f"{__name__}:run_with_times", (lease, look_again))


def run_with_times(lease: float | None, look_again: float | None) -> int:
    """Run the bot with this lease and poll interval in seconds, where they are given."""
    from bot.flows import worker

    worker.POLL_INTERVAL = look_again or worker.POLL_INTERVAL
    return run(lambda bot: replace(bot, lease=timedelta(seconds=lease)) if lease else bot)


def bot_with_files(limit: int) -> Call:
    return Call(f"{__name__}:run_with_files", (limit,))


def run_with_files(limit: int) -> int:
    """Run the bot as after `ulimit -n`."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return run(lambda bot: bot)


def rotation_that_dies(portions: int) -> Call:
    return Call(f"{__name__}:rotate_and_die", (portions,))


def rotate_and_die(portions: int) -> int:
    """Run `bot keys rotate`, killed when it has written this many portions."""
    from bot import cli
    from bot.store import key_rotation

    rotate = key_rotation.rotate
    key_rotation.rotate = lambda database: rotate(Dying(database, portions))  # type: ignore[arg-type, assignment]
    return cli.main(["keys", "rotate"])


class Dying:
    """A database that kills the process after a number of writes."""

    def __init__(self, database: Database, writes: int) -> None:
        self._database, self._left = database, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, work: Work[Any]) -> Any:
        result = await self._database.write(work)
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def run(refit: Refit) -> int:
    """Do what `bot run` does, with other parts."""
    from bot import app, logs, settings

    loaded = settings.load(settings.environment())
    logs.configure(loaded.log_format, loaded.log_level)
    return app.run(loaded, refit)
