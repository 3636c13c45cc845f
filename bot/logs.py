"""Logs: one line a record on stderr, as text or JSON, in UTC, with secrets masked.

Nothing should log a secret in the first place: they are of a type that prints `***`. The masking here is the
second line of defence, for what comes out of libraries and exceptions. What comes from outside cannot begin a
line of its own.
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
    # Headers, and values that say themselves what they are.
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]*)*"), MASK),
    (re.compile(r"(?<![\w-])(?:ur?|t|a)-(?=[\w.-]{0,200}\d)[\w.-]{12,}"), MASK),
    # A key, ticket, state or verifier of ours: 32 random bytes in base64url.
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
    """The text with all that looks like a secret masked."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


TRACEBACK_AGAIN_AFTER = 60.0
"""Seconds: so long the same trouble is told in short once it was told in full. What is looked at several times a
second fails as often while the database is away, and tracebacks of that would fill a disk."""
MOST_TOLD = 200


class _Formatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[object, ...], float] = {}
        """When which trouble was last told with its traceback. The handler's lock guards it."""

    def message(self, record: logging.LogRecord) -> str:
        """Filled in first and masked then, so that what came by an argument is masked as well."""
        return escape(redact(record.getMessage()))

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """What the caller gave as `extra`. A number, a truth value or None stays what it is."""
        found: dict[str, object] = {}
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                found[name] = value if isinstance(value, int | float | None) else self._value(name, value)
        return found

    def _value(self, name: str, value: object) -> str:
        text = str(value)
        masked = redact(f"{name}={text}").removeprefix(f"{name}=")
        return escape(masked if masked == MASK else redact(text))

    def trouble(self, record: logging.LogRecord) -> str:
        """The exception and the stack of a record, masked, on lines of their own making; empty when there is none."""
        parts = []
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            tell = (
                traceback.format_exception
                if self._is_news(record, error)
                else traceback.format_exception_only
            )
            parts.append("".join(tell(error)))
        if record.stack_info:
            parts.append(record.stack_info)
        return escape(redact("\n".join(parts).strip("\n")), lines=True)

    def _is_news(self, record: logging.LogRecord, error: BaseException) -> bool:
        trouble = (record.name, record.msg, type(error), str(error))
        told_at = self._told.get(trouble)
        if told_at is not None and record.created - told_at < TRACEBACK_AGAIN_AFTER:
            return False
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[trouble] = record.created
        return True


class TextFormatter(_Formatter):
    """`2026-01-31T12:00:00.000Z INFO bot.app listening port=8080`; lines of an exception are indented."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname} {record.name} {self.message(record)}"
        line += "".join(f" {name}={value}" for name, value in self.fields(record).items())
        trouble = self.trouble(record)
        return line + "".join(f"\n    | {each}" for each in trouble.split("\n") if trouble)


class JsonFormatter(_Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, the fields, perhaps `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
        }
        trouble = self.trouble(record)
        return json.dumps(
            {**self.fields(record), **line, **({"exception": trouble} if trouble else {})},
            ensure_ascii=False,
            default=str,
        )


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_our_concern(record: logging.LogRecord) -> bool:
    """Anybody can send what is no HTTP, as often as they like: that is no error of ours, and fills no log."""
    error = record.exc_info[1] if record.exc_info else None
    return not any(each.__module__ == "aiohttp.http_exceptions" for each in type(error).__mro__)


def configure(log_format: Literal["text", "json"], level: str, stream: IO[str] | None = None) -> None:
    """Sends every logger of this process through the masking, to stderr. May be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    logging.captureWarnings(True)
    # It logs every request line with its query, and queries carry codes and states.
    logging.getLogger("aiohttp.access").disabled = True
    logging.getLogger("aiohttp.server").addFilter(_is_our_concern)
    # It announces each of its own parts, and each revision that it looks at, at every start.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.INFO)
