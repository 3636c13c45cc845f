"""`/doc` and `/search`."""

import json
from urllib.parse import quote

import pytest

from bot.core.commands import ApiRefused
from bot.core.messages import Code
from bot.lark.commands.documents import doc
from bot.lark.commands.search import search
from bot.lark.posts import render_reply
from tests.command_runner import ODD, ask, links, refused, run, said, success

TOKEN = "DmVVdAbCdEfGhIjKlMnOpQrStUv"
NODE = success({"node": {"obj_type": "docx", "obj_token": "doxcnPlan", "title": "The plan"}})


def content(text):
    """A document whose title is the first line, with a paragraph for each of the others."""
    title, *lines = text.split("\n")
    return blocks(title, *(block("text", line) for line in lines))


def blocks(title, *below, more=False):
    """A document as the platform gives it; each of `below` is a block, or a tuple of one and what is below that."""
    page = block("page", title) | {"block_id": "page"}
    found = [page]

    def put(parent, children):
        parent["children"] = []
        for each in children:
            made, inner = (each[0], each[1:]) if isinstance(each, tuple) else (each, ())
            made = made | {"block_id": f"b{len(found)}", "parent_id": parent["block_id"]}
            parent["children"].append(made["block_id"])
            found.append(made)
            put(made, inner)

    put(page, below)
    return success({"items": found, "has_more": more})


def block(kind, *runs, **style):
    return {kind: {"style": style, "elements": [run_of(each) for each in runs]}}


def run_of(content):
    if not isinstance(content, str):
        return content
    return {"text_run": {"content": content, "text_element_style": {"bold": False}}}


def linked(label, url):
    return {"text_run": {"content": label, "text_element_style": {"link": {"url": quote(url, safe="")}}}}


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
        (f"https://x.feishu.cn/docx/{TOKEN}请看一下", TOKEN),
        (f"《https://x.feishu.cn/docx/{TOKEN}》", TOKEN),
        (f"x.feishu.cn/docx/{TOKEN}", TOKEN),
        (f"链接x.feishu.cn/docx/{TOKEN}。", TOKEN),
        (f"docx/{TOKEN}", TOKEN),
        (f"https://x.feishu.cn/docx/{TOKEN}**", TOKEN),
        (f"HTTPS：／／x.feishu.cn／docx／{TOKEN}", TOKEN),
        (f"[https://x.feishu.cn/docx/other](https://x.feishu.cn/docx/{TOKEN})", TOKEN),
        (f"https://example.com/some/page https://x.feishu.cn/docx/{TOKEN}", TOKEN),
        (f"“{TOKEN}”。", TOKEN),
        (f"{TOKEN}1请看", f"{TOKEN}1"),
    ],
)
def test_links_and_tokens_name_a_document(arguments, token):
    (call,) = run(doc, arguments, content("Hello\n")).calls
    assert (call.method, call.path) == ("GET", f"/open-apis/docx/v1/documents/{token}/blocks")
    assert dict(call.query) == {"page_size": "250"}


def test_headings_lists_quotes_and_code_stay_what_they_are():
    written = blocks(
        "The plan",
        block("heading1", "Why"),
        block("text", "One *line*"),
        (block("bullet", "first"), (block("bullet", "inner"), block("ordered", "deep"))),
        block("ordered", "one", sequence="auto"),
        block("ordered", "two", sequence="auto"),
        block("text", "between"),
        block("ordered", "again one", sequence="1"),
        block("heading9", "Small"),
        block("todo", "to do", done=False),
        block("todo", "done", done=True),
        block("quote", "said"),
        ({"quote_container": {}}, block("text", "quoted"), block("bullet", "listed")),
        block("code", "x = 1\n  y = 2", language=49),
        {"divider": {}},
        {"image": {"token": "box"}},
        ({"callout": {"emoji_id": "gift"}}, block("text", "mind this")),
        ({"grid": {"column_size": 1}}, ({"grid_column": {}}, block("text", "in a column"))),
        {"hologram": {}},
    )
    reply = run(doc, "welcome", written).reply
    assert said(reply) == [
        "The plan",
        "Why",
        "One *line*",
        "• first",
        "\u2003• inner",
        "\u2003\u20031. deep",
        "1. one",
        "2. two",
        "between",
        "1. again one",
        "Small",
        "☐ to do",
        "☑ done",
        "│ said",
        "│ quoted",
        "│ • listed",
        "x = 1\n  y = 2",
        "———",
        "[image]",
        "mind this",
        "in a column",
    ]
    assert [line[0].bold for line in reply.lines if not isinstance(line, Code)].count(True) == 2
    assert Code("x = 1\n  y = 2", "") in reply.lines


