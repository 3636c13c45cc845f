"""`bot sandbox` as a process: what it prints, how it ends, and what it shows of a bot that cannot start."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.ports import free_port

from .conftest import ROOT, SAM, START, OpenPage, Sandbox, start_program, stop_sandbox
from .test_in_client import wait_for_bot


def test_the_first_line_is_the_address_of_the_chat_page(platform: Sandbox) -> None:
    with urlopen(platform.url, timeout=5) as page:
        assert b'id="composer"' in page.read()


def test_platform_only_prints_all_that_connects_a_bot(platform: Sandbox) -> None:
    environment = platform.environment
    assert environment["LARK_OPEN_URL"] == environment["LARK_ACCOUNTS_URL"] == platform.url.rstrip("/")
    assert environment["LARK_APP_SECRET"]
    assert environment["BOT_DATABASE_URL"] == f"sqlite+aiosqlite:///{platform.directory / 'bot.db'}"
    assert environment["BOT_PUBLIC_URL"].endswith(":" + environment["BOT_PORT"])
    assert environment["LARK_EVENTS"] == "websocket"
    assert environment["LARK_ENCRYPT_KEY"]
    assert environment["LARK_VERIFICATION_TOKEN"]


def test_the_key_that_seals_a_kept_database_is_kept_and_private(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        sandbox = start_program(tmp_path, "platform")
        keys.append(sandbox.environment["BOT_ENCRYPTION_KEYS"])
        stop_sandbox(sandbox)
    assert keys[0] == keys[1]
    assert (tmp_path / "encryption.key").stat().st_mode & 0o077 == 0


def test_a_termination_signal_ends_it_cleanly(tmp_path: Path) -> None:
    sandbox = start_program(tmp_path, "platform")
    assert stop_sandbox(sandbox) == 0


def test_an_interrupt_ends_it_cleanly_while_a_page_is_open(tmp_path: Path, open_page: OpenPage) -> None:
    sandbox = start_program(tmp_path, "platform")
    page = open_page(sandbox.url)
    expect(page.locator("#people")).to_contain_text("Sam Rivera")
    started = time.monotonic()
    sandbox.process.send_signal(signal.SIGINT)
    assert sandbox.process.wait(timeout=10) == 0
    assert time.monotonic() - started < 5
    stop_sandbox(sandbox)


def assert_refused_in_a_line(data: Path, port: int, begins: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", START, str(data), "platform", str(port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(begins)
    assert ended.stderr.count("\n") == 1


def test_a_port_that_was_asked_for_and_is_taken_is_said_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused_in_a_line(tmp_path, port, f"--port {port}: ")


def test_a_bot_that_cannot_start_is_shown_with_its_last_words(tmp_path: Path, open_page: OpenPage) -> None:
    (tmp_path / "bot.db").mkdir()
    sandbox = start_program(tmp_path, "bot")
    try:
        page = open_page(sandbox.url)
        expect(page.locator("#banner")).to_contain_text("The bot could not start")
        expect(page.locator("#banner .source")).not_to_be_empty()
        assert page.get_by_role("button", name="Start it").is_visible()
    finally:
        assert stop_sandbox(sandbox) == 0


def test_a_bot_that_takes_its_time_to_start_is_said_to_be_starting(
    tmp_path: Path, open_page: OpenPage
) -> None:
    sandbox = start_program(tmp_path, "bot")
    try:
        no_events = {"kind": "down", "match": {"path": "/callback/ws/endpoint"}}
        fault = sandbox.post("faults", no_events)["fault_id"]
        sandbox.call("POST", "/sandbox/api/bot", {"action": "kill"})
        sandbox.call("POST", "/sandbox/api/bot", {"action": "start"})
        page = open_page(sandbox.url)
        expect(page.locator("#banner")).to_have_text("The bot is starting.")
        sandbox.call("DELETE", f"/sandbox/api/faults/{fault}")
        expect(page.locator("#bot-status")).to_contain_text("running", timeout=30_000)
        expect(page.locator("#banner")).to_be_hidden()
    finally:
        assert stop_sandbox(sandbox) == 0


def test_a_page_left_open_shows_the_new_world_when_the_sandbox_is_started_again(
    tmp_path: Path, open_page: OpenPage
) -> None:
    port = free_port()
    sandbox = start_program(tmp_path / "old", "platform", port)
    page = open_page(sandbox.url)
    sandbox.say(SAM, "from the old world")
    expect(page.locator("#log")).to_contain_text("from the old world")
    stop_sandbox(sandbox)
    again = start_program(tmp_path / "new", "platform", port)
    try:
        expect(page.locator("#log")).to_contain_text("Say something to Helper")
    finally:
        stop_sandbox(again)


@pytest.mark.parametrize("platform", ["lark", "dingtalk"])
def test_the_second_line_says_what_to_do_with_it(tmp_path: Path, platform: str) -> None:
    sandbox = start_program(tmp_path, "bot", platform=platform)
    try:
        with urlopen(sandbox.url, timeout=5) as page:
            assert b'id="composer"' in page.read()
        assert sandbox.process.stdout is not None
        line = sandbox.process.stdout.readline()
        assert "browser" in line
        assert "Ctrl-C" in line
    finally:
        assert stop_sandbox(sandbox) == 0


def test_a_kept_platform_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = start_program(tmp_path, "platform")
    first.say(SAM, "do you remember?")
    first.post("grants", {"person": SAM, "scopes": ["docx:document:readonly"]})
    first.post("app-scopes", {"scope": "mail:user_mailbox.message:readonly", "user": True})
    first.post("behaviour", {"refresh_token_seconds": 600})
    first.post("clock", {"advance": 7200})
    before = first.state()
    environment = first.environment
    stop_sandbox(first)
    again = start_program(tmp_path, "platform")
    try:
        after = again.state()
        for part in ("app", "people", "chats", "messages"):
            assert after[part] == before[part]
        assert again.post("behaviour", {})["refresh_token_seconds"] == 600
        assert again.post("clock", {})["offset"] == 7200
        assert again.environment["LARK_APP_SECRET"] == environment["LARK_APP_SECRET"]
        assert (tmp_path / "platform.json").stat().st_mode & 0o077 == 0
    finally:
        stop_sandbox(again)


@pytest.mark.parametrize("text", ["", "[]", '{"people": 7}', '{"messages": {"om_1": {}}}'])
def test_a_memory_that_cannot_be_read_is_said_in_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "platform.json").write_text(text)
    assert_refused_in_a_line(tmp_path, 0, f"--data {tmp_path}: ")
    assert (tmp_path / "platform.json").read_text() == text


def test_dingtalk_alone_prints_all_that_connects_a_bot(tmp_path: Path) -> None:
    sandbox = start_program(tmp_path, "platform", platform="dingtalk")
    try:
        environment = sandbox.environment
        for origin in ("API", "OAPI", "LOGIN"):
            assert environment[f"DINGTALK_{origin}_URL"] == sandbox.url.rstrip("/")
        for name in ("CLIENT_ID", "CLIENT_SECRET", "CORP_ID", "ROBOT_CODE", "JSAPI_URL"):
            assert environment[f"DINGTALK_{name}"]
        assert environment["DINGTALK_EVENTS"] == "stream"
        assert environment["BOT_ADMINS"] == "ada0001"
        assert environment["BOT_PUBLIC_URL"].endswith(":" + environment["BOT_PORT"])
    finally:
        assert stop_sandbox(sandbox) == 0


@pytest.mark.parametrize(
    ("platform", "foreign"),
    [
        ("lark", {"DINGTALK_CLIENT_ID": "ding1", "DINGTALK_CLIENT_SECRET": "s", "DINGTALK_CORP_ID": "ding2"}),
        ("dingtalk", {"LARK_APP_ID": "cli_1", "LARK_APP_SECRET": "s"}),
        ("dingtalk", {"DINGTALK_CARD_TEMPLATE_ID": "mine.schema", "DINGTALK_EVENTS": "webhook"}),
    ],
)
def test_settings_of_a_real_bot_do_not_reach_the_one_in_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, foreign: dict[str, str]
) -> None:
    elsewhere = {f"DINGTALK_{each}_URL": "http://127.0.0.1:1" for each in ("API", "OAPI", "LOGIN")}
    for name, value in (foreign | elsewhere | {"LARK_OPEN_URL": "http://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)
    sandbox = start_program(tmp_path, "bot", platform=platform)
    try:
        wait_for_bot(sandbox)
        given = Path(f"/proc/{sandbox.call('GET', '/sandbox/api/bot')['pid']}/environ").read_bytes()
        assert b"127.0.0.1:1\0" not in given
        for value in foreign.values():
            assert f"={value}\0".encode() not in given
    finally:
        assert stop_sandbox(sandbox) == 0
