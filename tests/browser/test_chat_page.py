"""The chat page as a visitor uses it; the test plays the bot through the platform's own API."""

import contextlib
import http.client
import json
import sqlite3
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from .conftest import ADA, GROUP, PHONE, SAM, WEI, OpenPage, Sandbox


def card(title: str = "Permission needed", **body: Any) -> dict[str, Any]:
    elements = body.get("elements") or [{"tag": "markdown", "content": "Read **documents**"}]
    return {
        "schema": "2.0",
        "config": {"update_multi": True},
        "header": {
            "title": {"tag": "plain_text", "content": title, "i18n_content": body.get("titles", {})},
            "template": body.get("template", "blue"),
        },
        "body": {"elements": elements},
    }


def be(page: Page, name: str) -> None:
    page.locator("#people").get_by_text(name).click()


def messages(page: Page) -> Any:
    return page.locator("#log")


def test_a_newcomer_sees_whom_to_be_where_to_write_and_what_to_try(chat: Page) -> None:
    for name in ("Wei Lan 蓝薇", "Ada Meyer", "Sam Rivera"):
        expect(chat.locator("#people").get_by_text(name)).to_be_visible()
    expect(chat.locator("#chats")).to_contain_text("Launch crew")
    expect(chat.locator("#guide")).to_contain_text("First contact")
    chat.get_by_role("button", name="/doc welcome", exact=True).first.click()
    expect(chat.get_by_label("Message", exact=True)).to_have_value("/doc welcome")
    expect(chat.get_by_label("Message", exact=True)).to_be_focused()


def test_what_is_written_is_sent_with_enter_and_shown_as_ones_own(chat: Page, platform: Sandbox) -> None:
    chat.get_by_label("Message", exact=True).fill("hello there")
    chat.keyboard.press("Enter")
    expect(messages(chat).locator(".mine")).to_contain_text("hello there")
    assert [m["content"]["text"] for m in platform.state()["messages"]] == ["hello there"]


def test_a_card_is_shown_in_the_language_of_its_reader(chat: Page, platform: Sandbox) -> None:
    shown = card(titles={"zh_cn": "需要授权", "en_us": "Permission needed"})
    platform.send(SAM, "interactive", shown)
    platform.send(WEI, "interactive", shown)
    expect(messages(chat).get_by_role("heading", name="Permission needed")).to_be_visible()
    be(chat, "Wei Lan")
    expect(messages(chat).get_by_role("heading", name="需要授权")).to_be_visible()


def test_rich_text_is_drawn_with_its_styles_links_and_code(chat: Page, platform: Sandbox) -> None:
    line = [
        {"tag": "text", "text": "Bold", "style": ["bold"]},
        {"tag": "a", "href": "https://x.test/", "text": "there"},
    ]
    markdown = [{"tag": "md", "text": "- one\n- `two`\n\n| a | b |\n|---|---|\n| 1 | 2 |"}]
    platform.send(SAM, "post", {"en_us": {"title": "Agenda", "content": [line, markdown]}})
    post = messages(chat).locator(".post")
    expect(post.locator(".post-title")).to_have_text("Agenda")
    expect(post.locator(".bold")).to_have_text("Bold")
    expect(post.get_by_role("link", name="there")).to_have_attribute("href", "https://x.test/")
    expect(post.locator("li code")).to_have_text("two")
    expect(post.locator("td")).to_have_count(2)


def test_markup_from_a_chat_stays_text_and_script_links_lead_nowhere(chat: Page, platform: Sandbox) -> None:
    hostile = "<img src=x onerror=alert(1)> [click](javascript:alert(1)) <b>not bold</b>"
    platform.say(SAM, hostile)
    platform.send(SAM, "interactive", card(hostile, elements=[{"tag": "markdown", "content": hostile}]))
    expect(messages(chat).locator(".card-body")).to_contain_text("<img src=x onerror=alert(1)>")
    assert chat.locator("#log img, #log b, #log script").count() == 0
    assert chat.locator("#log a").count() == 0


