"""`/doc` and `/search`."""

import pytest

from bot.core.commands import ApiRefused
from bot.lark.commands.documents import doc, search
from tests.driving import ODD, ask, links, refused, run, said, success

TOKEN = "DmVVdAbCdEfGhIjKlMnOpQrStUv"
NODE = success({"node": {"obj_type": "docx", "obj_token": "doxcnPlan", "title": "The plan"}})


def content(text):
    return success({"content": text})


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        (TOKEN, TOKEN),
        ("welcome", "welcome"),
        ("with-dash_and_underscore", "with-dash_and_underscore"),
        (f"https://x.feishu.cn/docx/{TOKEN}", TOKEN),
        (f"https://x.feishu.cn/docx/{TOKEN}?from=space#part", TOKEN),
        (f"https://x.sg.larksuite.com/docx/{TOKEN}/", TOKEN),
        (f"https://bytedance.larkoffice.com/docx/{TOKEN}.", TOKEN),
        (f"have a look at <https://x.feishu.cn/docx/{TOKEN}>, please", TOKEN),
        (f"[Plan](https://x.feishu.cn/docx/{TOKEN})", TOKEN),
        (f"看看 https://x.feishu.cn/docx/{TOKEN}，谢谢", TOKEN),
    ],
)
def test_links_and_tokens_name_a_document(arguments, token):
    (call,) = run(doc, arguments, content("Hello\n")).calls
    assert (call.method, call.path) == ("GET", f"/open-apis/docx/v1/documents/{token}/raw_content")


def test_the_first_line_is_the_title_and_the_rest_the_text():
    reply = run(
        doc, f"https://x.feishu.cn/docx/{TOKEN}", content("The plan\n\n  One *line*\n<b>two</b>\n")
    ).reply
    assert said(reply) == ["The plan", "One *line*", "<b>two</b>", "Open document"]
    assert links(reply) == [f"https://x.feishu.cn/docx/{TOKEN}"]


def test_a_document_of_one_line_shows_it_as_text():
    assert said(run(doc, "welcome", content("Hello")).reply) == ["Document", "Hello"]
    assert said(run(doc, "welcome", content("x" * 100 + "\nHello")).reply, "zh") == [
        "文档",
        "x" * 100,
        "Hello",
    ]


def test_a_wiki_page_is_looked_up_first():
    done = run(doc, "https://x.feishu.cn/wiki/wikcnPlan?x=1", NODE, content("One\nTwo"))
    node, text = done.calls
    assert (node.path, dict(node.query)) == ("/open-apis/wiki/v2/spaces/get_node", {"token": "wikcnPlan"})
    assert text.path == "/open-apis/docx/v1/documents/doxcnPlan/raw_content"
    assert said(done.reply) == ["The plan", "One", "Two", "Open document"]


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        ("sheet", "Spreadsheet"),
        ("bitable", "Base"),
        ("doc", "Old-format document"),
        ("hologram", "File"),
    ],
)
def test_a_wiki_page_that_is_no_document_is_said_to_be_what_it_is(kind, called):
    node = success({"node": {"obj_type": kind, "obj_token": "shtcnX", "title": "Numbers"}})
    reply = run(doc, "https://x.feishu.cn/wiki/wikcnX", node).reply
    assert said(reply) == [
        "Only documents can be read here",
        f"{called} · Numbers",
        "Please open it in the app.",
    ]
    assert links(reply) == ["https://x.feishu.cn/wiki/wikcnX"]


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ("https://x.feishu.cn/docs/doccnX", "旧版文档"),
        ("https://x.feishu.cn/sheets/shtcnX", "电子表格"),
        ("https://x.feishu.cn/base/bascnX", "多维表格"),
        ("https://x.feishu.cn/minutes/obcnX", "妙记"),
        ("shtcnAbCdEfGhIjKlMnOpQrSt", "电子表格"),
    ],
)
def test_links_to_other_things_are_said_to_be_what_they_are_without_a_call(arguments, called):
    done = run(doc, arguments)
    assert done.moves == []
    title, line, _ = said(done.reply, "zh")
    assert title == "这里只能阅读文档"
    assert line.startswith(f"{called} · ")


@pytest.mark.parametrize(
    "arguments",
    [
        "https://x.feishu.cn/",
        "https://example.com/some/page",
        "https://x.feishu.cn/docx/..%2F..%2Fauth",
        "https://x.feishu.cn/docx/",
        "https://[broken/docx/x",
        "two words",
        "../../auth",
        "a/b",
        "a?b",
        "x" * 201,
    ],
)
def test_what_names_no_document_gets_the_usage_and_no_call(arguments):
    done = run(doc, arguments)
    assert done.moves == []
    assert said(done.reply)[1] == "Please send the link to a document or wiki page."


def test_without_arguments_it_shows_its_usage():
    assert said(run(doc, "").reply)[1] == "/doc LINK"


def test_a_long_document_is_cut_with_a_note_and_a_link():
    reply = run(doc, f"https://x.feishu.cn/docx/{TOKEN}", content("Title\n" + "word " * 2000)).reply
    lines = said(reply)
    assert lines[-2:] == ["… shortened. Open the document for the rest.", "Open document"]
    assert 2900 <= sum(map(len, lines[1:-2])) <= 3000


def test_a_document_of_very_many_lines_is_cut_too():
    lines = said(run(doc, "welcome", content("x\n" * 5000)).reply)
    assert len(lines) <= 123
    assert lines[-1] == "… shortened. Open the document for the rest."


def test_a_document_that_just_fits_is_not_said_to_be_cut():
    text = "Title\n" + "\n".join("y" * 100 for _ in range(30))
    assert "… shortened. Open the document for the rest." not in said(
        run(doc, "welcome", content(text)).reply
    )


