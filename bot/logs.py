"""Logs: one line per record on stderr, as text or JSON, in UTC, with secrets masked.

Secrets have a type that prints `***`, so no code of the bot logs one. The masking here is a second line of defence, for
libraries and exceptions. Text from outside cannot start a new line.

Whatever the record, its line is written, in the same format: formatting opens no file, and survives values that cannot be
printed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import IO, Literal

from bot.core.secrets import NotSecret
from bot.core.unseen_characters import escape
from bot.flows import correlation

MASK = "***"

_NAMES = (
    "access_token|refresh_token|user_access_token|tenant_access_token|app_access_token|id_token|token|"
    "client_secret|app_secret|appsecret|secret|password|encrypt_key|encryption_keys|"
    "code_verifier|verifier|ticket|state|code|authorization|cookie"
)

PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
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


_PLAIN = re.compile(r"(?!authorization:|cookie:)[a-z0-9_]+(?::(?!authorization:|cookie:)[a-z0-9_]+)*")
"""Matches ids, keys of users and single words, in which no pattern finds anything: most of what lines contain."""

_SUSPICIOUS = re.compile(
    r"[=:]|eyJ|/authorize/|(?<![\w-])(?:ur?|t|a)-|[A-Za-z0-9_-]{43}|bearer|basic", re.IGNORECASE
)
"""Matches whatever a pattern could match. Most texts have nothing of it, and are not searched for each pattern."""


def redact(text: str) -> str:
    """Return the text, with everything masked that looks like a secret."""
    if _PLAIN.fullmatch(text) or not _SUSPICIOUS.search(text):
        return text
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


_SECRET_FIELD = re.compile(rf"(?:^|[^A-Za-z])(?:{_NAMES})$", re.IGNORECASE)

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


TRACEBACK_INTERVAL = 60.0
"""Seconds between two tracebacks of the same exception, which is logged without one in between. While the database is
unavailable, polling fails several times a second, and the tracebacks would fill a disk."""
MAX_REMEMBERED = 200

MAX_MESSAGE, MAX_FIELD, MAX_EXCEPTION = 8000, 2000, 20_000
"""Characters. The rest is cut."""

MAX_KNOWN = 5000
"""Short texts that are known to hold no secret. The ids of a story are in each of its lines."""
MAX_KNOWN_LENGTH = 120


class _Formatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[tuple[object, ...], float] = {}
        """When each exception was last logged with its traceback. Guarded by the handler's lock."""
        self._known: set[str] = set()
        """Texts that are printed as they are. Guarded by the handler's lock."""
        self._secret_fields: dict[str, bool] = {}
        """Which names of fields are names of secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line. If that fails, return one with less in it."""
        try:
            return self.line(record, self.message(record), self.fields(record), self.exception(record))
        except Exception as error:
            return self.line(record, _without_arguments(record), {"format_error": type(error).__name__}, "")

    def line(self, record: logging.LogRecord, message: str, fields: dict[str, object], exception: str) -> str:
        raise NotImplementedError

    def message(self, record: logging.LogRecord) -> str:
        """Return the masked message. Its arguments are filled in first, so that they are masked too."""
        try:
            text = record.getMessage()
        except Exception as error:
            text = (
                f"{_text(record.msg)} [{type(error).__name__}: {', '.join(map(_text, _arguments(record)))}]"
            )
        return self._masked(text, MAX_MESSAGE)

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """Return the fields passed as `extra`, followed by the ids of the story.

        Numbers, booleans and None keep their type.
        """
        found: dict[str, object] = {}
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                found[name] = value if isinstance(value, int | float | None) else self._value(name, value)
        for name, text in correlation.bound().items():
            if name not in found:
                found[name] = self._value(name, text)
        return found

    def _value(self, name: str, value: object) -> str:
        text = value if type(value) is str else _text(value)
        is_secret = self._secret_fields.get(name)
        if is_secret is None:
            is_secret = self._secret_fields[name] = _SECRET_FIELD.search(name) is not None
        if is_secret and not isinstance(value, NotSecret):
            masked = redact(f"{name}={text[:MAX_FIELD]}").removeprefix(f"{name}=")
            if masked == MASK:
                return masked
        return text if text in self._known else self._masked(text, MAX_FIELD)

    def _masked(self, text: str, limit: int) -> str:
        """Return the text on one line, masked and cut. It is masked before it is cut: half a secret looks like none."""
        if text in self._known:
            return text
        shown = escape(redact(text[: 2 * limit]))
        if shown != text:
            return _cut(shown, limit)
        if len(text) <= MAX_KNOWN_LENGTH:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known.add(text)
        return _cut(shown, limit)

    def exception(self, record: logging.LogRecord) -> str:
        """Return the masked exception and stack of a record, on several lines; empty if there is none."""
        parts = []
        if record.exc_info and record.exc_info[1] is not None:
            parts.append(self._traceback(record, record.exc_info[1]))
        if record.stack_info:
            parts.append(record.stack_info)
        if not parts:
            return ""
        text = "\n".join(parts).strip("\n")
        return _cut(escape(redact(text[: 2 * MAX_EXCEPTION]), lines=True), MAX_EXCEPTION)

    def _traceback(self, record: logging.LogRecord, error: BaseException) -> str:
        try:
            render = (
                traceback.format_exception if self._is_new(record, error) else traceback.format_exception_only
            )
            return "".join(render(error))
        except Exception:
            return type(error).__name__

    def _is_new(self, record: logging.LogRecord, error: BaseException) -> bool:
        key = (record.name, record.msg, type(error), _text(error))
        logged_at = self._logged_at.get(key)
        if logged_at is not None and record.created - logged_at < TRACEBACK_INTERVAL:
            return False
        if len(self._logged_at) >= MAX_REMEMBERED:
            self._logged_at.clear()
        self._logged_at[key] = record.created
        return True


