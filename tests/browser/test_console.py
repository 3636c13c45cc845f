"""The console in a browser: signing in, every page, its two buttons, hostile names, many rows, a phone, no script."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy
from playwright.sync_api import Browser, Page, expect

from bot.core.people import UserKey
from tests.console_rows import lively

from .conftest import ADA, DESKTOP, PATIENCE, PHONE, SAM, WEI, OpenPage, Sandbox, StartSandbox, stop_sandbox
from .test_in_client import card_link, wait_for_bot

CONSOLE = "/console"
PAGES = ("", "/people", "/requests", "/calls", "/errors", "/scopes")
HOSTILE = "<img src=x onerror=\"document.title='taken'\">\u202e{{7*7}}"


@pytest.fixture
def sandbox(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot")
    wait_for_bot(sandbox)
    yield sandbox
    assert stop_sandbox(sandbox) == 0


@pytest.fixture
def base(sandbox: Sandbox) -> str:
    """The bot's address. Sam waits for an authorization."""
    return urlsplit(card_link(sandbox))._replace(path="", query="", fragment="").geturl()


@pytest.fixture
def people(sandbox: Sandbox, base: str) -> list[UserKey]:
    """A month of rows in the bot's database."""
    engine = sqlalchemy.create_engine(f"sqlite:///{sandbox.directory}/bot.db", connect_args={"timeout": 20})
    with engine.begin() as connection:
        app, tenant = connection.exec_driver_sql("SELECT app, tenant_key FROM users LIMIT 1").one()
        found = lively(connection, app, tenant, datetime.now(UTC), people=60)
    engine.dispose()
    return found


def change(sandbox: Sandbox, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(sandbox.directory / "bot.db", timeout=20)) as connection, connection:
        connection.execute(statement, values)


def sign_in(page: Page, path: str) -> None:
    page.goto(path)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_url("**/console**signed-in")


def open_as(
    sandbox: Sandbox, open_page: OpenPage, person: str, view: object = DESKTOP, **options: object
) -> Page:
    onward = "/sandbox/static/favicon.svg"
    options = {"locale": "en-US", **options}
    return open_page(f"{sandbox.url}sandbox/login?person={person}&next={onward}", view, **options)


@pytest.fixture
def ada(sandbox: Sandbox, open_page: OpenPage, base: str, people: list[UserKey]) -> Page:
    """The administrator, signed in at the console."""
    page = open_as(sandbox, open_page, ADA)
    sign_in(page, base + CONSOLE)
    return page


