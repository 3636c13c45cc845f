"""`/doc` and `/search`: the text of a document, and a search among the user's documents."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from urllib.parse import unquote, urlsplit

from bot.core.api import ApiCall, Json
from bot.core.command_replies import how_to_use, paragraph
from bot.core.commands import ApiRefused, Ask, Steps, command, with_names
from bot.core.language import Words
from bot.core.messages import Code, Line, Reply, Span
from bot.core.scopes import Requirement, all_of, any_of
from bot.core.times import Zone, format_near_day
from bot.core.unseen_characters import one_line
from bot.core.words.refusals import unreadable
from bot.lark.commands.blocks import lines_of, title_of
from bot.lark.commands.refusals import Refusal, Refusals, explain
from bot.lark.commands.response_fields import TOKEN, child, items, line, link, moment, number, text, token
from bot.lark.trusted_links import PLATFORM_LINKS

READ_DOCUMENT = any_of("docx:document:readonly", "docx:document")
READ_NODE = any_of("wiki:node:read", "wiki:wiki:readonly", "wiki:wiki")

MAX_CHARACTERS = 3000
MAX_LINES = 120
"""How much of a document fits into a message."""

PAGE_SIZE = 250
"""Blocks that are read from the start of a document: more than fit into a message, although some are nested."""

MIN_CUT = 80
"""Characters. A line is not shown if less of it would fit."""

RESULTS = 10

KINDS: Mapping[str, Words] = {
    "doc": Words("Old-format document", "旧版文档"),
    "docx": Words("Document", "文档"),
    "sheet": Words("Spreadsheet", "电子表格"),
    "bitable": Words("Base", "多维表格"),
    "mindnote": Words("MindNote", "思维笔记"),
    "slides": Words("Slides", "幻灯片"),
    "file": Words("File", "文件"),
    "folder": Words("Folder", "文件夹"),
    "wiki": Words("Wiki page", "知识库页面"),
    "catalog": Words("Wiki folder", "知识库目录"),
    "shortcut": Words("Shortcut", "快捷方式"),
    "minutes": Words("Minutes", "妙记"),
}

SOMETHING = Words("File", "文件")

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
"""Kind of document by the first segment of a link's path."""

OLD_TOKEN = re.compile(r"(dox|wik|doc|sht|bas|bmn|sld|box|fld)[a-z]{2}[A-Za-z0-9]{15,}")
"""Older tokens have a prefix for the kind of document; newer ones do not."""

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

_ADDRESS = r"[!#$%&*+,\-./0-9:;=?@A-Z_a-z~]"
"""Characters of a link. Any other ends it: brackets, quotes, and all non-ASCII characters."""
LINK = re.compile(
    rf"https?://[^\s/<>()\[\]\"'`]{{1,255}}/{_ADDRESS}*"
    # A link without a scheme, or only a path.
    rf"|(?<![A-Za-z0-9_./@:-])(?:[a-z0-9-]+(?:\.[a-z0-9-]+)+/|/?(?=(?:{'|'.join(PATHS)})/)){_ADDRESS}+",
    re.IGNORECASE,
)
MARKDOWN_LINK_URL = re.compile(r"\[[^\[\]]*\]\(([^()\s]+)\)")
"""A Markdown link, of which the URL counts."""
WRITTEN_TOKEN = re.compile(r"(?<![A-Za-z0-9_@.-])[A-Za-z0-9_-]{20,200}(?![A-Za-z0-9_-])")
"""A possible token within text, which in Chinese may have no spaces around it. Words have no digits."""
AROUND = "\"'`*<>()[]{}.,:;!?‘’“”《》〈〉「」『』【】（）＜＞，。、：；！？…"
"""Punctuation around a token."""


# --- which document -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestedDocument:
    """The document that a user asks for."""

    kind: str
    token: str
    url: str | None
    """Where it opens: the given link, if it is trusted, else a path at the platform. None if only a token was given."""

    @property
    def address(self) -> str:
        return self.url if self.url and not self.url.startswith("/") else self.token

    @property
    def mention(self) -> Line:
        return (Span(self.address, url=self.url),)