class TextFormatter(_Formatter):
    """`2026-01-31T12:00:00.000Z INFO bot.app listening port=8080`; lines of an exception are indented."""

    def line(self, record: logging.LogRecord, message: str, fields: dict[str, object], exception: str) -> str:
        line = f"{_time(record)} {record.levelname} {record.name} {message}"
        line += "".join(f" {name}={value}" for name, value in fields.items())
        return line + "".join(f"\n    | {each}" for each in exception.split("\n") if exception)


class JsonFormatter(_Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, the fields and, if there is one, `exception`."""

    def line(self, record: logging.LogRecord, message: str, fields: dict[str, object], exception: str) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        if exception:
            line["exception"] = exception
        return _encode(
            {**line, **fields, **line} if not line.keys().isdisjoint(fields) else {**line, **fields}
        )


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _text(value: object) -> str:
    """Return `str(value)`, or what the value is if that fails."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _arguments(record: logging.LogRecord) -> tuple[object, ...]:
    return record.args if isinstance(record.args, tuple) else (record.args,)


def _without_arguments(record: logging.LogRecord) -> str:
    message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    return escape(redact(message[:MAX_MESSAGE]))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


_second: tuple[int, str] = (0, "1970-01-01T00:00:00")
"""The last second that was written, because most lines share one with the line before."""


def _time(record: logging.LogRecord) -> str:
    global _second  # noqa: PLW0603 - a cache
    seconds = int(record.created)
    if _second[0] != seconds:
        _second = seconds, datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{_second[1]}.{int((record.created - seconds) * 1000):03d}Z"


def _is_our_error(record: logging.LogRecord) -> bool:
    """Filter out errors of the HTTP parser: any client can cause them at any rate, and they must not fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not any(each.__module__ == "aiohttp.http_exceptions" for each in type(error).__mro__)


REPEAT_INTERVAL = 60.0
"""Seconds between two lines of a library that say the same. The second has the number of those left out."""


class _RepeatsOfLibraries:
    """Leaves out what a library repeats: asyncio reports a lack of file descriptors a hundred times a second.

    The bot's own lines are folded where they are written, because there it is known what a repetition is.
    """

    def __init__(self) -> None:
        self._left_out: dict[tuple[object, ...], tuple[float, int]] = {}
        """When a line was last written, and how many have been left out since. Guarded by the handler's lock."""

    def allow(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record. Adds the number of those that were left out before it."""
        if record.levelno < logging.WARNING or record.name == "bot" or record.name.startswith("bot."):
            return True
        kind = (record.name, record.levelno, _text(record.msg), _text(record.args))
        written_at, count = self._left_out.get(kind, (-REPEAT_INTERVAL, 0))
        if record.created - written_at < REPEAT_INTERVAL:
            self._left_out[kind] = written_at, count + 1
            return False
        if len(self._left_out) >= MAX_REMEMBERED:
            self._left_out.clear()
        self._left_out[kind] = record.created, 0
        if count:
            record.count = count
        return True


class _Handler(logging.StreamHandler[IO[str]]):
    """Writes each line at once. If the stream does not take it, stderr may."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self._repeats = _RepeatsOfLibraries()

    def emit(self, record: logging.LogRecord) -> None:
        if not self._repeats.allow(record):
            return
        try:
            line = self.format(record)
        except RecursionError:
            # Too deep for a call of any size.
            line = _TOO_DEEP[type(self.formatter)]
        try:
            self.stream.write(f"{line}\n")
            self.stream.flush()
        except (OSError, ValueError, RecursionError):
            self._write_to_stderr(line)

    def _write_to_stderr(self, line: str) -> None:
        """Write to the process's stderr, whatever has become of the stream. A log that nobody takes is dropped."""
        with contextlib.suppress(OSError):
            os.write(STDERR, f"{line}\n".encode(errors="backslashreplace"))

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the default prints the record unmasked."""


STDERR = 2

_TOO_DEEP: dict[type | None, str] = {
    JsonFormatter: '{"level": "error", "logger": "bot.logs", "message": "a record was logged too deep in the stack"}',
    TextFormatter: "ERROR bot.logs a record was logged too deep in the stack",
}


def configure(log_format: Literal["text", "json"], level: str, stream: IO[str] | None = None) -> None:
    """Make every logger write masked lines to stderr, or to `stream`. May be called repeatedly."""
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    _warm_up(handler)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    logging.captureWarnings(True)
    # The access log contains each request line with its query, and queries contain codes and states.
    logging.getLogger("aiohttp.access").disabled = True
    logging.getLogger("aiohttp.server").addFilter(_is_our_error)
    # At level info, alembic would log its plugins and each revision at every start.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    # What no line shows is not looked up for each record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # since 3.12


def _warm_up(handler: logging.Handler) -> None:
    """Format an exception, so that modules and codecs are loaded while there are files left to open."""
    try:
        raise ValueError("\x1b\ud800 中文")
    except ValueError:
        handler.format(logging.LogRecord("bot.logs", logging.ERROR, "", 0, "%s", ("ready",), sys.exc_info()))
    "\ud800 中文".encode("utf-8", errors="backslashreplace")
