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
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from bot import cli_filters, settings
from bot.core.errors import BotError, ConfigurationError, DatabaseNotReady
from bot.stop_signals import stop_signals

if TYPE_CHECKING:
    from bot.cli_output import Row
    from bot.store.operator_queries import Filter
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


@cache
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
    add_json_option(
        add("upgrade", upgrade_database, "bring the database to the newest migration", actions),
        add("check", check_database, "exit 1 unless the database is there and up to date", actions),
    )
    copy = add(
        "backup", back_up_database, "copy a SQLite database to a new file, also while the bot runs", actions
    )
    copy.add_argument("file", metavar="FILE", type=file_path, help="the copy; must not exist")
    add_json_option(copy)

    add_output_options(add("status", status, "what waits, what runs, what failed"))
    for name, run, summary, period, read_status, words in (
        (
            "users",
            users,
            "the users, what they granted and until when",
            "seen",
            cli_filters.users,
            "active, ended, none",
        ),
        (
            "requests",
            requests,
            "the authorization requests",
            "opened",
            cli_filters.requests,
            "such as open, granted",
        ),
        ("calls", calls, "the deferred calls", "asked", cli_filters.calls, "such as suspended, failed"),
        (
            "audit",
            audit,
            "what happened, newest first",
            "that happened",
            None,
            "an action, such as grant_stored",
        ),
        (
            "errors",
            errors,
            "what failed, how often and since when",
            "that failed",
            None,
            "an HTTP status, a code, or a status such as failed or undeliverable",
        ),
    ):
        listing = add(name, run, summary)
        add_filters(listing, period)
        listing.add_argument(
            "--status",
            type=cli_filters.statuses(read_status),
            default=(),
            metavar="STATUS",
            help=f"only these, separated by commas: {words}",
        )
        if name == "users":
            listing.add_argument(
                "--scope", type=text, metavar="SCOPE", help="only those whose grant has this scope"
            )
        add_limit(listing, "how many")
        add_output_options(listing)
    numbers = add("stats", stats, "numbers over a period: calls, consents, times from asking to the answer")
    add_filters(numbers, "asked")
    add_output_options(numbers)
    story = add(
        "explain", explain, "tell all about one user, message, event, call or request, in one timeline"
    )
    story.add_argument(
        "what",
        metavar="WHAT",
        type=text,
        help="a user: open_id or its beginning, user key, part of a name; or the id of a message, an event, a call, a "
        "request, or of the platform's log",
    )
    add_period(story, "that happened")
    add_limit(story, "how many entries of the timeline, and calls that wait")
    add_output_options(story)

    add_user_argument(add("export", export, "print all that is stored about a user as JSON, without secrets"))
    for name, run, summary in (
        ("revoke", revoke, "end a user's grant, here and at the platform"),
        ("forget", forget, "revoke, then erase all that is stored about a user"),
    ):
        ending = add(name, run, summary)
        add_user_argument(ending)
        add_json_option(ending)
    ending.add_argument("--yes", action="store_true", help="do not ask for a confirmation")
    ending.add_argument(
        "--unrevoked", action="store_true", help="erase even if the platform does not confirm the revocation"
    )

    keys = add("keys", None, "make or rotate encryption keys")
    actions = keys.add_subparsers(metavar="ACTION", required=True, title="actions")
    add("new", new_key, "print a fresh key and nothing else", actions)
    add_json_option(
        add(
            "rotate",
            rotate_keys,
            "re-encrypt every stored secret with the first of BOT_ENCRYPTION_KEYS",
            actions,
        )
    )
    complete = add("completion", completion, "print the script that completes these commands in a shell")
    complete.add_argument("shell", choices=SHELLS, help="which shell")
    return top


SHELLS = ("bash", "zsh", "fish", "tcsh")


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


def add_json_option(*commands: Parser) -> None:
    for command in commands:
        command.add_argument("--json", action="store_true", help="print JSON")


def add_output_options(command: Parser) -> None:
    add_json_option(command)
    command.add_argument(
        "--wide", action="store_true", help="one line a row, with every field, however wide the terminal is"
    )


def add_period(command: Parser, what: str) -> None:
    times = "a time such as 09:30, a date, today, or how long ago, such as 2h or 3d"
    command.add_argument(
        "--since", type=cli_filters.since, metavar="TIME", help=f"only {what} since then: {times}"
    )
    command.add_argument("--until", type=cli_filters.until, metavar="TIME", help=f"only {what} before then")


