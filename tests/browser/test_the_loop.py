"""The whole loop as a newcomer meets it: the real bot, a real browser, and nothing configured."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import PATIENCE, PHONE, OpenPage, Sandbox, StartSandbox, stop_sandbox


@pytest.fixture
def sandbox(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot")
    yield sandbox
    assert stop_sandbox(sandbox) == 0


@pytest.fixture
def chat(sandbox: Sandbox, open_page: OpenPage) -> Page:
    page = open_page(sandbox.url)
    expect(page.locator("#bot-status")).to_contain_text("running", timeout=30_000)
    return page


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def follow_card(page: Page) -> Page:
    """Presses the link of the newest card; the consent page in its own tab."""
    link = page.locator("#log .card a.button").last
    expect(link).to_be_visible()
    with page.expect_popup() as opened:
        link.click()
    return opened.value


def allow(page: Page) -> None:
    consent = follow_card(page)
    consent.locator(".decision .primary").click()
    consent.wait_for_url("**/authorization/*")
    consent.close()


def expect_the_document(page: Page, timeout: int = PATIENCE) -> None:
    """The document's text, as a reply to the message that asked for it."""
    answer = page.locator("#log .message").last
    expect(answer.locator(".quote")).to_contain_text("/doc welcome", timeout=timeout)
    expect(answer.locator(".bubble, .card")).to_contain_text("Welcome")


def test_a_document_is_asked_for_refused_authorized_and_answered(chat: Page) -> None:
    ask(chat, "/doc welcome")
    consent = follow_card(chat)
    expect(consent.locator(".scopes")).to_contain_text("docx:document:readonly")
    consent.get_by_role("button", name="Allow").click()
    consent.wait_for_url("**/authorization/*")
    expect_the_document(chat)
    timeline = chat.get_by_role("tabpanel", name="Timeline")
    expect(timeline).to_contain_text("Sam Rivera allowed")
    expect(timeline).to_contain_text("read the document as Sam Rivera")


def test_a_second_permission_asks_only_for_what_is_new(chat: Page) -> None:
    ask(chat, "/doc welcome")
    allow(chat)
    expect_the_document(chat)
    ask(chat, "/tasks")
    expect(chat.locator("#log .card").last).to_contain_text("task:task:read")
    consent = follow_card(chat)
    expect(consent.locator(".scopes")).to_contain_text("task:task:read")
    expect(consent.locator(".scopes")).not_to_contain_text("docx:document:readonly")


def test_saying_no_on_the_page_is_shown_and_not_now_on_the_card_drops_the_command(chat: Page) -> None:
    ask(chat, "/tasks")
    consent = follow_card(chat)
    consent.get_by_role("button", name="Refuse").click()
    consent.wait_for_url("**/authorization/*")
    card = chat.locator("#log .card").last
    expect(card).to_contain_text("Declined on the page")
    expect(card.locator("a.button")).to_have_count(1)
    card.get_by_role("button", name="Not now").click()
    expect(chat.locator("#log .card").last.locator("a.button")).to_have_count(0)


def test_the_wrong_persons_consent_is_not_taken_and_the_right_one_still_counts(chat: Page) -> None:
    ask(chat, "/doc welcome")
    consent = follow_card(chat)
    consent.get_by_role("button", name="Switch account").click()
    consent.get_by_role("button", name="Ada Meyer").click()
    expect(consent.locator(".account")).to_contain_text("Ada Meyer")
    consent.get_by_role("button", name="Allow").click()
    consent.wait_for_url("**/authorization/*")
    consent.close()
    allow(chat)
    expect_the_document(chat)


def test_wei_lan_is_asked_and_answered_in_chinese_on_her_phone(
    sandbox: Sandbox, open_page: OpenPage, chat: Page
) -> None:
    page = open_page(sandbox.url, PHONE)
    page.locator("#tabbar [data-view=people]").click()
    page.locator("#people").get_by_text("Wei Lan").click()
    ask(page, "/agenda")
    consent = follow_card(page)
    expect(consent.get_by_role("button", name="允许")).to_be_visible()
    consent.get_by_role("button", name="允许").click()
    consent.wait_for_url("**/authorization/*")
    page.bring_to_front()
    expect(page.locator("#log .card-header").last).to_contain_text("授权")


def test_in_a_group_only_the_asker_sees_what_to_authorize(chat: Page) -> None:
    chat.locator("#chats").get_by_text("Launch crew").click()
    ask(chat, "@Helper /agenda")
    expect(chat.locator("#log .message").nth(1)).to_be_visible()
    assert chat.locator("#log .card a.button").count() == 0
    expect(chat.locator("#chats li").filter(has_text="Direct chat").locator(".badge")).to_be_visible()


def test_a_killed_bot_is_started_again_and_nothing_was_lost(chat: Page) -> None:
    ask(chat, "/doc welcome")
    expect(chat.locator("#log .card a.button")).to_be_visible()
    chat.get_by_role("tab", name="Trouble").click()
    chat.get_by_role("button", name="Kill it (SIGKILL)").click()
    expect(chat.locator("#banner")).to_contain_text("The bot was killed")
    chat.locator("#banner").get_by_role("button", name="Start it").click()
    expect(chat.locator("#bot-status")).to_contain_text("running", timeout=30_000)
    allow(chat)
    expect_the_document(chat, timeout=40_000)


def test_the_bots_tables_are_shown_and_no_secret_is_readable(chat: Page) -> None:
    ask(chat, "/doc welcome")
    allow(chat)
    expect_the_document(chat)
    chat.get_by_role("tab", name="Database").click()
    for table in ("users", "grants", "authorization_requests", "deferred_calls", "audit_log"):
        expect(chat.locator(".pill").filter(has_text=table).first).to_be_visible()
    chat.locator(".pill").filter(has_text="grants").first.click()
    expect(chat.locator(".record")).to_have_count(1)
    expect(chat.locator(".records")).to_contain_text("docx:document:readonly")


def test_what_the_app_lacks_is_switched_on_by_the_administrator_and_goes_on(chat: Page) -> None:
    ask(chat, "/call GET /open-apis/mail/v1/user_mailboxes/me/messages?page_size=5")
    allow(chat)
    expect(chat.locator("#log .message").last).to_contain_text("administrator")
    chat.locator("#people").get_by_text("Ada Meyer").click()
    card = chat.locator("#log .card").last
    expect(card).to_contain_text("mail:user_mailbox.message:readonly")
    with chat.expect_popup() as opened:
        card.get_by_role("link", name="Open developer console").click()
    expect(opened.value.locator(".scope-list .switch")).to_be_in_viewport()
    opened.value.locator(".scope-list .switch").click()
    opened.value.close()
    chat.locator("#people").get_by_text("Sam Rivera").click()
    waiting = chat.locator("#log .card").filter(has_text="mail:user_mailbox.message:readonly").last
    expect(waiting.get_by_role("link", name="Authorize")).to_be_visible()
    allow(chat)
    expect(chat.locator("#log .message").last.locator(".quote")).to_contain_text("/call")
