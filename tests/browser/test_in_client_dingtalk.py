"""The page inside DingTalk's client, in a browser that has the client's user agent.

The client's JavaScript API is the sandbox's stand-in for it, which its switches make old, broken or absent.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from bot.sandbox.dingtalk.sample_tenant import ADA, SAM

from .conftest import DESKTOP, PATIENCE, PHONE, Sandbox, StartSandbox, stop_sandbox

PC = "Mozilla/5.0 (Windows NT 10.0) Chrome/120.0.0.0 DingTalk(7.6.0-Release.1) DingTalk/7.6.0 language/en-US"
MOBILE = "Mozilla/5.0 (Linux; Android 14) Mobile Safari/537.36 AliApp(DingTalk/7.6.0) DingTalk/7.6.0 language/en-US"
SIZES = pytest.mark.parametrize("on", ["pc", "phone"])


@pytest.fixture
def sandbox(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot", platform="dingtalk")
    # A message that arrives before the bot has connected is not delivered again.
    for _ in range(600):
        if sandbox.call("GET", "/sandbox/api/connections")["connections"]:
            break
        time.sleep(0.05)
    yield sandbox
    assert stop_sandbox(sandbox) == 0


class Client:
    """A person's client; `page` is what is open in it."""

    def __init__(self, sandbox: Sandbox, browser: Browser, on: str, person: str = SAM) -> None:
        viewport, agent = (DESKTOP, PC) if on == "pc" else (PHONE, MOBILE)
        context = browser.new_context(viewport=viewport, user_agent=agent, locale="en-US")  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.page.goto(f"{sandbox.url}sandbox/login?person={person}&next=/sandbox/static/favicon.svg")

    def press(self, button: str) -> None:
        """On the panel that the client lays over the page, or on the page itself."""
        self.page.get_by_role("button", name=button, exact=True).click()

    def sees(self, text: str) -> None:
        expect(self.page.locator("h1, .text").filter(has_text=text).first).to_be_visible()


def link(sandbox: Sandbox) -> str:
    """Sam asks who they are; the link on the card that follows."""
    sandbox.post("messages", {"person": SAM, "text": "/me"})
    for _ in range(400):
        for message in reversed(sandbox.state()["messages"]):
            if "/authorize/" in (url := message["content"].get("singleURL", "")):
                return str(url)
        time.sleep(0.05)
    raise AssertionError("no card")


def texts(sandbox: Sandbox) -> str:
    return "\n".join(str(each["content"]) for each in sandbox.state()["messages"])


def answered(sandbox: Sandbox) -> None:
    for _ in range(400):
        if "Everything I do for you" in texts(sandbox):
            return
        time.sleep(0.05)
    raise AssertionError(texts(sandbox))


@SIZES
def test_the_panel_authorizes(sandbox: Sandbox, browser: Browser, on: str) -> None:
    client = Client(sandbox, browser, on)
    client.page.goto(link(sandbox))
    client.page.get_by_text("Contact.User.mobile").wait_for()
    client.press("Agree")
    client.sees("Authorized")
    answered(sandbox)


@SIZES
def test_cancelling_declines_and_the_link_can_be_opened_again(
    sandbox: Sandbox, browser: Browser, on: str
) -> None:
    client, url = Client(sandbox, browser, on), link(sandbox)
    client.page.goto(url)
    client.press("Cancel")
    client.sees("Not authorized")
    client.page.goto("about:blank")
    client.page.goto(url)
    client.press("Agree")
    client.sees("Authorized")


@SIZES
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (500104, "This app doesn't have this permission yet"),
        (400007, "DINGTALK_CORP_ID"),
        (500404, "couldn't save"),
    ],
)
def test_a_failure_says_what_each_code_means(
    sandbox: Sandbox, browser: Browser, on: str, code: int, said: str
) -> None:
    sandbox.post("behaviour", {"panel_error": code})
    client, url = Client(sandbox, browser, on), link(sandbox)
    client.page.goto(url)
    client.page.locator("#dingtalk-panel .buttons button").click()
    client.sees("DingTalk didn't authorize this")
    client.page.locator("#code").select_option(str(code))
    client.sees(said)
    sandbox.post("behaviour", {"panel_error": 0})
    client.press("Try again")
    client.press("Agree")
    client.sees("Authorized")


@SIZES
@pytest.mark.parametrize("result", ["closed", "unreadable"])
def test_a_closed_panel_can_be_opened_again(sandbox: Sandbox, browser: Browser, on: str, result: str) -> None:
    sandbox.post("behaviour", {"panel_result": result})
    client = Client(sandbox, browser, on)
    client.page.goto(link(sandbox))
    client.page.locator("#again").wait_for()
    expect(client.page.get_by_role("link", name="Continue in browser")).to_be_visible()
    sandbox.post("behaviour", {"panel_result": "ok"})
    client.press("Try again")
    client.sees("Authorized")


@SIZES
@pytest.mark.parametrize("kind", ["oldest", "unsigned", "absent", "broken"])
def test_without_the_panel_the_page_continues_in_the_browser(
    sandbox: Sandbox, browser: Browser, on: str, kind: str
) -> None:
    sandbox.post("behaviour", {"client_sdk": kind})
    client = Client(sandbox, browser, on)
    client.page.goto(link(sandbox))
    client.page.wait_for_url("**/sandbox/consent*")


def test_another_person_is_told_so(sandbox: Sandbox, browser: Browser) -> None:
    client = Client(sandbox, browser, "phone", person=ADA)
    client.page.goto(link(sandbox))
    client.press("Agree")
    client.sees("Wrong account")
