"""What cards and answers look like to the platform, and that nothing foreign gets to act in them."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.cards import (
    Action,
    AdministratorCard,
    AuthorizationCard,
    ConfirmationCard,
    DeviceLink,
    Face,
    PageError,
    UnusedCard,
)
from bot.core.language import Words
from bot.core.messages import Code, Content, Reply, Span
from bot.core.secrets import Secret
from bot.core.words import cards as card_words
from bot.core.words.replies import expired, with_retry
from bot.lark.card_elements import MAX_BYTES, encoded_size
from bot.lark.cards import click_answer, render_card
from bot.lark.posts import as_card, render_reply
from bot.sandbox.lark.message_content import check_card, parse_content

LINK = "https://applink.example/client/web_url/open?mode=sidebar-semi&url=https%3A%2F%2Fbot.example%2Fauthorize%2Fabc"
UNTIL = datetime(2026, 1, 6, 1, 30, tzinfo=UTC)
NOW = datetime(2026, 1, 5, 1, 30, tzinfo=UTC)
READ, TASKS = "calendar:calendar:readonly", "task:task:read"
EVIL = "<at id=all></at> **x** [here](https://evil.example) `c` ![i](img) \n# h <font color='red'>"


def card(face=Face.WAITING, **changes):
    given = {
        "request_id": "request-1",
        "face": face,
        "scopes": {READ: Words("See your calendar", "查看日历"), TASKS: Words("See your tasks", "查看任务")},
        "granted": frozenset(),
        "refused": frozenset(),
        "commands": ("/agenda",),
        "link": LINK,
        "expires_at": UNTIL,
    }
    return AuthorizationCard(**(given | changes))


def rendered(card):
    content = render_card(card)
    assert content.kind == "interactive"
    parse_content("interactive", content.body)
    return json.loads(content.body)


def tags(node):
    """Every object with a tag."""
    if isinstance(node, dict):
        if "tag" in node:
            yield node
        for inner in node.values():
            yield from tags(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from tags(inner)


def links(rendered_card):
    return [b["default_url"] for b in behaviours(rendered_card) if b["type"] == "open_url"]


def callbacks(rendered_card):
    return [b["value"] for b in behaviours(rendered_card) if b["type"] == "callback"]


def behaviours(rendered_card):
    return [b for element in tags(rendered_card) for b in element.get("behaviors", ())]


def words(rendered_card, locale):
    return "\n".join(text["i18n_content"][locale] for text in tags(rendered_card) if "content" in text)


def test_a_waiting_card_has_one_link_and_a_quiet_control():
    shown = rendered(card())
    assert links(shown) == [LINK]
    assert callbacks(shown) == [{"action": Action.NOT_NOW, "subject": "request-1"}]


def test_a_card_whose_link_was_opened_has_one_link_and_two_quiet_controls():
    shown = rendered(card(opened=True))
    assert links(shown) == [LINK]
    assert callbacks(shown) == [
        {"action": Action.NOT_NOW, "subject": "request-1"},
        {"action": Action.PAGE_ERROR, "subject": "request-1"},
    ]


def test_a_card_asks_which_error_the_page_shows():
    shown = rendered(card(opened=True, asks_which_error=True))
    assert links(shown) == [LINK]
    errors = [f"page_error_{error}" for error in PageError]
    assert [value["action"] for value in callbacks(shown)] == [*errors, Action.NOT_NOW]
    for code in ("20027", "20043", "20029", "20010"):
        assert code in words(shown, "en_us")
        assert code in words(shown, "zh_cn")


def test_a_card_that_was_declined_on_the_page_says_so_and_asks_quietly():
    shown = rendered(card(declined_on_page=True, opened=True))
    assert "Declined on the page" in words(shown, "en_us")
    assert "**/agenda** wasn't run" in words(shown, "en_us")
    assert "授权页上拒绝" in words(shown, "zh_cn")
    assert READ in words(shown, "en_us")
    assert links(shown) == [LINK]
    assert [value["action"] for value in callbacks(shown)] == [Action.NOT_NOW, Action.PAGE_ERROR]
    assert {each["type"] for each in tags(shown) if each["tag"] == "button"} == {"default", "text"}
    link = DeviceLink(Secret("https://accounts.example/device"), Secret("ABCD-EFGH"), UNTIL)
    for device_link in (None, link):
        by_device = rendered(card(link=None, device_link=device_link, declined_on_page=True))
        assert "primary" not in {each.get("type") for each in tags(by_device)}
    assert "weren't run" in words(rendered(card(commands=("/a", "/b"), declined_on_page=True)), "en_us")


def test_what_waits_for_the_administrator_can_be_cancelled_on_its_card():
    shown = rendered(card(Face.ADMINISTRATOR))
    assert links(shown) == []
    assert callbacks(shown) == [{"action": Action.CANCEL, "subject": "request-1"}]


@pytest.mark.parametrize("face", [face for face in Face if face not in {Face.WAITING, Face.ADMINISTRATOR}])
def test_other_faces_have_no_link_and_no_control(face):
    """But for one that expired: its commands can be asked for again."""
    shown = rendered(card(face))
    again = [{"type": "callback", "value": {"action": "retry_expired", "subject": "request-1"}}]
    assert behaviours(shown) == (again if face is Face.EXPIRED else [])
    assert "http" not in json.dumps(shown)


@pytest.mark.parametrize("face", list(Face))
def test_every_face_speaks_both_languages_and_can_be_changed(face):
    shown = rendered(card(face, granted=frozenset({READ}), refused=frozenset({TASKS})))
    assert shown["schema"] == "2.0"
    assert shown["config"] == {"update_multi": True, "locales": ["en_us", "zh_cn"]}
    for text in (element for element in tags(shown) if "content" in element):
        assert text["i18n_content"].keys() == {"en_us", "zh_cn"}
        assert text["content"] == text["i18n_content"]["en_us"]
    controls = {"button", "column_set", "column"}
    assert {element["tag"] for element in tags(shown)} <= {"markdown", "plain_text", "div"} | controls


def test_a_waiting_card_says_what_for_and_until_when():
    shown = rendered(card(commands=("/agenda", "/tasks")))
    assert "To run **/agenda** and **/tasks** as you, I need:" in words(shown, "en_us")
    assert "执行 **/agenda**、**/tasks** 需要" in words(shown, "zh_cn")
    assert f"millisecond='{int(UNTIL.timestamp() * 1000)}'" in words(shown, "en_us")
    for locale, said in (("en_us", "See your calendar"), ("zh_cn", "查看日历")):
        assert said in words(shown, locale)
        assert READ in words(shown, locale)


def test_what_was_given_already_is_not_asked_again():
    said = words(rendered(card(granted=frozenset({TASKS}))), "en_us")
    asked, _, kept = said.partition("Already authorized")
    assert READ in asked
    assert TASKS not in asked
    assert TASKS in kept


def test_a_partly_authorized_card_tells_given_from_refused():
    said = words(rendered(card(Face.PARTLY, granted=frozenset({READ}), refused=frozenset({TASKS}))), "en_us")
    given, _, missing = said.partition("Still missing")
    assert READ in given
    assert TASKS in missing


def test_what_keeps_the_user_signed_in_is_not_listed_as_missing():
    scopes = {
        READ: Words("See your calendar", "查看日历"),
        "offline_access": Words("Stay signed in", "保持登录"),
    }
    for refused in ({READ, "offline_access"}, {READ}):
        said = words(rendered(card(Face.PARTLY, scopes=scopes, refused=frozenset(refused))), "en_us")
        assert READ in said
        assert "offline_access" not in said


@pytest.mark.parametrize(
    ("commands", "english", "chinese"),
    [
        (("/a",), "**/a**", "**/a**"),
        (("/a", "/b"), "**/a** and **/b**", "**/a**、**/b**"),
        (("/a", "/b", "/c"), "**/a**, **/b** and **/c**", "**/a**、**/b**、**/c**"),
        (
            tuple("/abcdefg"),
            "**/**, **a**, **b**, **c**, **d**, **e**, …",
            "**/**、**a**、**b**、**c**、**d**、**e**、…",
        ),
    ],
)
def test_several_commands_read_as_a_sentence(commands, english, chinese):
    shown = rendered(card(Face.SUPERSEDED, commands=commands))
    assert f"newest card for {english}." in words(shown, "en_us")
    assert f"最新的卡片为 {chinese} 授权" in words(shown, "zh_cn")


@pytest.mark.parametrize(
    ("scopes", "user", "administrator"),
    [
        ((READ,), "needs a permission this app", "enable this user permission for"),
        ((READ, TASKS), "needs permissions this app", "enable these user permissions for"),
        ((READ, TASKS, "a:b"), "needs permissions this app", "enable these user permissions for"),
    ],
)
def test_one_permission_or_several_are_asked_for_in_words_that_fit(scopes, user, administrator):
    described = {scope: Words(scope, scope) for scope in scopes}
    waiting = card(Face.ADMINISTRATOR, scopes=described)
    asking = AdministratorCard("w", described, ("ou_sam",), ("/agenda",), "https://c.example/")
    assert user in words(rendered(waiting), "en_us")
    assert administrator in words(rendered(asking), "en_us")


@pytest.mark.parametrize(("number", "shown", "folded"), [(1, 1, 0), (4, 4, 0), (5, 3, 2), (12, 3, 9)])
def test_a_long_list_of_scopes_is_folded_so_that_the_card_stays_short(number, shown, folded):
    scopes = {f"domain{n}:thing:read": Words("See things", "查看东西") for n in range(number)}
    elements = rendered(card(scopes=scopes))["body"]["elements"]
    panels = [element for element in elements if element["tag"] == "collapsible_panel"]
    assert sum(element.get("content", "").count(":thing:read") for element in elements) == shown
    assert (
        sum(inner["content"].count(":thing:read") for each in panels for inner in each["elements"]) == folded
    )


def test_a_failed_card_says_why():
    said = words(rendered(card(Face.FAILED, failure=Words("Because.", "因为。"))), "zh_cn")
    assert "因为。" in said


def test_an_administrators_card_mentions_people_by_id_and_counts_the_rest():
    def says(*people, commands=("/agenda",)):
        asking = AdministratorCard("w", {READ: Words("a", "b")}, people, commands, "https://c.example/")
        return words(rendered(asking), "en_us"), words(rendered(asking), "zh_cn")

    english, chinese = says("ou_sam")
    assert "<at id=ou_sam></at> wants to use **/agenda**. Please enable" in english
    assert "<at id=ou_sam></at> 想使用 **/agenda**，请为应用开通" in chinese
    english, chinese = says("ou_sam", "ou_wei")
    assert "<at id=ou_sam></at> and <at id=ou_wei></at> want to use" in english
    english, chinese = says(*(f"ou_{n}" for n in range(7)))
    assert "<at id=ou_4></at>, and 2 more want to use" in english
    assert "<at id=ou_4></at>、还有 2 项" not in chinese
    assert "<at id=ou_4></at>等 7 人想使用" in chinese
    english, _ = says("ou_sam", commands=("/call GET /open-apis/mail/v1/user_mailboxes/me/messages",))
    assert "**/call GET /open-apis/mail/v1/user_mailboxes/me/messages**" in english


def test_an_administrators_card_leads_to_the_console():
    asking = AdministratorCard(
        "wait-1", {READ: Words("a", "b")}, ("Wei",), ("/agenda",), "https://console.example/"
    )
    shown = rendered(asking)
    assert links(shown) == ["https://console.example/"]
    assert callbacks(shown) == [{"action": Action.CHECK_AGAIN, "subject": "wait-1"}]
    done = rendered(
        AdministratorCard("wait-1", {READ: Words("a", "b")}, (), (), "https://c.example/", done=True)
    )
    assert not behaviours(done)
    dropped = rendered(AdministratorCard("wait-1", {READ: Words("a", "b")}, (), (), "https://c.example/"))
    assert "No longer needed" in words(dropped, "en_us")
    assert not behaviours(dropped)


@pytest.mark.parametrize(
    "each",
    [
        card(),
        card(declined_on_page=True),
        card(
            link=None,
            device_link=DeviceLink(Secret("https://accounts.example/d"), Secret("ABCD-EFGH"), UNTIL),
        ),
        ConfirmationCard("c", "/task", UNTIL),
        ConfirmationCard("c", "/task", UNTIL, confirmed=False),
    ],
)
def test_times_are_written_by_each_readers_own_client(each):
    moment = int(UNTIL.timestamp() * 1000)
    for locale in ("en_us", "zh_cn"):
        said = words(rendered(each), locale)
        for form in ("date_short", "time"):
            assert f"<local_datetime millisecond='{moment}' format_type='{form}'></local_datetime>" in said
        assert "UTC" not in said
    # Elsewhere the client would show the element itself.
    plain = [text for text in tags(rendered(each)) if text["tag"] in {"plain_text", "lark_md"}]
    assert not any("local_datetime" in json.dumps(text) for text in plain)


def test_an_old_write_is_asked_about():
    shown = rendered(ConfirmationCard("call-1", "/task", UNTIL))
    assert [value["action"] for value in callbacks(shown)] == [Action.CONFIRM, Action.DISCARD]
    assert "/task" in words(shown, "en_us")
    for decided in (True, False):
        assert not behaviours(rendered(ConfirmationCard("call-1", "/task", UNTIL, decided)))


def test_unused_scopes_are_offered_to_be_given_back_until_that_is_answered():
    offer = UnusedCard({READ: Words("Read your calendar", "读取日历")})
    assert [each["action"] for each in callbacks(rendered(offer))] == [Action.GIVE_BACK, Action.KEEP]
    assert not behaviours(rendered(replace(offer, answer=card_words.KEPT)))


def test_a_reply_with_a_control_is_a_card_that_says_the_same():
    content = render_reply(with_retry(expired("/tasks"), "call-1"))
    shown = json.loads(content.body)
    assert content.kind == "interactive"
    assert callbacks(shown) == [{"action": Action.RETRY, "subject": "call-1"}]
    assert "The request expired, so /tasks wasn't run." in words(shown, "en_us")
    assert "授权请求已过期，/tasks 未执行。" in words(shown, "zh_cn")


OWN_MARKUP = re.compile(
    r"<local_datetime millisecond='\d+' format_type='\w+'></local_datetime>|<font color='grey'>|</font>"
)


def test_what_comes_from_elsewhere_is_shown_and_does_nothing():
    evil = Words(EVIL, EVIL)
    for each in (
        card(scopes={READ: evil}, commands=(EVIL,)),
        card(Face.FAILED, failure=evil),
        AdministratorCard("w", {READ: evil}, (EVIL,), (EVIL,), "https://c.example/"),
        ConfirmationCard("c", EVIL, UNTIL),
    ):
        said = OWN_MARKUP.sub("", words(rendered(each), "en_us"))
        for markup in ("<", "](", "`", "evil.example)", "://evil", "\n#", "**x**", "![", "@"):
            assert markup not in said


MANY = {f"domain{n}:resource.sub{n}:readonly": Words("See things " * 30, "查看东西" * 40) for n in range(50)}


@pytest.mark.parametrize("face", list(Face))
def test_fifty_scopes_fit_on_a_card_and_none_is_left_out(face):
    scopes = frozenset(MANY)
    content = render_card(card(face, scopes=MANY, granted=scopes, refused=scopes))
    assert len(content.body.encode()) <= 30 * 1024
    shown = rendered(card(scopes=MANY))
    for locale in ("en_us", "zh_cn"):
        assert all(scope in words(shown, locale) for scope in scopes)


@given(text=st.text(max_size=300), scope=st.text(max_size=200))
def test_no_words_make_a_card_that_the_platform_refuses(text, scope):
    said = Words(text, text)
    storable = card(scopes={scope: said}, commands=(text,), failure=said)
    for face in (Face.WAITING, Face.FAILED):
        content = render_card(AuthorizationCard(**{**fields(storable), "face": face}))
        check_card(json.loads(content.body))


def fields(each):
    return {name: getattr(each, name) for name in each.__dataclass_fields__}


# --- replies


def post(reply):
    content = render_reply(reply)
    assert content.kind == "post"
    return parse_content("post", content.body)


def test_an_answer_speaks_both_languages_literally():
    reply = Reply(
        Words("Title", "标题"),
        (
            (Span(Words("now ", "现在 "), bold=True), Span("<at id=all>**x**")),
            (),
            (Span("page", url="https://p.feishu.cn/"), Span("bad", url="javascript:alert(1)")),
            Code('{"a":1}'),
        ),
    )
    assert post(reply)["zh_cn"] == {
        "title": "标题",
        "content": [
            [
                {"tag": "text", "text": "现在 ", "style": ["bold"]},
                {"tag": "text", "text": "<at id=all>**x**"},
            ],
            [],
            [{"tag": "a", "text": "page", "href": "https://p.feishu.cn/"}, {"tag": "text", "text": "bad"}],
            [{"tag": "code_block", "language": "JSON", "text": '{"a":1}'}],
        ],
    }
    assert post(reply)["en_us"]["title"] == "Title"


def test_an_answer_without_lines_or_title_can_be_sent():
    assert post(Reply(None))["en_us"] == {"title": "", "content": [[{"tag": "text", "text": ""}]]}


@pytest.mark.parametrize("piece", ["x", '"', "\\", "字", "\n", "\U0001f600"])
@pytest.mark.parametrize("as_code", [True, False])
def test_a_long_answer_is_cut_with_a_note(piece, as_code):
    long = piece * 100_000
    reply = Reply(Words("T", "题"), (Code(long) if as_code else (Span(long),), (Span("after"),)))
    content = render_reply(reply)
    assert 20_000 < encoded_size(content.body) <= MAX_BYTES
    for post_in in post(reply).values():
        assert len(post_in["content"]) == 2
        assert post_in["content"][-1][0]["text"].startswith("…")


def test_many_lines_are_cut_with_a_note():
    content = render_reply(Reply(None, tuple((Span(f"line {n}"),) for n in range(5000))))
    assert encoded_size(content.body) <= MAX_BYTES
    lines = json.loads(content.body)["en_us"]["content"]
    assert lines[0][0]["text"] == "line 0"
    assert "shortened" in lines[-1][0]["text"]


spans = st.builds(
    Span,
    st.text(max_size=3000) | st.builds(Words, st.text(max_size=50), st.text(max_size=50)),
    st.booleans(),
    st.none() | st.just("https://x.example/"),
)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.lists(spans, max_size=3).map(tuple) | st.builds(Code, st.text(max_size=9000)), max_size=8
    )
)
def test_no_answer_is_too_large_or_refused(lines):
    reply = Reply(Words("t", "t"), tuple(lines))
    content = render_reply(reply)
    assert encoded_size(content.body) <= MAX_BYTES
    shown = as_card(content)
    assert encoded_size(shown.body) <= MAX_BYTES
    check_card(json.loads(shown.body))


def test_an_answer_can_be_shown_as_a_card_to_one_alone():
    shown = json.loads(as_card(render_reply(Reply(Words("T", "题"), ((Span("**a**"),), Code("{}"))))).body)
    assert shown["header"]["title"]["i18n_content"] == {"en_us": "T", "zh_cn": "题"}
    assert "**" not in shown["body"]["elements"][0]["content"]
    same = Content("interactive", "{}")
    assert as_card(same) is same


def test_a_click_is_answered_with_a_toast_and_a_card():
    assert set(click_answer(Words("Done", "完成"), "info", None)) == {"toast"}
    answer = click_answer(Words("Done", "完成"), "success", render_card(card(Face.DECLINED)))
    assert answer["toast"] == {
        "type": "success",
        "content": "Done",
        "i18n": {"en_us": "Done", "zh_cn": "完成"},
    }
    assert answer["card"]["type"] == "raw"
    check_card(answer["card"]["data"])


DEVICE_LINK = DeviceLink(
    Secret("https://accounts.example/oauth/v1/device/verify?user_code=WXYZ-1234"), Secret("WXYZ-1234"), UNTIL
)


def test_without_a_link_of_ours_the_button_fetches_one():
    shown = rendered(card(link=None))
    assert links(shown) == []
    assert callbacks(shown)[0] == {"action": Action.AUTHORIZE, "subject": "request-1"}


def test_the_platforms_own_link_takes_the_place_of_the_button_and_names_its_code():
    shown = rendered(card(link=None, device_link=DEVICE_LINK))
    assert links(shown) == [DEVICE_LINK.url.reveal()]
    assert Action.AUTHORIZE not in [value["action"] for value in callbacks(shown)]
    said = json.dumps(shown, ensure_ascii=False)
    assert said.count("**WXYZ-1234**") == 3
    assert f"millisecond='{int(UNTIL.timestamp() * 1000)}'" in said


def test_how_the_last_try_ended_is_said_above_the_button():
    shown = rendered(card(link=None, notice=card_words.DEVICE_WRONG_PERSON))
    assert card_words.DEVICE_WRONG_PERSON.zh in json.dumps(shown, ensure_ascii=False)
    assert callbacks(shown)[0]["action"] == Action.AUTHORIZE


def test_a_user_code_cannot_smuggle_markup():
    odd = DeviceLink(DEVICE_LINK.url, Secret(EVIL), UNTIL)
    said = json.dumps(rendered(card(link=None, device_link=odd)))
    assert "<at" not in said
    assert "https://evil" not in said