def requested_document(arguments: str) -> RequestedDocument | None:
    """Return the document of the first link in the arguments, else of the first possible token."""
    written = unicodedata.normalize("NFKC", MARKDOWN_LINK_URL.sub(r" \1 ", arguments.replace("\uff0c", " ")))
    for found in LINK.finditer(written):
        if named := document_of_link(found[0]):
            return named
    words = [written.strip().strip(AROUND).strip(), *filter(has_digit, WRITTEN_TOKEN.findall(written))]
    word = next((each for each in words if token(each)), None)
    if word is None:
        return None
    old = OLD_TOKEN.fullmatch(word)
    return RequestedDocument(OLD_TOKENS[old[1]] if old else "docx", word, None)


def has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def document_of_link(written: str) -> RequestedDocument | None:
    """Return the document of a link. A link to an untrusted host is not shown again; only its token is used."""
    scheme, found, rest = written.partition("://")
    url = f"{scheme.lower()}://{rest}" if found else f"https://{written}".replace("https:///", "/")
    if url.removeprefix("https://").partition("/")[0].lower() in PATHS:
        url = "/" + written
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2 or parts[0].lower() not in PATHS:
        return None
    area, named = parts[0].lower(), TOKEN.match(parts[1])
    if named is None:
        return None
    whole = url.rstrip(".,;:!?*")
    # A longer path (`/docx/TOKEN/../OTHER`) may open another document than the one whose text is shown.
    if urlsplit(whole).path.rstrip("/") != f"/{parts[0]}/{named[0]}":
        whole = ""
    return RequestedDocument(PATHS[area], named[0], PLATFORM_LINKS.resolve(whole) or f"/{area}/{named[0]}")


def needs_of_document(arguments: str) -> Requirement:
    """Return the scopes to read a document. A wiki page needs one more; without arguments, include that too."""
    named = requested_document(arguments)
    if not arguments.strip() or (named and named.kind == "wiki"):
        return all_of(READ_NODE, READ_DOCUMENT)
    return READ_DOCUMENT


# --- the text -------------------------------------------------------------------------------------------

FORBIDDEN = Refusal(
    Words("You don't have access to this document", "你没有权限查看该文档"),
    Words(
        "Ask its owner to share it with you, then send the command again.",
        "请让文档所有者分享给你，然后重新发送命令。",
    ),
)

NOT_FOUND = Refusal(
    Words("Document not found", "找不到该文档"),
    Words(
        "Check the link: it should lead to a document, not to a spreadsheet or folder.",
        "请检查链接：应为文档的链接，而不是电子表格或文件夹。",
    ),
)

REFUSALS: Refusals = {
    1770001: NOT_FOUND,
    1770002: NOT_FOUND,
    1770003: Refusal(
        Words("This document was deleted", "该文档已被删除"),
        Words("Its owner may be able to restore it.", "文档所有者或许可以恢复。"),
    ),
    1770032: FORBIDDEN,
    131001: NOT_FOUND,
    131002: NOT_FOUND,
    131004: NOT_FOUND,
    131005: Refusal(
        Words("Wiki page not found", "找不到该知识库页面"),
        Words(
            "Check the link: the page may have been moved or deleted.",
            "请检查链接：页面可能已被移动或删除。",
        ),
    ),
    131006: Refusal(
        Words("You don't have access to this wiki page", "你没有权限查看该知识库页面"),
        Words(
            "Ask its owner to share it with you, then send the command again.",
            "请让所有者分享给你，然后重新发送命令。",
        ),
    ),
}


@command(
    "doc",
    usage=Words("LINK-OR-TOKEN", "链接"),
    summary=Words("read a document or wiki page", "阅读文档或知识库页面"),
    needs=needs_of_document,
)
def doc(ask: Ask) -> Steps:
    named = requested_document(ask.arguments)
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
            return unsupported_kind(kind, title, named)
        path = f"/open-apis/docx/v1/documents/{document}/blocks"
        found = child((yield ApiCall("GET", path, {"page_size": str(PAGE_SIZE)})), "data")
    except ApiRefused as refused:
        return explain(refused, REFUSALS, named.mention)
    return render(items(found, "items"), title, named, more=found.get("has_more") is True)


