"""`/search`: the documents that the user can see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from bot.core.api import ApiCall, Json
from bot.core.command_replies import how_to_use, paragraph
from bot.core.commands import ApiRefused, Ask, Steps, command, with_names
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.response_fields import child, items, line, link, moment, number, text
from bot.core.scopes import any_of
from bot.core.times import Zone, format_near_day
from bot.core.unseen_characters import one_line
from bot.lark.commands.document_links import DOCUMENT_KINDS, UNKNOWN_KIND
from bot.lark.commands.refusals import Refusal, Refusals, explain

MAX_RESULTS = 10

HIGHLIGHT = re.compile(r"</?(?:h|hb|em)>", re.IGNORECASE)
"""The platform's markup for matches. Other text that looks like a tag is not markup."""

MARKDOWN_LINK = re.compile(r"\[([^\[\]]+)\]\([^()\s]+\)")
"""Matches a Markdown link, whose text is searched for."""

AROUND_WORDS = "`‘’“”「」『』.,;。，、；"
"""Quotes around the search words, and punctuation after them."""

INVALID_FIELD = 99992402

SEARCH_REFUSALS: Refusals = {
    code: Refusal(
        Words("This search isn't possible", "无法执行此搜索"),
        Words("Try fewer words: the limit is about 30 characters.", "请减少关键词，上限约为 30 个字符。"),
    )
    for code in (INVALID_FIELD, 1274001, 1274002)
}


@command(
    "search",
    usage=Words("WORDS", "关键词"),
    summary=Words("search your documents", "搜索文档"),
    needs=any_of("search:docs:read"),
    private=True,
    keep=with_names,
)
def search(ask: Ask) -> Steps:
    words = " ".join(MARKDOWN_LINK.sub(r"\1", ask.arguments).split()).strip(AROUND_WORDS).strip()
    if not words:
        return how_to_use(search, Words("/search quarterly plan", "/search 季度计划"))
    # Without the two empty filters, the platform returns no results.
    body = {"query": words, "doc_filter": {}, "wiki_filter": {}, "page_size": MAX_RESULTS}
    try:
        found = yield ApiCall("POST", "/open-apis/search/v2/doc_wiki/search", body=body, read=True)
    except ApiRefused as refused:
        return explain(refused, SEARCH_REFUSALS)
    return render_results(child(found, "data"), one_line(words, 60), ask)


def render_results(data: Mapping[str, Json], words: str, ask: Ask) -> Reply:
    zone = ask.zone
    today = zone.local(ask.asked_at).date()
    found = items(data, "res_units")[:MAX_RESULTS]
    if not found:
        return Reply(
            Words("No results for {words}", "未找到：{words}").format(words=words),
            (paragraph(Words("Try other or fewer words.", "请换个关键词，或减少关键词。")),),
        )
    lines = [each for unit in found for each in result_lines(unit, zone, today)]
    total = number(data.get("total")) or 0
    if total > len(found) or data.get("has_more") is True:
        shown = Words("Showing {n} of {total}.", "共 {total} 条，以上为前 {n} 条。")
        if total <= len(found):
            shown = Words("Showing the first {n}.", "以上为前 {n} 条。")
        narrower = Words(" Add words to narrow it down.", "增加关键词可缩小范围。")
        lines.append(paragraph(shown.format(n=len(found), total=total), narrower))
    return Reply(Words("Results for {words}", "搜索结果：{words}").format(words=words), tuple(lines))


MAX_SNIPPET_LENGTH = 140


def result_lines(unit: Mapping[str, Json], zone: Zone, today: date) -> tuple[Line, ...]:
    about = child(unit, "result_meta")
    title = one_line(HIGHLIGHT.sub("", text(unit, "title_highlighted")))
    kind = text(about, "doc_types") or text(unit, "entity_type")
    details = [Span(DOCUMENT_KINDS.get(kind.lower(), UNKNOWN_KIND))]
    owner, updated = line(about, "owner_name", 60), moment(about.get("update_time"))
    if owner:
        details.append(Span(f" · {owner}"))
    if updated:
        details += [Span(" · "), Span(format_near_day(zone.local(updated).date(), today))]
    snippet = one_line(HIGHLIGHT.sub("", text(unit, "summary_highlighted")), MAX_SNIPPET_LENGTH)
    return (
        (Span(title or Words("(no title)", "（无标题）"), bold=True, url=link(about.get("url"))),),
        *([paragraph(snippet)] if snippet else []),
        tuple(details),
    )