def width_of(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_an_administrator_signs_in_and_walks_from_the_overview_to_a_story(ada: Page, base: str) -> None:
    expect(ada.locator("h1")).to_have_text("Overview")
    expect(ada.locator(".tiles")).to_contain_text("Median time to consent")
    expect(ada.locator(".funnel tbody tr")).to_have_count(7)
    expect(ada.locator("svg.columns")).to_have_count(2)
    for chart in ada.locator("svg.columns").all():
        assert (chart.bounding_box() or {})["height"] > 100
    ada.get_by_role("link", name="Calls", exact=True).click()
    expect(ada.locator("h1")).to_have_text("Calls")
    ada.get_by_role("link", name="Failed", exact=True).click()
    expect(ada.locator("tbody tr").first).to_contain_text("Failed")
    ada.locator("tbody td:has-text('/') a[href*=story]").first.click()
    expect(ada.locator("h2")).to_have_text("Timeline")
    expect(ada.locator(".timeline li").first).to_contain_text("Asked")
    ada.locator(".head .person").click()
    expect(ada.locator("h2").first).to_have_text("Person")
    ada.get_by_role("link", name="What the bot did").click()
    expect(ada.locator("h1")).to_have_text("Done in this person's name")


def test_a_search_finds_a_person_and_pages_go_on(ada: Page, base: str) -> None:
    ada.goto(base + CONSOLE + "/people")
    expect(ada.locator("tbody tr")).to_have_count(50)
    ada.get_by_role("link", name="Older").click()
    expect(ada.locator("tbody tr").first).to_be_visible()
    ada.get_by_role("link", name="Newest").click()
    ada.get_by_role("searchbox").fill("ada love")
    ada.keyboard.press("Enter")
    expect(ada.locator("tbody tr")).to_have_count(4)
    ada.get_by_role("searchbox").fill("nobody is called so")
    ada.get_by_role("button", name="Search").click()
    expect(ada.locator(".empty")).to_contain_text("No one matches")


def test_revoking_asks_first_and_says_what_was_done(
    ada: Page, base: str, sandbox: Sandbox, people: list[UserKey]
) -> None:
    person = next(each for each in people if is_active(sandbox, each))
    ada.goto(f"{base}{CONSOLE}/person?{urlencode({'user': str(person)})}")
    ada.get_by_role("link", name="Revoke…").click()
    ada.get_by_role("link", name="Cancel").click()
    assert is_active(sandbox, person)
    ada.get_by_role("link", name="Revoke…").click()
    ada.get_by_role("button", name="Revoke").click()
    expect(ada.get_by_role("status")).to_contain_text("Revoked.")
    expect(ada.locator(".timeline")).to_contain_text("Revoked by an operator")
    expect(ada.locator(".timeline")).to_contain_text("operator Ada")
    assert not is_active(sandbox, person)
    ada.reload()
    expect(ada.get_by_role("status")).to_have_count(0)


def is_active(sandbox: Sandbox, person: UserKey) -> bool:
    with closing(sqlite3.connect(sandbox.directory / "bot.db", timeout=20)) as connection:
        found = connection.execute("SELECT status FROM grants WHERE user_key = ?", (str(person),)).fetchone()
    return found is not None and found[0] == "active"


def reload_until(page: Page, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline
        page.reload()


def test_the_administrators_lane_checks_again(sandbox: Sandbox, open_page: OpenPage) -> None:
    sandbox.post("app-scopes", {"scope": "search:docs:read", "user": False})
    base = urlsplit(card_link(sandbox))._replace(path="", query="", fragment="").geturl()
    sandbox.post("messages", {"person": SAM, "text": "/search launch"})
    page = open_as(sandbox, open_page, ADA)
    sign_in(page, f"{base}{CONSOLE}/scopes")
    lane = page.locator(".wait")
    reload_until(page, lambda: lane.count() > 0)
    expect(lane).to_contain_text("search:docs:read")
    expect(lane).to_contain_text("/search")
    page.get_by_role("link", name="Check again…").click()
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("status")).to_contain_text("No call can continue yet")
    sandbox.post("app-scopes", {"scope": "search:docs:read", "user": True})
    reload_until(page, lambda: lane.count() == 0)
    expect(page.locator(".empty")).to_contain_text("Nothing to enable")


@pytest.mark.parametrize("person", [SAM, WEI])
def test_others_are_told_that_it_is_not_for_them(
    sandbox: Sandbox, open_page: OpenPage, base: str, person: str
) -> None:
    page = open_as(sandbox, open_page, person, PHONE, locale="zh-CN")
    page.goto(base + CONSOLE)
    page.get_by_role("link", name="登录").click()
    page.get_by_role("button", name="Allow" if person == SAM else "允许", exact=True).click()
    page.wait_for_url("**/console?signed-in")
    expect(page.locator("h1")).to_have_text("仅限管理员")
    page.goto(f"{base}{CONSOLE}/people")
    expect(page.locator("h1")).to_have_text("仅限管理员")
    expect(page.locator("table")).to_have_count(0)


def test_hostile_names_are_text(ada: Page, base: str, sandbox: Sandbox, people: list[UserKey]) -> None:
    change(sandbox, "UPDATE users SET name = ? WHERE open_id <> ?", HOSTILE, ADA)
    change(sandbox, "UPDATE deferred_calls SET command = ? WHERE settled_at IS NOT NULL", HOSTILE)
    person = urlencode({"user": str(people[0])})
    for path in (*PAGES, f"/person?{person}", f"/revoke?{person}", f"/done?{person}"):
        ada.goto(base + CONSOLE + path)
        assert ada.locator("img").count() == 0
        assert ada.title() != "taken"
        assert "\u202e" not in ada.content()
        assert width_of(ada) <= DESKTOP["width"]
    ada.goto(f"{base}{CONSOLE}/people")
    expect(ada.locator("tbody")).to_contain_text("<img src=x onerror=")
    expect(ada.locator("tbody")).to_contain_text("{{7*7}}")
    ada.set_viewport_size(PHONE)  # type: ignore[arg-type]
    ada.reload()
    assert width_of(ada) <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_fits_works_without_script_and_can_be_read(
    ada: Page,
    base: str,
    browser: Browser,
    open_page: OpenPage,
    people: list[UserKey],
    view: dict[str, int],
    scheme: str,
) -> None:
    plain = open_page("about:blank", view, java_script_enabled=False, locale="zh-CN", color_scheme=scheme)
    plain.context.add_cookies(ada.context.cookies())
    person = urlencode({"user": str(people[0])})
    for path in (
        *PAGES,
        f"/person?{person}",
        f"/revoke?{person}",
        f"/done?{person}",
        "/check",
        "/calls?status=failed",
    ):
        plain.goto(base + CONSOLE + path)
        expect(plain.locator("nav [aria-current=page]")).to_have_count(1)
        assert width_of(plain) <= view["width"], path
        assert spilling(plain) == [], path
        text, page = colours(plain, ".content"), colours(plain, "body")
        assert contrast(text[0], page[1]) > 7, (path, text, page)
    plain.goto(base + CONSOLE)
    card = colours(plain, ".card")[1]
    for kind in ("succeeded", "cancelled", "expired", "outcome_unknown", "failed"):
        assert contrast(colours(plain, f".legend .{kind}", "fill")[0], card) > 3, kind
    plain.get_by_text("查看数据").first.click()
    expect(plain.locator("details[open] table")).to_be_visible()
    assert width_of(plain) <= view["width"]


def spilling(page: Page) -> list[str]:
    """Return the texts that are wider than the cell, fact or line of a timeline that they are in."""
    script = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)"
    found: list[str] = page.locator(".when, .tile, td, dd, dt, .pill").evaluate_all(script)
    return found


