"""Logs: secrets are masked wherever they come in, and nobody outside can write a line of their own."""

import ast
import asyncio
import base64
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from bot import logs
from bot.core.secrets import Secret

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
