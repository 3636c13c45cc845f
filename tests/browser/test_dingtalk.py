"""DingTalk in a real browser: the chat page with its messages, the login page, and the panel of `openAuth`."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, OpenPage, Sandbox, StartSandbox, stop_sandbox

ADA, SAM, WEI, GROUP = "ada0001", "sam0107", "wei0042", "cidLaunchCrewSandbox0000000000=="
TEMPLATE = "1366a1eb-bc54-4859-ac88-517c56a9acb1.schema"
MODAL = "https://n.dingtalk.com/dingding/h5-common-authority/auth/index.html"
PHONE_AGENT = "Mozilla/5.0 (Linux; Android 14) Mobile Safari/537.36 AliApp(DingTalk/7.6.0)"
PC_AGENT = "Mozilla/5.0 (Windows NT 10.0) Chrome/120.0.0.0 Safari/537.36 DingTalk/7.6.0"


@pytest.fixture
def platform(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "platform", platform="dingtalk")
    yield sandbox
    stop_sandbox(sandbox)


@pytest.fixture
def app_page(platform: Sandbox) -> Iterator[str]:
    """A page of an app on another port, whose policy allows the client's script and nothing else."""
    script = platform.environment["DINGTALK_JSAPI_URL"]
    viewport = '<meta name="viewport" content="width=device-width">'
    html = f'<!doctype html>{viewport}<h1>App</h1><script src="{script}"></script>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            policy = f"default-src 'none'; script-src {script}; frame-ancestors 'none'"
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/client"
    server.shutdown()
    thread.join()
    server.server_close()


def as_bot(sandbox: Sandbox, path: str, body: object, method: str = "POST") -> dict[str, Any]:
    from urllib.request import Request, urlopen

    environment = sandbox.environment
    keys = {"appKey": environment["DINGTALK_CLIENT_ID"], "appSecret": environment["DINGTALK_CLIENT_SECRET"]}
    token = sandbox.call("POST", "/v1.0/oauth2/accessToken", keys)["accessToken"]
    headers = {"Content-Type": "application/json", "x-acs-dingtalk-access-token": token}
    url = sandbox.url.rstrip("/") + path
    with urlopen(Request(url, json.dumps(body).encode(), headers, method=method), timeout=10) as response:
        return dict(json.load(response))


def say(sandbox: Sandbox, person: str, msg_key: str, **param: str) -> None:
    robot = sandbox.environment["DINGTALK_ROBOT_CODE"]
    body = {"robotCode": robot, "userIds": [person], "msgKey": msg_key, "msgParam": json.dumps(param)}
    assert as_bot(sandbox, "/v1.0/robot/oToMessages/batchSend", body)["invalidStaffIdList"] == []


def deliver_card(sandbox: Sandbox, space: str, **data: str) -> None:
    kind = "Robot" if space.startswith("IM_ROBOT") else "Group"
    model = (
        {"spaceType": "IM_ROBOT"}
        if kind == "Robot"
        else {
            "robotCode": sandbox.environment["DINGTALK_ROBOT_CODE"],
            "recipients": [SAM],
        }
    )
    body = {
        "cardTemplateId": TEMPLATE,
        "outTrackId": f"card-{space}",
        "callbackType": "STREAM",
        "cardData": {"cardParamMap": data},
        "openSpaceId": f"dtv1.card//{space}",
        f"im{kind}OpenDeliverModel": model,
    }
    as_bot(sandbox, "/v1.0/card/instances/createAndDeliver", body)


@pytest.fixture
def chat(platform: Sandbox, open_page: OpenPage) -> Page:
    page = open_page(platform.url)
    page.locator("#people li").first.wait_for()
    return page


