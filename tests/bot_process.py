"""Starts processes of the bot by forking a program that has already imported it and run it once.

Starting Python, importing the bot and compiling its SQL takes longer than most stories, and there are hundreds of them.
A forked process runs what `python -m bot` runs; it can be signalled, killed and waited for, and ends as Python does. The
program itself is `python -m tests.bot_process SOCKET`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
IMPORTED = (
    "alembic.command",
    "alembic.context",
    "asyncpg",
    "bot.app",
    "bot.cli",
    "bot.cli_output",
    "bot.store.postgresql",
    "bot.store.revision",
    "bot.store.sqlite",
    "sqlalchemy.dialects.postgresql.asyncpg",
)
"""Modules that the bot imports at some time."""


@dataclass(frozen=True)
class Call:
    """A function that returns an exit code, as `module:function`, and its arguments."""

    function: str
    given: tuple[Any, ...]


def bot(*arguments: str) -> Call:
    """`python -m bot` with these arguments."""
    return Call("bot.cli:main", (arguments,))


def strict_bot(*arguments: str) -> Call:
    """`python -W error -m bot` with these arguments."""
    return Call(f"{__name__}:run_strictly", (arguments,))


def run_strictly(arguments: Sequence[str]) -> int:
    from bot.cli import main as run

    warnings.simplefilter("error")
    code = run(arguments)
    gc.collect()  # reports what was left open
    return code


def later_bot(seconds: int) -> Call:
    """`python -m bot run` with its clocks ahead."""
    return Call(f"{__name__}:run_later", (seconds,))


def run_later(seconds: int) -> None:
    """Replace this process, because the clocks must be moved before the bot is imported."""
    os.execv(sys.executable, [sys.executable, "-m", "bot.sandbox.shifted_clock", str(seconds), "run"])


def bot_with_clock(file: Path) -> Call:
    """`python -m bot run` with its clocks ahead by the seconds in this file, whenever it reads them."""
    return Call(f"{__name__}:run_with_clock", (str(file),))


def run_with_clock(file: str) -> None:
    os.execv(sys.executable, [sys.executable, "-m", "tests.jumping_clock", file, "run"])


def run_bound_by_permissions(arguments: Sequence[str]) -> int:
    """`python -m bot` without root's right to ignore the permissions of files."""
    import ctypes

    from bot.cli import main as run

    version_3, bytes_of_capabilities = 0x20080522, (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    # All capabilities are given up: effective, permitted and inheritable are zero.
    if ctypes.CDLL(None, use_errno=True).capset(header, bytes_of_capabilities) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    return run(arguments)


def run_on_full_disk(arguments: Sequence[str], free: int) -> int:
    """`python -m bot` on a machine whose disks have only so many bytes left."""
    from bot.cli import main as run

    real = os.statvfs

    def statvfs(path: Any) -> os.statvfs_result:
        values = list(real(path))
        values[4] = free // values[1]  # f_bavail, in units of f_frsize
        return os.statvfs_result(values)

    os.statvfs = statvfs  # type: ignore[assignment]
    return run(arguments)


def forked_sandbox(address: str, directory: Path, mode: str, port: int, platform: str) -> Call:
    """`bot sandbox` with these options, whose bots are forked as well; `mode` is "platform" or "bot"."""
    return Call(f"{__name__}:run_sandbox", (address, str(directory), mode, port, platform))


def run_sandbox(address: str, directory: str, mode: str, port: int, platform: str) -> int:
    from bot.sandbox import main

    start_program = asyncio.create_subprocess_exec

    async def fork_bot(*program: Any, cwd: Path, env: dict[str, str], **options: Any) -> Any:
        if program != (sys.executable, "-m", "bot", "run"):  # it has a clock of its own
            return await start_program(*program, cwd=cwd, env=env, **options)
        stdout, output = os.pipe()
        process = Process(*give_order(address, order_of(bot("run"), cwd, env), output, output))
        os.close(output)
        process.stdout = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(process.stdout), os.fdopen(stdout, "rb")
        )
        return process

    asyncio.create_subprocess_exec = fork_bot  # type: ignore[assignment]
    return main.run(port, Path(directory), False, mode == "platform", platform)


