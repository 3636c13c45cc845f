"""Authorizing and signing in inside the client: the bot's pages in a browser that has the client's user agent.

The client's JavaScript SDK is the sandbox's stand-in for it, which the switches make old, broken or absent.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import ADA, DESKTOP, PATIENCE, PHONE, SAM, Sandbox, StartSandbox, stop_sandbox

CLIENT = "Mozilla/5.0 (iPhone) AppleWebKit/605.1 Mobile Lark/7.30.6 LarkLocale/en_US"


@pytest.fixture
def sandbox(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot")
    yield sandbox
    assert stop_sandbox(sandbox) == 0


class Client:
    """A person's client; `page` is what is open in it."""

    def __init__(
        self, sandbox: Sandbox, browser: Browser, viewport: object = PHONE, person: str = SAM
    ) -> None:
        self.sandbox = sandbox
        context = browser.new_context(viewport=viewport, user_agent=CLIENT, locale="en-US")  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.use_as(person)

    def use_as(self, person: str) -> None:
        self.page.goto(f"{self.sandbox.url}sandbox/login?person={person}&next=/sandbox/static/favicon.svg")

    def press(self, button: str) -> None:
        """On the sheet that the client lays over the page, or on the page itself."""
        self.page.get_by_role("button", name=button, exact=True).click()


def behave(sandbox: Sandbox, **changes: object) -> None:
    sandbox.post("behaviour", changes)


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


def press_on_card(sandbox: Sandbox, action: str) -> None:
    """Sam presses this button of the card that asks."""
    for message in sandbox.state()["messages"]:
        found = [value for value in values_of(message["content"]) if value.get("action") == action]
        if found:
            sandbox.post("clicks", {"person": SAM, "message_id": message["message_id"], "value": found[0]})
            return
    raise AssertionError(f"no button for {action}")


def values_of(content: object) -> list[dict[str, object]]:
    """The values of all callback buttons of a card."""
    if isinstance(content, list):
        return [value for each in content for value in values_of(each)]
    if not isinstance(content, dict):
        return []
    own = [content["value"]] if content.get("type") == "callback" else []
    return own + [value for each in content.values() for value in values_of(each)]


def wait_until_closed(link: str) -> None:
    """Until the link leads no browser to the platform any more."""

    class Stays(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stays)
    for _ in range(200):
        try:
            opener.open(link)
        except urllib.error.HTTPError as answer:
            if answer.code == 410:
                return
        time.sleep(0.05)
    raise AssertionError("the link still leads to the platform")


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


@pytest.fixture
def permissions(link: str) -> str:
    """Where My permissions is, after Sam has used the bot."""
    return urlsplit(link)._replace(path="/permissions").geturl()


def granted(sandbox: Sandbox, person: str = SAM) -> list[str]:
    return next(each["granted"] for each in sandbox.state()["people"] if each["open_id"] == person)


def consents(sandbox: Sandbox) -> list[tuple[str, list[str]]]:
    """What was decided at the platform, in order."""
    changes = sandbox.call("GET", "/sandbox/api/changes?kind=consent")["changes"]
    return [(each["event"], each["scopes"]) for each in changes]


# --- scopes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_new_client_asks_for_the_missing_scopes_and_the_call_goes_on(
    sandbox: Sandbox, browser: Browser, link: str, viewport: object
) -> None:
    client = Client(sandbox, browser, viewport)
    client.page.goto(link)
    expect(client.page.get_by_role("dialog")).to_contain_text("task:task:read")
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Authorized")
    assert urlsplit(client.page.url).path == "/oauth/lark/client"
    assert consents(sandbox) == [("allowed", ["task:task:read", "offline_access"])]
    assert "task:task:read" in granted(sandbox)


def test_nothing_is_asked_when_everything_was_granted_before(
    sandbox: Sandbox, browser: Browser, link: str
) -> None:
    sandbox.post("grants", {"person": SAM, "scopes": ["task:task:read", "offline_access"]})
    client = Client(sandbox, browser)
    client.page.goto(link)
    expect(client.page.locator("h1")).to_have_text("Authorized")


def test_a_refusal_in_the_client_is_a_refusal(sandbox: Sandbox, browser: Browser, link: str) -> None:
    client = Client(sandbox, browser)
    client.page.goto(link)
    client.press("Refuse")
    expect(client.page.locator("h1")).to_have_text("Not authorized")
    expect(client.page.get_by_role("button", name="Back to the chat")).to_be_visible()
    assert granted(sandbox) == []


