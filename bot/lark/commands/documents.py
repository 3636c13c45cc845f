"""`/doc`: the text of a document or wiki page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bot.core.api import ApiCall, Json
from bot.core.command_replies import how_to_use, paragraph
from bot.core.commands import ApiRefused, Ask, Steps, command
from bot.core.language import Words
from bot.core.messages import Code, Line, Reply, Span
from bot.core.response_fields import child, items, line, text, token
from bot.core.scopes import Requirement, all_of, any_of
from bot.core.words.refusals import unreadable
from bot.lark.commands.blocks import lines_of, title_of
from bot.lark.commands.document_links import (
    DOCUMENT_KINDS,
    UNKNOWN_KIND,
    RequestedDocument,
    requested_document,
)
from bot.lark.commands.refusals import Refusal, Refusals, explain

READ_DOCUMENT = any_of("docx:document:readonly", "docx:document")

READ_NODE = any_of("wiki:node:read", "wiki:wiki:readonly", "wiki:wiki")

MAX_CHARACTERS = 3000

MAX_LINES = 120
"""Limits on the part of a document that is shown: it must fit into a message."""

PAGE_SIZE = 250
"""Blocks that are read from the start of a document: more than fit into a message, although some are nested."""

MIN_CUT = 80
"""Characters. The last line is left out if fewer of its characters would fit."""


def needs_of_document(arguments: str) -> Requirement:
    """Return the scopes needed to read a document. A wiki page needs one more, as does a command without arguments."""
    named = requested_document(arguments)
    if not arguments.strip() or (named and named.kind == "wiki"):
        return all_of(READ_NODE, READ_DOCUMENT)
    return READ_DOCUMENT


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
    """Return the reply for a file that is not a document; it names the kind of file."""
    words = DOCUMENT_KINDS.get(kind, UNKNOWN_KIND)
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
    heading = Words(title, title) if title else DOCUMENT_KINDS["docx"]
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
