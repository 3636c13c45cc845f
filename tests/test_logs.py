"""Logs: secrets are masked wherever they come in, and nobody outside can write a line of their own."""

import ast
import asyncio
import base64
import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bot import logs
from bot.core.secrets import NotSecret, Secret
from bot.flows import observations

Read = Callable[[], str]


@pytest.fixture(params=["text", "json"])
def read(request: pytest.FixtureRequest) -> Iterator[Read]:
    """Configures logging into memory; gives what was written. Afterwards all is as before."""
    root, access = logging.root, logging.getLogger("aiohttp.access")
    before = (root.handlers[:], root.level, access.disabled)
    stream = io.StringIO()
    logs.configure(request.param, "debug", stream)
    yield stream.getvalue
    logging.captureWarnings(False)
    root.handlers[:], access.disabled = before[0], before[2]
    root.setLevel(before[1])


log = logging.getLogger("bot.somewhere")

KEY = base64.urlsafe_b64encode(bytes(range(100, 132))).decode()
SECRETS = [
    ("eyJhbGciOiJFUzI1NiIs.emu.r1Qx", "the answer held {}"),
    ("u-7f1bcd13fc57d46bac21793a18e5", "token {} is gone"),
    ("ur-oQ0mMq6MCcueAv0pxx2fQQhxqv", "refreshing with {}"),
    ("t-g1044ghJRUIJJ5ELPVLSDK7DWL", "{}"),
    ("Qm3xY-zzz_1", "GET /oauth/lark/callback?code={}&state=other HTTP/1.1"),
    ("Qm3xYzzz1", "https://bot.example.com/oauth/lark/callback?state={}"),
    ("S3cr3tS3cr3t", '{{"client_id": "cli_a", "client_secret": "{}"}}'),
    ("S3cr3tS3cr3t", "{{'app_secret': '{}', 'code': 0}}"),
    ("S3cr3tS3cr3t", 'body={{\\"refresh_token\\":\\"{}\\"}}'),
    ("S3cr3tS3cr3t", "Authorization: Bearer {}"),
    ("S3cr3tS3cr3t", "headers {{'Authorization': 'Bearer {}'}}"),
    ("S3cr3tS3cr3t", "Cookie: session={}; other=1"),
    ("S3cr3tS3cr3t", "cannot connect to postgresql+asyncpg://bot:{}@db/bot"),
    ("3q2-7wAAAAAAAAAAAAAAAAA", "GET /authorize/{} HTTP/1.1"),
    (KEY, "a key of ours, {} here"),
    (KEY.rstrip("="), "[{}]"),
]


@pytest.mark.parametrize(("secret", "text"), SECRETS)
def test_a_secret_is_masked_in_a_message(read: Read, secret: str, text: str) -> None:
    log.info(text.format(secret).replace("%", "%%"))
    assert secret not in read()
    assert "***" in read()


@pytest.mark.parametrize(("secret", "text"), SECRETS)
def test_a_secret_is_masked_in_an_argument_a_field_and_an_exception(
    read: Read, secret: str, text: str
) -> None:
    try:
        try:
            raise KeyError(text.format(secret))
        except KeyError as error:
            raise RuntimeError(text.format(secret)) from error
    except RuntimeError:
        log.exception("failed: %s", text.format(secret), extra={"detail": text.format(secret)})
    assert secret not in read()
    assert "RuntimeError" in read()


def test_a_field_is_masked_for_its_name(read: Read) -> None:
    log.info("refused", extra={"token": "short", "state": "abc", "code": 99991679, "secret": Secret("x")})
    assert "short" not in read()
    assert "abc" not in read()
    assert "99991679" in read()


def test_an_error_code_in_words_is_shown_and_what_looks_like_a_secret_is_not(read: Read) -> None:
    log.info("refused", extra={"code": NotSecret("Forbidden.AccessDenied")})
    log.info("refused", extra={"code": NotSecret(TOKEN)})
    assert "Forbidden.AccessDenied" in read()
    assert TOKEN not in read()


@pytest.mark.parametrize(
    "text",
    [
        "code=99991679 refused",
        '{"code": 99991679, "msg": "Unauthorized"}',
        "lark:cli_a1b2c3d4e5f60718:736588c92abc175d:ou_0123456789abcdef0123456789abcdef",
        "needs docx:document:readonly",
        "call 0198f3a2b4c5d6e7f8091a2b3c4d5e6f is suspended",
        "GET https://open.larksuite.com/open-apis/authen/v1/user_info",
        "a t-shirt, a-part-of-the-sentence and 中文",
    ],
)
def test_text_that_is_no_secret_stays_readable(text: str) -> None:
    assert logs.redact(text) == text