def test_messages_and_cards_are_drawn_with_their_buttons(platform: Sandbox, chat: Page) -> None:
    platform.post("messages", {"person": SAM, "text": "/me"})
    say(platform, SAM, "sampleText", content="plain words")
    say(platform, SAM, "sampleMarkdown", title="T", text="**bold** and [a link](https://a.example/)")
    say(platform, SAM, "sampleLink", title="A title", text="below", messageUrl="https://a.example/")
    say(
        platform,
        SAM,
        "sampleActionCard",
        title="T",
        text="### Needed",
        singleTitle="Authorize",
        singleURL="http://127.0.0.1:1/a",
    )
    expect(chat.locator("#log").get_by_text("plain words")).to_be_visible()
    expect(chat.locator("#log strong", has_text="bold")).to_be_visible()
    expect(chat.get_by_role("link", name="A title below")).to_have_attribute("href", "https://a.example/")
    button = chat.get_by_role("link", name="Authorize")
    # Through the client's link, so that it opens where the client opens links.
    expect(button).to_have_attribute(
        "href", re.compile(r"/sandbox/login\?person=sam0107&next=%2Fdingtalkclient%2Fpage%2Flink")
    )
    buttons = {
        "msgButtons": [
            {"text": "Open", "url": "http://127.0.0.1:1/a"},
            {"text": "Not now", "id": "cancel:7", "request": True},
        ]
    }
    deliver_card(
        platform,
        f"IM_ROBOT.{SAM}",
        title="Card",
        markdown="x",
        tips="waiting",
        sys_full_json_obj=json.dumps(buttons),
    )
    expect(chat.locator("#log").get_by_text("waiting")).to_be_visible()
    expect(chat.get_by_role("link", name="Open")).to_be_visible()
    # No bot is connected: the client shows an error after the press.
    chat.get_by_role("button", name="Not now").click()
    expect(chat.locator(".toast")).to_contain_text("no connection")
    event = next(
        e
        for e in platform.call("GET", "/sandbox/api/changes?kind=event")["changes"]
        if e["type"] == "card callback"
    )
    assert event["button"] == "Not now"


def test_a_changed_card_is_drawn_again_and_a_recalled_message_disappears(
    platform: Sandbox, chat: Page
) -> None:
    deliver_card(platform, f"IM_ROBOT.{SAM}", title="Card", tips="waiting")
    expect(chat.locator("#log").get_by_text("waiting")).to_be_visible()
    update = {
        "outTrackId": f"card-IM_ROBOT.{SAM}",
        "cardData": {"cardParamMap": {"tips": "authorized"}},
        "cardUpdateOptions": {"updateCardDataByKey": True},
    }
    as_bot(platform, "/v1.0/card/instances", update, method="PUT")
    expect(chat.locator("#log").get_by_text("authorized")).to_be_visible()
    message_id = platform.state()["messages"][0]["message_id"]
    platform.post("recall", {"message_id": message_id})
    expect(chat.locator("#log").get_by_text("recalled a message")).to_be_visible()


def test_a_card_for_one_member_of_a_group_is_shown_to_them_only(platform: Sandbox, chat: Page) -> None:
    deliver_card(platform, f"IM_GROUP.{GROUP}", title="Only for Sam")
    chat.locator("#chats button", has_text="Launch crew").click()
    expect(chat.get_by_role("heading", name="Only for Sam")).to_be_visible()
    expect(chat.get_by_text("Only visible to you")).to_be_visible()
    chat.locator("#people button", has_text="Ada").click()
    chat.locator("#chats button", has_text="Launch crew").click()
    expect(chat.get_by_role("heading", name="Only for Sam")).to_have_count(0)


def test_a_story_and_a_message_to_the_group_work_as_on_the_other_platform(
    platform: Sandbox, chat: Page
) -> None:
    chat.get_by_role("button", name="Start here").click()
    expect(chat.locator("#composer-text")).to_have_value("/me")
    chat.locator("#chats button", has_text="Launch crew").click()
    chat.locator("#composer-text").fill("@Helper /tasks")
    chat.locator("#send").click()
    expect(chat.locator("#log .mention")).to_have_text("@Helper")
    sent = platform.state()["messages"][-1]
    assert sent["content"] == {"content": "/tasks", "mentions_bot": True}


def test_switches_of_the_platform_are_under_trouble(platform: Sandbox, chat: Page) -> None:
    chat.locator("#tab-trouble").click()
    chat.locator("#panel_error").select_option("500104")
    chat.locator("#honours_scope_codes").select_option("true")
    chat.locator("#consents_as").select_option(WEI)
    expect(chat.locator(".toast")).to_have_count(3)
    behaviour = platform.post("behaviour", {})
    assert (behaviour["panel_error"], behaviour["honours_scope_codes"], behaviour["consents_as"]) == (
        500104,
        True,
        WEI,
    )
    chat.locator("#consents_as").select_option("")
    expect(chat.locator(".toast")).to_have_count(4)
    assert platform.post("behaviour", {})["consents_as"] is None


# The login page