@pytest.mark.parametrize("sdk", ["new", "old"])
def test_the_page_closes_itself_when_all_is_well(
    sandbox: Sandbox, browser: Browser, link: str, permissions: str, sdk: str
) -> None:
    behave(sandbox, client_sdk=sdk)
    client = Client(sandbox, browser)
    client.page.goto(link)
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Authorized")
    if sdk == "new":
        expect(client.page).to_have_title("Closed by the client")


def test_the_page_leads_back_to_the_chat(sandbox: Sandbox, browser: Browser, link: str) -> None:
    client = Client(sandbox, browser)
    client.page.goto(link)
    client.press("Refuse")
    client.press("Back to the chat")
    expect(client.page).to_have_title("Closed by the client")


def test_a_page_that_asks_for_nothing_leads_back_as_well(
    sandbox: Sandbox, browser: Browser, link: str
) -> None:
    client = Client(sandbox, browser)
    client.page.goto(link.removesuffix(link[-8:]) + "A" * 8)
    expect(client.page.locator("h1")).to_have_text("This link doesn't work")
    client.page.goto(link)
    client.press("Allow")
    expect(client.page).to_have_title("Closed by the client")
    client.page.goto(link)
    expect(client.page.locator("h1")).to_have_text("Already authorized")
    expect(client.page.get_by_role("button", name="Back to the chat")).to_be_visible()


@pytest.mark.parametrize("road", ["in the client", "in a browser"])
def test_a_used_link_closes_itself_as_well(sandbox: Sandbox, browser: Browser, link: str, road: str) -> None:
    client = Client(sandbox, browser)
    client.page.goto(link if road == "in the client" else f"{link}?browser")
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Authorized")
    for _ in range(2):
        client.page.goto(link)
        expect(client.page.locator("h1")).to_have_text("Already authorized")
        expect(client.page).to_have_title("Closed by the client")


@pytest.mark.parametrize("end", ["declined", "cancelled"])
def test_a_link_that_leads_nowhere_any_more_leads_back_and_stays_to_be_read(
    sandbox: Sandbox, browser: Browser, link: str, end: str
) -> None:
    words = "You declined this request"
    if end == "declined":
        press_on_card(sandbox, "not_now")
    else:
        sandbox.post("messages", {"person": SAM, "text": "/cancel"})
        wait_until_closed(link)
    client = Client(sandbox, browser)
    client.page.goto(link)
    expect(client.page.locator("h1")).to_have_text(words)
    client.page.wait_for_timeout(3500)  # longer than good news stays
    expect(client.page.locator("h1")).to_have_text(words)
    client.press("Back to the chat")
    expect(client.page).to_have_title("Closed by the client")


@pytest.mark.parametrize("sdk", ["absent", "broken", "old"])
def test_a_client_that_cannot_close_a_page_shows_what_became_of_a_used_link(
    sandbox: Sandbox, browser: Browser, link: str, sdk: str
) -> None:
    behave(sandbox, client_sdk=sdk)
    client = Client(sandbox, browser)
    client.page.goto(f"{link}?browser")
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Authorized")
    client.page.goto(link)
    expect(client.page.locator("h1")).to_have_text("Already authorized")
    expect(client.page.get_by_role("link", name="Back to the chat")).to_be_visible()


def test_somebody_else_in_the_client_gets_nothing_stored(
    sandbox: Sandbox, browser: Browser, link: str
) -> None:
    client = Client(sandbox, browser, person=ADA)
    client.page.goto(link)
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Wrong account")
    client.use_as(SAM)
    client.page.goto(link)
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Authorized")


NO_REQUEST_ACCESS = pytest.mark.parametrize(
    "behaviour",
    [{"client_sdk": "old"}, {"client_sdk": "absent"}, {"client_sdk": "broken"}, {"client_errno": 103}],
    ids=lambda behaviour: "-".join(map(str, behaviour.values())),
)


@NO_REQUEST_ACCESS
def test_an_old_client_goes_on_to_the_platforms_page_for_scopes(
    sandbox: Sandbox, browser: Browser, link: str, behaviour: dict[str, object]
) -> None:
    behave(sandbox, **behaviour)
    client = Client(sandbox, browser)
    client.page.goto(link)
    client.page.wait_for_url("**/sandbox/consent?id=*")
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Authorized")


def test_an_error_of_the_client_is_said_with_a_way_on(sandbox: Sandbox, browser: Browser, link: str) -> None:
    behave(sandbox, client_errno=2601001)
    client = Client(sandbox, browser)
    client.page.goto(link)
    expect(client.page.locator(".text")).to_contain_text("2601001")
    expect(client.page.get_by_role("link", name="Continue in browser")).to_be_visible()
    expect(client.page).to_have_title("Something went wrong")
    behave(sandbox, client_errno=0)
    client.press("Try again")
    client.press("Allow")
    expect(client.page.locator("h1")).to_have_text("Authorized")


