"""The operator's commands. Each imports what it needs when it runs, so that `bot --help` is fast.

Exit codes: 0 success, 1 failure, 2 wrong configuration or usage. An expected error is one line on stderr, never a
traceback.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from bot import settings
from bot.core.errors import BotError, ConfigurationError
from bot.stop_signals import stop_signals

if TYPE_CHECKING:
    from bot.cli_output import Row
    from bot.store.transaction import Connection

T = TypeVar("T")
DONE, FAILED, WRONG = 0, 1, 2

Run = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = run_command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, Python would report an error when it flushes the output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130
    return code


def run_command(arguments: Sequence[str] | None) -> int:
    try:
        chosen = parser().parse_args(arguments)
        run: Run = chosen.run
        disable_core_dumps()
        return run(chosen)
    except ConfigurationError as error:
        for problem in error.problems:
            complain(problem)
        return WRONG
    except BotError as error:
        hint = "" if error.hint.strip(".") in str(error) else f" {error.hint}"
        complain(f"{error}{hint}")
        return FAILED
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        complain(str(error) or type(error).__name__)
        return FAILED


def complain(line: str) -> None:
    from bot.core.unseen_characters import escape  # noqa: PLC0415
    from bot.logs import redact  # noqa: PLC0415

    print(f"bot: {escape(redact(line))}", file=sys.stderr)


# --- usage ---------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error as one line, with the command that shows the help."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message}. See `{self.prog} --help`.")
        raise SystemExit(WRONG)


class ShowVersion(argparse.Action):
    """Looks up the version only when the option is given."""

    def __call__(self, *_: object) -> NoReturn:
        from bot.build import current_build  # noqa: PLC0415

        build = current_build()
        print(f"bot {build.version} (schema {build.revision})")
        raise SystemExit(DONE)


def parser() -> Parser:
    top = Parser(
        prog="bot",
        description="A Lark/Feishu bot that acts as the user, and asks for exactly the permission it lacks.",
        epilog="`bot run --help` lists the settings. Try `bot sandbox` first: it needs none.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True, title="commands")

    def add(
        name: str, run: Run | None, summary: str, into: argparse._SubParsersAction[Parser] = commands
    ) -> Parser:
        added = into.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        added.allow_abbrev = False
        if run is not None:
            added.set_defaults(run=run)
        return added

    serve = add("run", run_bot, "serve until SIGTERM, SIGINT or SIGHUP")
    serve.formatter_class = argparse.RawDescriptionHelpFormatter
    serve.epilog = f"settings, from the environment or a .env file:\n{settings.help_table()}"
    add_sandbox_options(add("sandbox", sandbox, "try the bot in a browser, against an emulated platform"))
    add_json_option(add("doctor", doctor, "check the configuration, the database, the bot and the platform"))

    database = add("db", None, "make, check or copy the database")
    actions = database.add_subparsers(metavar="ACTION", required=True, title="actions")
    add("upgrade", upgrade_database, "bring the database to the newest migration", actions)
    add("check", check_database, "exit 1 unless the database is there and up to date", actions)
    copy = add(
        "backup", back_up_database, "copy a SQLite database to a new file, also while the bot runs", actions
    )
    copy.add_argument("file", metavar="FILE", type=file_path, help="the copy; must not exist")

    add_json_option(add("status", status, "what waits, what runs, what failed"))
    for name, run, summary in (
        ("users", users, "the users and what they granted"),
        ("requests", requests, "the authorization requests"),
        ("calls", calls, "the deferred calls"),
        ("audit", audit, "what happened, newest first"),
    ):
        listing = add(name, run, summary)
        add_json_option(listing)
        listing.add_argument(
            "--limit", type=at_least_one, default=100, metavar="N", help="how many (default: 100)"
        )
    story = add("explain", explain, "explain the state of one user: grant, requests, and what waits for what")
    add_user_argument(story)
    add_json_option(story)
    add_user_argument(add("revoke", revoke, "end a user's grant, here and at the platform"))

    keys = add("keys", None, "make or rotate encryption keys")
    actions = keys.add_subparsers(metavar="ACTION", required=True, title="actions")
    add("new", new_key, "print a fresh key and nothing else", actions)
    add(
        "rotate", rotate_keys, "re-encrypt every stored secret with the first of BOT_ENCRYPTION_KEYS", actions
    )
    return top


def add_sandbox_options(command: Parser) -> None:
    command.add_argument(
        "--platform",
        choices=("lark", "dingtalk"),
        default="lark",
        help="which one to emulate (default: lark)",
    )
    command.add_argument("--port", type=port, help="of the chat page (default: 8700, or a free one)")
    command.add_argument(
        "--data", type=Path, metavar="DIR", help="keep the data in this directory (default: discard it)"
    )
    command.add_argument("--no-browser", action="store_true", help="do not open the chat page")
    command.add_argument(
        "--platform-only",
        action="store_true",
        help="only the emulator; prints the environment for a `bot run`",
    )


def port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write a number from 0 to 65535")
    return int(text)


def at_least_one(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")
    return int(text)


def add_json_option(command: Parser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def add_user_argument(command: Parser) -> None:
    meant = "open_id (DingTalk: user ID) or user key, the beginning of either, or a name"
    command.add_argument("user", metavar="USER", type=text, help=meant)


def text(argument: str) -> str:
    """Reject an undecodable argument: Python represents its bytes as surrogates, which no database accepts."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{argument!r} is not text: write it in UTF-8") from None
    return argument


