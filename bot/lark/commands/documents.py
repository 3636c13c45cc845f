"""`/doc` and `/search`: the text of a document, and the documents that the person can see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from urllib.parse import unquote, urlsplit

from bot.core.answers import how_to_use, one_line, paragraph
from bot.core.commands import ApiRefused, Ask, Steps, command, with_names
from bot.core.explain import unreadable
from bot.core.model import ApiCall, Json, Line, Reply, Span, Words
from bot.core.scopes import Requirement, all_of, any_of
from bot.core.times import Zone, day_in_words
from bot.lark.commands.reading import child, items, line, link, moment, number, text, token
from bot.lark.commands.refusals import Refusal, Refusals, explained
from bot.lark.links import KNOWN

READ_DOCUMENT = any_of("docx:document:readonly", "docx:document")
READ_NODE = any_of("wiki:node:read", "wiki:wiki:readonly", "wiki:wiki")

MOST_CHARACTERS = 3000
MOST_LINES = 120
"""A message has room for this much of a document."""

MOST_READ = 100_000
"""Characters of a document that are looked at, most of which may be blank."""

LONGEST_HEADING = 80
"""A first line up to this long serves as the title."""

RESULTS = 10

KINDS: Mapping[str, Words] = {
    "doc": Words("Document (old format)", "旧版文档"),
    "docx": Words("Document", "文档"),
    "sheet": Words("Spreadsheet", "电子表格"),
    "bitable": Words("Base", "多维表格"),
    "mindnote": Words("Mind note", "思维笔记"),
    "slides": Words("Slides", "幻灯片"),
    "file": Words("File", "文件"),
    "folder": Words("Folder", "文件夹"),
    "wiki": Words("Wiki page", "知识库页面"),
    "catalog": Words("Wiki folder", "知识库目录"),
    "shortcut": Words("Shortcut", "快捷方式"),
    "minutes": Words("Minutes", "妙记"),
}

SOMETHING = Words("Something else", "其他类型")

PATHS = {
    "docx": "docx",
    "wiki": "wiki",
    "docs": "doc",
    "doc": "doc",
    "sheets": "sheet",
    "sheet": "sheet",
    "base": "bitable",
    "mindnotes": "mindnote",
    "slides": "slides",
    "file": "file",
    "minutes": "minutes",
}
"""What the first word of a link's path leads to."""

OLD_TOKEN = re.compile(r"(dox|wik|doc|sht|bas|bmn|sld|box|fld)[a-z]{2}[A-Za-z0-9]{15,}")
"""Tokens of earlier years began with what they name; newer ones do not tell."""

OLD_TOKENS = {
    "dox": "docx",
    "wik": "wiki",
    "doc": "doc",
    "sht": "sheet",
    "bas": "bitable",
    "bmn": "mindnote",
    "sld": "slides",
    "box": "file",
    "fld": "folder",
}

LINK = re.compile(r"https?://[^\s<>()\[\]\"'，。、；）】》]+", re.IGNORECASE)


# --- which document -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Named:
    """The document that somebody asked for."""

    kind: str
    token: str
    url: str | None
    """Where it opens: the link that was given, if it is one of the platform's, else a path there. None when only the
    token was given."""

    @property
    def address(self) -> str:
        return self.url if self.url and not self.url.startswith("/") else self.token

    @property
    def mention(self) -> Line:
        return (Span(self.address, url=self.url),)


def named_document(arguments: str) -> Named | None:
    """The first link in what was written, else the one word that it is, taken for a token."""
    found = LINK.search(arguments)
    if found is not None:
        return of_link(found[0].rstrip(".,;:!?"))
    word = token(arguments.strip())
    if word is None:
        return None
    old = OLD_TOKEN.fullmatch(word)
    return Named(OLD_TOKENS[old[1]] if old else "docx", word, None)