@pytest.mark.parametrize("odd", ODD)
def test_a_document_without_text_is_empty(odd):
    assert said(run(doc, "welcome", odd).reply) == ["Document", "This document is empty."]


@pytest.mark.parametrize("odd", [*ODD, success({"node": {"obj_type": "docx", "obj_token": "../../auth"}})])
def test_a_node_that_cannot_be_read_is_said(odd):
    done = run(doc, "https://x.feishu.cn/wiki/wikcnX", odd)
    assert said(done.reply)[0] == "Unexpected answer from the platform"


@pytest.mark.parametrize(
    ("code", "title"),
    [
        (1770002, "Document not found"),
        (1770003, "This document was deleted"),
        (1770032, "You don't have access to this document"),
    ],
)
def test_refusals_name_the_document_and_what_to_do(code, title):
    reply = run(doc, f"https://x.feishu.cn/docx/{TOKEN}", refused(code)).reply
    lines = said(reply)
    assert lines[:2] == [title, f"https://x.feishu.cn/docx/{TOKEN}"]
    assert lines[-1] == f"For support: code {code}, log ID 20260105LOG"


def test_a_forbidden_document_is_asked_of_its_owner():
    assert said(run(doc, "welcome", refused(1770032)).reply)[2].startswith(
        "Ask its owner to share it with you"
    )


@pytest.mark.parametrize(
    ("code", "title"), [(131005, "Wiki page not found"), (131006, "You don't have access to this wiki page")]
)
def test_refusals_of_wiki_pages_are_explained(code, title):
    assert said(run(doc, "https://x.feishu.cn/wiki/wikcnX", refused(code)).reply)[0] == title


def test_other_refusals_are_left_to_the_general_words():
    with pytest.raises(ApiRefused):
        run(doc, "welcome", refused(1771001))


def test_only_a_wiki_link_needs_the_wiki():
    document = ("docx:document:readonly", "docx:document")
    node = ("wiki:node:read", "wiki:wiki:readonly", "wiki:wiki")
    assert doc.needs("welcome") == (document,)
    assert doc.needs("https://x.feishu.cn/docx/X") == (document,)
    assert doc.needs("https://x.feishu.cn/wiki/X") == (node, document)
    assert doc.needs("wikcnAbCdEfGhIjKlMnOpQrSt") == (node, document)
    assert doc.needs("") == (node, document)


# --- search ---


def unit(title="<h>Plan</h>", **about):
    meta = {
        "doc_types": "DOCX",
        "url": "https://x.feishu.cn/docx/1",
        "owner_name": "Wei Lan",
        "update_time": 1766567446,
    }
    return {"title_highlighted": title, "entity_type": "DOC", "result_meta": {**meta, **about}}


def test_results_show_title_kind_owner_and_date():
    done = run(
        search, ask("  the   plan ", time_zone="Asia/Shanghai"), success({"total": 1, "res_units": [unit()]})
    )
    (call,) = done.calls
    assert (call.method, call.path, call.write) == ("POST", "/open-apis/search/v2/doc_wiki/search", None)
    assert call.body == {"query": "the plan", "doc_filter": {}, "wiki_filter": {}, "page_size": 10}
    assert said(done.reply) == ["Results for the plan", "Plan", "Document · Wei Lan · Wed 24 Dec 2025"]
    assert said(done.reply, "zh")[2] == "文档 · Wei Lan · 2025年12月24日 周三"
    assert links(done.reply) == ["https://x.feishu.cn/docx/1"]


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("<h>Plan</h> for <hb>2026</hb>", "Plan for 2026"),
        ("List<T> & <h>Map</h>", "List<T> & Map"),
        ("<H>x</H>\n<em>y</em>", "x y"),
        ("", "(no title)"),
        (None, "(no title)"),
    ],
)
def test_only_the_marks_of_the_search_are_taken_out_of_a_title(title, shown):
    assert said(run(search, "x", success({"res_units": [unit(title)]})).reply)[1] == shown


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ({"total": 57}, "Showing 1 of 57. Add words to narrow it down."),
        ({"has_more": True}, "Showing the first 1. Add words to narrow it down."),
    ],
)
def test_more_results_than_are_shown_are_mentioned(data, note):
    assert said(run(search, "x", success({"res_units": [unit()], **data})).reply)[-1] == note


@pytest.mark.parametrize("odd", ODD[:-1])
def test_nothing_found_is_said_kindly(odd):
    assert said(run(search, "x", odd).reply) == ["No results for x", "Try other or fewer words."]


def test_odd_results_still_make_lines_and_no_bad_links():
    odd = {
        "title_highlighted": "A",
        "result_meta": {"url": "javascript:1", "doc_types": 5, "update_time": "x"},
    }
    reply = run(search, "x", success({"res_units": [odd, {}]})).reply
    assert said(reply) == ["Results for x", "A", "File", "(no title)", "File"]
    assert links(reply) == []


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", None])
@pytest.mark.parametrize("seconds", [253402300799, -62135596800])
def test_a_document_of_the_end_of_time_is_found(zone, seconds):
    found = unit() | {"result_meta": {"update_time": seconds}}
    assert len(said(run(search, ask("x", time_zone=zone), success({"res_units": [found]})).reply)) == 3


def test_without_words_it_shows_its_usage():
    assert said(run(search, " ").reply)[1] == "/search WORDS"


def test_a_search_that_is_too_long_for_the_platform_is_explained():
    assert "fewer words" in said(run(search, "x" * 60, refused(99992402)).reply)[1]


def test_searching_needs_its_own_scope():
    assert search.needs("x") == (("search:docs:read",),)
