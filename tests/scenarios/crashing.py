"""The real bot, made to die at a chosen point. A program of its own: `python -m tests.scenarios.crashing`.

A point is the moment before, or after, one of the flows' waits for the database or for the platform: the process can
be gone at each of them, and nowhere else does it make a difference. "After" a call of the platform means that the
platform has done its part and the bot never saw the answer.

The program imports the bot once and then forks it as often as a line on standard input tells it to, because a suite
that starts the bot a thousand times would do little else. What is forked is what `bot run` runs.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

LEASE = timedelta(seconds=2)
"""Instead of 20 seconds, so that what was interrupted is taken over soon."""

POLLING = {
    ("flows.administrators.look_again", "read"),
    ("flows.administrators.show_due_cards", "write"),
    ("flows.authorization.expire_overdue", "write"),
    ("flows.authorization.revoke_due", "write"),
    ("flows.cards.show_due_cards", "write"),
    ("flows.consent.finish_stranded", "write"),
    ("flows.delivery.deliver_due", "write"),
    ("flows.delivery.send_interim_words", "read"),
    ("flows.device.go_on_due", "write"),
    ("flows.tokens.renew_ahead", "write_one"),
    ("flows.worker.Worker.claim", "write_one"),
    ("flows.worker.Worker.keep_lease", "write"),
    ("flows.worker.heartbeat", "write"),
    ("flows.worker.prune", "write"),
}
"""Who looks again and again. To look, and to find nothing, are idle points: the same however often they are passed."""

IDLE = " idle"


@dataclass
class Points:
    """What was passed is written down, and where `die_at` says so nothing more happens."""

    record: int
    die_at: str
    passed: Counter[str] = field(default_factory=Counter)

    def passing(self, name: str) -> None:
        self.passed[name] += 1
        point = f"{name}#{self.passed[name]}"
        os.write(self.record, f"{point}\n".encode())
        if point == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """Stands for the database or the platform: does what they do, with a point before and after each wait."""

    def __init__(self, whole: Any, points: Points) -> None:
        self._whole, self._points = whole, points

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._whole, name)
        if name == "close" or not inspect.iscoroutinefunction(found):
            return found
        return functools.partial(self._wait, name, found)

    def _wait(self, name: str, wait: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        caller = sys._getframe(1)
        if caller.f_code.co_qualname == "Bot.insist" and caller.f_back is not None:
            caller = caller.f_back
        where = f"{caller.f_globals['__name__'].removeprefix('bot.')}.{caller.f_code.co_qualname}"
        if where.startswith("web.health"):
            return wait(*args, **options)
        return self._watched(f"{where}:{name}", (where, name) in POLLING, wait(*args, **options))

    async def _watched(self, name: str, polling: bool, waiting: Awaitable[Any]) -> Any:
        self._points.passing(f"{name}:before{IDLE if polling else ''}")
        result = await waiting
        self._points.passing(f"{name}:after{IDLE if polling and not result else ''}")
        return result


def refitted(points: Points, lease: timedelta) -> Callable[[Any], Any]:
    return lambda bot: replace(
        bot, database=Watched(bot.database, points), platform=Watched(bot.platform, points), lease=lease
    )


def run(order: dict[str, Any]) -> int:
    """What `bot run` does, with points."""
    from bot import app, logs, settings

    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    output = os.open("bot.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    record = os.open(order["record"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    loaded = settings.load(settings.environment())
    logs.configure(loaded.log_format, loaded.log_level)
    lease = timedelta(seconds=order["lease"])
    try:
        return app.run(loaded, refitted(Points(record, order["die_at"]), lease))
    except Exception:
        logging.getLogger("bot").critical("stopped by an error", exc_info=True)
        return 1


def main() -> None:
    import bot.app
    import bot.store.postgresql
    import bot.store.revision
    import bot.store.sqlite  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is gone at once, and not a zombie
    for order in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = run(json.loads(order))
            logging.shutdown()
            os._exit(code)
        os.write(1, f"{child}\n".encode())
    os.killpg(0, signal.SIGKILL)  # the test is over, or gone: no bot outlives it


class Starter:
    """The program, seen from a test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    async def begin(cls) -> Starter:
        repository = Path(__file__).resolve().parents[2]
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.scenarios.crashing",
                cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)},
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
            )
        )  # fmt: skip

    async def start(
        self,
        environment: dict[str, str],
        directory: Path,
        *,
        die_at: str = "",
        record: str = os.devnull,
        lease: timedelta = LEASE,
    ) -> int:
        """Starts a bot; returns the id of its process."""
        order = {
            "environment": environment,
            "directory": str(directory),
            "die_at": die_at,
            "record": record,
            "lease": lease.total_seconds(),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            return int(await self._process.stdout.readline())

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