def test_links_and_bold_words_stay_within_their_line():
    written = blocks(
        "The plan",
        block(
            "bullet", "see ", linked("the budget", "https://x.feishu.cn/sheets/abc?sheet=1&x=%20"), " first"
        ),
        block("text", "all ", {"text_run": {"content": "of it", "text_element_style": {"bold": True}}}),
        block("text", linked("bad", "javascript:alert(1)"), linked("elsewhere", "https://evil.example/")),
        block(
            "text",
            {"mention_user": {"user_id": "ou_1"}},
            " owns ",
            {"mention_doc": {"title": "Q3", "url": "https%3A%2F%2Fx.feishu.cn%2Fdocx%2Fq3"}},
        ),
    )
    reply = run(doc, "welcome", written).reply
    assert said(reply)[1:] == ["• see the budget first", "all of it", "badelsewhere", "@someone owns Q3"]
    assert links(reply) == [
        "https://x.feishu.cn/sheets/abc?sheet=1&x=%20",
        "https://evil.example/",
        "https://x.feishu.cn/docx/q3",
    ]
    assert [span.bold for span in reply.lines[1]] == [False, True]
    sent = json.loads(render_reply(reply).body)["en_us"]["content"]
    assert [each["href"] for line in sent for each in line if each["tag"] == "a"] == [
        "https://x.feishu.cn/sheets/abc?sheet=1&x=%20",
        "https://x.feishu.cn/docx/q3",
    ]


def test_a_table_is_shown_row_by_row():
    written = blocks(
        "The plan", {"table": {"cells": ["c1", "c2", "c3", "c4"], "property": {"column_size": 2}}}
    )
    for name, words in {"c1": "Day", "c2": "Lunch", "c3": "Monday", "c4": "Soup"}.items():
        written["data"]["items"] += [
            {"block_id": name, "table_cell": {}, "children": [f"{name}-text"]},
            {"block_id": f"{name}-text", **block("text", words)},
        ]
    assert said(run(doc, "welcome", written).reply)[1:] == ["Day | Lunch", "Monday | Soup"]


def test_blocks_that_contain_each_other_or_are_missing_end():
    loop = {"block_id": "a", **block("bullet", "a"), "children": ["b", "page", "gone", 7]}
    other = {"block_id": "b", **block("bullet", "b"), "children": ["a"]}
    page = {"block_id": "page", **block("page", "T"), "children": ["a", "b", "a"]}
    found = run(doc, "welcome", success({"items": [page, loop, other]})).reply
    assert said(found) == ["T", "• a", "\u2003• b"]
    deep = block("bullet", "end")
    for level in range(2000):
        deep = {"block_id": f"b{level}", **block("bullet", str(level)), "children": [f"b{level - 1}"]}
        page = {"block_id": "page", **block("page", "T"), "children": [f"b{level}"]}
    assert len(said(run(doc, "welcome", success({"items": [page, deep]})).reply)) == 2


def test_the_page_is_the_title_and_the_rest_the_text():
    reply = run(
        doc, f"https://x.feishu.cn/docx/{TOKEN}", content("The plan\n\n  One *line*\n<b>two</b>\n")
    ).reply
    assert said(reply) == ["The plan", "  One *line*", "<b>two</b>", "Open document"]
    assert links(reply) == [f"https://x.feishu.cn/docx/{TOKEN}"]


def test_a_document_without_a_title_is_called_one():
    assert said(run(doc, "welcome", content("\nHello")).reply, "zh") == ["文档", "Hello"]
    assert said(run(doc, "welcome", content("Hello")).reply) == ["Hello", "This document is empty."]


def test_a_wiki_page_is_looked_up_first():
    done = run(doc, "https://x.feishu.cn/wiki/wikcnPlan?x=1", NODE, content("Its own title\nOne\nTwo"))
    node, text = done.calls
    assert (node.path, dict(node.query)) == ("/open-apis/wiki/v2/spaces/get_node", {"token": "wikcnPlan"})
    assert text.path == "/open-apis/docx/v1/documents/doxcnPlan/blocks"
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
        "me@x.feishu.cn/docx/abc",
        "@_user_2",
        "internationalization_of_everything please",
        "x" * 201,
    ],
)
def test_what_names_no_document_gets_the_usage_and_no_call(arguments):
    done = run(doc, arguments)
    assert done.moves == []
    assert said(done.reply)[1] == "Please send the link to a document or wiki page."


def test_without_arguments_it_shows_its_usage():
    assert said(run(doc, "").reply)[1] == "/doc LINK-OR-TOKEN"


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


def unit(title="<h>Plan</h>", summary="", **about):
    meta = {
        "doc_types": "DOCX",
        "url": "https://x.feishu.cn/docx/1",
        "owner_name": "Wei Lan",
        "update_time": 1766567446,
    }
    return {
        "title_highlighted": title,
        "summary_highlighted": summary,
        "entity_type": "DOC",
        "result_meta": {**meta, **about},
    }


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
    ("summary", "shown"),
    [
        ("before the <h>plan</h> and after", ["before the plan and after"]),
        ("<hb>a</hb>\n\n b", ["a b"]),
        ("x" * 300, ["x" * 139 + "…"]),
        ("计划：<em>季度</em>目标", ["计划：季度目标"]),
        ("", []),
        (None, []),
        (7, []),
    ],
)
def test_a_result_shows_what_was_found_in_it_where_the_platform_tells(summary, shown):
    lines = said(run(search, "x", success({"res_units": [unit(summary=summary)]})).reply)
    assert lines[1:-1] == ["Plan", *shown]


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
