"""My permissions in a browser: web login, what the page shows, and its buttons. No script runs on it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import ADA, DESKTOP, PATIENCE, PHONE, SAM, OpenPage, Sandbox, StartSandbox, stop_sandbox
from .test_in_client import card_link, wait_for_bot


@pytest.fixture
def sandbox(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot")
    yield sandbox
    assert stop_sandbox(sandbox) == 0


@pytest.fixture
def link(sandbox: Sandbox) -> str:
    wait_for_bot(sandbox)
    return card_link(sandbox)


def open_as(
    sandbox: Sandbox, open_page: OpenPage, person: str, view: object = DESKTOP, **options: object
) -> Page:
    onward = "/sandbox/static/favicon.svg"
    options = {"locale": "en-US", **options}
    return open_page(f"{sandbox.url}sandbox/login?person={person}&next={onward}", view, **options)


def sign_in(page: Page, link: str) -> None:
    page.goto(urlsplit(link)._replace(path="/permissions").geturl())
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_url("**/permissions?signed-in")


@pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_everything_on_the_page_works_without_a_script(
    sandbox: Sandbox, browser: Browser, open_page: OpenPage, link: str, view: dict[str, int]
) -> None:
    page = open_as(sandbox, open_page, SAM, view)
    sign_in(page, link)
    session = page.context.cookies()
    plain = open_page("about:blank", view, java_script_enabled=False, locale="en-US")
    plain.context.add_cookies(session)
    plain.goto(page.url)
    expect(plain.locator("header")).to_contain_text("Signed in as Sam Rivera")
    expect(plain.locator(".waiting")).to_contain_text("/tasks")
    assert plain.evaluate("document.documentElement.scrollWidth") <= view["width"]

    page.get_by_role("link", name="Authorize").click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.locator("h1")).to_have_text("Authorized")
    plain.goto(page.url.partition("/authorization")[0] + "/permissions")
    expect(plain.locator(".rows")).to_contain_text("For /tasks · allowed today")

    plain.get_by_text("Take everything back").click()
    plain.get_by_role("button", name="Yes, take it back").click()
    expect(plain.get_by_role("status")).to_contain_text("I no longer have access to your account")
    expect(plain.locator("h2")).to_have_text("You haven't authorized anything")
    plain.get_by_role("button", name="Sign out").click()
    expect(plain.locator("h1")).to_have_text("Signed out")
    page.goto(plain.url.partition("?")[0])
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_what_waits_can_be_dropped(sandbox: Sandbox, open_page: OpenPage, link: str) -> None:
    page = open_as(sandbox, open_page, SAM, PHONE)
    sign_in(page, link)
    page.get_by_role("button", name="Cancel request").click()
    expect(page.get_by_role("status")).to_contain_text("Cancelled.")
    expect(page.locator(".waiting")).to_have_count(0)


def test_the_pager_stands_apart_and_its_links_are_as_wide_as_their_words(
    sandbox: Sandbox, open_page: OpenPage, link: str
) -> None:
    page = open_as(sandbox, open_page, SAM, PHONE)
    for _ in range(24):
        sandbox.post("messages", {"person": SAM, "text": "/agenda"})
    sign_in(page, link)
    pager = page.locator(".waiting nav")
    onward = pager.get_by_role("link", name="Next page")
    deadline = time.monotonic() + PATIENCE / 1000
    while not onward.count():
        assert time.monotonic() < deadline
        page.reload()
    sizes = {}
    for name, locator in (("pager", pager), ("link", onward), ("below", page.locator(".waiting > .soft"))):
        sizes[name] = locator.bounding_box() or {}
    assert sizes["link"]["width"] < PHONE["width"] / 2
    assert sizes["below"]["y"] - (sizes["pager"]["y"] + sizes["pager"]["height"]) >= 8
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    onward.click()
    expect(pager).to_contain_text("Page 2 of 2")


def test_a_link_that_somebody_else_began_signs_nobody_in(
    sandbox: Sandbox, open_page: OpenPage, link: str
) -> None:
    """The attacker stops before the way back, and has the victim go it."""
    attacker = open_as(sandbox, open_page, ADA)
    attacker.goto(urlsplit(link)._replace(path="/login").geturl())
    consent = attacker.url.partition("id=")[2]
    back = sandbox.post(f"consents/{consent}", {"person": ADA, "decision": "allow"})["redirect"]
    victim = open_as(sandbox, open_page, SAM)
    victim.goto(back)
    expect(victim.locator("h1")).to_have_text("Sign-in started elsewhere")
    victim.goto(urlsplit(link)._replace(path="/permissions").geturl())
    expect(victim.get_by_role("link", name="Sign in")).to_be_visible()


def test_the_page_is_in_chinese_for_a_chinese_browser(
    sandbox: Sandbox, open_page: OpenPage, link: str
) -> None:
    page = open_as(sandbox, open_page, SAM, PHONE, locale="zh-CN")
    page.goto(urlsplit(link)._replace(path="/permissions").geturl())
    page.get_by_role("link", name="登录").click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.locator("h1")).to_have_text("我的授权")
    expect(page.locator(".waiting")).to_contain_text("等待你授权")
    # No space between Chinese words; one before a number's neighbour is as it should be.
    said = page.locator("main").inner_text()
    assert not re.search(r"[\u4e00-\u9fff] +[\u4e00-\u9fff]", said), said
