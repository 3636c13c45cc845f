"""The consent page as a person meets it, on a phone and in both languages."""

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from .conftest import NIKO, PHONE, SAM, WEI, OpenPage, Sandbox

DOCUMENT = "docx:document:readonly"


def open_consent(
    platform: Sandbox, open_page: OpenPage, scope: str, person: str = SAM, **changes: str
) -> Page:
    page = open_page(f"{platform.url}sandbox/login?person={person}&next=/sandbox/static/favicon.svg", PHONE)
    page.route("**/oauth/lark/callback*", lambda route: route.fulfill(body="back"))
    page.goto(platform.url.rstrip("/") + platform.authorize_path(scope, **changes))
    return page


def granted(platform: Sandbox, open_id: str) -> list[str]:
    return next(p["granted"] for p in platform.state()["people"] if p["open_id"] == open_id)


def outcome(page: Page) -> dict[str, list[str]]:
    page.wait_for_url("**/oauth/lark/callback*")
    return parse_qs(urlsplit(page.url).query)


def test_it_says_who_asks_whom_for_what_and_allowing_leads_back(
    platform: Sandbox, open_page: OpenPage
) -> None:
    page = open_consent(platform, open_page, f"{DOCUMENT} offline_access")
    expect(page.get_by_role("heading", name="Helper asks for your permission")).to_be_visible()
    expect(page.locator(".account")).to_contain_text("Sam Rivera")
    expect(page.locator(".scopes")).to_contain_text(DOCUMENT)
    page.get_by_role("button", name="Allow").click()
    answer = outcome(page)
    assert answer["state"] == ["state-of-the-test"]
    assert answer["code"]
    assert granted(platform, SAM) == [DOCUMENT, "offline_access"]


def test_refusing_grants_nothing_and_leads_back(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_consent(platform, open_page, DOCUMENT)
    page.get_by_role("button", name="Refuse").click()
    assert outcome(page)["error"] == ["access_denied"]
    assert granted(platform, SAM) == []


def test_it_speaks_the_language_of_the_person(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_consent(platform, open_page, DOCUMENT, WEI)
    expect(page.get_by_role("button", name="允许")).to_be_visible()
    expect(page.locator(".account")).to_contain_text("蓝薇")
    assert page.evaluate("document.documentElement.lang") == "zh"


def test_another_account_can_be_chosen(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_consent(platform, open_page, DOCUMENT)
    page.get_by_role("button", name="Switch account").click()
    page.get_by_role("button", name="Ada Meyer").click()
    expect(page.locator(".account")).to_contain_text("Ada Meyer")
    page.get_by_role("button", name="Allow").click()
    outcome(page)
    assert granted(platform, SAM) == []


def test_a_single_permission_can_be_left_out(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_consent(platform, open_page, f"{DOCUMENT} task:task:read")
    page.get_by_label("task:task:read").uncheck()
    page.get_by_role("button", name="Allow").click()
    outcome(page)
    assert granted(platform, SAM) == [DOCUMENT]


def test_what_was_granted_before_is_folded_away(platform: Sandbox, open_page: OpenPage) -> None:
    platform.post("grants", {"person": SAM, "scopes": [DOCUMENT]})
    page = open_consent(platform, open_page, f"{DOCUMENT} task:task:read")
    expect(page.locator(".scopes")).not_to_contain_text(DOCUMENT)
    page.get_by_text("Already allowed (1)").click()
    expect(page.locator(".already")).to_contain_text(DOCUMENT)


def test_leaving_out_something_new_loses_nothing_that_was_allowed_before(
    platform: Sandbox, open_page: OpenPage
) -> None:
    platform.post("grants", {"person": SAM, "scopes": ["offline_access"]})
    page = open_consent(platform, open_page, f"{DOCUMENT} task:task:read offline_access")
    page.get_by_label("task:task:read").uncheck()
    page.get_by_role("button", name="Allow").click()
    secrets = {
        "client_id": platform.environment["LARK_APP_ID"],
        "client_secret": platform.environment["LARK_APP_SECRET"],
    }
    code = {"grant_type": "authorization_code", "code": outcome(page)["code"][0]}
    redirect = {"redirect_uri": platform.environment["BOT_PUBLIC_URL"] + "/oauth/lark/callback"}
    token = platform.call("POST", "/open-apis/authen/v2/oauth/token", secrets | code | redirect)
    assert {DOCUMENT, "offline_access"} <= set(token["scope"].split())
    assert "task:task:read" not in token["scope"].split()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"scope": "docx:document"}, "20027", "has not enabled"),
        ({"redirect_uri": "https://elsewhere.test/"}, "20029", "redirect URLs"),
        ({"scope": "no:such:scope"}, "20043", "does not exist"),
    ],
)
def test_trouble_with_the_request_is_told_in_words_and_nobody_is_called_back(
    platform: Sandbox, open_page: OpenPage, changes: dict[str, str], code: str, words: str
) -> None:
    page = open_consent(platform, open_page, **{"scope": DOCUMENT, **changes})
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_role("alert")).to_contain_text(code)
    assert page.get_by_role("button", name="Allow").count() == 0


def test_an_outsider_is_told_so_and_can_switch_accounts(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_consent(platform, open_page, DOCUMENT, NIKO)
    expect(page.get_by_role("alert")).to_contain_text("not available to you")
    page.get_by_role("button", name="Switch account").click()
    page.get_by_role("button", name="Sam Rivera").click()
    expect(page.get_by_role("button", name="Allow")).to_be_enabled()