def add_filters(command: Parser, what: str) -> None:
    add_period(command, what)
    command.add_argument(
        "--user",
        metavar="USER",
        type=text,
        help="only of one user: open_id, its beginning, or part of a name",
    )


def add_limit(command: Parser, what: str) -> None:
    command.add_argument(
        "--limit", type=at_least_one, default=100, metavar="N", help=f"{what} (default: 100)"
    )


def add_user_argument(command: Parser) -> None:
    meant = "open_id (DingTalk: user ID) or user key, the beginning of the open_id, or the whole name"
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
    sentence = note or "The database is at the newest migration."
    return report(chosen, sentence, {"up_to_date": True, "note": note})


def check_database(chosen: argparse.Namespace) -> int:
    url = operator_settings().database_url
    from bot.store.open_database import check_schema  # noqa: PLC0415

    try:
        note = check_schema(url)
    except DatabaseNotReady as error:
        if chosen.json:
            report(chosen, "", {"up_to_date": False, "problem": str(error)})
        raise
    sentence = note or "The database is there and up to date."
    return report(chosen, sentence, {"up_to_date": True, "note": note})


def back_up_database(chosen: argparse.Namespace) -> int:
    url = operator_settings().database_url
    from bot.store.backup import copy_database  # noqa: PLC0415

    copy_database(url, chosen.file)
    done: Row = {"file": str(chosen.file), "bytes": chosen.file.stat().st_size}
    return report(chosen, f"Copied the database to {chosen.file}.", done)


def report(chosen: argparse.Namespace, sentence: str, done: Row) -> int:
    """Print what a command did, as a sentence or as JSON."""
    from bot import cli_output  # noqa: PLC0415

    print(cli_output.as_json(done) if chosen.json else sentence)
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

    from bot.operator_name import operator  # noqa: PLC0415
    from bot.store import audit, key_rotation, keyring  # noqa: PLC0415
    from bot.store.open_database import check_schema, open_database  # noqa: PLC0415

    async def rotate() -> dict[str, int]:
        seal = keyring.Keyring([key.reveal() for key in loaded.encryption_keys])
        opened = await open_database(loaded.database_url, seal)
        try:
            sealed = await key_rotation.rotate(opened)
            count = sum(sealed.values())
            await opened.write(
                lambda c: audit.write(
                    c, "keys_rotated", user=None, now=now(), operator=operator(), secrets=count
                )
            )
            return sealed
        finally:
            await opened.close()

    check_schema(loaded.database_url)
    sealed = asyncio.run(rotate())
    count = sum(sealed.values())
    done: Row = {"reencrypted": count, "by_column": sealed}
    return report(chosen, f"Re-encrypted {count} secrets with the first key.", done)


# --- queries -------------------------------------------------------------------------------------------------


def status(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.status(c, now())))


def users(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.users(c, filter_of(c, chosen))))


def requests(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.requests(c, filter_of(c, chosen))))


def calls(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.calls(c, filter_of(c, chosen))))


def audit(chosen: argparse.Namespace) -> int:
    from bot.store import operator_queries  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_queries.audit(c, filter_of(c, chosen))))


def errors(chosen: argparse.Namespace) -> int:
    from bot.store import operator_numbers  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_numbers.errors(c, filter_of(c, chosen), now())))


def stats(chosen: argparse.Namespace) -> int:
    from bot.store import operator_numbers  # noqa: PLC0415

    return show(chosen, read(lambda c: operator_numbers.stats(c, filter_of(c, chosen), now())))


def explain(chosen: argparse.Namespace) -> int:
    from bot.store import operator_stories  # noqa: PLC0415

    def tell(c: Connection) -> Row:
        found = operator_stories.find(c, chosen.what)
        if len(found) != 1:
            raise NoSingleMatch(chosen.what, operator_stories.named(c, found), NOTHING)
        return operator_stories.explain(c, chosen.what, found[0], now(), filter_of(c, chosen))

    return show(chosen, read(tell))


NOTHING = "is no user of the bot, and no message, event, call, request or log id that is stored"


