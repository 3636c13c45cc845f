"""The guide's stories as a visitor follows them: time that passes for everybody, a restart, and each one on a phone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ports import free_port

from .conftest import PHONE, SAM, OpenPage, Sandbox, StartSandbox, stop_sandbox
from .test_in_client import card_link, wait_for_bot
from .test_permissions import open_as, sign_in
from .test_the_loop import allow, ask, expect_the_document

STORIES = re.findall(
    r"title: \"(.+?)\"", (Path(__file__).parents[2] / "bot/sandbox/lark/static/guide.js").read_text()
)


@pytest.fixture
def sandbox(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot")
    yield sandbox
    assert stop_sandbox(sandbox) == 0


@pytest.fixture
def chat(sandbox: Sandbox, open_page: OpenPage) -> Page:
    return ready(open_page(sandbox.url))


def ready(page: Page) -> Page:
    expect(page.locator("#bot-status")).to_contain_text("running", timeout=30_000)
    return page


def let_pass(page: Page, sandbox: Sandbox, words: str) -> None:
    """Moves everybody's clock, as the story says: Trouble, Time."""
    page.get_by_role("tab", name="Trouble").click()
    page.get_by_role("button", name=f"+ {words}").first.click()
    expect(page.locator("#toasts")).to_contain_text(f"{words} later", timeout=30_000)
    wait_for_bot(sandbox)


def newest_card(sandbox: Sandbox) -> str:
    cards = [each for each in sandbox.state()["messages"] if each["msg_type"] == "interactive"]
    return json.dumps(cards[-1]["content"])


def test_a_change_that_was_asked_for_long_ago_is_confirmed_first(chat: Page, sandbox: Sandbox) -> None:
    ask(chat, "/task Pay the invoice")
    expect(chat.locator("#log .card a.button")).to_be_visible()
    let_pass(chat, sandbox, "2 hours")
    allow(chat)
    confirm = chat.locator("#log .card").last.get_by_role("button")
    expect(confirm).to_have_count(2)
    assert '"action": "confirm"' in newest_card(sandbox)
    assert "Pay the invoice" not in json.dumps(sandbox.call("GET", "/sandbox/api/work")["tasks"])
    confirm.first.click()
    expect(chat.locator("#log .message").last).to_contain_text("Task created")
    assert "Pay the invoice" in json.dumps(sandbox.call("GET", "/sandbox/api/work")["tasks"])


def test_a_session_is_over_after_two_hours(chat: Page, sandbox: Sandbox, open_page: OpenPage) -> None:
    link = card_link(sandbox)
    page = open_as(sandbox, open_page, SAM)
    sign_in(page, link)
    let_pass(chat, sandbox, "2 hours")
    page.reload()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_permissions_that_nothing_used_for_two_months_are_offered_back(chat: Page, sandbox: Sandbox) -> None:
    chat.get_by_role("tab", name="Trouble").click()
    chat.get_by_label("Refresh tokens live").select_option("a year")
    ask(chat, "/tasks")
    allow(chat)
    ask(chat, "/doc welcome")
    allow(chat)
    expect_the_document(chat)
    let_pass(chat, sandbox, "61 days")
    ask(chat, "/doc welcome")
    expect(chat.locator("#log .card").last).to_contain_text("task:task:read", timeout=30_000)
    assert '"action": "give_back"' in newest_card(sandbox)


def test_what_was_allowed_is_still_allowed_when_the_sandbox_is_started_again(
    tmp_path: Path, open_page: OpenPage, start_sandbox: StartSandbox
) -> None:
    port = free_port()
    first = start_sandbox(tmp_path, "bot", port)
    chat = ready(open_page(first.url))
    ask(chat, "/doc welcome")
    allow(chat)
    expect_the_document(chat)
    ask(chat, "/tasks")
    expect(chat.locator("#log .card a.button")).to_be_visible()
    assert stop_sandbox(first) == 0
    again = start_sandbox(tmp_path, "bot", port)
    try:
        chat = ready(open_page(again.url))
        allow(chat)
        expect(chat.locator("#log .message").last.locator(".quote")).to_contain_text("/tasks")
        ask(chat, "/doc welcome")
        expect_the_document(chat)
    finally:
        assert stop_sandbox(again) == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    """One sandbox for all stories: a phone's layout has nothing to do with what was said before."""
    sandbox = start_sandbox(tmp_path_factory.mktemp("stories"), "bot")
    wait_for_bot(sandbox)
    yield sandbox
    assert stop_sandbox(sandbox) == 0


@pytest.mark.parametrize("title", STORIES)
def test_every_story_of_the_guide_fits_a_phone(shared: Sandbox, open_page: OpenPage, title: str) -> None:
    page = ready(open_page(shared.url, PHONE))
    page.locator("#tabbar [data-view=people]").click()
    story = page.locator("#guide li").filter(has_text=title)
    if story.locator("details[open]").count() == 0:
        story.get_by_text(title, exact=True).click()
    expect_nothing_sticks_out(page)
    story.get_by_role("button", name="Try it as").click()
    seen = page.locator("#log .message").count()
    expect(page.get_by_label("Message", exact=True)).not_to_have_value("")
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_function(
        "count => document.querySelectorAll('#log .message').length >= count", arg=seen + 1
    )
    page.locator("#log .menu summary").last.click()
    expect_nothing_sticks_out(page)
    for view in ("timeline", "trouble", "database"):
        page.locator(f"#tabbar [data-view={view}]").click()
        expect_nothing_sticks_out(page)


def expect_nothing_sticks_out(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    outside = """() => [...document.querySelectorAll(
        '#log .message *, .guide-body *, .panel:not([hidden]) .trouble-section > *')]
        .filter(node => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth + 1)
        .map(node => node.className)"""
    assert page.evaluate(outside) == []