def test_a_card_changes_its_face_while_one_looks_at_it(chat: Page, platform: Sandbox) -> None:
    message_id = platform.send(SAM, "interactive", card("Waiting"))
    expect(messages(chat).get_by_role("heading", name="Waiting")).to_be_visible()
    changed = {"content": json.dumps(card("Authorized", template="green"))}
    platform.as_bot("PATCH", f"im/v1/messages/{message_id}", changed)
    expect(messages(chat).get_by_role("heading", name="Authorized")).to_be_visible()
    expect(messages(chat).get_by_role("heading", name="Waiting")).to_have_count(0)


def test_a_link_on_a_card_opens_a_tab_in_which_the_person_is_signed_in(chat: Page, platform: Sandbox) -> None:
    address = platform.url.rstrip("/") + platform.authorize_path("docx:document:readonly")
    button = {
        "tag": "button",
        "type": "primary",
        "text": {"tag": "plain_text", "content": "Authorize"},
        "behaviors": [{"type": "open_url", "default_url": address}],
    }
    platform.send(WEI, "interactive", card(elements=[button]))
    be(chat, "Wei Lan")
    with chat.expect_popup() as opened:
        messages(chat).get_by_role("link", name="Authorize").click()
    expect(opened.value.get_by_text("蓝薇")).to_be_visible()


def test_a_button_can_ask_before_it_is_pressed(chat: Page, platform: Sandbox) -> None:
    button = {
        "tag": "button",
        "text": {"tag": "plain_text", "content": "Not now"},
        "confirm": {
            "title": {"tag": "plain_text", "content": "Really?"},
            "text": {"tag": "plain_text", "content": "It will be dropped."},
        },
        "behaviors": [{"type": "callback", "value": {"action": "decline"}}],
    }
    platform.send(SAM, "interactive", card(elements=[button]))
    messages(chat).get_by_role("button", name="Not now").click()
    expect(chat.get_by_role("dialog")).to_contain_text("It will be dropped.")
    chat.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    # Nobody listens where the bot should: the client shows the platform's code for that.
    expect(chat.locator("#toasts")).to_contain_text("200342")


def test_an_ephemeral_card_is_seen_by_its_addressee_alone(chat: Page, platform: Sandbox) -> None:
    body = {"chat_id": GROUP, "open_id": ADA, "msg_type": "interactive", "card": card("Just for Ada")}
    platform.as_bot("POST", "ephemeral/v1/send", body)
    be(chat, "Ada Meyer")
    chat.locator("#chats").get_by_text("Launch crew").click()
    expect(messages(chat)).to_contain_text("Only visible to you")
    be(chat, "Sam Rivera")
    chat.locator("#chats").get_by_text("Launch crew").click()
    expect(messages(chat)).not_to_contain_text("Just for Ada")


def test_others_have_an_unread_mark_until_they_look(chat: Page, platform: Sandbox) -> None:
    platform.say(WEI, "for you")
    wei = chat.locator("#people li").filter(has_text="Wei Lan")
    expect(wei.locator(".badge")).to_contain_text("1")
    be(chat, "Wei Lan")
    expect(messages(chat)).to_contain_text("for you")
    be(chat, "Sam Rivera")
    expect(wei.locator(".badge")).to_have_count(0)


def test_a_reaction_is_on_the_message_until_it_is_removed(chat: Page, platform: Sandbox) -> None:
    chat.get_by_label("Message", exact=True).fill("/tasks")
    chat.keyboard.press("Enter")
    mine = messages(chat).locator(".mine")
    expect(mine).to_contain_text("/tasks")
    (message,) = platform.state()["messages"]
    path = f"im/v1/messages/{message['message_id']}/reactions"
    added = platform.as_bot("POST", path, {"reaction_type": {"emoji_type": "Typing"}})
    expect(mine.get_by_role("list", name="Reactions")).to_contain_text("Helper")
    expect(chat.locator("#timeline")).to_contain_text("marked a message of Sam Rivera: Typing")
    platform.as_bot("DELETE", f"{path}/{added['data']['reaction_id']}", None)
    expect(mine.get_by_role("list", name="Reactions")).to_have_count(0)


