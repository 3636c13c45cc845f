"""`bot sandbox`: the emulated platform and the chat page in this process, the real bot as a child process."""

import asyncio
import base64
import contextlib
import secrets
import signal
import socket
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import web

from bot.sandbox.bot_process import BotProcess
from bot.sandbox.bot_proxy import build_bot_proxy
from bot.sandbox.dingtalk.emulator import DingTalkEmulator
from bot.sandbox.lark.emulator import LarkEmulator
from bot.sandbox.page.server import add_chat_page
from bot.sandbox.persistence import saved_continuously
from bot.sandbox.platform import Emulator

HOST = "127.0.0.1"
DEFAULT_PORT = 8700
EMULATORS: dict[str, Callable[[], Emulator]] = {"lark": LarkEmulator, "dingtalk": DingTalkEmulator}


@dataclass(frozen=True)
class Options:
    """How `bot sandbox` was called. `save_state`: the data directory is the user's and outlives this process."""

    save_state: bool
    open_browser: bool
    platform_only: bool


@dataclass(frozen=True)
class Sandbox:
    """What one start has: the emulator, its data directory, and the ports of the last start there, by name."""

    emulator: Emulator
    directory: Path
    last_ports: dict[str, int]
    options: Options

    @property
    def database(self) -> Path:
        return self.directory / "bot.db"


def run(
    port: int | None,
    data_dir: Path | None,
    open_browser: bool,
    platform_only: bool,
    platform: str = "lark",
) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP and return the exit code.

    `port` None: the port of the last start in `data_dir`, otherwise the default, otherwise a free one. `data_dir`
    None: a temporary directory, removed at the end.
    """
    emulator = EMULATORS[platform]()
    options = Options(data_dir is not None, open_browser, platform_only)
    with data_directory(data_dir) as directory:
        try:
            ports = emulator.restore(directory)
            listener = listen(port, ports.get("platform", DEFAULT_PORT))
        except ValueError as problem:
            print(f"--data {data_dir}: {problem}", file=sys.stderr)
            return 2
        except OSError as problem:
            print(f"--port {port}: cannot listen there ({problem.strerror}); name another", file=sys.stderr)
            return 2
        with listener:
            asyncio.run(serve(listener, Sandbox(emulator, directory, ports, options)))
    return 0


def listen(port: int | None, preferred: int) -> socket.socket:
    """Return a listening socket on the loopback address. Without `port`, a free one if `preferred` is taken."""
    if port is not None:
        return socket.create_server((HOST, port))
    try:
        return socket.create_server((HOST, preferred))
    except OSError:
        return socket.create_server((HOST, 0))


@contextlib.contextmanager
def data_directory(data_dir: Path | None) -> Iterator[Path]:
    """Yield the user's directory, or a temporary one."""
    if data_dir is not None:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield data_dir.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="bot-sandbox-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


async def serve(listener: socket.socket, sandbox: Sandbox) -> None:
    """Connect a bot with the emulator and serve both until a stop signal."""
    emulator, options = sandbox.emulator, sandbox.options
    async with contextlib.AsyncExitStack() as stack:
        ports = {"platform": listener.getsockname()[1], "bot": free_port(sandbox.last_ports.get("bot"))}
        origin, bot_url = f"http://{HOST}:{ports['platform']}", f"http://{HOST}:{ports['bot']}"
        # Browsers reach a bot that was started elsewhere directly.
        public_url = bot_url
        if not options.platform_only:
            # The saved state calls the proxy's port "door".
            proxy = serve_bot_proxy(emulator, bot_url, sandbox.last_ports.get("door", 0))
            ports["door"] = await stack.enter_async_context(proxy)
            public_url = f"http://{HOST}:{ports['door']}"
        if options.save_state:
            save = partial(emulator.save, sandbox.directory, ports)
            await stack.enter_async_context(saved_continuously(emulator.feed, save))
        environment = {
            **emulator.connect_bot(origin, bot_url, public_url),
            **bot_environment(public_url, ports["bot"], sandbox),
        }
        await serve_page(listener, origin, sandbox, environment)


async def serve_page(
    listener: socket.socket, origin: str, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    """Serve the platform with the chat page, and run the bot unless it is started elsewhere."""
    emulator = sandbox.emulator
    bot = None
    if not sandbox.options.platform_only:
        bot = BotProcess(environment, sandbox.directory, lambda changed: report(emulator, changed))
        bot.ahead = emulator.clock.wall_offset
    stopped = stop_signal()
    app = emulator.application()
    add_chat_page(app, emulator, sandbox.database, bot)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        print_line(f"{origin}/")
        if bot is None:
            for name, value in environment.items():
                print_line(f"{name}={value}")
        else:
            print_line("Open this address in a browser. Press Ctrl-C to stop.")
            print_line(f"The bot's console, for its administrator: {environment['BOT_PUBLIC_URL']}/console")
            await bot.start()
        if sandbox.options.open_browser:
            await asyncio.to_thread(webbrowser.open, f"{origin}/")
        await stopped.wait()
    finally:
        if bot is not None:
            await bot.stop()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def serve_bot_proxy(emulator: Emulator, bot_url: str, preferred: int) -> AsyncIterator[int]:
    """Serve the proxy between browsers and the bot; yield its port, `preferred` if that is free."""
    runner = web.AppRunner(build_bot_proxy(emulator, bot_url), access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, preferred).start()
        except OSError:
            await web.TCPSite(runner, HOST, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def bot_environment(public_url: str, bot_port: int, sandbox: Sandbox) -> dict[str, str]:
    """Return the settings of the bot that every platform shares."""
    return {
        "BOT_PUBLIC_URL": public_url,
        "BOT_HOST": HOST,
        "BOT_PORT": str(bot_port),
        "BOT_DATABASE_URL": f"sqlite+aiosqlite:///{sandbox.database}",
        "BOT_ENCRYPTION_KEYS": stored_key(sandbox.directory / "encryption.key"),
        "BOT_ADMINS": sandbox.emulator.administrator,
    }


def stored_key(file: Path) -> str:
    """Return the encryption key of this directory's database; created once, readable by its owner only."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    return file.read_text().strip()


def free_port(preferred: int | None) -> int:
    """Return a free port, `preferred` if possible.

    The bot listens there only later. Ports from 10000 to 14999 are below those that the system gives to outgoing
    connections, so none of these takes the port meanwhile.
    """
    port = preferred or 10_000 + secrets.randbelow(5_000)
    while True:
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
        port = 10_000 + secrets.randbelow(5_000)


def report(emulator: Emulator, bot: BotProcess) -> None:
    """Announce the bot's state to the page; print a failure to the terminal as well."""
    emulator.feed.announce("bot", {"state": bot.state, "running": bot.running, "words": bot.message})
    if bot.state == "failed":
        print(bot.message, *list(bot.log)[-15:], sep="\n  ", file=sys.stderr, flush=True)


def stop_signal() -> asyncio.Event:
    """Return an event that SIGINT, SIGTERM and SIGHUP set; SIGHUP only if it is not ignored, as with `nohup`."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stopped.set)
    return stopped


def print_line(line: str) -> None:
    print(line, flush=True)