DOC_EXAMPLE = "/doc https://example.feishu.cn/docx/…"

NOT_A_DOCUMENT = Words(
    "Please send the link to a document or wiki page.",
    "请提供文档或知识库页面的链接。",
)


def unsupported_kind(kind: str, title: str, named: RequestedDocument) -> Reply:
    """Return the reply for a file of another kind, which it names."""
    words = KINDS.get(kind, SOMETHING)
    return Reply(
        Words("Only documents can be read here", "这里只能阅读文档"),
        (
            (Span(words), Span(" · "), Span(title or named.address, url=named.url)),
            paragraph(Words("Please open it in the app.", "请在应用中打开。")),
        ),
        confidential=True,
    )


def render(blocks: list[Mapping[str, Json]], title: str, named: RequestedDocument, *, more: bool) -> Reply:
    """Return the start of a document, with a link to it."""
    title, lines = title or title_of(blocks), lines_of(blocks)
    heading = Words(title, title) if title else KINDS["docx"]
    if not lines and not more:
        empty = paragraph(Words("This document is empty.", "该文档没有内容。"))
        return Reply(heading, (empty, *link_to(named)))
    shown = fitting_lines(lines)
    return Reply(heading, (*shown, *((CUT,) if more or shown != lines else ()), *link_to(named)))


CUT: Line = (
    Span(
        Words("… shortened. Open the document for the rest.", "……内容较长，请打开文档查看全文。"), bold=True
    ),
)


def fitting_lines(lines: list[Line]) -> list[Line]:
    """Return the lines that fit into a message."""
    shown: list[Line] = []
    room = MAX_CHARACTERS
    for each in lines[:MAX_LINES]:
        length = line_length(each)
        if length > room:
            return [*shown, truncate_line(each, room)] if room > MIN_CUT else shown
        shown.append(each)
        room -= length
    return shown


def line_length(line: Line) -> int:
    return len(line.text) if isinstance(line, Code) else sum(len(span_text(span)) for span in line)


def span_text(span: Span) -> str:
    return span.text if isinstance(span.text, str) else span.text.en


def truncate_line(line: Line, room: int) -> Line:
    """Return the start of a line that is too long."""
    if isinstance(line, Code):
        return replace(line, text=f"{line.text[: room - 1]}…")
    kept: list[Span] = []
    for span in line:
        words = span_text(span)
        if len(words) > room:
            return (*kept, replace(span, text=f"{words[: room - 1].rstrip()}…"))
        kept.append(span)
        room -= len(words)
    return tuple(kept)


def link_to(named: RequestedDocument) -> tuple[Line, ...]:
    return ((Span(Words("Open document", "打开文档"), url=named.url),),) if named.url else ()


# --- search ---------------------------------------------------------------------------------------------

HIGHLIGHT = re.compile(r"</?(?:h|hb|em)>", re.IGNORECASE)
"""The platform's markup for matches. Other text that looks like a tag is not markup."""

MARKDOWN_LINK = re.compile(r"\[([^\[\]]+)\]\([^()\s]+\)")
"""A Markdown link, of which the text is searched for."""
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
    body = {"query": words, "doc_filter": {}, "wiki_filter": {}, "page_size": RESULTS}
    try:
        found = yield ApiCall("POST", "/open-apis/search/v2/doc_wiki/search", body=body, read=True)
    except ApiRefused as refused:
        return explain(refused, SEARCH_REFUSALS)
    return render_results(child(found, "data"), one_line(words, 60), ask)


def render_results(data: Mapping[str, Json], words: str, ask: Ask) -> Reply:
    zone = ask.zone
    today = zone.local(ask.asked_at).date()
    found = items(data, "res_units")[:RESULTS]
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
    details = [Span(KINDS.get(kind.lower(), SOMETHING))]
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
