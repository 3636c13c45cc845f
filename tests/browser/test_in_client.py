"""Authorizing inside the client: the bot's page in a browser that has the client's user agent and its SDK."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import ADA, DESKTOP, PHONE, SAM, Sandbox, start_sandbox, stop_sandbox

CLIENT = "Mozilla/5.0 (iPhone) AppleWebKit/605.1 Mobile Lark/7.30.6 LarkLocale/en_US"
NEW_CLIENT = """
window.h5sdk = { ready: (go) => setTimeout(go, 20) };
window.tt = { requestAccess: async (asked) => {
  const answer = await window.clientAsks(asked.appID, asked.scopeList, location.href);
  answer.code ? asked.success({ code: answer.code, state: asked.state }) : asked.fail(answer);
} };
"""
OLD_CLIENT = "window.h5sdk = { ready: (go) => go() }; window.tt = { requestAuthCode: () => {} };"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot")
    yield sandbox
    assert stop_sandbox(sandbox) == 0


class Client:
    """A person's client with a card's link: what it answers when the page asks for access is up to the test."""

    def __init__(
        self, sandbox: Sandbox, browser: Browser, sdk: str = NEW_CLIENT, viewport: object = PHONE
    ) -> None:
        self.sandbox, self.person, self.decision, self.errno = sandbox, SAM, "allow", 0
        self.asked: list[list[str]] = []
        context = browser.new_context(viewport=viewport, user_agent=CLIENT)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        context.route(
            "**/sandbox/jssdk.js", lambda route: route.fulfill(content_type="text/javascript", body=sdk)
        )
        self.page: Page = context.new_page()
        self.page.expose_function("clientAsks", self.ask)

    def ask(self, app_id: str, scopes: list[str], page_url: str) -> object:
        self.asked.append(scopes)
        if self.errno:
            return {"errno": self.errno, "errString": "no"}
        body = {"person": self.person, "page_url": page_url, "scope_list": scopes, "decision": self.decision}
        return self.sandbox.post("in-client", body)

    def open(self, link: str) -> None:
        self.page.goto(link)


def card_link(sandbox: Sandbox) -> str:
    """Sam asks for tasks; the link on the card that follows, out of its AppLink."""
    sandbox.post("messages", {"person": SAM, "text": "/tasks"})
    for _ in range(200):
        for message in reversed(sandbox.state()["messages"]):
            for element in message["content"].get("body", {}).get("elements", []):
                for behavior in element.get("behaviors", []):
                    if behavior["type"] == "open_url" and "authorize" in behavior["default_url"]:
                        return parse_qs(urlsplit(behavior["default_url"]).query)["url"][0]
        time.sleep(0.05)
    raise AssertionError("no card")


def wait_for_bot(sandbox: Sandbox) -> None:
    for _ in range(600):
        if sandbox.call("GET", "/sandbox/api/bot")["state"] == "ready":
            return
        time.sleep(0.05)
    raise AssertionError("the bot is not ready")


@pytest.fixture
def link(sandbox: Sandbox) -> str:
    wait_for_bot(sandbox)
    return card_link(sandbox)


def granted(sandbox: Sandbox, person: str = SAM) -> list[str]:
    return next(each["granted"] for each in sandbox.state()["people"] if each["open_id"] == person)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_new_client_asks_for_the_missing_scopes_and_the_call_goes_on(
    sandbox: Sandbox, browser: Browser, link: str, viewport: object
) -> None:
    client = Client(sandbox, browser, viewport=viewport)
    client.open(link)
    expect(client.page.locator("h1")).to_have_text("Authorized")
    assert urlsplit(client.page.url).path == "/oauth/lark/client"
    assert client.asked == [["task:task:read", "offline_access"]]
    assert "task:task:read" in granted(sandbox)


def test_a_refusal_in_the_client_is_a_refusal(sandbox: Sandbox, browser: Browser, link: str) -> None:
    client = Client(sandbox, browser)
    client.decision = "refuse"
    client.open(link)
    expect(client.page.locator("h1")).to_have_text("Not authorized")


def test_somebody_else_in_the_client_gets_nothing_stored(
    sandbox: Sandbox, browser: Browser, link: str
) -> None:
    client = Client(sandbox, browser)
    client.person = ADA
    client.open(link)
    expect(client.page.locator("h1")).to_have_text("This was somebody else's request")
    client.person = SAM
    client.open("about:blank")
    client.open(link)
    expect(client.page.locator("h1")).to_have_text("Authorized")


@pytest.mark.parametrize("sdk", [OLD_CLIENT, "", None], ids=["old", "no SDK", "not supported"])
def test_an_old_client_goes_on_to_the_platforms_page(
    sandbox: Sandbox, browser: Browser, link: str, sdk: str | None
) -> None:
    client = Client(sandbox, browser, NEW_CLIENT if sdk is None else sdk)
    client.errno = 103 if sdk is None else 0
    client.open(link)
    client.page.wait_for_url("**/sandbox/consent?id=*")


def test_an_error_of_the_client_is_said_with_a_way_on(sandbox: Sandbox, browser: Browser, link: str) -> None:
    client = Client(sandbox, browser)
    client.errno = 2601001
    client.open(link)
    expect(client.page.locator(".text")).to_contain_text("2601001")
    expect(client.page.get_by_role("link", name="Go on in the browser")).to_be_visible()
    client.errno = 0
    client.page.get_by_role("button", name="Try again").click()
    expect(client.page.locator("h1")).to_have_text("Authorized")
