"""`bot doctor`: checks everything that the bot needs to serve users. Prints one line per check, with a fix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Thread
from typing import Any

from bot import doctor_bot, doctor_database, settings
from bot.core.commands import Registry
from bot.core.errors import ConfigurationError
from bot.core.unseen_characters import escape_json
from bot.doctor_bot import Surroundings
from bot.doctor_database import Examined, ago, running
from bot.doctor_program import program
from bot.findings import TIMEOUT, Finding, error_finding, run_concurrently, sentences
from bot.platforms import Entry, all_commands, configured, own_commands
from bot.plugins import BrokenPlugin
from bot.settings import OperatorSettings, Settings


def run(environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Print every finding and return the exit code."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(DaemonThreads())
        findings = runner.run(examine(environ))
    if as_json:
        print(escape_json(json.dumps([each.as_json() for each in findings], ensure_ascii=False, indent=2)))  # noqa: T201
    else:
        several = len({each.platform for each in findings} - {""}) > 1
        for finding in findings:
            print(finding.line(with_platform=several))  # noqa: T201 - the output of an operator's command
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0


class DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a thread that does not delay the exit: a resolver or a database may never respond."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **named))
            except BaseException as error:
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        Thread(target=work, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the threads alone."""


async def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Return all findings, in a fixed order. Changes nothing at the platform."""
    try:
        loaded = settings.load(environ)
    except ConfigurationError as error:
        return [*wrong_configuration(error), *program(), *await database_alone(environ)]
    entries = configured(loaded)
    found = [Finding("ok", "configuration", "every setting is valid"), *warnings(loaded), *program()]
    commands = {}
    for entry in entries:
        commands[entry.name], broken = known_commands(entry)
        found += broken
    origins = [origin for entry in entries for origin in entry.origins(loaded)]
    found += proxies(loaded, origins)
    apps = [entry.app(loaded) for entry in entries]
    database = asyncio.create_task(bounded_database(loaded, apps))

    async def surroundings() -> Surroundings:
        return Surroundings(loaded, apps, origins, (await asyncio.shield(database)).facts)

    paths = {entry.name: entry.callback_path for entry in entries}
    own, *of_each = await asyncio.gather(
        run_concurrently(
            {
                doctor_bot.BOT: doctor_bot.bot(loaded, surroundings),
                doctor_bot.PORT: doctor_bot.own_port(loaded, surroundings),
                doctor_bot.PUBLIC_URL: doctor_bot.public_url(loaded, paths, surroundings),
            }
        ),
        *(each.examine(loaded, commands[each.name], surroundings) for each in entries),
    )
    examined = await database
    found += [*examined.findings, *own]
    for entry, findings in zip(entries, of_each, strict=True):
        heard = last_event(loaded, entry, examined) if examined.facts else []
        found += [replace(each, platform=entry.name) for each in (*findings, *heard)]
    return list(dict.fromkeys(found))


# --- what needs no network ---------------------------------------------------------------------------------


def wrong_configuration(error: ConfigurationError) -> list[Finding]:
    return [sentences(problem, "FAIL", "configuration") for problem in error.problems]


def known_commands(entry: Entry) -> tuple[Registry, list[Finding]]:
    """Return a platform's commands. If a package's command cannot be used: only the bot's own commands, and a finding."""
    try:
        return all_commands(entry), []
    except BrokenPlugin as error:
        return own_commands(entry), [error_finding("commands", error)]


def warnings(loaded: OperatorSettings) -> list[Finding]:
    return [sentences(line, "warn", "configuration") for line in loaded.warnings]


def proxies(loaded: Settings, origins: Sequence[str]) -> list[Finding]:
    """Report which origins are reached through which proxy, without the proxy's credentials."""
    if not loaded.network.proxies:
        return []
    found: dict[str, list[str]] = {}
    for origin in dict.fromkeys(origins):
        proxy = loaded.network.proxy_for(origin)
        found.setdefault(f"through {proxy.url}" if proxy else "without a proxy", []).append(origin)
    message = "; ".join(f"{' and '.join(reached)} {how}" for how, reached in found.items())
    return [Finding("ok", "proxy", message)]


# --- the database ------------------------------------------------------------------------------------------


async def database_alone(environ: Mapping[str, str]) -> Sequence[Finding]:
    """Check the database although other settings are wrong; return nothing if its own settings are wrong too."""
    try:
        loaded = settings.load_for_operator(environ)
    except ConfigurationError:
        return []
    return (await bounded_database(loaded, ())).findings


async def bounded_database(loaded: OperatorSettings, apps: Sequence[str]) -> Examined:
    try:
        return await asyncio.wait_for(doctor_database.examine(loaded, apps), TIMEOUT - 0.5)
    except TimeoutError:
        message = "it does not respond"
        fix = "Look at its log, for example for locks and for connections that are used up, or fix BOT_DATABASE_URL."
        return Examined([Finding("FAIL", "database", message, fix)], None)


def last_event(loaded: Settings, entry: Entry, examined: Examined) -> list[Finding]:
    """Report when the platform last sent an event, which proves that events arrive."""
    subject, app = "last event", entry.app(loaded)
    assert examined.facts is not None
    heard = examined.facts.last_heard.get(app)
    if heard is not None:
        return [Finding("ok", subject, f"received {ago(heard)}")]
    message = f"none has ever arrived for {app}"
    if not running(examined.facts, [app]):
        return [Finding("warn", subject, message, "Start `bot run`, and send the bot a message.")]
    fix = f"Send the bot a message and run `bot doctor` again. If there is still none: {entry.event_help(loaded)}"
    return [Finding("warn", subject, message, fix)]