PIECES = (
    *(
        "token",
        "code",
        "cookie",
        "authorization",
        "bearer",
        "basic",
        "password",
        "eyJ",
        "u-",
        "ur-",
        "t-",
        "a",
    ),
    *(
        "A",
        "1",
        "_",
        "-",
        ":",
        "=",
        " ",
        '"',
        "'",
        "\\",
        "/authorize/",
        "://",
        "@",
        "\n",
        "abcdefghijkl",
        "Z9" * 22,
    ),
)


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_what_is_not_searched_for_each_pattern_contains_none(text: str) -> None:
    searched = text
    for pattern, replacement in logs.PATTERNS:
        searched = pattern.sub(replacement, searched)
    assert logs.redact(text) == searched


def test_nobody_outside_can_write_a_line_of_their_own(read: Read) -> None:
    evil = "hello\n2026-01-01T00:00:00.000Z INFO bot all is well\r\x1b[2J\u2028\u202e"
    log.warning("said %s", evil, extra={"text": evil})
    assert read().count("\n") == 1
    assert read().rstrip("\n").isprintable()


def test_lines_of_an_exception_cannot_pass_for_records(read: Read) -> None:
    try:
        raise ValueError("one\n2026-01-01T00:00:00.000Z INFO bot all is well\x1b[2J")
    except ValueError:
        log.exception("failed")
    first, *rest = read().splitlines()
    assert "failed" in first
    assert all(line.startswith("    | ") for line in rest)
    assert "\x1b" not in read()


def fail(reason: str) -> None:
    try:
        raise ConnectionError(reason)
    except ConnectionError:
        log.exception("chore failed")


def test_trouble_that_recurs_is_told_in_full_only_once(read: Read) -> None:
    for _ in range(3):
        fail("the database is away")
    assert read().count("ConnectionError: the database is away") == 3
    assert read().count("Traceback") == 1
    fail("the disk is full")
    assert read().count("Traceback") == 2


