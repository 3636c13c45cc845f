"""The guide's stories on DingTalk as a visitor follows them: with plain and with interactive cards, and on a phone."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from bot.sandbox.dingtalk.sample_tenant import ADA, SAM, TEMPLATE_ID, WEI

from .conftest import PHONE, ROOT, OpenPage, Sandbox, StartSandbox, stop_sandbox
from .test_in_client import wait_for_bot
from .test_stories import expect_nothing_sticks_out, ready

GUIDE = (ROOT / "bot/sandbox/dingtalk/static/guide.js").read_text(encoding="utf-8")
STORIES = re.findall(r"title: \"(.+?)\"", GUIDE)
AUTHORIZE = re.compile("^(Authorize|去授权)$")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    """One sandbox for all stories. Each begins with nothing granted and nothing waiting."""
    sandbox = start_sandbox(tmp_path_factory.mktemp("dingtalk"), "bot", platform="dingtalk")
    wait_for_bot(sandbox)
    yield sandbox
    assert stop_sandbox(sandbox) == 0


class Visitor:
    """Somebody at the chat page. `begin` starts a story of the guide as its person, and sends its message."""

    def __init__(self, sandbox: Sandbox, page: Page) -> None:
        self.sandbox, self.page = sandbox, ready(page)
        self.links = 0
        """Links of earlier cards in the chat."""

    def begin(self, title: str) -> None:
        story = self.page.locator("#guide li").filter(has_text=title)
        if story.locator("details[open]").count() == 0:
            story.get_by_text(title, exact=True).click()
        story.get_by_role("button", name="Try it as").click()
        expect(self.page.get_by_label("Message", exact=True)).not_to_have_value("")
        self.links = self.page.locator("#log a").filter(has_text=AUTHORIZE).count()
        self.send()

    def send(self, text: str | None = None) -> None:
        if text is not None:
            self.page.get_by_label("Message", exact=True).fill(text)
        self.page.get_by_role("button", name="Send", exact=True).click()

    def trouble(self, setting: str, value: str) -> None:
        self.page.get_by_role("tab", name="Trouble").click()
        self.page.locator(f"#{setting}").select_option(value)
        expect(self.page.locator("#toasts")).to_contain_text("Saved")

    def is_asked(self) -> None:
        """A card with a link has come since the story began."""
        expect(self.page.locator("#log a").filter(has_text=AUTHORIZE).nth(self.links)).to_be_visible()

    def follow(self) -> Page:
        """Press the link of the newest card; what it opens."""
        self.is_asked()
        with self.page.expect_popup() as opened:
            self.page.locator("#log a").filter(has_text=AUTHORIZE).nth(self.links).click()
        return opened.value

    def decide(self, decision: str, said: str) -> None:
        login = self.follow()
        login.get_by_role("button", name=decision, exact=True).click()
        login.wait_for_url("**/authorization/*")
        expect(login.get_by_role("heading", level=1)).to_contain_text(said)
        login.close()

    def reads(self, text: str) -> None:
        """The newest message, or one shortly before it, says this."""
        expect(self.page.locator("#log .message").filter(has_text=text).last).to_be_visible()


@pytest.fixture(scope="module", params=["plain", "interactive"])
def cards(request: pytest.FixtureRequest, sandbox: Sandbox) -> str:
    chosen = "" if request.param == "plain" else TEMPLATE_ID
    settings = {"DINGTALK_CARD_TEMPLATE_ID": chosen}
    if sandbox.call("GET", "/sandbox/api/bot")["settings"] != settings:
        sandbox.post("bot", {"action": "restart", "settings": settings})
        wait_for_bot(sandbox)
    return str(request.param)


@pytest.fixture
def visitor(sandbox: Sandbox, open_page: OpenPage) -> Visitor:
    for person in (ADA, SAM, WEI):
        for command in ("/revoke", "/cancel"):
            sandbox.post("messages", {"person": person, "text": command})
        sandbox.post("revoke", {"person": person})
    calm = {"links_open": "in a browser", "consents_as": None, "client_sdk": "new", "panel_error": 0}
    sandbox.post("behaviour", calm)
    sandbox.post("app-scopes", {"scope": "Calendar.Event.Read", "user": True})
    return Visitor(sandbox, open_page(sandbox.url))


def test_first_contact_and_a_withdrawal(visitor: Visitor, cards: str) -> None:
    visitor.begin("First contact")
    visitor.decide("Agree", "Authorized")
    visitor.reads("Everything I do for you, I do as this account.")
    visitor.sandbox.post("tokens/expire", {"person": SAM, "which": "access"})
    visitor.begin("A token expires")
    visitor.reads("Phone: +1 2125550003")


def test_a_second_permission_in_chinese(visitor: Visitor) -> None:
    visitor.begin("A second permission")
    visitor.decide("同意", "Authorized")
    visitor.reads("任务已创建")
    # Nothing but a command: the name of the sender is Chinese.
    visitor.send("/permissions")
    visitor.reads("你的授权")


def test_saying_no_on_the_page_and_on_the_card(visitor: Visitor, cards: str) -> None:
    visitor.begin("Saying no")
    visitor.decide("Refuse", "Not authorized")
    if cards == "interactive":
        visitor.reads("Declined on the page")
        visitor.page.locator("#log .card").last.get_by_role("button", name="Not now").click()
        visitor.reads("OK, I didn't run /tasks.")
    else:
        visitor.send("/cancel")
        visitor.reads("Cancelled: /tasks")


@pytest.mark.parametrize("cards", ["interactive"], indirect=True)
def test_a_press_is_answered_in_the_language_of_its_user(visitor: Visitor, cards: str) -> None:
    visitor.begin("A consent that takes a moment")
    visitor.page.locator("#log .card").last.get_by_role("button", name="暂不授权").click()
    visitor.reads("好的，已取消 /tasks。")
    expect(visitor.page.locator("#log .card").last).not_to_contain_text("OK")


def test_the_wrong_person(visitor: Visitor) -> None:
    visitor.trouble("consents_as", WEI)
    visitor.begin("The wrong person")
    visitor.decide("同意", "Wrong account")
    visitor.trouble("consents_as", "")
    visitor.decide("Agree", "Authorized")
    visitor.reads("Ada Meyer")


def test_in_a_group_the_link_comes_in_private(visitor: Visitor, cards: str) -> None:
    visitor.begin("In a group")
    visitor.reads("card")
    expect(visitor.page.locator("#log a").filter(has_text=AUTHORIZE)).to_have_count(0)
    visitor.page.locator("#chats").get_by_text("Direct chat").click()
    visitor.reads("Contact.User.mobile")
    visitor.links = visitor.page.locator("#log a").filter(has_text=AUTHORIZE).count() - 1
    visitor.decide("Agree", "Authorized")
    visitor.reads("You are")


def test_inside_the_client_and_every_way_it_can_end(visitor: Visitor) -> None:
    visitor.trouble("links_open", "in the client")
    visitor.begin("Inside the client")
    page = visitor.follow()
    page.get_by_role("button", name="Agree").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Authorized")
    visitor.reads("open tasks")
    visitor.begin("Every way it can end")
    # The refused call names what is new; what is held is not asked for again.
    visitor.reads("Calendar.Event.Read")
    card = visitor.page.locator("#log .message").filter(has_text="Calendar.Event.Read").last
    expect(card).not_to_contain_text("Contact.User.Read")
    expect(card).not_to_contain_text("dropped")
    page = visitor.follow()
    page.get_by_text("More results").click()
    page.get_by_role("button", name="Fail", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("DingTalk didn't authorize this")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Not authorized")


def test_what_the_app_lacks_goes_to_the_administrator(visitor: Visitor) -> None:
    visitor.sandbox.post("app-scopes", {"scope": "Calendar.Event.Read", "user": False})
    visitor.begin("The app lacks it")
    visitor.decide("Agree", "Authorized")
    expect(visitor.page.locator("#log")).to_contain_text("Waiting for your administrator", timeout=40_000)
    visitor.page.locator("#people").get_by_text("Ada Meyer").click()
    visitor.reads("Permission to enable")


def test_another_organization(visitor: Visitor) -> None:
    visitor.begin("Another organization")
    visitor.reads("Not available in your organization")


def test_taking_back_everything_promises_nothing_that_dingtalk_cannot_do(visitor: Visitor) -> None:
    visitor.begin("First contact")
    visitor.decide("Agree", "Authorized")
    visitor.begin("My permissions")
    link = visitor.page.locator("#log a").filter(has_text="My permissions").last
    with visitor.page.expect_popup() as opened:
        link.click()
    page = opened.value
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("button", name="Agree").click()
    page.get_by_text("Take everything back").click()
    page.get_by_role("button", name="Yes, take it back").click()
    done = page.get_by_role("status")
    expect(done).to_contain_text("DingTalk may still list this app")
    expect(done).not_to_contain_text("revoking them at the platform")


def test_the_bot_is_killed_while_a_card_waits(visitor: Visitor) -> None:
    visitor.begin("The bot is killed")
    visitor.is_asked()
    visitor.reads("Todo.Todo.Read")
    visitor.sandbox.post("bot", {"action": "kill"})
    visitor.sandbox.post("bot", {"action": "start"})
    wait_for_bot(visitor.sandbox)
    visitor.decide("Agree", "Authorized")
    visitor.reads("open tasks")


def test_every_story_of_the_guide_fits_a_phone(sandbox: Sandbox, open_page: OpenPage) -> None:
    page = ready(open_page(sandbox.url, PHONE))
    for title in STORIES:
        page.locator("#tabbar [data-view=people]").click()
        story = page.locator("#guide li").filter(has_text=title)
        if story.locator("details[open]").count() == 0:
            story.get_by_text(title, exact=True).click()
        expect_nothing_sticks_out(page)
        story.get_by_role("button", name="Try it as").click()
        expect(page.get_by_label("Message", exact=True)).not_to_have_value("")
        expect_nothing_sticks_out(page)
    for view in ("timeline", "trouble", "database"):
        page.locator(f"#tabbar [data-view={view}]").click()
        expect_nothing_sticks_out(page)
