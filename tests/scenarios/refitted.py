"""`bot run` with other parts or times than in production, as a process that a test forks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.forking import Call

if TYPE_CHECKING:
    from bot.app import Refit


def bot_with_times(lease: float | None, look_again: float | None) -> Call:
    return Call(f"{__name__}:run_with_times", (lease, look_again))


def run_with_times(lease: float | None, look_again: float | None) -> int:
    """So many seconds of a lease, and between two looks for work, where they are given."""
    from bot.flows import worker

    worker.LOOK_AGAIN = look_again or worker.LOOK_AGAIN
    return run(lambda bot: replace(bot, lease=timedelta(seconds=lease)) if lease else bot)


def run(refit: Refit) -> int:
    """What `bot run` does, with other parts."""
    from bot import app, logs, settings

    loaded = settings.load(settings.environment())
    logs.configure(loaded.log_format, loaded.log_level)
    return app.run(loaded, refit)
