"""The bot as a child process: started, watched, stopped and killed; its last output is kept for whoever asks.

It is connected with the sandbox by environment variables only, so what is shown is the bot as it really runs.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import aiohttp

from bot.sandbox.json_http import Json

State = Literal["stopped", "starting", "ready", "failed"]

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
DRAIN_SECONDS = 12
READY_SECONDS = 60
DEFERRED_TTL = 86_400
KEPT_LINES = 400
SHOWN_LINES = 80


class BotProcess:
    """`python -m bot run`, restarted only on demand. `on_change` hears of every new state."""

    def __init__(
        self, environment: dict[str, str], directory: Path, on_change: Callable[["BotProcess"], None]
    ) -> None:
        self.environment = environment
        self.directory = directory
        self.deferred_ttl = DEFERRED_TTL
        self.ahead = 0.0
        """Seconds that its clock is ahead when it starts the next time."""
        self.state: State = "stopped"
        self.words = "The bot was not started yet."
        self.starts = 0
        self.log: deque[str] = deque(maxlen=KEPT_LINES)
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ending = ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def as_json(self) -> Json:
        return {
            "supervised": True,
            "running": self.running,
            "state": self.state,
            "words": self.words,
            "pid": self._process.pid if self._process is not None and self.running else None,
            "restarts": max(0, self.starts - 1),
            "deferred_ttl": self.deferred_ttl,
            "ahead": self.ahead,
            "log": list(self.log)[-SHOWN_LINES:],
        }

    async def start(self) -> None:
        """Starts it unless it runs; returns at once, `state` tells how it goes on."""
        if self.running:
            return
        self.starts += 1
        self._ending = ""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *(["bot.sandbox.shifted_clock", str(self.ahead)] if self.ahead else ["bot"]), "run",
            cwd=self.directory,
            env=self._child_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Its own session: Ctrl-C in the terminal reaches the sandbox alone, which lets the bot drain.
            start_new_session=True,
        )  # fmt: skip
        self._become("starting", "The bot is starting.")
        self._watcher = asyncio.create_task(self._watch(self._process))

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if it has not drained in time. Returns when it is gone."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._ending = "The bot was stopped."
        process.terminate()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
        await self._gone()

    async def kill(self) -> None:
        """SIGKILL: no drain, no farewell. Returns when it is gone."""
        if self._process is None or not self.running:
            return
        self._ending = "The bot was killed."
        self._process.kill()
        await self._gone()

    async def _gone(self) -> None:
        if self._watcher is not None:
            await self._watcher

    def _child_environment(self) -> dict[str, str]:
        """This process's environment, without settings of another bot, plus the sandbox's.

        Without proxies as well: everything that this bot talks to is on this machine.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LARK_", "BOT_")) and not name.upper().endswith("_PROXY")
        }
        # From a checkout that is not installed, `-m bot` must be found from another directory too.
        paths = [str(PACKAGE_ROOT), inherited.get("PYTHONPATH", "")]
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
            **self.environment,
            "BOT_DEFERRED_TTL": str(self.deferred_ttl),
        }

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Follows one life of the process, from its first line of output to its exit code."""
        reader = asyncio.create_task(self._read_output(process))
        readiness = asyncio.create_task(self._await_readiness())
        code = await process.wait()
        readiness.cancel()
        # Grandchildren may hold the pipe open; what they say later is nobody's concern.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await reader
        with contextlib.suppress(asyncio.CancelledError):
            await readiness
        if self._ending:
            self._become("stopped", self._ending)
        elif self.state == "starting":
            self._become("failed", f"The bot could not start ({_exit_words(code)}).")
        else:
            self._become("failed", f"The bot ended by itself ({_exit_words(code)}).")

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        with (self.directory / "bot.log").open("ab", buffering=0) as file:
            while line := await _next_line(process.stdout):
                file.write(line)
                self.log.append(line.decode(errors="replace").rstrip())

    async def _await_readiness(self) -> None:
        address = f"http://{self.environment['BOT_HOST']}:{self.environment['BOT_PORT']}/readyz"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            for _ in range(READY_SECONDS * 10):
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(address) as response:
                        if response.status == 200:
                            self._become("ready", "The bot is running.")
                            return
                await asyncio.sleep(0.1)
        self.words = f"The bot is still not ready after {READY_SECONDS} seconds."

    def _become(self, state: State, words: str) -> None:
        self.state, self.words = state, words
        self._on_change(self)


def _exit_words(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    """The next line of output; of one that is too long for the buffer, what there is."""
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line that was too long)\n"
