"""The bot as a child process: start, watch, stop, kill, and its last lines of output.

The sandbox configures it by environment variables only, so it is the bot as it runs in production.
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
STOP_TIMEOUT = 12
READY_TIMEOUT = 60
DEFERRED_TTL = 86_400
MAX_LOG_LINES = 400
SHOWN_LOG_LINES = 80


class BotProcess:
    """`python -m bot run`, restarted on demand only. Calls `on_change` with itself after every change of state."""

    def __init__(
        self, environment: dict[str, str], directory: Path, on_change: Callable[["BotProcess"], None]
    ) -> None:
        self.environment = environment
        self.directory = directory
        self.deferred_ttl = DEFERRED_TTL
        self.ahead = 0.0
        """How many seconds the bot's clock is ahead from its next start."""
        self.state: State = "stopped"
        self.message = "The bot has not been started yet."
        self.starts = 0
        self.log: deque[str] = deque(maxlen=MAX_LOG_LINES)
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
            "words": self.message,
            "pid": self._process.pid if self._process is not None and self.running else None,
            "restarts": max(0, self.starts - 1),
            "deferred_ttl": self.deferred_ttl,
            "ahead": self.ahead,
            "log": list(self.log)[-SHOWN_LOG_LINES:],
        }

    async def start(self) -> None:
        """Start the bot unless it is running. Returns at once; `state` shows the progress."""
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
            # In a separate session, Ctrl-C in the terminal reaches only the sandbox, which then lets the bot drain.
            start_new_session=True,
        )  # fmt: skip
        self._set_state("starting", "The bot is starting.")
        self._watcher = asyncio.create_task(self._watch(self._process))

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after `STOP_TIMEOUT`. Returns after the process has ended."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._ending = "The bot was stopped."
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
        await self._wait_for_watcher()

    async def kill(self) -> None:
        """Send SIGKILL. Returns after the process has ended."""
        if self._process is None or not self.running:
            return
        self._ending = "The bot was killed."
        self._process.kill()
        await self._wait_for_watcher()

    async def _wait_for_watcher(self) -> None:
        if self._watcher is not None:
            await self._watcher

    def _child_environment(self) -> dict[str, str]:
        """Return this process's environment with the sandbox's settings in place of any other bot's.

        Proxy variables are removed: everything that this bot talks to is on this machine.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LARK_", "DINGTALK_", "BOT_")) and not name.upper().endswith("_PROXY")
        }
        # The bot runs in the data directory, where `-m bot` does not find a checkout that is not installed.
        paths = [str(PACKAGE_ROOT), inherited.get("PYTHONPATH", "")]
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
            **self.environment,
            "BOT_DEFERRED_TTL": str(self.deferred_ttl),
        }

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Follow one run of the process until it exits, and set the final state."""
        reader = asyncio.create_task(self._read_output(process))
        readiness = asyncio.create_task(self._await_readiness())
        code = await process.wait()
        readiness.cancel()
        # Grandchildren may keep the pipe open; their later output is dropped.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await reader
        with contextlib.suppress(asyncio.CancelledError):
            await readiness
        if self._ending:
            self._set_state("stopped", self._ending)
        elif self.state == "starting":
            self._set_state("failed", f"The bot could not start ({_exit_reason(code)}).")
        else:
            self._set_state("failed", f"The bot ended by itself ({_exit_reason(code)}).")

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
            for _ in range(READY_TIMEOUT * 10):
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(address) as response:
                        if response.status == 200:
                            self._set_state("ready", "The bot is running.")
                            return
                await asyncio.sleep(0.1)
        self.message = f"The bot is still not ready after {READY_TIMEOUT} seconds."

    def _set_state(self, state: State, message: str) -> None:
        self.state, self.message = state, message
        self._on_change(self)


def _exit_reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    """Return the next line of output, or a placeholder for a line that exceeds the buffer."""
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line that was too long)\n"
