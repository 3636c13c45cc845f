"""`bot sandbox`: the emulated platform and the chat page in this process, the real bot as its child."""

import asyncio
import base64
import contextlib
import secrets
import signal
import socket
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiohttp import web

from bot.sandbox.chat import add_chat_page
from bot.sandbox.front import build_front
from bot.sandbox.memory import Memory, fill, kept, recall
from bot.sandbox.process import BotProcess
from bot.sandbox.sample import sample_tenant
from bot.sandbox.server import build_platform
from bot.sandbox.tenant import App, Tenant

HOST = "127.0.0.1"
DEFAULT_PORT = 8700
EVENTS: Literal["websocket", "webhook"] = "websocket"


@dataclass(frozen=True)
class Options:
    """How `bot sandbox` was called; `keeps`: the directory is the user's, and what happens is kept in it."""

    keeps: bool
    open_browser: bool
    platform_only: bool


def run(port: int | None, data_dir: Path | None, open_browser: bool, platform_only: bool) -> int:
    """Serves until SIGINT or SIGTERM and returns the exit code. `port` None: that of the last start in `data_dir`, the
    usual one, or a free one if that is taken; `data_dir` None: a temporary directory that is removed at the end."""
    options = Options(data_dir is not None, open_browser, platform_only)
    with kept_or_temporary(data_dir) as directory:
        try:
            memory = recall(directory)
            listener = listen(port, memory.ports.get("platform", DEFAULT_PORT))
        except ValueError as problem:
            print(f"--data {data_dir}: {problem}", file=sys.stderr)
            return 2
        except OSError as problem:
            print(f"--port {port}: cannot listen there ({problem.strerror}); name another", file=sys.stderr)
            return 2
        with listener:
            asyncio.run(serve(listener, directory, memory, options))
    return 0


def listen(port: int | None, usual: int) -> socket.socket:
    """A listening socket on the loopback address."""
    if port is not None:
        return socket.create_server((HOST, port))
    try:
        return socket.create_server((HOST, usual))
    except OSError:
        return socket.create_server((HOST, 0))


@contextlib.contextmanager
def kept_or_temporary(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is not None:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield data_dir.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="bot-sandbox-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


async def serve(listener: socket.socket, directory: Path, memory: Memory, options: Options) -> None:
    async with contextlib.AsyncExitStack() as doors:
        await serve_until_stopped(doors, listener, directory, memory, options)


async def serve_until_stopped(
    doors: contextlib.AsyncExitStack,
    listener: socket.socket,
    directory: Path,
    memory: Memory,
    options: Options,
) -> None:
    ports = {"platform": listener.getsockname()[1], "bot": free_port(memory.ports.get("bot"))}
    origin = f"http://{HOST}:{ports['platform']}"
    database = directory / "bot.db"
    tenant = sample_tenant()
    fill(tenant, memory)
    own_url = f"http://{HOST}:{ports['bot']}"
    # A bot that is started elsewhere is reached as it is.
    public_url = own_url
    if not options.platform_only:
        ports["door"] = await doors.enter_async_context(
            front_door(tenant, own_url, memory.ports.get("door", 0))
        )
        public_url = f"http://{HOST}:{ports['door']}"
    if options.keeps:
        await doors.enter_async_context(kept(tenant, directory, ports))
    environment = bot_environment(tenant.app, origin, public_url, ports["bot"], directory, database)
    tenant.app.events_by = EVENTS
    tenant.app.events_url = own_url + "/lark/events"
    tenant.app.redirect_urls = [
        public_url + "/oauth/lark/callback",
        public_url + "/oauth/lark/client",
    ]
    bot = (
        None if options.platform_only else BotProcess(environment, directory, lambda bot: report(tenant, bot))
    )
    if bot is not None:
        bot.ahead = tenant.clock.everybody_ahead

    stopped = stop_signal()
    app = build_platform(tenant)
    add_chat_page(app, database, bot)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        say(f"{origin}/")
        if bot is None:
            for name, value in environment.items():
                say(f"{name}={value}")
        else:
            say("Open this address in a browser. Press Ctrl-C to stop.")
            await bot.start()
        if options.open_browser:
            await asyncio.to_thread(webbrowser.open, f"{origin}/")
        await stopped.wait()
    finally:
        if bot is not None:
            await bot.stop()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def front_door(tenant: Tenant, own_url: str, usual: int) -> AsyncIterator[int]:
    """Opens the way from browsers to the bot; yields the port at which they find it, `usual` if that is free."""
    runner = web.AppRunner(build_front(tenant, own_url), access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, usual).start()
        except OSError:
            await web.TCPSite(runner, HOST, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def bot_environment(
    app: App, origin: str, public_url: str, bot_port: int, directory: Path, database: Path
) -> dict[str, str]:
    """Everything that connects a bot with this sandbox."""
    return {
        "LARK_APP_ID": app.app_id,
        "LARK_APP_SECRET": app.app_secret,
        "LARK_OPEN_URL": origin,
        "LARK_ACCOUNTS_URL": origin,
        "LARK_APPLINK_URL": origin,
        "LARK_JSSDK_URL": f"{origin}/sandbox/jssdk.js",
        "LARK_EVENTS": EVENTS,
        "LARK_ENCRYPT_KEY": app.encrypt_key,
        "LARK_VERIFICATION_TOKEN": app.verification_token,
        "BOT_PUBLIC_URL": public_url,
        "BOT_HOST": HOST,
        "BOT_PORT": str(bot_port),
        "BOT_DATABASE_URL": f"sqlite+aiosqlite:///{database}",
        "BOT_ENCRYPTION_KEYS": kept_key(directory / "encryption.key"),
        "BOT_ADMINS": app.owner,
    }


def kept_key(file: Path) -> str:
    """The key that seals this directory's database: drawn once, readable by its owner only."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    return file.read_text().strip()


def free_port(usual: int | None) -> int:
    """A port that nobody listens on, `usual` if possible, and that no connection going out is given before the bot
    listens there: the system takes those from above."""
    port = usual or 10_000 + secrets.randbelow(5_000)
    while True:
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
        port = 10_000 + secrets.randbelow(5_000)


def report(tenant: Tenant, bot: BotProcess) -> None:
    """Tells the page, and the terminal what cannot be seen anywhere else."""
    tenant.announce("bot", {"state": bot.state, "running": bot.running, "words": bot.words})
    if bot.state == "failed":
        print(bot.words, *list(bot.log)[-15:], sep="\n  ", file=sys.stderr, flush=True)


def stop_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def say(line: str) -> None:
    print(line, flush=True)