def test_ones_own_message_can_be_recalled_from_its_menu(chat: Page) -> None:
    chat.get_by_label("Message", exact=True).fill("a mistake")
    chat.keyboard.press("Enter")
    messages(chat).locator(".mine").hover()
    chat.get_by_label("What can be done with this message").click()
    chat.get_by_role("menuitem", name="Recall").click()
    expect(messages(chat)).to_contain_text("You recalled a message")
    expect(messages(chat)).not_to_contain_text("a mistake")


def test_a_reply_quotes_what_it_answers(chat: Page, platform: Sandbox) -> None:
    asked = platform.post("messages", {"person": SAM, "text": "/agenda"})["message_id"]
    answer = {"msg_type": "text", "content": '{"text": "Nothing today"}'}
    platform.as_bot("POST", f"im/v1/messages/{asked}/reply", answer)
    expect(messages(chat).locator(".quote")).to_contain_text("Sam Rivera/agenda")


def test_in_the_group_the_bot_is_mentioned_by_a_button(chat: Page, platform: Sandbox) -> None:
    chat.locator("#chats").get_by_text("Launch crew").click()
    chat.get_by_role("button", name="Mention @Helper").click()
    chat.keyboard.type("/agenda")
    chat.keyboard.press("Enter")
    expect(messages(chat).locator(".mine")).to_contain_text("@Helper /agenda")
    sent = platform.state()["messages"][0]
    assert (sent["chat_id"], sent["content"]["text"]) == (GROUP, "@_user_1 /agenda")


def test_the_timeline_says_in_words_what_the_platform_refused(chat: Page, platform: Sandbox) -> None:
    platform.post("grants", {"person": SAM, "scopes": []})
    consent_id = consent_of(platform, "auth:user.id:read")
    code_url = platform.post(f"consents/{consent_id}", {"person": SAM, "decision": "allow"})["redirect"]
    exchange = {
        "grant_type": "authorization_code",
        "client_id": platform.environment["LARK_APP_ID"],
        "client_secret": platform.environment["LARK_APP_SECRET"],
        "code": code_url.split("code=")[1].split("&")[0],
        "redirect_uri": platform.environment["BOT_PUBLIC_URL"] + "/oauth/lark/callback",
    }
    token = platform.call("POST", "/open-apis/authen/v2/oauth/token", exchange)["access_token"]
    platform.call("GET", "/open-apis/task/v2/tasks", token=token)
    timeline = chat.get_by_role("tabpanel", name="Timeline")
    expect(timeline).to_contain_text("Sam Rivera allowed auth:user.id:read")
    expect(timeline).to_contain_text("The platform refused: task:task:read")


def consent_of(platform: Sandbox, scope: str) -> str:
    """Opens the authorize page as a browser would, and returns the consent that it made."""
    with urlopen(platform.url.rstrip("/") + platform.authorize_path(scope), timeout=5) as page:
        return str(page.url.split("id=")[1])


def test_the_database_tab_shows_the_bots_tables_newest_row_first(chat: Page, platform: Sandbox) -> None:
    chat.get_by_role("tab", name="Database").click()
    panel = chat.get_by_role("tabpanel", name="Database")
    expect(panel).to_contain_text("No database yet")
    connection = sqlite3.connect(platform.directory / "bot.db")
    connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.execute("CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT, token BLOB)")
    connection.execute("INSERT INTO users VALUES ('1', 'older', NULL), ('2', 'newer', x'0011')")
    connection.commit()
    connection.close()
    expect(panel.locator(".record")).to_have_count(2)
    expect(panel.locator(".record").first).to_contain_text("newer")
    expect(panel.locator(".pill").first).to_contain_text("users")
    panel.get_by_role("button", name="Whole row").first.click()
    expect(chat.get_by_role("dialog")).to_contain_text("0011… (2 bytes)")


