"""The checks of `bot doctor` for the database: its file, its schema, its keys, and who serves it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bot import settings
from bot.core.errors import BotError
from bot.findings import LARGEST_SKEW, NOTABLE_SKEW, Finding, clock_finding, error_finding, sentences
from bot.settings import OperatorSettings
from bot.store import key_rotation
from bot.store.database_url import dialect_of, parse_url
from bot.store.doctor_queries import Facts, SeenReplica, read_facts
from bot.store.keyring import Keyring
from bot.store.open_database import check_schema, read_without_keys

FILE = "database file"
FEW_BYTES, TOO_FEW_BYTES = 1024**3, 100 * 1024**2
"""Free space that is worth a warning, and with which the bot would soon stop."""
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Examined:
    """The findings about a database, and what it says about the bot; None if it could not be read."""

    findings: Sequence[Finding]
    facts: Facts | None


async def examine(loaded: OperatorSettings, apps: Sequence[str]) -> Examined:
    found = database_file(loaded.database_url)
    try:
        # In threads, because these run their own event loops.
        newer = await asyncio.to_thread(check_schema, loaded.database_url)
    except BotError as error:
        return Examined([error_finding("database", error), *found], None)
    exposed = [sentences(line, "warn", "database") for line in settings.exposed_database(loaded.database_url)]
    schema = Finding("ok", "database", "reachable, with the schema of this release")
    if newer is not None:
        schema = sentences(newer, "warn", "database")
    found = [schema, *exposed, *found]
    found.append(await encryption_keys(loaded))
    try:
        facts = await asyncio.to_thread(read_without_keys, loaded.database_url, lambda c: read_facts(c, apps))
    except BotError as error:
        return Examined([*found, error_finding("database", error)], None)
    return Examined([*found, *writable(facts), *clocks(facts), *foreign_keys(loaded, facts)], facts)


# --- the file ----------------------------------------------------------------------------------------------


def database_file(url: str) -> list[Finding]:
    """Check permissions and space of a SQLite database. Another database keeps its files itself."""
    if dialect_of(url) != "sqlite":
        return []
    file = Path(parse_url(url).database or "")
    folder = file.absolute().parent
    if not folder.is_dir():
        fix = f"Create it with `mkdir -p {folder}`, or fix BOT_DATABASE_URL."
        return [Finding("FAIL", FILE, f"the folder {folder} does not exist", fix)]
    problems = [*permission_problems(file, folder), *space_problems(folder)]
    what = f"{file} is writable" if file.exists() else f"none yet; the folder {folder} is writable"
    return problems or [Finding("ok", FILE, f"{what}, with enough free space")]


def permission_problems(file: Path, folder: Path) -> Iterable[Finding]:
    who = "Run `bot doctor` as the user of `bot run`; if it is that user, "
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        fix = "Mount it writable, or move the database: BOT_DATABASE_URL."
        yield Finding("FAIL", FILE, f"{folder} is on a read-only file system", fix)
    elif not os.access(folder, os.W_OK | os.X_OK):
        message = f"the folder {folder} is not writable, and SQLite creates files beside the database"
        yield Finding("FAIL", FILE, message, f"{who}make the folder writable: `chmod u+rwx {folder}`.")
    for each in (file, *(Path(f"{file}{end}") for end in ("-wal", "-shm"))):
        if each.exists() and not os.access(each, os.R_OK | os.W_OK):
            message = f"{each} cannot be read and written"
            yield Finding(
                "FAIL", FILE, message, f"{who}make it the owner of the file: `chown` and `chmod u+rw`."
            )


def space_problems(folder: Path) -> Iterable[Finding]:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    fix = f"Free some space on the file system of {folder}, or move the database: BOT_DATABASE_URL."
    if free < FEW_BYTES:
        verdict = "FAIL" if free < TOO_FEW_BYTES else "warn"
        yield Finding(verdict, FILE, f"only {free // MIB} MiB are free at {folder}", fix)  # type: ignore[arg-type]
    elif space.f_files and not space.f_favail:
        yield Finding("FAIL", FILE, f"no more files can be created at {folder} (no free inodes)", fix)


def writable(facts: Facts) -> Iterable[Finding]:
    if facts.is_read_only:
        message = "it accepts no writes: a standby, or a role with default_transaction_read_only"
        yield Finding("FAIL", "database", message, "Set BOT_DATABASE_URL to the primary server.")


# --- clocks ------------------------------------------------------------------------------------------------


def clocks(facts: Facts) -> Iterable[Finding]:
    if facts.clock_ahead is not None:
        yield clock_finding(facts.clock_ahead, "the database's")
    for each in facts.replicas:
        # How far a clock is behind cannot be told from a heartbeat, which may just be old.
        if each.age < -NOTABLE_SKEW:
            message = f"that of the replica {each.id} is {-each.age.total_seconds():.0f} seconds ahead"
            verdict = "FAIL" if each.age < -LARGEST_SKEW else "warn"
            yield Finding(verdict, "clock", message, f"Synchronize the clock of {each.host} (NTP).")  # type: ignore[arg-type]


# --- keys --------------------------------------------------------------------------------------------------


async def encryption_keys(loaded: OperatorSettings) -> Finding:
    if not loaded.encryption_keys:
        return Finding(
            "FAIL", "encryption keys", "none are set", "Make one with `bot keys new`, and keep it."
        )
    keyring = Keyring([key.reveal() for key in loaded.encryption_keys])
    try:
        known = await asyncio.to_thread(
            read_without_keys, loaded.database_url, lambda c: key_rotation.keys_fit(c, keyring)
        )
    except BotError as error:
        return error_finding("encryption keys", error)
    count = len(loaded.encryption_keys)
    keys, open_ = ("1 key", "opens") if count == 1 else (f"{count} keys", "open")
    message = f"{keys}, which {open_} the stored values" if known else f"{keys}; nothing is sealed yet"
    return Finding("ok", "encryption keys", message)


def foreign_keys(loaded: OperatorSettings, facts: Facts) -> Iterable[Finding]:
    """Warn about running replicas that seal with a key that is not in these settings."""
    known = {Keyring([key.reveal()]).key_ids[0] for key in loaded.encryption_keys}
    for each in facts.replicas:
        if each.is_live and each.key_ids and known and each.key_ids[0] not in known:
            message = f"the replica {each.id} seals with a key that is not in these settings"
            fix = "Give every replica, and this command, the same BOT_ENCRYPTION_KEYS."
            yield Finding("warn", "encryption keys", message, fix)


# --- who serves it -----------------------------------------------------------------------------------------


def running(facts: Facts | None, apps: Iterable[str]) -> list[SeenReplica]:
    """Return the replicas that run, and serve any of these apps."""
    wanted = set(apps)
    return [each for each in facts.replicas if each.is_live and wanted & each.apps] if facts else []


def ago(age: timedelta) -> str:
    """Return an age in words, such as `3 hours ago`."""
    seconds = max(age.total_seconds(), 0)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"