def test_trouble_that_lasts_is_told_in_full_again_every_minute() -> None:
    formatter = logs.TextFormatter()
    error = ConnectionError("the database is away")

    def told_after(seconds: float) -> str:
        fields = {"msg": "chore failed", "created": seconds, "exc_info": (type(error), error, None)}
        return formatter.format(logging.makeLogRecord(fields))

    with pytest.raises(ConnectionError):
        raise error
    assert [("Traceback" in told_after(seconds)) for seconds in (0, 59, 61, 100, 122)] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_an_exception_is_part_of_one_line_of_json() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.Logger("bot.somewhere")
    logger.addHandler(handler)
    try:
        raise ValueError("one\ntwo\x85three\u2028four\u202efive\x1b[2J")
    except ValueError:
        logger.exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "one\ntwo\\x85three" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    "piece",
    [
        "\\",
        '\\\\"',
        "token",
        "token:",
        "a_",
        'token:"',
        "Bearer ",
        "Cookie: ",
        "://a:",
        "eyJ",
        "u-",
        "u-.",
        "A1",
        "state=",
        "/authorize/",
        " ",
    ],
)
def test_no_text_takes_long_to_mask(piece: str) -> None:
    started = time.process_time()
    logs.redact(piece * (200_000 // len(piece)) + "!")
    assert time.process_time() - started < 3


def test_no_line_names_a_field_that_logging_keeps_for_itself() -> None:
    """It would raise at the very moment when something is to be told."""
    reserved = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
    for file in Path(logs.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                names = {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
                assert not names & reserved, f"{file}:{node.value.lineno}"


def test_json_is_an_object_a_line_and_a_field_cannot_replace_what_we_say() -> None:
    record = logging.makeLogRecord(
        {"msg": "ready", "name": "bot.app", "levelname": "INFO", "created": 0.25, "port": 8080, "time": "x"}
    )
    assert json.loads(logs.JsonFormatter().format(record)) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "bot.app",
        "message": "ready",
        "port": 8080,
    }


def test_text_says_the_time_in_utc_and_the_fields_by_name() -> None:
    record = logging.makeLogRecord(
        {"msg": "ready", "name": "bot.app", "levelname": "INFO", "created": 0.25, "port": 8080}
    )
    assert logs.TextFormatter().format(record) == "1970-01-01T00:00:00.250Z INFO bot.app ready port=8080"


def test_request_lines_are_not_logged(read: Read) -> None:
    logging.getLogger("aiohttp.access").info("GET /oauth/lark/callback")
    assert read() == ""


async def test_bytes_that_are_no_http_do_not_fill_the_log(read: Read) -> None:
    async def fails(request: web.Request) -> web.Response:
        raise RuntimeError("ours")

    application = web.Application()
    application.router.add_get("/", fails)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]

    async def send(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    endless = b"GET /oauth/lark/callback?code=" + b"x" * 9000 + b" HTTP/1.0\r\nHost: bot\r\n\r\n"
    for nonsense in (endless, b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nHost : \x00\r\n\r\n"):
        assert b" 400 " in await send(nonsense)
    assert read() == ""
    assert b" 500 " in await send(b"GET / HTTP/1.0\r\nHost: bot\r\n\r\n")
    assert "ours" in read()
    await runner.cleanup()


# --- a line for every record ------------------------------------------------------------------------------

TOKEN = "u-7f1bcd13fc57d46bac21793a18e5"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError(TOKEN)

    __repr__ = __str__


class NotText:
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


class Endless:
    def __str__(self) -> str:
        return str(self)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError(TOKEN)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def chained(length: int) -> BaseException:
    error: BaseException = raised(ValueError("first"))
    for _ in range(length):
        later = raised(ValueError("later"))
        later.__cause__, error = error, later
    return error


def deep_list(depth: int) -> list[object]:
    found: list[object] = []
    for _ in range(depth):
        found = [found]
    return found


STRANGE: dict[str, Callable[[], tuple[object, tuple[object, ...], dict[str, Any]]]] = {
    "an argument of another type": lambda: ("%d tokens, %s", (TOKEN, 1), {}),
    "too few arguments": lambda: ("%s and %s", (TOKEN,), {}),
    "too many arguments": lambda: ("nothing to fill in", (TOKEN, 2), {}),
    "a percent sign that means nothing": lambda: ("100 % of %z", (TOKEN,), {}),
    "a dict without the key": lambda: ("%(other)s", ({"token": TOKEN},), {}),
    "an argument that cannot be printed": lambda: ("%s", (Unprintable(),), {}),
    "an argument whose str is a number": lambda: ("%s %s", (NotText(), TOKEN), {}),
    "an argument that recurses without end": lambda: ("%s %s", (Endless(), TOKEN), {}),
    "a list too deep to print": lambda: ("%s %s", (deep_list(100_000), TOKEN), {}),
    "a field that cannot be printed": lambda: ("said", (), {"extra": {"thing": Unprintable()}}),
    "a field that recurses without end": lambda: ("said", (), {"extra": {"thing": Endless()}}),
    "a message that cannot be printed": lambda: (Unprintable(), (), {}),
    "a message that is no text": lambda: ([TOKEN], (), {}),
    "bytes": lambda: ("%s", (TOKEN.encode(),), {}),
    "lone surrogates": lambda: ("\udc80 %s", (f"\ud800 {TOKEN}",), {"extra": {"text": "\udfff"}}),
    "a NUL": lambda: ("a\x00b %s", (TOKEN,), {}),
    "ten megabytes": lambda: ("%s %s", (TOKEN, "x" * 10_000_000), {}),
    "a field of ten megabytes": lambda: ("said", (), {"extra": {"text": f"{TOKEN} {'x' * 10_000_000}"}}),
    "an exception that cannot be printed": lambda: ("failed", (), {"exc_info": raised(UnprintableError())}),
    "an exception without a traceback": lambda: ("failed", (), {"exc_info": ValueError(TOKEN)}),
    "an exception of ten megabytes": lambda: (
        "failed",
        (),
        {"exc_info": raised(ValueError(f"{TOKEN} {'x' * 10_000_000}"))},
    ),
    "a chain of a thousand exceptions": lambda: ("failed", (), {"exc_info": chained(1000)}),
    "an exception in a group": lambda: (
        "failed",
        (),
        {"exc_info": raised(ExceptionGroup("several", [raised(ValueError(TOKEN))]))},
    ),
    "no exception at all": lambda: ("failed with %s", (TOKEN,), {"exc_info": True}),
}


def own_logger() -> logging.Logger:
    """Return a logger with the bot's handler alone: those of pytest fail with such records."""
    logger = logging.Logger("bot.somewhere")
    logger.addHandler(next(each for each in logging.root.handlers if isinstance(each, logs._Handler)))
    return logger


@pytest.mark.parametrize("what", STRANGE)
def test_every_record_becomes_one_masked_line(read: Read, what: str) -> None:
    message, arguments, more = STRANGE[what]()
    own_logger().error(message, *arguments, **more)
    first, *rest = read().splitlines()
    assert all(line.startswith("    | ") for line in rest)
    assert "ERROR bot.somewhere " in first or (json.loads(first)["logger"], json.loads(first)["level"]) == (
        "bot.somewhere",
        "error",
    )
    assert TOKEN not in read()
    assert len(read()) < 60_000


def test_a_record_from_too_deep_in_the_stack_becomes_a_line(read: Read) -> None:
    """Wherever the stack ends: while the record is made, formatted or written."""

    logger = own_logger()

    def dive(left: int) -> None:
        if left:
            dive(left - 1)
        else:
            logger.error("deep")

    for margin in range(sys.getrecursionlimit() - 120, sys.getrecursionlimit()):
        before = len(read())
        try:
            dive(margin)
        except RecursionError:
            continue  # the record was never made
        line = read()[before:]
        assert line.count("\n") == 1, margin
        assert line.startswith("{") == read().startswith("{")
    assert "deep" in read()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_stream_that_was_closed_is_replaced_by_stderr(
    capfd: pytest.CaptureFixture[str], log_format: Literal["text", "json"]
) -> None:
    stream = io.StringIO()
    before = logging.root.handlers[:], logging.root.level
    try:
        logs.configure(log_format, "info", stream)
        stream.close()
        own_logger().error("said %s \ud800", TOKEN)
    finally:
        logging.captureWarnings(False)
        logging.root.handlers[:], level = before
        logging.root.setLevel(level)
    (line,) = capfd.readouterr().err.splitlines()
    assert "said *** \\ud800" in (json.loads(line)["message"] if log_format == "json" else line)


WITHOUT_FILES = """
import logging, os, resource, sys
from bot import logs
logs.configure(sys.argv[1], "info")
resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1,) * 2)
try:
    while True:
        os.dup(2)
except OSError as full:
    logging.getLogger("bot").error("full \\ud800 \\x1b %s", "Bearer abcdefgh12345678", exc_info=full)
    logging.getLogger("bot").warning("\\u4e2d \\U000e0001", extra={"text": "\\x85 \\u2028"})
    logging.getLogger("bot").error("%d", "x")
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_process_without_a_free_file_descriptor_logs_as_usual(log_format: str) -> None:
    """In a fresh process: what is loaded at first use would be a file to open."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_FILES, log_format], capture_output=True, check=True
    )
    lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("    | ")]
    if log_format == "json":
        lines = [f"{each['message']} {each.get('text', '')}" for each in map(json.loads, lines)]
    assert len(lines) == 3
    assert "full \\ud800 \\x1b Bearer ***" in lines[0]
    assert "中 \\U000e0001" in lines[1]
    assert "\\x85 \\u2028" in lines[1]
    assert "%d [TypeError: x]" in lines[2]
    assert b"Too many open files" in done.stderr
    assert b"abcdefgh" not in done.stderr


def test_what_a_library_repeats_is_a_line_a_minute_with_the_number(read: Read) -> None:
    library = logging.getLogger("some.library")
    for _ in range(500):
        library.error("socket.accept() out of system resource")
    library.error("something else")
    assert read().count("out of system resource") == 1
    assert read().count("something else") == 1
    formatted = logs._RepeatsOfLibraries()
    records = [
        logging.makeLogRecord({"name": "some.library", "levelno": 40, "msg": "away", "created": at})
        for at in (0.0, 1.0, 59.0, 61.0, 100.0, 122.0)
    ]
    assert [formatted.allow(each) for each in records] == [True, False, False, True, False, True]
    assert [getattr(each, "count", 0) for each in records] == [0, 0, 0, 2, 0, 1]


def test_what_the_bot_tells_can_be_written_by_any_handler() -> None:
    """An operator's plug-in may add one, with a format of its own."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    where = "%(filename)s:%(lineno)d %(funcName)s %(threadName)s %(process)d"
    handler.setFormatter(logging.Formatter(f"%(levelname)s %(name)s {where} %(message)s %(face)s %(count)s"))
    observations.log.addHandler(handler)
    try:
        observations.tell("card shown", logging.WARNING, face="waiting", count=0, card="")
    finally:
        observations.log.removeHandler(handler)
    assert stream.getvalue().endswith(" card shown waiting 0\n")
    assert stream.getvalue().startswith("WARNING bot observations.py:")