def test_a_scope_of_the_app_is_found_and_switched_off_under_trouble(chat: Page, platform: Sandbox) -> None:
    chat.get_by_role("tab", name="Trouble").click()
    chat.get_by_label("Find a permission").fill("docx:document:readonly")
    switch = chat.get_by_role("switch").first
    switch.focus()
    chat.keyboard.press("Space")
    expect(switch).not_to_be_checked()
    chat.wait_for_timeout(400)
    expect(switch).to_be_focused()
    scopes = {entry["scope"]: entry["user"] for entry in platform.state()["app"]["scopes"]}
    assert scopes["docx:document:readonly"] is False


def test_a_switch_far_down_the_list_leaves_the_page_where_it_is(chat: Page) -> None:
    chat.get_by_role("tab", name="Trouble").click()
    chat.get_by_role("switch").last.focus()
    expect(chat.get_by_role("switch").last).to_be_in_viewport()
    assert chat.evaluate("document.documentElement.scrollTop") == 0


def test_the_timeline_shows_the_latest_when_one_comes_back_to_it(chat: Page, platform: Sandbox) -> None:
    chat.get_by_role("tab", name="Trouble").click()
    for number in range(30):
        platform.post("app-scopes", {"scope": "docx:document", "user": number % 2 == 0})
    expect(chat.locator("#timeline .event")).to_have_count(30)
    chat.get_by_role("tab", name="Timeline").click()
    expect(chat.locator("#timeline .event").last).to_be_in_viewport()


def test_the_way_back_to_the_chat_leads_to_ones_own(platform: Sandbox, open_page: OpenPage) -> None:
    page = open_page(f"{platform.url}sandbox/login?person={WEI}&next=/client/bot/open?appId=x")
    expect(page.locator("#people [aria-current]")).to_contain_text("Wei Lan")
    expect(page.locator("#chats [aria-current]")).to_contain_text("Direct chat")


def test_a_link_to_the_developer_console_leads_to_the_switch(chat: Page, platform: Sandbox) -> None:
    chat.goto(
        platform.url + "app/cli_a1b2c3d4e5f60718/auth?q=mail:user_mailbox.message:readonly&token_type=user"
    )
    expect(chat.get_by_role("tabpanel", name="Trouble")).to_be_visible()
    expect(chat.locator(".scope-list li")).to_have_count(1)
    expect(chat.get_by_role("switch")).not_to_be_checked()


def test_trouble_that_is_on_is_listed_and_can_be_ended(chat: Page, platform: Sandbox) -> None:
    chat.get_by_role("tab", name="Trouble").click()
    chat.get_by_role("button", name="Next call fails (500)").click()
    expect(chat.locator(".fault-list")).to_contain_text("as Sam Rivera")
    assert platform.state()["faults"][0]["match"] == {"identity": SAM}
    chat.get_by_label("End: status 500").click()
    expect(chat.locator(".fault-list li")).to_have_count(0)


def test_the_side_panel_is_walked_with_the_arrow_keys(chat: Page) -> None:
    chat.get_by_role("tab", name="Timeline").focus()
    chat.keyboard.press("ArrowRight")
    expect(chat.get_by_role("tab", name="Database")).to_be_focused()
    expect(chat.get_by_role("tabpanel", name="Database")).to_be_visible()
    expect(chat.get_by_role("tabpanel", name="Timeline")).to_be_hidden()


def test_the_guide_prepares_a_story(chat: Page) -> None:
    chat.locator("#guide").get_by_text("In a group").click()
    chat.get_by_role("button", name="Try it as Ada").first.click()
    expect(chat.get_by_role("heading", name="Launch crew")).to_be_visible()
    expect(chat.get_by_label("Message", exact=True)).to_have_value("@Helper /doc welcome")


def test_the_first_line_says_what_this_is_and_where_to_start(chat: Page) -> None:
    first = chat.get_by_role("note")
    expect(first).to_contain_text("An emulated tenant, a real bot.")
    top = first.bounding_box()
    assert top is not None
    assert top["y"] == 0
    first.get_by_role("button", name="Start here").click()
    expect(chat.get_by_label("Message", exact=True)).to_have_value("/doc welcome")
    expect(first).to_be_hidden()
    chat.reload()
    expect(chat.locator("#people li").first).to_be_visible()
    expect(first).to_be_hidden()