def file_path(argument: str) -> Path:
    """Return the path, which may be undecodable but not empty or a folder."""
    if not argument or argument.endswith("/") or not Path(argument).name or Path(argument).name == "..":
        raise argparse.ArgumentTypeError(f"{argument!r} does not name a file")
    return Path(argument)


# --- serving -------------------------------------------------------------------------------------------------


def run_bot(chosen: argparse.Namespace) -> int:
    # Until the bot is loaded and its database upgraded, there is nothing to drain.
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        sys.exit(DONE)

    for number in stop_signals():
        signal.signal(number, stop)
    loaded = settings.load(settings.environment())
    from bot import logs  # noqa: PLC0415

    logs.configure(loaded.log_format, loaded.log_level)
    log = logging.getLogger("bot")
    for line in loaded.warnings:
        log.warning(line)
    from bot import app  # noqa: PLC0415

    try:
        return app.run(loaded)
    except (BotError, OSError):
        raise
    except Exception:
        if stopped:
            return DONE  # the exit interrupted a library in the middle of its clean-up, which then failed
        # An unexpected error is logged, because the log masks secrets, which a plain traceback on stderr would not.
        log.critical("stopped by an error", exc_info=True)
        return FAILED


def disable_core_dumps() -> None:
    """Keep a crashing process from writing its memory, which contains keys and tokens, to disk."""
    import resource  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def sandbox(chosen: argparse.Namespace) -> int:
    from bot.sandbox import main as sandbox_main  # noqa: PLC0415

    return sandbox_main.run(
        chosen.port, chosen.data, not chosen.no_browser, chosen.platform_only, chosen.platform
    )


def doctor(chosen: argparse.Namespace) -> int:
    from bot import doctor as checks  # noqa: PLC0415

    return checks.run(settings.environment(), as_json=chosen.json)


# --- the database --------------------------------------------------------------------------------------------


def operator_settings() -> settings.OperatorSettings:
    loaded = settings.load_for_operator(settings.environment())
    for line in loaded.warnings:
        complain(f"warning: {line}")
    return loaded


