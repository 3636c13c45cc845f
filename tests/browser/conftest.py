"""The chat page in a real browser, against the sandbox as `bot sandbox` starts it: a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.bot_process import BlockingProcess, Forker, forked_sandbox

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""Chromium without windows opens a page with a quarter of the processor time that Chromium with hidden ones needs."""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = (
    "import sys; from pathlib import Path; from bot.sandbox.main import run; "
    "raise SystemExit(run(int(sys.argv[3]), Path(sys.argv[1]), False, sys.argv[2] == 'platform', *sys.argv[4:]))"
)

PATIENCE = 20_000
"""Milliseconds for what a page is to do or show, on a machine that has much else to do."""

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}

SAM = "ou_5a3d0c4b9e8f41d2a7b6c5d4e3f2a1b0"
WEI = "ou_11112222333344445555666677778888"
ADA = "ou_ada0ada0ada0ada0ada0ada0ada0ada0"
NIKO = "ou_9f8e7d6c5b4a39281706f5e4d3c2b1a0"
GROUP = "oc_1a7c4c3eb6d94a0c8f2e5d7b9a1c3e5f"


@dataclass
class Sandbox:
    """A running sandbox, reached from its two sides: people's switches and the bot's API."""

    process: subprocess.Popen[str] | BlockingProcess
    url: str
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    _token: str | None = None

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url.rstrip("/") + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=10) as response:
                answer = json.load(response)
        except HTTPError as refused:
            with refused:
                answer = json.load(refused)
        assert isinstance(answer, dict)
        return answer

    def form(self, path: str, fields: dict[str, str]) -> dict[str, Any]:
        """Posts a form as an OAuth client does; the JSON of the answer, whatever its status."""
        request = Request(self.url.rstrip("/") + path, urlencode(fields).encode(), method="POST")
        try:
            with urlopen(request, timeout=10) as response:
                return dict(json.load(response))
        except HTTPError as refused:
            with refused:
                return dict(json.load(refused))

    def post(self, path: str, body: object) -> dict[str, Any]:
        answer = self.call("POST", f"/sandbox/api/{path}", body)
        assert "error" not in answer, answer
        return answer

    def state(self) -> dict[str, Any]:
        return self.call("GET", "/sandbox/api/state")

    def as_bot(self, method: str, path: str, body: object) -> dict[str, Any]:
        if self._token is None:
            secrets = {
                "app_id": self.environment["LARK_APP_ID"],
                "app_secret": self.environment["LARK_APP_SECRET"],
            }
            answer = self.call("POST", "/open-apis/auth/v3/tenant_access_token/internal", secrets)
            self._token = answer["tenant_access_token"]
        answer = self.call(method, f"/open-apis/{path}", body, self._token)
        assert answer["code"] == 0, answer
        return answer

    def say(self, person: str, text: str) -> str:
        """The bot writes to a person; the id of the message."""
        return self.send(person, "text", {"text": text})

    def send(self, person: str, msg_type: str, content: object) -> str:
        body = {"receive_id": person, "msg_type": msg_type, "content": json.dumps(content)}
        answer = self.as_bot("POST", "im/v1/messages?receive_id_type=open_id", body)
        return str(answer["data"]["message_id"])

    def authorize_path(self, scope: str, **changes: str) -> str:
        query = {
            "client_id": self.environment["LARK_APP_ID"],
            "response_type": "code",
            "redirect_uri": self.environment["BOT_PUBLIC_URL"] + "/oauth/lark/callback",
            "scope": scope,
            "state": "state-of-the-test",
            **changes,
        }
        return f"/open-apis/authen/v1/authorize?{urlencode(query)}"


def start_program(directory: Path, mode: str, port: int = 0, platform: str = "lark") -> Sandbox:
    """Starts it as a process of Python; `mode` is "platform" or "bot". The caller stops it."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(directory), mode, str(port), platform],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return started(process, directory, mode)


StartSandbox = Callable[..., Sandbox]


@pytest.fixture(scope="session")
def start_sandbox(forker: Forker, sqlite_template: Path) -> StartSandbox:
    """Starts the sandbox as `start_program` does, by forking it; its bot's database is already migrated."""

    def start(directory: Path, mode: str, port: int = 0, platform: str = "lark") -> Sandbox:
        if mode == "bot" and not (directory / "bot.db").exists():
            shutil.copy(sqlite_template, directory / "bot.db")
        call = forked_sandbox(forker.address, directory, mode, port, platform)
        return started(forker.start_blocking(call, directory=ROOT, environment=os.environ), directory, mode)

    return start


def started(process: subprocess.Popen[str] | BlockingProcess, directory: Path, mode: str) -> Sandbox:
    """Returns the sandbox once it has printed where it is."""
    assert process.stdout is not None
    found = Sandbox(process, process.stdout.readline().strip(), directory)
    if mode == "platform":
        while not found.environment.get("BOT_ADMINS"):
            name, _, value = process.stdout.readline().strip().partition("=")
            found.environment[name] = value
    return found


def stop_sandbox(sandbox: Sandbox) -> int:
    sandbox.process.send_signal(signal.SIGTERM)
    try:
        return sandbox.process.wait(timeout=20)
    finally:
        sandbox.process.kill()
        sandbox.process.wait()
        if sandbox.process.stdout is not None:
            sandbox.process.stdout.close()


@pytest.fixture
def platform(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    """The sandbox without a bot: the test plays the bot."""
    started = start_sandbox(tmp_path, "platform")
    yield started
    stop_sandbox(started)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Without one the tests are skipped, except where the build must not overlook that.

    For one module's tests at a time: while it is up, no asynchronous test of another module can run.
    """
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        reason = f"CHROMIUM NOT FOUND: the browser tests need it (apt-get install {BROWSERS[0]})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages in a context of their own; at the end none of them may have complained."""
    complaints: list[str] = []
    contexts = []

    def listen(page: Page) -> None:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)

    def is_complaint(message: Any) -> bool:
        # A refusal by the sandbox is part of some tests and Chromium reports each as an error.
        return message.type in ("error", "warning") and "Failed to load resource" not in message.text

    def open_one(url: str, viewport: dict[str, int] | None = None, **options: Any) -> Page:
        context = browser.new_context(viewport=viewport or DESKTOP, **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        context.on("page", listen)
        page = context.new_page()
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def chat(platform: Sandbox, open_page: OpenPage) -> Page:
    """The chat page on a desktop, as Sam, once it knows everybody."""
    page = open_page(platform.url)
    page.locator("#people li").first.wait_for()
    return page
