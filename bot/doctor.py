"""`bot doctor`: checks everything that the bot needs to serve users. Prints one line per check, with a fix."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from bot import settings
from bot.core.commands import Registry
from bot.core.errors import BotError, ConfigurationError
from bot.core.network import is_loopback
from bot.findings import Finding, bounded, error_finding, run_concurrently
from bot.platforms import Entry, all_commands, configured, own_commands
from bot.plugins import BrokenPlugin
from bot.settings import OperatorSettings, Settings
from bot.store import key_rotation
from bot.store.keyring import Keyring
from bot.store.open_database import check_schema, read_without_keys


def run(environ: Mapping[str, str]) -> int:
    """Print every finding and return the exit code."""
    findings = asyncio.run(examine(environ))
    for finding in findings:
        print(finding)  # noqa: T201 - the output of an operator's command
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0


async def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Return all findings, in a fixed order. Changes nothing at the platform."""
    try:
        loaded = settings.load(environ)
    except ConfigurationError as error:
        return [*wrong_configuration(error), *await database_alone(environ)]
    entries = configured(loaded)
    found = [Finding("ok", "configuration", "every setting is valid"), *warnings(loaded)]
    commands = {}
    for entry in entries:
        commands[entry.name], broken = known_commands(entry)
        found += broken
    found += await run_concurrently(database(loaded))
    found += proxies(loaded, [origin for entry in entries for origin in entry.origins(loaded)])
    found += public_url(loaded, [origin for entry in entries for origin in entry.origins(loaded)])
    of_each = await asyncio.gather(*(each.examine(loaded, commands[each.name]) for each in entries))
    for entry, findings in zip(entries, of_each, strict=True):
        found += [replace(each, platform=entry.name) for each in findings] if len(entries) > 1 else findings
    return list(dict.fromkeys(found))


# --- what needs no network ---------------------------------------------------------------------------------


def wrong_configuration(error: ConfigurationError) -> list[Finding]:
    return [Finding("FAIL", "configuration", problem) for problem in error.problems]


async def database_alone(environ: Mapping[str, str]) -> Sequence[Finding]:
    """Check the database although other settings are wrong; return nothing if its own settings are wrong too."""
    try:
        return await bounded(database(settings.load_for_operator(environ)))
    except ConfigurationError:
        return []


def known_commands(entry: Entry) -> tuple[Registry, list[Finding]]:
    """Return a platform's commands. If a package's command cannot be used: only the bot's own commands, and a finding."""
    try:
        return all_commands(entry), []
    except BrokenPlugin as error:
        return own_commands(entry), [error_finding("commands", error)]


def warnings(loaded: OperatorSettings) -> list[Finding]:
    return [Finding("warn", "configuration", line) for line in loaded.warnings]


def public_url(loaded: Settings, origins: Sequence[str]) -> list[Finding]:
    subject = "public URL"
    if loaded.public_url is None:
        return [Finding("ok", subject, "none: users authorize by device flow")]
    here = urlsplit(loaded.public_url)
    if not is_loopback(here.hostname or ""):
        return [Finding("ok", subject, loaded.public_url)]
    if loaded.port not in {here.port, 0}:
        fix = f"Set BOT_PUBLIC_URL to http://localhost:{loaded.port}, or to where a proxy listens."
        return [Finding("warn", subject, f"{loaded.public_url}, but the bot listens on {loaded.port}", fix)]
    if all(is_loopback(urlsplit(each).hostname or "") for each in origins):
        return [Finding("ok", subject, loaded.public_url)]
    message = f"{loaded.public_url} can be opened on this machine only, not from a phone"
    return [Finding("warn", subject, message, "Set BOT_PUBLIC_URL to an https origin for other people.")]


# --- the database ------------------------------------------------------------------------------------------


async def database(loaded: OperatorSettings) -> Sequence[Finding]:
    try:
        # In a thread, because it runs its own event loop.
        await asyncio.to_thread(check_schema, loaded.database_url)
    except BotError as error:
        return [error_finding("database", error)]
    exposed = [Finding("warn", "database", line) for line in settings.exposed_database(loaded.database_url)]
    return [Finding("ok", "database", "reachable and migrated"), *exposed, await encryption_keys(loaded)]


async def encryption_keys(loaded: OperatorSettings) -> Finding:
    if not loaded.encryption_keys:
        return Finding("FAIL", "encryption keys", "none are set")
    keyring = Keyring([key.reveal() for key in loaded.encryption_keys])
    try:
        known = await asyncio.to_thread(
            read_without_keys, loaded.database_url, lambda c: key_rotation.keys_fit(c, keyring)
        )
    except BotError as error:
        return error_finding("encryption keys", error)
    message = "they open the stored values" if known else "nothing is sealed yet"
    return Finding("ok", "encryption keys", f"{len(loaded.encryption_keys)}, and {message}")


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