def of_link(url: str) -> Named | None:
    """What a link leads to. Only the token is taken from one to another host, which is not shown again."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2 or parts[0].lower() not in PATHS:
        return None
    area, found = parts[0].lower(), token(parts[1])
    return Named(PATHS[area], found, KNOWN.shown(url) or f"/{area}/{found}") if found else None


def needs_of_document(arguments: str) -> Requirement:
    """A wiki page needs one scope more. Without arguments: whatever any document may need."""
    named = named_document(arguments)
    if not arguments.strip() or (named and named.kind == "wiki"):
        return all_of(READ_NODE, READ_DOCUMENT)
    return READ_DOCUMENT


# --- its text -------------------------------------------------------------------------------------------

FORBIDDEN = Refusal(
    Words("You cannot open this document", "你没有权限打开该文档"),
    Words(
        "Ask its owner to share it with you, then send the command again.",
        "请让文档所有者将其分享给你，然后重新发送该命令。",
    ),
)

NOT_FOUND = Refusal(
    Words("There is no such document", "找不到该文档"),
    Words(
        "Please check the link or the token: it should be that of a document, not of a spreadsheet or "
        "a folder.",
        "请检查链接或 token：它应指向一篇文档，而不是电子表格或文件夹。",
    ),
)

REFUSALS: Refusals = {
    1770001: NOT_FOUND,
    1770002: NOT_FOUND,
    1770003: Refusal(
        Words("This document was deleted", "该文档已被删除"),
        Words("Its owner may be able to restore it.", "文档所有者或许可以恢复它。"),
    ),
    1770032: FORBIDDEN,
    131001: NOT_FOUND,
    131002: NOT_FOUND,
    131004: NOT_FOUND,
    131005: Refusal(
        Words("There is no such wiki page", "找不到该知识库页面"),
        Words(
            "Please check the link: the page may have been moved or deleted.",
            "请检查链接：页面可能已被移动或删除。",
        ),
    ),
    131006: Refusal(
        Words("You cannot open this wiki page", "你没有权限打开该知识库页面"),
        Words(
            "Ask its owner to share the page or the wiki with you, then send the command again.",
            "请让所有者将页面或知识库分享给你，然后重新发送该命令。",
        ),
    ),
}


@command(
    "doc",
    usage="LINK-OR-TOKEN",
    summary=Words("the text of a document or wiki page", "阅读文档或知识库页面的内容"),
    needs=needs_of_document,
)
def doc(ask: Ask) -> Steps:
    named = named_document(ask.arguments)
    if named is None:
        return how_to_use(doc, DOC_EXAMPLE, problem=NOT_A_DOCUMENT if ask.arguments.strip() else None)
    kind, document, title = named.kind, named.token, ""
    try:
        if kind == "wiki":
            query = {"token": named.token}
            node = child((yield ApiCall("GET", "/open-apis/wiki/v2/spaces/get_node", query)), "data", "node")
            kind, title = text(node, "obj_type"), line(node, "title")
            document = token(node.get("obj_token")) or ""
            if not kind or not document:
                return unreadable(Words("the page's document", "页面对应的文档"))
        if kind != "docx":
            return other_kind(kind, title, named)
        content = yield ApiCall("GET", f"/open-apis/docx/v1/documents/{document}/raw_content")
    except ApiRefused as refused:
        return explained(refused, REFUSALS, named.mention)
    return render(text(child(content, "data"), "content", MOST_READ), title, named)


DOC_EXAMPLE = "/doc https://example.feishu.cn/docx/…"

NOT_A_DOCUMENT = Words(
    "I need the link of a document or wiki page, or a document's token.",
    "请给出文档或知识库页面的链接，或文档的 token。",
)


def other_kind(kind: str, title: str, named: Named) -> Reply:
    """What is no document is said to be what it is."""
    words = KINDS.get(kind, SOMETHING)
    return Reply(
        Words("{kind}: I can only read documents", "{kind}：我只能阅读文档").format(kind=words),
        (
            (Span(title or named.address, url=named.url),),
            paragraph(Words("Please open it in the app.", "请在应用中打开。")),
        ),
    )


def render(content: str, title: str, named: Named) -> Reply:
    """The beginning of a document, with the rest a link away."""
    lines = [" ".join(each.split()) for each in content.splitlines() if each.strip()]
    if not title and len(lines) > 1 and len(lines[0]) <= LONGEST_HEADING:
        title = lines.pop(0)
    heading = Words(title, title) if title else KINDS["docx"]
    if not lines:
        return Reply(
            heading, (paragraph(Words("This document is empty.", "该文档是空的。")), *link_to(named))
        )
    shown = beginning(lines)
    cut = shown != lines or len(content) == MOST_READ
    return Reply(heading, (*map(paragraph, shown), *((CUT,) if cut else ()), *link_to(named)))


CUT: Line = (Span(Words("… cut here: the document goes on.", "……内容较长，此处截断。"), bold=True),)


def beginning(lines: list[str]) -> list[str]:
    """As much of the lines as a message has room for."""
    shown: list[str] = []
    room = MOST_CHARACTERS
    for each in lines[:MOST_LINES]:
        if len(each) > room:
            return [*shown, one_line(each, room)] if room > LONGEST_HEADING else shown
        shown.append(each)
        room -= len(each)
    return shown


def link_to(named: Named) -> tuple[Line, ...]:
    return ((Span(Words("Open it", "打开文档"), url=named.url),),) if named.url else ()


# --- search ---------------------------------------------------------------------------------------------

HIGHLIGHT = re.compile(r"</?(?:h|hb|em)>", re.IGNORECASE)
"""The platform marks what it found; nothing else that looks like a tag is one."""

INVALID_FIELD = 99992402

SEARCH_REFUSALS: Refusals = {
    code: Refusal(
        Words("The platform does not take this search", "平台不接受该搜索"),
        Words(
            "Please try fewer words: about 30 characters are the limit.", "请减少关键词：上限约为 30 个字符。"
        ),
    )
    for code in (INVALID_FIELD, 1274001, 1274002)
}


@command(
    "search",
    usage="WORDS",
    summary=Words("documents that you can see", "搜索你能看到的文档"),
    needs=any_of("search:docs:read"),
    keep=with_names,
)
def search(ask: Ask) -> Steps:
    words = " ".join(ask.arguments.split())
    if not words:
        return how_to_use(search, "/search quarterly plan")
    # Without the two empty filters the platform finds nothing.
    body = {"query": words, "doc_filter": {}, "wiki_filter": {}, "page_size": RESULTS}
    try:
        found = yield ApiCall("POST", "/open-apis/search/v2/doc_wiki/search", body=body, read=True)
    except ApiRefused as refused:
        return explained(refused, SEARCH_REFUSALS)
    return render_results(child(found, "data"), one_line(words, 60), ask)


def render_results(data: Mapping[str, Json], words: str, ask: Ask) -> Reply:
    zone = ask.zone
    today = zone.local(ask.asked_at).date()
    found = items(data, "res_units")[:RESULTS]
    if not found:
        return Reply(
            Words("Nothing found: {words}", "没有找到：{words}").format(words=words),
            (paragraph(Words("Perhaps other words, or fewer?", "换个关键词，或减少关键词试试？")),),
        )
    lines = [each for unit in found for each in result_lines(unit, zone, today)]
    total = number(data.get("total")) or 0
    if total > len(found) or data.get("has_more") is True:
        shown = Words("The first {n} of {total}.", "以上是 {total} 条中的前 {n} 条。")
        if total <= len(found):
            shown = Words("The first {n}.", "以上是前 {n} 条。")
        narrower = Words(" More words find fewer.", "增加关键词可缩小范围。")
        lines.append(paragraph(shown.format(n=len(found), total=total), narrower))
    return Reply(Words("Found: {words}", "搜索结果：{words}").format(words=words), tuple(lines))


def result_lines(unit: Mapping[str, Json], zone: Zone, today: date) -> tuple[Line, Line]:
    about = child(unit, "result_meta")
    title = one_line(HIGHLIGHT.sub("", text(unit, "title_highlighted")))
    kind = text(about, "doc_types") or text(unit, "entity_type")
    details = [Span(KINDS.get(kind.lower(), SOMETHING))]
    owner, updated = line(about, "owner_name", 60), moment(about.get("update_time"))
    if owner:
        details.append(Span(f" · {owner}"))
    if updated:
        details += [Span(" · "), Span(day_in_words(zone.local(updated).date(), today))]
    return (
        (Span(title or Words("(no title)", "（无标题）"), bold=True, url=link(about.get("url"))),),
        tuple(details),
    )