class NoSingleMatch(BotError):
    """What an operator named is nothing, or several things."""

    def __init__(self, asked: str, found: Sequence[str], nothing: str = "is not a user of the bot") -> None:
        if not found:
            super().__init__(f"{asked!r} {nothing}. `bot users` lists the users.")
        else:
            more = f", and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            listed = "; ".join(found[:MOST_NAMED])
            super().__init__(f"{asked!r} matches {len(found)} users. Choose one of: {listed}{more}.")


MOST_NAMED = 10


def filter_of(c: Connection, chosen: argparse.Namespace) -> Filter:
    """Return the filter that the options of a command describe."""
    from bot.store.operator_queries import Filter, candidates, find_user  # noqa: PLC0415

    since, until = chosen.since, chosen.until
    if since is not None and until is not None and since >= until:
        raise ConfigurationError("--since is not before --until: swap them.")
    user = None
    if named := getattr(chosen, "user", None):
        found = find_user(c, named, by_part=True)
        if len(found) != 1:
            raise NoSingleMatch(named, candidates(c, found))
        (user,) = found
    limit, statuses = getattr(chosen, "limit", 100), getattr(chosen, "status", ())
    return Filter(since, until, user, statuses, limit, getattr(chosen, "scope", None))


def read(work: Callable[[Connection], T]) -> T:
    url = operator_settings().database_url
    from bot.store.open_database import read_without_keys  # noqa: PLC0415

    return read_without_keys(url, work)


def show(chosen: argparse.Namespace, answer: Row | Sequence[Row]) -> int:
    from bot import cli_output  # noqa: PLC0415

    room = cli_output.layout(wide=chosen.wide)
    print(cli_output.as_json(answer) if chosen.json else cli_output.as_text(chosen.command, answer, room))
    limit = getattr(chosen, "limit", None)
    rows = answer.get("timeline") if isinstance(answer, Mapping) else answer
    if isinstance(rows, Sequence) and len(rows) == limit:
        complain(f"note: only the latest {len(rows)} are shown (--limit).")
    waiting = answer.get("waiting") if isinstance(answer, Mapping) else None
    if isinstance(waiting, Sequence) and len(waiting) == limit:
        complain(f"note: only the {len(waiting)} calls that wait longest are shown (--limit).")
    return DONE


def now() -> datetime:
    return datetime.now(UTC)


def revoke(chosen: argparse.Namespace) -> int:
    from bot import operator_actions  # noqa: PLC0415

    sentence, done = operator_actions.revoke(loaded_with_log(), chosen.user)
    return report(chosen, sentence, done)


def loaded_with_log() -> settings.Settings:
    """Return the settings of `bot run`, for a command that acts at the platform. Only trouble is logged."""
    loaded = settings.load(settings.environment())
    from bot import logs  # noqa: PLC0415

    level = loaded.log_level
    logs.configure(loaded.log_format, "warning" if level in {"debug", "info"} else level)
    return loaded


def export(chosen: argparse.Namespace) -> int:
    from bot import cli_output  # noqa: PLC0415
    from bot.store import operator_queries, personal_data  # noqa: PLC0415

    def collect(c: Connection) -> Row:
        found = operator_queries.find_user(c, chosen.user)
        if len(found) != 1:
            raise NoSingleMatch(chosen.user, operator_queries.candidates(c, found))
        return personal_data.export(c, found[0], now())

    print(cli_output.as_json(read(collect)))
    return DONE


def forget(chosen: argparse.Namespace) -> int:
    loaded = loaded_with_log()
    from bot import operator_actions  # noqa: PLC0415

    if not chosen.yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("--yes is missing: there is no terminal to ask for a confirmation.")
        who = read(lambda c: operator_actions.described(c, chosen.user))
        if not confirmed(f"Revoke the grant of {who} and erase everything that is stored about them?"):
            complain("nothing was changed.")
            return FAILED
    sentence, done = operator_actions.forget(loaded, chosen.user, unrevoked=chosen.unrevoked)
    return report(chosen, sentence, done)


def confirmed(question: str) -> bool:
    """Ask on the terminal. Only `yes` is a yes."""
    from bot.core.unseen_characters import escape  # noqa: PLC0415

    print(f"{escape(question)} Write yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


# --- the shell -----------------------------------------------------------------------------------------------


def completion(chosen: argparse.Namespace) -> int:
    import shtab  # noqa: PLC0415

    print(shtab.complete(parser(), chosen.shell))
    return DONE