class Signalled:
    """A process that has ended once its return code is known."""

    pid: int
    returncode: int | None = None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, but that was not read yet
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Process(Signalled):
    """A forked process, with what the tests need of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self.stdout: asyncio.StreamReader | None = None
        self._line = line
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(line, self._hear_the_end)

    def _hear_the_end(self) -> None:
        word = self._line.recv(4)
        self.returncode = int.from_bytes(word, signed=True) if word else -signal.SIGKILL
        asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class BlockingProcess(Signalled):
    """A forked process, with what synchronous tests need of `subprocess.Popen`."""

    def __init__(self, pid: int, line: socket.socket, stdout: int) -> None:
        self.pid = pid
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        self._line = line

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._line.settimeout(timeout)
            word = self._line.recv(4)
            self._line.close()
            self.returncode = int.from_bytes(word, signed=True) if word else -signal.SIGKILL
        return self.returncode


class Forker:
    """The forking program, as a test uses it. No forked process outlives it."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="bot-fork-", dir="/tmp"))
        self.address = str(self._directory / "socket")
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.bot_process", self.address],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._program.stdout is not None
        self._program.stdout.readline()

    def close(self) -> None:
        self._program.communicate()
        shutil.rmtree(self._directory)

    def start(
        self,
        call: Call,
        *,
        directory: Path,
        environment: Mapping[str, str],
        output: int,
    ) -> Process:
        """Fork a process that makes this call. `output` is an open file, also for errors."""
        return Process(*give_order(self.address, order_of(call, directory, environment), output, output))

    def start_blocking(
        self, call: Call, *, directory: Path, environment: Mapping[str, str]
    ) -> BlockingProcess:
        """Fork a process that makes this call and whose standard output is a pipe."""
        stdout, output = os.pipe()
        try:
            order = order_of(call, directory, environment)
            return BlockingProcess(*give_order(self.address, order, output, 2), stdout)
        finally:
            os.close(output)

    def run(
        self, call: Call, *, directory: Path, environment: Mapping[str, str], patience: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Fork a process that makes this call, wait for its end and return its output."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            order = order_of(call, directory, environment)
            pid, line = give_order(self.address, order, output.fileno(), errors.fileno())
            with line:
                line.settimeout(patience)
                try:
                    code = int.from_bytes(line.recv(4), signed=True)
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise
            for file in (output, errors):
                file.seek(0)
            return subprocess.CompletedProcess(
                call.given, code, output.read().decode(), errors.read().decode()
            )


def order_of(call: Call, directory: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    return {**asdict(call), "directory": str(directory), "environment": dict(environment)}


def give_order(address: str, order: dict[str, Any], *files: int) -> tuple[int, socket.socket]:
    """Return the id of the new process, and the socket on which its end is reported."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(address)
    socket.send_fds(line, [json.dumps(order).encode() + b"\n"], files)
    word = line.recv(4)
    if not word:  # would be read as process 0, and a signal to 0 reaches the tests themselves
        line.close()
        raise RuntimeError("The process could not be forked.")
    return int.from_bytes(word), line


# --- the program ----------------------------------------------------------------------------------------------


def main(address: str) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    from .compiled_statements import share_compiled_statements
    from .warm_bot import warm_up

    share_compiled_statements()
    warm_up()
    gc.collect()
    gc.freeze()
    with socket.create_server(address, family=socket.AF_UNIX) as listener:
        print("ready", flush=True)
        serve(listener)


def serve(listener: socket.socket) -> None:
    """Fork a process for each order, and report how each ends, which only their parent can learn."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    os.killpg(0, signal.SIGKILL)  # the tests have ended
                elif key.fileobj is listener:
                    line, _ = listener.accept()
                    process = carry_out(line, selector)
                    selector.register(os.pidfd_open(process), selectors.EVENT_READ, (process, line))
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    report_end(*key.data)


def carry_out(line: socket.socket, selector: selectors.BaseSelector) -> int:
    """Read an order and fork its process. Return the id of the process."""
    order, files, _, _ = socket.recv_fds(line, 1 << 16, 2)
    while not order.endswith(b"\n"):
        order += line.recv(1 << 16) or b"\n"  # an order that breaks off is no JSON
    process = os.fork()
    if process == 0:
        line.close()
        leave(selector)
        end(become(json.loads(order), *files))
    for file in files:
        os.close(file)
    line.sendall(process.to_bytes(4))
    return process


def leave(selector: selectors.BaseSelector) -> None:
    """In the new process: close what the others are served with."""
    for key in list(selector.get_map().values()):
        if key.data is not None:
            os.close(key.fd)
            key.data[1].close()
        elif key.fileobj is not sys.stdin:
            key.fileobj.close()  # type: ignore[union-attr]  # the listener
    selector.close()


def report_end(process: int, line: socket.socket) -> None:
    _, status = os.waitpid(process, 0)
    with line, contextlib.suppress(OSError):  # the test no longer listens
        line.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))


def become(order: dict[str, Any], output: int, errors: int) -> int:
    """In the new process: set it up as if it had been started like this, and make the call."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started with nohup
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    given = order["environment"].get("PYTHONPATH", "").split(os.pathsep)
    # What the program knows of its packages holds for the same path only.
    sys.path[:0] = [] if given == [str(REPOSITORY)] else given
    for file, standard in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
        os.dup2(file, standard)
        os.close(file)
    module, _, name = order["function"].partition(":")
    try:
        code: int = getattr(importlib.import_module(module), name)(*order["given"])
    except SystemExit as ended:  # by argparse
        code = int(ended.code or 0)
    return code


def end(code: int) -> NoReturn:
    """End as Python does, but destroy nothing that was there before the fork: that would copy most of the memory."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