def test_what_the_client_cannot_show_gives_no_code(sandbox: Sandbox, browser: Browser, link: str) -> None:
    sandbox.post("app", {"redirect_urls": []})
    client = Client(sandbox, browser)
    client.page.goto(link)
    expect(client.page.get_by_role("dialog")).to_contain_text("20029")
    client.press("Close")
    expect(client.page.locator("h1")).to_have_text("Something went wrong")
    expect(client.page.get_by_role("button", name="Try again")).to_be_visible()


# --- signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("sdk", ["new", "old"])
def test_my_permissions_opens_in_the_client_without_a_login(
    sandbox: Sandbox, browser: Browser, permissions: str, viewport: object, sdk: str
) -> None:
    behave(sandbox, client_sdk=sdk)
    client = Client(sandbox, browser, viewport)
    client.page.goto(permissions)
    client.page.wait_for_url("**/permissions?signed-in")
    expect(client.page.locator("header")).to_contain_text("Signed in as Sam Rivera")
    assert consents(sandbox) == [("allowed", [])]
    assert granted(sandbox) == []


def test_a_client_that_says_that_it_cannot_is_asked_in_the_older_way_and_then_left(
    sandbox: Sandbox, browser: Browser, permissions: str
) -> None:
    behave(sandbox, client_errno=103)
    client = Client(sandbox, browser)
    client.page.goto(permissions)
    client.page.wait_for_url("**/sandbox/consent?id=*")
    client.press("Allow")
    expect(client.page.locator("header")).to_contain_text("Signed in as Sam Rivera")


@pytest.mark.parametrize("sdk", ["absent", "broken"])
def test_without_a_working_sdk_web_login_takes_over(
    sandbox: Sandbox, browser: Browser, permissions: str, sdk: str
) -> None:
    behave(sandbox, client_sdk=sdk)
    client = Client(sandbox, browser)
    client.page.goto(permissions)
    client.page.wait_for_url("**/sandbox/consent?id=*")


def test_a_refused_sign_in_can_be_tried_again(sandbox: Sandbox, browser: Browser, permissions: str) -> None:
    behave(sandbox, client_errno=2700002)
    client = Client(sandbox, browser)
    client.page.goto(permissions)
    expect(client.page.locator("h1")).to_have_text("Not signed in")
    behave(sandbox, client_errno=0)
    client.press("Try again")
    expect(client.page.locator("header")).to_contain_text("Signed in as Sam Rivera")


def test_what_is_seen_in_a_client_is_that_persons_own(
    sandbox: Sandbox, browser: Browser, permissions: str
) -> None:
    sam, ada = Client(sandbox, browser), Client(sandbox, browser, person=ADA)
    for client, name in ((sam, "Sam Rivera"), (ada, "Ada Meyer")):
        client.page.goto(permissions)
        expect(client.page.locator("header")).to_contain_text(f"Signed in as {name}")
    expect(sam.page.locator(".waiting")).to_contain_text("/tasks")
    expect(ada.page.locator("main")).not_to_contain_text("/tasks")


def test_signing_out_in_the_client_lasts_until_the_person_signs_in_again(
    sandbox: Sandbox, browser: Browser, permissions: str
) -> None:
    client = Client(sandbox, browser)
    client.page.goto(permissions)
    client.press("Sign out")
    expect(client.page.locator("h1")).to_have_text("Signed out")
    client.page.get_by_role("link", name="Sign in again").click()
    expect(client.page.locator("header")).to_contain_text("Signed in as Sam Rivera")


# --- the chat page as the client -------------------------------------------------------------------


def test_the_sandbox_opens_links_in_the_client_when_it_is_told_to(
    sandbox: Sandbox, browser: Browser, link: str
) -> None:
    """With a browser's own user agent: the client's is put on by the way to the bot."""
    context = browser.new_context(viewport=PHONE, locale="en-US")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    applink = f"{sandbox.url}client/web_url/open?mode=sidebar-semi&url={link}"
    page.goto(f"{sandbox.url}sandbox/login?person={SAM}&next=/sandbox/static/favicon.svg")
    page.goto(applink)
    page.wait_for_url("**/sandbox/consent?id=*")
    behave(sandbox, links_open="in the client")
    page.goto(applink)
    page.get_by_role("dialog").get_by_role("button", name="Allow").click()
    expect(page.locator("h1")).to_have_text("Authorized")
    context.close()