def test_a_person_of_another_organization_is_explained(chat: Page) -> None:
    expect(chat.locator("#people li").filter(has_text="Niko")).to_contain_text("Another organization")
    be(chat, "Niko Virtanen")
    expect(messages(chat)).to_contain_text("Niko Virtanen works for another organization")


REFUSED = {"kind": "status", "match": {"path": "/open-apis/bot/v3/info"}}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (None, "The platform does not know this address"),
        (
            {**REFUSED, "status": 418, "body": "no JSON"},
            "The platform did not let the bot ask who it is itself",
        ),
        ({**REFUSED, "status": 403, "body": {}}, "The platform did not let the bot ask who it is itself"),
        ({**REFUSED, "kind": "html", "status": 200}, "The platform sent a web page in answer to the bot"),
        ({**REFUSED, "kind": "truncate"}, "The platform cut off its answer to the bot"),
        ({**REFUSED, "kind": "drop_after"}, "The platform lost its answer to the bot"),
    ],
)
def test_an_answer_that_is_no_success_is_not_told_as_one(
    chat: Page, platform: Sandbox, fault: dict[str, Any] | None, words: str
) -> None:
    if fault is not None:
        platform.post("faults", fault)
    path = "/open-apis/nothing/here" if fault is None else "/open-apis/bot/v3/info"
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        platform.call("GET", path)
    row = chat.locator("#timeline .event[data-kind=request]").filter(has_text=words)
    expect(row).to_have_count(1)
    assert row.get_attribute("data-tone") in ("bad", "warn")
    assert chat.locator("#timeline .event[data-tone=good]").count() == 0


def test_a_cause_stands_above_its_effect(chat: Page, platform: Sandbox) -> None:
    chat.get_by_label("Every request").check()
    platform.say(SAM, "an effect")
    kinds = chat.locator("#timeline .event")
    expect(kinds.filter(has_text="an effect")).to_be_visible()
    expect(kinds.filter(has_text="The bot sent a message")).to_be_visible()
    told = kinds.all_inner_texts()
    cause = next(place for place, text in enumerate(told) if text.startswith("The bot sent a message"))
    effect = next(place for place, text in enumerate(told) if "an effect" in text)
    assert cause < effect


def test_a_change_of_a_card_says_whose_card_and_what_is_new(chat: Page, platform: Sandbox) -> None:
    message_id = platform.send(WEI, "interactive", card("Waiting"))
    for title, text in (("Authorized", "Read **documents**"), ("Authorized", "Thank **you**")):
        changed = card(title, elements=[{"tag": "markdown", "content": text}])
        platform.as_bot("PATCH", f"im/v1/messages/{message_id}", {"content": json.dumps(changed)})
    rows = chat.locator("#timeline .event[data-kind=message_updated]")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Wei Lan's card updated: “Authorized”")
    expect(rows.last).to_contain_text("“Thank you”")


def test_an_outage_is_one_entry_with_a_count(chat: Page, platform: Sandbox) -> None:
    fault = platform.post("faults", {"kind": "down", "match": {"path": "/open-apis/"}})["fault_id"]
    for path in ("bot/v3/info", "im/v1/messages", "bot/v3/info", "docx/v1/documents/x"):
        with contextlib.suppress(OSError, http.client.HTTPException):
            platform.call("GET", f"/open-apis/{path}")
    down = chat.locator("#timeline .event:not(.noise)").filter(has_text="The platform did not answer the bot")
    expect(down).to_contain_text("× 4")
    expect(down).to_have_count(1)
    expect(down).to_contain_text("your fault “down”")
    platform.call("DELETE", f"/sandbox/api/faults/{fault}")
    expect(chat.locator("#timeline")).to_contain_text("Fault off: down")


