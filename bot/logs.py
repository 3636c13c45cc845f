"""Logs: one line per record on stderr, as text or JSON, in UTC, with secrets masked.

Secrets have a type that prints `***`, so no code of the bot logs one. The masking here is a second line of defence, for
libraries and exceptions. Text from outside cannot start a new line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import IO, Literal

from bot.core.unseen_characters import escape

MASK = "***"

_NAMES = (
    "access_token|refresh_token|user_access_token|tenant_access_token|app_access_token|id_token|token|"
    "client_secret|app_secret|appsecret|secret|password|encrypt_key|encryption_keys|"
    "code_verifier|verifier|ticket|state|code|authorization|cookie"
)

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Headers, and values with a recognizable prefix.
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]*)*"), MASK),
    (re.compile(r"(?<![\w-])(?:ur?|t|a)-(?=[\w.-]{0,200}\d)[\w.-]{12,}"), MASK),
    # Keys, tickets, states and verifiers of the bot: 32 random bytes in base64url.
    (re.compile(r"(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*\d)[A-Za-z0-9_-]{43}=?(?![\w-])"), MASK),
    # name=value in a query or form, name: value in JSON, a repr or a header. The platform's error codes are
    # also called `code`; they are short numbers, which an authorization code is not.
    (
        re.compile(rf"(?<![A-Za-z])({_NAMES})=(?!\d{{1,10}}(?![\w-]))[^\s&;,\"'<>)\]}}]+", re.IGNORECASE),
        rf"\1={MASK}",
    ),
    (
        re.compile(
            rf"(?<![A-Za-z_\\])(\\*[\"']?(?:{_NAMES})\\*[\"']?\s*:\s*\\*[\"'])(?:\\.|[^\"'\\])*",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(r"\b(Authorization|Cookie|Set-Cookie)(\s*:\s*)(?![\"'\s])[^\r\n]+", re.IGNORECASE),
        rf"\1\2{MASK}",
    ),
    # The link of a card, and the password of a URL.
    (re.compile(r"(/authorize/)[\w-]{16,}"), rf"\1{MASK}"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+@"), rf"\1{MASK}@"),
)


def redact(text: str) -> str:
    """Return the text, with everything masked that looks like a secret."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


TRACEBACK_INTERVAL = 60.0
"""Seconds between two tracebacks of the same exception, which is logged without one in between. While the database is
unavailable, polling fails several times a second, and the tracebacks would fill a disk."""
MAX_REMEMBERED = 200


class _Formatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[tuple[object, ...], float] = {}
        """When each exception was last logged with its traceback. Guarded by the handler's lock."""

    def message(self, record: logging.LogRecord) -> str:
        """Return the masked message. Its arguments are filled in first, so that they are masked too."""
        return escape(redact(record.getMessage()))

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """Return the fields passed as `extra`. Numbers, booleans and None keep their type."""
        found: dict[str, object] = {}
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                found[name] = value if isinstance(value, int | float | None) else self._value(name, value)
        return found

    def _value(self, name: str, value: object) -> str:
        text = str(value)
        masked = redact(f"{name}={text}").removeprefix(f"{name}=")
        return escape(masked if masked == MASK else redact(text))

    def exception(self, record: logging.LogRecord) -> str:
        """Return the masked exception and stack of a record, on several lines; empty if there is none."""
        parts = []
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            render = (
                traceback.format_exception if self._is_new(record, error) else traceback.format_exception_only
            )
            parts.append("".join(render(error)))
        if record.stack_info:
            parts.append(record.stack_info)
        return escape(redact("\n".join(parts).strip("\n")), lines=True)

    def _is_new(self, record: logging.LogRecord, error: BaseException) -> bool:
        key = (record.name, record.msg, type(error), str(error))
        logged_at = self._logged_at.get(key)
        if logged_at is not None and record.created - logged_at < TRACEBACK_INTERVAL:
            return False
        if len(self._logged_at) >= MAX_REMEMBERED:
            self._logged_at.clear()
        self._logged_at[key] = record.created
        return True


class TextFormatter(_Formatter):
    """`2026-01-31T12:00:00.000Z INFO bot.app listening port=8080`; lines of an exception are indented."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname} {record.name} {self.message(record)}"
        line += "".join(f" {name}={value}" for name, value in self.fields(record).items())
        exception = self.exception(record)
        return line + "".join(f"\n    | {each}" for each in exception.split("\n") if exception)


class JsonFormatter(_Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, the fields and, if there is one, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
        }
        exception = self.exception(record)
        return json.dumps(
            {**self.fields(record), **line, **({"exception": exception} if exception else {})},
            ensure_ascii=False,
            default=str,
        )


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_our_error(record: logging.LogRecord) -> bool:
    """Filter out errors of the HTTP parser: any client can cause them at any rate, and they must not fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not any(each.__module__ == "aiohttp.http_exceptions" for each in type(error).__mro__)


def configure(log_format: Literal["text", "json"], level: str, stream: IO[str] | None = None) -> None:
    """Make every logger write masked lines to stderr, or to `stream`. May be called repeatedly."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    logging.captureWarnings(True)
    # The access log contains each request line with its query, and queries contain codes and states.
    logging.getLogger("aiohttp.access").disabled = True
    logging.getLogger("aiohttp.server").addFilter(_is_our_error)
    # At level info, alembic would log its plugins and each revision at every start.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.INFO)