def upgrade_database(chosen: argparse.Namespace) -> int:
    loaded = operator_settings()
    from bot.store import keyring  # noqa: PLC0415
    from bot.store.open_database import upgrade  # noqa: PLC0415

    # A new database contains nothing to encrypt, so it can be created before the keys are.
    keys = [key.reveal() for key in loaded.encryption_keys]
    note = upgrade(loaded.database_url, keyring.Keyring(keys) if keys else None)
    print(note or "The database is at the newest migration.")
    return DONE


def check_database(chosen: argparse.Namespace) -> int:
    url = operator_settings().database_url
    from bot.store.open_database import check_schema  # noqa: PLC0415

    note = check_schema(url)
    print(note or "The database is there and up to date.")
    return DONE


def back_up_database(chosen: argparse.Namespace) -> int:
    url = operator_settings().database_url
    from bot.store.backup import copy_database  # noqa: PLC0415

    copy_database(url, chosen.file)
    print(f"Copied the database to {chosen.file}.")
    return DONE


def new_key(chosen: argparse.Namespace) -> int:
    from bot.store.keyring import new_key as fresh_key  # noqa: PLC0415

    print(fresh_key())
    return DONE


def rotate_keys(chosen: argparse.Namespace) -> int:
    loaded = operator_settings()
    if not loaded.encryption_keys:
        raise ConfigurationError(
            "BOT_ENCRYPTION_KEYS is missing. Write the new key first, then the old: new,old."
        )
    import asyncio  # noqa: PLC0415

    from bot.store import key_rotation, keyring  # noqa: PLC0415
    from bot.store.open_database import check_schema, open_database  # noqa: PLC0415

    async def rotate() -> dict[str, int]:
        seal = keyring.Keyring([key.reveal() for key in loaded.encryption_keys])
        opened = await open_database(loaded.database_url, seal)
        try:
            return await key_rotation.rotate(opened)
        finally:
            await opened.close()

    check_schema(loaded.database_url)
    sealed = asyncio.run(rotate())
    print(f"Re-encrypted {sum(sealed.values())} secrets with the first key.")
    return DONE


# --- queries -------------------------------------------------------------------------------------------------


def status(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.status(c, now())))


def users(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.users(c, limit=chosen.limit)))


def requests(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.requests(c, limit=chosen.limit)))


def calls(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.calls(c, limit=chosen.limit)))


def audit(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.audit(c, limit=chosen.limit)))


def explain(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    def explain_user(c: Connection) -> Row | list[str]:
        found = operator_queries.find_user(c, chosen.user)
        if len(found) == 1:
            return operator_queries.explain(c, found[0], now())
        alike = len({each.open_id for each in found}) < len(found)
        return [str(each) if alike else each.open_id for each in found]

    answer = read(explain_user)
    if isinstance(answer, list):
        complain(no_single_match(chosen.user, answer))
        return FAILED
    return show(chosen, answer)


def no_single_match(asked: str, found: Sequence[str]) -> str:
    if not found:
        return f"{asked!r} is not a user of the bot. `bot users` lists them."
    return f"{asked!r} matches {len(found)} users. Choose one of: {', '.join(found[:5])}."


def read(work: Callable[[Connection], T]) -> T:
    url = operator_settings().database_url
    from bot.store.open_database import read_without_keys  # noqa: PLC0415

    return read_without_keys(url, work)


def show(chosen: argparse.Namespace, answer: Row | Sequence[Row]) -> int:
    from bot import cli_output  # noqa: PLC0415

    print(cli_output.as_json(answer) if chosen.json else cli_output.as_text(chosen.command, answer))
    if len(answer) == getattr(chosen, "limit", None):
        complain(f"note: only the latest {len(answer)} are shown (--limit).")
    return DONE


def now() -> datetime:
    return datetime.now(UTC)


def revoke(chosen: argparse.Namespace) -> int:
    loaded = settings.load(settings.environment())
    from bot import app, logs  # noqa: PLC0415

    logs.configure(loaded.log_format, loaded.log_level)
    return app.revoke(loaded, chosen.user)