def test_a_poll_for_a_device_code_is_no_refusal(chat: Page, platform: Sandbox) -> None:
    client = {
        "client_id": platform.environment["LARK_APP_ID"],
        "client_secret": platform.environment["LARK_APP_SECRET"],
    }
    device = platform.form("/oauth/v1/device_authorization", {**client, "scope": "task:task:read"})
    poll = {
        **client,
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": device["device_code"],
    }
    assert platform.form("/oauth/v3/token", poll)["error"] == "authorization_pending"
    assert platform.form("/oauth/v3/token", poll)["error"] == "slow_down"
    waits = chat.locator("#timeline .event").filter(has_text="asked whether the code was confirmed: not yet")
    expect(waits).to_have_count(2)
    expect(waits.first).to_be_hidden()
    assert chat.locator("#timeline .event:is([data-tone=bad], [data-tone=warn])").count() == 0


def test_a_spent_fault_leaves_the_list(chat: Page, platform: Sandbox) -> None:
    chat.get_by_role("tab", name="Trouble").click()
    platform.post("faults", {"kind": "status", "times": 2, "match": {"path": "/open-apis/bot"}})
    for left in ("2 to come", "1 to come"):
        expect(chat.locator(".fault-list li")).to_contain_text(left)
        platform.call("GET", "/open-apis/bot/v3/info")
    expect(chat.locator(".fault-list li")).to_have_count(0)


def test_a_long_question_does_not_widen_its_answer(chat: Page, platform: Sandbox) -> None:
    asked = platform.post("messages", {"person": SAM, "text": "/agenda " + "please " * 40})["message_id"]
    answer = {"msg_type": "text", "content": '{"text": "No"}'}
    platform.as_bot("POST", f"im/v1/messages/{asked}/reply", answer)
    main = messages(chat).locator(".message:not(.mine) .message-main")
    expect(main).to_contain_text("No")
    box = main.bounding_box()
    assert box is not None
    assert box["width"] < 350


def test_changes_that_overtake_an_answer_do_not_reload_the_page(
    platform: Sandbox, open_page: OpenPage
) -> None:
    page = open_page("about:blank")
    asked: list[tuple[Route, APIResponse]] = []

    def hold_the_second(route: Route) -> None:
        asked.append((route, route.fetch()))
        if len(asked) != 2:
            route.fulfill(response=asked[-1][1])

    page.route("**/sandbox/api/state", hold_the_second)
    page.goto(platform.url)
    while len(asked) < 2:
        page.wait_for_timeout(50)
    platform.say(SAM, "faster than the answer")
    expect(messages(page)).to_contain_text("faster than the answer")
    page.evaluate("() => { window.isTheSame = true; }")
    held, answer = asked[1]
    held.fulfill(response=answer)
    platform.say(SAM, "and after it")
    expect(messages(page)).to_contain_text("and after it")
    assert page.evaluate("() => window.isTheSame") is True


def test_reloading_keeps_who_one_is_and_what_was_said(chat: Page, platform: Sandbox) -> None:
    be(chat, "Wei Lan")
    platform.say(WEI, "still here")
    expect(messages(chat)).to_contain_text("still here")
    chat.reload()
    expect(messages(chat)).to_contain_text("still here")
    expect(chat.locator("#people [aria-current]")).to_contain_text("Wei Lan")


@pytest.mark.parametrize("view", ["people", "chat", "timeline", "database", "trouble"])
def test_a_phone_shows_one_view_at_a_time_and_nothing_sticks_out(
    platform: Sandbox, open_page: OpenPage, view: str
) -> None:
    wide = "a/very/long/word/" * 12
    platform.send(SAM, "interactive", card(wide, elements=[{"tag": "markdown", "content": f"`{wide}`"}]))
    page = open_page(platform.url, PHONE)
    page.locator(f"#tabbar [data-view={view}]").click()
    columns = page.locator(".sidebar, .conversation, .panel").locator("visible=true")
    expect(columns).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("name", ["Wei Lan", "Ada Meyer", "Sam Rivera"])
def test_on_a_phone_the_message_field_is_as_high_as_its_line(
    platform: Sandbox, open_page: OpenPage, name: str
) -> None:
    page = open_page(platform.url, PHONE)
    page.locator("#tabbar [data-view=people]").click()
    be(page, name)
    field = page.get_by_label("Message", exact=True)
    expect(field).to_be_visible()
    heights = field.evaluate("field => [field.clientHeight, field.scrollHeight]")
    assert heights[0] >= max(30, heights[1])
