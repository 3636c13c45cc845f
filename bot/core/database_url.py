"""Parses BOT_DATABASE_URL: the database, and the connection options of libpq that the driver supports.

Messages never show the URL, because any part of a mistyped one may be the password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

SQLITE, POSTGRESQL = "sqlite+aiosqlite", "postgresql+asyncpg"
ALIASES = {
    "sqlite": SQLITE,
    SQLITE: SQLITE,
    "postgres": POSTGRESQL,
    "postgresql": POSTGRESQL,
    POSTGRESQL: POSTGRESQL,
}

_WORD = r"(?:[^:/?#@%\s]|%[0-9A-Fa-f]{2})*"
_POSTGRESQL = re.compile(
    rf"(?:{_WORD}(?::{_WORD})?@)?"
    r"(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    rf"(?:/{_WORD})?(?:\?(?P<options>[^#@\s]*))?"
)
INVALID_POSTGRESQL_URL = (
    "is not a PostgreSQL URL. Write postgresql://USER:PASSWORD@HOST/NAME, and in its parts "
    "@ / : ? # % as %40 %2F %3A %3F %23 %25."
)

LARGEST_PORT = 65535
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_ATTRIBUTES = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")


def _one_of(*choices: str) -> Callable[[str], bool]:
    return lambda value: value in choices


OPTIONS: Mapping[str, Callable[[str], bool]] = {
    "host": bool,
    "port": str.isdigit,
    "sslmode": _one_of(*SSL_MODES),
    "ssl": _one_of(*SSL_MODES),
    "sslrootcert": bool,
    "sslcert": bool,
    "sslkey": bool,
    "application_name": bool,
    "connect_timeout": str.isdigit,
    "target_session_attrs": _one_of(*SESSION_ATTRIBUTES),
    "channel_binding": _one_of("disable", "prefer"),
}
"""The supported options, with a check of their values. `ssl` is an alias of `sslmode`."""

REFUSED = {
    "channel_binding": "The driver does not support it: remove it, and use sslmode=verify-full.",
    "pgbouncer": "Remove it. A pooler has to run in session mode.",
}


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database that the bot can use."""

    dialect: Literal["sqlite", "postgresql"]
    url: str
    """The URL in SQLAlchemy's form, without the options of PostgreSQL. It may contain a password."""
    options: Mapping[str, str]
    """The libpq options of PostgreSQL. Empty for SQLite."""


def read_database_url(text: str) -> DatabaseUrl:
    """Return the parsed database URL.

    Raises ValueError if the bot cannot use the database. The message completes a sentence that starts with the setting's
    name.
    """
    scheme, separator, rest = text.partition("://")
    driver = ALIASES.get(scheme)
    if not separator or driver is None:
        family = scheme.partition("+")[0] if separator else ""
        if family in ALIASES:
            raise ValueError(f"names an unsupported driver of {family}. Start it with {ALIASES[family]}://.")
        raise ValueError("is not a database URL. Write sqlite:///FILE or postgresql://USER@HOST/NAME.")
    return _read_sqlite(rest) if driver == SQLITE else _read_postgresql(rest)


def _read_sqlite(rest: str) -> DatabaseUrl:
    file = rest.partition("?")[0].removeprefix("/")
    if not rest.startswith("/") or file in {"", ":memory:"}:
        raise ValueError("does not name a file. Write sqlite:///bot.db, or sqlite:////absolute/path/bot.db.")
    if "?" in rest:
        raise ValueError(
            "has options, which are not supported for SQLite. Remove the ? and everything after it."
        )
    return DatabaseUrl("sqlite", f"{SQLITE}://{rest}", {})


def _read_postgresql(rest: str) -> DatabaseUrl:
    match = _POSTGRESQL.fullmatch(rest)
    if match is None:
        raise ValueError(INVALID_POSTGRESQL_URL)
    if match["port"] and not 0 < int(match["port"]) <= LARGEST_PORT:
        raise ValueError(f"has an invalid port. Write a number from 1 to {LARGEST_PORT}.")
    options = dict(parse_qsl(match["options"] or "", keep_blank_values=True))
    for name, value in options.items():
        _check_option(name, value)
    return DatabaseUrl("postgresql", f"{POSTGRESQL}://{rest.partition('?')[0]}", options)


def _check_option(name: str, value: str) -> None:
    is_valid = OPTIONS.get(name)
    if is_valid is not None and is_valid(value):
        return
    if name in REFUSED:
        raise ValueError(f"has {name}. {REFUSED[name]}")
    if is_valid is not None:
        raise ValueError(f"has an invalid value of {name}.")
    # Only plausible names are shown: a password with a question mark in it ends up here, too.
    shown = name if re.fullmatch(r"[a-z][a-z_]{0,30}", name) else "an option"
    raise ValueError(f"has {shown}, which is not supported. Supported options: {', '.join(sorted(OPTIONS))}.")