def colours(page: Page, selector: str, of: str = "color") -> list[list[float]]:
    """Return the colour of the text, or of another property, and of the background, as red, green and blue."""
    style = f"[getComputedStyle(e).{of}, getComputedStyle(e).backgroundColor]"
    script = f"e => {style}.map(colour => colour.match(/[\\d.]+/g).map(Number))"
    found: list[list[float]] = page.locator(selector).first.evaluate(script)
    return found


def contrast(one: list[float], other: list[float]) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""

    def luminance(colour: list[float]) -> float:
        parts = [each / 255 for each in colour[:3]]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_many_rows_are_no_obstacle(
    ada: Page, base: str, sandbox: Sandbox, people: list[UserKey], request: pytest.FixtureRequest
) -> None:
    """With `--long` it is a million. What a page reads is counted in tests/store/test_console_queries.py."""
    rows = 1_000_000 if request.config.getoption("--long") else 50_000
    columns = (
        "chat_id, chat_kind, command, arguments, asked_at, received_at, language, status, needs, consents, attempts, "
        "runs_after, expires_at, confirmed, claim, outcome, settled_at"
    )
    change(
        sandbox,
        f"INSERT INTO deferred_calls (id, user_key, {columns}) SELECT printf('%014x', 1800000000000000 + n.i) || 'x', "
        f"user_key, {columns} FROM (SELECT * FROM deferred_calls WHERE status = 'succeeded' LIMIT 1) AS c, "
        f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT i FROM n) AS n",
    )
    for path in PAGES:
        ada.goto(base + CONSOLE + path)
        expect(ada.locator("h1")).to_be_visible()
    ada.goto(f"{base}{CONSOLE}/calls")
    expect(ada.locator("tbody tr")).to_have_count(50)
    ada.get_by_role("link", name="Older").click()
    expect(ada.locator("tbody tr")).to_have_count(50)
    ada.goto(f"{base}{CONSOLE}/calls?status=outcome_unknown")
    ada.get_by_role("link", name="Look further back").click()
    expect(ada.locator(".pager")).to_contain_text("5,000 entries")
    ada.goto(base + CONSOLE)
    expect(ada.locator("svg.columns").last).to_be_visible()