def login_path(sandbox: Sandbox, **changes: str) -> str:
    query = {
        "client_id": sandbox.environment["DINGTALK_CLIENT_ID"],
        "redirect_uri": sandbox.environment["BOT_PUBLIC_URL"] + "/oauth/dingtalk/callback",
        "response_type": "code",
        "scope": "openid corpid",
        "state": "s",
        "prompt": "consent",
        **changes,
    }
    return f"/oauth2/auth?{urlencode(query)}"


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    ("person", "allow", "title"), [(SAM, "Agree", "Helper asks"), (WEI, "同意", "小助手 申请")]
)
def test_the_login_page_returns_with_a_code(
    platform: Sandbox, open_page: OpenPage, viewport: dict[str, int], person: str, allow: str, title: str
) -> None:
    target = quote(login_path(platform), safe="")
    page = open_page(f"{platform.url}sandbox/login?person={person}&next={target}", viewport)
    expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    expect(page.get_by_text("Contact.User.mobile")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with page.expect_request(re.compile("/oauth/dingtalk/callback")) as returned:
        page.get_by_role("button", name=allow).click()
    assert re.search(r"\?authCode=[0-9a-f]{32}&state=s$", returned.value.url)


def test_the_login_page_refuses_and_switches_accounts(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_page(platform.url.rstrip("/") + login_path(platform))
    expect(page.get_by_role("button", name="Agree")).to_be_disabled()
    page.get_by_role("button", name=re.compile("Ada Meyer")).click()
    with page.expect_request(re.compile("/oauth/dingtalk/callback")) as returned:
        page.get_by_role("button", name="Refuse").click()
    assert returned.value.url.endswith("?error=access_denied&state=s")


def test_the_login_page_shows_what_is_wrong_with_a_link(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_page(
        platform.url.rstrip("/") + login_path(platform, redirect_uri="https://elsewhere.example/")
    )
    expect(page.get_by_role("alert")).to_contain_text("redirect_uri")
    expect(page.get_by_role("button", name="Agree")).to_have_count(0)


# openAuth


def in_client(sandbox: Sandbox, open_page: OpenPage, app_page: str, kind: str, person: str = SAM) -> Page:
    """Open the app's page in the client, as a person."""
    agent, viewport = (PC_AGENT, DESKTOP) if kind == "pc" else (PHONE_AGENT, PHONE)
    page = open_page(
        f"{sandbox.url}sandbox/login?person={person}&next=/favicon.ico", viewport, user_agent=agent
    )
    page.goto(app_page)
    return page


OPEN_AUTH = """
([kind, address, query]) => {
  const miniProgram = { miniAppId: "5000000000174977", page: `pages/auth/index?${query}`, target: "float" };
  const answered = (answer) => { document.title = `answer ${JSON.stringify(answer)}`; };
  const failed = (problem) => answered({ problem });
  const modal = { url: `${address}?${query}`, size: "middle", title: "x" };
  if (kind === "pc") dd.biz.util.openModal(modal).then((text) => answered(JSON.parse(text)), failed);
  else dd.biz.util.callComponent({ componentType: "miniProgram", params: miniProgram })
    .then(({ detail }) => answered(detail.extraData), failed);
}
"""


def open_auth(
    sandbox: Sandbox, page: Page, kind: str, scopes: str = "Contact.User.Read,Todo.Todo.Read"
) -> None:
    app = sandbox.environment
    who = f"clientId={app['DINGTALK_CLIENT_ID']}&corpId={app['DINGTALK_CORP_ID']}"
    query = f"type=0&{who}&rpcScope={scopes}&fieldScope=Contact.User.mobile"
    page.evaluate(OPEN_AUTH, [kind, MODAL, query])


def answer_of(page: Page) -> Any:
    # The page's policy forbids to evaluate a condition in it, but not to wait for its title.
    expect(page).to_have_title(re.compile("^answer "))
    return json.loads(page.title().removeprefix("answer "))


@pytest.mark.parametrize("kind", ["pc", "phone"])
def test_agreeing_on_the_panel_gives_the_page_a_code(
    platform: Sandbox, open_page: OpenPage, app_page: str, kind: str
) -> None:
    page = in_client(platform, open_page, app_page, kind)
    open_auth(platform, page, kind)
    expect(page.get_by_role("dialog")).to_contain_text("Todo.Todo.Read")
    page.get_by_role("button", name="Agree").click()
    answer = answer_of(page)
    assert answer["status"] == "ok"
    assert re.fullmatch("[0-9a-f]{32}", answer["result"]["authCode"])


@pytest.mark.parametrize("kind", ["pc", "phone"])
@pytest.mark.parametrize(("button", "status"), [("Cancel", "cancel"), ("Fail", "failed")])
def test_the_other_results_of_the_panel(
    platform: Sandbox, open_page: OpenPage, app_page: str, kind: str, button: str, status: str
) -> None:
    page = in_client(platform, open_page, app_page, kind)
    open_auth(platform, page, kind)
    if button == "Fail":
        page.get_by_text("More results").click()
    page.get_by_role("button", name=button).click()
    assert answer_of(page) == {"status": status, "result": None}


@pytest.mark.parametrize("kind", ["pc", "phone"])
def test_a_closed_panel_is_an_error_of_the_bridge(
    platform: Sandbox, open_page: OpenPage, app_page: str, kind: str
) -> None:
    page = in_client(platform, open_page, app_page, kind)
    open_auth(platform, page, kind)
    page.get_by_role("button", name="Close", exact=True).click()
    assert answer_of(page)["problem"]["errorCode"] == "3"


def test_the_panel_shows_its_error_codes_in_chinese_too(
    platform: Sandbox, open_page: OpenPage, app_page: str
) -> None:
    page = in_client(platform, open_page, app_page, "phone", WEI)
    open_auth(platform, page, "phone", "Storage.File.Read")
    expect(page.get_by_role("dialog")).to_contain_text("错误码 500104")
    page.get_by_role("button", name="关闭").last.click()
    assert answer_of(page) == {"status": "failed", "result": None}


@pytest.mark.parametrize(
    ("client", "call", "result"),
    [
        ("new", "dd.getAuthInfo(given)", "panel"),
        ("old", "dd.getAuthInfo(given)", "unsupported"),
        ("old", "dd.runtime.permission.requestAuthCode(given)", "code"),
        ("old", "dd.runtime.permission.requestAuthCodeV2(given)", "unsupported"),
        ("oldest", "dd.biz.util.callComponent(given)", "unsupported"),
        ("oldest", "dd.runtime.permission.requestAuthCode(given)", "code"),
        ("new", "dd.runtime.permission.requestAuthCodeV2(given)", "code"),
        ("new", "dd.biz.util.openModal(given)", "unsupported"),
    ],
)
def test_what_a_client_can_do_depends_on_its_version(
    platform: Sandbox, open_page: OpenPage, app_page: str, client: str, call: str, result: str
) -> None:
    platform.post("behaviour", {"client_sdk": client})
    page = in_client(platform, open_page, app_page, "phone")
    given = {
        "type": 0,
        "clientId": platform.environment["DINGTALK_CLIENT_ID"],
        "corpId": platform.environment["DINGTALK_CORP_ID"],
        "rpcScope": ["Contact.User.Read"],
        "fieldScope": [],
    }
    tell = "(answer) => { document.title = `answer ${JSON.stringify(answer)}`; }"
    page.evaluate(f"(given) => {{ {call}.then({tell}, {tell}); }}", given)
    if result == "panel":
        page.get_by_role("button", name="Agree").click()
        assert answer_of(page)["status"] is True
    elif result == "code":
        assert re.fullmatch("[0-9a-f]{32}", answer_of(page)["code"])
    else:
        assert "not supported" in answer_of(page)["errorMessage"]


def test_outside_the_client_nothing_works(platform: Sandbox, open_page: OpenPage, app_page: str) -> None:
    page = open_page(app_page)
    assert page.evaluate("dd.env.platform") == "notInDingTalk"
    failed = page.evaluate("dd.biz.util.openModal({ url: '' }).catch((problem) => problem.errorMessage)")
    assert failed == "not in DingTalk"


def test_a_client_whose_bridge_fails_never_gets_ready(
    platform: Sandbox, open_page: OpenPage, app_page: str
) -> None:
    platform.post("behaviour", {"client_sdk": "broken"})
    page = in_client(platform, open_page, app_page, "pc")
    tell = "(answer) => () => { document.title = `answer ${JSON.stringify(answer)}`; }"
    page.evaluate(f"() => {{ const tell = {tell}; dd.ready(tell('ready')); dd.error(tell('failed')); }}")
    assert answer_of(page) == "failed"
